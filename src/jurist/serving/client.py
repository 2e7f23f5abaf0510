"""A client of the reward server: typed, for event loops and for scripts."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import aiohttp
import msgspec

from jurist.core.errors import JuristError
from jurist.core.types import Message, Record, Response, Scores, Status, Usage

T = TypeVar("T")
Prompt = str | Sequence[Message]

BUSY = frozenset({429, 503})
"""The statuses after which a request is sent again."""


class ServerError(JuristError):
    """The server refused, or could not be reached; ``status`` is HTTP's, 0 without any reply."""

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class Comparison(Record, frozen=True):
    """``scores`` of two responses; ``winner`` is 0 or 1, None for a tie or where ``status`` is not ok."""

    status: Status
    scores: Scores | None = None
    winner: int | None = None
    note: str = ""
    agreement: float | None = None
    usage: Usage = Usage()
    trace: tuple[dict[str, Any], ...] = ()


class Score(Record, frozen=True):
    """The reward of one response among ``siblings``; None where ``status`` is not ok."""

    status: Status
    reward: float | None = None
    note: str = ""
    rating: float | None = None
    siblings: int = 0
    index: int | None = None
    trace: tuple[dict[str, Any], ...] = ()


class Ranked(Record, frozen=True):
    """One response of a ranking."""

    status: Status
    reward: float | None = None
    rating: float | None = None
    note: str = ""


class Ranks(Record, frozen=True):
    """``order`` is best first, empty where a response has no rating; ``responses`` are as they were sent."""

    order: tuple[int, ...]
    responses: tuple[Ranked, ...]
    errors: Scores | None = None
    matches: int = 0
    usage: Usage = Usage()
    trace: tuple[dict[str, Any], ...] = ()


class Leading(Record, frozen=True):
    """Who of several is ahead after ``compared`` comparisons; None while nobody is."""

    leader: int | None
    compared: int
    final: bool = False


class Choice(Record, frozen=True):
    """``best`` of several, by index, None where ``status`` is not ok.

    ``tied`` are all that are level with it; ``leader`` was ahead when the judging ended.
    """

    status: Status
    best: int | None = None
    tied: tuple[int, ...] = ()
    leader: int | None = None
    compared: int = 0
    note: str = ""
    judgments: int = 0
    usage: Usage = Usage()
    trace: tuple[dict[str, Any], ...] = ()
    final: bool = True


