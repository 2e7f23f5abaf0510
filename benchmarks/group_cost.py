"""What a group's reward costs, and how near it comes to the truth: every scheme, simulated judges.

    python benchmarks/group_cost.py [GROUPS]

Strengths are normal. Asked once, a judge prefers the first shown with probability 1 / (1 + exp(-k gap - b)):
k is set so that it is right in so many pairs of a group, b is its position bias (logits). What it says to a
question (a pair in an order, a sample) is drawn once, so that all schemes hear the same answers.

Rewards are rated in two ways: "played", the mean score of a response's own matches, and "all", the rating
"win-rate", in which matches that were not played count as Bradley-Terry expects. For each: the share of pairs
that the rewards order as the strengths do (a tie is half), and Pearson's correlation with the strengths,
which is what an advantage keeps; means over groups. Then a round robin that ends when the choice is certain.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import combinations
from math import exp
from random import Random
from statistics import NormalDist, correlation, fmean
from typing import NamedTuple

from jurist.core.types import Case, Completion, Judgment, Message, Order, Query, Sampling, Verdict
from jurist.deliberation.ratings import win_rate
from jurist.engines.base import EngineBase
from jurist.judging import registry
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import seeded_order
from jurist.rewards.choice import chosen
from jurist.rewards.group import GroupJudge
from jurist.rewards.ranking import matches_of, ranking_of

SIZES, RIGHT, BIAS = (2, 3, 4, 6, 8, 9, 12, 16, 24, 32), (0.65, 0.75, 0.85, 0.95), 0.4
STREAMED, STREAM_RIGHT = (8, 16), (0.65, 0.8, 0.9)
REFERENCE = "round_robin(swapped)"
SCHEMES = (
    "balanced(4)",
    "random_opponents(4, swapped)",
    "random_opponents(8, once)",
    "balanced(2)",
    "random_opponents(2, swapped)",
    "swiss(match=swapped)",
    "knockout(swapped)",
    "pivot(swapped)",
    "round_robin(once)",
    REFERENCE,
)


class Row(NamedTuple):
    """One scheme on one group: judgments for a response; order and correlation, different values."""

    judgments: float
    order_played: float
    pearson_played: float
    order_all: float
    pearson_all: float
    values: float


class Judge:
    """A simulated judge of one group."""

    def __init__(self, n: int, k: float, seed: int) -> None:
        random = Random(seed)
        self.strengths = [random.gauss(0, 1) for _ in range(n)]
        self.case = Case(str(seed), (Message("user", "?"),), tuple(f"response {i}" for i in range(n)))
        self._k = k
        self._said: dict[tuple[Order, int], bool] = {}

    async def ask(
        self, case: Case, order: Order | None = None, sample: int = 0, among: Order | None = None, **_: object
    ) -> Judgment:
        """One judgment of a pair."""
        shown = order or seeded_order(case, sample, 0, among)
        share = float(self.first_wins(shown, sample) == (shown[0] < shown[1]))
        query = Query(case.id, shown, sample, (), Sampling())
        return Judgment(query, Completion(), Verdict((share, 1 - share)))

    def first_wins(self, shown: Order, sample: int) -> bool:
        """Whether the first shown is preferred; always the same to the same question."""
        if (shown, sample) not in self._said:
            gap = self.strengths[shown[0]] - self.strengths[shown[1]]
            drawn = Random(f"{self.case.id}/{shown}/{sample}").random()
            self._said[shown, sample] = drawn < _logistic(self._k * gap + BIAS)
        return self._said[shown, sample]


def sharpness(right: float) -> float:
    """k of a judge that is right in this share of random pairs, in either order; by bisection."""
    # The gap of two strengths has twice their variance.
    gaps = [abs(NormalDist(0, 2**0.5).inv_cdf((i + 0.5) / 2000)) for i in range(2000)]
    low, high = 0.0, 50.0
    for _ in range(50):
        k = (low + high) / 2
        found = fmean((_logistic(k * gap + BIAS) + _logistic(k * gap - BIAS)) / 2 for gap in gaps)
        low, high = (k, high) if found < right else (low, k)
    return low


async def group(n: int, k: float, seed: int) -> dict[str, Row]:
    """Every scheme on one group."""
    judge = Judge(n, k, seed)
    rows: dict[str, Row] = {}
    for scheme in SCHEMES:
        decision = await registry.deliberation(scheme)(judge.ask, judge.case)
        played = win_rate(n, matches_of(decision))
        rewards = ranking_of(decision, n, "win-rate").ratings or (0.5,) * n
        near = [f(rated, judge.strengths) for rated in (played, rewards) for f in (ordered, pearson)]
        rows[scheme] = Row(len(decision.judgments) / n, *near, len(set(rewards)))
    return rows


def ordered(rewards: Sequence[float], strengths: Sequence[float]) -> float:
    """The share of pairs that stand in the right order; a tie is half."""
    pairs = list(combinations(range(len(rewards)), 2))
    gaps = [(rewards[i] - rewards[j]) * (strengths[i] - strengths[j]) for i, j in pairs]
    return fmean((gap > 0) + (gap == 0) / 2 for gap in gaps)


def pearson(rewards: Sequence[float], strengths: Sequence[float]) -> float:
    """Pearson's correlation; 0 where all rewards are the same."""
    return correlation(rewards, strengths) if len(set(rewards)) > 1 else 0.0


