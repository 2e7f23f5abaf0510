"""`/score` of texts in pairs and `/classify`: siblings are compared, a lone response only where it can be."""

import asyncio
import json
import re
from dataclasses import replace

import pytest
from served import NUMBERS, Strength, judge_of, running

from jurist.core.types import Completion, Usage
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.group import GroupJudge

FORMS = [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")]
CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n"
LLAMA = (
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>"
)


def rating(query):
    found = NUMBERS.findall(query.messages[-1].content)[-1]
    return Completion(f"<rating>{found}</rating>", usage=Usage(10, 5))


def pointwise(**options):
    """A judge that rates "answer n" by n."""
    bench = assemble(JudgeConfig(engine="scripted:", protocol="pointwise"))
    return GroupJudge(replace(bench, engine=ScriptedEngine(rating)), **options)


def scores(body):
    return [row["score"] for row in body["data"]]


def probs(body):
    return [row["probs"] for row in body["data"]]


@pytest.fixture(scope="module")
def door():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def rater():
    with running(judge=pointwise()) as server:
        yield server


# --- /score ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(("left", "right"), FORMS)
async def test_documents_of_a_query_are_judged_together_in_every_form(door, path, left, right):
    texts = ["answer 1", {"content": [{"type": "text", "text": "answer 9"}]}, "answer 5"]
    status, told, _ = await door.post(path, {"model": "m", left: "q", right: texts})
    assert status == 200
    assert told["data"] == [
        {"index": i, "score": s, "object": "score"} for i, s in enumerate((0.0, 1.0, 0.5))
    ]
    assert (told["object"], told["model"], told["id"][:6]) == ("list", "m", "score-")
    # Three pairs in both orders.
    assert told["usage"] == {"prompt_tokens": 60, "completion_tokens": 30, "total_tokens": 90}
    both = {left: ["q", "r", "q", "r"], right: ["answer 1", "answer 9", "answer 2", "answer 3"]}
    _, told, _ = await door.post(path, both)
    assert scores(told) == [0.0, 1.0, 1.0, 0.0]
    assert told["usage"]["prompt_tokens"] == 40


async def test_our_own_form_keeps_the_path():
    with running(group_size=2) as server:
        sent = [{"prompt": "p", "response": f"answer {n}"} for n in (1, 2)]
        told = [body for _, body, _ in await asyncio.gather(*(server.post("/score", s) for s in sent))]
        assert [t["reward"] for t in told] == [0.0, 1.0]
        status, told, _ = await server.post("/v1/score", sent[0])
        assert (status, told["error"]["field"]) == (422, "queries")


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        ("/score", {"queries": "q", "documents": "answer 1"}, None, "compares responses"),
        ("/score", {"queries": ["q", "r"], "documents": ["answer 1", "answer 2"]}, None, "no other"),
        ("/score", {"text_1": ["q", "r"], "text_2": ["a", "b", "c"]}, "text_2", "2 text_1 for 3 text_2"),
        ("/score", {"text_1": ["q"] * 2, "text_2": "a"}, "text_2", "2 text_1 for 1 text_2"),
        ("/score", {"queries": "q"}, "documents", "missing required field"),
        ("/score", {"data_1": "q", "data_2": []}, "data_2", "length >= 1"),
        ("/score", {"data_1": "q", "data_2": ["a", 7]}, "data_2[1]", "got `int`"),
        ("/score", {"data_1": "q", "data_2": ["a", {"content": [{"type": "image_url"}]}]}, None, "no text"),
        ("/score", {"queries": "q", "documents": "a", "deadline": 0}, "deadline", ">= 0.1"),
        ("/score", {"queries": "q", "documents": "a", "use_activation": True}, "use_activation", "raw"),
        ("/classify", {"input": CHATML.format("q", "answer 1")}, None, "compares responses"),
        ("/classify", {"input": "q and answer 1"}, "input[0]", "no template"),
        (
            "/classify",
            {"input": CHATML.format("q", "a").replace("assistant", "user")},
            "input[0]",
            "last turn",
        ),
        ("/classify", {"input": [1, 2]}, "input[0]", "got `int`"),
        ("/classify", {"messages": [{"role": "assistant", "content": "a"}]}, "messages", "behind a prompt"),
        ("/classify", {"model": "m"}, "input", "missing required field"),
    ],
)
async def test_what_cannot_be_scored_is_told_with_the_mend(door, path, body, field, message):
    asked = len(door.engine.queries)
    status, told, _ = await door.post(path, body)
    misshapen = any(word in message for word in ("missing", "length", "got", ">="))
    assert status == (422 if misshapen else 409)
    assert field in (None, told["error"]["field"])
    assert message in told["error"]["message"]
    if message in ("compares responses", "no other"):
        assert all(word in told["error"]["hint"] for word in ("pointwise", "anchors", "--group-size"))
    assert len(door.engine.queries) == asked


