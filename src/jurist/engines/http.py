"""Any OpenAI-compatible server: bounded concurrency, retries, time limits, n samples in one request."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec
import stamina
from msgspec.structs import replace

from jurist.engines.base import EngineBase, failed
from jurist.engines.labels import Labels
from jurist.engines.wire import (
    Refused,
    Retried,
    WireError,
    chat_body,
    is_too_long,
    read_error,
    read_reply,
    too_long,
)
from jurist.errors import EngineError, unknown
from jurist.types import Completion, Query

KEY_VARIABLES = ("JURIST_API_KEY", "OPENAI_API_KEY")
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_NETWORK = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


# Servers that fill in a model's or their own sampling defaults unless told otherwise.
_NEUTRAL: dict[str, dict[str, float]] = {
    "vllm": {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0},
}


class _Model(msgspec.Struct):
    id: str
    owned_by: str = ""


class _Models(msgspec.Struct):
    data: list[_Model]


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
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.model = model or ""
        self.concurrency = concurrency
        self._timeout = timeout
        self._retry_for = retry_for
        self._samples = samples_per_request
        self._extra = dict(extra or {})
        self._neutral: dict[str, float] = {}
        self._slots = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._labels = Labels(self.request)
        self._waiting: dict[str, list[tuple[Query, asyncio.Future[Completion]]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def identity(self) -> str:
        """The model's name at the server."""
        return self.model

    async def __call__(self, query: Query) -> Completion:
        if query.choices:
            return (await self._attempts(lambda: self._forced(query)))[0]
        if self._samples > 1 and query.sampling.temperature > 0:
            return await self._gathered(query)
        return (await self._attempts(lambda: self._chat(query, 1)))[0]

    async def check(self) -> None:
        """Ask for the list of models: address, key and model are right, or the run does not begin."""
        try:
            data = await self.request("GET", "/models", None)
        except Refused as error:
            if "HTTP 404" in str(error) and self.model:
                return  # some servers list no models; the first query will tell
            raise EngineError(f"{self.url} refused: {error}", _hint(str(error))) from None
        except (Retried, *_NETWORK) as error:
            reason = _reason(error)
            raise EngineError(f"no server answers at {self.url} ({reason})", _hint(reason)) from None
        self._choose_model(data)

    def _choose_model(self, data: bytes) -> None:
        try:
            models = msgspec.json.decode(data, type=_Models).data
        except msgspec.DecodeError:
            raise EngineError(
                f"{self.url}/models did not answer with a list of models",
                hint="the address usually ends in /v1",
            ) from None
        names = [m.id for m in models]
        if models:
            self._neutral = _NEUTRAL.get(models[0].owned_by, {})
        if not self.model and len(names) == 1:
            self.model = names[0]
        elif not self.model:
            raise EngineError(
                f"{self.url} serves several models: {', '.join(names[:20])}", hint="choose one with --model"
            )
        elif names and self.model not in names:
            raise unknown(f"model at {self.url}", self.model, names)

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        """One attempt; ``path`` goes below the base address, or with ``//`` before it below the root."""
        url = self.url.removesuffix("/v1") + path[1:] if path.startswith("//") else self.url + path
        data = None if body is None else msgspec.json.encode(body)
        async with self._open().request(method, url, data=data) as response:
            content = await response.read()
            kind = response.content_type
            if response.status == 200 and kind != "text/html":
                return content
            message = read_error(response.status, content, kind)
            if response.status in _RETRIED:
                raise Retried(message, _retry_after(response.headers.get("Retry-After")))
            raise Refused(message)

    async def _chat(self, query: Query, n: int) -> list[Completion]:
        body = chat_body(query, self.model, {**self._neutral, **self._extra}, n)
        return read_reply(await self.request("POST", "/chat/completions", body))

    async def _forced(self, query: Query) -> list[Completion]:
        return [await self._labels.read(query, self.model, self._extra)]

    async def _attempts(self, call: Callable[[], Awaitable[list[Completion]]]) -> list[Completion]:
        """The call with a slot, retries and a clock; what goes wrong becomes one completion."""
        async with self._slots:
            started = time.monotonic()
            try:
                results = await self._retried(call)
            except (Refused, WireError) as error:
                results = [too_long(str(error)) if is_too_long(str(error)) else failed(str(error))]
            except (Retried, *_NETWORK) as error:
                results = [failed(f"{_reason(error)} (tried for {time.monotonic() - started:.0f} s)")]
            seconds = time.monotonic() - started
            return [replace(r, seconds=seconds) for r in results]

    async def _retried(self, call: Callable[[], Awaitable[list[Completion]]]) -> list[Completion]:
        tries = stamina.retry_context(
            on=_backoff, attempts=None, timeout=self._retry_for, wait_initial=0.5, wait_max=30.0
        )
        async for attempt in tries:
            with attempt:
                return await call()
        raise AssertionError("retry_context returns or raises")

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
            task = asyncio.ensure_future(self._send(waiting[start : start + self._samples]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, batch: "list[tuple[Query, asyncio.Future[Completion]]]") -> None:
        query = batch[0][0]
        results = await self._attempts(lambda: self._chat(query, len(batch)))
        if results[0].error and "HTTP 400" in results[0].error:
            results = []  # the server does not take n samples, or not so many
        elif results[0].error:
            results = results * len(batch)
        missing = [q for q, _ in batch[len(results) :]]
        singles = await asyncio.gather(*[self._attempts(lambda q=q: self._chat(q, 1)) for q in missing])
        for (_, future), result in zip(batch, [*results, *[s[0] for s in singles]], strict=True):
            if not future.done():
                future.set_result(result)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            key = next((os.environ[v] for v in KEY_VARIABLES if os.environ.get(v)), "")
            headers = {"Content-Type": "application/json"}
            if key:
                headers["Authorization"] = f"Bearer {key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=30),
                headers=headers,
                trust_env=True,
            )
        return self._session


def _backoff(error: Exception) -> bool | float:
    """Whether to try again, and after how many seconds where the server said so."""
    if isinstance(error, Retried):
        return True if error.after is None else error.after
    return isinstance(error, _NETWORK)


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
    if "HTTP 401" in reason or "HTTP 403" in reason:
        return f"put the key into the environment: export {KEY_VARIABLES[0]}=..."
    if "instead of JSON" in reason or "HTTP 404" in reason:
        return "the address of an OpenAI-compatible server usually ends in /v1"
    return "start the server, or mend the address: --engine http://HOST:PORT/v1"
