"""Judges of one or two responses where another number is to be judged, and rankings in one call."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make import B_WINS, case, decide, prefers

from jurist.core.errors import ConfigError, ProtocolError
from jurist.core.types import Case, Completion, Message, Status
from jurist.deliberation.tournaments import knockout, round_robin
from jurist.deliberation.views import anchored, each, teams
from jurist.deliberation.votes import once, swapped, vote
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge
from jurist.protocols.listwise import listwise, parse_ranking
from jurist.protocols.pointwise import pointwise
from jurist.protocols.rubrics import rubrics


def rater(**ratings):
    """An engine that rates the word it finds; what it does not know gets no rating."""

    def script(query):
        reply = query.messages[-1].content.split("[Reply]")[-1]
        found = [n for word, n in ratings.items() if word in reply]
        return Completion(f"<rating>{found[0]}</rating>" if found else "who knows")

    return Judge(pointwise(), ScriptedEngine(script))


def test_each_response_is_rated_alone_and_identical_ones_once():
    decision = decide(rater(apple=7, pear=4), each(), case("1", "apple", "pear", "apple", gold=None))
    assert decision.verdict.scores == (7, 4, 7)
    assert decision.agreement is None
    assert [j.query.order for j in decision.judgments] == [(0,), (1,)]


def test_each_composes_with_votes_and_serves_a_single_response():
    assert len(decide(rater(apple=7, pear=4), each(vote(3)), case("1", "apple", "pear")).judgments) == 6
    assert decide(rater(apple=7), each(), case("1", "apple", gold=None)).verdict.scores == (7,)


def test_a_response_without_a_rating_leaves_the_case_open():
    decision = decide(rater(apple=7), each(), case("1", "apple", "plum"))
    assert decision.verdict.scores is None
    assert decision.verdict.status is Status.UNPARSED
    assert decision.verdict.note.startswith("1 of 2 responses without a rating")


def test_responses_of_one_final_answer_play_as_one():
    texts = ("so #### 7", "hence #### 8", "clearly #### 7.0", "good: no answer", "no answer")
    judge = Judge(rubrics(), prefers("hence"))
    decision = decide(judge, teams(round_robin(swapped())), case("1", *texts, gold=None))
    assert decision.verdict.scores[0] == decision.verdict.scores[2]
    assert max(decision.verdict.scores) == decision.verdict.scores[1]
    assert {i for j in decision.judgments for i in j.query.order} == {0, 1, 3, 4}
    one = decide(judge, teams(knockout()), case("1", "#### 7", "A: 7", gold=None))
    assert (one.verdict.scores, one.judgments) == ((1.0, 1.0), ())


def anchors(*texts):
    return Case("1", (Message("user", "q"),), ("good",), anchors=texts)


@pytest.mark.parametrize(("n", "best", "mean"), [(1, "good", 0.75), (4, "good", 0.9), (4, "weak", 0.1)])
def test_a_response_against_its_anchors(n, best, mean):
    decision = decide(Judge(rubrics(), prefers(best)), anchored(), anchors(*[f"weak {i}" for i in range(n)]))
    assert decision.verdict.scores == pytest.approx((mean,))
    assert decision.verdict.errors == pytest.approx((math.sqrt(mean * (1 - mean) / (n + 2)),))
    assert len(decision.judgments) == 2 * n


def test_more_anchors_make_the_error_smaller():
    judge = Judge(rubrics(), ScriptedEngine(B_WINS))  # position alone decides: every match is a tie
    errors = [
        decide(judge, anchored(), anchors(*map(str, range(n)))).verdict.errors[0] for n in (1, 4, 16, 64)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.07


def test_anchors_without_a_verdict_are_left_out_and_told():
    judge = Judge(rubrics(), ScriptedEngine("nothing"))
    assert decide(judge, anchored(), anchors("a", "b")).verdict.status is Status.UNPARSED
    with pytest.raises(ConfigError, match="0 anchors"):
        decide(judge, anchored(), anchors())


# ---- listwise ----


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("<ranking>B > A</ranking>", (0, 1)),
        ("<ranking>[[C]] > **A** = B</ranking>", (0.25, 0.25, 1)),
        ("<ranking>A>B</ranking> no: <ranking>b > a</ranking>", (0, 1)),
        ("<ranking>A = B = C</ranking>", (0.5, 0.5, 0.5)),
        ("<think><ranking>A > B</ranking></think><ranking>B > A</ranking>", (0, 1)),
        ("<ranking>A > C</ranking>", None),
        ("<ranking>A > A</ranking>", None),
        ("<ranking>A</ranking>", None),
        ("<ranking>A is best</ranking>", None),
        ("<ranking>A > B", None),
        ("A > B", None),
    ],
)
def test_rankings_are_read(text, scores):
    verdict = parse_ranking(Completion(text))
    assert verdict.scores == scores
    assert (verdict.status is Status.OK) == (scores is not None)


@given(st.permutations("ABCDE"))
def test_every_ranking_says_what_it_says(letters):
    scores = parse_ranking(Completion(f"<ranking>{' > '.join(letters)}</ranking>")).scores
    assert [letters[i] for i in sorted(range(5), key=lambda i: -scores["ABCDE".index(letters[i])])] == [
        *letters
    ]


def test_a_ranking_is_mapped_back_to_the_case():
    judge = Judge(listwise(), ScriptedEngine("<ranking>C > B > A</ranking>"))
    three = case("1", "x", "y", "z", gold=None)
    assert asyncio.run(judge.ask(three, (2, 0, 1))).verdict.scores == (0.5, 1.0, 0.0)
    assert decide(judge, swapped(), three).verdict.scores == (0.5, 0.5, 0.5)
    four = asyncio.run(judge.ask(case("1", "w", "x", "y", "z", gold=None)))
    assert (four.verdict.status, four.verdict.note) == (Status.UNPARSED, "a verdict on 3 of 4 responses")


def test_listwise_serves_pairs_in_tournaments():
    judge = Judge(listwise(), ScriptedEngine("<ranking>A > B</ranking>"))
    assert decide(judge, knockout(once()), case("1", "x", "y", "z", gold=None)).verdict.scores
    with pytest.raises(ProtocolError, match="up to 26"):
        asyncio.run(judge.ask(case("1", *map(str, range(27)), gold=None)))
    with pytest.raises(ProtocolError, match="judges two or more"):
        asyncio.run(judge.ask(case("1", "only", gold=None)))


def test_a_forced_ranking_is_the_chance_to_be_first():
    def script(query):
        if query.choices:
            assert query.choices == ("A", "B", "C")
            assert query.prefill.endswith("<ranking>")
            return Completion("B", logprobs={"A": math.log(0.2), "B": math.log(0.5), "C": math.log(0.3)})
        return Completion("hm")

    judge = Judge(listwise(), ScriptedEngine(script), forced="always")
    scores = asyncio.run(judge.ask(case("1", "x", "y", "z", gold=None), (0, 1, 2))).verdict.scores
    assert scores == pytest.approx((0.2, 0.5, 0.3))
