"""NeMo Gym's contract of a comparing reward: `/verify`, a rollout a call, and `/compare`, all at once.

As in NVIDIA-NeMo/Gym, resources_servers/genrm_compare (README.md and app.py at 0880a8d and 0033425).
"""

from typing import Any, cast

import msgspec

from jurist.core.types import Case, Conversation, Message
from jurist.rewards.cohort import Sample
from jurist.serving.contract import Contract
from jurist.serving.errors import Refusal
from jurist.serving.retries import Caller
from jurist.serving.service import Service, Trace, traces

WAITS = 280.0
"""Gym's client waits 300 seconds; less the time that an answer needs."""

Item = dict[str, Any]


class GymVerifyRequest(msgspec.Struct, frozen=True):
    """One rollout; group and attempt name its cohort, the rollout's index names it within."""

    responses_create_params: Item
    response: Item
    principle: str | None = None
    prompt_id: str | None = None
    group: str | int | None = msgspec.field(default=None, name="_ng_group_id")
    attempt: str | int | None = msgspec.field(default=None, name="_ng_group_attempt")
    rollout: int | None = msgspec.field(default=None, name="_ng_rollout_index")


class GymVerifyReply(msgspec.Struct, frozen=True):
    """The rollout as it was sent, with its reward."""

    responses_create_params: Item
    response: Item
    reward: float


class GymCompareRequest(msgspec.Struct, frozen=True):
    """A conversation and candidate objects of the Responses API."""

    conversation_history: tuple[Item, ...]
    response_objs: tuple[Item, ...]
    principle: str | None = None


class GymCompareReply(msgspec.Struct, frozen=True):
    """A reward per candidate; results hold our verdicts in [0, 1], no ranking from 1 to 6."""

    rewards: list[float]
    comparison_results: list[Item]
    metrics: dict[str, float]


async def verify(service: Service, asked: GymVerifyRequest, caller: Caller) -> GymVerifyReply:
    """NeMo Gym's rollout, judged among its siblings."""
    group = asked.prompt_id if asked.group is None else f"{asked.group}/{asked.attempt or 0}"
    sample = Sample(
        _turns(asked.responses_create_params.get("input"), "responses_create_params.input"),
        _text(asked.response, "response"),
        group,
        None if asked.rollout is None else str(asked.rollout),
        rubric=asked.principle,
    )
    [(_, number)] = await service.numbers([sample], caller, WAITS)
    return GymVerifyReply(asked.responses_create_params, asked.response, number)


async def compare(service: Service, asked: GymCompareRequest, _: Caller) -> GymCompareReply:
    """NeMo Gym's candidates, judged together; 503 where one has no reward."""
    if not asked.response_objs:
        return GymCompareReply([], [], {})
    texts = tuple(_text(r, f"response_objs[{i}]") for i, r in enumerate(asked.response_objs))
    prompt = _turns(list(asked.conversation_history), "conversation_history")
    result = await service.group(Case("compare", prompt, texts, rubric=asked.principle), WAITS)
    told = traces(result)
    rows = [_row(i, trace) for i, trace in enumerate(told) if trace.scores and len(trace.order) == 2]
    metrics = {"judgments": float(len(told)), "answered": float(sum(t.scores is not None for t in told))}
    return GymCompareReply([service.number(r) for r in result.rewards], rows, metrics)


CONTRACTS: tuple[Contract[Any], ...] = (
    Contract("/verify", GymVerifyRequest, GymVerifyReply, verify),
    Contract("/compare", GymCompareRequest, GymCompareReply, compare, mark="response_objs"),
)


def _row(i: int, trace: Trace) -> Item:
    first, second = sorted(trace.order)
    low, high = trace.scores or (0.0, 0.0)
    return {"response_i": first, "response_j": second, "judge_idx": i, "score_1": low, "score_2": high}


def _turns(value: Any, field: str) -> Conversation:
    """A conversation as the Responses API has it: a text, or messages whose content is text or parts."""
    if isinstance(value, str):
        return (Message("user", value),)
    items = cast("list[Any]", value) if isinstance(value, list) else []
    turns = [_turn(item) for item in items]
    if not turns or None in turns:
        raise Refusal(
            422, f"{field} is neither a text nor messages with text", "role and content", field=field
        )
    return tuple(turn for turn in turns if turn)


def _turn(item: Any) -> Message | None:
    if not isinstance(item, dict):
        return None
    known = cast("Item", item)
    text = _content(known.get("content"))
    return None if text is None else Message(str(known.get("role", "user")), text)


def _content(value: Any) -> str | None:
    """The text of a content; None where something else than text is in it."""
    if isinstance(value, str):
        return value
    parts = cast("list[Any]", value) if isinstance(value, list) else [None]
    texts = [cast("Item", part).get("text") if isinstance(part, dict) else None for part in parts]
    found = [text for text in texts if isinstance(text, str)]
    return "".join(found) if len(found) == len(texts) else None


def _text(response: Item, field: str) -> str:
    """What a response object says: the text of its messages, without reasoning and calls."""
    output: Any = response.get("output")
    if not isinstance(output, list):
        raise Refusal(
            422, f"{field} has no list of output", "an object of the Responses API", field=f"{field}.output"
        )
    items = [cast("Item", item) for item in cast("list[Any]", output) if isinstance(item, dict)]
    texts = [_content(item.get("content")) for item in items if item.get("type", "message") == "message"]
    return "\n\n".join(text for text in texts if text)
