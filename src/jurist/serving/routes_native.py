"""Our own JSON: two responses compared, one scored among its siblings, any number ranked."""

from typing import Annotated, Any

import msgspec

from jurist.core.types import Case, Message, Response, Status, Usage, conversation, winner
from jurist.rewards.cohort import CohortSample
from jurist.rewards.group import GroupResult
from jurist.serving.retries import Caller
from jurist.serving.route import WHOLE, Route
from jurist.serving.schema import CompareReply, RankedResponse, RankReply, ScoreReply
from jurist.serving.service import GroupReward, Service, traces

Seconds = Annotated[float, msgspec.Meta(ge=0.1, description="seconds from now in which an answer is needed")]
Prompt = str | tuple[Message, ...]
Responses = Annotated[tuple[Response, ...], msgspec.Meta(min_length=1, max_length=128)]
Anchors = Annotated[tuple[Response, ...], msgspec.Meta(max_length=128)]


class JudgingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request may say: a text is one user turn; ``trace`` asks for the judgments themselves."""

    prompt: Prompt
    reference: str | None = None
    rubric: str | None = None
    deadline: Seconds | None = None
    trace: bool = False


class CompareRequest(JudgingRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two responses to a prompt."""

    responses: Annotated[tuple[Response, ...], msgspec.Meta(min_length=2, max_length=2)]


class RankRequest(JudgingRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Any number of responses to a prompt; ``anchors``: others, which a lone response is compared with."""

    responses: Responses
    anchors: Anchors = ()


class ScoreRequest(JudgingRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One response, which waits for its siblings.

    ``group`` names the group (without one, the same prompt and reference make one), ``size`` says how many
    siblings there are, ``key`` is the response's own name in the group, by which a retry is known.
    ``anchors`` are other responses to the prompt, which a lone response is compared with.
    """

    response: Response
    group: str | None = None
    size: Annotated[float, msgspec.Meta(ge=1, le=128, **WHOLE)] | None = None
    key: str | None = None
    anchors: Anchors = ()


async def compare(service: Service, request: CompareRequest, _: Caller) -> CompareReply:
    """Which of two is better: by default asked in both orders."""
    result = await service.pair(case_of("compare", request, request.responses), request.deadline)
    verdict = result.decision.verdict if result.decision else None
    scores = verdict.scores if verdict and len(verdict.scores or ()) == 2 else None
    reason = verdict if verdict and (scores or verdict.scores is None) else result.rewards[0]
    return CompareReply(
        reason.status if scores or reason.status is not Status.OK else Status.REFUSED,
        scores,
        winner(scores),
        reason.note,
        result.decision.agreement if result.decision else None,
        _usage(result),
        traces(result) if request.trace else (),
    )


async def score(service: Service, request: ScoreRequest, caller: Caller) -> ScoreReply:
    """One response's reward, as soon as its group is judged."""
    sample = CohortSample(
        conversation(request.prompt),
        request.response,
        request.group,
        request.key,
        request.reference,
        None if request.size is None else int(request.size),
        rubric=request.rubric,
        anchors=request.anchors,
    )
    reward = await service.sample(sample, caller, request.deadline, request.trace)
    if not isinstance(reward, GroupReward):
        reward = GroupReward(reward.value, reward.status, reward.note)
    index, trace = (reward.index, reward.trace) if request.trace else (None, ())
    return ScoreReply(reward.status, reward.value, reward.note, reward.rating, reward.siblings, index, trace)


async def rank(service: Service, request: RankRequest, _: Caller) -> RankReply:
    """Rewards and an order of responses that came together."""
    case = case_of("rank", request, request.responses, request.anchors)
    result = await service.group(case, request.deadline)
    ratings = result.ratings or (None,) * len(result.rewards)
    both = zip(result.rewards, ratings, strict=True)
    return RankReply(
        result.ranking.order,
        tuple(RankedResponse(r.status, r.value, rating, r.note) for r, rating in both),
        result.ranking.errors,
        result.ranking.matches,
        _usage(result),
        traces(result) if request.trace else (),
    )


ROUTES: tuple[Route[Any], ...] = (
    Route("/compare", CompareRequest, CompareReply, compare),
    Route("/score", ScoreRequest, ScoreReply, score),
    Route("/rank", RankRequest, RankReply, rank),
)


def case_of(
    name: str,
    request: JudgingRequest,
    responses: tuple[Response, ...],
    anchors: tuple[Response, ...] = (),
) -> Case:
    """The case of a request."""
    prompt = conversation(request.prompt)
    return Case(name, prompt, responses, None, request.reference, request.rubric, anchors=anchors)


def _usage(result: GroupResult) -> Usage:
    return result.decision.usage if result.decision else Usage()
