"""Adaptive pairing: its pick, its budget, and that it stops only when the pick is round robin's."""

from itertools import combinations, product
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referee import FAILED, Referee, by_rank, champions, favours, group, played

from jurist.core.errors import ConfigError
from jurist.core.types import Case, Decision, Deliberation, Status, Verdict, winner
from jurist.deliberation import spec
from jurist.deliberation.adaptive import adaptive, chances, projection, settled, shares
from jurist.deliberation.ratings import Match
from jurist.deliberation.tournaments import round_robin, standings
from jurist.deliberation.votes import swapped
from jurist.judging.judge import Judge
from jurist.protocols.rubrics import rubrics

RESULTS = [Verdict((1.0, 0.0)), Verdict((0.0, 1.0)), Verdict((0.5, 0.5)), Verdict((0.7, 0.3)), FAILED]


class Rounds(Referee):
    """A referee that counts rounds: matches that are in flight together."""

    rounds = 0

    async def __call__(self, case: Case, order=None, sample=0, among=None, **_):
        self.rounds += not self.flying
        return await super().__call__(case, order, sample, among)


def judged(deliberation: Deliberation, rule, n: int) -> tuple[Decision, Rounds]:
    referee = Rounds(rule)
    return played(deliberation, referee, group(n)), referee


def logistic(n: int, spread: float, seed: int):
    """The rule of a noisy judge, each match decided once; n strengths with this standard deviation."""
    random = Random(seed)
    strength = [random.gauss(0, spread) for _ in range(n)]
    beats = lambda i, j: random.random() < 1 / (1 + exp(strength[j] - strength[i]))
    won = {(i, j): i if beats(i, j) else j for i, j in combinations(range(n), 2)}
    return lambda i, j: won[i, j]


def tables(n: int):
    """Any outcome of all matches of n players."""
    pairs = list(combinations(range(n), 2))
    outcomes = st.lists(st.sampled_from(RESULTS), min_size=len(pairs), max_size=len(pairs))
    return outcomes.map(lambda results: dict(zip(pairs, results, strict=True)))


fields = st.integers(2, 9).flatmap(lambda n: st.tuples(st.just(n), tables(n)))


# The pick


@given(st.integers(1, 20), st.integers(0, 1000))
def test_the_best_of_a_transitive_group_is_champion(n: int, seed: int):
    rule, best = by_rank(n, seed)
    decision, referee = judged(adaptive(seed=seed), rule, n)
    assert winner(decision.verdict.scores) == best
    assert len(referee.asked) <= 2 * n
    most = n * (n - 1) // 2
    early = 0 < len(referee.asked) < most
    assert decision.verdict.note == (f"settled after {len(referee.asked)} of {most} matches" if early else "")


@given(fields, st.integers(0, 40), st.integers(0, 3))
def test_no_pair_meets_twice_and_the_budget_holds(field, extra: int, seed: int):
    n, table = field
    decision, referee = judged(adaptive(n - 1 + extra, seed=seed), lambda i, j: table[i, j], n)
    assert all(0 <= i < j < n for i, j in referee.asked)
    assert len(set(referee.asked)) == len(referee.asked) <= n - 1 + extra
    if decision.verdict.scores:
        assert all(0 <= score <= 1 for score in decision.verdict.scores)
    if "settled" in decision.verdict.note:
        full, _ = judged(round_robin(), lambda i, j: table[i, j], n)
        assert champions(decision) == champions(full)


