"""The matrix of RM-Bench: accuracy by the style of the right and of the wrong response."""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from jurist.core.types import Record, winner
from jurist.reports.audit.findings import Finding, Item, best_of_two, gap, points

STYLES = ("concise", "detailed", "markdown")
"""The styles of THU-KEG/RM-Bench @73c52d7, plainest first."""


class Matrix(Record, frozen=True):
    """``accuracy[i][j]``: share right where the right response has style i and the wrong one j."""

    accuracy: tuple[tuple[float, ...], ...]
    n: tuple[tuple[int, ...], ...]


def cells(items: Iterable[Item]) -> tuple[Matrix | None, list[Finding]]:
    """The matrix of cases whose ``meta["cell"]`` is [i, j]; (None, []) unless each of the nine has some.

    A tie or no verdict is wrong, as in RM-Bench. Easy is the mean of the three cells below the diagonal
    (the right response is the fancier one), hard of the three above it.
    """
    right: Counter[tuple[int, int]] = Counter()
    n: Counter[tuple[int, int]] = Counter()
    for decision in (i.decision for i in items):
        cell, best = _cell(decision.meta.get("cell")), best_of_two(decision.gold)
        if cell is not None and best is not None:
            n[cell] += 1
            right[cell] += winner(decision.verdict.scores) == best
    span = range(len(STYLES))
    if not all(n[i, j] for i in span for j in span):
        return None, []
    accuracy = tuple(tuple(right[i, j] / n[i, j] for j in span) for i in span)
    matrix = Matrix(accuracy, tuple(tuple(n[i, j] for j in span) for i in span))
    easy, hard = ([(i, j) for i in span for j in span if side(i, j)] for side in (int.__gt__, int.__lt__))
    return matrix, _styled(accuracy, easy, hard, right, n)


def _styled(
    accuracy: tuple[tuple[float, ...], ...],
    easy: list[tuple[int, int]],
    hard: list[tuple[int, int]],
    right: Counter[tuple[int, int]],
    n: Counter[tuple[int, int]],
) -> list[Finding]:
    sides = [(sum(right[c] for c in cells), sum(n[c] for c in cells)) for cells in (easy, hard)]
    diff = gap(*sides[0], *sides[1])
    if diff is None:
        return []
    means = [fmean(accuracy[i][j] for i, j in cells) for cells in (easy, hard)]
    text = (
        f"It is right in {means[0]:.1%} where the right response is the fancier one and in "
        f"{means[1]:.1%} where the wrong one is: style is worth {points(diff.value, diff.interval)}."
    )
    return [
        Finding(
            "style_gap",
            text,
            diff.value,
            diff.n1 + diff.n2,
            diff.interval,
            neutral=0.0,
        )
    ]


def _cell(value: Any) -> tuple[int, int] | None:
    """A cell of the matrix, from a list or tuple of two numbers below three."""
    match value:
        case [int(i), int(j)] if i in range(len(STYLES)) and j in range(len(STYLES)):
            return i, j
        case _:
            return None
