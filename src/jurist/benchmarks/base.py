"""What a benchmark is, and the counting that all of them share."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from jurist.benchmarks.files import PinnedFile
from jurist.core.errors import InputError
from jurist.core.reasons import Reasons
from jurist.core.statistics import wilson
from jurist.core.types import (
    IDENTICAL,
    Case,
    Decision,
    Judgment,
    Order,
    Scorecard,
    ScoreRow,
    Status,
    Usage,
    Verdict,
    agrees,
    winner,
)
from jurist.deliberation.combine import majority


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Cases and the official way to count.

    ``source`` names repository, commit and licence. ``unresolved`` says in one sentence what a verdict
    without a score is worth in the official count. ``recorded`` reads the official raw outputs of another
    judge as decisions, so that its published score can be counted again; ``recorded_cases`` are the cases
    whose texts stand in those outputs or beside them, where ``load`` does not read these files; one without
    any yields none. ``many`` is how a judge of pairs
    decides cases of more than two responses, where there are some. Cases that count together have the
    same ``meta[unit]``. ``hub`` names the dataset that ``load`` reads as a path where it is only published
    there; ``files`` are published ones, pinned. Cases whose published order is known hold it in
    ``meta["order"]``: which response was shown in which slot.
    """

    name: str
    summary: str
    source: str
    unresolved: str
    load: Callable[[Path], Iterator[Case]]
    score: Callable[[Iterable[Decision]], Scorecard]
    recorded: Callable[[Path], Iterator[Decision]] | None = None
    recorded_cases: Callable[[Path], Iterator[Case]] | None = None
    many: str | None = None
    unit: str | None = None
    hub: str | None = None
    files: tuple[PinnedFile, ...] = ()


def by_order(decision: Decision) -> dict[Order, Verdict]:
    """One verdict per order in which the responses were shown, its scores in the order of the case.

    A judgment of a single response is a rating, belongs to no order, and is left out.
    """
    shown: dict[Order, list[Verdict]] = {}
    for judgment in decision.final_judgments:
        if len(judgment.query.order) > 1:
            shown.setdefault(judgment.query.order, []).append(judgment.verdict)
    return {order: vs[0] if len(vs) == 1 else majority(vs) for order, vs in shown.items()}


def statuses(decisions: Iterable[Decision]) -> dict[str, int]:
    """How many judgments ended in which status, in the order of ``Status``; zeros are left out."""
    counts = Counter(judgment.verdict.status for d in decisions for judgment in d.judgments)
    return {status.value: counts[status] for status in Status if counts[status]}


def usage(decisions: Iterable[Decision]) -> Usage:
    """Tokens of all decisions together."""
    return sum((d.usage for d in decisions), Usage())


def scorecard(
    name: str,
    decisions: Sequence[Decision],
    headline: ScoreRow | None,
    groups: Iterable[ScoreRow] = (),
    statistics: Mapping[str, float] | None = None,
    unresolved: str = "",
) -> Scorecard:
    """The scorecard of decisions, with their statuses and tokens; ``unresolved`` as in ``Benchmark``."""
    return Scorecard(
        name=name,
        headline=headline,
        groups=tuple(groups),
        statistics=dict(statistics or {}),
        statuses=statuses(decisions),
        unresolved=unresolved.strip(),
        usage=usage(decisions),
    )


def proportion(name: str, right: Sequence[bool]) -> ScoreRow:
    """A row of a scorecard: the share that is right, with its Wilson 95% interval."""
    k, n = sum(right), len(right)
    return ScoreRow(name, k / n, n, wilson(k, n))


def grouped(decisions: Iterable[Decision], first: Sequence[str] = ()) -> dict[str, list[Decision]]:
    """Decisions by their group: the ``first`` names lead, others follow as they come, no group last."""
    groups: dict[str, list[Decision]] = {name: [] for name in first}
    rest: list[Decision] = []
    for d in decisions:
        (rest if d.group is None else groups.setdefault(d.group, [])).append(d)
    named = {name: members for name, members in groups.items() if members}
    return {**named, "ungrouped": named.get("ungrouped", []) + rest} if rest else named


def scored(score: Callable[[Iterable[Decision]], Scorecard], decisions: Sequence[Decision]) -> Scorecard:
    """The official scorecard and, where a verdict is missing, what it would be otherwise.

    ``if_wrong``: every judgment without a verdict had been wrong. ``if_dropped``: cases without a verdict
    were left out. Both only where they can be computed (the scorer may need all parts of a case).
    """
    card, reasons = score(decisions), Reasons()
    for decision in decisions:
        reasons.add(decision.judgments)
    card = msgspec.structs.replace(card, reasons=reasons.most())
    if card.headline is None or all(j.verdict.scores for d in decisions for j in d.final_judgments):
        return card
    kept = [d for d in decisions if d.verdict.scores is not None]
    variants = {"if_wrong": [_wronged(d) for d in decisions], "if_dropped": kept}
    extra: dict[str, float] = {}
    for name, some in variants.items():
        headline = score(some).headline if some else None
        if headline is not None:
            extra[name] = headline.value
    return msgspec.structs.replace(card, statistics={**card.statistics, **extra})


