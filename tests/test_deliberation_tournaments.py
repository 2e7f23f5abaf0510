"""Tournaments: who meets whom, who wins, and what happens when matches fail."""

import asyncio
import json
from collections import Counter
from math import nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make import case
from referee import FAILED, Referee, by_rank, champions, favours, group, played
from shared import shared

from jurist.core.errors import ConfigError
from jurist.core.types import (
    Case,
    Compared,
    Completion,
    Deliberation,
    Judgment,
    Query,
    Sampling,
    Status,
    Verdict,
    winner,
)
from jurist.deliberation import spec
from jurist.deliberation.brackets import bracket, draw, everyone, neighbours, pair, ring, swiss_round
from jurist.deliberation.matches import on_pair, tournament
from jurist.deliberation.ratings import Match
from jurist.deliberation.stopping import exact
from jurist.deliberation.tournaments import (
    NUDGE,
    knockout,
    pivot,
    play_knockout,
    random_opponents,
    round_robin,
    standings,
    swiss,
)
from jurist.deliberation.votes import once, swapped, vote
from jurist.judging.judge import Judge
from jurist.protocols.rubrics import rubrics

FORMATS = {
    "knockout": knockout,
    "round_robin": round_robin,
    "random_opponents": random_opponents,
    "swiss": swiss,
    "pivot": pivot,
}
MAKERS = {**FORMATS, "once": once, "swapped": swapped, "vote": vote, "exact": exact}
every_format = pytest.mark.parametrize("name", FORMATS)


def knockout_along(entrants: list[int]) -> Deliberation:
    """A knockout whose bracket is given: neighbours meet, then their winners."""
    return tournament("knockout", lambda *about: play_knockout(*about, entrants), None)


# Pairings


@pytest.mark.parametrize("n", range(1, 34))
def test_a_bracket_has_one_round_of_byes_and_n_minus_1_matches(n: int):
    alive, matches, rounds = bracket(list(range(n))), 0, 0
    assert Counter(p for p in alive if p is not None) == Counter(range(n))
    while len(alive) > 1:
        meetings = neighbours(alive)
        assert all(meeting != (None, None) for meeting in meetings)
        assert rounds == 0 or None not in alive
        matches += sum(None not in meeting for meeting in meetings)
        alive = [a if a is not None else b for a, b in meetings]
        rounds += 1
    assert matches == n - 1
    assert rounds == (n - 1).bit_length()


@given(st.integers(1, 40), st.integers(0, 5), st.text(max_size=3))
def test_a_draw_is_a_function_of_players_seed_and_name(n: int, seed: int, name: str):
    assert draw(range(n), seed, name) == draw(reversed(range(n)), seed, name)
    assert sorted(draw(range(n), seed, name)) == list(range(n))


def test_draws_follow_from_seed_and_case_alone():
    assert len({tuple(draw(range(16), seed)) for seed in range(20)}) == 20
    assert len({tuple(draw(range(16), 0, str(name))) for name in range(20)}) == 20
    assert draw(range(8), 0, "case") == [4, 0, 6, 7, 1, 5, 2, 3]


@given(st.integers(2, 30), st.integers(1, 32), st.integers(0, 3))
def test_random_opponents_meet_k_others_once(n: int, k: int, seed: int):
    pairs = ring(draw(range(n), seed), k, seed)
    assert len(set(pairs)) == len(pairs)
    assert all(0 <= i < j < n for i, j in pairs)
    meetings = sorted(Counter(p for both in pairs for p in both).values())
    odd_one = n % 2 and k % 2 and k < n - 1
    assert meetings == [min(k, n - 1)] * (n - 1) + [min(k, n - 1) + bool(odd_one)]


def test_every_pair_of_random_opponents_is_as_likely():
    counts = Counter(p for seed in range(4000) for p in ring(draw(range(9), seed), 4, seed))
    assert len(counts) == 36
    assert all(abs(c - 2000) < 200 for c in counts.values())


