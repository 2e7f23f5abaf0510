"""What `jurist eval` does, once its options are read."""

import asyncio
from pathlib import Path

from jurist.benchmarks.base import Benchmark
from jurist.cli.console import out as screen
from jurist.cli.console import say, watching, write_json
from jurist.cli.judging import describe
from jurist.core.types import Scorecard
from jurist.judging import run
from jurist.judging.build import JudgeSetup, assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.registry import benchmark
from jurist.reports.views.published_scores import known_view
from jurist.reports.views.scorecard import scorecard_view


def measure(
    names: list[str],
    data: Path | None,
    out: Path | None,
    limit: int | None,
    config: JudgeConfig,
    *,
    json: bool,
    known: bool = True,
) -> int:
    """Measure one judge on benchmarks, its engine loaded once."""
    chosen = [benchmark(name.strip()) for name in names]
    setup = assemble(config, say)
    say(describe(setup.config))
    for card in asyncio.run(_measure_all(setup, chosen, data, out, limit)):
        if json:
            write_json(card)
            continue
        screen.print(scorecard_view(card))
        if known and (others := known_view(card)):
            screen.print("", others, "", sep="\n")
    return 0


async def _measure_all(
    setup: JudgeSetup, chosen: list[Benchmark], data: Path | None, out: Path | None, limit: int | None
) -> list[Scorecard]:
    try:
        return await run.measure(setup, chosen, data, out=out, limit=limit, watching=watching, warn=say)
    finally:
        await setup.aclose()
