"""A thread that runs a model: queries that arrive together become one batch."""

import asyncio
import gc
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jurist.core.types import Sampling

# Queries of one batch arrive within this many seconds of each other; nobody joins a batch that runs.
_GATHERING = 0.05
_CLOSED = "the engine was closed"


@dataclass(slots=True, eq=False)
class Job:
    """One query on its way through the model's thread: to be continued, or its labels to be scored.

    ``limit`` is how many tokens may be written; ``written`` how many were, once a limit or a stop ended it.
    ``before`` is the end of the turn that is continued.
    """

    ids: list[int]
    sampling: Sampling
    limit: int = 1
    labels: tuple[int, ...] = ()
    written: int | None = None
    before: tuple[int, ...] = ()
    future: "Future[Any]" = field(default_factory=Future[Any])


class BatchThread:
    """Runs ``run(jobs)``, which gives an outcome for each job, in one thread, on at most ``width`` jobs.

    A job with labels runs alone. A batch that does not fit into the device's memory is halved.
    """

    def __init__(self, name: str, torch: Any, width: int, run: Callable[[list[Job]], list[Any]]) -> None:
        self._torch = torch
        self._width = width
        self._run = run
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._door = threading.Lock()
        self.closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def submit(self, job: Job) -> Any:
        """What became of a job; cancelling the awaiting task takes its row out of the batch.

        Raises ``RuntimeError``.
        """
        with self._door:
            if self.closed:
                raise RuntimeError("the engine is closed")
            self._queue.put(job)
        return await asyncio.wrap_future(job.future)

    def close(self) -> None:
        """Stop the thread, after the step it is at; what it had not answered fails."""
        with self._door:
            self.closed = True
            self._queue.put(None)
        self._thread.join(timeout=60)

    def free(self) -> None:
        """Give back memory that nothing holds any more."""
        gc.collect()
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            jobs = [j for j in batch if not j.future.cancelled()]
            for job in jobs:
                # Alone and unpadded: a prompt fills the device by itself, and the figures are the same
                # whatever else was asked.
                if job.labels:
                    self._settle([job])
            self._settle([j for j in jobs if not j.labels])

    def _next(self) -> list[Job] | None:
        """The jobs that wait together, at most a batch of them; None when the engine closes."""
        batch: list[Job] = []
        while len(batch) < self._width:
            try:
                job = self._queue.get(timeout=_GATHERING if batch else None)
            except queue.Empty:
                break
            if job is None:
                _fail(batch, RuntimeError(_CLOSED))
                return None
            batch.append(job)
        return batch

    def _settle(self, jobs: list[Job]) -> None:
        """Run a batch and hand out what came of it."""
        if not jobs:
            return
        crowded = False
        try:
            if self.closed:
                raise RuntimeError(_CLOSED)
            outcomes = self._run(jobs)
            if self.closed:
                raise RuntimeError(_CLOSED)
            for job, outcome in zip(jobs, outcomes, strict=True):
                with suppress(InvalidStateError):  # nobody waits any more
                    job.future.set_result(outcome)
        except Exception as error:  # the thread must outlive whatever a model raises
            crowded = len(jobs) > 1 and isinstance(error, self._torch.OutOfMemoryError)
            if not crowded:
                reason = str(error) if str(error) == _CLOSED else f"{type(error).__name__}: {error}"
                _fail(jobs, RuntimeError(reason))
        if crowded:
            # Out here, since the exception's traceback held the batch's tensors.
            self.free()
            self._settle(jobs[: len(jobs) // 2])
            self._settle(jobs[len(jobs) // 2 :])


def _fail(jobs: list[Job], error: RuntimeError) -> None:
    for job in jobs:
        with suppress(InvalidStateError):
            job.future.set_exception(error)
