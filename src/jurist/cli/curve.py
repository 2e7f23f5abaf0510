"""`jurist curve`: accuracy against compute for several deliberations, nothing paid twice."""

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jurist.cli.console import next_step, say, watching, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import CASES, DELIBERATION, OUTPUT, Data, Json, Judge, Limit, MaybeOut
from jurist.core.errors import ConfigError
from jurist.core.types import Case
from jurist.judging.config import DEFAULTS, JudgeConfig

if TYPE_CHECKING:
    from jurist.judging.build import JudgeSetup
    from jurist.judging.curve import CountRule, CurvePoint, CurvePolicy

POLICIES = ["vote({1,2,3,4,6,8,12,16})", "swapped(vote({1,2,4,8}))", "exact(16)", "confident(16)"]
"""What is drawn unless told."""


def curve(
    source: Annotated[str, Parameter(group=CASES)],
    /,
    *,
    policy: Annotated[list[str] | None, Parameter(negative="", group=DELIBERATION)] = None,
    data: Data = None,
    out: MaybeOut = None,
    plot: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    limit: Limit = None,
    official: Annotated[bool, Parameter(negative="", group=OUTPUT, show_default=False)] = False,
    json: Json = False,
    config: Judge = DEFAULTS,
) -> int:
    """Accuracy against tokens and calls for several deliberations over the same cases.

    Policies share their judgments: vote(16) pays for vote(1) to vote(15) and for the votes that stop early.

    Examples::

        jurist curve judgebench -e http://localhost:8000/v1 -o runs/curve --plot curve.svg
        jurist curve judgebench --policy 'vote({1,2,4,8,16})' --policy 'exact(16)' -o runs/curve
        jurist curve pairs.jsonl --limit 50 --json

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
    from jurist.judging.build import assemble
    from jurist.judging.curve import decided, policies_of
    from jurist.reports.views.plotting import check_plot

    policies = policies_of(policy or POLICIES)
    if plot:
        check_plot(plot)
    cases, score = _cases(source, data, limit)
    setup = assemble(_with_policies(config, policies), say)
    say(f"{len(policies)} policies over {len(cases):,} cases; engine {config.engine}")
    points = asyncio.run(_points(setup, cases, policies, score if official else decided, out, source))
    count = "official count" if official else "decided right"
    _show(points, f"{source}, {len(cases):,} cases, {count}", out, plot, json=json)
    return 0


async def _points(
    setup: "JudgeSetup",
    cases: Sequence[Case],
    policies: Sequence["CurvePolicy"],
    score: "CountRule",
    out: Path | None,
    source: str,
) -> list["CurvePoint"]:
    from jurist.judging.curve import curve

    try:
        with watching(len(cases) * len(policies)) as watch:
            return await curve(setup, cases, policies, score, out=out, source=source, watch=watch, warn=say)
    finally:
        await setup.aclose()


def _cases(source: str, data: Path | None, limit: int | None) -> tuple[Sequence[Case], "CountRule"]:
    from jurist.benchmarks.base import score_pairs
    from jurist.benchmarks.fetch import place
    from jurist.inputs import load_cases
    from jurist.judging import registry
    from jurist.judging.pool import spread

    if source in registry.BENCHMARKS:
        chosen = registry.benchmark(source)
        return spread(list(chosen.load(place(chosen, data))), limit, chosen.unit), chosen.score
    return spread(list(load_cases(source)), limit), score_pairs


def _with_policies(config: JudgeConfig, policies: Sequence["CurvePolicy"]) -> JudgeConfig:
    """The options with a deliberation that votes, if one of the policies does: sampling depends on it."""
    from jurist.judging import registry

    if config.deliberation:
        raise ConfigError("a curve has policies, not one deliberation", hint="--policy instead")
    voting = [
        p.text for p in policies if registry.deliberation(p.text).names & {"vote", "exact", "confident"}
    ]
    return dataclasses.replace(config, deliberation=(voting or [policies[0].text])[0])


def _show(
    points: Sequence["CurvePoint"], name: str, folder: Path | None, plot: Path | None, *, json: bool
) -> None:
    import msgspec

    from jurist.core.files import write_whole
    from jurist.reports.views.curve import curve_view, draw_curve

    for point in points if json else ():
        write_json(point)
    if not json:
        screen.print(curve_view(points, name))
    if folder:
        write_whole(folder / "curve.json", msgspec.json.format(msgspec.json.encode(points), indent=1))
        say(f"kept in {folder}: the same command with another --policy pays only for what is new")
    if plot:
        draw_curve(points, name, plot)
        say(f"drawn in {plot}")
    best = max(points, key=lambda p: (p.efficient, p.score.value))
    next_step(
        "judge with the best of them", "jurist", "judge", "pairs.jsonl", f"--deliberation={best.policy}"
    )
