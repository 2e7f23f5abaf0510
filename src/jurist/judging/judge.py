"""``Judge.ask(case) -> Judgment``: one judgment; the only place where slots are mapped back to responses."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from typing import Protocol as Protocol_

from msgspec.structs import replace

from jurist.core.errors import ConfigError, ProtocolError
from jurist.core.hashing import seed_of
from jurist.core.recent import Recent
from jurist.core.types import (
    Case,
    Completion,
    Conversation,
    Engine,
    Judgment,
    Order,
    Query,
    Sampling,
    Scores,
    Status,
    Verdict,
)
from jurist.judging.thinking import capped
from jurist.protocols.base import Protocol
from jurist.protocols.injection import guarded

_PROMPTS = 256
"""Rendered prompts that a judge holds."""

Forced = Literal["never", "missing", "always"]
"""When the verdict is read from the labels' probabilities: never, where the text has none, or always."""


class Memory(Protocol_):
    """Where paid judgments are kept; a run folder is one."""

    def recall(self, query: Query) -> Judgment | None:
        """The judgment of a query, if it was already paid for."""
        ...

    def record(self, judgment: Judgment) -> None:
        """Keep a judgment; it is safe when this returns."""
        ...


class JudgmentsInMemory:
    """Judgments without a run folder; as in one, those whose call failed are asked again."""

    def __init__(self) -> None:
        self._judgments: dict[str, Judgment] = {}

    def recall(self, query: Query) -> Judgment | None:
        """The judgment of a query that was asked before."""
        return self._judgments.get(query.key)

    def record(self, judgment: Judgment) -> None:
        """Keep a judgment."""
        if judgment.verdict.status is not Status.FAILED:
            self._judgments[judgment.query.key] = judgment


@dataclass(frozen=True, slots=True)
class Judge:
    """A protocol and an engine: who is asked, and how.

    ``sampling`` defaults to the protocol's own. ``seed`` decides orders and sampling seeds; the same seed
    asks the same queries. What ``memory`` holds is not asked again. ``first`` is the cheap judge of a
    cascade; without one it is this judge's reading without any thinking. ``name`` tells its queries apart.
    """

    protocol: Protocol
    engine: Engine
    sampling: Sampling | None = None
    forced: Forced = "never"
    seed: int = 0
    memory: Memory | None = None
    first: "Judge | None" = None
    name: str = ""
    # Both by the identity of the case, which the entry keeps alive.
    _prompts: Recent[tuple[int, Order], tuple[Case, Conversation]] = field(
        init=False, repr=False, compare=False, default_factory=lambda: Recent(_PROMPTS)
    )
    _guarded: Recent[int, tuple[Case, Case]] = field(
        init=False, repr=False, compare=False, default_factory=lambda: Recent(_PROMPTS)
    )

    async def ask(
        self,
        case: Case,
        order: Order | None = None,
        sample: int = 0,
        among: Order | None = None,
        *,
        budget: int | None = None,
        first: bool = False,
    ) -> Judgment:
        """One judgment of ``case``, its verdict in the order of the case.

        ``order[slot]`` is the response shown in that slot; without one, a seeded order that alternates
        from sample to sample. An order of some responses only (a match of a tournament) has a score for
        each of these, in ascending order; ``among`` names them where the order is left to the seed.
        ``budget`` caps the thinking of this ask (tokens), ``first`` asks the cheap judge. Failures of the
        engine come back as a verdict with a status.
        """
        if first:
            return await (self.first or self.reflex()).ask(case, order, sample, among)
        query = self.query(case, order or seeded_order(case, sample, self.seed, among), sample, budget)
        known = self.memory.recall(query) if self.memory else None
        if known is not None:
            return known
        published = _recorded(self.engine, query)
        if published is not None:
            return self._kept(Judgment(query, await self.engine(query), published))
        completion = await capped(self.engine, self.protocol, query, answer=self.forced != "always")
        verdict = self.protocol.parse(completion)
        forced: Completion | None = None
        if self._forces(completion, verdict):
            forced = await self.engine(self._forcing(query, completion))
            verdict = self._read(forced, verdict, len(query.order))
        return self._kept(Judgment(query, completion, to_case_order(verdict, query.order), forced))

    def _kept(self, judgment: Judgment) -> Judgment:
        if self.memory:
            self.memory.record(judgment)
        return judgment

    def reflex(self) -> "Judge":
        """This judge without thinking: its verdict is read from the labels' probabilities at once."""
        sampling = replace(self.sampling or self.protocol.sampling, temperature=0.0, thinking_budget=0)
        return dataclasses.replace(self, sampling=sampling, forced="always")

    def query(self, case: Case, order: Order, sample: int, budget: int | None = None) -> Query:
        """The call that asks for one judgment; pure."""
        n = len(case.responses)
        if len(set(order)) != len(order) or not all(0 <= i < n for i in order):
            raise ConfigError(f"order {order} does not name each of some of {n} responses once")
        check_arity(self.protocol, case, len(order))
        messages = self._prompt(case, order)
        sampling = self.sampling or self.protocol.sampling
        if budget is not None:
            sampling = replace(sampling, thinking_budget=budget)
        if sampling.temperature > 0 and sampling.seed is None:
            sampling = replace(sampling, seed=seed_of(self.seed, case.id, order, sample) % 2**31)
        return Query(case.id, order, sample, messages, sampling, judge=self.name)

    def _prompt(self, case: Case, order: Order) -> Conversation:
        """The rendered prompt; the votes on a case that is in work share it."""
        known = self._prompts.get((id(case), order))
        if known is not None and known[0] is case:
            return known[1]
        messages = self.protocol.render(self._guard(case).reordered(order))
        return self._prompts.put((id(case), order), (case, messages))[1]

    def _guard(self, case: Case) -> Case:
        """The case as a judge may see it; all orders and matches share it."""
        known = self._guarded.get(id(case))
        if known is not None and known[0] is case:
            return known[1]
        # Control tokens of the engine's tokenizer, where it knows them.
        tokens: Sequence[str] = getattr(self.engine, "control_tokens", ())
        return self._guarded.put(id(case), (case, guarded(case, tokens)))[1]

    def _forces(self, completion: Completion, verdict: Verdict) -> bool:
        if completion.error or self.forced == "never":
            return False
        return self.forced == "always" or verdict.status is not Status.OK

    def _forcing(self, query: Query, completion: Completion) -> Query:
        """The short second call: the turn so far, and which label comes next."""
        # The budget is no part of this call; it tells apart what is asked after more or less thinking.
        sampling = Sampling(max_tokens=1, thinking_budget=query.sampling.thinking_budget)
        prefill = self.protocol.prefill(completion)
        labels = self.protocol.slot.labels_of(len(query.order))
        return replace(query, sampling=sampling, prefill=prefill, choices=labels)

    def _read(self, forced: Completion, written: Verdict, n: int) -> Verdict:
        """The forced verdict; the written one where the engine could not give it."""
        slot = self.protocol.slot
        labels = slot.labels_of(n)
        scores = slot.scores(forced.logprobs, n) if forced.logprobs else None
        if scores is not None:
            return Verdict(scores, via="logprobs")
        label = forced.text.strip()
        if forced.finish != "error" and label in labels:
            hard = slot.scores({x: 0.0 if x == label else -1e9 for x in labels}, n)
            return Verdict(hard, via="choice")
        if written.status is Status.OK:
            return written
        reason = forced.error or "no label came back"
        return replace(written, note=f"{written.note}; forced verdict: {reason}".strip("; "))