@given(st.integers(1, 24), st.integers(1, 30), st.randoms(use_true_random=False))
def test_swiss_rounds_never_rematch_and_rest_in_turn(n: int, rounds: int, random: Random):
    met: set[tuple[int, int]] = set()
    rests: Counter[int] = Counter(dict.fromkeys(range(n), 0))
    for done in range(rounds):
        ranking = random.sample(range(n), n)
        pairs = swiss_round(ranking, met, {p for p in rests if rests[p]})
        players = [p for both in pairs for p in both]
        assert len(set(players)) == len(players)
        assert not set(pairs) & met
        met |= set(pairs)
        rests.update(set(range(n)) - set(players))
        if done < (n + 1) // 2 - 1:
            assert len(pairs) == n // 2, "a full round exists as long as few have met"
    if n % 2 and rounds <= (n + 1) // 2:
        assert max(rests.values()) <= 1 or rounds > n // 2


@pytest.mark.parametrize("n", [22, 23, 24, 40])
def test_a_ranking_that_never_changes_has_full_rounds_too(n: int):
    met: set[tuple[int, int]] = set()
    rested: set[int] = set()
    for _ in range((n + 1) // 2 - 1):
        pairs = swiss_round(list(range(n)), met, rested)
        assert len(pairs) == n // 2
        assert not set(pairs) & met
        met |= set(pairs)
        rested |= set(range(n)) - {p for both in pairs for p in both}


def test_a_long_swiss_ends_when_everyone_has_met():
    referee = Referee(min)
    played(swiss(50), referee, group(6))
    assert len(set(referee.asked)) == len(referee.asked) <= 15


# Champions


@given(st.integers(1, 33), st.integers(0, 1000))
def test_the_best_of_a_transitive_group_is_champion(n: int, seed: int):
    rule, best = by_rank(n, seed)
    for deliberation in (knockout(seed=seed), round_robin(), swiss(seed=seed), random_opponents(n)):
        assert winner(played(deliberation, Referee(rule), group(n)).verdict.scores) == best
    for deliberation in (random_opponents(4), pivot(seed=seed)):
        # Too few matches to tell it from the others who won all of theirs.
        scores = played(deliberation, Referee(rule), group(n)).verdict.scores
        assert scores[best] >= max(scores) - NUDGE


@pytest.mark.parametrize("n", range(1, 34))
def test_what_each_format_costs(n: int):
    rule, _ = by_rank(n, n)
    asked = {name: len(_meetings(maker(), rule, n)) for name, maker in FORMATS.items()}
    assert asked["knockout"] == asked["pivot"] == n - 1
    assert asked["round_robin"] == n * (n - 1) // 2
    assert asked["random_opponents"] == min(2 * n, n * (n - 1) // 2)
    assert asked["swiss"] <= max(0, (n - 1).bit_length() + 1) * (n // 2)


def _meetings(deliberation: Deliberation, rule, n: int) -> list[tuple[int, int]]:
    referee = Referee(rule)
    played(deliberation, referee, group(n))
    assert all(i != j for i, j in referee.asked)
    assert len(set(referee.asked)) == len(referee.asked)
    return referee.asked


@every_format
def test_one_response_wins_without_a_match_and_two_play_one(name: str):
    referee = Referee(max)
    decision = played(FORMATS[name](), referee, group(1))
    assert (decision.verdict.scores, decision.judgments, decision.agreement) == ((1.0,), (), None)
    decision = played(FORMATS[name](), referee, group(2))
    assert (decision.verdict.scores, referee.asked) == ((0.0, 1.0), [(0, 1)])
    assert decision.agreement == 1.0


@every_format
def test_a_round_runs_at_once(name: str):
    referee = Referee(max)
    played(FORMATS[name](), referee, group(8))
    assert (
        referee.widest
        == {"knockout": 4, "swiss": 4, "pivot": 7, "random_opponents": 16, "round_robin": 28}[name]
    )


def test_knockout_scores_are_rounds_survived():
    decision = played(knockout_along([0, 1, 2, 3]), Referee(min), group(4))
    assert decision.verdict.scores == (1.0, 0.0, 0.5, 0.0)


def test_the_same_seed_is_the_same_bracket_and_another_is_not():
    rule, _ = by_rank(16, 3)
    first, again = (_meetings(knockout(seed=5), rule, 16) for _ in range(2))
    assert first == again
    assert first != _meetings(knockout(seed=6), rule, 16)


@given(st.permutations(range(6)))
def test_the_order_of_the_responses_does_not_matter(order: list[int]):
    beats = lambda a, b: a if (b - a) % 6 in (1, 2) or (a == 0 and b == 3) else b
    scores = played(round_robin(), Referee(beats), group(6)).verdict.scores
    rule = lambda i, j: i if beats(*sorted((order[i], order[j]))) == order[i] else j
    moved = played(round_robin(), Referee(rule), group(6)).verdict.scores
    assert moved == tuple(scores[p] for p in order)


@every_format
def test_position_bias_alone_makes_no_champion(name: str):
    async def ask(judged: Case, order=None, sample=0, _among=None, **_) -> Judgment:
        verdict = Verdict((1.0, 0.0) if order[0] < order[1] else (0.0, 1.0))
        return Judgment(Query(judged.id, order, sample, (), Sampling()), Completion(), verdict)

    decision = asyncio.run(FORMATS[name](match=swapped())(ask, group(6)))
    if name != "knockout":
        assert decision.verdict.scores == (0.5,) * 6


# Ties


def test_a_cycle_is_a_tie_except_in_a_knockout():
    rule = lambda i, j: {(0, 1): 0, (1, 2): 1, (0, 2): 2}[i, j]
    assert played(round_robin(), Referee(rule), group(3)).verdict.scores == (0.5, 0.5, 0.5)
    assert winner(played(knockout(), Referee(rule), group(3)).verdict.scores) is not None


def test_ties_at_the_top_are_broken_in_order():
    # 0 and 1 win two of three each; 1 beat 0.
    rule = {(0, 1): 1, (0, 2): 0, (0, 3): 0, (1, 2): 2, (1, 3): 1, (2, 3): 3}
    scores = played(round_robin(), Referee(lambda i, j: rule[i, j]), group(4)).verdict.scores
    assert winner(scores) == 1
    assert scores[0] == pytest.approx(2 / 3 - NUDGE)
    # 0 and 1 drew; 0 beat the stronger of the other two.
    met = [
        Match(0, 1, 0.5),
        Match(0, 2, 1),
        Match(0, 3, 0.7),
        Match(1, 2, 0.7),
        Match(1, 3, 1),
        Match(2, 3, 1),
    ]
    assert winner(standings(4, range(4), met)) == 0


@given(st.integers(2, 7), st.data())
def test_the_champion_is_never_below_anyone(n: int, data):
    results = {both: data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])) for both in everyone(range(n))}
    scores = standings(n, range(n), [Match(i, j, s) for (i, j), s in results.items()])
    shuffled = standings(n, range(n), [Match(i, j, s) for (i, j), s in reversed(results.items())])
    assert scores == shuffled
    assert all(0 <= s <= 1 for s in scores)
    if n == 2 and results[0, 1] == 0.5:
        assert winner(scores) is None


