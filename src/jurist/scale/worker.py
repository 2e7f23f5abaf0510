"""A worker: one process with one judge, which decides pieces of a run, two at a time."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, Unpack

from jurist.core.errors import EngineError, JuristError, StoreError
from jurist.core.types import Ask, AskOptions, Case, Decide, Decision, Judgment, Order
from jurist.judging.pool import GiveUp, decide_all
from jurist.scale.part import Part, cases_at, recorded
from jurist.scale.work import Asking, Work

T = TypeVar("T")

SESSION = "session"
"""The file that names the command whose workers may work on a run."""

AT_ONCE = 2
"""Pieces of one worker: while the last cases of one are waited for, those of the next begin."""

CHECK_SECONDS = 2.0
"""Between two looks for an answer, and between two tries to reach an engine."""

STARTS = "starts.txt"
"""Which nodes began to load an engine (``+ NODE``), and where one was ready (``* NODE``)."""

STALLED = 86
"""Exit code of a worker that got no answer for too long."""


class Piece(NamedTuple):
    """Cases for a worker: where they stand in the run folder, and which of its judgments are about them."""

    name: str
    places: Sequence[int]
    known: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is told when it starts. ``parts`` is the folder of its parts, within the run folder.

    ``keys`` are environment variables with the keys of servers.
    """

    work: Work
    run: Path
    parts: Path
    session: str
    tries: int
    stall: float
    workers: int = 1
    keys: dict[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a piece: its name and nothing else, or why it ends the run."""

    name: str
    error: str = ""
    hint: str = ""


class Worker:
    """The judge of a process, its event loop in a thread, and a watch on whether answers come."""

    def __init__(self, post: Post) -> None:
        self._post = post
        os.environ.update({name: key for name, key in post.keys.items() if name not in os.environ})
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="jurist-worker", daemon=True).start()
        self._gate = Gate()
        self._waiting, self._answered = 0, time.monotonic()
        threading.Thread(target=self._watch, name="jurist-stall", daemon=True).start()
        self._asking: Future[Asking] = self._submit(self._ready())

    def work(self, piece: Piece) -> Outcome:
        """Decide the cases of a piece in its part; it may be called again for the same one."""
        try:
            self._admitted()
            if not self._done(piece.name).exists():
                asking = self._loaded()
                self._submit(self._decided(asking, piece)).result()
        except JuristError as error:
            return Outcome(piece.name, error.message, error.hint)
        return Outcome(piece.name)

    def _loaded(self) -> Asking:
        """The judge; raises ``EngineError`` where its engine is not ready in time: it may never be."""
        try:
            return self._asking.result(self._post.stall)
        except TimeoutError:
            raise EngineError(
                f"the engine on {os.uname().nodename} was not ready after {self._post.stall:.0f} s",
                hint="see Ray's log of the worker; --stall gives it more time",
            ) from None

    def _done(self, name: str) -> Path:
        return self._post.parts / f"{name}.done"

    def _admitted(self) -> None:
        """Raise where this worker does not see the run folder, or another command goes on with the run."""
        try:
            session = (self._post.parts / SESSION).read_text()
        except OSError as error:
            raise StoreError(
                f"the worker on {os.uname().nodename} cannot read {self._post.parts}: "
                f"{error.strerror or error}",
                hint="let --out be on a file system that all nodes of the cluster share",
            ) from None
        if session != self._post.session:
            raise StoreError(f"another command goes on with {self._post.run}", hint="let it finish")

    async def _ready(self) -> Asking:
        """The judge, once its engine can be reached; one that is being started is waited for."""
        self._note_start("+")
        asking = Asking.of(self._post.work)
        until = time.monotonic() + asking.setup.config.retry_for
        self._guard = GiveUp(asking.setup.config.give_up_after)
        while True:
            try:
                await asking.check()
                self._note_start("*")
                return asking
            except EngineError:
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(CHECK_SECONDS)

    def _note_start(self, mark: str) -> None:
        """Note that an engine is loaded, or ready; raises where workers die of it again and again."""
        post, node = self._post, os.uname().nodename
        path = post.parts / STARTS
        with suppress(OSError), path.open("a") as file:
            file.write(f"{mark} {node}\n")
        lines = path.read_text().splitlines() if path.exists() else []
        starts = 0
        for line in lines:
            starts = 0 if line == f"* {node}" else starts + (line == f"+ {node}")
        if starts > post.tries * post.workers:
            raise EngineError(
                f"workers on {node} died {starts - 1} times while their engine was loaded",
                hint="too little memory is the usual cause: see Ray's log of the worker",
            )

    async def _decided(self, asking: Asking, piece: Piece) -> None:
        post = self._post
        part = await asyncio.to_thread(Part, post.parts / piece.name, {"part": piece.name})
        try:
            cases = cases_at(post.run, piece.places)
            _remember(part, cases, recorded(post.run, piece.known))
            ask, decide = asking.remembering(part.store)
            fresh = [case for case in cases if not part.deaths[case.digest]]
            # A worker died while these were in work: each is alone in the process now.
            suspects = [case for case in cases if 0 < part.deaths[case.digest] < post.tries]
            for case in cases:
                if part.deaths[case.digest] >= post.tries and not part.store.has_decided(
                    case.id, case.digest
                ):
                    part.give_up(case)
            width = asking.setup.concurrency
            await self._all(part, fresh, ask, self._noted(part, decide, alone=False), width)
            await self._all(part, suspects, ask, self._noted(part, decide, alone=True), 1)
        finally:
            await asyncio.to_thread(part.close)

    async def _all(self, part: Part, cases: list[Case], ask: Ask, decide: Decide, width: int) -> None:
        stream = decide_all(
            cases, self._watched(ask), decide, concurrency=width, store=part.store, give_up_after=0, slim=True
        )
        async with aclosing(stream):
            async for _ in stream:
                pass

    def _watched(self, ask: Ask) -> Ask:
        """``ask``, whose answers are seen: by the watch, and by the count of failures in a row."""

        async def watched(
            case: Case, order: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
        ) -> Judgment:
            if not self._waiting:
                self._answered = time.monotonic()
            self._waiting += 1
            try:
                judgment = await ask(case, order, sample, **options)
            finally:
                self._waiting -= 1
                self._answered = time.monotonic()
            # Over all pieces: a piece alone may be too small to tell that the engine is gone.
            self._guard.see(judgment)
            return judgment

        return watched

    def _noted(self, part: Part, decide: Decide, *, alone: bool) -> Decide:
        """``decide``, noting in the part that a case is in work."""

        async def noted(ask: Ask, case: Case) -> Decision:
            async with self._gate.alone() if alone else self._gate.shared():
                part.begin(case.digest)
                try:
                    return await decide(ask, case)
                finally:
                    part.end(case.digest)

        return noted

    def _watch(self) -> None:
        """End this process where answers are waited for and none comes: Ray starts it anew."""
        while True:
            time.sleep(min(CHECK_SECONDS, self._post.stall / 4))
            if self._waiting and time.monotonic() - self._answered > self._post.stall:
                print(
                    f"no answer for {self._post.stall:.0f} s: this worker ends", file=sys.stderr, flush=True
                )
                os._exit(STALLED)

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


class Gate:
    """Lets cases into work together, or one alone."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = False
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def shared(self) -> AsyncGenerator[None]:
        """Together with others that share."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._inside += 1
        try:
            yield
        finally:
            async with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """With nobody else; those who come later wait."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._alone = True
            await self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            async with self._changed:
                self._alone = False
                self._changed.notify_all()


def _remember(part: Part, cases: list[Case], judgments: list[Judgment]) -> None:
    """Copy what the run already holds about undecided cases into their part."""
    by_id: dict[str, list[Judgment]] = {}
    for judgment in judgments:
        by_id.setdefault(judgment.query.case_id, []).append(judgment)
    for case in cases:
        for judgment in by_id.get(case.id, []):
            part.store.begin(case)
            if part.store.place(judgment.query.key) is None:
                part.store.record(judgment)
