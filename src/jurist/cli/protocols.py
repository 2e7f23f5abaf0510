"""`jurist protocols`: the published prompts in the cache."""

from pathlib import Path

from cyclopts import App

protocols = App(name="protocols", help="Fetch, verify and cache the prompts of published checkpoints.")


@protocols.command
def pull(name: str, /, *, file: Path | None = None) -> int:
    """Fetch the prompts of a published family, verify their sha256, and cache them.

    Examples::

        jurist protocols pull rm-r1
        jurist protocols pull rrm
        jurist protocols pull rm-r1 --file prompts.json

    Parameters
    ----------
    name
        rm-r1 or rrm.
    file
        Take them from this local file: JSON with "strings", or the published Python source.
    """
    from jurist.cli.console import next_step, say
    from jurist.protocols import published

    strings = published.pull(name, file)
    say(f"{name}: {len(strings)} prompts verified, kept in {published.cache_folder() / f'{name}.json'}")
    next_step("judge with them", "jurist", "judge", "pairs.jsonl", "--engine", "URL", "--protocol", name)
    return 0
