"""Any OpenAI-compatible server: bounded concurrency, retries, time limits, n samples in one request."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from jurist.core.types import Completion, Query
from jurist.engines.base import EngineBase, failed, with_mend
from jurist.engines.openai.address import Address, read_address
from jurist.engines.openai.connection import NETWORK_ERRORS, Connection, Tries
from jurist.engines.openai.errors import Refused, Retried, WireError, completion_of, mend_of
from jurist.engines.openai.label_logprobs import LabelLogprobs
from jurist.engines.openai.models import ServedModel, control_tokens, find_model
from jurist.engines.openai.prefill import Prefill
from jurist.engines.openai.replies import read_reply
from jurist.engines.openai.routes import Routes
from jurist.engines.openai.thinking_budget import ThinkingBudget
from jurist.engines.openai.wire import NEUTRAL, chat_body
from jurist.engines.secrets import refuse_secrets
from jurist.engines.slots import Slots

# A server that fails, instead of refusing, where more than one sample is asked for.
_ONE_SAMPLE = re.compile(
    r"\bn\b.{0,12}(?:>|must|support|should|allow)|one (?:completion )?choice|multiple (?:choices|samples)",
    re.I,
)

_Vote = tuple[Query, "asyncio.Future[Completion]"]
"""A query that goes out together with others, and who waits for it."""


class HttpEngine(EngineBase):
    """Chat completions of a server (vLLM, SGLang, llama.cpp, Ollama, hosted).

    ``url`` is the base address, usually ending in ``/v1``; its query, if any, goes with each request. The
    API key comes from ``JURIST_API_KEY`` (else ``OPENAI_API_KEY``) and goes nowhere but into the request's
    header. ``timeout`` is for one attempt, ``retry_for`` for all of them (seconds). With
    ``samples_per_request`` > 1 the votes of a case go out as one request with n samples: cheaper where
    prompts are paid for, but their seeds are then the server's. ``extra`` goes into the body of each
    request; a None in it takes a field out. Raises ``ConfigError`` where the address or ``extra`` holds a
    key: both are written down.
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
        refuse_secrets(extra or {}, "--extra")
        address = read_address(url)
        self.model = model or ""
        self.concurrency = concurrency
        self._timeout = timeout
        self._samples = samples_per_request
        self._extra = dict(extra or {})
        self._neutral: dict[str, float] = {}
        self._slots = Slots(concurrency)
        self._connection = self._connect(address, timeout)
        self._tries = Tries(retry_for, address.base, self._connection.words)
        self._routes = Routes(self._connection.request)
        self._budget = ThinkingBudget(self._connection.request, self._extra)
        self._labels = LabelLogprobs(self._routes)
        self._prefill = Prefill(self._routes, self._budget)
        self._waiting: dict[str, list[_Vote]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base address of the requests."""
        return self._connection.address.base

    def identity(self) -> str:
        """The model's name at the server."""
        return self.model

    @property
    def caps_thinking(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the server keeps to a thinking budget, as far as ``check`` found; it has refused none."""
        return self._budget.active

    async def __call__(self, query: Query) -> Completion:
        if query.choices or query.prefill:
            return (await self._attempts(lambda: self._begun(query), urgent=True))[0]
        if self._samples > 1 and query.sampling.temperature > 0:
            return await self._gathered(query)
        return (await self._attempts(lambda: self._chat(query, 1)))[0]

    async def check(self) -> None:
        """Find the model: address, key and model are right, or the run does not begin.

        Raises ``EngineError``. A server whose list does not hold the model is asked for one token instead.
        """
        self._adopt(await find_model(self._connection, self.model, self._timeout))
        # A server too busy to say so is one that does not cap.
        with suppress(Retried, *NETWORK_ERRORS):
            async with asyncio.timeout(min(self._timeout, 10)):
                await self._budget.find_out(self._owner, self.model)
                if self._owner == "vllm":
                    self.control_tokens = await control_tokens(self._connection)

    def _adopt(self, served: ServedModel) -> None:
        self.model, self._owner = served.name, served.owner
        self._neutral = NEUTRAL.get(served.owner, {})

    async def _chat(self, query: Query, n: int) -> list[Completion]:
        async def send(cap: Mapping[str, Any]) -> bytes:
            body = chat_body(query, self.model, {**self._neutral, **cap, **self._extra}, n)
            return await self._connection.request("POST", "/chat/completions", body)

        try:
            return read_reply(await self._budget.sent(query.sampling, send))
        except Retried as error:
            if n > 1 and _ONE_SAMPLE.search(error.words):
                raise Refused(error.words, 400) from None
            raise

    async def _begun(self, query: Query) -> list[Completion]:
        """A query whose answer begins with given words."""
        if query.choices:
            return [await self._labels.read(query, self.model, self._extra)]
        return [await self._prefill.read(query, self.model, self._neutral, self._extra)]

    async def _attempts(
        self,
        call: Callable[[], Awaitable[list[Completion]]],
        *,
        urgent: bool = False,
        otherwise: Callable[[Refused], list[Completion] | None] = lambda _: None,
    ) -> list[Completion]:
        """The call with a slot, retries and a clock; what goes wrong becomes one completion.

        ``otherwise`` may give other completions for a refusal.
        """
        async with self._slots.held(urgent=urgent):
            started = time.monotonic()
            try:
                results = await self._tries.run(call, self.say)
            except Refused as error:
                results = otherwise(error)
                if results is None:
                    results = self._refused(error)
            except (WireError, Retried, *NETWORK_ERRORS) as error:
                results = [self._gave_up(error, time.monotonic() - started)]
            seconds = time.monotonic() - started
            return [self._finished(r, seconds) for r in results]

    def _connect(self, address: Address, timeout: float) -> Connection:
        return Connection(address, timeout)

    def _refused(self, error: Refused) -> list[Completion]:
        """What becomes of a call that the server would refuse again."""
        return [completion_of(error, str(error))]

    def _gave_up(self, error: Exception, seconds: float) -> Completion:
        """What becomes of a call whose last try ended in this."""
        if isinstance(error, WireError):
            return failed(with_mend(str(error), mend_of(0, str(error))))
        return failed(_tried(error, self._connection.words(error), seconds))

    def _finished(self, completion: Completion, seconds: float) -> Completion:
        error = completion.error and self._connection.without_key(completion.error)
        return replace(completion, seconds=seconds, error=error)

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
        results = (
            await self._attempts(
                # The server may not take n samples, or not so many.
                lambda: self._chat(queries[0], n),
                otherwise=lambda error: [] if error.of_request and not error.too_long else None,
            )
        )[:n]
        if len(results) == 1 and results[0].error:
            results *= n
        missing = queries[len(results) :]
        singles = await asyncio.gather(*[self._attempts(lambda q=q: self._chat(q, 1)) for q in missing])
        return [*results, *[s[0] for s in singles]]

    async def aclose(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._connection.aclose()


def _tried(error: BaseException, words: str, seconds: float) -> str:
    mend = error.mend if isinstance(error, Retried) else ""
    if isinstance(error, TimeoutError):
        mend = "a longer --timeout, or a smaller --concurrency"
    return with_mend(f"{words} (tried for {seconds:.0f} s)", mend)


def _abandon(task: "asyncio.Task[None]", batch: "list[_Vote]") -> None:
    """End a request for which nobody waits any more."""
    if all(future.cancelled() for _, future in batch):
        task.cancel()
