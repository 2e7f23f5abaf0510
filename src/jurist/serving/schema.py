"""The replies of our own routes, and errors: the server encodes these structs, the client decodes them."""

from jurist.core.types import Order, Record, Scores, Status, Usage
from jurist.rewards.choice import Leading

__all__ = [
    "BestReply",
    "CompareReply",
    "ErrorDetail",
    "ErrorReply",
    "JudgmentTrace",
    "Leading",
    "RankReply",
    "RankedResponse",
    "ScoreReply",
]


class JudgmentTrace(Record, frozen=True):
    """One judgment, for reading: ``order[slot]`` is the response shown there; scores in ascending order."""

    order: Order
    scores: Scores | None
    status: Status
    note: str
    thinking: str | None
    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class CompareReply(Record, frozen=True):
    """``scores`` in the order of the responses; ``winner`` is 0 or 1, None for a tie or no verdict."""

    status: Status
    scores: Scores | None
    winner: int | None
    note: str
    agreement: float | None
    usage: Usage
    trace: tuple[JudgmentTrace, ...] = ()


class ScoreReply(Record, frozen=True):
    """``reward`` is None where there is none, and ``status`` says why; ``siblings`` were judged together.

    ``rating`` is what the reward was mapped from. ``index``: the response's place in the group as it was
    judged, of which the orders in ``trace`` speak; set where a trace was asked for.
    """

    status: Status
    reward: float | None
    note: str
    rating: float | None
    siblings: int
    index: int | None = None
    trace: tuple[JudgmentTrace, ...] = ()


class RankedResponse(Record, frozen=True):
    """One response of a ranking, in the order of the request."""

    status: Status
    reward: float | None
    rating: float | None
    note: str


class RankReply(Record, frozen=True):
    """``order`` has the indices, best first; empty where a response has no rating.

    ``errors`` are standard errors of the ratings, where the rating has them; ``matches`` pairs compared.
    """

    order: tuple[int, ...]
    responses: tuple[RankedResponse, ...]
    errors: Scores | None
    matches: int
    usage: Usage
    trace: tuple[JudgmentTrace, ...] = ()


class BestReply(Record, frozen=True):
    """``best`` is the index of the best response, None where ``status`` is not ok.

    ``tied`` are all that are level with it. ``leader`` was ahead when the judging ended, after so many
    comparisons (``compared``). In a stream this is the last event; those before it are ``Leading``, with a
    ``final`` that is false.
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
    trace: tuple[JudgmentTrace, ...] = ()


class ErrorDetail(Record, frozen=True, omit_defaults=False):
    """What is wrong, the place in the body, and the mend."""

    message: str
    field: str | None = None
    hint: str | None = None


class ErrorReply(Record, frozen=True):
    """The body of every reply with a status of 400 and more."""

    error: ErrorDetail
