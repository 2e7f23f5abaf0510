"""Combines several verdicts on a case into one: majority, mean, or the commonest reason for none."""

from collections import Counter
from collections.abc import Sequence

from jurist.core.types import Scores, Status, Verdict, Via


def majority(verdicts: Sequence[Verdict]) -> Verdict:
    """Vote shares of the resolved verdicts; a vote for several best responses is split among them."""
    resolved = [v.scores for v in verdicts if v.scores is not None]
    if not resolved:
        return unresolved(verdicts)
    if len(resolved[0]) == 1:
        return mean(verdicts)
    ballots = [_ballot(s) for s in resolved]
    return Verdict(_column_means(ballots), via=_via(verdicts))


def mean(verdicts: Sequence[Verdict]) -> Verdict:
    """Mean scores of the resolved verdicts."""
    resolved = [v.scores for v in verdicts if v.scores is not None]
    if not resolved:
        return unresolved(verdicts)
    return Verdict(_column_means(resolved), via=_via(verdicts))


def unresolved(verdicts: Sequence[Verdict]) -> Verdict:
    """No verdict: the commonest reason (the first in the order of ``Status`` where several are)."""
    counts = Counter(v.status for v in verdicts)
    status = max(Status, key=lambda s: counts[s])
    note = next((v.note for v in verdicts if v.status is status), "")
    return Verdict(status=status, note=note)


def _ballot(scores: Scores) -> Scores:
    best = max(scores)
    return tuple((s == best) / scores.count(best) for s in scores)


def _column_means(rows: Sequence[Scores]) -> Scores:
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))


def _via(verdicts: Sequence[Verdict]) -> Via:
    ways: set[Via] = {v.via for v in verdicts if v.scores is not None}
    return ways.pop() if len(ways) == 1 else "text"
