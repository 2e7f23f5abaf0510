"""Ratings and rewards: known values, an oracle in numpy, and what must hold of all of them."""

import math
import random
from itertools import combinations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.core.errors import ConfigError
from jurist.core.statistics import rank_reward
from jurist.deliberation.ratings import (
    Match,
    bradley_terry,
    elo,
    rrm_reward,
    standardised,
    win_rate,
)

CYCLE = [Match(0, 1, 1), Match(1, 2, 1), Match(2, 0, 1)]
METHODS = [win_rate, lambda n, m: bradley_terry(n, m).values, elo]
SHARES = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1)
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)


def ordered(n):
    """Everybody meets everybody, and the lower index wins."""
    return [Match(i, j, 1) for i, j in combinations(range(n), 2)]


def simulated(strengths, seed):
    """A round robin whose results are drawn from the strengths, in random seats and order."""
    generator = random.Random(seed)
    matches = []
    for pair in combinations(range(len(strengths)), 2):
        i, j = generator.sample(pair, 2)
        wins = generator.random() < 1 / (1 + math.exp(strengths[j] - strengths[i]))
        matches.append(Match(i, j, float(wins)))
    generator.shuffle(matches)
    return matches


def reversed_results(matches):
    return [Match(m.first, m.second, 1 - m.score) for m in matches]


@st.composite
def tournaments(draw, shares=SHARES):
    n = draw(st.integers(2, 9))
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] != p[1])
    played = draw(st.lists(st.tuples(pairs, shares), max_size=40))
    return n, [Match(i, j, s) for (i, j), s in played]


def oracle(n, matches, prior):
    """Mode and Laplace errors by damped Newton steps on whole matrices, one match at a time."""
    theta = np.zeros(n)
    for _ in range(2000):
        gradient, hessian = -theta / prior**2, np.eye(n) / prior**2
        for m in matches:
            side = np.zeros(n)
            side[m.first], side[m.second] = 1, -1
            p = 1 / (1 + np.exp(-side @ theta))
            gradient += (m.score - p) * side
            hessian += p * (1 - p) * np.outer(side, side)
        step = np.linalg.solve(hessian, gradient)
        reach = np.ptp(step)
        theta += step * (np.log1p(reach) / reach if reach > 0.1 else 1)
        if reach < 1e-12:
            break
    return theta, np.sqrt(np.diag(np.linalg.inv(hessian)))


# Matches


def test_a_match_goes_to_json_and_back():
    match = Match(0, 1, 0.25)
    assert msgspec.json.decode(msgspec.json.encode(match), type=Match) == match


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.01, 1.01, 4.0])
def test_a_score_that_is_no_share_is_refused(score):
    with pytest.raises(ConfigError, match="share from 0 to 1"):
        Match(0, 1, score)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (-1, 0), (0, -1)])
def test_a_match_needs_two_players(first, second):
    with pytest.raises(ConfigError, match=f"no match of {first} against {second}"):
        Match(first, second, 1)


def test_what_json_says_is_checked_too():
    with pytest.raises((ConfigError, msgspec.ValidationError), match="share from 0 to 1"):
        msgspec.json.decode(b'{"first":0,"second":1,"score":2.0}', type=Match)


@pytest.mark.parametrize("method", METHODS)
def test_bad_groups_are_refused(method):
    with pytest.raises(ConfigError, match="no ratings of 0 players"):
        method(0, [])
    with pytest.raises(ConfigError, match="no match of 0 against 2 among 2 players"):
        method(2, [Match(0, 2, 1)])


@pytest.mark.parametrize(("method", "even"), [*zip(METHODS, [0.5, 0.0, 1000.0], strict=True)])
def test_who_has_not_played_is_even(method, even):
    assert method(1, []) == (even,)
    assert method(3, iter([Match(0, 1, 1)]))[2] == even


@pytest.mark.parametrize("method", METHODS)
def test_an_ordered_group_is_ranked_as_it_is(method):
    for n in (2, 5, 8, 32):
        ratings = method(n, ordered(n))
        assert list(ratings) == sorted(ratings, reverse=True)
        assert len(set(ratings)) == n


# Win rate


def test_win_rate_known_values():
    matches = [Match(0, 1, 1), Match(0, 2, 0.5), Match(1, 0, 0.25)]
    assert win_rate(3, matches) == pytest.approx((0.75, 0.125, 0.5))
    assert win_rate(3, CYCLE) == (0.5, 0.5, 0.5)


