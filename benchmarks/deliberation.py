"""What early stopping and Swiss pairing save, and how often they decide otherwise: simulated judges.

python benchmarks/deliberation.py [CASES] [GROUPS]
"""

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import comb, exp, lgamma
from random import Random
from typing import NamedTuple

from jurist.core.types import Case, Completion, Judgment, Message, Order, Query, Sampling, Verdict
from jurist.deliberation.brackets import everyone
from jurist.deliberation.stopping import Rule, cannot_be_lost, likely, needed
from jurist.deliberation.tournaments import knockout, round_robin, swiss

ERROR = 0.01
MEANS = (0.6, 0.7, 0.8, 0.9)
CONCENTRATION = 1.0
"""alpha + beta of the Beta distribution of a case's share of right votes; see ``published``."""

STRATA = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))

# Published accuracy of one sample and of a vote of k (arXiv 2505.14674).
PUBLISHED = (
    ("RRM-7B RewardBench", 0.822, 0.848, 16),
    ("RRM-32B RewardBench", 0.912, 0.919, 16),
    ("RRM-32B PPE MMLU-Pro", 0.805, 0.813, 5),
    ("RRM-32B PPE MATH", 0.943, 0.954, 5),
)


class Outcome(NamedTuple):
    """One case: its share of right votes, the votes cast, and whether the full vote says otherwise."""

    share: float
    cast: int
    differs: bool


def voted_accuracy(mean: float, concentration: float, k: int) -> float:
    """Accuracy of a majority of k where shares of right votes are Beta; a tie counts half."""
    a, b = mean * concentration, (1 - mean) * concentration
    beta = lambda x, y: lgamma(x) + lgamma(y) - lgamma(x + y)
    p = [comb(k, x) * exp(beta(a + x, b + k - x) - beta(a, b)) for x in range(k + 1)]
    return sum(q * ((2 * x > k) + (2 * x == k) / 2) for x, q in enumerate(p))


def published() -> None:
    """How concentrated real votes are: what the published gains from voting say."""
    print("alpha + beta that explains a published gain from voting (0: each case's votes agree)")
    for name, one, voted, k in PUBLISHED:
        low, high = 0.01, 100.0
        for _ in range(50):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if voted_accuracy(one, middle, k) < voted else (low, middle)
        print(f"  {name:22} {one:.3f} -> {voted:.3f} at k = {k:2}: {low:.2f}")


def cast(rule: Rule, votes: Sequence[bool]) -> tuple[int, int]:
    """How many votes are cast before the rule stops, and who leads then (1, 0 or -1)."""
    for n in range(len(votes) + 1):
        ahead = 2 * sum(votes[:n]) - n
        first = Fraction(n + abs(ahead), 2)
        if not needed(rule, first, n - first, len(votes) - n):
            return n, (ahead > 0) - (ahead < 0)
    raise AssertionError("all votes cast and still none decided")


def outcomes(rule: Rule, k: int, shares: Iterable[float], random: Random) -> list[Outcome]:
    """Each case voted on with independent votes."""
    found: list[Outcome] = []
    for share in shares:
        votes = [random.random() < share for _ in range(k)]
        n, says = cast(rule, votes)
        right = sum(votes)
        found.append(Outcome(share, n, says != (2 * right > k) - (2 * right < k)))
    return found


def row(label: str, k: int, found: Sequence[Outcome]) -> str:
    """Votes saved and decisions that differ, each as a share."""
    saved = 1 - sum(o.cast for o in found) / (k * len(found))
    return f"{label:28} {len(found):7} {saved:7.1%} {sum(o.differs for o in found) / len(found):9.2%}"


def stopping(cases: int) -> None:
    """Votes saved by each rule, by the judge's accuracy and by difficulty."""
    for k in (5, 16):
        for name, rule in (("exact", cannot_be_lost), (f"confident, error {ERROR}", likely(ERROR))):
            random = Random(k)
            drawn = [
                [random.betavariate(m * CONCENTRATION, (1 - m) * CONCENTRATION) for _ in range(cases)]
                for m in MEANS
            ]
            found = [outcomes(rule, k, shares, random) for shares in drawn]
            print(f"\n{f'{name}, k = {k}':28}   cases   saved   differs")
            for mean, of_mean in zip(MEANS, found, strict=True):
                print(row(f"  judge of accuracy {mean}", k, of_mean))
            together = [o for of_mean in found for o in of_mean]
            print(row("  all four", k, together))
            for low, high in STRATA:
                some = [o for o in together if low <= o.share < high or o.share == high == 1]
                print(row(f"    right votes {low:.0%} to {high:.0%}", k, some))
            print(row("    coin flips only", k, outcomes(rule, k, [0.5] * cases, random)))


