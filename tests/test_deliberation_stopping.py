"""Votes that stop early: the same decision for fewer asks, whatever the order in which votes arrive."""

import asyncio
from contextlib import suppress
from fractions import Fraction
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make import A_WINS, B_WINS, case, prefers

from jurist.core.errors import ConfigError
from jurist.core.types import (
    Case,
    Completion,
    Decision,
    Deliberation,
    Judgment,
    Query,
    Sampling,
    Status,
    Verdict,
    winner,
)
from jurist.deliberation import spec, stopping
from jurist.deliberation.stopping import chance, confident, exact, likely, needed, soft
from jurist.deliberation.votes import swapped, vote
from jurist.engines.base import EngineBase, failed
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge
from jurist.protocols.rubrics import rubrics

LOST = Verdict(status=Status.UNPARSED)
pairs = st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.7, 0.3)]).map(Verdict)
ballots = st.lists(st.one_of(pairs, pairs, st.just(LOST)), min_size=1, max_size=17)
triples = st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 3).map(Verdict)
ballots3 = st.lists(st.one_of(triples, triples, st.just(LOST)), min_size=1, max_size=12)
MAKERS = {"exact": exact, "confident": confident, "soft": soft, "swapped": swapped, "vote": vote}


class Voters:
    """An ask that answers sample i with vote i, after a wait of ``delays[i]`` turns of the loop."""

    def __init__(self, votes: list[Verdict], delays: list[int] | None = None) -> None:
        self.votes, self.delays = votes, delays or [0] * len(votes)
        self.asked: list[int] = []
        self.returned: list[int] = []

    async def __call__(self, case: Case, order=None, sample=0, _among=None, **_) -> Judgment:
        self.asked.append(sample)
        for _ in range(self.delays[sample]):
            await asyncio.sleep(0)
        self.returned.append(sample)
        query = Query(case.id, order or (0, 1), sample, (), Sampling())
        return Judgment(query, Completion(), self.votes[sample])


def decided(deliberation: Deliberation, voters: Voters, responses: int = 2) -> Decision:
    return asyncio.run(deliberation(voters, case("1", *"abc"[:responses])))


def assert_same_decision(one: Decision, full: Decision) -> None:
    assert (one.verdict.scores is None) == (full.verdict.scores is None)
    assert one.verdict.status == full.verdict.status
    assert winner(one.verdict.scores) == winner(full.verdict.scores)


@given(ballots)
def test_exact_decides_as_the_full_vote_and_never_asks_more(votes: list[Verdict]):
    k, voters = len(votes), Voters(votes)
    early, full = decided(exact(k), voters), decided(vote(k), Voters(votes))
    assert_same_decision(early, full)
    assert len(voters.asked) <= k
    assert len(early.judgments) == len(voters.asked), "every vote asked was needed"


@given(ballots3)
def test_exact_decides_as_the_full_vote_among_three(votes: list[Verdict]):
    early, full = decided(exact(len(votes)), Voters(votes), 3), decided(vote(len(votes)), Voters(votes), 3)
    assert_same_decision(early, full)


@given(ballots, st.integers(0, 20), st.randoms(use_true_random=False))
def test_exact_decides_the_same_in_whatever_order_votes_arrive(
    votes: list[Verdict], parallel: int, random: Random
):
    k = len(votes)
    delays = [random.randrange(30) for _ in votes]
    late = decided(exact(k, parallel), Voters(votes, delays))
    assert_same_decision(late, decided(vote(k), Voters(votes)))
    assert [j.query.sample for j in late.judgments] == sorted(j.query.sample for j in late.judgments)


@given(ballots, st.sampled_from(["exact", "confident"]), st.randoms(use_true_random=False))
def test_asks_do_not_depend_on_the_order_of_arrival(votes, name: str, random: Random):
    delays = [random.randrange(30) for _ in votes]
    one, other = Voters(votes), Voters(votes, delays)
    assert decided(MAKERS[name](len(votes)), one) == decided(MAKERS[name](len(votes)), other)
    assert one.asked == other.asked


@given(ballots)
def test_swapping_the_responses_swaps_the_decision(votes: list[Verdict]):
    mirrored = [Verdict(v.scores and v.scores[::-1], v.status) for v in votes]
    for name in ("exact", "confident", "soft"):
        one, other = (decided(MAKERS[name](len(votes)), Voters(v)) for v in (votes, mirrored))
        assert other.verdict.scores == (one.verdict.scores and one.verdict.scores[::-1])
        assert len(one.judgments) == len(other.judgments)


