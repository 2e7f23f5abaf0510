"""Plays deliberations through without a model: how many calls they make, and what those would read and write.

Nobody knows a judge's verdicts beforehand, and early stopping, escalation and tournaments depend on them. So
each case is decided several times by made-up judges: clear ones, undecided ones, such that contradict
themselves, such that are cut or say nothing. The fewest and the most calls among these are the range; where
they are the same for every case, the number is exact. Of votes, escalations and cascades the ends of the
range are the least and the most that there can be; of tournaments that pair by results, what was met.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from jurist.core.hashing import seed_of
from jurist.core.types import Case, Completion, Conversation, Finish, Query, Status, Usage, Verdict
from jurist.engines.base import EngineBase
from jurist.engines.openai.address import is_address
from jurist.judging.build import JudgeSetup
from jurist.judging.judge import JudgmentsInMemory
from jurist.judging.pool import spread, unless_identical
from jurist.protocols.base import Protocol

SAMPLED = 200
"""So many cases, evenly spread, are decided by all made-up judges first, and have their prompts counted."""

COUNTED, COUNTED_IN_RANGES = 20_000, 2_000
"""At most so many cases are played through; of more, an evenly spread part. Where the made-up judges differ,
each case is decided by all of them."""


@dataclass(frozen=True, slots=True)
class MadeUp:
    """A judge that says the same kind of thing each time.

    ``says``: "clear" (the earlier response of the case is better), "ranked" (the one that stands higher in a
    ranking by chance, from ``seed``), "draw" (by chance each time), "split" (the slot shown first is best, so
    that both orders contradict each other), "tie", "nothing".
    """

    says: str
    finish: Finish = "stop"
    seed: int = 0

    def preferred(self, query: Query) -> int | None:
        """The slot that it prefers; None for a tie or nothing."""
        if self.says == "clear":
            return query.order.index(min(query.order))
        if self.says == "split":
            return 0
        if self.says == "ranked":
            ranks = [seed_of("ranked", self.seed, query.case_id, i) for i in query.order]
            return ranks.index(max(ranks))
        if self.says == "draw":
            drawn = seed_of("dry run", self.seed, query.case_id, query.order, query.sample)
            return drawn % len(query.order)
        return None

    def verdict(self, query: Query, protocol: Protocol) -> Verdict:
        """What it says of the responses in their slots."""
        n, best = len(query.order), self.preferred(query)
        if self.says == "nothing":
            return Verdict(status=Status.TRUNCATED if self.finish == "length" else Status.UNPARSED)
        if protocol.arity == 1:
            return Verdict((float(query.order[0] if self.says == "clear" else (best or 0) + self.seed),))
        return Verdict((1 / n,) * n if best is None else tuple(float(i == best) for i in range(n)))

    def logprobs(self, query: Query) -> dict[str, float]:
        """The probabilities of the labels, nearly certain or equal."""
        best = self.preferred(query)
        labels = query.choices
        if best is None:
            return dict.fromkeys(labels, -1.0)
        rated = len(labels) != len(query.order)
        best = (query.order[0] if rated else best) % len(labels)
        return {label: -0.001 if i == best else -7.0 for i, label in enumerate(labels)}


CERTAIN = MadeUp("clear")
JUDGES = (
    CERTAIN,
    MadeUp("split"),
    MadeUp("tie"),
    *(MadeUp("ranked", seed=i) for i in range(4)),
    *(MadeUp("draw", seed=i) for i in range(4)),
    MadeUp("nothing"),
    MadeUp("clear", "length"),
    MadeUp("split", "length"),
    MadeUp("nothing", "length"),
)


class CaseCalls(NamedTuple):
    """Calls about a case: ``first`` ones read a prompt, ``continued`` ones the prompt and a beginning.

    ``most_written``: tokens that they may write together at most.
    """

    first: int = 0
    continued: int = 0
    most_written: int = 0

    @property
    def calls(self) -> int:
        """All of them."""
        return self.first + self.continued


class Span(NamedTuple):
    """From ``low`` to ``high``; equal where the number is certain."""

    low: float
    high: float

    def __mul__(self, factor: object) -> "Span":
        """Both ends times a number."""
        assert isinstance(factor, int | float)
        return Span(self.low * factor, self.high * factor)

    def plus(self, other: "Span") -> "Span":
        """The sum, end by end."""
        return Span(self.low + other.low, self.high + other.high)


ZERO = Span(0, 0)


class DryRun(NamedTuple):
    """What judging ``cases`` cases takes: calls of both kinds and the most tokens that they may write.

    ``played`` cases were played through; where there are more, the numbers are scaled. ``prompts`` are calls
    of some of the cases, as they would be asked; of ``continued`` ones the reasoning is missing.
    """

    cases: int
    played: int
    first: Span = ZERO
    continued: Span = ZERO
    most_written: Span = ZERO
    prompts: tuple[Query, ...] = ()

    @property
    def calls(self) -> Span:
        """All of them."""
        return self.first.plus(self.continued)


async def dry_run(
    setup: JudgeSetup, cases: Sequence[Case], *, of: int | None = None, kept: bool = False
) -> DryRun:
    """Play a judge's cases through; nobody is asked. ``kept``: a run folder remembers what was asked.

    ``of``: how many cases there are, where these are an even part of them. Raises what the deliberation and
    the protocol raise for cases that they cannot judge.
    """
    if not cases:
        return DryRun(0, 0)
    sample = spread(cases, SAMPLED)
    caps = (False, True) if is_address(setup.config.engine) else (setup.engine.caps_thinking,)
    judges = [_Rehearsal(setup, judge, cap, kept=kept) for judge in JUDGES for cap in caps]
    spans = [await _spans(judges, case) for case in sample]
    if all(span.low == span.high for both in spans for span in both[:2]):
        judges = judges[:1]
    counted = spread(cases, COUNTED if len(judges) == 1 else COUNTED_IN_RANGES)
    if len(counted) > len(sample) or len(judges) == 1:
        spans = [await _spans(judges, case) for case in counted]
    asking = _Rehearsal(setup, CERTAIN, caps[-1], kept=kept, prompts=True)
    for case in sample:
        await asking.case(case)
    total = of or len(cases)
    totals = [_sum(column) * (total / len(counted)) for column in zip(*spans, strict=True)]
    return DryRun(total, len(counted), *totals, prompts=tuple(asking.asked))


def _sum(spans: Sequence[Span]) -> Span:
    return Span(sum(s.low for s in spans), sum(s.high for s in spans))


async def _spans(judges: Sequence["_Rehearsal"], case: Case) -> list[Span]:
    """The fewest and the most of each number about a case."""
    counts = [await judge.case(case) for judge in judges]
    return [Span(min(column), max(column)) for column in zip(*counts, strict=True)]


class _Rehearsal:
    """A setup with one made-up judge in place of its engines; without ``prompts`` nothing is rendered."""

    def __init__(
        self, setup: JudgeSetup, made_up: MadeUp, caps: bool, *, kept: bool, prompts: bool = False
    ) -> None:
        self.asked: list[Query] = []
        self._counts = CaseCalls()
        self._keeps, self._made_up, self._caps, self._prompts = kept, made_up, caps, prompts
        self._setup = self._dry(setup)

    async def case(self, case: Case) -> CaseCalls:
        """The calls about a case."""
        self._counts = CaseCalls()
        judge = self._setup.judge(JudgmentsInMemory() if self._keeps else None)
        await unless_identical(self._setup.deliberate, self._setup.protocol.arity)(judge.ask, case)
        return self._counts

    def count(self, query: Query) -> None:
        """Count a call."""
        first, continued, written = self._counts
        more = query.prefill is not None
        most = 1 if query.choices else query.sampling.max_tokens
        self._counts = CaseCalls(first + (not more), continued + more, written + most)
        if self._prompts:
            self.asked.append(query)

    def _dry(self, setup: JudgeSetup) -> JudgeSetup:
        protocol, made_up = setup.protocol, self._made_up
        engine = _DryEngine(setup.engine, made_up, self, caps=self._caps)

        def parse(_: Completion) -> Verdict:
            # Nothing is awaited between a call and the reading of its text.
            asked = engine.last
            return Verdict(status=Status.UNPARSED) if asked is None else made_up.verdict(asked, protocol)

        def blank(_: Case) -> Conversation:
            return ()

        dry = replace(protocol, parse=parse, render=protocol.render if self._prompts else blank)
        first = self._dry(setup.first) if setup.first else None
        return replace(setup, protocol=dry, engine=engine, first=first)


class _DryEngine(EngineBase):
    """Answers like a made-up judge, and has its calls counted."""

    def __init__(self, behind: EngineBase, made_up: MadeUp, counter: _Rehearsal, *, caps: bool) -> None:
        self.caps_thinking, self.concurrency = caps, behind.concurrency
        self.last: Query | None = None
        self._made_up, self._counter = made_up, counter

    async def __call__(self, query: Query) -> Completion:
        self._counter.count(query)
        self.last = query
        if query.choices:
            return Completion(usage=Usage(0, 1), logprobs=self._made_up.logprobs(query))
        return Completion(finish=self._made_up.finish)
