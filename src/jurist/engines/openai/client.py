"""Any OpenAI-compatible server: bounded concurrency, retries, time limits, n samples in one request."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec
import stamina
from aiohttp.helpers import get_env_proxy_for_url
from msgspec.structs import replace
from yarl import URL

from jurist.core.errors import ConfigError, EngineError, unknown
from jurist.core.types import Completion, Message, Query, Sampling
from jurist.engines.base import EngineBase, failed
from jurist.engines.openai.label_logprobs import Labels
from jurist.engines.openai.prefill import Continuing
from jurist.engines.openai.routes import Routes
from jurist.engines.openai.thinking_budget import Capping
from jurist.engines.openai.wire import (
    NEUTRAL,
    Refused,
    Retried,
    WireError,
    chat_body,
    is_too_long,
    read_error,
    read_json,
    read_reply,
    too_long,
)
from jurist.engines.slots import Slots

KEY_VARIABLES = ("JURIST_API_KEY", "OPENAI_API_KEY")
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_NETWORK = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
_PROBE = Query("check", (), 0, (Message("user", "Hi"),), Sampling(max_tokens=1))

# A retry is worth a line only in a program that asked for logs; without this it is printed.
logging.getLogger("stamina").addHandler(logging.NullHandler())

_FIRST_WAIT = 0.5
_TELL_EVERY = 30.0


class _Model(msgspec.Struct):
    id: str
    owned_by: str = ""


class _Models(msgspec.Struct):
    data: list[_Model] | None


_Vote = tuple[Query, "asyncio.Future[Completion]"]
"""A query that goes out together with others, and who waits for it."""


class HttpEngine(EngineBase):
    """Chat completions of a server (vLLM, SGLang, llama.cpp, Ollama, hosted).

    The API key comes from ``JURIST_API_KEY`` (else ``OPENAI_API_KEY``) and goes nowhere but into the
    request's header. ``timeout`` is for one attempt, ``retry_for`` for all of them (seconds). With
    ``samples_per_request`` > 1 the votes of a case go out as one request with n samples: cheaper where
    prompts are paid for, but their seeds are then the server's.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        concurrency: int = 64,
        timeout: float = 600.0,
        retry_for: float = 600.0,
        samples_per_request: int = 1,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise ConfigError(
                "the server's address holds a name or password",
                hint=f"it would stand in run.json; put a key into {KEY_VARIABLES[0]} instead",
            )
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.model = model or ""
        self.concurrency = concurrency
        self._timeout = timeout
        self._retry_for = retry_for
        self._samples = samples_per_request
        self._extra = dict(extra or {})
        self._neutral: dict[str, float] = {}
        self._slots = Slots(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._proxy: dict[str, Any] = {}
        self._key = ""
        routes = Routes(self.request)
        self._capping = Capping(self.request, self._extra)
        self._labels = Labels(routes)
        self._continuing = Continuing(routes, self._capping)
        self._waiting: dict[str, list[_Vote]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._told = -_TELL_EVERY

    def identity(self) -> str:
        """The model's name at the server."""
        return self.model

    @property
    def caps_thinking(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the server keeps to a thinking budget, as far as ``check`` found; it has refused none."""
        return self._capping.active

    async def __call__(self, query: Query) -> Completion:
        if query.choices or query.prefill:
            return (await self._attempts(lambda: self._begun(query), urgent=True))[0]
        if self._samples > 1 and query.sampling.temperature > 0:
            return await self._gathered(query)
        return (await self._attempts(lambda: self._chat(query, 1)))[0]

    async def check(self) -> None:
        """Ask for the list of models: address, key and model are right, or the run does not begin.

        A server that lists none is asked for one token instead.
        """
        try:
            await self._find_model()
        except (Refused, WireError) as error:
            reason = self._without_key(str(error))
            raise EngineError(f"{self.url} refused: {reason}", _hint(reason)) from None
        except Retried as error:
            raise EngineError(
                f"{self.url} is not ready: {error}", hint="wait until the server has loaded its model"
            ) from None
        except _NETWORK as error:
            raise EngineError(
                f"no server answers at {self.url} ({_reason(error)})",
                hint="start the server, or mend the address: --engine http://HOST:PORT/v1",
            ) from None

    async def _find_model(self) -> None:
        try:
            async with asyncio.timeout(min(self._timeout, 30)):
                data = await self.request("GET", "/models", None)
        except Refused as error:
            if not self.model or not str(error).startswith("HTTP 404"):
                raise
        else:
            owner = self._choose_model(data)
            self._neutral = NEUTRAL.get(owner, {})
            # A server too busy to say so is one that does not cap.
            with suppress(Retried, *_NETWORK):
                async with asyncio.timeout(min(self._timeout, 10)):
                    await self._capping.find_out(owner, self.model)
            return
        try:
            await self._chat(_PROBE, 1)
        except Refused as error:
            # It may not like this request, as long as it takes requests.
            if not error.of_request:
                raise

    def _choose_model(self, data: bytes) -> str:
        """Settle which model is asked; who owns it, as the server says (vLLM and others put their name)."""
        try:
            models = read_json(data, _Models, "no list").data or []
        except WireError:
            raise EngineError(
                f"{self.url}/models did not answer with a list of models",
                hint="the address usually ends in /v1",
            ) from None
        names = [m.id for m in models]
        if not self.model and len(names) != 1:
            found = f"serves several models: {', '.join(names[:20])}" if names else "lists no models"
            raise EngineError(f"{self.url} {found}", hint="choose one with --model")
        self.model = self.model or names[0]
        if names and self.model not in names:
            error = unknown(f"model at {self.url}", self.model, names)
            if "did you mean" not in error.hint:
                error.hint = "choose one of these with --model"
            raise error
        return next((m.owned_by for m in models if m.id == self.model), "")

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        """One attempt; ``path`` goes below the base address, or with ``//`` before it below the root."""
        url = self.url.removesuffix("/v1") + path[1:] if path.startswith("//") else self.url + path
        data = None if body is None else msgspec.json.encode(body)
        session = self._open()
        async with session.request(method, url, data=data, **self._proxy) as response:
            content = await response.read()
            kind = response.content_type
            if response.status == 200 and kind != "text/html":
                return content
            message = self._without_key(read_error(response.status, content, kind))
            if response.status in _RETRIED:
                raise Retried(message, _retry_after(response.headers.get("Retry-After")))
            raise Refused(message)

    async def _chat(self, query: Query, n: int) -> list[Completion]:
        async def send(cap: Mapping[str, Any]) -> bytes:
            body = chat_body(query, self.model, {**self._neutral, **cap, **self._extra}, n)
            return await self.request("POST", "/chat/completions", body)

        return read_reply(await self._capping.sent(query.sampling, send))

    async def _begun(self, query: Query) -> list[Completion]:
        """A query whose answer begins with given words."""
        if query.choices:
            return [await self._labels.read(query, self.model, self._extra)]
        return [await self._continuing.read(query, self.model, self._neutral, self._extra)]

    async def _attempts(
        self, call: Callable[[], Awaitable[list[Completion]]], *, urgent: bool = False
    ) -> list[Completion]:
        """The call with a slot, retries and a clock; what goes wrong becomes one completion."""
        async with self._slots.held(urgent=urgent):
            started = time.monotonic()
            try:
                results = await self._retried(call)
            except (Refused, WireError) as error:
                reason = self._without_key(str(error))
                results = [too_long(reason) if is_too_long(reason) else failed(reason)]
            except (Retried, *_NETWORK) as error:
                results = [failed(f"{_reason(error)} (tried for {time.monotonic() - started:.0f} s)")]
            seconds = time.monotonic() - started
            return [replace(r, seconds=seconds) for r in results]

    async def _retried(self, call: Callable[[], Awaitable[list[Completion]]]) -> list[Completion]:
        # Most calls succeed at once and need none of this: the first try stands outside, and its error
        # enters the loop as the first one of the loop.
        try:
            return await call()
        except (Retried, *_NETWORK) as error:
            met: list[Exception] = [error]
        if self._retry_for:
            self._tell(met[0])
        deadline = time.monotonic() + self._retry_for
        tries = stamina.retry_context(
            on=lambda error: _backoff(error, deadline),
            attempts=None if self._retry_for else 1,
            timeout=self._retry_for or None,
            wait_initial=_FIRST_WAIT,
            wait_max=30.0,
        )
        async for attempt in tries:
            with attempt:
                if met:
                    raise met.pop()
                return await call()
        raise AssertionError("retry_context returns or raises")

    def _tell(self, error: Exception) -> None:
        """Say that calls are tried again: at most a line in half a minute, however many there are."""
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            reason = self._without_key(_reason(error))
            self.say(f"{self.url}: {reason}; trying again, for {self._retry_for:g} s at most")

    async def _gathered(self, query: Query) -> Completion:
        """Queries that differ only in their seed, asked in the same moment, become one request."""
        twin = replace(query, sample=0, sampling=replace(query.sampling, seed=None)).key
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Completion] = loop.create_future()
        if twin not in self._waiting:
            self._waiting[twin] = []
            loop.call_soon(self._flush, twin)
        self._waiting[twin].append((query, future))
        return await future

    def _flush(self, twin: str) -> None:
        waiting = self._waiting.pop(twin)
        for start in range(0, len(waiting), self._samples):
            batch = waiting[start : start + self._samples]
            task = asyncio.ensure_future(self._send(batch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
            for _, future in batch:
                future.add_done_callback(lambda _, task=task, batch=batch: _abandon(task, batch))

    async def _send(self, batch: "list[_Vote]") -> None:
        try:
            results = await self._sampled([query for query, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except (Exception, asyncio.CancelledError) as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)

    async def _sampled(self, queries: list[Query]) -> list[Completion]:
        """One request with a sample for each query; what it does not bring is asked singly."""
        n = len(queries)
        results = (await self._attempts(lambda: self._chat(queries[0], n)))[:n]
        error = results[0].error or ""
        if results[0].finish == "error" and error.startswith(("HTTP 400", "HTTP 422")):
            results = []  # the server does not take n samples, or not so many
        elif error and len(results) == 1:
            results *= n
        missing = queries[len(results) :]
        singles = await asyncio.gather(*[self._attempts(lambda q=q: self._chat(q, 1)) for q in missing])
        return [*results, *[s[0] for s in singles]]

    async def aclose(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Content-Type": "application/json"}
            self._key = _key()[1]
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            # Not trust_env: it would look into .netrc for each request and refuse our key beside it.
            self._proxy = _proxy(self.url)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=30),
                headers=headers,
            )
        return self._session

    def _without_key(self, text: str) -> str:
        """An error's text, should the server have put the key into it; a key like "none" is no secret."""
        return text.replace(self._key, "***") if len(self._key) >= 8 else text


def _abandon(task: "asyncio.Task[None]", batch: "list[_Vote]") -> None:
    """End a request for which nobody waits any more."""
    if all(future.cancelled() for _, future in batch):
        task.cancel()


def _key() -> tuple[str, str]:
    """The variable that holds the API key, and the key; twice nothing where there is none."""
    found = ((name, os.environ.get(name, "").strip()) for name in KEY_VARIABLES)
    return next(((name, key) for name, key in found if key), ("", ""))


def _proxy(url: str) -> dict[str, Any]:
    """What a request needs for the proxy that the environment names for this address."""
    try:
        proxy, auth = get_env_proxy_for_url(URL(url))
    except (LookupError, ValueError):
        return {}
    return {"proxy": proxy, "proxy_auth": auth}


def _backoff(error: Exception, deadline: float) -> bool | float:
    """Whether to try again, and after how many seconds where the server said so."""
    if not isinstance(error, Retried):
        return isinstance(error, _NETWORK)
    # A server that asks for no wait gets ours: it is busy all the same.
    if error.after is None or error.after <= _FIRST_WAIT:
        return True
    return error.after if time.monotonic() + error.after < deadline else False


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which is a number or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _reason(error: BaseException) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


def _hint(reason: str) -> str:
    if reason.startswith(("HTTP 401", "HTTP 403")):
        name = _key()[0]
        given = f"the server does not accept the key in {name}; " if name else ""
        return f"{given}put the key into the environment: export {name or KEY_VARIABLES[0]}=..."
    return "the address of an OpenAI-compatible server usually ends in /v1"
