"""Recorded outputs of other judges, as judgments and decisions."""

from collections.abc import Sequence
from typing import NamedTuple

from jurist.core.types import (
    Case,
    Completion,
    Conversation,
    Decision,
    Judgment,
    Order,
    Query,
    Sampling,
    Scores,
    Status,
    Verdict,
    winner,
)
from jurist.deliberation.combine import mean


class _PairScores(NamedTuple):
    """Scores of a pair of which the first is better, the second, or neither."""

    first: Scores = (1.0, 0.0)
    second: Scores = (0.0, 1.0)
    tie: Scores = (0.5, 0.5)


PAIR = _PairScores()


def recorded_verdict(scores: Scores, order: Order | None = None, note: str = "") -> Verdict:
    """What was recorded: scores in the order of the case, or with ``order`` those of a pair by slot."""
    if order is not None:
        scores = (scores[order.index(0)], scores[order.index(1)])
    return Verdict(scores, note=note, via="recorded")


def no_verdict(note: str, status: Status = Status.UNPARSED) -> Verdict:
    """That a record holds no verdict; ``note`` says what it has instead."""
    return Verdict(status=status, note=note, via="recorded")


def recorded_judgment(
    case_id: str, order: Order, verdict: Verdict, text: str | Completion = "", prompt: Conversation = ()
) -> Judgment:
    """One recorded call: what was shown in which order, what the judge wrote, if that is known, and said."""
    completion = Completion(text) if isinstance(text, str) else text
    return Judgment(Query(case_id, order, 0, prompt, Sampling()), completion, verdict)


def transcribed(case: Case, judgments: Sequence[Judgment]) -> Decision:
    """The decision of recorded judgments: the mean of those with a verdict.

    So one order with a verdict decides alone, and two orders that contradict each other are a tie.
    """
    verdict = mean([j.verdict for j in judgments])
    said = [winner(j.verdict.scores) for j in judgments if j.verdict.scores]
    agreement = said.count(winner(verdict.scores)) / len(said) if said else None
    return Decision(case.id, verdict, tuple(judgments), agreement, case.gold, case.group, case.meta)


def rated(case: Case, scores: tuple[float, ...]) -> Decision:
    """The decision of recorded scores, one for each response, judged alone."""
    judgments = tuple(
        recorded_judgment(case.id, (i,), recorded_verdict((score,))) for i, score in enumerate(scores)
    )
    verdict = recorded_verdict(scores)
    return Decision(case.id, verdict, judgments, None, case.gold, case.group, case.meta)
