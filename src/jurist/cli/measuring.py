"""What `jurist eval` does, once its options are read."""

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

from msgspec.structs import replace

from jurist.assemble import Bench, assemble
from jurist.benchmarks.base import Benchmark
from jurist.catalog import benchmark
from jurist.cli.judging import describe
from jurist.cli.screen import out as screen
from jurist.cli.screen import say, watching, write_json
from jurist.config import JudgeConfig
from jurist.pool import Progress, slim, spread
from jurist.reports.table import scorecard_view
from jurist.run import run
from jurist.store import write_scorecard
from jurist.types import Scorecard


def measure(
    names: list[str], data: Path, out: Path | None, limit: int | None, config: JudgeConfig, *, json: bool
) -> int:
    """Measure one judge on benchmarks, its engine loaded once."""
    chosen = [benchmark(name.strip()) for name in names]
    bench = assemble(config, say)
    say(describe(bench.config))
    for card in asyncio.run(_measure_all(bench, chosen, data, out, limit)):
        if json:
            write_json(card)
        else:
            screen.print(scorecard_view(card))
    return 0


async def _measure_all(
    bench: Bench, chosen: list[Benchmark], data: Path, out: Path | None, limit: int | None
) -> list[Scorecard]:
    try:
        several = len(chosen) > 1
        return [
            await _measure(bench, b, data, out / b.name if out and several else out, limit) for b in chosen
        ]
    finally:
        await bench.engine.aclose()


async def _measure(
    bench: Bench, chosen: Benchmark, data: Path, folder: Path | None, limit: int | None
) -> Scorecard:
    everything = list(chosen.load(data))
    cases = spread(everything, limit)
    progress, started = Progress(), time.monotonic()
    with watching(len(cases)) as watch:
        stream = run(
            bench,
            cases,
            out=folder,
            source=str(data),
            benchmark=chosen.name,
            progress=progress,
            watch=watch,
            warn=say,
        )
        async with aclosing(stream):
            decisions = [slim(d) async for d in stream]
    card = chosen.score(decisions)
    if len(cases) < len(everything):
        card = replace(
            card, name=f"{card.name}: {len(cases)} of {len(everything)} cases, not the official score"
        )
    card = replace(card, seconds=0.0 if progress.remembered else time.monotonic() - started)
    if folder:
        write_scorecard(folder, card)
    return card
