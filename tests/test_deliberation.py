"""Votes and orders: what they decide, and that they do not depend on what they must not depend on."""

import pytest
from hypothesis import given as given_
from hypothesis import strategies as st
from make import A_WINS, B_WINS, case, prefers

from jurist.core.errors import ConfigError, JuristError, UnknownNameError
from jurist.core.types import Completion, Query, Status, Verdict
from jurist.deliberation.combine import majority, mean
from jurist.engines.base import failed
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge
from jurist.judging.registry import deliberation
from jurist.protocols.rubrics import rubrics

scores = st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.7, 0.3)])
verdicts = st.lists(
    st.one_of(scores.map(Verdict), st.just(Verdict(status=Status.UNPARSED))), min_size=1, max_size=9
)


async def test_once_uses_a_seeded_order():
    engine = ScriptedEngine(A_WINS)
    orders = set()
    for i in range(20):
        await deliberation("once")(Judge(rubrics(), engine).ask, case(str(i)))
        orders.add(engine.queries[-1].order)
    assert orders == {(0, 1), (1, 0)}


async def test_given_keeps_the_order_of_the_case():
    engine = ScriptedEngine(A_WINS)
    decision = await deliberation("given")(Judge(rubrics(), engine).ask, case())
    assert engine.queries[0].order == (0, 1)
    assert decision.verdict.scores == (1.0, 0.0)


async def test_a_judge_that_always_says_a_ties_when_swapped():
    decision = await deliberation("swapped")(Judge(rubrics(), ScriptedEngine(A_WINS)).ask, case())
    assert decision.verdict.scores == (0.5, 0.5)
    assert decision.agreement == 0.0


async def test_swapped_votes_ask_k_in_each_order():
    engine = prefers("good")
    decision = await deliberation("swapped(vote(5))")(Judge(rubrics(), engine).ask, case())
    assert sorted((q.order, q.sample) for q in engine.queries) == sorted(
        (order, i) for order in ((0, 1), (1, 0)) for i in range(5)
    )
    assert decision.verdict.scores == (1.0, 0.0)
    assert decision.agreement == 1.0
    assert decision.usage.completion_tokens == 50


async def test_an_order_without_a_verdict_is_left_out():
    def script(query: Query) -> Completion:
        return Completion(A_WINS) if query.order == (0, 1) else failed("down")

    decision = await deliberation("swapped")(Judge(rubrics(), ScriptedEngine(script)).ask, case())
    assert decision.verdict.scores == (1.0, 0.0)
    assert [j.verdict.status for j in decision.judgments] == [Status.OK, Status.FAILED]


async def test_no_vote_no_verdict():
    decision = await deliberation("vote(3)")(Judge(rubrics(), ScriptedEngine("hm")).ask, case())
    assert (decision.verdict.scores, decision.verdict.status) == (None, Status.UNPARSED)
    assert decision.agreement is None


async def test_an_even_split_is_a_tie():
    def script(query: Query) -> Completion:
        return Completion(A_WINS if query.sample < 2 else B_WINS)

    decision = await deliberation("swapped(vote(4))")(Judge(rubrics(), ScriptedEngine(script)).ask, case())
    assert decision.verdict.scores == (0.5, 0.5)


@given_(verdicts, st.randoms())
def test_voters_are_blind_to_the_order_of_votes(votes: list[Verdict], random):
    shuffled = list(votes)
    random.shuffle(shuffled)
    for combine in (majority, mean):
        one, other = combine(votes), combine(shuffled)
        assert one.status == other.status
        assert one.scores == pytest.approx(other.scores) if one.scores else other.scores is None


@given_(verdicts)
def test_swapping_the_responses_swaps_the_shares(votes: list[Verdict]):
    mirrored = [Verdict(v.scores and v.scores[::-1], v.status) for v in votes]
    one, other = majority(votes), majority(mirrored)
    assert other.scores == (one.scores and one.scores[::-1])


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("vote(0)", ConfigError, "asks nothing"),
        ("vote(-3)", JuristError, "asks nothing"),
        ("swaped", UnknownNameError, "swapped"),
        ("vote(", ConfigError, "cannot read"),
        ("__import__('os')", JuristError, "deliberation"),
        ("5", ConfigError, "not a deliberation"),
        ("vote(5, 6)", ConfigError, "vote"),
        ("swapped(3)", ConfigError, "cannot take 3"),
        ("vote(once)", ConfigError, "cannot take"),
        ("vote(True)", ConfigError, "cannot read"),
    ],
)
def test_bad_deliberations_are_refused(text: str, error: type[Exception], words: str):
    with pytest.raises(error) as caught:
        deliberation(text)
    assert words in str(caught.value)


async def test_both_orders_of_a_tournament_are_orders_of_its_matches():
    many = case("many", "x", "good", "bad", gold=None)
    decision = await deliberation("swapped(round_robin)")(Judge(rubrics(), prefers("good")).ask, many)
    assert len(decision.judgments) == 6
    assert {j.query.order for j in decision.judgments if sorted(j.query.order) == [0, 1]} == {(0, 1), (1, 0)}
    assert decision.verdict.scores is not None
    assert max(decision.verdict.scores) == decision.verdict.scores[1]
