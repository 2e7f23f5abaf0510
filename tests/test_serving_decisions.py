"""`/v1/decisions`: a probability is what judgments say, and where they say nothing there is none."""

import asyncio
import json
from dataclasses import replace
from math import exp, isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import running

from jurist.core.types import Completion, Usage
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.group import GroupJudge, GroupResult
from jurist.serving.routes_decisions import _luce, _normalised, probabilities_of

PREDICATE = {"type": "predicate", "instructions": "The customer asks for money."}
COLOURS = [{"value": "red"}, {"value": "green", "description": "as grass"}, {"value": "blue"}]
CHOICE = {"type": "choice", "instructions": "Which colour?", "choices": COLOURS, "name": "colour"}
LEVELS = [{"label": "bad"}, {"label": "fair"}, {"label": "good", "description": "all is there"}]
SCORE = {"type": "score", "instructions": "How good?", "levels": LEVELS}


def asking(*questions, **more):
    return {"model": "m", "input": "The text.", "questions": list(questions), **more}


def prefers(*weights):
    """The option with the higher weight wins; equal ones: no verdict. Options are known by their places."""

    def verdict(query):
        a, b = (weights[i] for i in query.order)
        return Completion(
            "hm" if a == b else f"<answer>[[{'A' if a > b else 'B'}]]</answer>", usage=Usage(10, 5)
        )

    return verdict


def judged(script, protocol="rubrics", seconds=0.0, **config):
    class Slow(ScriptedEngine):
        async def __call__(self, query):
            await asyncio.sleep(seconds)
            return await super().__call__(query)

    bench = assemble(JudgeConfig(engine="scripted:", protocol=protocol, **config))
    return GroupJudge(replace(bench, engine=Slow(script)))


async def answered(judge, body, **settings):
    with running(judge=judge, **settings) as server:
        return await server.post("/v1/decisions", body)


def probabilities(answer):
    return [p["probability"] for p in answer["probabilities"]]


# --- from judgments to probabilities --------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "probability"),
    [
        (prefers(2, 1), 1.0),
        (prefers(1, 2), 0.0),
        # Always the first slot: the orders contradict each other.
        (lambda _: "<answer>[[A]]</answer>", 0.5),
        # One order says nothing: the other stands.
        (lambda q: "hm" if q.order[0] else "<answer>[[A]]</answer>", 1.0),
    ],
)
async def test_a_predicate_has_the_share_of_the_judgments_for_yes(script, probability):
    _, told, _ = await answered(judged(script), asking(PREDICATE))
    assert told["answers"] == [{"type": "predicate", "name": None, "probability": probability}]


async def test_labels_probabilities_are_probabilities():
    def soft(query):
        if not query.choices:
            return "hm"
        first = 0.8 if query.order[0] == 0 else 0.3
        return Completion(logprobs={"A": log(first), "B": log(1 - first)})

    _, told, _ = await answered(judged(soft, forced="always"), asking(PREDICATE))
    assert told["answers"][0]["probability"] == pytest.approx((0.8 + 0.7) / 2)


@pytest.mark.parametrize(("steady", "probability"), [(False, 0.5), (True, 0.25)])
async def test_votes_are_shares(steady, probability):
    def one_of_four(query):
        """One vote of four for the first slot; or, in either order, for yes."""
        first = (query.sample == 0) != (steady and query.order[0] == 1)
        return f"<answer>[[{'A' if first else 'B'}]]</answer>"

    judge = judged(one_of_four, deliberation="swapped(vote(4)) | round_robin")
    _, told, _ = await answered(judge, asking(PREDICATE))
    assert told["answers"][0]["probability"] == probability


async def test_strengths_of_several_options_explain_the_comparisons():
    _, told, _ = await answered(judged(prefers(1, 3, 2)), asking(CHOICE))
    [answer] = told["answers"]
    shares = probabilities(answer)
    assert (answer["name"], answer["choice"], answer["confidence"]) == ("colour", "green", max(shares))
    assert [p["value"] for p in answer["probabilities"]] == ["red", "green", "blue"]
    assert sum(shares) == pytest.approx(1)
    # The mode of the posterior: wins less expected wins are the strength over the prior's variance, 4.
    strengths = [log(p) for p in shares]
    mean = sum(strengths) / 3
    for i, won in enumerate((0, 2, 1)):
        expected = sum(1 / (1 + exp(s - strengths[i])) for j, s in enumerate(strengths) if j != i)
        assert won - expected == pytest.approx((strengths[i] - mean) / 4, abs=1e-6)
    assert told["usage"] == {
        "input_tokens": 60,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 90,
    }


