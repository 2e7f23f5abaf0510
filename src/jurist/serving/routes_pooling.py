"""The contracts of servers of pooling models: `/score` of texts in pairs, `/classify` as a raw reward.

As in vllm-project/vllm, vllm/entrypoints/pooling/scoring/protocol.py (at 004706d) and utils.py (at c7fa638),
classify/protocol.py (at dff4cad); what a trainer reads of `/classify`: verl-project/verl,
verl/experimental/reward_loop/reward_loop.py, ``compute_score_disrm``.
"""

from collections.abc import Sequence
from time import time
from typing import Annotated, Any
from uuid import uuid4

import msgspec

from jurist.core.types import Case, Conversation, Message, Usage
from jurist.deliberation.votes import gather
from jurist.rewards.cohort import CohortSample
from jurist.serving.errors import HTTPError
from jurist.serving.retries import Caller
from jurist.serving.route import Page, Route
from jurist.serving.routes_native import Seconds
from jurist.serving.service import Service
from jurist.serving.templates import TEMPLATES, turns_of, without_ends

MOST = 128
"""Texts of one request at most."""


class PoolingPart(msgspec.Struct, frozen=True):
    """A part of a content; only text can be judged."""

    type: str
    text: str | None = None


class PoolingContent(msgspec.Struct, frozen=True):
    """A text in parts."""

    content: tuple[PoolingPart, ...]


Text = str | PoolingContent
Texts = str | PoolingContent | Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=MOST)]


class PoolingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What every request may say. ``anchors`` are ours: other responses, against which each one is scored."""

    model: str | None = None
    use_activation: bool | None = None
    deadline: Seconds | None = None
    anchors: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST)] = ()


class ScoreQueriesRequest(PoolingRequest, frozen=True, kw_only=True):
    """One query for all documents, or one for each: prompts and responses."""

    queries: Texts
    documents: Texts


class ScoreItemsRequest(PoolingRequest, frozen=True, kw_only=True):
    """The same by other names."""

    queries: Texts
    items: Texts


class ScoreTextsRequest(PoolingRequest, frozen=True, kw_only=True):
    """The same by other names."""

    text_1: Texts
    text_2: Texts


class ScoreDataRequest(PoolingRequest, frozen=True, kw_only=True):
    """The same by other names."""

    data_1: Texts
    data_2: Texts


ScoreForm = ScoreQueriesRequest | ScoreItemsRequest | ScoreTextsRequest | ScoreDataRequest


class ClassifyTextRequest(PoolingRequest, frozen=True, kw_only=True):
    """Conversations as chat templates write them; the last turn is the response."""

    input: str | Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MOST)]


class PoolingMessage(msgspec.Struct, frozen=True):
    """One turn."""

    role: str
    content: str | tuple[PoolingPart, ...]


class ClassifyChatRequest(PoolingRequest, frozen=True, kw_only=True):
    """A conversation; the last turn is the response."""

    messages: tuple[PoolingMessage, ...]


class PoolingUsage(msgspec.Struct, frozen=True):
    """Tokens read and written for all of the request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ScoreData(msgspec.Struct, frozen=True):
    """A document's place in the request, and its reward."""

    index: int
    score: float
    object: str = "score"


class ScoreListReply(msgspec.Struct, frozen=True):
    """Scores in the order of the documents. ``usage`` is 0 where siblings came with other requests."""

    id: str
    created: int
    model: str
    data: list[ScoreData]
    usage: PoolingUsage
    object: str = "list"


class ClassifyData(msgspec.Struct, frozen=True):
    """A response's place in the request; ``probs`` is its reward alone, as of a reward model, raw."""

    index: int
    label: str | None
    probs: tuple[float]
    num_classes: int = 1


class ClassifyReply(msgspec.Struct, frozen=True):
    """Rewards in the order of the conversations; ``usage`` as for scores."""

    id: str
    created: int
    model: str
    data: list[ClassifyData]
    usage: PoolingUsage
    object: str = "list"


