"""Thinking budgets, escalation, cascades: what is asked, what is paid, what stands."""

import asyncio
from pathlib import Path

import pytest
from make import A_WINS, B_WINS, case

from jurist.core.errors import ConfigError
from jurist.core.runs import Run
from jurist.core.store import Store
from jurist.core.types import Completion, Query, Sampling, Status, Usage
from jurist.deliberation.effort import budget, cascade, escalate
from jurist.deliberation.tournaments import round_robin
from jurist.deliberation.views import each
from jurist.deliberation.votes import given, once, swapped, vote
from jurist.engines.replay import ReplayEngine
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge
from jurist.protocols.pointwise import pointwise
from jurist.protocols.rrm import rrm
from jurist.protocols.rubrics import rubrics


class Writer:
    """A model that would write ``text``, a word a token: it goes on where a prefill leaves off."""

    def __init__(self, text, caps=False):
        self.words, self.caps_thinking, self.queries = text.split(" "), caps, []

    async def __call__(self, query: Query) -> Completion:
        self.queries.append(query)
        if query.choices:
            logs = {c: -0.1 if i == 0 else -2.4 for i, c in enumerate(query.choices)}
            return Completion(query.choices[0], usage=Usage(10, 1), logprobs=logs)
        words = self.words
        if query.prefill is not None:
            words = ["\\boxed{Assistant", "1}"] if "</think>" in query.prefill else ["B]]</answer>"]
        written = words[: query.sampling.max_tokens]
        finish = "stop" if len(written) == len(words) else "length"
        return Completion(" ".join(written), finish=finish, usage=Usage(10, len(written)), seconds=1.0)


def ask(judge, **how):
    return asyncio.run(judge.ask(case(), (0, 1), **how))


def decide(judge, deliberation, which=None):
    return asyncio.run(deliberation(judge.ask, which or case()))


def rrm_protocol():
    return rrm({"system": "s", "user": "{question}{answer1}{answer2}"})


THOUGHTS = "let me think about it for a while </think> so \\boxed{Assistant 2}"


@pytest.mark.parametrize(
    ("tokens", "calls", "scores", "written"),
    [
        (100, 1, (0.0, 1.0), 12),  # it ends by itself
        (3, 2, (1.0, 0.0), 5),  # cut in the thinking: closed, and an answer of two words
        (0, 1, (1.0, 0.0), 2),  # not a word of thinking
        (10, 2, (1.0, 0.0), 12),  # cut in the answer, which goes on
    ],
)
def test_thinking_is_cut_closed_and_answered(tokens, calls, scores, written):
    engine = Writer(THOUGHTS)
    judge = Judge(rrm_protocol(), engine, Sampling(thinking_budget=tokens))
    judgment = ask(judge)
    assert judgment.verdict.scores == scores
    assert len(engine.queries) == calls
    assert judgment.usage.completion_tokens == written
    assert judgment.usage.prompt_tokens == 10 * calls
    assert judgment.query.sampling.thinking_budget == tokens
    assert all(q.sampling.thinking_budget is None for q in engine.queries)


def test_the_closed_thinking_is_what_was_thought():
    engine = Writer(THOUGHTS)
    judgment = ask(Judge(rrm_protocol(), engine, Sampling(thinking_budget=3)))
    assert engine.queries[1].prefill == "let me think\n</think>\n\n"
    assert engine.queries[1].sampling.max_tokens == 100
    assert judgment.completion.text == "let me think\n</think>\n\n\\boxed{Assistant 1}"


def test_thinking_the_model_opened_is_closed_with_its_opening():
    engine = Writer("<think> one two three four </think> <answer>[[A]]</answer>")
    ask(Judge(rubrics(), engine, Sampling(thinking_budget=3)))
    assert engine.queries[1].prefill == "<think>\none two\n</think>\n\n"


def test_open_reasoning_continues_before_the_verdict():
    engine = Writer("A is fine but B is better so <answer>[[A]]</answer>")
    judgment = ask(Judge(rubrics(), engine, Sampling(thinking_budget=3)))
    assert engine.queries[1].prefill == "A is fine\n\n<answer>[["
    assert judgment.completion.text == "A is fine\n\n<answer>[[B]]</answer>"
    assert judgment.verdict.scores == (0.0, 1.0)


def test_an_engine_that_caps_by_itself_gets_the_query_as_it_is():
    engine = Writer(THOUGHTS, caps=True)
    ask(Judge(rrm_protocol(), engine, Sampling(thinking_budget=3)))
    assert [q.sampling.thinking_budget for q in engine.queries] == [3]


def test_a_forced_verdict_needs_no_written_answer():
    engine = Writer(THOUGHTS)
    judgment = ask(Judge(rrm_protocol(), engine, Sampling(thinking_budget=3), forced="always"))
    assert [bool(q.choices) for q in engine.queries] == [False, True]
    assert judgment.verdict.via == "logprobs"


def test_a_failed_second_request_fails_and_is_counted():
    async def engine(query):
        return (
            Completion(finish="error", error="gone")
            if query.prefill
            else Completion("think", finish="length", usage=Usage(10, 3))
        )

    judgment = ask(Judge(rubrics(), engine, Sampling(thinking_budget=3)))
    assert judgment.verdict.status is Status.FAILED
    assert judgment.usage == Usage(10, 3)


