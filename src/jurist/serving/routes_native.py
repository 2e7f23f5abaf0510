"""Our own JSON: two responses compared, one scored among its siblings, any number ranked."""

from typing import Annotated, Any

import msgspec

from jurist.core.types import Case, Message, Record, Response, Scores, Status, Usage, conversation, winner
from jurist.rewards.cohort import Sample
from jurist.rewards.group import GroupResult
from jurist.serving.contract import Contract
from jurist.serving.retries import Caller
from jurist.serving.service import Service, Told, Trace, traces

Seconds = Annotated[float, msgspec.Meta(gt=0, description="seconds from now in which an answer is needed")]
Prompt = str | tuple[Message, ...]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request may say: a text is one user turn; ``trace`` asks for the judgments themselves."""

    prompt: Prompt
    reference: str | None = None
    rubric: str | None = None
    deadline: Seconds | None = None
    trace: bool = False


class CompareRequest(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two responses to a prompt."""

    responses: Annotated[tuple[Response, ...], msgspec.Meta(min_length=2, max_length=2)]


class RankRequest(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Any number of responses to a prompt."""

    responses: Annotated[tuple[Response, ...], msgspec.Meta(min_length=1, max_length=128)]


class ScoreRequest(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One response, which waits for its siblings.

    ``group`` names the group (without one, the same prompt and reference make one), ``size`` says how many
    siblings there are, ``key`` is the response's own name in the group, by which a retry is known.
    """

    response: Response
    group: str | None = None
    size: Annotated[int, msgspec.Meta(ge=1)] | None = None
    key: str | None = None


class CompareReply(Record, frozen=True):
    """``scores`` in the order of the responses; ``winner`` is 0 or 1, null for a tie or no verdict."""

    status: Status
    scores: Scores | None
    winner: int | None
    note: str
    agreement: float | None
    usage: Usage
    trace: tuple[Trace, ...] | msgspec.UnsetType = msgspec.UNSET


class ScoreReply(Record, frozen=True):
    """``reward`` is null where there is none, and ``status`` says why; ``siblings`` were judged together."""

    status: Status
    reward: float | None
    note: str
    rating: float | None
    siblings: int
    index: int | msgspec.UnsetType | None = msgspec.UNSET
    trace: tuple[Trace, ...] | msgspec.UnsetType = msgspec.UNSET


class RankedResponse(Record, frozen=True):
    """One response of a ranking, in the order of the request."""

    status: Status
    reward: float | None
    rating: float | None
    note: str


class RankReply(Record, frozen=True):
    """``order`` has the indices, best first; empty where a response has no rating."""

    order: tuple[int, ...]
    responses: tuple[RankedResponse, ...]
    errors: Scores | None
    matches: int
    usage: Usage
    trace: tuple[Trace, ...] | msgspec.UnsetType = msgspec.UNSET


async def compare(service: Service, asked: CompareRequest, _: Caller) -> CompareReply:
    """Which of two is better: by default asked in both orders."""
    result = await service.pair(_case("compare", asked, asked.responses), asked.deadline)
    verdict = result.decision.verdict if result.decision else None
    scores = verdict.scores if verdict and len(verdict.scores or ()) == 2 else None
    told = verdict if verdict and (scores or verdict.scores is None) else result.rewards[0]
    return CompareReply(
        told.status if scores or told.status is not Status.OK else Status.REFUSED,
        scores,
        winner(scores),
        told.note,
        result.decision.agreement if result.decision else None,
        _usage(result),
        traces(result) if asked.trace else msgspec.UNSET,
    )


async def score(service: Service, asked: ScoreRequest, caller: Caller) -> ScoreReply:
    """One response's reward, as soon as its group is judged."""
    sample = Sample(
        conversation(asked.prompt),
        asked.response,
        asked.group,
        asked.key,
        asked.reference,
        asked.size,
        rubric=asked.rubric,
    )
    reward = await service.sample(sample, caller, asked.deadline, asked.trace)
    told = reward if isinstance(reward, Told) else Told(reward.value, reward.status, reward.note)
    return ScoreReply(
        told.status,
        told.value,
        told.note,
        told.rating,
        told.siblings,
        told.index if asked.trace else msgspec.UNSET,
        told.trace if asked.trace else msgspec.UNSET,
    )


async def rank(service: Service, asked: RankRequest, _: Caller) -> RankReply:
    """Rewards and an order of responses that came together."""
    result = await service.group(_case("rank", asked, asked.responses), asked.deadline)
    ratings = result.ratings or (None,) * len(result.rewards)
    both = zip(result.rewards, ratings, strict=True)
    return RankReply(
        result.ranking.order,
        tuple(RankedResponse(r.status, r.value, rating, r.note) for r, rating in both),
        result.ranking.errors,
        result.ranking.matches,
        _usage(result),
        traces(result) if asked.trace else msgspec.UNSET,
    )


CONTRACTS: tuple[Contract[Any], ...] = (
    Contract("/compare", CompareRequest, CompareReply, compare),
    Contract("/score", ScoreRequest, ScoreReply, score),
    Contract("/rank", RankRequest, RankReply, rank),
)


def _case(name: str, asked: Asked, responses: tuple[Response, ...]) -> Case:
    return Case(name, conversation(asked.prompt), responses, reference=asked.reference, rubric=asked.rubric)


def _usage(result: GroupResult) -> Usage:
    return result.decision.usage if result.decision else Usage()