def table(n: int, right: float, groups: int) -> str:
    """The lines of one judge and size."""

    async def all_groups() -> list[dict[str, Row]]:
        return [await group(n, k, seed) for seed in range(groups)]

    k = sharpness(right)
    by_group = asyncio.run(all_groups())
    lines = [f"n = {n}, a judge that is right in {right:.0%} of pairs, {groups} groups"]
    lines.append(f"{'':32}judgments   played: order  r     all: order  r     values")
    for scheme in SCHEMES:
        row = Row(*map(fmean, zip(*[rows[scheme] for rows in by_group], strict=True)))
        played = f"{row.order_played:6.3f} {row.pearson_played:6.3f}"
        near = f"{played}      {row.order_all:6.3f} {row.pearson_all:6.3f}"
        lines.append(f"{scheme:32}{row.judgments:6.2f}           {near}   {row.values:5.1f}")
    return "\n".join(lines)


class Engine(EngineBase):
    """A simulated judge as an engine with few slots: what waits for one when the choice falls is saved."""

    def __init__(self, judge: Judge, slots: int) -> None:
        self._judge, self._slots = judge, asyncio.Semaphore(slots)
        self.asked = 0

    async def __call__(self, query: Query) -> Completion:
        async with self._slots:
            await asyncio.sleep(0)
            self.asked += 1
        first = self._judge.first_wins(query.order, query.sample)
        return Completion(f"<answer>[[{'A' if first else 'B'}]]</answer>")


def early(n: int, groups: int, slots: int = 8) -> str:
    """Best of n by a round robin that ends when nobody can catch the first."""
    bench = assemble(JudgeConfig(engine="scripted:", protocol="pairwise", deliberation=REFERENCE))

    async def one(seed: int, k: float) -> float:
        judge = Judge(n, k, seed)
        engine = Engine(judge, slots)
        choice = await chosen(GroupJudge(replace(bench, engine=engine)), judge.case)
        whole = (await registry.deliberation(REFERENCE)(judge.ask, judge.case)).verdict.scores or ()
        assert choice.tied == tuple(i for i, s in enumerate(whole) if s == max(whole)), seed
        return 1 - engine.asked / (n * (n - 1))

    async def all_groups(k: float) -> list[float]:
        return [await one(seed, k) for seed in range(groups)]

    saved = [
        f"{fmean(asyncio.run(all_groups(sharpness(right)))):.1%} ({right:.0%})" for right in STREAM_RIGHT
    ]
    return (
        f"n = {n}, {slots} in flight, {groups} groups: judgments saved {', '.join(saved)}; same choice in all"
    )


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-x))


def main(groups: int = 300) -> None:
    """Print a table for each size and judge, on two cores."""
    started = time.perf_counter()
    jobs = [(n, right) for n in SIZES for right in RIGHT]
    with ProcessPoolExecutor(2) as pool:
        running = {job: pool.submit(table, *job, groups) for job in jobs}
        stopped = [pool.submit(early, n, groups // 3) for n in STREAMED]
        for job in jobs:
            print(f"{running[job].result()}\n", flush=True)
        print("A round robin in both orders that ends when the choice is certain:")
        for one in stopped:
            print(one.result())
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
