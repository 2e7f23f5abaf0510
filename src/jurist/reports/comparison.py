"""Judges compared on the same cases: accuracies, paired differences, and the cases that decide them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from math import isclose
from statistics import fmean

from jurist.benchmarks.base import UNRESOLVED, score_pairs, statuses
from jurist.core.errors import ConfigError, InputError
from jurist.core.statistics import Interval, holm, mcnemar, paired_difference, wilson
from jurist.core.types import Decision, Record, Scorecard, Scores, Verdict, agrees, winner
from jurist.judging.registry import benchmark

CountingRule = Callable[[Iterable[Decision]], Scorecard]
"""A rule that counts decisions; of one decision, its headline says what that case is worth."""


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One judge's decisions. ``digests`` holds the hash of each case, "" where nobody wrote it down.

    ``texts``: the hash without ``meta``, in which imported outputs may name their judge; where it is known.
    """

    name: str
    decisions: Sequence[Decision]
    digests: Mapping[str, str] = field(default_factory=dict[str, str])
    benchmark: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict[str, str])


class Judged(Record, frozen=True):
    """One judge on the compared cases. Tokens and seconds are means per judgment, None where not recorded.

    ``ties`` and ``unresolved`` count cases, ``statuses`` judgments.
    """

    name: str
    right: int
    n: int
    accuracy: float
    interval: Interval
    ties: int
    unresolved: int
    statuses: dict[str, int]
    tokens: float | None
    seconds: float | None


class Difference(Record, frozen=True):
    """Accuracy of ``judge`` minus that of ``baseline`` over the same n cases, as a share.

    ``gained`` cases only the judge has right, ``lost`` ones only the baseline; ``p`` is McNemar's, exact.
    """

    group: str
    n: int
    right: int
    baseline_right: int
    gained: int
    lost: int
    value: float
    interval: Interval
    p: float


class Flip(Record, frozen=True):
    """A case that one of two judges has right and the other wrong."""

    case_id: str
    group: str | None
    gold: Scores
    baseline: Verdict
    judge: Verdict
    gained: bool


class Against(Record, frozen=True):
    """One judge against the baseline: overall, by group, and the cases that flipped."""

    judge: str
    baseline: str
    overall: Difference
    groups: tuple[Difference, ...]
    flips: tuple[Flip, ...]


class Tested(Record, frozen=True):
    """One of all pairs of judges; ``holm`` is ``p`` corrected for the number of pairs."""

    judge: str
    baseline: str
    value: float
    p: float
    holm: float


class Comparison(Record, frozen=True):
    """Judges on the same cases; the first is the baseline. ``all_pairs`` only where more than two are."""

    n: int
    rule: str
    left_out: tuple[str, ...]
    judges: tuple[Judged, ...]
    against: tuple[Against, ...]
    all_pairs: tuple[Tested, ...] = ()


def compare(runs: Sequence[ComparedRun]) -> Comparison:
    """Compare runs over the cases that all of them judged.

    Raises ``ConfigError`` below two runs or where two share a name, ``InputError`` where no case is shared.
    """
    if len(runs) < 2 or len({r.name for r in runs}) < len(runs):
        raise ConfigError("a comparison takes two or more runs, each with its own name")
    columns, left_out = _shared(runs)
    rule, count = _rule(runs, columns)
    if count is score_pairs:
        right = [[agrees(d.verdict.scores, d.gold or ()) for d in column] for column in columns]
    else:
        right = [[_worth(count, d) == 1 for d in column] for column in columns]
    names = [run.name for run in runs]
    return Comparison(
        n=len(columns[0]),
        rule=rule,
        left_out=left_out,
        judges=tuple(_judged(*of) for of in zip(names, columns, right, strict=True)),
        against=tuple(
            _against(names[i], names[0], columns[i], columns[0], right[i], right[0])
            for i in range(1, len(runs))
        ),
        all_pairs=_all_pairs(names, right) if len(runs) > 2 else (),
    )


def difference(group: str, right: Sequence[bool], baseline: Sequence[bool]) -> Difference:
    """The paired difference between two judges, each given as right or wrong case by case."""
    pairs = Counter(zip(right, baseline, strict=True))
    gained, lost, n = pairs[True, False], pairs[False, True], len(right)
    value, interval = (gained - lost) / n, paired_difference(gained, lost, n)
    p = mcnemar(gained, lost)
    return Difference(group, n, sum(right), sum(baseline), gained, lost, value, interval, p)


