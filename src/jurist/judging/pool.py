"""Decides many cases at once; each judgment and decision is on disk as soon as it exists."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar, Unpack

from msgspec.structs import replace

from jurist.core.errors import EngineError
from jurist.core.garbage import fewer_collections
from jurist.core.hash_set import HashSet
from jurist.core.records import slim as slim_judgment
from jurist.core.store import Store
from jurist.core.types import (
    IDENTICAL,
    Ask,
    AskOptions,
    Case,
    Decide,
    Decision,
    Judgment,
    Order,
    Status,
    Verdict,
)
from jurist.engines.replay import UNRECORDED

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class RunProgress:
    """What a run has done so far: ``remembered`` judgments came from its folder, ``tokens`` were paid now.

    ``kept`` decisions came from the folder; of the ``graded`` ones (with gold and a verdict) so many are
    ``right``.
    """

    decisions: int = 0
    kept: int = 0
    graded: int = 0
    right: int = 0
    judgments: int = 0
    remembered: int = 0
    tokens: int = 0
    statuses: dict[Status, int] = field(default_factory=dict[Status, int])

    @property
    def unanswered(self) -> int:
        """Judgments without a verdict."""
        return sum(n for status, n in self.statuses.items() if status is not Status.OK)

    def count(self, judgment: Judgment, *, paid: bool = True) -> None:
        """Count a judgment."""
        self.judgments += 1
        self.tokens += judgment.usage.completion_tokens - judgment.reused.completion_tokens if paid else 0
        status = judgment.verdict.status
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def remember(self, decision: Decision) -> None:
        """Count a decision that was there, and its judgments."""
        self.kept += 1
        self.recall(decision)

    def recall(self, decision: Decision) -> None:
        """Count the judgments of a decision that was counted when its case was passed over."""
        self.remembered += len(decision.judgments)
        for judgment in decision.judgments:
            self.count(judgment, paid=False)


Watch = Callable[[RunProgress], None]


_PASSED_AT_ONCE = 256
"""Cases that are passed over before others have their turn."""


class GiveUp:
    """Stops a run after so many failed calls in a row: its engine is gone."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._row = 0

    def see(self, judgment: Judgment) -> None:
        """Count a judgment; raises ``EngineError`` where too many in a row failed."""
        failed = judgment.verdict.status is Status.FAILED
        self._row = self._row + 1 if failed else 0
        if self._after and self._row >= self._after:
            hint = "mend the engine and run the same command again: it goes on where it stopped"
            if judgment.verdict.note.startswith(UNRECORDED):
                hint = "ask as that run was asked: its cases, protocol, sampling, seed, and no more samples"
            raise EngineError(
                f"{self._row} calls in a row failed; the last one: {judgment.verdict.note}", hint
            )


async def decide_all(
    cases: Iterable[Case],
    ask: Ask,
    deliberate: Decide,
    *,
    concurrency: int,
    store: Store | None = None,
    progress: RunProgress | None = None,
    watch: Watch = lambda _: None,
    give_up_after: int = 100,
    slim: bool = False,
    settled: HashSet | None = None,
) -> AsyncGenerator[Decision]:
    """Decisions as they fall, ``concurrency`` cases at a time; memory does not grow with the cases.

    With a store, cases that it has decided come back at once (``slim``: without texts) and are not asked
    again; those whose digest is in ``settled`` do not come at all, and are taken out of it. Raises
    ``EngineError`` after ``give_up_after`` failed calls in a row (0: never).
    """
    task = Task(ask, deliberate, store, slim=slim, settled=settled)
    stream = decide_tasks(
        ((task, case) for case in cases),
        concurrency=concurrency,
        progress=progress,
        watch=watch,
        give_up_after=give_up_after,
    )
    async with aclosing(stream):
        async for _, decision in stream:
            yield decision


