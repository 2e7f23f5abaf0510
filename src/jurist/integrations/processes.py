"""What the processes of a training exchange, and the event loop in which each of them asks its judge."""

import asyncio
import atexit
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import Any, Protocol, TypeVar
from weakref import ref

from anyio.from_thread import BlockingPortal, start_blocking_portal

from jurist.core.errors import JuristError

T = TypeVar("T")


class ProcessGroup(Protocol):
    """The processes of a run."""

    rank: int

    def all_gather(self, value: T) -> list[T]:
        """The value of each process, by rank; every process must call."""
        ...


def gathered(group: ProcessGroup, work: Callable[[], T]) -> list[T]:
    """The result of the work in each process; an error in one is raised in all, so none waits on."""
    results: list[T] = []
    failure: Exception | None = None
    try:
        results.append(work())
    except Exception as error:
        failure = error
    message = "" if failure is None else f"{type(failure).__name__}: {failure}"
    by_rank = group.all_gather((results, message))
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # it holds this frame, and so the group, in a cycle
    for rank, (_, text) in enumerate(by_rank):
        if text:
            raise JuristError(f"process {rank}: {text}")
    return [value for values, _ in by_rank for value in values]


class _SingleProcess:
    """One process."""

    rank = 0

    def all_gather(self, value: T) -> list[T]:
        """Its own value."""
        return [value]


class Processes:
    """The processes of torch.distributed, where it is in use; else this one.

    They talk over gloo in a group of their own: judging may take longer than the trainer's collectives
    may wait, and what is exchanged has no business on an accelerator.

    Groups belong to torch.distributed: a reference to one would keep its threads alive after
    ``destroy_process_group``, and threads at work while the interpreter ends abort the process (PyTorch's
    pull request 179291).
    """

    def __init__(self, patience: float) -> None:
        self._timeout = timedelta(seconds=patience)
        self._world: Callable[[], object] = _nothing
        self._group: Callable[[], object] = _nothing

    def group(self) -> ProcessGroup:
        """The processes that take part in this call."""
        # If torch was not imported, nothing is initialised, and torch need not be installed.
        dist: Any = getattr(sys.modules.get("torch"), "distributed", None)
        if dist is None or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() < 2:
            return _SingleProcess()
        if self._world() is not dist.group.WORLD:
            self._world = ref(dist.group.WORLD)
            self._group = ref(dist.new_group(backend="gloo", timeout=self._timeout))
        return _TorchProcesses(dist, self._group())


def _nothing() -> None:
    """The reference to a group before there is one."""


class _TorchProcesses:
    """All processes of torch.distributed."""

    def __init__(self, dist: Any, group: Any) -> None:
        self._dist, self._group = dist, group
        self.rank: int = dist.get_rank()

    def all_gather(self, value: T) -> list[T]:
        """The values by rank; they are pickled."""
        values: list[Any] = [None] * self._dist.get_world_size()
        self._dist.all_gather_object(values, value, group=self._group)
        return values


class LoopThread:
    """An event loop in a thread of its own, from the first use to ``close`` or the exit.

    Several threads may use it. ``aclose`` is awaited in the loop before it ends, closing what belongs there.
    """

    def __init__(self, aclose: Callable[[], Awaitable[None]]) -> None:
        self._aclose = aclose
        self._lock = threading.Lock()
        self._running: AbstractContextManager[BlockingPortal] | None = None
        self._portal: BlockingPortal | None = None
        self._futures: set[Future[Any]] = set()

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Start the work in the loop; cancelling the future cancels it."""
        with self._lock:
            if self._portal is None:
                self._running = start_blocking_portal(name="jurist")
                self._portal = self._running.__enter__()
                atexit.register(self.close)
            future: Future[T] = self._portal.start_task_soon(work)
            self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Wait for the work; an interrupt cancels it."""
        future = self.start(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Cancel what still runs, close what belongs to the loop, and the loop."""
        with self._lock:
            running, portal, self._running, self._portal = self._running, self._portal, None, None
        if running is None or portal is None:
            return
        atexit.unregister(self.close)
        for future in list(self._futures):
            future.cancel()
        with suppress(Exception):  # an engine that cannot be closed must not hide why the program ends
            portal.call(asyncio.wait_for, self._aclose(), 30)
        running.__exit__(None, None, None)