async def test_a_judge_of_one_response_rates_each_by_itself(rater):
    _, told, _ = await rater.post("/score", {"queries": "q", "documents": "answer 7"})
    assert scores(told) == [7.0]
    _, told, _ = await rater.post("/v1/score", {"queries": ["q", "r"], "documents": ["answer 7", "answer 2"]})
    assert scores(told) == [7.0, 2.0]
    assert told["usage"]["total_tokens"] == 30


async def test_anchors_score_each_response_by_itself(door):
    # It beats both anchors, one of them, none: (wins + 1/2) / (2 + 1).
    body = {"queries": "q", "documents": [f"answer {n}" for n in (9, 5, 1)]}
    _, told, _ = await door.post("/score", {**body, "anchors": ["answer 3", "answer 7"]})
    assert scores(told) == pytest.approx([2.5 / 3, 1.5 / 3, 0.5 / 3])
    chat = {"input": CHATML.format("q", "answer 9"), "anchors": ["answer 3", "answer 7"]}
    assert probs((await door.post("/classify", chat))[1]) == [pytest.approx([2.5 / 3])]


@pytest.mark.parametrize(
    "judge", [lambda: judge_of(Strength(), reward="rank"), lambda: pointwise(reward="rank")]
)
async def test_group_relative_rewards_are_given_to_groups_only(judge):
    with running(judge=judge()) as server:
        body = {"queries": "q", "documents": ["answer 1", "answer 2", "answer 4"]}
        assert scores((await server.post("/score", body))[1]) == [0.0, 0.5, 1.0]
        status, told, _ = await server.post("/score", {**body, "anchors": ["answer 3"]})
        assert (status, told["error"]["field"]) == (409, "anchors")
        status, told, _ = await server.post("/score", {"queries": "q", "documents": "answer 1"})
        assert status == 409
        assert "relative to a group" in told["error"]["message"]


# --- /classify ------------------------------------------------------------------------------------


def verl(number, prompt="q"):
    return {"model": "m", "input": CHATML.format(prompt, f"answer {number}"), "use_activation": False}


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
async def test_a_reward_model_s_client_reads_the_raw_reward(rater, path):
    _, told, _ = await rater.post(path, verl(7))
    assert told["data"][-1]["probs"][-1] == 7.0
    assert told["data"] == [{"index": 0, "label": None, "probs": [7.0], "num_classes": 1}]
    chat = [
        {"role": "user", "content": [{"type": "text", "text": "q"}]},
        {"role": "assistant", "content": "answer 3"},
    ]
    assert probs((await rater.post(path, {"messages": chat}))[1]) == [[3.0]]
    several = {"input": [LLAMA.format("q", "answer 2"), CHATML.format("r", "answer 8")]}
    assert probs((await rater.post(path, several))[1]) == [[2.0], [8.0]]


async def test_several_conversations_with_one_prompt_are_siblings(door):
    several = [CHATML.format("q", f"answer {n}") for n in (5, 9, 7)]
    _, told, _ = await door.post("/classify", {"input": several})
    assert probs(told) == [[0.0], [1.0], [0.5]]