@pytest.mark.parametrize(
    ("protocol", "texts", "shares"),
    [
        ("pointwise", [f"<rating>{n}</rating>" for n in (1, 3, 6)], [0.1, 0.3, 0.6]),
        ("scalar", ["0.0", "-1.0", "2.0"], [exp(x) / (1 + exp(-1) + exp(2)) for x in (0, -1, 2)]),
    ],
)
async def test_ratings_are_normalised_and_rewards_are_strengths(protocol, texts, shares):
    judge = judged(lambda q: texts[q.order[0]], protocol)
    _, told, _ = await answered(judge, asking(SCORE, CHOICE))
    score, choice = told["answers"]
    assert probabilities(score) == pytest.approx(shares)
    assert score["score"] == pytest.approx(shares[1] + 2 * shares[2])
    assert score["confidence"] == pytest.approx(shares[2])
    assert [(p["value"], p["label"]) for p in score["probabilities"]] == [
        (0, "bad"),
        (1, "fair"),
        (2, "good"),
    ]
    assert (choice["choice"], probabilities(choice)) == ("blue", pytest.approx(shares))


async def test_a_ranking_of_all_options_is_normalised_too():
    def ranking(query):
        letters = {i: "ABC"[slot] for slot, i in enumerate(query.order)}
        return f"<ranking>{letters[2]} > {letters[1]} > {letters[0]}</ranking>"

    _, told, _ = await answered(judged(ranking, "listwise"), asking(SCORE))
    assert probabilities(told["answers"][0]) == pytest.approx([0, 0.5 / 1.5, 1 / 1.5])


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12))
def test_shares_are_probabilities_in_the_order_of_the_ratings(ratings):
    for scale in (_luce, _normalised):
        shares = probabilities_of(GroupResult((), tuple(ratings)), scale)
        assert isclose(sum(shares), 1)
        assert min(shares) >= 0
        pairs = [(i, j) for i in range(len(ratings)) for j in range(len(ratings)) if ratings[i] >= ratings[j]]
        assert all(shares[i] >= shares[j] for i, j in pairs)


# --- what the judge sees --------------------------------------------------------------------------


async def test_the_judge_reads_input_question_and_two_answers():
    messages = [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "one"}, {"type": "input_json", "data": {"k": 2}}],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "three"}]},
        {"type": "function_call", "name": "find", "call_id": "c", "arguments": '{"n": 4}'},
        {"type": "function_call_output", "call_id": "c", "output": "five"},
    ]
    with running(judge=judged(prefers(3, 2, 1))) as server:
        engine = server.service.judge.setup.engine
        status, _, _ = await server.post("/v1/decisions", asking(CHOICE, input=messages))
        assert status == 200
        shown = engine.queries[0].messages[-1].content
        for text in (
            'User: one\n{"k":2}',
            "Assistant: three",
            'function call find: {"n": 4}',
            "output: five",
        ):
            assert text in shown
        assert "Which colour?" in shown
        assert "- green: as grass" in shown
        users = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
        await server.post("/v1/decisions", asking(PREDICATE, input=users))
        assert "one\n\ntwo\n\nIs this true" in engine.queries[-1].messages[-1].content


async def test_a_text_and_an_equal_looking_boolean_are_two_options():
    choices = [{"value": "true"}, {"value": True}, {"value": False}]
    _, told, _ = await answered(judged(prefers(1, 3, 2)), asking({**CHOICE, "choices": choices}))
    assert told["answers"][0]["choice"] is True
    assert [p["value"] for p in told["answers"][0]["probabilities"]] == ["true", True, False]


async def test_options_are_judged_as_they_are_whatever_the_rewards_are():
    # Neither an empty option nor one in thinking tags is set aside, and a mapping of rewards has no part.
    choices = [{"value": ""}, {"value": "<think>x</think>"}]
    judge = replace(judged(prefers(2, 1)), reward="standardised", rating="win-rate")
    _, told, _ = await answered(judge, asking({**CHOICE, "choices": choices}))
    assert probabilities(told["answers"][0]) == [1.0, 0.0]


# --- no verdict is no probability -----------------------------------------------------------------


@pytest.mark.parametrize("unanswered", ["error", "mean", "0"])
async def test_no_verdict_fails_the_request_or_refuses_the_question(unanswered):
    # Places 0 and 1 are level, so the predicate has no verdict; the choice lacks one of three matches.
    body = asking({**PREDICATE, "name": "p"}, CHOICE)
    status, told, headers = await answered(judged(prefers(2, 2, 1)), body, unanswered=unanswered)
    if unanswered == "error":
        assert (status, headers["Retry-After"], told["error"]["field"]) == (503, "1", "questions[0]")
        assert "unparsed" in told["error"]["message"]
    else:
        refusal, choice = told["answers"]
        assert (refusal["type"], refusal["name"], refusal["status"]) == ("refusal", "p", "unparsed")
        assert "probability" not in refusal
        shares = probabilities(choice)
        assert shares[0] == pytest.approx(shares[1])
        assert shares[1] > shares[2]


