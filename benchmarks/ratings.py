"""What a rating costs, and how often its best player is the best: groups of 8, from planted strengths.

    python benchmarks/ratings.py [GROUPS]

One core. Strengths are drawn from N(0, 1.5²) in logits, results from the logistic curve. The floor of
Bradley-Terry is the same Newton steps in numpy, on counts that are already matrices.
"""

import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from jurist.deliberation.ratings import Match, bradley_terry, elo, win_rate

PLAYERS = 8
Rate = Callable[[Sequence[Match]], Sequence[float]]
METHODS: dict[str, Rate] = {
    "win_rate": lambda matches: win_rate(PLAYERS, matches),
    "elo": lambda matches: elo(PLAYERS, matches),
    "bradley_terry": lambda matches: bradley_terry(PLAYERS, matches).values,
}


def everybody(_: random.Random) -> list[tuple[int, int]]:
    """Round robin: each pair once, 28 matches."""
    return list(combinations(range(PLAYERS), 2))


def opponents(generator: random.Random, k: int = 4) -> list[tuple[int, int]]:
    """RRM's arena: each player draws k opponents, so that a pair may meet twice; 32 matches with k = 4."""
    players = range(PLAYERS)
    return [(i, j) for i in players for j in generator.sample([p for p in players if p != i], k)]


def sparse(generator: random.Random) -> list[tuple[int, int]]:
    """Each player draws one opponent: 8 matches."""
    return opponents(generator, 1)


def play(
    generator: random.Random, strengths: Sequence[float], schedule: Sequence[tuple[int, int]]
) -> list[Match]:
    """Results in random seats and order."""
    matches: list[Match] = []
    for pair in generator.sample(schedule, len(schedule)):
        i, j = generator.sample(pair, 2)
        chance = 1 / (1 + math.exp(strengths[j] - strengths[i]))
        matches.append(Match(i, j, float(generator.random() < chance)))
    return matches


def floor(counts: np.ndarray, wins: np.ndarray) -> np.ndarray:
    """Bradley-Terry in numpy: six Newton steps (what ours takes, nearly always) and the errors."""
    theta, eye = np.zeros(PLAYERS), np.eye(PLAYERS) / 4
    hessian = eye
    for _ in range(6):
        p = 1 / (1 + np.exp(theta[None] - theta[:, None]))
        weights = counts * p * (1 - p)
        hessian = np.diag(weights.sum(1)) - weights + eye
        theta = theta + np.linalg.solve(hessian, wins - (counts * p).sum(1) - theta / 4)
    return np.array([theta, np.sqrt(np.diag(np.linalg.inv(hessian)))])


def seconds(work: Callable[[], object]) -> float:
    """Processor time: other processes on the machine do not count."""
    started = time.process_time()
    work()
    return time.process_time() - started


def costs(groups: Sequence[Sequence[Match]]) -> None:
    """Seconds for all groups, and their ratio to the cheapest."""
    took = {name: seconds(lambda rate=rate: [rate(g) for g in groups]) for name, rate in METHODS.items()}
    counts, wins = np.zeros((len(groups), PLAYERS, PLAYERS)), np.zeros((len(groups), PLAYERS))
    for g, group in enumerate(groups):
        for m in group:
            counts[g, m.first, m.second] += 1
            counts[g, m.second, m.first] += 1
            wins[g, m.first] += m.score
            wins[g, m.second] += 1 - m.score
    took["numpy floor"] = seconds(lambda: [floor(c, w) for c, w in zip(counts, wins, strict=True)])
    print(f"{len(groups):,} groups of {PLAYERS}, 28 matches each")
    for name, value in took.items():
        ratio = value / took["win_rate"]
        print(
            f"  {name:14} {value:6.2f} s  {value / len(groups) * 1e3:7.4f} ms/group  {ratio:5.1f} x win_rate"
        )
    print(f"  bradley_terry / numpy floor: {took['bradley_terry'] / took['numpy floor']:.2f}")


def credit(ratings: Sequence[float], best: int) -> tuple[float, bool]:
    """The best player's share of the pick, and whether the pick is a tie."""
    top = [i for i, r in enumerate(ratings) if r == max(ratings)]
    return (best in top) / len(top), len(top) > 1


def picks(n: int, schedule: Callable[[random.Random], list[tuple[int, int]]]) -> None:
    """How often each method picks the best of 8; ties share the pick."""
    generator, right, ties = (
        random.Random(schedule.__name__),
        dict.fromkeys(METHODS, 0.0),
        dict.fromkeys(METHODS, 0),
    )
    for _ in range(n):
        strengths = [generator.gauss(0, 1.5) for _ in range(PLAYERS)]
        matches = play(generator, strengths, schedule(generator))
        for name, rate in METHODS.items():
            share, tied = credit(rate(matches), strengths.index(max(strengths)))
            right[name] += share
            ties[name] += tied
    said = ", ".join(f"{name} {right[name] / n:.3f} ({ties[name] / n:.0%} tied)" for name in METHODS)
    print(f"  {schedule.__name__:10} {len(schedule(generator)):3} matches: {said}")


def main(n: int) -> None:
    """Costs, then picks."""
    generator = random.Random(0)
    groups = [
        play(generator, [generator.gauss(0, 1.5) for _ in range(PLAYERS)], everybody(generator))
        for _ in range(n)
    ]
    costs(groups)
    print(f"picks the best of {PLAYERS} (standard error about {0.5 / math.sqrt(n):.3f})")
    for schedule in (everybody, opponents, sparse):
        picks(n, schedule)


if __name__ == "__main__":
    main(int((*sys.argv[1:], "10000")[0]))
