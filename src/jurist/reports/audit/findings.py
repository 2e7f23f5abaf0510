"""A finding: a number with its interval, and the sentence that a person understands."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jurist.core.statistics import Interval, difference, wilson
from jurist.core.types import Decision, Record, Scores, winner

FEW = 10
"""Below so many items on a side, no gap between two sides is stated."""


class Finding(Record, frozen=True):
    """``value`` over n items with its 95% interval; ``neutral`` is what a judge without the habit shows."""

    name: str
    sentence: str
    value: float
    n: int
    interval: Interval | None = None
    neutral: float | None = None

    @property
    def shown(self) -> bool | None:
        """Whether the interval leaves out the neutral value; None where there is none to leave out."""
        if self.neutral is None or self.interval is None:
            return None
        return not self.interval[0] <= self.neutral <= self.interval[1]


class Gap(Record, frozen=True):
    """Two shares over different items, and their difference with its 95% interval."""

    k1: int
    n1: int
    k2: int
    n2: int
    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Traits:
    """What of a response can sway a judge, counted: characters, and pieces of markup."""

    characters: int
    headings: int = 0
    bullets: int = 0
    bold: int = 0
    code: int = 0

    @property
    def markup(self) -> int:
        """All pieces of markup."""
        return self.headings + self.bullets + self.bold + self.code


@dataclass(frozen=True, slots=True)
class Item:
    """A decision with the traits of its responses, where they are known.

    ``asked``: characters of the longest query of the case, 0 where the run does not hold it.
    """

    decision: Decision
    traits: tuple[Traits, ...] = ()
    asked: int = 0

    @property
    def size(self) -> int:
        """Characters of the case: of its query where it is recorded, else of its responses."""
        return self.asked or sum(t.characters for t in self.traits)


def pairs(items: Iterable[Item]) -> Iterator[Item]:
    """The items of two responses."""
    return (i for i in items if is_pair(i.decision))


def is_pair(decision: Decision) -> bool:
    """Whether a decision is about two responses, also where it has neither scores nor gold."""
    scores = decision.verdict.scores or decision.gold
    if scores:
        return len(scores) == 2
    return bool(decision.judgments) and all(sorted(j.query.order) == [0, 1] for j in decision.judgments)


def best_of_two(gold: Scores | None) -> int | None:
    """Which of two responses is right; None where gold does not say, or is a tie."""
    return winner(gold) if gold and len(gold) == 2 else None


def gap(k1: int, n1: int, k2: int, n2: int) -> Gap | None:
    """The gap between two shares; None where one has fewer than ``FEW`` items."""
    if min(n1, n2) < FEW:
        return None
    return Gap(k1, n1, k2, n2, k1 / n1 - k2 / n2, difference(k1, n1, k2, n2))


def proportion(k: float, n: int) -> tuple[float, Interval]:
    """A share and its Wilson interval."""
    return k / n, wilson(k, n)


def percent(value: float, interval: Interval | None = None, n: int = 0) -> str:
    """``66% [60, 72]``; one decimal from 1,000 items on, and near none or all."""
    digits = 1 if n >= 1000 or 0 < min(value, 1 - value) < 0.05 else 0
    between = f" [{100 * interval[0]:.{digits}f}, {100 * interval[1]:.{digits}f}]" if interval else ""
    return f"{100 * value:.{digits}f}%{between}"


def points(value: float, interval: Interval | None = None) -> str:
    """``+12 points [3, 21]`` of a difference of shares."""
    low, high = interval or (0.0, 0.0)
    between = f" [{100 * low:.0f}, {100 * high:.0f}]" if interval else ""
    return f"{100 * value:+.0f} points{between}".replace("-", "−").replace("+0 ", "0 ").replace("−0 ", "0 ")


def one_or_many(n: int, one: str, many: str = "") -> str:
    """``1 pair``, ``2 pairs``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