async def test_an_option_without_matches_leaves_no_answer():
    def lonely(query):
        return "hm" if 2 in query.order else prefers(2, 1)(query)

    status, told, _ = await answered(judged(lonely), asking(CHOICE))
    assert (status, told["error"]["field"]) == (503, "questions[0]")


async def test_a_deadline_cuts_all_questions():
    for options, more in (({}, {"deadline": 0.1}), ({"deadline": 0.1}, {})):
        judge = judged(prefers(3, 2, 1), seconds=5)
        status, told, _ = await answered(judge, asking(PREDICATE, CHOICE, **more), **options)
        assert (status, "truncated" in told["error"]["message"]) == (503, True)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"model": "m", "input": "x"}, "questions", "missing required field"),
        ({**asking(PREDICATE), "input": []}, "input", "length >= 1"),
        (asking(), "questions", "length >= 1"),
        (asking({**PREDICATE, "type": "essay"}), "questions[0].type", "Invalid value 'essay'"),
        (asking({**CHOICE, "choices": COLOURS[:1]}), "questions[0].choices", "length >= 2"),
        (asking({**CHOICE, "choices": COLOURS[:1] * 2}), "questions[0].choices", "the same"),
        (
            asking({**CHOICE, "choices": [{"value": 1}, {"value": 2}]}),
            "questions[0].choices[0].value",
            "`int`",
        ),
        (asking(PREDICATE, {**SCORE, "levels": LEVELS[:1] * 2}), "questions[1].levels", "the same"),
        (asking({**SCORE, "levels": [{"label": str(i)} for i in range(11)]}), "questions[0].levels", "<= 10"),
        (asking(PREDICATE, input=[{"role": "user"}]), "input[0]", "says nothing"),
        (
            asking(
                PREDICATE, input=[{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}]
            ),
            "input[0].content[0]",
            "holds no text",
        ),
    ],
)
async def test_a_misshapen_request_is_told_the_field(door, body, field, message):
    status, told, _ = await door.post("/v1/decisions", body)
    contradicts = message in ("the same", "says nothing", "holds no text")
    assert (status, told["error"]["field"]) == (409 if contradicts else 422, field)
    assert message in told["error"]["message"]
    assert told["error"]["hint"]


@pytest.fixture(scope="module")
def door():
    with running(judge=judged(prefers(3, 2, 1)), token="t") as server:
        post = server.post
        server.post = lambda path, body: post(path, body, headers={"Authorization": "Bearer t"})
        yield server


# --- other people's client ------------------------------------------------------------------------


async def test_the_public_client_reads_every_answer():
    openai = pytest.importorskip("openai", "3.0", reason="the client of the contract is not installed")
    from openai.types import Decision

    with running(judge=judged(prefers(3, 2, 1)), token="t", unanswered="0") as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="t", max_retries=0)
        level = {**SCORE, "levels": LEVELS[:2]}
        users = [{"role": "user", "content": [{"type": "input_text", "text": "The text."}]}]
        told = await client.decisions.create(model="m", input=users, questions=[PREDICATE, CHOICE, level])
        assert Decision.model_validate(json.loads(told.model_dump_json()), strict=True) == told
        predicate, choice, score = told.answers
        assert (predicate.type, predicate.probability) == ("predicate", 1.0)
        assert (choice.name, choice.choice, choice.confidence) == (
            "colour",
            "red",
            choice.probabilities[0].probability,
        )
        assert (score.score, score.probabilities[1].label) == (0.0, "fair")
        assert told.usage.total_tokens == told.usage.input_tokens + told.usage.output_tokens == 150
        twice = {**CHOICE, "choices": COLOURS[:1] * 2}
        with pytest.raises(openai.UnprocessableEntityError, match="the same"):
            await client.decisions.create(model="m", input="x", questions=[twice])
    with running(judge=judged("hm"), unanswered="0") as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        told = await client.decisions.create(model="m", input="x", questions=[PREDICATE])
        assert [answer.type for answer in told.answers] == ["refusal"]
    with running(judge=judged("hm")) as server:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        with pytest.raises(openai.InternalServerError, match="no answer: unparsed"):
            await client.decisions.create(model="m", input="x", questions=[PREDICATE])
