"""Intervals and agreement: known values, and what must hold of all of them."""

import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.statistics import Z95, cohen_kappa, macro_interval, mean_interval, wilson

PROPORTIONS = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
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
def test_wilson_narrows_with_more_items_and_rises_with_more_right(kn):
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
