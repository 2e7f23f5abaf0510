"""Names for samples whose callers send none, and connections that are given back to their clients."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from itertools import count
from typing import Any

import msgspec

from jurist.core.types import Conversation, Response

KEPT = 900.0
"""Seconds for which a name waits for its retry; as long as the cohort keeps rewards."""

MOST_NAMES = 100_000
"""Names that are remembered at most; beyond, the oldest are forgotten."""

ROUNDS = 5
"""Rounds of the event loop in which the loss of a connection is noticed, if it came with the request."""


class Caller:
    """Who sent a request. When the connection is lost before the answer, what was left to do then is done.

    ``receive`` is the connection's, which is watched from the first action on; ``close`` ends that.
    """

    def __init__(self, address: str = "", receive: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.address = address
        self.gone = False
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self._actions: list[Callable[[], None]] = []

    def on_leaving(self, action: Callable[[], None]) -> None:
        """Do this when the caller disconnects; at once where that has happened."""
        if self.gone:
            action()
            return
        self._actions.append(action)
        if self._watch is None and self._receive is not None:
            self._watch = asyncio.create_task(self._watched(self._receive))

    async def settled(self) -> None:
        """Return when a connection that is lost already is known to be.

        A server that was held up reads a request, the loss of its connection and the retry all at once, the
        loss a few rounds of the event loop later.
        """
        self.on_leaving(lambda: None)
        for _ in range(ROUNDS):
            if self.gone:
                return
            await asyncio.sleep(0)

    def leave(self) -> None:
        """The connection is lost."""
        self.gone = True
        while self._actions:
            self._actions.pop()()

    def close(self) -> None:
        """The request is answered: from now on nothing is done when the caller leaves."""
        if self._watch is not None:
            self._watch.cancel()

    async def _watched(self, receive: Callable[[], Awaitable[Any]]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.leave()


class SampleKeys:
    """Keys by caller, prompt and response: a new one each time, unless one waits for a retry.

    Two equal responses at once are two samples of a group, the same one after a lost connection is one
    sample sent again, and the same one in the next epoch is a new sample.
    """

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most, self._numbers = most, count()
        self._waiting: OrderedDict[tuple[bytes, str], float] = OrderedDict()
        self._by_name: dict[bytes, list[str]] = {}

    def take(self, name: bytes, now: float) -> str:
        """The key of a sample that just came."""
        self._forget(now)
        waiting = self._by_name.get(name)
        if not waiting:
            return f"jurist-{next(self._numbers)}"
        key = waiting[0]
        self._drop(name, key)
        return key

    def give_back(self, name: bytes, key: str, now: float) -> None:
        """The caller has no answer under this key, and may ask for it again."""
        if (name, key) not in self._waiting:
            self._waiting[name, key] = now + KEPT
            self._by_name.setdefault(name, []).append(key)
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._waiting:
            (name, key), until = next(iter(self._waiting.items()))
            if until > now and len(self._waiting) <= self._most:
                return
            self._drop(name, key)

    def _drop(self, name: bytes, key: str) -> None:
        del self._waiting[name, key]
        self._by_name[name].remove(key)
        if not self._by_name[name]:
            del self._by_name[name]


def sample_name(
    address: str, prompt: Conversation, response: Response, group: str | None, reference: str | None
) -> bytes:
    """What a sample shares with its retries."""
    whole = msgspec.json.encode((address, prompt, response, group, reference))
    return blake2b(whole, digest_size=16).digest()


class HeldConnections:
    """Samples that hold a connection while their siblings are awaited, by the caller's address.

    A client with few connections (slime: 64) cannot send the siblings that are waited for while all of them
    are held. So of each address ``most`` are held; where one more comes, the one that waits longest is let
    go: its future is set, the reply makes the client come again, and its place in the group stays. A sample
    that came ``times`` times is not let go any more: its client gives up soon (slime comes ten times).
    """

    def __init__(self, most: int = 48, times: int = 9) -> None:
        self._most, self._times = most, times
        self._held: dict[str, _Held] = {}
        self._visits: OrderedDict[bytes, int] = OrderedDict()

    def hold(self, address: str, name: bytes, gathers: Callable[[], bool]) -> "asyncio.Future[None]":
        """The future that is set when the sample is let go; ``gathers``: whether it may be."""
        self._visits[name] = self._visits.pop(name, 0) + 1
        if len(self._visits) > MOST_NAMES:
            self._visits.popitem(last=False)
        waiting = self._held.setdefault(address, OrderedDict())
        released = asyncio.get_running_loop().create_future()
        waiting[released] = name, gathers
        if len(waiting) > self._most:
            self._let_one_go(waiting)
        return released

    def end(self, address: str, released: "asyncio.Future[None]") -> None:
        """The sample is answered, or let go."""
        waiting = self._held[address]
        waiting.pop(released, None)
        released.cancel()
        if not waiting:
            del self._held[address]

    def answered(self, name: bytes) -> None:
        """The sample has its answer: how often it came is forgotten."""
        self._visits.pop(name, None)

    def _let_one_go(self, waiting: "_Held") -> None:
        for released, (name, gathers) in waiting.items():
            if not released.done() and self._visits.get(name, 0) < self._times and gathers():
                released.set_result(None)
                return


_Held = OrderedDict["asyncio.Future[None]", tuple[bytes, Callable[[], bool]]]
