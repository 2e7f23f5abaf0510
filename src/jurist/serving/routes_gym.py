"""NeMo Gym's resources server: `/verify`, a rollout a call; `/compare`, all candidates; its other routes.

As in NVIDIA-NeMo/Gym at 07d6b0d: nemo_gym/base_resources_server.py, resources_servers/genrm_compare/app.py,
nemo_gym/reward_profile.py (``compute_aggregate_metrics``). Any path may have the prefix /ng-rollout/ID.
"""

from collections.abc import Sequence
from hashlib import sha256
from math import isfinite
from statistics import mean, median, stdev
from typing import Annotated, Any, cast

import msgspec

from jurist.core.errors import InputError
from jurist.core.types import Case, Conversation, Message
from jurist.inputs.messages import content_of, text_of
from jurist.rewards.cohort import CohortSample
from jurist.serving.errors import HTTPError
from jurist.serving.retries import Caller
from jurist.serving.route import WHOLE, Page, Route
from jurist.serving.schema import JudgmentTrace
from jurist.serving.service import Service, traces

Item = dict[str, Any]

_PARTS: Item = {
    "type": "array",
    "items": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
_TURN: Item = {
    "type": "object",
    "properties": {"role": {"type": "string"}, "content": {"anyOf": [{"type": "string"}, _PARTS]}},
    "required": ["content"],
}
Turn = Annotated[Item, msgspec.Meta(extra_json_schema=_TURN)]
"""A message of the Responses API; it is sent back as it came, so that it is decoded as a plain object."""

Params = Annotated[
    Item,
    msgspec.Meta(
        extra_json_schema={
            "properties": {
                "input": {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": _TURN}]}
            },
            "required": ["input"],
        }
    ),
]
"""The parameters of a rollout; only the input is read."""

GymResponse = Annotated[
    Item,
    msgspec.Meta(
        extra_json_schema={
            "properties": {"output": {"type": "array", "items": {"type": "object"}}},
            "required": ["output"],
        }
    ),
]
"""An object of the Responses API; the texts of its messages are read."""


class GymVerifyRequest(msgspec.Struct, frozen=True):
    """One rollout. Siblings share the task (its index, else ``prompt_id``), the prompt and the principle."""

    responses_create_params: Params
    response: GymResponse
    principle: str | None = None
    prompt_id: str | None = None
    task: Annotated[float, msgspec.Meta(**WHOLE)] | None = msgspec.field(default=None, name="_ng_task_index")


class GymVerifyReply(msgspec.Struct, frozen=True):
    """The rollout as it was sent, with its reward."""

    responses_create_params: Item
    response: Item
    reward: float


class GymCompareRequest(msgspec.Struct, frozen=True):
    """A conversation and candidate objects of the Responses API."""

    conversation_history: Annotated[tuple[Turn, ...], msgspec.Meta(min_length=1)]
    response_objs: tuple[GymResponse, ...]
    principle: str | None = None


class GymCompareReply(msgspec.Struct, frozen=True):
    """A reward per candidate; results hold our verdicts in [0, 1], no ranking from 1 to 6."""

    rewards: list[float]
    comparison_results: list[Item]
    metrics: dict[str, float]


class GymSessionRequest(msgspec.Struct, frozen=True):
    """Whatever the agent sends; nothing of it is kept."""


class GymSessionReply(msgspec.Struct, frozen=True):
    """Nothing: a reward needs no session."""


class GymMetricsRequest(msgspec.Struct, frozen=True):
    """The replies of `/verify`, without their texts."""

    verify_responses: tuple[Item, ...]


class GymMetricsReply(msgspec.Struct, frozen=True):
    """Statistics of every number in the replies: of each task, and of all."""

    group_level_metrics: list[Item]
    agent_metrics: dict[str, float]
    key_metrics: dict[str, float]


async def verify(service: Service, request: GymVerifyRequest, caller: Caller) -> GymVerifyReply:
    """NeMo Gym's rollout, judged among its siblings."""
    prompt = _turns(request.responses_create_params.get("input"), "responses_create_params.input")
    if request.task is None and request.prompt_id is None:
        task = ""
    else:
        task = f"task {request.task:.0f}/" if request.task is not None else f"prompt {request.prompt_id}/"
    digest = sha256(msgspec.json.encode((prompt, request.principle))).hexdigest()
    sample = CohortSample(
        prompt, _text(request.response, "response"), task + digest, rubric=request.principle
    )
    [(_, number)] = await service.numbers([sample], caller, None)
    return GymVerifyReply(request.responses_create_params, request.response, number)


async def compare(service: Service, request: GymCompareRequest, _: Caller) -> GymCompareReply:
    """NeMo Gym's candidates, judged together; an error where one has no reward."""
    prompt = _turns(list(request.conversation_history), "conversation_history")
    texts = tuple(_text(r, f"response_objs[{i}]") for i, r in enumerate(request.response_objs))
    if not texts:
        return GymCompareReply([], [], {})
    result = await service.group(Case("compare", prompt, texts, rubric=request.principle), None)
    judgments = traces(result)
    rows = [_row(i, trace) for i, trace in enumerate(judgments) if trace.scores and len(trace.order) == 2]
    answered = sum(trace.scores is not None for trace in judgments)
    metrics = {"judgments": float(len(judgments)), "answered": float(answered)}
    return GymCompareReply(service.numbers_of(result), rows, metrics)


async def seed_session(_: Service, __: GymSessionRequest, ___: Caller) -> GymSessionReply:
    """NeMo Gym's agent opens a session before each rollout; none is needed here."""
    return GymSessionReply()


async def aggregate_metrics(_: Service, request: GymMetricsRequest, __: Caller) -> GymMetricsReply:
    """NeMo Gym's statistics of the rewards of a run."""
    tasks: dict[int, list[Item]] = {}
    for reply in request.verify_responses:
        tasks.setdefault(_task(reply), []).append(reply)
    groups = [
        {"_ng_task_index": task, "num_rollouts": len(tasks[task]), **_statistics(tasks[task])}
        for task in sorted(tasks)
    ]
    whole = _statistics(request.verify_responses)
    means = {name: value for name, value in whole.items() if name.startswith("mean/")}
    return GymMetricsReply(groups, whole, means)


ROUTES: tuple[Route[Any], ...] = (
    Route("/verify", GymVerifyRequest, GymVerifyReply, verify),
    Route("/compare", GymCompareRequest, GymCompareReply, compare, mark="response_objs"),
    Route("/seed_session", GymSessionRequest, GymSessionReply, seed_session),
    Route("/aggregate_metrics", GymMetricsRequest, GymMetricsReply, aggregate_metrics),
)
PAGES = (
    # A rollout's reward depends on its siblings, so one rollout alone cannot be verified again.
    Page(
        "/reverify_mode",
        "NeMo Gym: whether rollouts can be verified again, one by one",
        lambda _: (200, b'"unsupported"'),
        schema=str,
    ),
)


def _task(reply: Item) -> int:
    index = reply.get("_ng_task_index", 0)
    return index if isinstance(index, int) else 0


def _statistics(replies: Sequence[Item]) -> dict[str, float]:
    """Mean, maximum, minimum, median and standard deviation (0 of one) of every field with numbers.

    The numbers of ``response.usage`` count as fields too.
    """
    columns: dict[str, list[float]] = {}
    for reply in replies:
        response = reply.get("response")
        usage = cast("Item", response).get("usage") if isinstance(response, dict) else None
        fields = reply | cast("Item", usage) if isinstance(usage, dict) else reply
        for name, value in fields.items():
            if not name.startswith("_ng_") and isinstance(value, (int, float)) and isfinite(value):
                columns.setdefault(name, []).append(float(value))
    whole: dict[str, float] = {}
    for name, values in columns.items():
        deviation = stdev(values) if len(values) > 1 else 0.0
        figures = {"mean": mean(values), "max": max(values), "min": min(values), "median": median(values)}
        whole |= {f"{kind}/{name}": value for kind, value in (*figures.items(), ("std", deviation))}
    return whole


def _row(i: int, trace: JudgmentTrace) -> Item:
    first, second = sorted(trace.order)
    low, high = trace.scores or (0.0, 0.0)
    return {"response_i": first, "response_j": second, "judge_idx": i, "score_1": low, "score_2": high}


def _turns(value: Any, field: str) -> Conversation:
    """A conversation as the Responses API has it: a text, or messages and calls of tools."""
    if isinstance(value, str):
        return (Message("user", value),)
    turns = _items(value, field)
    if not turns:
        raise HTTPError(
            422, f"{field} is neither a text nor messages with text", "role and content", field=field
        )
    return turns


def _items(value: Any, field: str) -> Conversation:
    """The turns of a list of items; reasoning is left out, and what holds no text refused by name."""
    turns: list[Message] = []
    for i, item in enumerate(cast("list[Any]", value) if isinstance(value, list) else ()):
        where = f"{field}[{i}]"
        fields = cast("Item", item) if isinstance(item, dict) else {}
        kind = str(fields.get("type") or "message")
        if kind == "reasoning":
            continue
        try:
            if kind == "message":
                role = text_of(fields.get("role", "user"), f"{where}.role")
                turns.append(Message(role, content_of(fields.get("content"), f"{where}.content")))
            else:
                turns.append(Message("tool" if "output" in kind else "assistant", content_of(fields, where)))
        except InputError as error:
            raise HTTPError(422, error.message, error.hint, field=field) from None
    return tuple(turns)


def _text(response: Item, field: str) -> str:
    """What a response object says and does: the text of its messages and calls, without reasoning."""
    output: Any = response.get("output")
    if not isinstance(output, list):
        raise HTTPError(
            422, f"{field} has no list of output", "an object of the Responses API", field=f"{field}.output"
        )
    return "\n\n".join(turn.content for turn in _items(output, f"{field}.output") if turn.content)