class ModelCard(msgspec.Struct, frozen=True):
    """A model as OpenAI's API lists it."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "jurist"


class ModelList(msgspec.Struct, frozen=True):
    """The one model."""

    data: list[ModelCard]
    object: str = "list"


def _models(service: Service) -> tuple[int, bytes]:
    return 200, msgspec.json.encode(ModelList([ModelCard(service.model)]))


async def score(service: Service, request: ScoreForm, caller: Caller) -> ScoreListReply:
    """A reward for each document; those of one query are judged together."""
    match request:
        case ScoreQueriesRequest():
            samples = _pairs(request.queries, request.documents, "queries", "documents", request.anchors)
        case ScoreItemsRequest():
            samples = _pairs(request.queries, request.items, "queries", "items", request.anchors)
        case ScoreTextsRequest():
            samples = _pairs(request.text_1, request.text_2, "text_1", "text_2", request.anchors)
        case ScoreDataRequest():
            samples = _pairs(request.data_1, request.data_2, "data_1", "data_2", request.anchors)
    numbers, usage = await _rewards(service, samples, request, caller)
    data = [ScoreData(i, number) for i, number in enumerate(numbers)]
    return ScoreListReply(f"score-{uuid4().hex}", int(time()), request.model or service.model, data, usage)


async def classify(
    service: Service, request: ClassifyTextRequest | ClassifyChatRequest, caller: Caller
) -> ClassifyReply:
    """The raw reward of each conversation's last turn."""
    if isinstance(request, ClassifyTextRequest):
        texts = (request.input,) if isinstance(request.input, str) else request.input
        samples = [_templated(i, text, request.anchors) for i, text in enumerate(texts)]
    else:
        turns = tuple(
            Message(m.role, _text(m.content, f"messages[{i}]")) for i, m in enumerate(request.messages)
        )
        samples = [_sample(turns, "messages", request.anchors)]
    numbers, usage = await _rewards(service, samples, request, caller)
    data = [ClassifyData(i, None, (number,)) for i, number in enumerate(numbers)]
    return ClassifyReply(f"classify-{uuid4().hex}", int(time()), request.model or service.model, data, usage)


_SCORES: tuple[tuple[type[Any], str], ...] = (
    # The first one that fits: queries stand beside documents or items.
    (ScoreItemsRequest, "items"),
    (ScoreQueriesRequest, "queries"),
    (ScoreTextsRequest, "text_1"),
    (ScoreDataRequest, "data_1"),
)
ROUTES: tuple[Route[Any], ...] = (
    *(
        Route(path, body, ScoreListReply, score, mark)
        for path in ("/score", "/v1/score")
        for body, mark in _SCORES
    ),
    *(Route(path, ClassifyTextRequest, ClassifyReply, classify) for path in ("/classify", "/v1/classify")),
    *(
        Route(path, ClassifyChatRequest, ClassifyReply, classify, "messages")
        for path in ("/classify", "/v1/classify")
    ),
)

PAGES = (Page("/v1/models", "the judge as a model, for clients of OpenAI's API", _models, schema=ModelList),)


async def _rewards(
    service: Service, samples: Sequence[CohortSample], request: PoolingRequest, caller: Caller
) -> tuple[list[float], PoolingUsage]:
    """A number for each sample, and the tokens, which are 0 where siblings came with other requests.

    Samples with the same prompt are siblings, and judged at once. Where one has none, and the judge cannot
    rate it alone, all wait for siblings of other requests if the server gathers groups of a size; if it does
    not, nothing is judged.
    """
    _check(service, request)
    groups = _groups(service, samples)
    if not all(_judgeable(service, samples, group) for group in groups):
        if service.settings.group_size is None:
            raise _lone(service)
        both = await service.numbers(samples, caller, None, request.deadline)
        return [number for _, number in both], _usage(Usage())
    cases = [_case([samples[i] for i in group]) for group in groups]
    results = await gather(*(service.group(case, request.deadline) for case in cases))
    numbers: dict[int, float] = {}
    for group, result in zip(groups, results, strict=True):
        numbers.update(zip(group, service.numbers_of(result), strict=True))
    usage = sum((r.decision.usage for r in results if r.decision), Usage())
    return [numbers[i] for i in range(len(samples))], _usage(usage)


