"""Intervals and agreement: known values, and what must hold of all of them."""

import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.core.statistics import (
    Z95,
    bootstrap,
    cohen_kappa,
    difference,
    holm,
    macro_interval,
    mcnemar,
    mean_interval,
    paired_difference,
    wilson,
)

PROPORTIONS = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
PAIRED = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 80)).map(
    lambda t: (t[0], t[1], sum(t) or 1)
)
LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)
STRATUM = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=20)


def test_z_is_the_two_sided_95_percent_quantile():
    assert pytest.approx(1.959963984540054, abs=1e-12) == Z95


# R: prop.test(k, n, correct = FALSE)$conf.int
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (8, 10, 0.4901625, 0.9433178),
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (5, 10, 0.2365931, 0.7634069),
        (1, 1, 0.2065493, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_known_values(k, n, low, high):
    assert wilson(k, n) == pytest.approx((low, high), abs=1e-7)


@pytest.mark.parametrize(("k", "n"), [(-1, 10), (11, 10), (0, -1), (math.nan, 10)])
def test_wilson_refuses_what_is_no_proportion(k, n):
    with pytest.raises(ValueError, match="no proportion"):
        wilson(k, n)


@given(PROPORTIONS)
def test_wilson_holds_the_proportion_inside_the_unit_interval(kn):
    k, n = kn
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert low < high


@given(PROPORTIONS)
def test_wilson_of_the_wrong_ones_is_the_mirror(kn):
    k, n = kn
    low, high = wilson(k, n)
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(PROPORTIONS)
def test_wilson_narrows_with_items_and_rises_with_right(kn):
    k, n = kn
    low, high = wilson(k, n)
    many = wilson(10 * k, 10 * n)
    assert many[1] - many[0] < high - low
    if k < n:
        assert wilson(k + 1, n)[0] > low


def test_mean_interval_known_value():
    # Values 0 and 1: variance 1/2, standard error 1/2.
    assert mean_interval([0, 1]) == pytest.approx((0.5 - Z95 / 2, 0.5 + Z95 / 2))


@pytest.mark.parametrize("strata", [[], [[1.0]], [[0.0, 1.0], [1.0]], [[0.0, 1.0], []]])
def test_no_interval_from_single_values(strata):
    assert macro_interval(strata) is None


def test_macro_interval_weighs_strata_not_values():
    # Means 1/2 and 1, squared errors 1/4 and 0: the mean is 3/4, its error sqrt(1/4)/2 = 1/4.
    interval = macro_interval([[0.0, 1.0], [1.0] * 50])
    assert interval == pytest.approx((0.75 - Z95 / 4, 0.75 + Z95 / 4))


@given(STRATUM)
def test_macro_interval_of_one_stratum_is_the_mean_interval(values):
    assert macro_interval([values]) == mean_interval(values)


@given(st.lists(STRATUM, min_size=1, max_size=5))
def test_macro_interval_is_centred_on_the_mean_of_means(strata):
    low, high = macro_interval(strata)
    assert (low + high) / 2 == pytest.approx(fmean(fmean(s) for s in strata), abs=1e-12)


def test_kappa_known_values():
    # Cohen's two-by-two: 20 and 15 on the diagonal, 5 and 10 off it; observed .7, by chance .5.
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4)
    assert cohen_kappa([0, 1], [1, 0]) == -1
    assert cohen_kappa([1, 1], [1, 1]) is None
    assert cohen_kappa([0, 0], [1, 1]) == 0
    assert cohen_kappa([], []) is None


def test_kappa_needs_two_ratings_of_each_item():
    with pytest.raises(ValueError, match="3 and 2"):
        cohen_kappa([1, 2, 3], [1, 2])


@given(LABELS)
def test_kappa_is_symmetric_blind_to_names_and_at_most_one(pairs):
    a, b = zip(*pairs, strict=True)
    kappa = cohen_kappa(a, b)
    assert kappa == cohen_kappa(b, a)
    assert kappa == cohen_kappa(["xyz"[i] for i in a], ["xyz"[i] for i in b])
    assert kappa is None or -1 <= kappa <= 1
    if kappa is not None:
        assert (kappa == 1) == (a == b)