def test_a_drawn_match_goes_to_the_better_record():
    half = Verdict((0.5, 0.5))
    narrow, clear = Verdict((0.6, 0.4)), Verdict((1.0, 0.0))
    rule = {(0, 1): narrow, (2, 3): clear, (0, 2): half}
    referee = Referee(lambda i, j: rule[i, j])
    assert winner(played(knockout_along([0, 1, 2, 3]), referee, group(4)).verdict.scores) == 2
    rule[2, 3] = narrow
    assert winner(played(knockout_along([0, 1, 2, 3]), referee, group(4)).verdict.scores) == 0
    assert winner(played(knockout_along([2, 3, 0, 1]), referee, group(4)).verdict.scores) == 2


def test_ratings_of_a_match_count_as_a_win_a_tie_or_a_defeat():
    rule = {(0, 1): Verdict((8.0, 3.0)), (0, 2): Verdict((4.0, 4.0)), (1, 2): Verdict((1.0, 9.0))}
    scores = played(round_robin(), Referee(lambda i, j: rule[i, j]), group(3)).verdict.scores
    assert scores == pytest.approx((0.75, 0.0, 0.75), abs=1e-5)


# Copies


@every_format
def test_identical_responses_share_one_judgment_and_score(name: str):
    judged = case("1", "x", "good", "x", "good", "y", gold=None)
    referee = Referee(lambda i, j: 1 if 1 in (i, j) else i)
    decision = played(FORMATS[name](), referee, judged)
    assert {p for both in referee.asked for p in both} <= {0, 1, 4}
    scores = decision.verdict.scores
    assert (scores[0], scores[1]) == (scores[2], scores[3])
    assert 1 in champions(decision)