@given(ballots)
def test_confident_never_asks_more_than_exact(votes: list[Verdict]):
    sure, safe = Voters(votes), Voters(votes)
    decided(confident(len(votes), 0.05), sure)
    decided(exact(len(votes)), safe)
    assert len(sure.asked) <= len(safe.asked)


@settings(max_examples=50)
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_the_fewest_votes_that_stop_are_for_the_leader(a: int, b: int, left: int):
    first, second = Fraction(max(a, b)), Fraction(min(a, b))
    for rule in (stopping.cannot_be_lost, likely(0.01)):
        if m := needed(rule, first, second, left):
            next_ = [needed(rule, first + 1, second, left - 1)]
            next_ += [needed(rule, *sorted((first, second + 1), reverse=True), left - 1)]
            next_ += [needed(rule, first, second, left - 1)]
            assert min(next_) == next_[0] == m - 1, "no vote brings the end nearer by more than one"


def test_chance_is_the_share_of_the_beta_binomial():
    # Simulated: a share from Beta(4.5, 1.5), 4 more votes, 4 : 1 ahead.
    random = Random(1)
    wins = 0
    for _ in range(20_000):
        p = random.betavariate(4.5, 1.5)
        more = sum(random.random() < p for _ in range(5))
        wins += 4 + more > 1 + 5 - more
    assert chance(Fraction(4), Fraction(1), 5) == pytest.approx(wins / 20_000, abs=0.006)
    assert chance(Fraction(9), Fraction(0), 7) == pytest.approx(1.0)
    assert chance(Fraction(0), Fraction(0), 1) == pytest.approx(0.5)


def _cast(rule: stopping.Rule, votes: list[bool]) -> tuple[int, bool]:
    """How many of the votes are cast, and whether the decision differs from that of all."""
    for cast in range(len(votes) + 1):
        ahead = 2 * sum(votes[:cast]) - cast
        first = Fraction(cast + abs(ahead), 2)
        if not needed(rule, first, cast - first, len(votes) - cast):
            return cast, (ahead > 0) - (ahead < 0) != (sum(votes) * 2 > len(votes)) - (
                sum(votes) * 2 < len(votes)
            )
    raise AssertionError


@pytest.mark.parametrize(
    ("a", "b", "most"),
    [
        (0.5, 0.5, 0.01),
        (0.6, 0.4, 0.01),
        (0.8, 0.2, 0.01),
        (0.9, 0.1, 0.01),
        (1, 1, 0.015),
        (1e6, 1e6, 0.038),
    ],
)
def test_confident_disagrees_as_often_as_it_states(a: float, b: float, most: float):
    # (1, 1) is harder than the prior, 1e6 is nothing but coin flips: outside of what the test promises.
    random, rule, n = Random(7), cache(likely(0.01)), 4000
    differ = saved = 0
    for _ in range(n):
        p = random.betavariate(a, b)
        cast, differs = _cast(rule, [random.random() < p for _ in range(16)])
        differ += differs
        saved += 16 - cast
    assert differ / n <= most
    if a <= 0.5:
        assert saved / (16 * n) > 0.5


@given(st.lists(st.booleans(), min_size=16, max_size=16))
def test_the_deliberation_casts_the_votes_that_its_rule_says(votes: list[bool]):
    voters = Voters([Verdict((1.0, 0.0) if v else (0.0, 1.0)) for v in votes])
    decided(confident(16), voters)
    assert len(voters.asked) == _cast(likely(0.01), votes)[0]


def test_a_unanimous_vote_of_16_ends_after_9_or_4():
    votes = [Verdict((1.0, 0.0))] * 16
    assert len(decided(exact(16), Voters(votes)).judgments) == 9
    assert len(decided(confident(16), Voters(votes)).judgments) == 4
    assert len(decided(confident(5), Voters(votes)).judgments) == 3


def test_ratings_have_no_lead_and_are_averaged():
    votes = [Verdict((float(i),)) for i in range(4)]
    decision = decided(exact(4), Voters(votes), 1)
    assert (decision.verdict.scores, len(decision.judgments)) == ((1.5,), 4)


