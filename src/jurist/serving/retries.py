"""Names for samples whose callers send none, so that a retry is known and a twin is no retry."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from itertools import count

import msgspec

from jurist.core.types import Conversation, Response

KEPT = 900.0
"""Seconds for which a name waits for its retry; as long as the cohort keeps rewards."""


class Caller:
    """Who sent a request. When the connection is lost before the answer, what was left to do then is done."""

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.gone = False
        self._left: list[Callable[[], None]] = []

    def on_leaving(self, action: Callable[[], None]) -> None:
        """Do this when the caller disconnects; at once where that has happened."""
        if self.gone:
            action()
        else:
            self._left.append(action)

    def leave(self) -> None:
        """The connection is lost."""
        self.gone = True
        while self._left:
            self._left.pop()()


class Keys:
    """Keys by caller, prompt and response: a new one each time, unless one waits for a retry.

    Two equal responses at once are two samples of a group, the same one after a lost connection is one
    sample sent again, and the same one in the next epoch is a new sample.
    """

    def __init__(self, most: int = 100_000) -> None:
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
