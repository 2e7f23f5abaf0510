"""Keeps a thinking budget: cuts the thinking, closes it, and asks for a short answer."""

from msgspec.structs import replace

from jurist.core.types import Completion, Engine, Query
from jurist.protocols.base import Protocol
from jurist.protocols.thinking_tags import closed_thinking


async def capped(engine: Engine, protocol: Protocol, query: Query, *, answer: bool = True) -> Completion:
    """The completion of a query whose ``sampling.thinking_budget`` (tokens) is kept.

    An engine that caps by itself (``caps_thinking``) gets the query as it is. Elsewhere the budget is the
    length of a first request; thinking that it cut is closed, and a second one asks for an answer of
    ``sampling.answer_tokens``. An answer that was cut goes on to ``max_tokens``. A judge that reasons in
    the open, without think tags, has its reasoning capped, and continues with the words before the
    verdict. A budget of 0 does not think at all. Without ``answer`` the second request is left out (a
    forced verdict follows). Text, tokens and seconds of both are joined in one completion.
    """
    budget = query.sampling.thinking_budget
    if budget == 0 and not answer:
        return Completion(finish="length")
    if budget is None or caps_thinking(engine):
        return await engine(query)
    first = await _thought(engine, query, budget)
    if first.error or first.finish != "length" or not answer:
        return first
    prefix, tokens = _closed(protocol, query, first)
    if tokens < 1:
        return first
    more = replace(query.sampling, max_tokens=tokens, thinking_budget=None)
    second = await engine(replace(query, sampling=more, prefill=prefix))
    return _joined(prefix, first, second)


def caps_thinking(engine: Engine) -> bool:
    """Whether an engine (or its server) keeps a thinking budget by itself."""
    return bool(getattr(engine, "caps_thinking", False))


async def _thought(engine: Engine, query: Query, budget: int) -> Completion:
    if budget == 0:
        return Completion(finish="length")
    most = min(budget, query.sampling.max_tokens)
    return await engine(
        replace(query, sampling=replace(query.sampling, max_tokens=most, thinking_budget=None))
    )


def _closed(protocol: Protocol, query: Query, first: Completion) -> tuple[str, int]:
    """The assistant's turn so far, its thinking closed, and how many more tokens it may have."""
    sampling = query.sampling
    turn, answer = closed_thinking(first, opens=protocol.opens_thinking)
    if not turn:
        return protocol.prefill(first), sampling.answer_tokens
    if answer.strip():
        return turn + answer.lstrip(), sampling.max_tokens - first.usage.completion_tokens
    return turn, sampling.answer_tokens


def _joined(prefix: str, first: Completion, second: Completion) -> Completion:
    return replace(
        second,
        text=prefix + second.text,
        thinking=None,
        usage=first.usage + second.usage,
        seconds=first.seconds + second.seconds,
        reused=first.reused and second.reused,
    )