@every_format
def test_a_group_of_one_text_needs_no_judge(name: str):
    referee = Referee(max)
    assert played(FORMATS[name](), referee, case("1", "x", "x", "x")).verdict.scores == (1.0, 1.0, 1.0)
    assert referee.asked == []


# Failures


@every_format
def test_matches_without_a_verdict_are_counted(name: str):
    rule, best = by_rank(8, 1)
    referee = Referee(lambda i, j: FAILED if (i + j) % 5 == 0 and best not in (i, j) else rule(i, j))
    decision = played(FORMATS[name](), referee, group(8))
    missing = sum(j.verdict.scores is None for j in decision.judgments)
    assert decision.verdict.scores[best] >= max(decision.verdict.scores) - NUDGE
    assert decision.verdict.status is Status.OK
    assert decision.verdict.note == (
        f"{missing} of {len(referee.asked)} matches without a verdict" if missing else ""
    )


@every_format
def test_when_all_matches_fail_there_is_no_verdict(name: str):
    decision = played(FORMATS[name](), Referee(lambda *_: FAILED), group(6))
    assert (decision.verdict.scores, decision.verdict.status) == (None, Status.FAILED)
    assert (decision.verdict.note, decision.agreement) == ("down", None)
    assert decision.judgments


def test_a_missing_match_is_half_for_both():
    rule = {(0, 1): 0, (0, 2): FAILED, (1, 2): 1}
    decision = played(round_robin(), Referee(lambda i, j: rule[i, j]), group(3))
    assert decision.verdict.scores == (0.75, 0.5, 0.25)
    assert decision.verdict.note == "1 of 3 matches without a verdict"
    assert decision.agreement == 1.0


def test_a_score_that_is_not_a_number_is_no_verdict():
    decision = played(round_robin(), Referee(lambda *_: Verdict((nan, 1.0))), group(3))
    assert (decision.verdict.scores, decision.verdict.status) == (None, Status.UNPARSED)


async def test_an_error_in_one_match_ends_the_tournament():
    def rule(i: int, j: int) -> int:
        if (i, j) == (1, 2):
            raise ConfigError("no")
        return i

    with pytest.raises(ConfigError, match="no"):
        await round_robin()(Referee(rule), group(4))


# Asks


async def test_a_match_is_asked_within_its_case():
    engine = favours("response 3")
    judge = Judge(rubrics(), engine)
    ask, both = on_pair(judge.ask, group(5), 3, 1)
    assert both.responses == ("response 1", "response 3")
    for order, shown in (((0, 1), (1, 3)), ((1, 0), (3, 1))):
        judgment = await ask(both, order, 2)
        assert (judgment.query.order, judgment.query.sample) == (shown, 2)
        assert judgment.verdict.scores == (0.0, 1.0)
    assert sorted((await ask(both)).query.order) == [1, 3]
    assert {(await ask(both, sample=i)).query.order for i in range(2)} == {(1, 3), (3, 1)}


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("knockout", 7),
        ("knockout(swapped)", 14),
        ("knockout(vote(3), seed=2)", 21),
        ("round_robin(swapped(vote(2)))", 112),
        ("random_opponents(2)", 8),
        ("random_opponents(2, swapped)", 16),
        ("swiss", 16),
        ("swiss(3, exact(3))", 33),
        ("pivot(seed=4)", 7),
    ],
)
async def test_tournaments_are_written_as_text_and_run_with_a_judge(text: str, asks: int):
    engine = favours("response 6")
    decision = await spec.parse(text, MAKERS)(Judge(rubrics(), engine).ask, group(8))
    assert winner(decision.verdict.scores) == 6 or text.startswith(("pivot", "random"))
    assert len(decision.judgments) == len(engine.queries) == asks
    assert len({q.key for q in engine.queries}) == asks