def test_equal_records_of_soft_scores_are_equal_numbers():
    one = [Match(0, 2, 0.1), Match(0, 3, 0.2), Match(0, 4, 0.7)]
    other = [Match(1, 2, 0.7), Match(3, 1, 0.9), Match(4, 1, 0.8)]
    assert len(set(win_rate(5, one + other)[:2])) == 1


@given(tournaments(), st.randoms(use_true_random=False))
def test_win_rate_is_blind_to_order_and_mirrors_reversed_results(tournament, generator):
    n, matches = tournament
    shuffled = generator.sample(matches, len(matches))
    rates = win_rate(n, matches)
    assert win_rate(n, shuffled) == rates
    assert win_rate(n, reversed_results(matches)) == pytest.approx([1 - r for r in rates], abs=1e-11)


# Bradley-Terry


def test_bradley_terry_of_five_ordered_players():
    # The survey's measurement, rounded there to 1.39, .67, 0 and errors of about 1: N(0, 2) is a variance.
    narrow = bradley_terry(5, ordered(5), prior=math.sqrt(2))
    assert narrow.values == pytest.approx((1.392752, 0.667808, 0, -0.667808, -1.392752), abs=1e-6)
    assert narrow.errors == pytest.approx((1.046206, 0.990803, 0.974648, 0.990803, 1.046206), abs=1e-6)
    strengths = bradley_terry(5, ordered(5))
    assert strengths.values == pytest.approx((1.903782, 0.894552, 0, -0.894552, -1.903782), abs=1e-6)
    assert strengths.errors == pytest.approx((1.392702, 1.282508, 1.254121, 1.282508, 1.392702), abs=1e-6)


def test_bradley_terry_of_two_players_solves_its_equation():
    # At the mode the pull of the match equals that of the prior: 1 - sigmoid(2x) = x / prior².
    x, y = bradley_terry(2, [Match(0, 1, 1)], prior=2).values
    assert y == -x
    assert 1 / (1 + math.exp(2 * x)) == pytest.approx(x / 4, abs=1e-9)


def test_bradley_terry_of_a_bracket_follows_the_rounds():
    bracket = [Match(0, 1, 1), Match(2, 3, 1), Match(4, 5, 1), Match(6, 7, 1)]
    bracket += [Match(0, 2, 1), Match(4, 6, 1), Match(0, 4, 1)]
    v = bradley_terry(8, bracket).values
    # The champion, the other finalist, who lost to either; then the first round, by who beat them.
    order = [0, 4, 2, 6, 1, 5, 3, 7]
    assert sorted(range(8), key=lambda i: -v[i]) == order
    assert len(set(v)) == 8


def test_bradley_terry_of_apart_groups_and_of_nobody():
    strengths = bradley_terry(5, [Match(0, 1, 1), Match(2, 3, 0.5)], prior=3)
    assert strengths.values[2:] == (0, 0, 0)
    assert strengths.errors[4] == 3
    assert max(strengths.errors[:4]) < 3
    assert strengths.values[:2] == bradley_terry(2, [Match(0, 1, 1)], prior=3).values
    assert bradley_terry(2, [], prior=0.7).errors == (0.7, 0.7)


def test_bradley_terry_of_contradictions_is_even():
    for matches in (CYCLE, [Match(0, 1, 1), Match(0, 1, 0)], [Match(0, 1, 1), Match(1, 0, 1)]):
        strengths = bradley_terry(3, matches)
        assert strengths.values == (0, 0, 0)
        assert len(set(strengths.errors[:2])) == 1


def test_equal_records_of_a_round_robin_are_ties():
    for seed in range(50):
        matches = simulated([0.0] * 8, seed)
        rates, values = win_rate(8, matches), bradley_terry(8, matches).values
        assert [rates.index(r) for r in rates] == [values.index(v) for v in values]


def test_ties_and_soft_scores_are_fractional_wins():
    quarter = bradley_terry(2, [Match(0, 1, 0.25)] * 4)
    assert quarter == bradley_terry(2, [Match(0, 1, 1)] + [Match(1, 0, 1)] * 3)
    assert bradley_terry(2, [Match(0, 1, 0.5)] * 2) == bradley_terry(2, [Match(0, 1, 1), Match(0, 1, 0)])