# 2 (1 + 12 + 66) / 4096, 2 / 2^5, 2 (1 + 4) / 2^4; one toss is never uneven.
@pytest.mark.parametrize(
    ("b", "c", "p"),
    [(10, 2, 158 / 4096), (0, 5, 1 / 16), (3, 1, 10 / 16), (1, 0, 1), (4, 4, 1), (0, 0, 1), (0, 2000, 0.0)],
)
def test_mcnemar_worked_by_hand(b, c, p):
    assert mcnemar(b, c) == pytest.approx(p, abs=1e-15)
    assert mcnemar(c, b) == mcnemar(b, c)


@given(PAIRED)
def test_mcnemar_falls_as_the_split_grows_uneven(counts):
    b, c, _ = counts
    assert 0 <= mcnemar(b, c) <= 1
    assert mcnemar(max(b, c) + 1, max(0, min(b, c) - 1)) <= mcnemar(b, c)


@given(st.integers(1, 500))
def test_paired_interval_of_no_difference_in_closed_form(n):
    bound = Z95**2 / (n + Z95**2)
    assert paired_difference(0, 0, n) == pytest.approx((-bound, bound), abs=1e-12)


@given(PAIRED)
def test_paired_interval_agrees_with_the_test(counts):
    b, c, n = counts
    low, high = paired_difference(b, c, n)
    assert paired_difference(c, b, n) == pytest.approx((-high, -low), abs=1e-12)
    assert -1 <= low <= (b - c) / n <= high <= 1
    if abs((b - c) ** 2 - Z95**2 * (b + c)) > 1e-9:
        assert (low <= 0 <= high) == ((b - c) ** 2 <= Z95**2 * (b + c))


@pytest.mark.parametrize(("b", "c", "n"), [(12, 5, 60), (0, 3, 30), (20, 20, 40), (1, 0, 44)])
def test_paired_interval_ends_where_the_score_test_rejects(b, c, n):
    """The nuisance by brute force: P(only c) = q, P(only b) = q + d, likelihood maximal over q."""
    d = paired_difference(b, c, n)[1]

    def likelihood(q: float) -> float:
        logs = ((b, q + d), (c, q), (n - b - c, 1 - 2 * q - d))
        return sum(k * math.log(max(p, 1e-300)) for k, p in logs if k)

    low, high = 0.0, (1 - d) / 2
    for _ in range(200):
        a, z = low + (high - low) / 3, high - (high - low) / 3
        low, high = (a, high) if likelihood(a) < likelihood(z) else (low, z)
    score = (n * d - (b - c)) / math.sqrt(n * (2 * low + d * (1 - d)))
    assert score == pytest.approx(Z95, abs=1e-5)


def test_intervals_of_impossible_counts_are_refused():
    assert paired_difference(0, 0, 0) == (-1, 1)
    for call in (
        lambda: paired_difference(3, 3, 5),
        lambda: paired_difference(-1, 0, 5),
        lambda: mcnemar(-1, 2),
    ):
        with pytest.raises(ValueError, match="counts"):
            call()


def test_difference_known_values():
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 and 9/10 - 3/10.
    assert difference(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert difference(0, 0, 0, 0) == (-1, 1)


@given(PROPORTIONS, PROPORTIONS)
def test_difference_mirrors_and_holds_the_value(one, other):
    low, high = difference(*one, *other)
    assert difference(*other, *one) == pytest.approx((-high, -low), abs=1e-12)
    assert -1 <= low <= one[0] / one[1] - other[0] / other[1] <= high <= 1


def test_holm_worked_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni(p):
    corrected = holm(p)
    pairs = list(zip(p, corrected, strict=True))
    assert all(x <= y <= min(1, len(p) * x) + 1e-12 for x, y in pairs)
    assert all(y <= v for x, y in pairs for u, v in pairs if x < u)


def test_bootstrap_is_near_the_normal_interval():
    values = [0.0, 1.0] * 100
    interval = bootstrap(values, fmean)
    assert interval == bootstrap(values, fmean) != bootstrap(values, fmean, seed=1)
    assert interval == pytest.approx(mean_interval(values), abs=0.015)
    assert bootstrap([1.0], fmean) is None
