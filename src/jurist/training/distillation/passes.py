"""The two passes over one pair: a teacher writes a chain; if it is rejected, a repairer rewrites it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Unpack

from msgspec import structs

from jurist.core.errors import InputError
from jurist.core.types import Ask, AskOptions, Case, Judgment, Order, winner
from jurist.deliberation.votes import gather
from jurist.judging.judge import Judge, seeded_order
from jurist.training.distillation.acceptance import FLAWS, Reason, attempt_faults
from jurist.training.distillation.repair import label_of, repaired_parts, repairing
from jurist.training.distillation.rows import Draft, Keep, chosen, draft_of, drafted
from jurist.training.distillation.tally import Judged, Outcome

NOTHING = "(nothing was written)"


@dataclass(frozen=True, slots=True)
class Method:
    """How chains are asked for and which are kept.

    ``samples`` are the most attempts at a pair; with ``keep`` "first" the first good one ends them.
    ``longest`` is the most tokens of a row.
    """

    samples: int = 1
    both_orders: bool = False
    repair: bool = False
    keep: Keep = "first"
    keep_thinking: bool = True
    longest: int = 8192


class Attempt(NamedTuple):
    """One sample: a chain, or two of them in both orders, and the teacher's judgments that hold them."""

    judged: tuple[Judged, ...]
    judgments: tuple[Judgment, ...]

    @property
    def accepted(self) -> list[Draft]:
        """The drafts that nothing is wrong with."""
        return [draft for draft, reasons in self.judged if not reasons]

    @property
    def mendable(self) -> bool:
        """Whether it can become right: no call failed."""
        return not any(Reason.FAILED in reasons for _, reasons in self.judged)


class FlawedCase(Case, frozen=True):
    """A case whose rejected judgment is to be rewritten: the case that a repairer is asked about."""

    flawed: Judged | None = None


@dataclass(frozen=True, slots=True)
class Teacher:
    """A judge that writes chains and, if there is a second pass, the one that repairs them."""

    judge: Judge
    repairer: Judge | None = None

    async def ask(
        self, case: Case, order: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
    ) -> Judgment:
        """A judgment of the teacher; about a ``FlawedCase``, what the repairer makes of the flawed one."""
        flawed = case.flawed if isinstance(case, FlawedCase) else None
        if flawed is None or self.repairer is None:
            return await self.judge.ask(case, order, sample, **options)
        draft, reasons = flawed
        protocol = repairing(
            self.judge.protocol,
            label_of(self.judge.protocol, draft.query.order, wanted(case)),
            draft.content or NOTHING,
            [FLAWS[reason] for reason in reasons if reason in FLAWS],
            thinks=self.thinks(draft),
        )
        return await replace(self.repairer, protocol=protocol).ask(
            case, draft.query.order, draft.query.sample
        )

    def thinks(self, draft: Draft) -> bool:
        """Whether the student reasons before its answer."""
        return self.judge.protocol.opens_thinking or bool(draft.thinking.strip())

    def mended(self, draft: Draft, judgment: Judgment) -> Draft:
        """The repairer's text as the student's answer to the query of the first pass."""
        protocol = self.judge.protocol
        parts = repaired_parts(judgment.completion, protocol, thinks=self.thinks(draft))
        return drafted(judgment, draft.query, *parts, turn=2)


@dataclass(frozen=True, slots=True)
class Passes:
    """Both passes over a pair; ``ask`` is the teacher's, watched or not."""

    teacher: Teacher
    method: Method

    async def outcome(self, ask: Ask, case: Case) -> tuple[Outcome, tuple[Judgment, ...]]:
        """What becomes of a pair, and the judgments of the first pass."""
        attempts = await self._first(ask, case)
        accepted = [draft for attempt in attempts for draft in attempt.accepted]
        repaired: list[Judged] = []
        if self.method.repair and not accepted:
            # The first attempt that can be mended ends the second pass.
            for attempt in attempts:
                if attempt.mendable and not accepted:
                    mended = await self._mend(ask, case, attempt)
                    repaired += [judged for judged in mended.judged if judged[0].turn == 2]
                    accepted = mended.accepted
        first = tuple(judged for attempt in attempts for judged in attempt.judged)
        rows = tuple(chosen(accepted, self.method.keep))
        outcome = Outcome(case.id, wanted(case), first, tuple(repaired), rows)
        return outcome, tuple(judgment for attempt in attempts for judgment in attempt.judgments)

    async def _first(self, ask: Ask, case: Case) -> list[Attempt]:
        samples = range(self.method.samples)
        if self.method.keep != "first":
            return await gather(*[self._attempt(ask, case, sample) for sample in samples])
        attempts: list[Attempt] = []
        for sample in samples:
            attempts.append(await self._attempt(ask, case, sample))
            if attempts[-1].accepted:
                break
        return attempts

    async def _attempt(self, ask: Ask, case: Case, sample: int) -> Attempt:
        judge, keep = self.teacher.judge, self.method.keep_thinking
        order = seeded_order(case, sample, judge.seed)
        orders = (order, order[::-1]) if self.method.both_orders else (order,)
        judgments = tuple(await gather(*[ask(case, shown, sample) for shown in orders]))
        drafts = [draft_of(judgment, judge.protocol, keep_thinking=keep) for judgment in judgments]
        return Attempt(self._judged(case, drafts), judgments)

    async def _mend(self, ask: Ask, case: Case, attempt: Attempt) -> Attempt:
        """An attempt with its rejected chains rewritten."""

        async def one(judged: Judged) -> Draft:
            if not _flawed(judged):
                return judged[0]
            query = judged[0].query
            flawed = FlawedCase(**structs.asdict(case), flawed=judged)
            judgment = await ask(flawed, query.order, query.sample)
            return self.teacher.mended(judged[0], judgment)

        drafts = await gather(*[one(judged) for judged in attempt.judged])
        return Attempt(self._judged(case, drafts), attempt.judgments)

    def _judged(self, case: Case, drafts: Sequence[Draft]) -> tuple[Judged, ...]:
        protocol = self.teacher.judge.protocol
        reasons = attempt_faults(drafts, wanted(case), protocol, self.method.longest)
        return tuple(zip(drafts, reasons, strict=True))


def wanted(case: Case) -> int:
    """The response that gold prefers; raises ``InputError`` where it prefers none."""
    best = winner(case.gold)
    if best is None:
        raise InputError(f"case {case.id!r}: gold is {case.gold}, which prefers none of the responses")
    return best


def _flawed(judged: Judged) -> bool:
    """Whether a chain has a flaw of its own; one that is only wrong in the other order has none."""
    return bool(set(judged[1]) & FLAWS.keys())
