"""The processes of a run, what they tell one another, and the event loop that each has for its judge."""

import asyncio
import atexit
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol, TypeVar
from weakref import ref

from jurist.core.errors import JuristError

T = TypeVar("T")


class Exchange(Protocol):
    """The processes of a run: who this one is, and a word from each to all."""

    rank: int

    def all(self, value: T) -> list[T]:
        """The value of each process, by rank; every process must call."""
        ...


def together(exchange: Exchange, work: Callable[[], T]) -> list[T]:
    """What the work came to in each process; an error in one is raised in all, so that none waits forever."""
    own: list[T] = []
    failure: Exception | None = None
    try:
        own.append(work())
    except Exception as error:
        failure = error
    told = exchange.all((own, "" if failure is None else f"{type(failure).__name__}: {failure}"))
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # it holds this frame, and so the group, in a cycle
    for rank, (_, text) in enumerate(told):
        if text:
            raise JuristError(f"process {rank}: {text}")
    return [value for values, _ in told for value in values]


class _Alone:
    """One process."""

    rank = 0

    def all(self, value: T) -> list[T]:
        """Its own value."""
        return [value]


class Processes:
    """The processes of torch.distributed, where it is in use; else this one.

    They talk over gloo in a group of their own: judging may take longer than the trainer's collectives
    may wait, and what is exchanged has no business on an accelerator.

    Groups belong to torch.distributed: whoever held one would keep its threads beyond
    ``destroy_process_group``, and threads at work while the interpreter ends abort the process (PyTorch's
    pull request 179291).
    """

    def __init__(self, patience: float) -> None:
        self._patience = timedelta(seconds=patience)
        self._world: Callable[[], Any] = _nothing
        self._group: Callable[[], Any] = _nothing

    def exchange(self) -> Exchange:
        """Who takes part in this call."""
        # Who did not import torch has initialised nothing, and need not have it.
        dist: Any = getattr(sys.modules.get("torch"), "distributed", None)
        if dist is None or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() < 2:
            return _Alone()
        if self._world() is not dist.group.WORLD:
            self._world = ref(dist.group.WORLD)
            self._group = ref(dist.new_group(backend="gloo", timeout=self._patience))
        return _Distributed(dist, self._group())


def _nothing() -> None:
    """Refer to nothing."""


class _Distributed:
    """All processes of torch.distributed."""

    def __init__(self, dist: Any, group: Any) -> None:
        self._dist, self._group = dist, group
        self.rank: int = dist.get_rank()

    def all(self, value: T) -> list[T]:
        """The values by rank; they are pickled."""
        values: list[Any] = [None] * self._dist.get_world_size()
        self._dist.all_gather_object(values, value, group=self._group)
        return values


class Loop:
    """An event loop in a thread of its own, from the first use to ``close`` or the exit."""

    def __init__(self, closed: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._closed = closed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for the coroutine; who is interrupted cancels it."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="jurist", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Cancel what still runs, close what the loop holds, and the loop."""
        loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        atexit.unregister(self.close)
        with suppress(Exception):  # an engine that cannot be closed must not hide why the program ends
            asyncio.run_coroutine_threadsafe(self._emptied(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()

    async def _emptied(self) -> None:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._closed()