@pytest.mark.parametrize("prior", [0.01, 0.5, 2.0, 10.0, 100.0])
def test_bradley_terry_agrees_with_the_oracle(prior):
    generator = random.Random(f"oracle {prior}")
    for kind in ("ordered", "soft", "lopsided") * 8:
        n = generator.randint(2, 10)
        matches = []
        for _ in range(generator.choice([1, 5, 30, 150])):
            i, j = generator.sample(range(n), 2)
            upset = generator.random() < 0.02 and kind == "lopsided"
            share = generator.choice([0.5, generator.random()]) if kind == "soft" else float((i < j) != upset)
            matches.append(Match(i, j, share))
        strengths = bradley_terry(n, matches, prior)
        theta, errors = oracle(n, matches, prior)
        assert strengths.values == pytest.approx(theta, abs=5e-9)
        assert strengths.errors == pytest.approx(errors, rel=1e-5)


def test_bradley_terry_beats_no_neighbour_of_its_mode():
    matches = simulated([1.0, 0.0, -1.0, 2.0], 3)

    def posterior(theta):
        logs = [
            -m.score * math.log1p(math.exp(theta[m.second] - theta[m.first]))
            - (1 - m.score) * math.log1p(math.exp(theta[m.first] - theta[m.second]))
            for m in matches
        ]
        return math.fsum(logs) - sum(t * t for t in theta) / 8

    mode = bradley_terry(4, matches).values
    generator = random.Random(1)
    for _ in range(200):
        assert posterior(mode) > posterior([t + generator.gauss(0, 0.01) for t in mode])


@given(tournaments(), st.randoms(use_true_random=False), st.sampled_from([0.1, 2.0, 30.0]))
def test_bradley_terry_is_blind_to_order_and_antisymmetric(tournament, generator, prior):
    n, matches = tournament
    strengths = bradley_terry(n, matches, prior)
    assert bradley_terry(n, generator.sample(matches, len(matches)), prior) == strengths
    mirrored = bradley_terry(n, reversed_results(matches), prior)
    assert mirrored.values == pytest.approx([-v for v in strengths.values], abs=1e-8)
    assert math.fsum(strengths.values) == pytest.approx(0, abs=1e-7)
    assert all(0 < e <= prior + 1e-9 for e in strengths.errors)


@given(tournaments(st.sampled_from([0.0, 0.5, 1.0])), st.randoms(use_true_random=False))
def test_bradley_terry_is_blind_to_names_and_seats(tournament, generator):
    n, matches = tournament
    names = generator.sample(range(n), n)
    renamed = [Match(names[m.second], names[m.first], 1 - m.score) for m in matches]
    values, moved = bradley_terry(n, matches).values, bradley_terry(n, renamed).values
    assert [moved[names[i]] for i in range(n)] == pytest.approx(values, abs=2e-9)


def test_strengths_that_were_planted_are_recovered():
    generator = random.Random(0)
    correlations = []
    for seed in range(100):
        planted = [generator.gauss(0, 2) for _ in range(12)]
        matches = [m for repeat in range(4) for m in simulated(planted, f"{seed} {repeat}")]
        found = bradley_terry(12, matches).values
        ranks = np.argsort(np.argsort([planted, found], axis=1), axis=1)
        correlations.append(np.corrcoef(ranks)[0, 1])
    assert np.mean(correlations) > 0.95
    assert min(correlations) > 0.7


def test_errors_cover_what_was_planted():
    generator, inside, total = random.Random(0), 0, 0
    for seed in range(300):
        planted = [generator.gauss(0, 2) for _ in range(8)]
        strengths = bradley_terry(8, simulated(planted, seed))
        for truth, value, error in zip(planted, strengths.values, strengths.errors, strict=True):
            inside += abs(truth - value) < 1.96 * error
            total += 1
    assert 0.93 < inside / total < 0.97


@pytest.mark.parametrize("prior", [0, -1, math.nan, math.inf, 1e9])
def test_a_prior_out_of_range_is_refused(prior):
    with pytest.raises(ConfigError, match="prior"):
        bradley_terry(2, [], prior)


# Elo


def test_elo_known_values():
    # evalica 0.3.2, elo() with its defaults, which is what RRM calls.
    three = elo(3, [Match(0, 1, 1), Match(1, 2, 1), Match(0, 2, 0.5)])
    assert three == pytest.approx((1001.976909, 1000.011513, 998.011578), abs=1e-6)
    eight = [1013.761, 1009.830, 1005.899, 1001.967, 998.035, 994.103, 990.169, 986.236]
    assert elo(8, ordered(8)) == pytest.approx(eight, abs=1e-3)