async def test_siblings_in_other_requests_are_awaited_for_sized_groups():
    with running(group_size=3) as server:
        told = await asyncio.gather(*(server.post("/classify", verl(n)) for n in (5, 9, 7)))
        assert [probs(body) for _, body, _ in told] == [[[0.0]], [[1.0]], [[0.5]]]
        assert {body["usage"]["total_tokens"] for _, body, _ in told} == {0}
        counts = server.service.cohorts.counts
        assert (counts.judged, counts.samples, counts.partial) == (1, 3, 0)
        sent = [{"queries": "p", "documents": f"answer {n}"} for n in (2, 1, 3)]
        told = await asyncio.gather(*(server.post("/score", s) for s in sent))
        assert [scores(body) for _, body, _ in told] == [[0.5], [0.0], [1.0]]


async def test_a_lone_one_whose_siblings_never_come_has_no_number():
    with running(group_size=2, wait=60, deadline=60) as server:
        started = asyncio.get_running_loop().time()
        status, told, _ = await server.post("/classify", {**verl(5), "deadline": 0.4})
        assert asyncio.get_running_loop().time() - started < 5
        assert status in (422, 503)
        assert told["error"]["message"]


# --- no reward is no number -----------------------------------------------------------------------


@pytest.mark.parametrize(("unanswered", "expected"), [("error", None), ("mean", None), ("-2", [-2.0, -2.0])])
async def test_without_verdicts_there_is_no_score_but_the_chosen_one(unanswered, expected):
    with running(unanswered=unanswered) as server:
        server.engine.broken = True
        status, told, _ = await server.post("/score", {"queries": "q", "documents": ["answer 1", "answer 2"]})
        assert (status == 503) == (expected is None)
        assert expected is None or scores(told) == expected


async def test_the_mean_of_the_others_stands_in_for_one():
    judge = pointwise()
    silent = ScriptedEngine(lambda q: "hm" if "answer 9" in q.messages[-1].content else rating(q))
    for unanswered, expected in (("mean", [2.0, 3.0, 4.0]), ("error", None)):
        with running(
            judge=replace(judge, setup=replace(judge.setup, engine=silent)), unanswered=unanswered
        ) as server:
            texts = ["answer 2", "answer 9", "answer 4"]
            _, told, _ = await server.post("/score", {"queries": "q", "documents": texts})
            assert told.get("data") is None if expected is None else scores(told) == expected
            _, told, _ = await server.post("/rerank", {"query": "q", "documents": texts})
            assert expected is None or [r["index"] for r in told["results"]] == [2, 1, 0]


async def test_a_deadline_of_the_request_or_of_the_server_is_kept():
    body = {"queries": "q", "documents": ["answer 1", "answer 2"]}
    for options, more in (({}, {"deadline": 0.1}), ({"deadline": 0.1}, {})):
        with running(Strength(5), **options) as server:
            status, told, _ = await server.post("/score", {**body, **more})
            assert (status, "truncated" in told["error"]["message"]) == (503, True)


# --- as the other routes --------------------------------------------------------------------------


async def test_pooling_routes_have_token_counters_and_document():
    with running(token="t") as server:
        body = {"queries": "q", "documents": ["answer 1", "answer 2"]}
        assert (await server.post("/v1/score", body))[0] == 401
        assert (await server.post("/v1/score", body, headers={"Authorization": "Bearer t"}))[0] == 200
        own = {"Authorization": "Bearer t"}
        text = (await server.get("/metrics", headers=own))[1]
        assert 'jurist_requests_total{route="/v1/score",status="200"} 1.0' in text
        assert 'jurist_rewards_total{status="ok"} 2.0' in text
        told = json.loads((await server.get("/openapi.json", headers=own))[1])
        content = told["paths"]["/score"]["post"]
        sent = content["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
        got = content["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
        names = [s["$ref"].rpartition("/")[2] for s in (*sent, *got)]
        assert names == [
            "ScoreRequest",
            "ScoreItemsRequest",
            "ScoreQueriesRequest",
            "ScoreTextsRequest",
            "ScoreDataRequest",
            "ScoreReply",
            "ScoreListReply",
        ]
        assert set(re.findall(r"#/components/schemas/(\w+)", json.dumps(told))) <= set(
            told["components"]["schemas"]
        )
