"""Intervals and agreement: the statistics that scorecards state beside their numbers."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from math import isfinite, sqrt
from random import Random
from statistics import NormalDist, fmean, variance
from typing import TypeVar

from jurist.core.errors import ConfigError
from jurist.core.types import Scores

T = TypeVar("T")

Interval = tuple[float, float]
"""Lower and upper bound."""

Z95 = NormalDist().inv_cdf(0.975)
"""Half width of a 95% interval, in standard errors."""


def wilson(k: float, n: int, z: float = Z95) -> Interval:
    """Wilson score interval of the proportion k/n.

    ``k`` may be fractional, where one item can be half right; n counts items. Without items nothing is
    known, and the interval is (0, 1). Source: Wilson 1927, JASA 22(158).
    """
    if n < 0 or not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    if n == 0:
        return 0.0, 1.0
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # The bound is exactly p at the ends; rounding must not push it past p.
    return max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))


def mean_interval(values: Sequence[float], z: float = Z95) -> Interval | None:
    """Normal interval of the mean of ``values``; None below two values."""
    return macro_interval([values], z)


def macro_interval(strata: Sequence[Sequence[float]], z: float = Z95) -> Interval | None:
    """Normal interval of the mean of the strata's means, each stratum weighing the same.

    The strata are independent samples; None without strata or where one has fewer than two values.
    """
    if not strata or min(len(values) for values in strata) < 2:
        return None
    mean = fmean(fmean(values) for values in strata)
    error = sqrt(sum(variance(values) / len(values) for values in strata)) / len(strata)
    return mean - z * error, mean + z * error


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float | None:
    """Cohen's unweighted kappa of two raters; None where chance alone already agrees on everything.

    Labels of either rater count, also those that the other never uses. Source: Cohen 1960.
    """
    if len(a) != len(b):
        raise ValueError(f"two raters of {len(a)} and {len(b)} items cannot be compared")
    return kappa_of(Counter(zip(a, b, strict=True)))


def kappa_of(counts: Mapping[tuple[Hashable, Hashable], int]) -> float | None:
    """``cohen_kappa`` of how often each (label of one rater, label of the other) came."""
    left, right = Counter[Hashable](), Counter[Hashable]()
    for (one, other), count in counts.items():
        left[one] += count
        right[other] += count
    n = left.total()
    # Counted in whole numbers, so that perfect chance agreement is found exactly.
    chance = sum(count * right[label] for label, count in left.items())
    if chance == n * n:
        return None
    observed = sum(count for (one, other), count in counts.items() if one == other)
    return (observed * n - chance) / (n * n - chance)


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p-value of McNemar's test; 1 where nothing differs.

    ``b`` and ``c`` are the items that only the one and only the other judge has right: without a difference
    each of them is a toss of a fair coin. Source: McNemar 1947, Psychometrika 12(2); exact binomial form.
    """
    if min(b, c) < 0:
        raise ValueError(f"{b} and {c} are no counts")
    n, term, tail = b + c, 1, 0
    for k in range(min(b, c) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(1.0, 2 * tail / 2**n)


def paired_difference(b: int, c: int, n: int, z: float = Z95) -> Interval:
    """Score interval of (b - c) / n, the difference of two proportions over the same n items.

    ``b`` and ``c`` as in ``mcnemar``. It holds zero exactly where McNemar's statistic (b - c)^2 / (b + c)
    is at most z^2. Without items it is (-1, 1). Source: Tango 1998, Statistics in Medicine 17(8).
    """
    if min(b, c) < 0 or b + c > n:
        raise ValueError(f"{b} and {c} of {n} are no paired counts")
    return (-_upper_difference(c, b, n, z), _upper_difference(b, c, n, z)) if n else (-1.0, 1.0)


def _upper_difference(b: int, c: int, n: int, z: float) -> float:
    """The largest difference that the score test does not reject, by bisection: the score falls with it."""
    low, high = (b - c) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _distance(b, c, n, middle) <= z else (low, middle)
    return low


def _distance(b: int, c: int, n: int, difference: float) -> float:
    """How many standard errors ``difference`` lies above (b - c) / n, its nuisance at the likeliest value."""
    half = (2 * n - b + c) * difference - b - c
    root = sqrt(max(0.0, half * half + 8 * n * c * difference * (1 - difference)))
    rare = (root - half) / (4 * n)
    spread = n * (2 * rare + difference * (1 - difference))
    away = n * difference - (b - c)
    return away / sqrt(spread) if spread > 0 else float("inf") if away > 0 else 0.0


def difference(k1: float, n1: int, k2: float, n2: int, z: float = Z95) -> Interval:
    """Interval of k1/n1 - k2/n2 over different items, from the Wilson intervals of both.

    Without items on a side, all that the other leaves open. Source: Newcombe 1998, Statistics in Medicine
    17(8), method 10.
    """
    (low1, high1), (low2, high2) = wilson(k1, n1, z), wilson(k2, n2, z)
    if not n1 or not n2:
        return low1 - high2, high1 - low2
    p1, p2 = k1 / n1, k2 / n2
    below = sqrt((p1 - low1) ** 2 + (high2 - p2) ** 2)
    above = sqrt((high1 - p1) ** 2 + (p2 - low2) ** 2)
    return max(-1.0, p1 - p2 - below), min(1.0, p1 - p2 + above)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the given order. Source: Holm 1979, Scand. J. Stat. 6(2)."""
    corrected, worst = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = worst
    return corrected


def bootstrap(
    items: Sequence[T], statistic: Callable[[Sequence[T]], float], resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """Percentile 95% interval of ``statistic`` over resampled items; the same seed, the same interval.

    None below two items. Source: Efron 1979, Annals of Statistics 7(1).
    """
    if len(items) < 2:
        return None
    random = Random(seed)
    values = sorted(statistic(random.choices(items, k=len(items))) for _ in range(resamples))
    cut = round(0.025 * (resamples - 1))
    return values[cut], values[-1 - cut]


def rank_reward(values: Sequence[float]) -> Scores:
    """1 for the best, 0 for the worst, evenly spaced between: 1 - rank / (n - 1).

    Equal values share the mean of their ranks, so that a group of equals (or of one) gets 0.5.
    """
    values = finite(values)
    if len(values) == 1:
        return (0.5,)
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    top = len(values) - 1
    return tuple((places[v][0] + places[v][-1]) / 2 / top for v in values)


def finite(values: Sequence[float]) -> Sequence[float]:
    """The values as they are; raises ``ConfigError`` where there is none or one is not finite."""
    if not values or not all(map(isfinite, values)):
        raise ConfigError(f"no rewards from {list(values)}", hint="at least one value, all of them finite")
    return values
