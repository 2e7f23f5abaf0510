"""Seconds and memory of scoring RewardBench, RM-Bench and RMB at full size, both orders, one thread.

The decisions are made here (their sizes are those of the published sets); what is measured is the count.
"""

import random
import resource
import time
from collections.abc import Iterator
from itertools import product

from jurist.benchmarks.base import scored
from jurist.benchmarks.rewardbench import REWARDBENCH, SIZES
from jurist.benchmarks.rm_bench import RM_BENCH
from jurist.benchmarks.rmb import RMB
from jurist.core.types import Completion, Decision, Judgment, Query, Sampling, Usage, Verdict

DOMAINS = {"chat": 129, "code": 228, "math": 529, "safety-refuse": 284, "safety-response": 157}
RIGHT, WRONG, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)


def decision(name: str, group: str, meta: dict[str, object], draw: random.Random) -> Decision:
    """A pair judged in both orders, each right with probability 0.8."""
    said = [RIGHT if draw.random() < 0.8 else WRONG for _ in range(2)]
    judgments = tuple(
        Judgment(Query(name, order, 0, (), Sampling()), Completion(usage=Usage(500, 400)), Verdict(scores))
        for order, scores in zip(((0, 1), (1, 0)), said, strict=True)
    )
    return Decision(name, Verdict(said[0] if said[0] == said[1] else TIE), judgments, 1.0, RIGHT, group, meta)


def rewardbench(draw: random.Random) -> Iterator[Decision]:
    """2,985 pairs."""
    for subset, n in SIZES.items():
        for i in range(n):
            yield decision(f"{subset}/{i}", subset, {}, draw)


def rm_bench(draw: random.Random) -> Iterator[Decision]:
    """1,327 prompts, nine pairs each."""
    for domain, n in DOMAINS.items():
        for i, (a, b) in product(range(n), product(range(3), range(3))):
            name = f"{domain}/{i}"
            yield decision(f"{name}/{a}{b}", domain.split("-")[0], {"prompt": name, "cell": [a, b]}, draw)


def rmb(draw: random.Random) -> Iterator[Decision]:
    """17,131 pairs, and 3,786 best-of-n items with 2 to 6 losers each."""
    for kind, sizes in {"pairwise": (10_067, 7_064), "bon": (2_109, 1_677)}.items():
        for part, n in zip(("Helpfulness", "Harmlessness"), sizes, strict=True):
            folder = "Pairwise_set" if kind == "pairwise" else "BoN_set"
            meta = {"category": f"{folder}/{part}/x"}
            for i in range(n):
                name, losers = f"{kind}/{part}/{i}", 2 if kind == "bon" else 1
                item = {"item": name, "losers": losers} if kind == "bon" else {}
                for j in range(losers):
                    yield decision(
                        f"{name}/{j}", f"{kind} {part.lower()}", meta | {"prompt": name} | item, draw
                    )


def main() -> None:
    """Score each, three times over."""
    draw = random.Random(0)
    sets = {
        "rewardbench": (REWARDBENCH, list(rewardbench(draw))),
        "rm-bench": (RM_BENCH, list(rm_bench(draw))),
        "rmb": (RMB, list(rmb(draw))),
    }
    total = 0.0
    for name, (benchmark, decisions) in sets.items():
        started = time.perf_counter()
        card = scored(benchmark.score, decisions)
        seconds = time.perf_counter() - started
        total += seconds
        print(f"{name}: {len(decisions):,} decisions in {seconds:.2f} s, headline {card.headline}")
    print(f"{total:.2f} s; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
