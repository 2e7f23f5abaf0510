"""How many calls may be in flight at once; short calls that end a judgment go first."""

import asyncio
from collections import deque
from types import TracebackType


class Slots:
    """A semaphore with two queues: an urgent caller gets the next free slot before all ordinary ones.

    A forced verdict is urgent: its reasoning is already paid for, and is on disk only when it is read.
    """

    def __init__(self, n: int) -> None:
        self._free = n
        self._urgent, self._ordinary = _Queue(self), _Queue(self)

    def held(self, *, urgent: bool = False) -> "_Queue":
        """Hold a slot: ``async with slots.held():``."""
        return self._urgent if urgent else self._ordinary

    async def acquire(self, queue: "deque[asyncio.Future[None]]") -> None:
        """Wait for a slot in a queue."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the slot had been given just before the caller went away
            raise

    def release(self) -> None:
        """Give a slot to who waits for one, the urgent first."""
        for queue in (self._urgent.turns, self._ordinary.turns):
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1


class _Queue:
    """Who waits for a slot; ``async with`` waits for one and gives it back. One object serves all calls."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.turns: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        await self._slots.acquire(self.turns)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.release()
