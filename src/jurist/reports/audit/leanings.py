"""Length and markup: whether the judge leans to the response that has more of it."""

import re
from collections.abc import Callable, Iterable, Sequence

from jurist.core.statistics import Interval
from jurist.core.types import Record, Response, response_text, winner
from jurist.reports.audit.findings import (
    Gap,
    Item,
    Traits,
    best_of_two,
    gap,
    one_or_many,
    pairs,
    percent,
    points,
    proportion,
)

_HEADING = re.compile(r"^ {0,3}#{1,6} \S", re.M)
_BULLET = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)]) +\S", re.M)
_BOLD = re.compile(r"\*\*(?=\S)[^*\n]+\*\*")
# Fenced blocks first: what stands inside one is code and nothing else.
_FENCE = re.compile(r"^ {0,3}```.*?(?:^ {0,3}```|\Z)", re.M | re.S)
_CODE = re.compile(r"`[^`\n]+`")


class Leaning(Record, frozen=True):
    """How a judge treats pairs that differ in one trait.

    Of ``n`` such pairs with a verdict it prefers the response with more in the share ``prefers``; gold does
    in the share ``gold`` (None: no gold). ``right`` compares its accuracy where the response with more is
    right (k1 of n1) and where the one with less is (k2 of n2); a tie or no verdict is wrong there.
    """

    trait: str
    n: int
    prefers: float
    interval: Interval
    sentence: str
    gold: float | None = None
    right: Gap | None = None

    @property
    def shown(self) -> bool | None:
        """Whether the judge's accuracy depends on the trait; None without gold on both sides."""
        return None if self.right is None else not self.right.interval[0] <= 0 <= self.right.interval[1]


# trait: (words for the response that has more and for the one that has less, how much a response has)
TRAITS: dict[str, tuple[str, str, Callable[[Traits], int]]] = {
    "length": ("the longer answer", "the shorter", lambda t: t.characters),
    "markup": ("the answer with more markup", "the plainer one", lambda t: t.markup),
    "headings": ("the answer with more headings", "the other", lambda t: t.headings),
    "lists": ("the answer with more list items", "the other", lambda t: t.bullets),
    "bold": ("the answer with more bold words", "the other", lambda t: t.bold),
    "code": ("the answer with more code", "the other", lambda t: t.code),
}


def traits(response: Response) -> Traits:
    """Length and markup of a response; headings, list items, bold words, pieces of code are Markdown's."""
    text = response_text(response)
    prose, blocks = _FENCE.subn("\n", text)
    headings, bullets, bold, code = (len(p.findall(prose)) for p in (_HEADING, _BULLET, _BOLD, _CODE))
    return Traits(len(text), headings, bullets, bold, blocks + code)


def leanings(items: Iterable[Item]) -> list[Leaning]:
    """The leanings of a judge of pairs; traits in which no judged pair differs are left out."""
    known = [i for i in pairs(items) if len(i.traits) == 2]
    leanings = (_leaning(known, trait) for trait in TRAITS)
    return [leaning for leaning in leanings if leaning]


def _leaning(items: Sequence[Item], trait: str) -> Leaning | None:
    more_words, less_words, amount = TRAITS[trait]
    chosen: list[bool] = []
    graded: list[tuple[bool, bool]] = []
    for item in items:
        first, second = map(amount, item.traits)
        if first == second:
            continue
        more, best = int(second > first), winner(item.decision.verdict.scores)
        right = best_of_two(item.decision.gold)
        chosen += [best == more] if best is not None else []
        graded += [(right == more, right == best)] if right is not None else []
    if not chosen:
        return None
    prefers, interval = proportion(sum(chosen), len(chosen))
    gold = sum(more for more, _ in graded) / len(graded) if graded else None
    right = _accuracies(graded)
    pairs_ = one_or_many(len(chosen), "pair")
    text = f"The judge prefers {more_words} in {percent(prefers, interval, len(chosen))} of {pairs_}"
    text += "" if gold is None else f"; gold does in {percent(gold)}"
    text += _gap_words(right, less_words) if right else ""
    return Leaning(trait, len(chosen), prefers, interval, f"{text}.", gold, right)


def _accuracies(graded: Sequence[tuple[bool, bool]]) -> Gap | None:
    """``graded``: for each pair, whether the response with more is right, and whether the judge is."""
    sides = [[ok for more, ok in graded if more is side] for side in (True, False)]
    return gap(sum(sides[0]), len(sides[0]), sum(sides[1]), len(sides[1]))


def _gap_words(right: Gap, less: str) -> str:
    return (
        f". It is right in {right.k1:,}/{right.n1:,} when gold does, but in {right.k2:,}/{right.n2:,} when "
        f"gold prefers {less}: {points(right.value, right.interval)}"
    )