@given(fields, st.integers(0, 3))
def test_a_budget_for_everyone_gives_the_pick_of_round_robin(field, seed: int):
    n, table = field
    full, _ = judged(round_robin(), lambda i, j: table[i, j], n)
    decision, referee = judged(adaptive(n * (n - 1) // 2 + 5, seed=seed), lambda i, j: table[i, j], n)
    assert champions(decision) == champions(full)
    if len(referee.asked) == n * (n - 1) // 2:
        assert decision.verdict.scores == full.verdict.scores


@settings(max_examples=50)
@given(tables(4), st.sets(st.sampled_from(list(combinations(range(4), 2))), min_size=3))
def test_what_is_settled_no_result_can_change(table, known: set[tuple[int, int]]):
    got = [Match(*both, (table[both].scores or (0.5,))[0]) for both in sorted(known)]
    rest = [both for both in combinations(range(4), 2) if both not in known]
    ends = [
        standings(4, range(4), got + [Match(*both, score) for both, score in zip(rest, scores, strict=True)])
        for scores in product((0.0, 0.5, 1.0), repeat=len(rest))
    ]
    first, firsts = settled(range(4), shares(got)), {winner(scores) for scores in ends}
    narrow = any(sorted(scores)[-1] - sorted(scores)[-2] < 0.01 for scores in ends)
    assert firsts == {first} if first is not None else narrow or len(firsts) > 1


def test_a_third_of_the_matches_finds_95_percent_of_the_picks():
    same = 0
    for seed in range(60):
        rule = logistic(16, 2, seed)
        decision, referee = judged(adaptive(), rule, 16)
        assert len(referee.asked) <= 40
        same += champions(decision)[0] in champions(judged(round_robin(), rule, 16)[0])
    assert same >= 57


# What the pick rests on


def test_chances_of_a_group_of_three_by_hand():
    # 0 beat 1, 2 beat 1; 0 against 2 is open. Scores are taken as independent: each ends with 1 or 2.
    got = shares([Match(0, 1, 1), Match(1, 2, 0)])
    found = chances(range(3), got, {(0, 2): 0.7, (2, 0): 0.3})
    # Level with 2, 0 is ahead with 0.05 + 0.9 * 0.7 = 0.68; 2 with 0.32.
    assert found[0] == pytest.approx(0.7 * (0.7 + 0.3 * 0.68) + 0.3 * 0.7 * 0.68)
    assert found[2] == pytest.approx(0.3 * (0.3 + 0.7 * 0.32) + 0.7 * 0.3 * 0.32)
    assert found[1] == 0
    assert sum(found.values()) == pytest.approx(1)


def test_scores_that_are_shares_are_never_level_by_accident():
    got = shares([Match(0, 1, 0.7), Match(0, 2, 0.6), Match(1, 2, 0.9)])
    assert chances(range(3), got, {}) == {0: 1.0, 1: 0.0, 2: 0.0}
    assert settled(range(3), got) == 0
    assert settled(range(3), shares([Match(0, 1, 0.7), Match(0, 2, 0.6)])) is None


@pytest.mark.parametrize(
    ("results", "first"),
    [
        ([(0, 1, 1), (0, 2, 1)], 0),
        ([(0, 1, 1), (1, 2, 1)], None),
        ([(0, 1, 1), (0, 2, 0), (1, 2, 1)], None),
        # 0 and 3 have two wins each; 3 beat 0.
        ([(0, 1, 1), (0, 2, 1), (0, 3, 0), (1, 2, 1), (1, 3, 0), (2, 3, 1)], 3),
        # 0 has two of three, 1 can draw level, and lost to 0.
        ([(0, 1, 1), (0, 2, 1), (0, 3, 0), (2, 3, 1), (1, 3, 1)], 0),
        ([(0, 1, 0.9), (0, 2, 1), (0, 3, 0.1), (2, 3, 1), (1, 3, 1)], None),
    ],
)
def test_who_is_settled(results: list[tuple[int, int, float]], first: int | None):
    n = max(j for _, j, _ in results) + 1
    assert settled(range(n), shares([Match(*result) for result in results])) == first


def test_a_projection_counts_what_is_expected_of_the_unplayed():
    scores = projection(3, range(3), [Match(0, 1, 1)])
    assert scores[0] > scores[2] > scores[1]
    assert sum(scores) == pytest.approx(1.5)
    assert projection(3, [0, 1, 2], [Match(0, 1, 1), Match(0, 2, 0), Match(1, 2, 1)]) == (0.5, 0.5, 0.5)


# Cost


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0, 4))
def test_sixteen_take_at_most_ten_rounds(seed: int, spread: float):
    _, referee = judged(adaptive(), logistic(16, spread, seed), 16)
    assert referee.rounds <= 10
    assert len(referee.asked) <= 40


