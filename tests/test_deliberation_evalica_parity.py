"""Ratings against evalica's golden rankings (dustalov/evalica @2ebe79e), on three sets of real votes."""

import csv
from collections import Counter, defaultdict
from math import exp
from statistics import fmean
from typing import NamedTuple

import pytest
from shared import shared

from jurist.deliberation.ratings import Match, bradley_terry, elo, win_rate

SHARES = {"left": 1.0, "right": 0.0, "tie": 0.5}


class Votes(NamedTuple):
    """A set of votes: its players, its matches in the order of the file, golden scores by ranker."""

    players: list[str]
    matches: list[Match]
    golden: dict[str, dict[str, float]]

    def expected(self, ranker):
        return [self.golden[ranker][player] for player in self.players]


@pytest.fixture(scope="module", params=["simple", "food", "llmfao"])
def votes(request):
    with shared("evalica", f"{request.param}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    golden = defaultdict(dict)
    with shared("evalica", f"{request.param}-golden.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            golden[row["algorithm"]][row["item"]] = float(row["score"])
    players = list(golden["elo"])
    matches = [Match(players.index(r["left"]), players.index(r["right"]), SHARES[r["winner"]]) for r in rows]
    return Votes(players, matches, golden)


def ranking(players, scores):
    return sorted(players, key=lambda player: -scores[players.index(player)])


def shares(strengths):
    """Strengths in logits as evalica's Bradley-Terry states them: their exponentials, summing to 1."""
    total = sum(map(exp, strengths))
    return [exp(s) / total for s in strengths]


def test_the_large_set_is_whole():
    with shared("evalica", "llmfao.csv").open(newline="") as file:
        winners = Counter(row["winner"] for row in csv.DictReader(file))
    assert winners == {"left": 2911, "right": 2549, "tie": 3471}


def test_elo_is_the_same_formula(votes):
    ours, expected = elo(len(votes.players), votes.matches), votes.expected("elo")
    assert ours == pytest.approx(expected, rel=0, abs=1e-9)
    assert ranking(votes.players, ours) == ranking(votes.players, expected)


def test_win_rate_times_matches_is_the_count_of_wins(votes):
    played = Counter(p for m in votes.matches for p in (m.first, m.second))
    counted = [rate * played[p] for p, rate in enumerate(win_rate(len(votes.players), votes.matches))]
    assert counted == pytest.approx(votes.expected("counting"), rel=0, abs=1e-9)


def test_mean_win_rate_over_opponents_is_the_average_win_rate(votes):
    # Ours is over matches, evalica's over opponents, each weighing the same: ours, pair by pair.
    pairs = defaultdict(list)
    for m in votes.matches:
        a, b = sorted((m.first, m.second))
        pairs[a, b].append(Match(0, 1, m.score if a == m.first else 1 - m.score))
    rates = defaultdict(list)
    for (a, b), matches in pairs.items():
        for player, rate in zip((a, b), win_rate(2, matches), strict=True):
            rates[player].append(rate)
    ours = [fmean(rates[player]) for player in range(len(votes.players))]
    assert ours == pytest.approx(votes.expected("average_win_rate"), rel=0, abs=1e-9)


# evalica's Bradley-Terry has no prior. Reached: 1.5e-4, 3e-5, 3.2e-6 of the golden score at the widest prior.
def test_the_widest_prior_is_near_maximum_likelihood(votes):
    ours, expected = (
        shares(bradley_terry(len(votes.players), votes.matches, 100).values),
        votes.expected("bradley_terry"),
    )
    assert ours == pytest.approx(expected, rel=2e-4)
    assert ranking(votes.players, ours) == ranking(votes.players, expected)


def test_wider_priors_approach_maximum_likelihood(votes):
    # The prior pulls with 1 / prior²; two widths tell how far, and what is left goes with 1 / prior⁴.
    n = len(votes.players)
    wide, wider = (bradley_terry(n, votes.matches, prior).values for prior in (50, 100))
    limit = shares([b + (b - a) / 3 for a, b in zip(wide, wider, strict=True)])
    assert limit == pytest.approx(votes.expected("bradley_terry"), rel=1e-7)