class Field:
    """16 players with normal strengths (in logits), and every match they may play, decided beforehand.

    All formats see the same matches, as they do with a judge whose queries are seeded.
    """

    def __init__(self, n: int, spread: float, seed: int) -> None:
        random = Random(seed)
        self.strengths = [random.gauss(0, spread) for _ in range(n)]
        self.won = {pair: self._winner(*pair, random) for pair in everyone(range(n))}
        self.asked = 0
        self.best = self.strengths.index(max(self.strengths))

    def _winner(self, i: int, j: int, random: Random) -> int:
        return i if random.random() < 1 / (1 + exp(self.strengths[j] - self.strengths[i])) else j

    async def ask(
        self, case: Case, order: Order | None = None, sample: int = 0, among: Order | None = None, **_: object
    ) -> Judgment:
        """A judgment of one match."""
        self.asked += 1
        pair = tuple(sorted(order or among or ()))
        scores = tuple(float(player == self.won[pair[0], pair[1]]) for player in pair)
        return Judgment(Query(case.id, pair, sample, (), Sampling()), Completion(), Verdict(scores))


FORMATS = {"round_robin": round_robin(), "swiss": swiss(), "knockout": knockout()}


async def picks(field: Field, case: Case) -> tuple[dict[str, int], dict[str, int]]:
    """The pick of each format (of a tie at the top, the first), and the matches it played."""
    chosen: dict[str, int] = {}
    cost: dict[str, int] = {}
    for name, deliberate in FORMATS.items():
        before = field.asked
        scores = (await deliberate(field.ask, case)).verdict.scores or ()
        chosen[name], cost[name] = scores.index(max(scores)), field.asked - before
    return chosen, cost


async def pairing(groups: int, n: int = 16) -> None:
    """Swiss and knockout against round robin, by how well the judge tells the players apart."""
    print(f"\n{n} players with normal strengths; matches by Bradley-Terry; the same matches for all formats")
    print("spread   better wins |  same pick as round robin |  truly best is picked            | matches")
    print("(logits)  a match    |      swiss   knockout     |  round robin   swiss   knockout  | of 120")
    responses = tuple(f"response {i}" for i in range(n))
    for spread in (0.5, 1, 2, 4, 6, 8, 16):
        same = dict.fromkeys(FORMATS, 0)
        right, cost = dict.fromkeys(FORMATS, 0), dict.fromkeys(FORMATS, 0)
        better = 0
        for g in range(groups):
            field = Field(n, spread, g)
            chosen, paid = await picks(field, Case(str(g), (Message("user", "?"),), responses))
            better += sum(w == max(p, key=lambda i: field.strengths[i]) for p, w in field.won.items())
            for name in FORMATS:
                same[name] += chosen[name] == chosen["round_robin"]
                right[name] += chosen[name] == field.best
                cost[name] += paid[name]
        share = {name: [x[name] / groups for x in (same, right)] for name in FORMATS}
        rr, sw, ko = (share[name] for name in FORMATS)
        print(
            f"{spread:6} {better / groups / 120:10.1%}    | {sw[0]:10.1%} {ko[0]:10.1%}     |"
            f" {rr[1]:10.1%} {sw[1]:9.1%} {ko[1]:9.1%}    |"
            f" {cost['swiss'] / groups:.0f}, {cost['knockout'] / groups:.0f}"
        )


def main(cases: int, groups: int) -> None:
    """Print the tables."""
    started = time.perf_counter()
    published()
    print(f"\nshares of right votes: Beta with alpha + beta = {CONCENTRATION:g}, {cases} cases per judge")
    stopping(cases)
    asyncio.run(pairing(groups))
    print(f"\n{time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[1:]]
    main(*numbers, *(4000, 400)[len(numbers) :])
