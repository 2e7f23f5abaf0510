"""What `jurist curve` does, once its options are read."""

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec

from jurist.benchmarks.base import score_pairs
from jurist.benchmarks.fetch import place
from jurist.cli.console import out as screen
from jurist.cli.console import say, watching, write_json
from jurist.core.errors import ConfigError
from jurist.core.files import write_whole
from jurist.core.types import Case
from jurist.inputs import load_cases
from jurist.judging import registry
from jurist.judging.build import JudgeSetup, assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.curve import Point, Policy, Score, curve, decided, policies_of
from jurist.judging.pool import spread
from jurist.reports.views.curve import curve_view, draw_curve
from jurist.reports.views.plotting import check_plot

DEFAULT = ("vote({1,2,3,4,6,8,12,16})", "swapped(vote({1,2,4,8}))", "exact(16)", "confident(16)")


def draw(
    source: str,
    texts: Sequence[str],
    data: Path | None,
    out: Path | None,
    plot: Path | None,
    limit: int | None,
    config: JudgeConfig,
    *,
    json: bool,
    official: bool,
) -> int:
    """Run or replay the policies, and show the curve."""
    policies = policies_of(texts)
    if plot:
        check_plot(plot)
    cases, score = _cases(source, data, limit)
    score = score if official else decided
    setup = assemble(_with_policies(config, policies), say)
    say(f"{len(policies)} policies over {len(cases):,} cases; engine {config.engine}")
    points = asyncio.run(_run(setup, cases, policies, score, out, source))
    count = "official count" if official else "decided right"
    _show(points, f"{source}, {len(cases):,} cases, {count}", out, plot, json=json)
    return 0


async def _run(
    setup: JudgeSetup,
    cases: Sequence[Case],
    policies: Sequence[Policy],
    score: Score,
    out: Path | None,
    source: str,
) -> list[Point]:
    try:
        with watching(len(cases) * len(policies)) as watch:
            return await curve(setup, cases, policies, score, out=out, source=source, watch=watch, warn=say)
    finally:
        await setup.aclose()


def _cases(source: str, data: Path | None, limit: int | None) -> tuple[Sequence[Case], Score]:
    if source in registry.BENCHMARKS:
        chosen = registry.benchmark(source)
        return spread(list(chosen.load(place(chosen, data))), limit, chosen.unit), chosen.score
    return spread(list(load_cases(source)), limit), score_pairs


def _with_policies(config: JudgeConfig, policies: Sequence[Policy]) -> JudgeConfig:
    """The options with a deliberation that votes, if one of the policies does: sampling depends on it."""
    if config.deliberation:
        raise ConfigError("a curve has policies, not one deliberation", hint="--policy instead")
    voting = [p.text for p in policies if any(name in p.text for name in ("vote", "exact", "confident"))]
    return dataclasses.replace(config, deliberation=(voting or [policies[0].text])[0])


def _show(points: Sequence[Point], name: str, out: Path | None, plot: Path | None, *, json: bool) -> None:
    for point in points if json else ():
        write_json(point)
    if not json:
        screen.print(curve_view(points, name))
    if out:
        write_whole(out / "curve.json", msgspec.json.format(msgspec.json.encode(points), indent=1))
        say(f"kept in {out}")
    if plot:
        draw_curve(points, name, plot)
        say(f"drawn in {plot}")
