"""`jurist protocols`: the published prompts in the cache."""

from pathlib import Path

from cyclopts import App

protocols = App(name="protocols", help="Fetch, verify and cache the prompts of published checkpoints.")


@protocols.command
def pull(name: str, /, *, file: Path | None = None) -> int:
    """Fetch the prompts of a published family, verify their sha256, and cache them.

    Parameters
    ----------
    name
        rm-r1 or rrm.
    file
        Take them from this local file: JSON with "strings", or the published Python source.
    """
    from jurist import published
    from jurist.cli.screen import say

    strings = published.pull(name, file)
    say(f"{name}: {len(strings)} prompts verified, kept in {published.cache_folder() / f'{name}.json'}")
    return 0
