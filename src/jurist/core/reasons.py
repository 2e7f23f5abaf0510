"""Why judgments have no verdict: their notes, counted, what tells single cases apart left out."""

import re
from collections import Counter
from collections.abc import Iterable

from jurist.core.types import Judgment

SHOWN = 10
"""Reasons that a scorecard lists."""
MOST = 200
"""Different reasons that are told apart; what comes after these is counted as "other reasons"."""
LONGEST = 200
"""Characters of a reason."""

MEND = "; mend: "
"""Stands in an error between what went wrong and what the user can do about it."""

# What differs between two failures of one kind: how long was tried, names of requests, numbers. The status
# of a server's reply and what mends the error do not.
_TRIED = re.compile(r" \(tried for \d+ s\)")
_REQUEST = re.compile(r"\b(?:req|chatcmpl|request)[-_][0-9A-Za-z-]+|\b(?=[\w-]*\d)[\w-]{16,}\b")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_STATUS = re.compile(r"\AHTTP \d+")


class Reasons:
    """Counts reasons one by one; the memory that it needs does not grow with the run."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, judgments: Iterable[Judgment]) -> None:
        """Count the judgments without a verdict."""
        for judgment in judgments:
            if judgment.verdict.scores is None:
                reason = reason_of(judgment)
                known = reason in self._counts or len(self._counts) < MOST
                self._counts[reason if known else "other reasons"] += 1

    def most(self, n: int = SHOWN) -> dict[str, int]:
        """The n most frequent reasons with their counts."""
        return dict(self._counts.most_common(n))


def reason_of(judgment: Judgment) -> str:
    """Status and note of a judgment without a verdict, such as ``failed: HTTP 401: wrong key``."""
    lines = (judgment.verdict.note or judgment.completion.error or "").strip().splitlines()
    text = _general(" ".join(lines[0].split()))[:LONGEST] if lines else ""
    return f"{judgment.verdict.status.value}: {text}" if text else judgment.verdict.status.value


def _general(error: str) -> str:
    """The error as all of its kind read: ``N`` for each number, ``ID`` for the name of a request."""
    words, mark, mend = error.partition(MEND)
    words = _REQUEST.sub("ID", _TRIED.sub("", words))
    status = _STATUS.match(words)
    start = status.end() if status else 0
    return words[:start] + _NUMBER.sub("N", words[start:]) + mark + mend
