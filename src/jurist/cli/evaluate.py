"""`jurist eval`: public benchmarks, counted as their official code counts."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jurist.judging.config import DEFAULTS, JudgeConfig


def evaluate(
    benchmarks: str,
    /,
    *,
    data: Path | None = None,
    out: Path | None = None,
    limit: int | None = None,
    known: bool = True,
    json: Annotated[bool, Parameter(negative="")] = False,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Measure a judge on benchmarks: official scores, intervals, and what was not answered.

    Parameters
    ----------
    benchmarks
        Names, with commas between them. See `jurist list`.
    data
        Folder with the benchmarks' published files, or with a folder of each one's name. Without it they
        are fetched from where they are published, and verified.
    out
        Run folder; with several benchmarks one folder for each below it.
    limit
        Judge so many cases of each, evenly spread over it: not the official score.
    known
        Below each scorecard, the published scores of known judges.
    json
        Scorecards as JSON lines on standard output.
    """
    from jurist.cli.measuring import measure

    return measure(benchmarks.split(","), data, out, limit, config, json=json, known=known)