def _shared(runs: Sequence[ComparedRun]) -> tuple[list[list[Decision]], tuple[str, ...]]:
    """The decisions of each run about the cases that all have, in one order; and what was left out."""
    tables = [{d.case_id: d for d in run.decisions} for run in runs]
    everywhere = [i for i in tables[0] if all(i in table for table in tables)]
    same = [i for i in everywhere if all(map(partial(_same_case, i, runs[0], tables[0][i]), runs, tables))]
    graded = [i for i in same if len(tables[0][i].gold or ()) > 1]
    other, ungraded = len(everywhere) - len(same), len(same) - len(graded)
    left_out = (
        _missing(runs, tables, len(everywhere)),
        f"same id, but another case: {other:,}" if other else "",
        f"without gold that names a response: {ungraded:,}" if ungraded else "",
    )
    if not graded:
        reasons = "; ".join(filter(None, left_out)) or "the runs hold no decisions"
        raise InputError(f"no case can be compared: {reasons}", "compare runs over the same cases, with gold")
    return [[table[i] for i in graded] for table in tables], tuple(filter(None, left_out))


def _same_case(
    case: str, one: ComparedRun, decision: Decision, other: ComparedRun, table: Mapping[str, Decision]
) -> bool:
    """By the hash of the case where both runs wrote it down, else by gold."""
    for hashes in (
        (one.texts.get(case), other.texts.get(case)),
        (one.digests.get(case), other.digests.get(case)),
    ):
        if all(hashes):
            return hashes[0] == hashes[1]
    return decision.gold == table[case].gold


def _missing(runs: Sequence[ComparedRun], tables: Sequence[Mapping[str, Decision]], shared: int) -> str:
    extra = [f"{len(t) - shared:,} of {r.name}" for r, t in zip(runs, tables, strict=True) if len(t) > shared]
    return f"not in every run: {', '.join(extra)}" if extra else ""


def _rule(runs: Sequence[ComparedRun], columns: Sequence[Sequence[Decision]]) -> tuple[str, CountingRule]:
    """The benchmark's own count, where it makes each case right or wrong and its score is their mean.

    Otherwise (half credit, means of sections, no benchmark) the simple rule for pairs.
    """
    names = {run.benchmark for run in runs}
    name = names.pop() if len(names) == 1 else None
    if name is None:
        return UNRESOLVED, score_pairs
    count = benchmark(name).score
    if all(_case_by_case(count, column) for column in columns):
        return f"Each case is right or wrong as {name} counts it.", count
    words = f"{name}'s own score is no plain share of right cases, so they are counted simply. {UNRESOLVED}"
    return words, score_pairs


def _case_by_case(count: CountingRule, column: Sequence[Decision]) -> bool:
    try:
        worth, whole = [_worth(count, d) for d in column], count(column).headline
    except InputError:
        return False
    return set(worth) <= {0.0, 1.0} and whole is not None and isclose(fmean(worth), whole.value)


def _worth(count: CountingRule, decision: Decision) -> float:
    headline = count([decision]).headline
    return headline.value if headline else 0.0


def _judged(name: str, decisions: Sequence[Decision], right: Sequence[bool]) -> Judged:
    judgments = [j for d in decisions for j in d.judgments]
    tokens = sum(j.usage.completion_tokens for j in judgments)
    seconds = sum(j.completion.seconds + (j.forced.seconds if j.forced else 0.0) for j in judgments)
    scores = [d.verdict.scores for d in decisions]
    return Judged(
        name=name,
        right=sum(right),
        n=len(right),
        accuracy=fmean(right),
        interval=wilson(sum(right), len(right)),
        ties=sum(s is not None and winner(s) is None for s in scores),
        unresolved=scores.count(None),
        statuses=statuses(decisions),
        tokens=tokens / len(judgments) if tokens else None,
        seconds=seconds / len(judgments) if seconds else None,
    )


def _against(
    judge: str,
    baseline: str,
    decisions: Sequence[Decision],
    others: Sequence[Decision],
    right: Sequence[bool],
    other: Sequence[bool],
) -> Against:
    places: dict[str, list[int]] = {}
    for i, decision in enumerate(others):
        places.setdefault(decision.group or "ungrouped", []).append(i)
    groups = [difference(g, [right[i] for i in at], [other[i] for i in at]) for g, at in places.items()]
    flips = tuple(
        Flip(o.case_id, o.group, o.gold or (), o.verdict, d.verdict, gained=r)
        for d, o, r, b in zip(decisions, others, right, other, strict=True)
        if r != b
    )
    overall = difference("overall", right, other)
    return Against(judge, baseline, overall, tuple(groups) if len(groups) > 1 else (), flips)


def _all_pairs(names: Sequence[str], right: Sequence[Sequence[bool]]) -> tuple[Tested, ...]:
    pairs = [
        (names[b], names[a], difference("", right[b], right[a]))
        for a, b in combinations(range(len(names)), 2)
    ]
    corrected = holm([d.p for _, _, d in pairs])
    return tuple(Tested(j, b, d.value, d.p, h) for (j, b, d), h in zip(pairs, corrected, strict=True))
