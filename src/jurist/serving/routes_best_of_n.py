"""Best of n over HTTP: the choice, or, as it comes about, who is ahead."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from starlette.responses import Response as Reply
from starlette.responses import StreamingResponse

from jurist.core.types import Case, Record, Response, Status, Usage, conversation
from jurist.rewards.choice import Choice, Leading, choosing, chosen
from jurist.serving.contract import Contract
from jurist.serving.errors import refused
from jurist.serving.retries import Caller
from jurist.serving.routes_native import Asked
from jurist.serving.service import Service, Trace, traces

EVERY = 15.0
"""Seconds after which a stream says again who is ahead: proxies close connections that are long silent."""

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_LOG = logging.getLogger("jurist.serving")


class BestRequest(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Responses to choose from; with ``stream`` the reply is server-sent events."""

    responses: Annotated[tuple[Response, ...], msgspec.Meta(min_length=1, max_length=128)]
    stream: bool = False


class BestReply(Record, frozen=True):
    """``best`` is the index of the best response, null where ``status`` is not ok.

    ``tied`` are all that are level with it. ``leader`` was ahead when the judging ended, after so many
    comparisons (``compared``). In a stream this is the last event; those before it have ``leader``,
    ``compared``, and a ``final`` that is false.
    """

    final: bool
    best: int | None
    tied: tuple[int, ...]
    leader: int | None
    compared: int
    status: Status
    note: str
    judgments: int
    usage: Usage
    trace: tuple[Trace, ...] | msgspec.UnsetType = msgspec.UNSET


async def best_of_n(service: Service, asked: BestRequest, _: Caller) -> BestReply | Reply:
    """The best of any number of responses: by default by a knockout in both orders."""
    case = Case(
        "best-of-n",
        conversation(asked.prompt),
        asked.responses,
        reference=asked.reference,
        rubric=asked.rubric,
    )
    deadline = asked.deadline or service.settings.deadline
    if asked.stream:
        steps = choosing(service.judge, case, deadline, EVERY)
        events = _events(service, steps, asked.trace)
        return StreamingResponse(events, headers=_HEADERS, media_type="text/event-stream")
    return _reply(service, await chosen(service.judge, case, deadline), asked.trace)


CONTRACTS: tuple[Contract[Any], ...] = (Contract("/best-of-n", BestRequest, BestReply, best_of_n),)


async def _events(
    service: Service, steps: AsyncGenerator[Leading | Choice], trace: bool
) -> AsyncGenerator[bytes]:
    """A stream's bytes; an error in its middle is an event too, since its status has been sent."""
    try:
        async with aclosing(steps):
            async for step in steps:
                yield _event(_reply(service, step, trace) if isinstance(step, Choice) else step)
    except Exception as error:
        refusal = refused(error)
        if refusal.status == 500:
            _LOG.exception("a stream failed")
        yield _event(refusal.body)
    yield b"data: [DONE]\n\n"


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _reply(service: Service, choice: Choice, trace: bool) -> BestReply:
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
        traces(choice.result) if trace else msgspec.UNSET,
    )