def _groups(service: Service, samples: Sequence[CohortSample]) -> list[list[int]]:
    """Places of the samples that are judged together: those of one prompt, or each alone."""
    if any(sample.anchors for sample in samples) and service.judge.setup.protocol.arity != 1:
        return [[i] for i in range(len(samples))]
    by_prompt: dict[Conversation, list[int]] = {}
    for i, sample in enumerate(samples):
        by_prompt.setdefault(sample.prompt, []).append(i)
    return list(by_prompt.values())


def _judgeable(service: Service, samples: Sequence[CohortSample], group: Sequence[int]) -> bool:
    """Whether these can be judged without others: two, or one by a judge of one."""
    if len(group) > 1:
        return True
    judge = service.judge
    rates_one = judge.setup.protocol.arity == 1 or bool(samples[group[0]].anchors)
    return rates_one and judge.reward == "none"


def _case(samples: Sequence[CohortSample]) -> Case:
    first = samples[0]
    return Case("pooling", first.prompt, tuple(s.response for s in samples), anchors=first.anchors)


def _check(service: Service, request: PoolingRequest) -> None:
    if request.use_activation:
        raise HTTPError(
            409,
            "rewards are raw numbers of the judge: there is no activation over them",
            "use_activation false, or leave it out",
            field="use_activation",
        )
    if request.anchors and service.judge.reward != "none":
        raise HTTPError(
            409,
            f"the server's rewards ({service.judge.reward}) are relative to a group, not to anchors",
            "leave anchors out, or start the server with --reward none",
            field="anchors",
        )


def _lone(service: Service) -> HTTPError:
    """What a response needs that came alone."""
    judge = service.judge
    why = f"the judge ({judge.setup.protocol.name}) compares responses"
    if judge.reward != "none":
        why = f"the server's rewards ({judge.reward}) are relative to a group"
    return HTTPError(
        409,
        f"{why}, and one response has no other to its prompt beside it",
        "several responses to the prompt in one request; or anchors (other responses to it) in the body; or "
        "a server with --protocol pointwise, which rates one, or with --group-size, which waits for siblings",
    )


def _pairs(
    left: Texts, right: Texts, first: str, second: str, anchors: tuple[str, ...]
) -> list[CohortSample]:
    """Prompts with their responses: one for all, or one for each."""
    prompts, responses = _texts(left, first), _texts(right, second)
    if len(prompts) == 1:
        prompts *= len(responses)
    if len(prompts) != len(responses):
        raise HTTPError(
            409,
            f"{len(prompts)} {first} for {len(responses)} {second}",
            f"one of {first} for all, or one for each",
            field=second,
        )
    both = zip(prompts, responses, strict=True)
    return [CohortSample((Message("user", prompt),), response, anchors=anchors) for prompt, response in both]


def _texts(texts: Texts, field: str) -> list[str]:
    if not isinstance(texts, tuple):
        return [_content(texts, field)]
    return [_content(text, f"{field}[{i}]") for i, text in enumerate(texts)]


def _content(text: Text, field: str) -> str:
    return text if isinstance(text, str) else _text(text.content, f"{field}.content")


def _text(content: str | tuple[PoolingPart, ...], field: str) -> str:
    if isinstance(content, str):
        return content
    for i, part in enumerate(content):
        if part.text is None:
            raise HTTPError(
                409, f"a part of type {part.type!r} has no text", "text only", field=f"{field}[{i}].text"
            )
    return "".join(part.text or "" for part in content)


def _templated(i: int, text: str, anchors: tuple[str, ...]) -> CohortSample:
    turns = turns_of(text)
    if turns is None:
        raise HTTPError(
            409,
            f"input {i} is in no template that can be taken apart",
            f"{TEMPLATES}, whole; or messages instead of input",
            field=f"input[{i}]",
        )
    return _sample(turns, f"input[{i}]", anchors)


def _sample(turns: Conversation, field: str, anchors: tuple[str, ...]) -> CohortSample:
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise HTTPError(
            409,
            "the last turn is the response, and there is no response behind a prompt",
            "a prompt's turns, then one of the role assistant",
            field=field,
        )
    return CohortSample(turns[:-1], without_ends(turns[-1].content), anchors=anchors)


def _usage(usage: Usage) -> PoolingUsage:
    read, written = usage.prompt_tokens, usage.completion_tokens
    return PoolingUsage(read, written, read + written)
