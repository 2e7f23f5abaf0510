"""`jurist curve`: accuracy against compute for several deliberations, nothing paid twice."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jurist.judging.config import DEFAULTS, JudgeConfig


def curve(
    source: str,
    /,
    *,
    policy: Annotated[list[str] | None, Parameter(negative="")] = None,
    data: Path | None = None,
    out: Path | None = None,
    plot: Path | None = None,
    limit: int | None = None,
    official: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Accuracy against tokens and calls for several deliberations over the same cases.

    Policies share their judgments: vote(16) pays for vote(1) to vote(15) and for the votes that stop early.

    Parameters
    ----------
    source
        A benchmark (with --data), or a file of cases with gold as for `jurist judge`.
    policy
        A deliberation; {a,b} in it stands for one with each: 'vote({1,2,4,8,16})'. Give the flag once for
        each line of the curve. Without any: votes 1 to 16, both orders, and votes of 16 that stop early.
    data
        Folder with the benchmark's published files.
    out
        Folder that keeps every judgment and curve.json; the same command goes on where it stopped, other
        policies find what is there.
    plot
        Picture to draw: .svg, .png or .pdf (extra: plot).
    limit
        So many cases, evenly spread.
    official
        Count as the benchmark's official code counts; by default the share of cases decided right, a tie as
        a coin.
    json
        Points as JSON lines on standard output.
    """
    from jurist.cli import curving

    return curving.draw(
        source, policy or curving.DEFAULT, data, out, plot, limit, config, json=json, official=official
    )
