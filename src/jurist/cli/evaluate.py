"""`jurist eval`: public benchmarks, counted as their official code counts."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jurist.config import DEFAULTS, JudgeConfig

if TYPE_CHECKING:
    from jurist.assemble import Bench
    from jurist.benchmarks.base import Benchmark
    from jurist.types import Scorecard


def evaluate(
    benchmarks: str,
    /,
    *,
    data: Path,
    out: Path | None = None,
    limit: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Measure a judge on benchmarks: official scores, intervals, and what was not answered.

    Parameters
    ----------
    benchmarks
        Names, with commas between them. See `jurist list`.
    data
        Folder with the benchmarks' published files.
    out
        Run folder; with several benchmarks one folder for each below it.
    limit
        Judge so many cases of each, evenly spread over it: not the official score.
    json
        Scorecards as JSON lines on standard output.
    """
    return asyncio.run(_evaluate(benchmarks.split(","), data, out, limit, config, json=json))


async def _evaluate(
    names: list[str], data: Path, out: Path | None, limit: int | None, config: JudgeConfig, *, json: bool
) -> int:
    from jurist.assemble import assemble
    from jurist.catalog import benchmark
    from jurist.cli.judge import describe
    from jurist.cli.screen import out as screen
    from jurist.cli.screen import say, write_json
    from jurist.reports.table import scorecard_view

    chosen = [benchmark(name.strip()) for name in names]
    bench = assemble(config, say)
    say(describe(bench.config))
    try:
        for one in chosen:
            folder = out / one.name if out and len(chosen) > 1 else out
            card = await _measure(bench, one, data, folder, limit)
            if json:
                write_json(card)
            else:
                screen.print(scorecard_view(card))
    finally:
        await bench.engine.aclose()
    return 0


async def _measure(
    bench: "Bench", benchmark: "Benchmark", data: Path, folder: Path | None, limit: int | None
) -> "Scorecard":
    from msgspec.structs import replace

    from jurist.cli.screen import say, watching
    from jurist.evaluate import Progress, slim, spread
    from jurist.run import run
    from jurist.store import write_scorecard

    cases = spread(list(benchmark.load(data)), limit)
    progress, started = Progress(), time.monotonic()
    with watching(len(cases)) as watch:
        stream = run(
            bench,
            cases,
            out=folder,
            source=str(data),
            benchmark=benchmark.name,
            progress=progress,
            watch=watch,
            warn=say,
        )
        decisions = [slim(d) async for d in stream]
    card = replace(benchmark.score(decisions), seconds=time.monotonic() - started)
    if limit and limit <= len(cases):
        card = replace(card, name=f"{card.name}, {len(cases)} of its cases (not the official score)")
    if folder:
        write_scorecard(folder, card)
    return card
