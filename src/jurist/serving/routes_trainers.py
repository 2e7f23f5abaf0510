"""The contracts of trainers and of rerankers, as their clients send and read them."""

from typing import Annotated, Any

import msgspec

from jurist.core.types import Case, Conversation, Message, Record, conversation
from jurist.rewards.cohort import Sample
from jurist.rewards.group import Reward
from jurist.serving.contract import Contract
from jurist.serving.errors import Refusal
from jurist.serving.retries import Caller
from jurist.serving.service import Service, Told
from jurist.serving.templates import turns_of, without_ends

# What each client waits, less the time that an answer needs.
OPENRLHF_WAITS = 170.0
SLIME_WAITS = 110.0


class OpenRlhfRequest(msgspec.Struct, frozen=True):
    """OpenRLHF's remote reward: ``query`` is prompt and response as decoded, special tokens kept."""

    query: tuple[str, ...]
    prompts: tuple[str, ...]
    labels: tuple[str | None, ...] | None = None


class OpenRlhfReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One number per query. ``scores`` lie in [0, 1], and are left out where the ratings do not."""

    rewards: list[float]
    extra_logs: dict[str, list[float]]
    scores: list[float] | None = None


class SlimeRequest(msgspec.Struct, frozen=True):
    """slime's remote_rm: one sample."""

    prompt: str | tuple[Message, ...]
    response: str
    label: str | int | float | None = None


async def get_reward(service: Service, asked: OpenRlhfRequest, caller: Caller) -> OpenRlhfReply:
    """OpenRLHF (--reward.remote_url): one sample a call, or several."""
    n = len(asked.query)
    labels = asked.labels if asked.labels is not None else (None,) * n
    if not len(asked.prompts) == len(labels) == n:
        raise Refusal(
            422,
            f"{n} queries, {len(asked.prompts)} prompts, {len(labels)} labels",
            "one prompt and one label (or null) per query",
            field="prompts",
        )
    rows = enumerate(zip(asked.query, asked.prompts, labels, strict=True))
    samples = [_openrlhf_sample(i, *row) for i, row in rows]
    told = await service.numbers(samples, caller, OPENRLHF_WAITS)
    scores = [_share(reward, number) for reward, number in told]
    known = [s for s in scores if s is not None]
    logs = {
        "answered": [float(reward.value is not None) for reward, _ in told],
        "siblings": [float(r.siblings if isinstance(r, Told) else 0) for r, _ in told],
    }
    return OpenRlhfReply([number for _, number in told], logs, known if len(known) == n else None)


async def slime(service: Service, asked: SlimeRequest, caller: Caller) -> float:
    """slime (--rm-type remote_rm --rm-url): one sample, answered by one number."""
    label = None if asked.label is None else str(asked.label)
    prompt = _prompt(asked.prompt) if isinstance(asked.prompt, str) else conversation(asked.prompt)
    sample = Sample(prompt, without_ends(asked.response), reference=label)
    return (await service.numbers([sample], caller, SLIME_WAITS))[0][1]


class RerankText(msgspec.Struct, frozen=True):
    """A document as an object."""

    text: str


class RerankRequest(msgspec.Struct, frozen=True):
    """A reranker's request: the query is the prompt, the documents are the responses."""

    query: str
    documents: Annotated[tuple[str | RerankText, ...], msgspec.Meta(min_length=1, max_length=128)]
    model: str | None = None
    top_n: Annotated[int, msgspec.Meta(ge=0)] = 0
    instruction: str | None = None


class RerankResult(Record, frozen=True):
    """A document, its place in the request, and its reward."""

    index: int
    document: RerankText
    relevance_score: float


class RerankUsage(msgspec.Struct, frozen=True):
    """Tokens read for the ranking, and read and written."""

    prompt_tokens: int
    total_tokens: int


class RerankReply(msgspec.Struct, frozen=True):
    """Results, best first."""

    id: str
    model: str
    usage: RerankUsage
    results: list[RerankResult]


async def rerank(service: Service, asked: RerankRequest, _: Caller) -> RerankReply:
    """Any number of responses, best first; 503 where one has no reward."""
    texts = tuple(d if isinstance(d, str) else d.text for d in asked.documents)
    case = Case("rerank", (Message("user", asked.query),), texts, rubric=asked.instruction)
    result = await service.group(case, None)
    numbers = service.numbers_of(result)
    order = sorted(range(len(texts)), key=lambda i: -numbers[i])
    usage = result.decision.usage if result.decision else None
    read = usage.prompt_tokens if usage else 0
    return RerankReply(
        "rerank-jurist",
        service.model(asked.model),
        RerankUsage(read, read + (usage.completion_tokens if usage else 0)),
        [RerankResult(i, RerankText(texts[i]), numbers[i]) for i in order[: asked.top_n or None]],
    )


CONTRACTS: tuple[Contract[Any], ...] = (
    Contract("/get_reward", OpenRlhfRequest, OpenRlhfReply, get_reward),
    Contract("/slime", SlimeRequest, float, slime),
    *(Contract(path, RerankRequest, RerankReply, rerank) for path in ("/rerank", "/v1/rerank", "/v2/rerank")),
)


def _openrlhf_sample(i: int, query: str, prompt: str, label: str | None) -> Sample:
    """The response is what stands in the query behind the prompt."""
    at = query.find(prompt)
    if at < 0 or not prompt:
        raise Refusal(
            422,
            f"query {i} does not contain its prompt, so its response cannot be told",
            "send the prompt as it stands in the query, with its special tokens",
            field=f"query[{i}]",
        )
    return Sample(_prompt(prompt), without_ends(query[at + len(prompt) :]), reference=label)


def _prompt(text: str) -> Conversation:
    return turns_of(text) or (Message("user", text),)


def _share(reward: Reward, number: float) -> float | None:
    """The rating where it is a share, else the number where that is one."""
    rating = reward.rating if isinstance(reward, Told) else None
    found = number if rating is None or reward.value is None else rating
    return found if 0 <= found <= 1 else None
