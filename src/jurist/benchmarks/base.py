"""What a benchmark is, and the counting that all of them share."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import msgspec

from jurist.errors import InputError
from jurist.statistics import wilson
from jurist.types import (
    Case,
    Decision,
    Group,
    Judgment,
    Order,
    Scorecard,
    Scores,
    Status,
    Usage,
    Verdict,
    winner,
)

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Cases and the official way to count.

    ``source`` names repository, commit and licence. ``unresolved`` says in one sentence what a verdict
    without a score is worth in the official count. ``recorded`` reads the official raw outputs of another
    judge as decisions, so that its published score can be counted again.
    """

    name: str
    summary: str
    source: str
    unresolved: str
    load: Callable[[Path], Iterator[Case]]
    score: Callable[[Iterable[Decision]], Scorecard]
    recorded: Callable[[Path], Iterator[Decision]]


def by_order(decision: Decision) -> dict[Order, Verdict]:
    """One verdict per order in which the responses were shown, its scores in the order of the case.

    A judgment of a single response is a rating, belongs to no order, and is left out.
    """
    shown: dict[Order, list[Verdict]] = {}
    for judgment in decision.judgments:
        if len(judgment.query.order) > 1:
            shown.setdefault(judgment.query.order, []).append(judgment.verdict)
    return {order: _majority(verdicts) for order, verdicts in shown.items()}


def statuses(decisions: Iterable[Decision]) -> dict[str, int]:
    """How many judgments ended in which status, in the order of ``Status``; zeros are left out."""
    counts = Counter(judgment.verdict.status for d in decisions for judgment in d.judgments)
    return {status.value: counts[status] for status in Status if counts[status]}


def usage(decisions: Iterable[Decision]) -> Usage:
    """Tokens of all decisions together."""
    return sum((d.usage for d in decisions), Usage())


def proportion(name: str, right: Sequence[bool]) -> Group:
    """A row of a scorecard: the share that is right, with its Wilson 95% interval."""
    k, n = sum(right), len(right)
    return Group(name, k / n, n, wilson(k, n))


def grouped(decisions: Iterable[Decision], first: Sequence[str] = ()) -> dict[str, list[Decision]]:
    """Decisions by their group: the ``first`` names lead, others follow as they come, no group last."""
    groups: dict[str, list[Decision]] = {name: [] for name in first}
    rest: list[Decision] = []
    for d in decisions:
        (rest if d.group is None else groups.setdefault(d.group, [])).append(d)
    named = {name: members for name, members in groups.items() if members}
    return {**named, "ungrouped": named.get("ungrouped", []) + rest} if rest else named


def demand(decisions: Iterable[Decision], benchmark: str) -> list[Decision]:
    """The decisions as a list; raises ``InputError`` where there is nothing to count."""
    listed = list(decisions)
    if not listed:
        raise InputError(f"{benchmark}: no decisions to score", hint="an empty run, or the wrong file")
    return listed


def gold_winner(decision: Decision) -> int:
    """Which of two responses is right; raises ``InputError`` where the gold does not say."""
    best = winner(decision.gold)
    if best is None or decision.gold is None or len(decision.gold) != 2:
        raise InputError(
            f"case {decision.case_id!r}: gold is {decision.gold}, expected one of two responses to win",
            hint="gold is (1, 0) or (0, 1)",
        )
    return best


def transcribed(case: Case, judgments: Sequence[Judgment]) -> Decision:
    """The decision that recorded games amount to: the mean of those that were resolved.

    So one clear order decides alone, and two that contradict each other are a tie.
    """
    verdict = _mean([j.verdict for j in judgments])
    said = [winner(j.verdict.scores) for j in judgments if j.verdict.scores]
    agreement = said.count(winner(verdict.scores)) / len(said) if said else None
    return Decision(case.id, verdict, tuple(judgments), agreement, case.gold, case.group, case.meta)


def score_pairs(decisions: Iterable[Decision], name: str = "pairs") -> Scorecard:
    """Accuracy of the verdicts against gold, for any cases of two or more responses.

    Right is: the same response wins. A tie is right only where gold is the same tie; an unresolved
    verdict never is. Decisions without gold are left out and counted.
    """
    listed = demand(decisions, name)
    known = [d for d in listed if _comparable(d)]
    if not known:
        raise InputError(
            f"{name}: none of the {len(listed)} cases has gold", hint="gold: [1, 0] in each line"
        )
    resolved = [d.verdict.scores for d in known if d.verdict.scores]
    return Scorecard(
        name=name,
        headline=proportion("overall", [_right(d) for d in known]),
        groups=tuple(proportion(g, [_right(d) for d in ds]) for g, ds in grouped(known).items()),
        statistics={
            "ties": sum(winner(scores) is None for scores in resolved),
            "unresolved": len(known) - len(resolved),
            "without_gold": len(listed) - len(known),
        },
        statuses=statuses(listed),
        unresolved="A tie (where gold is none) and an unresolved verdict both count as wrong.",
        usage=usage(listed),
    )


def read_lines(path: Path, row: type[Row]) -> Iterator[Row]:
    """The rows of a JSON-lines file; raises ``InputError`` naming file, line and field."""
    decoder = msgspec.json.Decoder(row)
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        if line.strip():
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise InputError(f"{path}, line {number}: {error}") from error


def read_list(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a file that is one JSON array; raises ``InputError`` naming file and field."""
    try:
        return msgspec.json.decode(read_bytes(path), type=list[row])
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """What a file holds; raises ``InputError`` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _comparable(decision: Decision) -> bool:
    """Whether there is gold; one number cannot be won, and every verdict would seem right."""
    if decision.gold is not None and len(decision.gold) < 2:
        raise InputError(
            f"case {decision.case_id!r} has one response; accuracy compares two or more",
            hint="ratings are not scored as pairs",
        )
    return decision.gold is not None


def _right(decision: Decision) -> bool:
    return decision.verdict.scores is not None and winner(decision.verdict.scores) == winner(decision.gold)


def _majority(verdicts: Sequence[Verdict]) -> Verdict:
    """Vote shares of the resolved verdicts, an even split being a tie; a lone verdict stays as it is."""
    if len(verdicts) == 1:
        return verdicts[0]
    ballots = [msgspec.structs.replace(v, scores=_ballot(v.scores)) for v in verdicts if v.scores]
    return _mean(ballots or verdicts)


def _mean(verdicts: Sequence[Verdict]) -> Verdict:
    """Mean scores of the resolved verdicts; where none is, the commonest reason."""
    resolved = [v for v in verdicts if v.scores]
    if not resolved:
        reason = Counter(v.status for v in verdicts).most_common(1)[0][0]
        return next(v for v in verdicts if v.status is reason)
    columns = zip(*(v.scores or () for v in resolved), strict=True)
    return Verdict(tuple(fmean(column) for column in columns), via=resolved[0].via)


def _ballot(scores: Scores) -> Scores:
    """One vote, split evenly among several best."""
    best = max(scores)
    return tuple((s == best) / scores.count(best) for s in scores)
