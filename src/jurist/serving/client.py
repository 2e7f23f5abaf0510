"""A client of the reward server: typed, for event loops and for scripts."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager
from random import random
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import aiohttp
import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal

from jurist.core.errors import JuristError
from jurist.core.types import Message, Response
from jurist.serving.schema import BestReply, CompareReply, ErrorReply, Leading, RankReply, ScoreReply

T = TypeVar("T")
Prompt = str | Sequence[Message]

BUSY = frozenset({408, 429, 502, 503, 504})
"""The statuses after which a request is sent again; the others would be the same again."""

LONGEST_PAUSE = 30.0
"""Seconds between two attempts at most, where the server does not say."""


class ServerError(JuristError):
    """The server refused, or could not be reached; ``status`` is HTTP's, 0 without any reply."""

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class AsyncClient:
    """``async with AsyncClient(url) as client``; all methods raise ``ServerError``.

    A server that is busy, away or starting anew is asked again for ``patience`` seconds in all, at first
    after a second, then less and less often, or when its Retry-After says. ``timeout``: seconds that one
    attempt may take, judging included (None: any time). A score keeps its key over all attempts, so that it
    is one sample.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8300",
        token: str | None = None,
        *,
        timeout: float | None = 600.0,
        patience: float = 900.0,
    ) -> None:
        self._url, self._patience = url.rstrip("/"), patience
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    async def compare(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> CompareReply:
        """Which of two is better; ``more``: reference, rubric, deadline (seconds), trace."""
        return await self._asked("/compare", CompareReply, {"prompt": prompt, "responses": responses, **more})

    async def score(self, prompt: Prompt, response: Response, **more: Any) -> ScoreReply:
        """One response's reward among its siblings; ``more``: also group, size, key."""
        named = {"key": f"client-{uuid4().hex}", **more}
        return await self._asked("/score", ScoreReply, {"prompt": prompt, "response": response, **named})

    async def rank(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> RankReply:
        """Rewards and an order of any number of responses."""
        return await self._asked("/rank", RankReply, {"prompt": prompt, "responses": responses, **more})

    async def best_of_n(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> BestReply:
        """The best of any number of responses."""
        return await self._asked("/best-of-n", BestReply, {"prompt": prompt, "responses": responses, **more})

    async def choosing(
        self, prompt: Prompt, responses: Sequence[Response], **more: Any
    ) -> AsyncGenerator[Leading | BestReply]:
        """Who is ahead, as comparisons finish, and at the end the one ``BestReply``.

        Whoever closes it early stops the judging. A stream that breaks is not taken up again.
        """
        body = {"prompt": prompt, "responses": responses, "stream": True, **more}
        encoded, begun = msgspec.json.encode(body), False
        pauses = _Pauses(self._patience)
        while True:
            try:
                async with self._reply("/best-of-n", encoded) as reply:
                    async for event in _events(reply):
                        begun = True
                        yield event
                return
            except _BusyError as busy:
                if begun:
                    raise busy.error from None
                await pauses.pause(busy)

    async def _asked(self, path: str, kind: type[T], body: dict[str, Any]) -> T:
        encoded = msgspec.json.encode(body)
        pauses = _Pauses(self._patience)
        while True:
            try:
                async with self._reply(path, encoded) as reply:
                    return msgspec.json.decode(await reply.read(), type=kind)
            except _BusyError as busy:
                await pauses.pause(busy)

    @asynccontextmanager
    async def _reply(self, path: str, body: bytes) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A reply with status 200; raises ``_BusyError``, also for a connection that is lost on the way."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=self._timeout
            )
        try:
            async with self._session.post(self._url + path, data=body) as reply:
                if reply.status == 200:
                    yield reply
                    return
                raw, status, wait = await reply.read(), reply.status, reply.headers.get("Retry-After", "")
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            away = ServerError(f"no reply of {self._url}: {error or 'timeout'}", "is it running there?")
            raise _BusyError(away, None) from None
        error = _server_error(raw, status)
        if status in BUSY:
            raise _BusyError(error, float(wait) if wait.isdecimal() else None)
        raise error


class Client:
    """The same for scripts and notebooks: every call waits for its answer. Threads may share one."""

    def __init__(self, url: str = "http://127.0.0.1:8300", token: str | None = None, **options: Any) -> None:
        self._client = AsyncClient(url, token, **options)
        self._running = start_blocking_portal()
        self._portal: BlockingPortal = self._running.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._portal.call(self._client.aclose)
        self._running.__exit__(None, None, None)

    def compare(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> CompareReply:
        """See ``AsyncClient.compare``."""
        return self._wait(self._client.compare(prompt, responses, **more))

    def score(self, prompt: Prompt, response: Response, **more: Any) -> ScoreReply:
        """See ``AsyncClient.score``; siblings come from other threads."""
        return self._wait(self._client.score(prompt, response, **more))

    def rank(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> RankReply:
        """See ``AsyncClient.rank``."""
        return self._wait(self._client.rank(prompt, responses, **more))

    def best_of_n(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> BestReply:
        """See ``AsyncClient.best_of_n``."""
        return self._wait(self._client.best_of_n(prompt, responses, **more))

    def choosing(
        self, prompt: Prompt, responses: Sequence[Response], **more: Any
    ) -> Generator[Leading | BestReply]:
        """See ``AsyncClient.choosing``: ``for step in client.choosing(...)``."""
        steps = self._client.choosing(prompt, responses, **more)

        async def next_step() -> Leading | BestReply | None:
            return await anext(steps, None)

        try:
            while (step := self._portal.call(next_step)) is not None:
                yield step
        finally:
            self._portal.call(steps.aclose)

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        async def awaited() -> T:
            return await coroutine

        return self._portal.call(awaited)


class _BusyError(Exception):
    """To be tried again, after so many seconds where the server said so."""

    def __init__(self, error: ServerError, seconds: float | None) -> None:
        super().__init__()
        self.error, self.seconds = error, seconds


class _Pauses:
    """The pauses between the attempts of one call, which all together take ``patience`` seconds at most."""

    def __init__(self, patience: float) -> None:
        self._end = monotonic() + patience
        self._next = 1.0

    async def pause(self, busy: _BusyError) -> None:
        """Wait until the next attempt; raises the error where no patience is left."""
        # Between half and all of it, so that many clients do not come back at once.
        seconds = self._next * (0.5 + random() / 2) if busy.seconds is None else busy.seconds + random()
        self._next = min(2 * self._next, LONGEST_PAUSE)
        if monotonic() + seconds > self._end:
            raise busy.error from None
        await asyncio.sleep(seconds)


async def _events(reply: aiohttp.ClientResponse) -> AsyncGenerator[Leading | BestReply]:
    """The events of a stream up to its choice; raises ``ServerError`` for one that is an error."""
    rest = b""
    async for part in reply.content.iter_any():
        *events, rest = (rest + part).split(b"\n\n")
        for event in events:
            step = _step(event.removeprefix(b"data: "))
            yield step
            if isinstance(step, BestReply):
                return
    raise ServerError("the stream ended before the choice", "send the request again")


def _step(event: bytes) -> Leading | BestReply:
    fields = msgspec.json.decode(event, type=dict[str, Any])
    if "error" in fields:
        raise _server_error(event, 200)
    return msgspec.convert(fields, BestReply if fields.get("final") else Leading)


def _server_error(raw: bytes, status: int) -> ServerError:
    try:
        error = msgspec.json.decode(raw, type=ErrorReply).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ServerError(f"HTTP {status}", "is this a reward server?", status)
    field = f"{error.field}: " if error.field else ""
    return ServerError(f"HTTP {status}: {field}{error.message}", error.hint or "", status)
