"""How often adaptive pairing finds round robin's pick, and the truly best, at which cost: simulated judges.

python benchmarks/adaptive.py [GROUPS] [PLAYERS]

Strengths are normal. A group's matches are decided beforehand and the same for all formats, as they are
with a judge whose queries are seeded; round robin's pick is the best of those decided matches. Where round
robin leaves a tie at the top (a cycle), each of the tied counts as its pick.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, log
from random import Random

from jurist.core.types import (
    Case,
    Completion,
    Deliberation,
    Judgment,
    Message,
    Order,
    Query,
    Sampling,
    Scores,
    Verdict,
)
from jurist.deliberation.adaptive import adaptive
from jurist.deliberation.brackets import everyone
from jurist.deliberation.tournaments import knockout, round_robin, swiss

Rule = Callable[[float, Random], float]
"""What the first gets of a match, by how far its strength (standard deviation 1) is ahead."""


def hard(spread: float, gap: float, random: Random) -> float:
    """Bradley-Terry: the better wins with probability 1 / (1 + exp(-gap)), the gap in logits."""
    return float(spread * gap + _logistic(random) > 0)


def soft(spread: float, gap: float, random: Random) -> float:
    """The same judge, but it says how sure it is: the share whose log-odds decide ``hard``."""
    return 1 / (1 + exp(-spread * gap - _logistic(random)))


def both_orders(spread: float, gap: float, random: Random) -> float:
    """Two independent asks, averaged: half where they disagree."""
    return (hard(spread, gap, random) + hard(spread, gap, random)) / 2


def flips(share: float, gap: float, random: Random) -> float:
    """The better wins but for a share of the matches, however far apart the two are."""
    return float((gap > 0) != (random.random() < share))


JUDGES: dict[str, Rule] = {
    **{f"hard, spread {spread:g}": partial(hard, spread) for spread in (0.5, 1, 1.5, 2, 3, 4, 8)},
    **{f"soft, spread {spread}": partial(soft, spread) for spread in (1, 2, 4)},
    **{f"both orders, spread {spread}": partial(both_orders, spread) for spread in (1, 2, 4)},
    **{f"flips {share:.0%}": partial(flips, share) for share in (0.0, 0.05, 0.1, 0.2)},
}
CURVE = ("hard, spread 1", "hard, spread 1.5", "hard, spread 2", "hard, spread 4")


class Group:
    """Players with strengths, and every match they may play."""

    def __init__(self, n: int, rule: Rule, seed: int) -> None:
        random = Random(seed)
        self.strengths = [random.gauss(0, 1) for _ in range(n)]
        self.best = self.strengths.index(max(self.strengths))
        self.shares = {
            (i, j): rule(self.strengths[i] - self.strengths[j], random) for i, j in everyone(range(n))
        }
        self.case = Case(str(seed), (Message("user", "?"),), tuple(f"response {i}" for i in range(n)))
        self.asked = self.rounds = self.flying = 0

    async def ask(
        self, case: Case, order: Order | None = None, sample: int = 0, among: Order | None = None, **_: object
    ) -> Judgment:
        """A judgment of one match."""
        self.asked += 1
        self.rounds += not self.flying
        self.flying += 1
        await asyncio.sleep(0)
        self.flying -= 1
        i, j = sorted(order or among or ())
        share = self.shares[i, j]
        return Judgment(
            Query(case.id, (i, j), sample, (), Sampling()), Completion(), Verdict((share, 1 - share))
        )

    def right(self) -> float:
        """Share of the matches that the better wins; a tie counts half."""
        got = [(s, self.strengths[i] > self.strengths[j]) for (i, j), s in self.shares.items()]
        return sum(0.5 if s == 0.5 else (s > 0.5) == better for s, better in got) / len(got)

    async def play(self, format: Deliberation, wanted: Sequence[int] = ()) -> "Result":
        """One format; its pick is the first of those tied at the top."""
        self.asked = self.rounds = 0
        decision = await format(self.ask, self.case)
        scores: Scores = decision.verdict.scores or ()
        picks = [i for i, s in enumerate(scores) if s == max(scores)]
        settled = "settled" in decision.verdict.note
        if settled and wanted and picks[0] not in wanted:
            raise AssertionError(f"settled, and not round robin's pick: group {self.case.id}")
        return Result(picks, picks[0] in wanted, picks[0] == self.best, settled, self.asked, self.rounds)


@dataclass(frozen=True, slots=True)
class Result:
    """One format on one group."""

    picks: Sequence[int]
    same: bool
    best: bool
    settled: bool
    matches: int
    rounds: int


def share(results: list[Result], name: str) -> str:
    """A mean as a percentage."""
    return f"{sum(getattr(r, name) for r in results) / len(results):6.1%}"


def cost(results: list[Result], name: str) -> str:
    """A mean, and the largest."""
    values = [getattr(r, name) for r in results]
    return f"{sum(values) / len(values):5.1f} ({max(values)})"


async def formats(groups: int, n: int) -> None:
    """Each judge: knockout, Swiss and adaptive against round robin."""
    print(f"{n} players, {groups} groups a judge, {n * (n - 1) // 2} matches in all")
    print(f"{'':27}better | same pick as round robin  | truly best is picked              | adaptive")
    print(
        f"{'judge':28}wins | knockout  swiss  adaptive  | round robin knockout swiss adapt. |"
        "  matches    rounds   settled"
    )
    for name, rule in JUDGES.items():
        found: dict[str, list[Result]] = {"rr": [], "knockout": [], "swiss": [], "adaptive": []}
        right = 0.0
        for seed in range(groups):
            group = Group(n, rule, seed)
            right += group.right() / groups
            found["rr"].append(first := await group.play(round_robin()))
            for other, format in (("knockout", knockout()), ("swiss", swiss()), ("adaptive", adaptive())):
                found[other].append(await group.play(format, first.picks))
        same = "  ".join(share(results, "same") for results in list(found.values())[1:])
        best = "  ".join(share(results, "best") for results in found.values())
        ours = found["adaptive"]
        print(
            f"{name:26} {right:6.1%} | {same}     | {best}    | {cost(ours, 'matches')}"
            f"  {cost(ours, 'rounds')}  {share(ours, 'settled')}"
        )


async def curve(groups: int, n: int) -> None:
    """Same pick as round robin, by the budget."""
    budgets = [round(n * (n - 1) / 2 * part / 120) for part in (30, 40, 50, 60, 80)]
    print(f"\nadaptive: same pick as round robin (matches played), by the budget; {groups} groups")
    print(f"{'judge':20}" + "".join(f"{budget:16}" for budget in budgets))
    for name in CURVE:
        found: dict[int, list[Result]] = {budget: [] for budget in budgets}
        for seed in range(groups):
            group = Group(n, JUDGES[name], seed)
            first = await group.play(round_robin())
            for budget in budgets:
                found[budget].append(await group.play(adaptive(budget), first.picks))
        line = [f"{share(r, 'same')} ({sum(x.matches for x in r) / groups:4.1f})" for r in found.values()]
        print(f"{name:20}" + "".join(f"{cell:>16}" for cell in line))


def _logistic(random: Random) -> float:
    u = random.random() or 0.5
    return log(u / (1 - u))


def main(groups: int, n: int) -> None:
    """Print both tables."""
    started = time.perf_counter()
    asyncio.run(formats(groups, n))
    asyncio.run(curve(groups, n))
    print(f"\n{time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[1:]]
    main(*numbers, *(60, 16)[len(numbers) :])
