"""Counts of a distillation: pairs, chains by reason, tokens, and the balance of the labels."""

from collections import Counter
from collections.abc import Sequence

from jurist.core.types import Record
from jurist.core.version import __version__
from jurist.training.distillation.acceptance import Reason, Reasons
from jurist.training.distillation.rows import Draft

Judged = tuple[Draft, Reasons]
"""A draft and what is wrong with it."""


class Outcome(Record, frozen=True):
    """What became of one pair: its chains in both passes, and those that are rows.

    ``want`` is the response that gold prefers. Of ``repaired`` all are second-pass drafts.
    """

    case_id: str
    want: int
    first: tuple[Judged, ...]
    repaired: tuple[Judged, ...] = ()
    rows: tuple[Draft, ...] = ()


class Pass(Record, frozen=True, omit_defaults=False):
    """One pass: ``asked`` chains are those accepted and those rejected; ``tokens`` were written for them."""

    asked: int = 0
    accepted: int = 0
    rejected: dict[str, int] = {}
    tokens: int = 0


class Summary(Record, frozen=True, omit_defaults=False):
    """The counts of a distillation, as they stand in distillation.json.

    ``pairs`` have a preferred response; ``ties`` and ``unread`` rows were left out. ``pairs_first`` have
    rows after the first pass, ``pairs_repaired`` after the second. ``row_tokens`` stand in the rows;
    ``tokens_per_row`` divides all that was written in both passes by the rows. ``shown_first`` is the share
    of rows in which the better response is shown first: a student learns a preference for a position from it.
    """

    source: str
    options: dict[str, object]
    pairs: int
    ties: int
    unread: int
    pairs_first: int
    pairs_repaired: int
    first: Pass
    repair: Pass
    rows: int
    row_tokens: int
    tokens_per_row: float | None
    shown_first: float | None
    jurist: str = __version__


class Tally:
    """Counts outcome after outcome."""

    def __init__(self) -> None:
        self.ties = 0
        self._pairs = self._first = self._repaired = 0
        self._passes = _Count(), _Count()
        self._rows = self._row_tokens = self._shown_first = 0

    def add(self, outcome: Outcome) -> None:
        """Count one pair."""
        self._pairs += 1
        if outcome.rows:
            self._repaired += bool(outcome.repaired)
            self._first += not outcome.repaired
        for count, judged in zip(self._passes, (outcome.first, outcome.repaired), strict=True):
            count.add(judged)
        self._rows += len(outcome.rows)
        self._row_tokens += sum(draft.tokens for draft in outcome.rows)
        self._shown_first += sum(draft.query.order[0] == outcome.want for draft in outcome.rows)

    def summary(self, source: str, options: dict[str, object], unread: int = 0) -> Summary:
        """What was counted so far."""
        first, repair = (count.result() for count in self._passes)
        rows = self._rows
        return Summary(
            source=source,
            options=options,
            pairs=self._pairs,
            ties=self.ties,
            unread=unread,
            pairs_first=self._first,
            pairs_repaired=self._repaired,
            first=first,
            repair=repair,
            rows=rows,
            row_tokens=self._row_tokens,
            tokens_per_row=(first.tokens + repair.tokens) / rows if rows else None,
            shown_first=self._shown_first / rows if rows else None,
        )


class _Count:
    """The chains of one pass."""

    def __init__(self) -> None:
        self._reasons: Counter[Reason | None] = Counter()
        self._tokens = 0

    def add(self, judged: Sequence[Judged]) -> None:
        self._reasons.update(reasons[0] if reasons else None for _, reasons in judged)
        self._tokens += sum(draft.written for draft, _ in judged)

    def result(self) -> Pass:
        rejected = {reason.value: self._reasons[reason] for reason in Reason if self._reasons[reason]}
        return Pass(self._reasons.total(), self._reasons[None], rejected, self._tokens)
