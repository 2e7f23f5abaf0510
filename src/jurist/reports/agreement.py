"""How far a judge and a person agree: raw agreement, Cohen's kappa, and how many more labels would tell it
better.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from jurist.core.errors import InputError
from jurist.core.statistics import Z95, Interval, bootstrap, kappa_of, wilson
from jurist.core.types import Decision, Record, ScoreRow, Scores, winner

WIDTH = 0.05
"""Half width of the 95% interval of agreement that ``more`` is about."""

Answer = str
"""What somebody says about a case: "response 1", ..., or "tie"."""


class Agreement(Record, frozen=True):
    """A judge beside a person on the n cases that both answered.

    ``kappa`` is agreement beyond chance (None where one of both always says the same), with its
    bootstrapped 95% interval. ``judge`` and ``person`` count their answers: where one answer is frequent,
    raw agreement is high by chance. ``unanswered`` cases have a label and no verdict, ``unknown`` labels
    have no decision. ``more``: labels beyond these after which the interval of agreement would be ``width``
    on either side.
    """

    n: int
    agree: ScoreRow
    kappa: float | None
    kappa_interval: Interval | None
    judge: dict[Answer, int]
    person: dict[Answer, int]
    groups: tuple[ScoreRow, ...]
    unanswered: int
    unknown: int
    more: int
    width: float = WIDTH


def agreement(
    decisions: Iterable[Decision], labels: Mapping[str, Scores], *, width: float = WIDTH
) -> Agreement:
    """Compare decisions with labels by case id; raises ``InputError`` where they have no case in common."""
    pairs: list[tuple[Answer, Answer]] = []
    groups: dict[str, list[bool]] = {}
    unanswered = seen = 0
    for decision in decisions:
        label = labels.get(decision.case_id)
        if label is None:
            continue
        seen += 1
        if decision.verdict.scores is None:
            unanswered += 1
            continue
        pairs.append((_answer(decision.verdict.scores), _answer(label)))
        groups.setdefault(decision.group or "", []).append(pairs[-1][0] == pairs[-1][1])
    if not pairs:
        raise InputError(
            "no case has both a verdict and a label",
            hint="labels name cases by their id, as the report exports them",
        )
    kappa = kappa_of(Counter(pairs))
    n, k = len(pairs), sum(a == b for a, b in pairs)
    rows = [ScoreRow(name, sum(some) / len(some), len(some), wilson(sum(some), len(some)))
            for name, some in groups.items() if name]  # fmt: skip
    share = k / n
    return Agreement(
        n=n,
        agree=ScoreRow("agreement", share, n, wilson(k, n)),
        kappa=kappa,
        kappa_interval=None if kappa is None else _between(pairs),
        judge=dict(Counter(a for a, _ in pairs).most_common()),
        person=dict(Counter(b for _, b in pairs).most_common()),
        groups=tuple(rows),
        unanswered=unanswered,
        unknown=len(labels) - seen,
        # The normal interval at the agreement seen, drawn a little towards one half where that is extreme.
        more=max(0, ceil(Z95**2 * (p := (k + 1) / (n + 2)) * (1 - p) / width**2) - n),
        width=width,
    )


def _answer(scores: Scores) -> Answer:
    best = winner(scores)
    return "tie" if best is None else f"response {best + 1}"


def _between(pairs: list[tuple[Answer, Answer]]) -> Interval | None:
    """Bootstrapped over numbers that stand for the few different pairs: these are counted quickly."""
    kinds = list(dict.fromkeys(pairs))
    places = {pair: place for place, pair in enumerate(kinds)}

    def kappa(drawn: Sequence[int]) -> float:
        return kappa_of({kinds[place]: count for place, count in Counter(drawn).items()}) or 0.0

    return bootstrap([places[pair] for pair in pairs], kappa)
