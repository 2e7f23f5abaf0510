"""Connections: how many there may be, how long one may be silent, and how often a trouble is logged."""

import asyncio
import logging
from time import monotonic
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

BACKLOG = 2048
"""Connections that the system keeps until they are accepted, at most."""

OWN_FILES = 64
"""Files that the server itself needs: libraries, logs, sockets to listen on."""


def file_limit(needed: int) -> int | None:
    """How many files this process may open, raised to ``needed`` where that can be; None: no limit."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if wanted > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            return soft
        return wanted
    return soft


def requests_within(limit: int | None, queue: int, engine: int) -> int:
    """How many of ``queue`` requests at once the file limit allows beside ``engine`` connections."""
    if limit is None:
        return queue
    spare = min(OWN_FILES + engine, limit // 2)
    return max(1, min(queue, limit - spare))


def protocol_class(idle: float, most: int) -> Any:
    """uvicorn's protocol for HTTP (httptools where it is installed, else h11), with two limits.

    A connection that has not sent the whole head of a request in ``idle`` seconds is closed, whether it is
    new or sent requests before (uvicorn itself closes those that send nothing after a reply). Beyond ``most``
    connections a new one is closed at once.
    """
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ModuleNotFoundError:
        base: Any = H11Protocol
    else:
        base = HttpToolsProtocol

    class Connection(base):
        """One connection; ``cycle`` is uvicorn's current request."""

        cycle: Any
        transport: asyncio.Transport

        _expiry: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            base.connection_made(self, JoinedWrites(transport, self.loop))
            if len(self.connections) > most:
                transport.abort()
            else:
                self._limit_the_head()

        def data_received(self, data: bytes) -> None:
            base.data_received(self, data)
            self._limit_the_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_the_limit()
            base.connection_lost(self, exc)

        def _limit_the_head(self) -> None:
            """The time for a head runs from its first byte (or the connection) until it is whole."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget_the_limit()
            elif self._expiry is None:
                self._expiry = self.loop.call_later(idle, self._expire)

        def _forget_the_limit(self) -> None:
            if self._expiry is not None:
                self._expiry.cancel()
                self._expiry = None

        def _expire(self) -> None:
            self._expiry = None
            if not self.transport.is_closing():
                self.transport.close()

    return Connection


class JoinedWrites:
    """A transport that writes together what is written in one step: uvicorn hands over head and body apart.

    Two writes are two system calls and two packets, and wake the client twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write with whatever else is written before the event loop goes on."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Close when all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))


class RateLimit(logging.Filter):
    """Lets ``most`` records of one kind pass in ``seconds``; the next one says how many were left out."""

    def __init__(self, most: int = 20, seconds: float = 60.0) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        self._kinds: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        kind, now = str(record.msg)[:200], monotonic()
        start, count = self._kinds.get(kind, (now, 0))
        left_out = 0
        if now - start > self._seconds:
            left_out, start, count = max(0, count - self._most), now, 0
        if len(self._kinds) > 1000:
            self._kinds.clear()
        self._kinds[kind] = start, count + 1
        if left_out:
            record.msg = f"{record.msg} ({left_out} more such lines were left out)"
        return count < self._most
