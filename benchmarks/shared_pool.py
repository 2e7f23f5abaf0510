"""Throughput of several benchmarks in one pool against one after another, on an engine with a long tail.

The engine answers after a lognormal time (median 50 ms, sigma 1.2), as generations of very different
length do. Both ways ask exactly the same queries.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from jurist.benchmarks.base import Benchmark, score_pairs
from jurist.core.types import Case, Completion, Message, Query, Usage
from jurist.engines.base import EngineBase
from jurist.engines.slots import Slots
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.run import measure

SIZES = {"one": 120, "two": 60, "three": 200, "four": 40, "five": 80}
SLOTS = 64
ROUNDS = 5


class LongTail(EngineBase):
    """Answers A after a lognormal time that the query's key decides."""

    concurrency = SLOTS

    def __init__(self) -> None:
        self._slots = Slots(SLOTS)

    async def __call__(self, query: Query) -> Completion:
        async with self._slots.held():
            await asyncio.sleep(0.05 * random.Random(query.key).lognormvariate(0.0, 1.2))
            return Completion("<answer>[[A]]</answer>", usage=Usage(1, 1))


def toy(name: str, n: int) -> Benchmark:
    """A benchmark of n pairs."""

    def load(_: Path) -> Iterator[Case]:
        for i in range(n):
            yield Case(f"{name}{i}", (Message("user", "q"),), ("x", "y"), gold=(1.0, 0.0))

    return Benchmark(name, name, "made here", "wrong.", load, score_pairs)


def seconds(benchmarks: list[Benchmark], groups: list[list[int]]) -> float:
    """Wall time of measuring the benchmarks, group by group."""
    config = JudgeConfig(engine="scripted:x", protocol="rubrics")
    bench = replace(assemble(config), engine=LongTail())
    started = time.perf_counter()
    for group in groups:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(bench, [benchmarks[i] for i in group], Path(folder)))
    return time.perf_counter() - started


def main() -> None:
    """Both ways in turn, so that the machine's noise meets both."""
    benchmarks = [toy(name, n) for name, n in SIZES.items()]
    each, together = [[i] for i in range(len(benchmarks))], [list(range(len(benchmarks)))]
    ratios: list[float] = []
    for _ in range(ROUNDS):
        apart, shared = seconds(benchmarks, each), seconds(benchmarks, together)
        ratios.append(apart / shared)
        print(f"one after another {apart:.2f} s, one pool {shared:.2f} s, ratio {apart / shared:.2f}")
    print(
        f"median ratio {median(ratios):.2f} over {ROUNDS} rounds, {SLOTS} slots, {sum(SIZES.values())} pairs"
    )


if __name__ == "__main__":
    main()