def test_a_replayed_run_keeps_its_budgets_apart(tmp_path: Path):
    engine = Writer("A is fine but B is better so <answer>[[A]]</answer>")
    judge = Judge(rubrics(), engine, forced="always")
    recorded = [ask(judge, budget=tokens) for tokens in (0, 2, 50)]
    with Store(tmp_path, {}) as store:
        for judgment in recorded:
            store.record(judgment)
    replay = Judge(rubrics(), ReplayEngine(Run(tmp_path)), forced="always")
    assert [ask(replay, budget=tokens) for tokens in (0, 2, 50)] == recorded


def test_budget_caps_each_ask_within():
    engine = Writer("A is fine but B is better so <answer>[[A]]</answer>")
    decision = decide(Judge(rubrics(), engine), budget(2, vote(3)))
    assert [j.query.sampling.thinking_budget for j in decision.judgments] == [2, 2, 2]


# ---- escalate ----


def by_budget(brief, long):
    """A judge that says ``brief`` under a budget, ``long`` without one."""

    def script(query):
        return brief(query) if query.sampling.max_tokens < 100 else long(query)

    return Judge(rubrics(), ScriptedEngine(script), Sampling(max_tokens=1000))


def always(text):
    return lambda _: Completion(text, usage=Usage(10, 5))


def good_first(query):
    """The verdict for the response 'good', whichever slot it stands in."""
    text = query.messages[-1].content
    return Completion(A_WINS if text.find("good") < text.find("bad") else B_WINS, usage=Usage(10, 5))


@pytest.mark.parametrize(
    ("brief", "asked", "note"),
    [
        (good_first, 2, ""),
        (always(A_WINS), 4, "thought again: the judgments disagree"),
        (always("cannot say"), 4, "thought again: a judgment had no verdict"),
    ],
)
def test_escalation_thinks_again_only_on_doubt(brief, asked, note):
    decision = decide(by_budget(brief, good_first), escalate(50))
    assert decision.verdict.scores == (1.0, 0.0)
    assert decision.verdict.note == note
    assert len(decision.judgments) == asked
    assert decision.usage == Usage(10 * asked, 5 * asked)


def test_escalation_without_a_second_verdict_keeps_the_first():
    decision = decide(by_budget(always(A_WINS), always("nothing")), escalate(50))
    assert decision.verdict.scores == (0.5, 0.5)
    assert "the second had no verdict (unparsed)" in decision.verdict.note


@pytest.mark.parametrize(("margin", "asked"), [(0.0, 1), (0.5, 1), (0.9, 2)])
def test_escalation_on_a_small_margin(margin, asked):
    engine = Writer("no verdict at all")  # the labels say 0.91 to 0.09: a lead of 0.82
    judge = Judge(rubrics(), engine, forced="always")
    decision = decide(judge, escalate(50, margin, given()))
    assert len(decision.judgments) == asked


# ---- cascade ----


def test_the_cheap_reading_of_the_same_model_writes_nothing():
    engine = Writer("A is fine " + A_WINS)
    decision = decide(Judge(rubrics(), engine), cascade(0.5, first=given()))
    assert decision.verdict.scores == pytest.approx((0.909, 0.091), abs=1e-3)
    assert [bool(q.choices) for q in engine.queries] == [True]
    assert decision.usage.completion_tokens == 1


def test_where_the_first_judge_is_unsure_the_main_one_decides():
    engine = Writer("A is fine " + A_WINS)
    decision = decide(Judge(rubrics(), engine), cascade(0.5))  # both orders contradict each other
    assert decision.verdict.scores == (0.5, 0.5)
    assert "the first judge had lead 0" in decision.verdict.note
    assert len(decision.judgments) == 4


def test_another_first_judge_rates_and_its_memory_is_its_own():
    def rating(query):
        return Completion(f"<rating>{9 if 'good' in query.messages[-1].content else 4}</rating>")

    first = Judge(pointwise(), ScriptedEngine(rating), name="first")
    judge = Judge(rubrics(), ScriptedEngine(B_WINS), first=first)
    sure = decide(judge, cascade(3, first=each()))
    assert sure.verdict.scores == (9.0, 4.0)
    assert {j.query.judge for j in sure.judgments} == {"first"}
    unsure = decide(judge, cascade(6, given(), each()))
    assert unsure.verdict.scores == (0.0, 1.0)
    assert [j.query.judge for j in unsure.judgments] == ["first", "first", ""]


def test_policies_compose_with_tournaments():
    engine = Writer("A is fine but B is better so <answer>[[A]]</answer>")
    decision = decide(
        Judge(rubrics(), engine), round_robin(escalate(2)), case("1", "good", "bad", "worse", gold=None)
    )
    assert len(decision.judgments) == 3 * 4  # two contradicting orders, briefly and at length
    assert {j.query.sampling.thinking_budget for j in decision.judgments} == {2, None}


@pytest.mark.parametrize(
    "make",
    [
        lambda: budget(-1),
        lambda: budget(1.5),
        lambda: escalate(-5),
        lambda: escalate(5, 2.0),
        lambda: cascade(-0.1),
        lambda: cascade(float("nan")),
    ],
)
def test_numbers_that_mean_nothing_are_refused(make):
    with pytest.raises(ConfigError, match="out of range"):
        make()


def test_swapped_and_once_hand_on_how_to_ask():
    engine = Writer("A is fine but B is better so <answer>[[A]]</answer>")
    decision = decide(Judge(rubrics(), engine), budget(2, swapped(once())))
    assert {j.query.sampling.thinking_budget for j in decision.judgments} == {2}