def test_elo_options():
    assert elo(2, [Match(0, 1, 1)], k=30) == (1015, 985)
    assert elo(2, [Match(0, 1, 1)], initial=0, k=2) == (1, -1)
    # Base e and scale 1: the expected score is the sigmoid of the gap.
    first, second = elo(2, [Match(0, 1, 1)] * 2, k=1, initial=0, scale=1, base=math.e)
    assert first == -second == pytest.approx(0.5 + 1 / (1 + math.e))
    assert elo(2, [Match(0, 1, 1)] * 2, k=1) == elo(2, [Match(0, 1, 1)], k=1, passes=2)
    assert elo(2, [Match(0, 1, 1)] * 9, k=1e6, scale=1e-6) == (501000, -499000)


@given(tournaments())
def test_elo_gives_what_it_takes_and_mirrors_reversed_results(tournament):
    n, matches = tournament
    ratings = elo(n, matches)
    assert math.fsum(ratings) == pytest.approx(1000 * n)
    assert elo(n, reversed_results(matches)) == pytest.approx([2000 - r for r in ratings])


@given(tournaments(), st.randoms(use_true_random=False), st.integers(1, 3))
def test_elo_with_a_seed_is_blind_to_the_given_order(tournament, generator, passes):
    n, matches = tournament
    shuffled = generator.sample(matches, len(matches))
    assert elo(n, shuffled, passes=passes, seed=7) == elo(n, matches, passes=passes, seed=7)


def test_elo_depends_on_order_and_seed():
    matches = simulated([0.0] * 6, 0)
    kept = list(matches)
    assert elo(6, matches) != elo(6, matches[::-1])
    assert len({elo(6, matches, seed=s) for s in range(10)}) > 5
    assert matches == kept


@pytest.mark.parametrize(
    "option",
    [{"k": 0}, {"k": math.nan}, {"initial": math.inf}, {"scale": -400}, {"base": 1}, {"passes": 0}],
)
def test_elo_options_out_of_range_are_refused(option):
    with pytest.raises(ConfigError, match=f"{next(iter(option))} .* is out of range"):
        elo(2, [Match(0, 1, 1)], **option)


# Rewards


def test_rrm_reward_known_values():
    rewards = rrm_reward(elo(8, ordered(8)))
    known = (0.5688, 0.5492, 0.5295, 0.5098, 0.4902, 0.4705, 0.4508, 0.4312)
    assert rewards == pytest.approx(known, abs=1e-4)
    assert rrm_reward([1000, 1100, 900]) == (0.5, 1, 0)


def test_standardised_known_values():
    assert standardised([1, 2, 3]) == pytest.approx((-math.sqrt(1.5), 0, math.sqrt(1.5)))
    assert standardised([5, 5]) == (0, 0)
    assert standardised([5]) == (0,)
    # Rounding alone is not a difference.
    assert standardised([0.1 + 0.2, 0.3]) == (0, 0)
    assert standardised([1e-30, 2e-30]) == (-1, 1)
    assert standardised([0.0, 3e-235]) == (-1, 1)
    assert standardised([0.0, 5e-324]) == (0, 0)


def test_rank_reward_known_values():
    assert rank_reward([3, 1, 2]) == (1, 0, 0.5)
    assert rank_reward([9, 9, 1]) == (0.75, 0.75, 0)
    assert rank_reward([4, 4, 4]) == (0.5, 0.5, 0.5)
    assert rank_reward([4]) == (0.5,)


@given(VALUES)
def test_standardised_has_mean_0_and_deviation_1_or_is_zero(values):
    rewards = standardised(values)
    assert math.fsum(rewards) == pytest.approx(0, abs=1e-3)
    if any(rewards):
        assert math.fsum(r * r for r in rewards) / len(rewards) == pytest.approx(1)
    else:
        assert max(values) == pytest.approx(min(values))


@given(VALUES)
def test_rank_reward_keeps_the_order_and_averages_to_a_half(values):
    rewards = rank_reward(values)
    assert math.fsum(rewards) / len(rewards) == pytest.approx(0.5)
    for (a, x), (b, y) in combinations(zip(values, rewards, strict=True), 2):
        assert (a > b) == (x > y)
        assert (a == b) == (x == y)


@pytest.mark.parametrize("reward", [rrm_reward, standardised, rank_reward])
def test_rewards_are_blind_to_order_and_refuse_what_is_no_group(reward):
    generator = random.Random(0)
    for _ in range(50):
        values = [generator.choice([0.1, 0.2, generator.random()]) for _ in range(9)]
        places = generator.sample(range(9), 9)
        assert reward([values[i] for i in places]) == tuple(reward(values)[i] for i in places)
    for bad in ([], [1.0, math.nan], [math.inf, 0.0]):
        with pytest.raises(ConfigError, match="no rewards from"):
            reward(bad)