def test_abstentions_leave_fewer_votes_to_lose_the_lead_to():
    votes = [LOST, Verdict((1.0, 0.0)), LOST, Verdict((1.0, 0.0)), LOST]
    voters = Voters(votes)
    decision = decided(exact(5), voters)
    assert (decision.verdict.scores, len(voters.asked)) == ((1.0, 0.0), 4)


def test_soft_averages_probabilities_and_alternates_positions():
    engine = ScriptedEngine(A_WINS)
    decision = asyncio.run(soft(4)(Judge(rubrics(), engine).ask, case()))
    assert sorted(q.order for q in engine.queries) == [(0, 1), (0, 1), (1, 0), (1, 0)]
    assert decision.verdict.scores == (0.5, 0.5)
    votes = [Verdict((0.9, 0.1)), LOST, Verdict((0.2, 0.8))]
    assert decided(soft(3), Voters(votes)).verdict.scores == pytest.approx((0.55, 0.45))
    assert decided(soft(2), Voters([LOST, LOST])).verdict.status is Status.UNPARSED


def test_early_votes_compose_with_both_orders():
    engine = prefers("good")
    judge = Judge(rubrics(), engine)
    decision = asyncio.run(spec.parse("swapped(exact(5))", MAKERS)(judge.ask, case()))
    assert sorted((q.order, q.sample) for q in engine.queries) == [
        (order, i) for order in ((0, 1), (1, 0)) for i in range(3)
    ]
    assert decision.verdict.scores == (1.0, 0.0)


class Slow(EngineBase):
    """Sample 0 to 2 answer at once, the others hang; counts what became of them."""

    def __init__(self) -> None:
        self.answered = self.cancelled = 0

    async def __call__(self, query: Query) -> Completion:
        try:
            await asyncio.sleep(0 if query.sample < 3 else 60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.answered += 1
        return Completion(A_WINS if query.order == (0, 1) else B_WINS)


async def test_votes_in_flight_are_cancelled():
    engine = Slow()
    decision = await asyncio.wait_for(exact(5, parallel=5)(Judge(rubrics(), engine).ask, case()), 5)
    assert decision.verdict.scores == (1.0, 0.0)
    assert (engine.answered, engine.cancelled) == (3, 2)
    assert len(decision.judgments) == 3


async def test_by_default_nothing_in_flight_is_ever_cancelled():
    engine = Slow()
    await exact(5)(Judge(rubrics(), engine).ask, case())
    assert (engine.answered, engine.cancelled) == (3, 0)


async def test_a_judgment_that_returns_when_cancelled_is_counted():
    async def ask(case: Case, _order=None, sample=0, _among=None, **_) -> Judgment:
        # The answer is already here when it is cancelled.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0 if sample < 3 else 60)
        return Judgment(Query(case.id, (0, 1), sample, (), Sampling()), Completion(), Verdict((1.0, 0.0)))

    decision = await exact(5, parallel=5)(ask, case())
    assert [j.query.sample for j in decision.judgments] == [0, 1, 2, 3, 4]


async def test_a_cancelled_vote_leaves_nothing_behind():
    engine = Slow()
    task = asyncio.create_task(exact(9)(Judge(rubrics(), engine).ask, case()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (engine.answered, engine.cancelled) == (3, 2)


async def test_an_error_of_an_ask_ends_the_others():
    engine = Slow()
    judge = Judge(rubrics(), engine)

    async def ask(case: Case, order=None, sample=0, among=None, **_) -> Judgment:
        if sample == 4:
            raise ConfigError("no")
        return await judge.ask(case, order, sample, among)

    with pytest.raises(ConfigError, match="no"):
        await exact(9)(ask, case())
    assert engine.answered + engine.cancelled == 4


async def test_all_failed_is_no_verdict():
    decision = await exact(5)(Judge(rubrics(), ScriptedEngine(lambda _: failed("down"))).ask, case())
    assert (decision.verdict.scores, decision.verdict.status) == (None, Status.FAILED)
    assert len(decision.judgments) == 5


@pytest.mark.parametrize(
    "text",
    [
        "exact(0)",
        "exact(2.5)",
        "exact(5, -1)",
        "confident(0)",
        "confident(5, 0)",
        "confident(5, 0.5)",
        "soft(0)",
    ],
)
def test_senseless_numbers_are_refused_at_the_door(text: str):
    with pytest.raises(ConfigError, match="hint"):
        spec.parse(text, MAKERS)