def test_a_costly_round_robin_wants_to_be_asked_for():
    with pytest.raises(ConfigError, match="499500 matches") as caught:
        played(round_robin(), Referee(min), group(1000))
    assert "round_robin(most=499500)" in caught.value.hint
    with pytest.raises(ConfigError):
        played(round_robin(most=2), Referee(min), group(3))


@pytest.mark.parametrize("text", ["random_opponents(0)", "random_opponents(1.5)", "swiss(-1)", "swiss(0.5)"])
def test_senseless_numbers_are_refused_at_the_door(text: str):
    with pytest.raises(ConfigError, match="hint"):
        spec.parse(text, MAKERS)


# Real matches


def test_rrm_7bs_recorded_knockouts_have_the_recorded_champions():
    folder = shared("rrm-votes")
    entrants = [p for both in json.loads((folder / "tournament.json").read_text())["round_1"] for p in both]
    won: dict[tuple[int, tuple[int, int]], int] = {}
    silent: set[tuple[int, tuple[int, int]]] = set()
    final: dict[int, int] = {}
    for name in ("first", "second", "third", "fourth", "fifth"):
        file = folder / f"7b_tournament_{name}_round_voting_results.json"
        for row in (row for rows in json.loads(file.read_text()).values() for row in rows):
            question = row["question_id"]
            won[question, pair(row["rival_1"], row["rival_2"])] = row["winner"]
            final[question] = row["winner"]
            if not row["pred"].startswith("Assistant"):
                silent.add((question, pair(row["rival_1"], row["rival_2"])))
    assert len(final) == 512
    assert len(won) == 512 * 31
    for question, champion in final.items():
        referee = Referee(lambda i, j, question=question: won[question, (i, j)])
        decision = played(knockout_along(entrants), referee, group(32, str(question)))
        assert winner(decision.verdict.scores) == champion
        assert len(decision.judgments) == 31
    # Their program drew lots in the two matches where the judge named nobody; above we replay what it
    # drew. By our rule 29 would have gone on instead of 20, into matches that nobody recorded.
    assert len(silent) == 2
    (question,) = {question for question, _ in silent}
    rule = lambda i, j: FAILED if (question, (i, j)) in silent else won.get((question, (i, j)), i)
    decision = played(knockout_along(entrants), Referee(rule), group(32, str(question)))
    assert decision.verdict.note == "2 of 31 matches without a verdict"


# What a deliberation says of itself, and of its comparisons


@pytest.mark.parametrize(
    ("text", "takes", "names"),
    [
        ("once", None, {"once"}),
        ("swapped(vote(5))", None, {"swapped", "vote"}),
        ("knockout(swapped)", 0, {"knockout", "swapped", "once"}),
        ("swapped | round_robin(vote(3))", 0, {"either", "swapped", "once", "round_robin", "vote"}),
        ("swapped(knockout)", 0, {"swapped", "knockout", "once"}),
    ],
)
def test_a_deliberation_says_what_it_takes_and_is_made_of(text: str, takes: int | None, names: set[str]):
    deliberation = spec.parse(text, MAKERS)
    assert (deliberation.takes, deliberation.names) == (takes, names)
    assert deliberation.of(2).name == text.partition("(")[0].partition(" ")[0]
    assert deliberation.of(3).name == text.rpartition("| ")[2].partition("(")[0]


@every_format
def test_an_observer_sees_each_match_as_it_ends(name: str):
    seen: list[Compared] = []
    referee = Referee(lambda i, j: Verdict((nan, 0.0)) if (i, j) == (0, 1) else max(i, j))
    decision = asyncio.run(FORMATS[name]()(referee, group(6), seen.append))
    assert sorted(compared.responses for compared in seen) == sorted(referee.asked)
    assert sum(len(compared.judgments) for compared in seen) == len(decision.judgments)
    for compared in seen:
        assert compared.verdict.scores == (None if compared.responses == (0, 1) else (0.0, 1.0))


def test_an_observer_is_handed_through_and_stops_at_the_match():
    seen: list[Compared] = []
    deliberation = spec.parse("once | swapped(knockout(swapped))", MAKERS)
    decision = asyncio.run(deliberation(Referee(max), group(4), seen.append))
    assert len(seen) == 6  # 3 matches in both orders of the case, none of their two asks
    assert all(len(compared.judgments) == 2 for compared in seen)
    assert champions(decision) == [3]
