"""The routes of rerankers, `/rerank`: the query is the prompt, the documents are the responses.

As the clients of Cohere (5.21, v1 and v2), Jina and vLLM (entrypoints/pooling/scoring) send and read it.
"""

from typing import Annotated, Any
from uuid import uuid4

import msgspec

from jurist.core.types import Case, Message, Record, Status, Usage
from jurist.serving.retries import Caller
from jurist.serving.route import WHOLE, Route
from jurist.serving.service import GroupReward, Service, no_reward

Document = dict[str, Any]


class RerankRequest(msgspec.Struct, frozen=True):
    """A query and documents: texts, or objects, of which ``rank_fields`` are read (else "text", else all).

    ``top_n`` null or 0: all. ``return_documents`` false leaves them out of the results.
    """

    query: str
    documents: Annotated[tuple[str | Document, ...], msgspec.Meta(min_length=1, max_length=128)]
    model: str | None = None
    top_n: Annotated[float, msgspec.Meta(ge=0, **WHOLE)] | None = None
    return_documents: bool | None = None
    rank_fields: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    instruction: str | None = None


class RerankResult(Record, frozen=True):
    """A document's place in the request, its reward, and the document where it is to be returned."""

    index: int
    relevance_score: float
    document: Document | None = None


class RerankUnanswered(Record, frozen=True):
    """A document without a reward, and why."""

    index: int
    status: Status
    note: str


class RerankUsage(msgspec.Struct, frozen=True):
    """Tokens read for the ranking, and read and written."""

    prompt_tokens: int
    total_tokens: int


class RerankMeta(msgspec.Struct, frozen=True):
    """What Cohere's clients look for."""

    api_version: dict[str, str]
    billed_units: dict[str, int]


class RerankReply(msgspec.Struct, frozen=True):
    """Results, best first; ``unanswered`` are the documents without a reward, which are in no result."""

    id: str
    model: str
    usage: RerankUsage
    results: list[RerankResult]
    unanswered: list[RerankUnanswered]
    meta: RerankMeta


async def rerank(service: Service, request: RerankRequest, _: Caller) -> RerankReply:
    """Any number of documents, best first; an error where none has a reward."""
    texts = tuple(_text(document, request.rank_fields) for document in request.documents)
    # A lone document is level with itself, as several equal ones are: a judge of pairs has nothing to ask.
    responses = texts if len(texts) > 1 else texts * 2
    case = Case("rerank", (Message("user", request.query),), responses, rubric=request.instruction)
    result = await service.group(case, None)
    rewards = service.with_mean(result)[: len(texts)]
    numbers = {i: n for i, reward in enumerate(rewards) if (n := service.stand_in(reward)) is not None}
    if not numbers:
        raise no_reward("no document has a reward", rewards[0], "--unanswered NUMBER")
    order = sorted(numbers, key=lambda i: -numbers[i])
    documents = [d if isinstance(d, dict) else {"text": d} for d in request.documents]
    shown = request.return_documents is not False
    shown_most = min(int(request.top_n or len(texts)), len(texts))
    usage = result.decision.usage if result.decision else Usage()
    return RerankReply(
        f"rerank-{uuid4().hex}",
        request.model or service.model,
        RerankUsage(usage.prompt_tokens, usage.prompt_tokens + usage.completion_tokens),
        [RerankResult(i, numbers[i], documents[i] if shown else None) for i in order[:shown_most]],
        [_unanswered(i, reward) for i, reward in enumerate(rewards) if i not in numbers],
        RerankMeta({"version": "2"}, {"search_units": 1}),
    )


ROUTES: tuple[Route[Any], ...] = tuple(
    Route(path, RerankRequest, RerankReply, rerank) for path in ("/rerank", "/v1/rerank", "/v2/rerank")
)


def _unanswered(i: int, reward: GroupReward) -> RerankUnanswered:
    return RerankUnanswered(i, reward.status, reward.note)


def _text(document: str | Document, rank_fields: tuple[str, ...] | None) -> str:
    """What the judge reads: a text; of an object one field, or several texts, each with its name."""
    if isinstance(document, str):
        return document
    if rank_fields is None and isinstance(document.get("text"), str):
        return document["text"]
    names = rank_fields or tuple(document)
    texts = {name: document[name] for name in names if isinstance(document.get(name), str)}
    if len(texts) == len(names) == 1:
        return texts[names[0]]
    return "\n".join(f"{name}: {text}" for name, text in texts.items())
