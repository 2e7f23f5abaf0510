"""What a group's reward costs, and how near it comes to a round robin's: every scheme, simulated judges.

    python benchmarks/group_cost.py [GROUPS]

Strengths are normal. Asked once, a judge prefers the first shown with probability 1 / (1 + exp(-k gap - b)):
k is set so that it is right in so many pairs of a group, b is its position bias (logits). What it says to a
question (a pair in an order, a sample) is drawn once, so that all schemes hear the same answers. Rewards are
win rates of the matches that a scheme played; beside them, what Bradley-Terry makes of the same matches.
Correlations are means over groups (a reward that is the same for all counts as 0) with 95% intervals.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import exp
from random import Random
from statistics import NormalDist, fmean

from jurist.benchmarks.ppe import kendall, spearman
from jurist.core.statistics import mean_interval
from jurist.core.types import Case, Completion, Decision, Judgment, Message, Order, Query, Sampling, Verdict
from jurist.engines.base import EngineBase
from jurist.judging import registry
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import seeded_order
from jurist.rewards.choice import chosen
from jurist.rewards.group import GroupJudge
from jurist.rewards.ranking import Rating, matches_of, ranking_of

SIZES, RIGHT, BIAS = (8, 16), (0.65, 0.8, 0.9), 0.4
REFERENCE = "round_robin(swapped)"
AGAIN = f"{REFERENCE}, other answers"
SCHEMES = (
    REFERENCE,
    AGAIN,
    "round_robin(once)",
    "round_robin(vote(3))",
    "round_robin(exact(3))",
    "random_opponents(6, swapped)",
    "random_opponents(4, swapped)",
    "random_opponents(4, once)",
    "random_opponents(2, swapped)",
    "swiss(match=swapped)",
    "swiss(match=exact(3))",
    "adaptive(match=swapped)",
    "knockout(swapped)",
    "pivot(swapped)",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One scheme on one group: costs per response, correlations with round robin and with the truth."""

    matches: float
    judgments: float
    kendall: float
    spearman: float
    bradley_terry: float
    truth: float


class Judge:
    """A simulated judge of one group; ``draw`` tells apart judges that answer independently."""

    def __init__(self, n: int, k: float, seed: int, draw: int = 0) -> None:
        random = Random(seed)
        self.strengths = [random.gauss(0, 1) for _ in range(n)]
        self.case = Case(str(seed), (Message("user", "?"),), tuple(f"response {i}" for i in range(n)))
        self._k, self._draw = k, draw
        self._said: dict[tuple[Order, int], bool] = {}

    async def ask(
        self, case: Case, order: Order | None = None, sample: int = 0, among: Order | None = None
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
            drawn = Random(f"{self.case.id}/{self._draw}/{shown}/{sample}").random()
            self._said[shown, sample] = drawn < _logistic(self._k * gap + BIAS)
        return self._said[shown, sample]

    def shares(self) -> tuple[float, float]:
        """How often it is right, and how often it prefers the first shown, over all pairs in both orders."""
        n = len(self.strengths)
        asked = [(i, j) for i in range(n) for j in range(n) if i != j]
        first = [self.first_wins(both, 0) for both in asked]
        right = [
            won == (self.strengths[i] > self.strengths[j]) for won, (i, j) in zip(first, asked, strict=True)
        ]
        return fmean(right), fmean(first)


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


async def group(n: int, k: float, seed: int) -> tuple[dict[str, Row], tuple[float, float]]:
    """Every scheme on one group, and how good its judge is."""
    judge = Judge(n, k, seed)
    wanted: Sequence[float] = ()
    rows: dict[str, Row] = {}
    for scheme in SCHEMES:
        asked = Judge(n, k, seed, draw=1) if scheme == AGAIN else judge
        decision = await registry.deliberation(scheme.partition(", other")[0])(asked.ask, judge.case)
        rewards = rated(decision, n, "win-rate")
        wanted = wanted or rewards
        strengths = rewards if "round" in scheme else rated(decision, n, "bradley-terry")
        rows[scheme] = Row(
            len(matches_of(decision)) / n,
            len(decision.judgments) / n,
            kendall(rewards, wanted) or 0.0,
            spearman(rewards, wanted) or 0.0,
            kendall(strengths, wanted) or 0.0,
            kendall(rewards, judge.strengths) or 0.0,
        )
    return rows, judge.shares()


def rated(decision: Decision, n: int, rating: Rating) -> Sequence[float]:
    """One number for each response; where nobody met anybody, the same."""
    return ranking_of(decision, n, rating).ratings or (0.0,) * n


def table(n: int, right: float, groups: int) -> str:
    """The lines of one judge and size."""

    async def all_groups() -> list[tuple[dict[str, Row], tuple[float, float]]]:
        return [await group(n, k, seed) for seed in range(groups)]

    k = sharpness(right)
    found = asyncio.run(all_groups())
    was_right, first = (fmean(shares[i] for _, shares in found) for i in range(2))
    lines = [f"n = {n}, right in {was_right:.1%} of pairs, first shown wins {first:.1%}, {groups} groups"]
    lines.append(
        f"{'':38}matches judgments | Kendall          Spearman         Bradley-Terry    | Kendall: truth"
    )
    for scheme in SCHEMES:
        rows = [rows[scheme] for rows, _ in found]
        cost = f"{fmean(r.matches for r in rows):7.2f}{fmean(r.judgments for r in rows):10.2f}"
        near = [_mean([getattr(r, name) for r in rows]) for name in ("kendall", "spearman", "bradley_terry")]
        lines.append(f"{scheme:38}{cost} | {'   '.join(near)}  | {_mean([r.truth for r in rows])}")
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

    saved = [f"{fmean(asyncio.run(all_groups(sharpness(right)))):.1%} ({right:.0%})" for right in RIGHT]
    return (
        f"n = {n}, {slots} in flight, {groups} groups: judgments saved {', '.join(saved)}; same choice in all"
    )


def _mean(values: Sequence[float]) -> str:
    low, high = mean_interval(values) or (0.0, 0.0)
    return f"{fmean(values):6.3f} ± {(high - low) / 2:.3f}"


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-x))


def main(groups: int = 300) -> None:
    """Print a table for each size and judge, on two cores."""
    started = time.perf_counter()
    jobs = [(n, right) for n in reversed(SIZES) for right in RIGHT]
    with ProcessPoolExecutor(2) as pool:
        running = {job: pool.submit(table, *job, groups) for job in jobs}
        stopped = [pool.submit(early, n, groups // 3) for n in SIZES]
        for n in SIZES:
            for right in RIGHT:
                print(f"{running[n, right].result()}\n")
        print("A round robin in both orders that ends when the choice is certain:")
        for one in stopped:
            print(one.result())
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
