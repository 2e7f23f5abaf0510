"""What was not answered: by status, and whether long cases are to blame."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from jurist.core.types import Status
from jurist.reports.audit.findings import Finding, Item, gap, one_or_many, percent, points, proportion

_WORDS = {
    Status.UNPARSED: "said nothing that could be read as a verdict",
    Status.TRUNCATED: "were cut, or did not fit, before a verdict",
    Status.REFUSED: "were refused",
    Status.FAILED: "failed in the engine or on the way to it",
}


def unanswered(items: Iterable[Item]) -> list[Finding]:
    """The share of judgments without a verdict, by reason, and by the length of the case."""
    listed = list(items)
    counts = Counter(j.verdict.status for i in listed for j in i.decision.judgments)
    n = counts.total()
    if not n:
        return []
    missing = n - counts[Status.OK]
    value, interval = proportion(missing, n)
    if not missing:
        text = f"All {one_or_many(n, 'judgment')} have a verdict."
        return [Finding("unanswered", text, value, n, interval)]
    text = f"{percent(value, interval, n)} of {one_or_many(n, 'judgment')} have no verdict."
    reasons = [_reason(status, counts[status], n) for status in _WORDS if counts[status]]
    return [Finding("unanswered", text, value, n, interval), *reasons, *_by_length(listed)]


def _reason(status: Status, k: int, n: int) -> Finding:
    value, interval = proportion(k, n)
    text = f"{status.capitalize()}: {k:,} of {n:,} judgments {_WORDS[status]}, {percent(value, interval, n)}."
    return Finding(status.value, text, value, n, interval)


def _by_length(items: Sequence[Item]) -> Iterator[Finding]:
    """Cases with an unanswered judgment, in the longer and in the shorter half."""
    sized = [(i.size, any(j.verdict.scores is None for j in i.decision.judgments)) for i in items if i.size]
    if not sized:
        return
    middle = median(size for size, _ in sized)
    halves = [[missing for size, missing in sized if (size > middle) is side] for side in (True, False)]
    diff = gap(sum(halves[0]), len(halves[0]), sum(halves[1]), len(halves[1]))
    if diff:
        text = (
            f"A judgment is missing in {diff.k1:,} of the {diff.n1:,} longer cases (over {middle:,.0f} "
            f"characters) and in {diff.k2:,} of the {diff.n2:,} others: "
            f"{points(diff.value, diff.interval)}."
        )
        yield Finding("unanswered_by_length", text, diff.value, len(sized), diff.interval, neutral=0.0)
