"""Calibration: whether a judge that is 80% sure is right in 80% of such cases."""

from collections.abc import Iterable, Sequence
from math import isclose, pi, sqrt
from statistics import fmean

from jurist.core.statistics import Interval, bootstrap, mean_interval
from jurist.core.types import Record, winner
from jurist.reports.audit.findings import (
    Finding,
    Item,
    best_of_two,
    one_or_many,
    pairs,
    percent,
    points,
    proportion,
)

BINS = 10
"""Bins of confidence between one half and one, each as wide as the next."""

_STEPS = 10
"""Up to so many different confidences, each has a bin of its own: shares of a few votes."""

Sure = tuple[float, bool]
"""(confidence in the response that won, whether that one is right)."""


class Bin(Record, frozen=True):
    """Decisions of like confidence: its mean, and the share that is right with its 95% interval."""

    confidence: float
    n: int
    right: int
    accuracy: float
    interval: Interval


class Reliability(Record, frozen=True):
    """Reliability by confidence, least sure first; ``ties`` took no side and are in no bin."""

    bins: tuple[Bin, ...]
    n: int
    ties: int


def calibration(items: Iterable[Item]) -> tuple[Reliability | None, list[Finding]]:
    """Bins and findings; (None, []) where no graded decision has scores that are shares.

    Confidence is the winner's share of the votes, or its probability where verdicts were forced. Verdicts
    that all are (1, 0) have bins, of one confidence, but no findings: nothing was said about how sure.
    """
    graded = [i.decision for i in pairs(items) if best_of_two(i.decision.gold) is not None]
    shares = [
        (s, best_of_two(d.gold))
        for d in graded
        if (s := d.verdict.scores) and isclose(sum(s), 1, abs_tol=1e-6)
    ]
    sure = [(max(s), best == right) for s, right in shares if (best := winner(s)) is not None]
    if not sure:
        return None, []
    reliability = Reliability(tuple(_bin(b) for b in _binned(sure)), len(sure), len(shares) - len(sure))
    return reliability, [] if all(c == 1 for c, _ in sure) else _findings(sure)


def expected_error(sure: Sequence[Sure]) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over the bins, by their size."""
    return _distance(_gaps(sure))


def chance_error(sure: Sequence[Sure]) -> float:
    """The expected calibration error that a perfectly calibrated judge of these confidences shows by chance.

    The mean of half-normals, one for each bin, as by the central limit theorem.
    """
    spreads = (sqrt(sum(c * (1 - c) for c, _ in b)) for b in _binned(sure))
    return sqrt(2 / pi) * sum(spreads) / len(sure)


def _findings(sure: Sequence[Sure]) -> list[Finding]:
    n, right = len(sure), sum(ok for _, ok in sure)
    confidence, over = fmean(c for c, _ in sure), [c - ok for c, ok in sure]
    excess, interval = fmean(over), mean_interval(over)
    word, sign = ("over", 1) if excess > 0 else ("under", -1)
    bounds = interval and (interval if sign > 0 else (-interval[1], -interval[0]))
    text = (
        f"On average the judge is {percent(confidence)} sure and right in {right:,}/{n:,} "
        f"({percent(right / n)}): {word}confident by {points(abs(excess), bounds).removeprefix('+')}."
    )
    brier = [(c - ok) ** 2 for c, ok in sure]
    return [
        Finding("overconfidence", text, excess, n, interval, neutral=0.0),
        _error(sure),
        Finding(
            "brier",
            f"Its Brier score is {fmean(brier):.3f}{_decimals(mean_interval(brier))} over "
            f"{one_or_many(n, 'case')}; 0 is perfect, and always being half sure scores 0.250.",
            fmean(brier),
            n,
            mean_interval(brier),
        ),
    ]


def _error(sure: Sequence[Sure]) -> Finding:
    n, value = len(sure), expected_error(sure)
    interval = bootstrap(_gaps(sure), _distance, max(100, min(1000, 1_000_000 // n)))
    text = (
        f"Confidence and accuracy lie {percent(value, interval)} apart on average over "
        f"{one_or_many(n, 'case')} (expected calibration error); a perfectly calibrated judge would show "
        f"{percent(chance_error(sure))} by chance."
    )
    return Finding("calibration_error", text, value, n, interval)


def _gaps(sure: Sequence[Sure]) -> list[tuple[int, float]]:
    """(bin, confidence minus right) of each: what the calibration error is made of."""
    return [(i, c - right) for i, members in enumerate(_binned(sure)) for c, right in members]


def _distance(gaps: Sequence[tuple[int, float]]) -> float:
    sums: dict[int, float] = {}
    for i, gap in gaps:
        sums[i] = sums.get(i, 0.0) + gap
    return sum(map(abs, sums.values())) / len(gaps)


def _binned(sure: Sequence[Sure]) -> list[list[Sure]]:
    """The bins that hold something, least sure first."""
    values = {round(c, 9) for c, _ in sure}
    fine = len(values) <= _STEPS
    bins: dict[float, list[Sure]] = {}
    for c, ok in sure:
        key = round(c, 9) if fine else min(BINS - 1, int((c - 0.5) * 2 * BINS))
        bins.setdefault(key, []).append((c, ok))
    return [bins[key] for key in sorted(bins)]


def _bin(sure: Sequence[Sure]) -> Bin:
    n, right = len(sure), sum(ok for _, ok in sure)
    accuracy, interval = proportion(right, n)
    return Bin(fmean(c for c, _ in sure), n, right, accuracy, interval)


def _decimals(interval: Interval | None) -> str:
    return f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