class AsyncClient:
    """``async with AsyncClient(url) as client``; all methods raise ``ServerError``.

    A server that is busy, or cannot be reached, is asked ``attempts`` times in all; a score keeps its key
    over all of them, so that it is one sample.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8300",
        token: str | None = None,
        *,
        timeout: float = 600.0,
        attempts: int = 5,
    ) -> None:
        self._url, self._attempts = url.rstrip("/"), max(1, attempts)
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

    async def compare(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> Comparison:
        """Which of two is better; ``more``: reference, rubric, deadline (seconds), trace."""
        return await self._asked("/compare", Comparison, {"prompt": prompt, "responses": responses, **more})

    async def score(self, prompt: Prompt, response: Response, **more: Any) -> Score:
        """One response's reward among its siblings; ``more``: also group, size, key."""
        named = {"key": f"client-{uuid4().hex}", **more}
        return await self._asked("/score", Score, {"prompt": prompt, "response": response, **named})

    async def rank(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> Ranks:
        """Rewards and an order of any number of responses."""
        return await self._asked("/rank", Ranks, {"prompt": prompt, "responses": responses, **more})

    async def best_of_n(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> Choice:
        """The best of any number of responses."""
        return await self._asked("/best-of-n", Choice, {"prompt": prompt, "responses": responses, **more})

    async def choosing(
        self, prompt: Prompt, responses: Sequence[Response], **more: Any
    ) -> AsyncGenerator[Leading | Choice]:
        """Who is ahead, as comparisons finish, and at the end the one ``Choice``.

        Whoever closes it early stops the judging. A stream that breaks is not taken up again.
        """
        body = {"prompt": prompt, "responses": responses, "stream": True, **more}
        sent, begun = msgspec.json.encode(body), False
        for attempt in range(1, self._attempts + 1):
            try:
                async with self._reply("/best-of-n", sent) as reply:
                    async for event in _events(reply):
                        begun = True
                        yield event
                return
            except _Busy as busy:
                if begun or attempt == self._attempts:
                    raise busy.error from None
                await asyncio.sleep(busy.seconds)

    async def _asked(self, path: str, kind: type[T], body: dict[str, Any]) -> T:
        sent = msgspec.json.encode(body)
        for attempt in range(1, self._attempts + 1):
            try:
                async with self._reply(path, sent) as reply:
                    return msgspec.json.decode(await reply.read(), type=kind)
            except _Busy as busy:
                if attempt == self._attempts:
                    raise busy.error from None
                await asyncio.sleep(busy.seconds)
        raise AssertionError("at least one attempt")

    @asynccontextmanager
    async def _reply(self, path: str, sent: bytes) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A reply with status 200; raises ``_Busy`` also where the connection is lost while it is read."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=self._timeout
            )
        try:
            async with self._session.post(self._url + path, data=sent) as reply:
                if reply.status == 200:
                    yield reply
                    return
                raw, status, wait = await reply.read(), reply.status, reply.headers.get("Retry-After", "1")
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            raise _Busy(ServerError(f"no reply of {self._url}: {error or 'timeout'}"), 1.0) from None
        error = _told(raw, status)
        if status in BUSY:
            raise _Busy(error, float(wait) if wait.isdecimal() else 1.0)
        raise error


class Client:
    """The same for scripts and notebooks: every call waits for its answer. Threads may share one."""

    def __init__(self, url: str = "http://127.0.0.1:8300", token: str | None = None, **options: Any) -> None:
        self._client = AsyncClient(url, token, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wait(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def compare(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> Comparison:
        """See ``AsyncClient.compare``."""
        return self._wait(self._client.compare(prompt, responses, **more))

    def score(self, prompt: Prompt, response: Response, **more: Any) -> Score:
        """See ``AsyncClient.score``; siblings come from other threads."""
        return self._wait(self._client.score(prompt, response, **more))

    def rank(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> Ranks:
        """See ``AsyncClient.rank``."""
        return self._wait(self._client.rank(prompt, responses, **more))

    def best_of_n(self, prompt: Prompt, responses: Sequence[Response], **more: Any) -> Choice:
        """See ``AsyncClient.best_of_n``."""
        return self._wait(self._client.best_of_n(prompt, responses, **more))

    def choosing(
        self, prompt: Prompt, responses: Sequence[Response], **more: Any
    ) -> Generator[Leading | Choice]:
        """See ``AsyncClient.choosing``: ``for step in client.choosing(...)``."""
        steps = self._client.choosing(prompt, responses, **more)

        async def step() -> Leading | Choice | None:
            return await anext(steps, None)

        try:
            while (found := self._wait(step())) is not None:
                yield found
        finally:
            self._wait(steps.aclose())

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class _Busy(Exception):
    """To be tried again after so many seconds."""

    def __init__(self, error: ServerError, seconds: float) -> None:
        super().__init__()
        self.error, self.seconds = error, seconds


async def _events(reply: aiohttp.ClientResponse) -> AsyncGenerator[Leading | Choice]:
    """The events of a stream up to its choice; raises ``ServerError`` for one that is an error."""
    kept = b""
    async for part in reply.content.iter_any():
        *whole, kept = (kept + part).split(b"\n\n")
        for event in whole:
            found = _step(event.removeprefix(b"data: "))
            yield found
            if isinstance(found, Choice):
                return
    raise ServerError("the stream ended before the choice", "send the request again")


def _step(event: bytes) -> Leading | Choice:
    fields = msgspec.json.decode(event, type=dict[str, Any])
    if "error" in fields:
        raise _told(event, 200)
    return msgspec.convert(fields, Choice if fields.get("final") else Leading)


def _told(raw: bytes, status: int) -> ServerError:
    try:
        told = msgspec.json.decode(raw, type=dict[str, dict[str, str | None]])["error"]
    except (msgspec.DecodeError, KeyError):
        return ServerError(f"HTTP {status}", "is this a reward server?", status)
    field = f"{told['field']}: " if told.get("field") else ""
    return ServerError(f"HTTP {status}: {field}{told.get('message')}", told.get("hint") or "", status)
