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

# Numbers of four and more digits (tokens, times) and identifiers (of requests) differ from call to call;
# codes of HTTP do not.
_OWN = re.compile(r"\b(?=[\w-]*\d)[\w-]{16,}\b|\d{4,}|\d+\.\d+")


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
    note = judgment.verdict.note or judgment.completion.error or ""
    lines = note.strip().splitlines()
    text = " ".join(_OWN.sub("…", lines[0]).split())[:LONGEST] if lines else ""
    return f"{judgment.verdict.status.value}: {text}" if text else judgment.verdict.status.value