def _wronged(decision: Decision) -> Decision:
    """The decision, with each missing verdict replaced by the wrong one."""
    gold = decision.gold
    if gold is None or len(gold) < 2:
        return decision
    against = tuple(max(gold) - g for g in gold)
    judgments = tuple(_against(j, against) for j in decision.judgments)
    verdict = decision.verdict if decision.verdict.scores else Verdict(against)
    return msgspec.structs.replace(decision, verdict=verdict, judgments=judgments)


def _against(judgment: Judgment, against: Sequence[float]) -> Judgment:
    order = judgment.query.order
    if judgment.verdict.scores is not None or len(order) < 2:
        return judgment
    scores = tuple(against[i] for i in sorted(order))
    return msgspec.structs.replace(judgment, verdict=Verdict(scores))


def headline_name(name: str, judged: int, whole: int, unit: str = "pairs") -> str:
    """``name`` of a whole benchmark's score; of a part it says how much of it was judged."""
    return name if judged >= whole else f"mean of {judged:,} of {whole:,} {unit}"


def unique(names: Iterable[str]) -> Iterator[str]:
    """The names, repeated ones numbered: ``a``, ``b``, ``a#2``."""
    seen = Counter[str]()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


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


def pair_winner(decision: Decision) -> int | None:
    """Which of two responses gold names, None for a tie; raises ``InputError`` for gold of anything else."""
    if decision.gold is None or len(decision.gold) != 2:
        raise InputError(
            f"case {decision.case_id!r}: gold is {decision.gold}, expected that of a pair",
            hint="gold is (1, 0), (0, 1) or a tie, (0.5, 0.5)",
        )
    return winner(decision.gold)


def score_pairs(decisions: Iterable[Decision], name: str = "pairs") -> Scorecard:
    """Accuracy of the verdicts against gold, for cases of two or more responses; one pass, little memory."""
    tally = PairsTally()
    for decision in decisions:
        tally.add(decision)
    return tally.scorecard(name)


UNRESOLVED = "A tie (where gold is none) and an unresolved verdict count as wrong."


class PairsTally:
    """Counts decisions one by one, and gives their scorecard at any time.

    Right is: the same response wins. A tie is right only where gold is the same tie; an unresolved
    verdict never is. Decisions without gold (and ratings) are not graded, but counted.
    """

    def __init__(self) -> None:
        self._n = self._ties = self._unresolved = self._identical = 0
        self._both = self._consistent = self._games = self._first = 0
        self._right: dict[str, list[bool]] = {}
        self._statuses: Counter[Status] = Counter()
        self._usage = self._reused = Usage()
        self._reasons = Reasons()

    def add(self, decision: Decision) -> None:
        """Count one decision."""
        self._n += 1
        self._usage += decision.usage
        self._reused += decision.reused
        self._statuses.update(j.verdict.status for j in decision.judgments)
        self._reasons.add(decision.judgments)
        self._ties += len(decision.verdict.scores or ()) > 1 and winner(decision.verdict.scores) is None
        self._unresolved += decision.verdict.scores is None
        self._identical += decision.verdict.note == IDENTICAL
        self._orders(decision)
        if decision.gold is not None and len(decision.gold) > 1:
            right = agrees(decision.verdict.scores, decision.gold)
            self._right.setdefault(decision.group or "ungrouped", []).append(right)

    def scorecard(self, name: str = "pairs", seconds: float = 0.0) -> Scorecard:
        """What was counted so far."""
        graded = [right for group in self._right.values() for right in group]
        rows = tuple(proportion(g, right) for g, right in self._right.items())
        return Scorecard(
            name=name,
            headline=proportion("overall", graded) if graded else None,
            groups=rows if len(rows) > 1 else (),
            statistics=self._statistics(len(graded)),
            statuses={s.value: self._statuses[s] for s in Status if self._statuses[s]},
            unresolved=UNRESOLVED if graded else "",
            usage=self._usage,
            reused=self._reused,
            seconds=seconds,
            reasons=self._reasons.most(),
        )

    def _orders(self, decision: Decision) -> None:
        """Each pair of responses that was judged, in one order or in both."""
        pairs: dict[frozenset[int], list[int | None]] = {}
        for order, verdict in by_order(decision).items():
            if verdict.scores:
                best = winner(verdict.scores)
                response = None if best is None else sorted(order)[best]
                pairs.setdefault(frozenset(order), []).append(response)
                self._games += 1
                self._first += order[0] == response
        both = [winners for winners in pairs.values() if len(winners) > 1]
        self._both += len(both)
        self._consistent += sum(len(set(winners)) == 1 for winners in both)

    def _statistics(self, graded: int) -> dict[str, float]:
        counts: dict[str, float] = {
            "ties": self._ties,
            "unresolved": self._unresolved,
            "without_gold": self._n - graded,
        }
        if self._identical:
            counts["identical"] = self._identical
        shares = {
            "consistency": (self._consistent, self._both),
            "first_shown_wins": (self._first, self._games),
        }
        return counts | {name: k / n for name, (k, n) in shares.items() if n}
