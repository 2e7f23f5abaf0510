"""Ratings: from matches between n players to one number for each.

Rewards of a group: from the ratings of its n responses to one number for each.
"""

from collections.abc import Iterable, Sequence
from math import fsum, inf, isfinite, log, log1p, sqrt, tanh
from operator import mul
from random import Random

from jurist.core.errors import ConfigError
from jurist.core.statistics import finite
from jurist.core.types import Record, Scores

PRIOR = 2.0
"""Standard deviation of strengths (in logits) that ``bradley_terry`` expects before any match."""

Duel = tuple[int, int, float]
"""Two players, low index first, and half the number of their matches."""

Rows = list[list[float]]
"""Row i of a symmetric system: columns i to n-1 (the others are known from above), then the right side."""


class Match(Record, frozen=True):
    """Player ``first`` met player ``second``; ``score`` is the first's share of the win.

    1 is a win, 0 a defeat, 0.5 a tie, and anything between is legal, so that the soft verdict of a
    judgment (vote shares, probabilities) is a match. Players are indices from 0.
    """

    first: int
    second: int
    score: float

    def __post_init__(self) -> None:
        # Written so that NaN, which compares false with everything, is refused too.
        if not 0 <= self.score <= 1:
            raise ConfigError(
                f"the score of a match is a share from 0 to 1, not {self.score}",
                hint="1: the first wins; 0: the second; 0.5: a tie; leave a match without verdict out",
            )
        if self.first == self.second or self.first < 0 or self.second < 0:
            raise ConfigError(
                f"no match of {self.first} against {self.second}",
                hint="two different players, as indices from 0",
            )


class Strengths(Record, frozen=True):
    """What ``bradley_terry`` says: per player the strength in logits and its standard error."""

    values: Scores
    errors: Scores


def share(scores: Scores | None) -> float:
    """The first's share of the win, from the two scores of a match; half without any.

    Scores that are no shares of one (ratings) count as a win, a tie or a defeat.
    """
    a, b = scores or (0.5, 0.5)
    return a if min(a, b) >= 0 and abs(a + b - 1) < 1e-9 else (a > b) + (a == b) / 2


def win_rate(n: int, matches: Iterable[Match]) -> Scores:
    """Mean score of each of n players over its matches, from 0 to 1; 0.5 without any (Copeland).

    The order of the matches changes nothing, to the last digit.
    """
    matches = _checked(n, matches)
    played = [0] * n
    for match in matches:
        played[match.first] += 1
        played[match.second] += 1
    # Sums of thirds and tenths leave dust; without it equal records are equal numbers.
    return tuple(round(0.5 + m / (k or 1), 12) for m, k in zip(_margins(n, matches), played, strict=True))


def bradley_terry(n: int, matches: Iterable[Match], prior: float = PRIOR) -> Strengths:
    """Strengths of n players: the mode of the posterior under a Gaussian prior, by Newton's method.

    The first beats the second with probability 1 / (1 + exp(second - first)); ties and soft scores are
    fractional wins. Each strength has the prior N(0, prior²), so that also a perfectly ordered group, a
    knockout bracket and a player without matches (0, error = prior) have a finite answer, where maximum
    likelihood has none. ``prior``: a standard deviation in logits, from 0.01 to 100. Errors are
    Laplace's: roots of the diagonal of the inverse Hessian, the prior included. The strengths sum to 0, and
    the order of the matches changes nothing, to the last digit. Source: Bradley and Terry 1952, Biometrika
    39(3/4).
    """
    if not 0.01 <= prior <= 100:
        raise ConfigError(f"prior {prior} is out of range", hint="a standard deviation from 0.01 to 100")
    matches = _checked(n, matches)
    duels, margins = _duels(matches), _margins(n, matches)
    precision = prior**-2
    theta, reach, steps = [0.0] * n, inf, 0
    rows: Rows = []
    pivots: list[float] = []
    # The error left after a step is about reach² at most: 1e-12 here.
    while reach > 1e-6:
        rows = _system(theta, duels, margins, precision)
        pivots = _eliminate(rows)
        step = _back(rows, pivots)
        reach, steps = max(step) - min(step), steps + 1
        # Full steps converge fastest; where they reach far, or do not settle, the logistic curve
        # guarantees descent up to log(1 + reach) / reach of the step (Bach 2010, EJS 4, section 2).
        share = log1p(reach) / reach if reach > 4 or (steps > 20 and reach > 1e-6) else 1.0
        theta = [t + share * s for t, s in zip(theta, step, strict=True)]
    # Equal records differ by rounding alone; without it they are tied, as they should be.
    return Strengths(tuple(round(t, 9) + 0.0 for t in theta), _errors(rows, pivots))


def elo(
    n: int,
    matches: Iterable[Match],
    k: float = 4,
    initial: float = 1000,
    scale: float = 400,
    base: float = 10,
    passes: int = 1,
    seed: int | None = None,
) -> Scores:
    """Sequential Elo ratings of n players; the defaults are those of evalica 0.4.2, hence RRM's.

    Matches count in the given order, which changes the result. With a ``seed`` each pass goes through
    them in a shuffled order of its own, which depends on the matches and the seed alone and not on the
    given order.
    """
    _check_elo(k, initial, scale, base, passes)
    played = [(m.first, m.second, m.score) for m in _checked(n, matches)]
    if seed is not None:
        played.sort()
    generator = Random(seed)
    ratings, half = [float(initial)] * n, log(base) / scale / 2
    for _ in range(passes):
        if seed is not None:
            generator.shuffle(played)
        for first, second, score in played:
            # The expected score is 1 / (1 + base ** (-gap / scale)), written so that no gap overflows.
            gain = k * (score - 0.5 - 0.5 * tanh(half * (ratings[first] - ratings[second])))
            ratings[first] += gain
            ratings[second] -= gain
    return tuple(ratings)