def unless_identical(deliberate: Decide, arity: int) -> Decide:
    """``deliberate``, but a case of identical responses is a tie (note ``IDENTICAL``) without a call.

    A judge of single responses (``arity`` 1) is asked: its ratings say something of them all the same.
    """

    async def decide(ask: Ask, case: Case) -> Decision:
        n = len(case.responses)
        if arity == 1 or n < 2 or len(set(case.responses)) > 1:
            return await deliberate(ask, case)
        tie = Verdict((1 / n,) * n, note=IDENTICAL)
        return Decision(case.id, tie, gold=case.gold, group=case.group, meta=case.meta)

    return decide


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """How cases are decided and where that is kept; several share one pool."""

    ask: Ask
    deliberate: Decide
    store: Store | None = None
    slim: bool = False
    """Decisions that the store remembers come without texts: enough for scores, and faster."""
    settled: HashSet | None = None
    """Digests of cases that are passed over, and taken out of it: 4 us each instead of 40."""


async def decide_tasks(
    work: Iterable[tuple[Task, Case]],
    *,
    concurrency: int,
    progress: RunProgress | None = None,
    watch: Watch = lambda _: None,
    give_up_after: int = 100,
) -> AsyncGenerator[tuple[Task, Decision]]:
    """As ``decide_all``, each case with its task; the next task begins while the last cases of one run."""
    progress = progress or RunProgress()
    guard = GiveUp(give_up_after)

    async def one(item: tuple[Task, Case]) -> tuple[Task, Decision] | None:
        task, case = item
        digest = case.digest
        if task.settled is not None and task.settled.take(digest):
            progress.decisions += 1
            progress.kept += 1
            if progress.decisions % _PASSED_AT_ONCE == 0:
                watch(progress)
                await asyncio.sleep(0)
            return None

        async def watched(
            case: Case, order: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
        ) -> Judgment:
            judgment = await task.ask(case, order, sample, **options)
            progress.count(judgment)
            watch(progress)
            guard.see(judgment)
            return judgment

        known = task.store.decided(case.id, digest, texts=not task.slim) if task.store else None
        if known is not None:
            progress.remember(known)
            return task, known
        if task.store:
            task.store.begin(case, digest)
        decision = await task.deliberate(watched, case)
        if task.store:
            task.store.decide(decision, digest)
        return task, decision

    with fewer_collections():
        async with aclosing(_pooled(iter(work), one, concurrency)) as decided:
            async for both in decided:
                progress.decisions += 1
                right = both[1].right
                progress.graded += right is not None
                progress.right += bool(right)
                watch(progress)
                yield both


async def _pooled(
    work: Iterator[T], one: Callable[[T], Awaitable[R | None]], width: int
) -> AsyncGenerator[R]:
    """What ``one`` finds in all work, ``width`` at a time; the first error cancels the rest and is raised."""
    done: asyncio.Queue[R | BaseException | None] = asyncio.Queue(maxsize=2 * width)

    async def worker() -> None:
        try:
            for item in work:
                found = await one(item)
                if found is not None:
                    await done.put(found)
            await done.put(None)
        except Exception as error:
            await done.put(error)

    workers = [asyncio.create_task(worker()) for _ in range(width)]
    try:
        left = width
        while left:
            item = await done.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def spread(cases: Sequence[Case], limit: int | None, unit: str | None = None) -> Sequence[Case]:
    """About ``limit`` of the cases, evenly spread over them; all where there are no more.

    Cases with the same ``meta[unit]`` are taken together or not at all.
    """
    if limit is None or limit >= len(cases):
        return cases
    units: dict[object, list[Case]] = {}
    for i, case in enumerate(cases):
        units.setdefault(case.meta.get(unit, i) if unit else i, []).append(case)
    together = list(units.values())
    n = max(1, min(len(together), round(limit * len(together) / len(cases))))
    return [case for i in range(n) for case in together[i * len(together) // n]]


def slim(decision: Decision) -> Decision:
    """The decision without its texts: all that scores need, for runs that do not fit into memory."""
    return replace(decision, judgments=tuple(map(slim_judgment, decision.judgments)))
