"""Intervals and agreement: the statistics that scorecards state beside their numbers."""

from collections import Counter
from collections.abc import Hashable, Sequence
from math import sqrt
from statistics import NormalDist, fmean, variance

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
    n = len(a)
    left, right = Counter(a), Counter(b)
    # Counted in whole numbers, so that perfect chance agreement is found exactly.
    chance = sum(count * right[label] for label, count in left.items())
    if chance == n * n:
        return None
    observed = sum(x == y for x, y in zip(a, b, strict=True))
    return (observed * n - chance) / (n * n - chance)