@pytest.mark.parametrize(("n", "most"), [(1, 0), (2, 1), (3, 3), (4, 5), (8, 15), (16, 40), (32, 100)])
def test_what_it_costs_without_a_budget(n: int, most: int):
    # All is drawn, so that nothing is ever settled.
    decision, referee = judged(adaptive(), lambda *_: Verdict((0.5, 0.5)), n)
    assert len(referee.asked) == most
    assert len(decision.verdict.scores or ()) == n


def test_the_same_seed_is_the_same_pairs_and_another_is_not():
    asked = [judged(adaptive(seed=seed), logistic(16, 1, 5), 16)[1].asked for seed in (0, 0, 1)]
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize("text", ["adaptive(-1)", "adaptive(1.5)"])
def test_senseless_budgets_are_refused_at_the_door(text: str):
    with pytest.raises(ConfigError, match="number of matches"):
        spec.parse(text, {"adaptive": adaptive})


def test_a_budget_below_a_knockout_is_refused_with_the_case():
    with pytest.raises(
        ConfigError, match=r"adaptive\(14\) cannot compare 16 responses \(case '1'\)"
    ) as caught:
        judged(adaptive(14), min, 16)
    assert "15 matches" in caught.value.hint
    assert "takes 40" in caught.value.hint
    judged(adaptive(15), min, 16)


# Few, same, none


def test_one_two_and_three_responses():
    assert judged(adaptive(), max, 1)[0].verdict.scores == (1.0,)
    decision, referee = judged(adaptive(), max, 2)
    assert (decision.verdict.scores, decision.verdict.note, referee.asked) == ((0.0, 1.0), "", [(0, 1)])
    cycle = {(0, 1): 0, (1, 2): 1, (0, 2): 2}
    assert judged(adaptive(), lambda i, j: cycle[i, j], 3)[0].verdict.scores == (0.5, 0.5, 0.5)


def test_identical_responses_share_one_judgment_and_score():
    referee = Referee(lambda i, j: max(i, j, key=lambda p: p % 4))
    texts = tuple(f"response {i % 4}" for i in range(8))
    decision = played(adaptive(), referee, Case("1", group(1).prompt, texts))
    assert {p for both in referee.asked for p in both} == {0, 1, 2, 3}
    assert champions(decision) == [3, 7]
    assert decision.verdict.scores[:4] == decision.verdict.scores[4:]


def test_matches_without_a_verdict_are_half_for_both_and_counted():
    rule, best = by_rank(12, 1)
    fails = lambda i, j: (i + j) % 3 == 0 and best not in (i, j)
    decision, referee = judged(adaptive(), lambda i, j: FAILED if fails(i, j) else rule(i, j), 12)
    missing = sum(fails(*both) for both in referee.asked)
    assert winner(decision.verdict.scores) == best
    asked = len(referee.asked)
    assert decision.verdict.note == (
        f"{missing} of {asked} matches without a verdict; settled after {asked} of 66 matches"
    )
    assert missing


def test_when_all_matches_fail_there_is_no_verdict():
    decision, referee = judged(adaptive(), lambda *_: FAILED, 6)
    assert (decision.verdict.scores, decision.verdict.status) == (None, Status.FAILED)
    assert (decision.verdict.note, len(referee.asked)) == ("down", 10)


async def test_it_runs_with_a_judge_in_both_orders():
    makers = {"adaptive": adaptive, "swapped": swapped}
    engine = favours("response 6")
    decision = await spec.parse("adaptive(20, swapped)", makers)(Judge(rubrics(), engine).ask, group(8))
    assert winner(decision.verdict.scores) == 6
    assert len({q.key for q in engine.queries}) == len(decision.judgments) <= 40
    assert {q.order for q in engine.queries} == {q.order[::-1] for q in engine.queries}
