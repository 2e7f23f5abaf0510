"""Best of n over HTTP: the choice, or, as it comes about, who is ahead."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from jurist.core.types import Usage
from jurist.rewards.choice import Choice, choosing, chosen
from jurist.serving.errors import http_error
from jurist.serving.retries import Caller
from jurist.serving.route import EventStream, Route
from jurist.serving.routes_native import JudgingRequest, Responses, case_of
from jurist.serving.schema import BestReply, Leading
from jurist.serving.service import Service, traces

EVERY = 15.0
"""Seconds after which a stream says again who is ahead: proxies close connections that are long silent."""

_LOG = logging.getLogger("jurist.serving")


class BestRequest(JudgingRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Responses to choose from; with ``stream`` the reply is server-sent events."""

    responses: Responses
    stream: bool = False


async def best_of_n(service: Service, request: BestRequest, _: Caller) -> BestReply | EventStream:
    """The best of any number of responses: by default by a knockout in both orders."""
    case = case_of("best-of-n", request, request.responses)
    deadline = request.deadline or service.settings.deadline
    if request.stream:
        steps = choosing(service.judge, case, deadline, EVERY)
        return EventStream(_events(service, steps, trace=request.trace))
    return _reply(service, await chosen(service.judge, case, deadline), trace=request.trace)


ROUTES: tuple[Route[Any], ...] = (Route("/best-of-n", BestRequest, BestReply, best_of_n),)


async def _events(
    service: Service, steps: AsyncGenerator[Leading | Choice], *, trace: bool
) -> AsyncGenerator[bytes]:
    """A stream's bytes; an error in its middle is an event too, since its status has been sent."""
    try:
        async with aclosing(steps):
            async for step in steps:
                yield _event(_reply(service, step, trace=trace) if isinstance(step, Choice) else step)
    except Exception as error:
        refusal = http_error(error)
        if refusal.status == 500:
            _LOG.exception("a stream failed")
        yield _event(refusal.body)
    yield b"data: [DONE]\n\n"


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _reply(service: Service, choice: Choice, *, trace: bool) -> BestReply:
    service.metrics.judged(choice.result)
    decision = choice.result.decision
    return BestReply(
        True,
        choice.best,
        choice.tied,
        choice.leader,
        choice.compared,
        choice.status,
        choice.note,
        len(decision.judgments) if decision else 0,
        decision.usage if decision else Usage(),
        traces(choice.result) if trace else (),
    )
