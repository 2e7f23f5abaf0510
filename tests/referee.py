"""A judge of pairs by a rule, for tests of tournaments: who meets whom, and how many at once."""

import asyncio
from random import Random

from make import A_WINS, B_WINS, case

from jurist.core.types import (
    Case,
    Completion,
    Decision,
    Deliberation,
    Judgment,
    Query,
    Sampling,
    Status,
    Verdict,
)
from jurist.engines.scripted import ScriptedEngine


class Referee:
    """An ask that judges pairs by a rule: ``rule(i, j)``, i < j, is a verdict or the winner's index."""

    def __init__(self, rule) -> None:
        self.rule, self.asked, self.flying, self.widest = rule, [], 0, 0

    async def __call__(self, case: Case, order=None, sample=0, among=None, **_) -> Judgment:
        i, j = sorted(order or among)
        self.asked.append((i, j))
        self.flying += 1
        self.widest = max(self.widest, self.flying)
        await asyncio.sleep(0)
        self.flying -= 1
        said = self.rule(i, j)
        verdict = said if isinstance(said, Verdict) else Verdict((float(said == i), float(said == j)))
        return Judgment(Query(case.id, order or among, sample, (), Sampling()), Completion(), verdict)


def favours(word: str) -> ScriptedEngine:
    """An engine that prefers the slot with ``word``; without it, the first shown."""

    def script(query: Query) -> str:
        _, _, second = query.messages[-1].content.partition("[End of reply A]")
        return B_WINS if word in second else A_WINS

    return ScriptedEngine(script)


FAILED = Verdict(status=Status.FAILED, note="down")


def group(n: int, name: str = "1") -> Case:
    return case(name, *[f"response {i}" for i in range(n)], gold=None)


def by_rank(n: int, seed: int):
    """The rule of a judge that always prefers the stronger; and who is strongest."""
    strength = list(range(n))
    Random(seed).shuffle(strength)
    return (lambda i, j: max(i, j, key=lambda p: strength[p])), strength.index(n - 1)


def played(deliberation: Deliberation, referee: Referee, judged: Case) -> Decision:
    return asyncio.run(deliberation(referee, judged))


def champions(decision: Decision) -> list[int]:
    scores = decision.verdict.scores or ()
    return [i for i, s in enumerate(scores) if s == max(scores)]
