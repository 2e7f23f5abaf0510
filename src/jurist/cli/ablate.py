"""`jurist ablate`: several ways to make a judge, in one table."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative="")]


def ablate(
    recipe: Path,
    /,
    *,
    out: Path | None = None,
    only: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    dry_run: Flag = False,
    json: Flag = False,
) -> int:
    """Make judges in several ways and measure them on the same pairs, in both orders: one table.

    Each arm is a list of commands (data, distill, train, judge, eval); arms share what they refer to.

    Parameters
    ----------
    recipe
        TOML file with pairs, judge and arms. See recipes/.
    out
        Run folder (else what the recipe says). The same command goes on where it stopped; the table stands
        in OUT/ABLATION.md and OUT/ablation.json.
    only
        These arms, and the base.
    dry_run
        Check everything, print the commands, run none.
    json
        The table as JSON on standard output.
    """
    from jurist.cli import ablating

    return ablating.run(recipe, out, only or [], dry_run=dry_run, json=json)
