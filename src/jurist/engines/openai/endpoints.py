"""Several servers of one model: a case stays on one, sick ones are left out, each is asked within its limits.

No load balancer: no queue is looked into and no request is moved that is on its way. Where that is wanted,
SGLang's gateway and Ray Serve's prefix router stand before the servers, and one address is enough.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from jurist.core.errors import ConfigError, JuristError
from jurist.core.hashing import seed_of
from jurist.core.types import Completion, Query
from jurist.engines.base import MEND, EngineBase
from jurist.engines.openai.address import Address
from jurist.engines.openai.client import HttpEngine
from jurist.engines.openai.connection import Connection
from jurist.engines.openai.errors import Refused, Retried
from jurist.engines.openai.limits import Bucket, Pause
from jurist.engines.openai.models import find_model
from jurist.engines.openai.scalar import ScalarHttpEngine

SICK_AFTER = 3
"""After so many failures in a row a server is left out, until a probe finds it well."""

STAY = 5.0
"""Seconds that a call waits for the server that has its case's prefix, should that ask for a pause."""

CROWDED = 1.25
"""A new case goes elsewhere where its server has more than so many times the mean of the calls in work."""

_PROBES = (1.0, 30.0)
"""Seconds between two probes of a sick server: at first, and at most (they double)."""

_REMEMBERED = 100_000
"""Cases whose server is remembered."""


class Elsewhere(Exception):
    """A call failed at one server, and another may answer it; ``completion`` is what it would be here."""

    def __init__(self, completion: Completion, *, busy: bool) -> None:
        super().__init__(completion.error)
        self.completion, self.busy = completion, busy


class _LimitedConnection(Connection):
    """Requests wait for the server's limits and for the end of its pause."""

    limits: "Limits"

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        if body is not None:
            await self.limits.request()
        return await super().request(method, path, body)


