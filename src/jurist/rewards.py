"""Rewards of a group: from the ratings of its n responses to one number for each."""

from collections.abc import Sequence
from math import fsum, isfinite, sqrt

from jurist.errors import ConfigError
from jurist.types import Scores


def rrm_reward(ratings: Sequence[float]) -> Scores:
    """RRM's reward of Elo ratings (initial 1000): (elo - 1000) / 200 + 0.5, one for each.

    Source: ``ResponseArenaElo`` of RRM (arXiv 2505.14674). Within a group these differ by a tenth or
    two only, so they need an advantage that is divided by the group's standard deviation.
    """
    return tuple((r - 1000) / 200 + 0.5 for r in _finite(ratings))


def standardised(values: Sequence[float]) -> Scores:
    """Values shifted to mean 0 and scaled to population standard deviation 1; all equal: zeros."""
    values = _finite(values)
    mean = fsum(values) / len(values)
    spread = max(values) - min(values)
    # Rounding is no difference, and must not be blown up to one.
    if spread <= max(1e-12 * max(map(abs, values)), 1e-300):
        return (0.0,) * len(values)
    # In units of the spread, so that the squares of tiny values do not vanish.
    shifted = [(v - mean) / spread for v in values]
    deviation = sqrt(fsum(v**2 for v in shifted) / len(values))
    return tuple(v / deviation for v in shifted)


def rank_reward(values: Sequence[float]) -> Scores:
    """1 for the best, 0 for the worst, evenly spaced between: 1 - rank / (n - 1).

    Equal values share the mean of their ranks, so that a group of equals (or of one) gets 0.5.
    """
    values = _finite(values)
    if len(values) == 1:
        return (0.5,)
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    top = len(values) - 1
    return tuple((places[v][0] + places[v][-1]) / 2 / top for v in values)


def _finite(values: Sequence[float]) -> Sequence[float]:
    if not values or not all(map(isfinite, values)):
        raise ConfigError(f"no rewards from {list(values)}", hint="at least one value, all of them finite")
    return values