def _recorded(engine: Engine, query: Query) -> Verdict | None:
    """The verdict that another program published for a query, where an engine replays its outputs."""
    recorded: Callable[[Query], Verdict | None] | None = getattr(engine, "recorded", None)
    return recorded(query) if recorded else None


def check_arity(protocol: Protocol, case: Case, n: int) -> None:
    """Raise ``ProtocolError`` where the protocol does not take ``n`` responses."""
    if n != protocol.arity and (protocol.arity or n < 2):
        hint = {
            1: "rate single responses with --protocol pointwise",
            2: "two responses are judged by a pair protocol such as rubrics",
        }.get(n, "more than two responses: a tournament, such as --deliberation 'knockout(swapped)'")
        raise ProtocolError(
            f"case {case.id!r} has {n} response{'s' * (n != 1)}; "
            f"the protocol {protocol.name!r} judges {protocol.arity or 'two or more'}",
            hint,
        )


def seeded_order(case: Case, sample: int, seed: int, among: Order | None = None) -> Order:
    """The order of sample ``sample``: rotated by one from sample to sample from a start hashed from ids.

    So the k votes of a case show each response in each slot equally often, as far as k allows.
    """
    shown = tuple(range(len(case.responses))) if among is None else tuple(sorted(among))
    n = len(shown)
    names = shown if among is not None else ()
    start = (seed_of(seed, case.id, *names) + sample) % n
    return tuple(shown[(start + slot) % n] for slot in range(n))


def to_case_order(verdict: Verdict, order: Order) -> Verdict:
    if verdict.scores is None:
        return verdict
    if len(verdict.scores) != len(order):
        note = f"a verdict on {len(verdict.scores)} of {len(order)} responses"
        return Verdict(status=Status.UNPARSED, note=note)
    slots = sorted(range(len(order)), key=lambda slot: order[slot])
    mapped: Scores = tuple(verdict.scores[slot] for slot in slots)
    return replace(verdict, scores=mapped)