class Limits:
    """The limits of one server: requests and tokens (read and written) in a minute, and its pauses."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self.pause = Pause()
        self._requests = Bucket(requests) if requests else None
        self._tokens = Bucket(tokens) if tokens else None
        self._written = 256.0
        """Mean tokens that a call writes, as far as is known."""

    async def request(self) -> None:
        """Wait until another request may go out."""
        while left := self.pause.left:  # noqa: ASYNC110 - a time, not an event
            await asyncio.sleep(left)
        if self._requests:
            await self._requests.take(1)

    async def call(self, query: Query) -> float:
        """Wait until a call may go out; what was booked for it, in tokens."""
        if self._tokens is None:
            return 0.0
        read = sum(len(message.content) for message in query.messages) / 4
        booked = read + min(self._written, query.sampling.max_tokens)
        await self._tokens.take(booked)
        return booked

    def done(self, booked: float, completion: Completion) -> None:
        """Book what a call took in truth."""
        if self._tokens is None:
            return
        usage = completion.usage
        self._written += 0.05 * (usage.completion_tokens - self._written)
        self._tokens.correct(usage.prompt_tokens + usage.completion_tokens - booked)


class _Member(HttpEngine):
    """One of several servers: one try a call, and what fails here may be answered elsewhere."""

    def __init__(self, url: str, model: str | None, limits: Limits, **options: Any) -> None:
        self.limits = limits
        once: dict[str, Any] = {**options, "retry_for": 0.0}
        super().__init__(url, model, **once)

    def _connect(self, address: Address, timeout: float) -> Connection:
        connection = _LimitedConnection(address, timeout)
        connection.limits = self.limits
        return connection

    def _refused(self, error: Refused) -> list[Completion]:
        completions = super()._refused(error)
        if error.of_request or error.filtered or error.too_long:
            return completions
        # A key, a route or a model that this server does not know; JSON that is HTML.
        raise Elsewhere(self._finished(completions[0], 0.0), busy=False) from error

    def _gave_up(self, error: Exception, seconds: float) -> Completion:
        completion = super()._gave_up(error, seconds)
        asked = isinstance(error, Retried) and (error.status == 429 or error.after is not None)
        if asked and isinstance(error, Retried):
            self.limits.pause.begin(error.after)
        raise Elsewhere(self._finished(completion, seconds), busy=asked) from error

    async def well(self) -> bool:
        """Whether the server lists the model (a cheap request); one that was never asked is checked whole."""
        try:
            async with asyncio.timeout(10):
                if self.checked:
                    await find_model(self._connection, self.model, 10, probe=False)
                else:
                    await self.check()
                    self.checked = True
        except (JuristError, TimeoutError):
            return False
        return True

    checked = False


class _ScalarMember(_Member, ScalarHttpEngine):
    """The same of a scalar reward model."""


class Endpoint:
    """A server, its limits, and how it is."""

    def __init__(self, engine: _Member) -> None:
        self.engine = engine
        self.name = engine.url
        self.calls = 0
        """In work or waiting."""
        self.sick = False
        self._failures = 0

    def answered(self) -> None:
        """A call came back."""
        self._failures = 0
        self.engine.limits.pause.over()

    def failed(self) -> bool:
        """A call failed; whether the server is sick from now on, and was not before."""
        self._failures += 1
        if self.sick or self._failures < SICK_AFTER:
            return False
        self.sick = True
        return True

    def back(self) -> None:
        """A probe found it well: one more failure makes it sick again."""
        self.sick = False
        self._failures = SICK_AFTER - 1

    @property
    def away(self) -> float:
        """Seconds for which it asked to be left alone."""
        return self.engine.limits.pause.left


class EndpointsEngine(EngineBase):
    """One model behind several servers; options as for ``HttpEngine``, ``concurrency`` for each of them.

    ``requests_per_minute``, ``tokens_per_minute``: the limits of each server (None: none). Rendezvous hashing
    of the case's id chooses its server, where its prompt's beginning is then cached; a new case goes to the
    next one where that is sick, pausing or crowded, and all calls of the case follow while it stays well. A
    call that fails is asked elsewhere at once, and over ``retry_for`` seconds in all.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str | None = None,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        retry_for: float = 600.0,
        concurrency: int = 64,
        **options: Any,
    ) -> None:
        kinds = {url.startswith("scalar+") for url in urls}
        if len(kinds) > 1:
            raise ConfigError("scalar and generative servers are no one judge", hint="one kind of address")
        kind = _ScalarMember if kinds == {True} else _Member
        self.endpoints = [
            Endpoint(kind(url, model, Limits(requests_per_minute, tokens_per_minute),
                          concurrency=concurrency, **options))
            for url in urls
        ]  # fmt: skip
        names = [endpoint.name for endpoint in self.endpoints]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"the server {twice[0]} is named twice", hint="name each server once")
        self.concurrency = concurrency * len(urls)
        self._retry_for = retry_for
        self._homes: OrderedDict[str, Endpoint] = OrderedDict()
        self._probes: set[asyncio.Task[None]] = set()
        self._better = asyncio.Event()
        """Set whenever a server comes back."""

    def identity(self) -> str:
        """The model's name at the servers."""
        return next((e.engine.model for e in self.endpoints if e.engine.model), "")

    @property
    def caps_thinking(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all servers that were checked keep to a thinking budget."""
        checked = [e.engine for e in self.endpoints if e.engine.checked]
        return bool(checked) and all(engine.caps_thinking for engine in checked)

    @property
    def control_tokens(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of all servers."""
        return tuple(dict.fromkeys(token for e in self.endpoints for token in e.engine.control_tokens))

    async def check(self) -> None:
        """Check all servers; those that do not answer are left out, and said.

        Raises ``EngineError`` where none answers, ``ConfigError`` where they serve different models.
        """
        errors = await asyncio.gather(*[self._checked(endpoint) for endpoint in self.endpoints])
        named = {e.engine.model: e.name for e, error in zip(self.endpoints, errors, strict=True) if not error}
        if len(named) > 1:
            told = ", ".join(f"{model} at {name}" for model, name in named.items())
            raise ConfigError(f"the servers serve different models: {told}", hint="choose one with --model")
        for endpoint, error in zip(self.endpoints, errors, strict=True):
            if error and not named:
                raise error
            if error:
                self.say(f"{endpoint.name} is left out until it answers: {error.message}")
                self._leave_out(endpoint)

    async def _checked(self, endpoint: Endpoint) -> JuristError | None:
        try:
            await endpoint.engine.check()
        except JuristError as error:
            return error
        endpoint.engine.checked = True
        return None

    async def __call__(self, query: Query) -> Completion:
        until = time.monotonic() + self._retry_for
        last: Completion | None = None
        failed_at: set[Endpoint] = set()
        while True:
            endpoint = self._chosen(query.case_id, failed_at)
            if endpoint is None:
                failed_at.clear()
                if last is not None and time.monotonic() >= until:
                    return self._everywhere(last)
                await self._wait(until)
                if last is None and time.monotonic() >= until:
                    return self._everywhere(Completion(finish="error", error="no server is well"))
                continue
            try:
                return await self._asked(endpoint, query)
            except Elsewhere as error:
                last = error.completion
                failed_at.add(endpoint)
                if not error.busy and endpoint.failed():
                    self.say(f"{endpoint.name} is left out until it answers: {last.error}")
                    self._leave_out(endpoint)

    async def _asked(self, endpoint: Endpoint, query: Query) -> Completion:
        endpoint.calls += 1
        try:
            limits = endpoint.engine.limits
            booked = await limits.call(query)
            completion = await endpoint.engine(query)
            limits.done(booked, completion)
            endpoint.answered()
            return completion
        finally:
            endpoint.calls -= 1

    def _chosen(self, case_id: str, failed_at: set[Endpoint]) -> Endpoint | None:
        """The server of a case, else the next one that is well; None where all failed, are sick or pause."""
        home = self._homes.get(case_id)
        fit = [e for e in self.endpoints if not e.sick and e.away <= STAY and e not in failed_at]
        if home in fit:
            self._homes.move_to_end(case_id)
            return home
        if not fit:
            return None
        order = sorted(fit, key=lambda e: seed_of("endpoint", e.name, case_id), reverse=True)
        most = CROWDED * (1 + sum(e.calls for e in fit)) / len(fit)
        chosen = next((e for e in order if e.calls < most), order[0])
        # A case whose server only pauses or failed once goes home again.
        if home is None or home.sick:
            self._homes[case_id] = chosen
            if len(self._homes) > _REMEMBERED:
                self._homes.popitem(last=False)
        return chosen

    async def _wait(self, until: float) -> None:
        """Wait until a server is back or its pause is over, at most until then."""
        self._better.clear()
        pauses = [e.away for e in self.endpoints if not e.sick]
        seconds = min([max(0.1, pause) for pause in pauses] or [_PROBES[1]])
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, until - time.monotonic()))):
                await self._better.wait()

    def _leave_out(self, endpoint: Endpoint) -> None:
        endpoint.sick = True
        task = asyncio.ensure_future(self._probe(endpoint))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    async def _probe(self, endpoint: Endpoint) -> None:
        """Ask a sick server now and then whether it is well."""
        pause, longest = _PROBES
        while True:
            await asyncio.sleep(pause)
            if await endpoint.engine.well():
                endpoint.back()
                self._better.set()
                self.say(f"{endpoint.name} is back")
                return
            pause = min(2 * pause, longest)

    def _everywhere(self, completion: Completion) -> Completion:
        words, mark, mend = (completion.error or "").partition(MEND)
        n = len(self.endpoints)
        told = f"{words} (and no other of {n} servers)" if n > 1 else words
        return replace(completion, error=f"{told}{mark}{mend}")

    async def aclose(self) -> None:
        """End the probes and close the connections."""
        for task in self._probes:
            task.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        for endpoint in self.endpoints:
            await endpoint.engine.aclose()