def _checked(n: int, matches: Iterable[Match]) -> list[Match]:
    if n < 1:
        raise ConfigError(f"no ratings of {n} players", hint="n is the number of players, at least 1")
    matches = list(matches)
    for match in matches:
        if match.first >= n or match.second >= n:
            raise ConfigError(
                f"no match of {match.first} against {match.second} among {n} players",
                hint=f"players are indices from 0 to {n - 1}",
            )
    return matches


def _check_elo(k: float, initial: float, scale: float, base: float, passes: int) -> None:
    legal = {
        "k": (k, 0 < k < inf, "a positive number"),
        "initial": (initial, isfinite(initial), "a finite number"),
        "scale": (scale, 0 < scale < inf, "a positive number"),
        "base": (base, 1 < base < inf, "a number above 1"),
        "passes": (passes, passes >= 1, "at least 1"),
    }
    for name, (value, fine, hint) in legal.items():
        if not fine:
            raise ConfigError(f"{name} {value} is out of range", hint=f"{name}: {hint}")


def _margins(n: int, matches: Sequence[Match]) -> list[float]:
    """How far each player's score exceeds an even one, summed exactly, hence in any order."""
    margins: list[list[float]] = [[] for _ in range(n)]
    for match in matches:
        margin = match.score - 0.5
        margins[match.first].append(margin)
        margins[match.second].append(-margin)
    return [fsum(m) for m in margins]


def _duels(matches: Sequence[Match]) -> list[Duel]:
    """All that the likelihood needs beside the margins; sorted."""
    halves: dict[tuple[int, int], float] = {}
    for match in matches:
        i, j = match.first, match.second
        pair = (i, j) if i < j else (j, i)
        halves[pair] = halves.get(pair, 0.0) + 0.5
    return [(i, j, half) for (i, j), half in sorted(halves.items())]


def _system(
    theta: Sequence[float], duels: Sequence[Duel], margins: Sequence[float], precision: float
) -> Rows:
    """The system of a Newton step at theta: Hessian of the negative log posterior, gradient of the log."""
    n = len(theta)
    rows = [[0.0] * (n - i) for i in range(n)]
    diagonal = [precision] * n
    gradient = [m - precision * t for m, t in zip(margins, theta, strict=True)]
    for i, j, half in duels:
        # With t = tanh(gap / 2) the probability is (1 + t) / 2 and its variance (1 - t²) / 4.
        t = tanh(0.5 * (theta[i] - theta[j]))
        pull = half * t
        gradient[i] -= pull
        gradient[j] += pull
        weight = 0.5 * (half - pull * t)
        diagonal[i] += weight
        diagonal[j] += weight
        rows[i][j - i] = -weight
    for row, d, g in zip(rows, diagonal, gradient, strict=True):
        row[0] = d
        row.append(g)
    return rows


def _eliminate(rows: Rows) -> list[float]:
    """Cholesky's LDL' in place: row i becomes pivot i of D times row i of L'; returns the pivots."""
    pivots: list[float] = []
    for i, row in enumerate(rows):
        pivot = row[0]
        pivots.append(pivot)
        tail = row
        for below in rows[i + 1 :]:
            tail = tail[1:]
            if factor := tail[0] / pivot:
                # Of one length; checking that costs a tenth of the whole.
                below[:] = [x - factor * y for x, y in zip(below, tail)]  # noqa: B905
    return pivots


def _back(rows: Rows, pivots: Sequence[float]) -> list[float]:
    """The solution, from the last row up."""
    solution: list[float] = []
    for row, pivot in zip(reversed(rows), reversed(pivots), strict=True):
        known = sum(map(mul, row[-2:0:-1], solution))
        solution.append((row[-1] - known) / pivot)
    return solution[::-1]


def _errors(rows: Rows, pivots: Sequence[float]) -> Scores:
    """Roots of the diagonal of the inverse, which is V D^-1 V' with V the inverse of L'."""
    inverse: Rows = []
    for row, pivot in zip(reversed(rows), reversed(pivots), strict=True):
        line = [0.0] * (len(row) - 2)
        for j in range(len(line)):
            if row[j + 1]:
                factor = row[j + 1] / pivot
                line[j:] = [x - factor * y for x, y in zip(line[j:], inverse[-1 - j])]  # noqa: B905
        inverse.append([1.0, *line])
    lines = [zip(line, pivots[-len(line) :], strict=True) for line in reversed(inverse)]
    return tuple([round(sqrt(sum([v * v / d for v, d in line])), 9) for line in lines])


def rrm_reward(ratings: Sequence[float]) -> Scores:
    """RRM's reward of Elo ratings (initial 1000): (elo - 1000) / 200 + 0.5, one for each.

    Source: ``ResponseArenaElo`` of RRM (arXiv 2505.14674). Within a group these differ by a tenth or
    two only, so they need an advantage that is divided by the group's standard deviation.
    """
    return tuple((r - 1000) / 200 + 0.5 for r in finite(ratings))


def standardised(values: Sequence[float]) -> Scores:
    """Values shifted to mean 0 and scaled to population standard deviation 1; all equal: zeros."""
    values = finite(values)
    mean = fsum(values) / len(values)
    spread = max(values) - min(values)
    # Rounding is no difference, and must not be blown up to one.
    if spread <= max(1e-12 * max(map(abs, values)), 1e-300):
        return (0.0,) * len(values)
    # In units of the spread, so that the squares of tiny values do not vanish.
    shifted = [(v - mean) / spread for v in values]
    deviation = sqrt(fsum(v**2 for v in shifted) / len(values))
    return tuple(v / deviation for v in shifted)
