"""The contracts of trainers and rerankers, as their clients send and read them."""

import asyncio
from dataclasses import replace

import msgspec
import pytest
from served import Strength, judge_of, running

from jurist.core.types import Message
from jurist.serving.retries import Caller, SampleKeys
from jurist.serving.templates import turns_of, without_ends


def openrlhf(number, prompt="p", label=None):
    return {"query": [f"{prompt}answer {number}</s>"], "prompts": [prompt], "labels": [label]}


# --- OpenRLHF -------------------------------------------------------------------------------------


async def test_openrlhf_gets_one_number_a_query_in_the_shape_that_it_reads():
    chat = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
    with running(group_size=4) as server:
        calls = [server.post("/get_reward", openrlhf(n, chat, "7")) for n in (4, 2, 1, 3)]
        told = [body for _, body, _ in await asyncio.gather(*calls)]
        rewards = [body["rewards"][0] for body in told]
        assert rewards[0] > rewards[3] > rewards[1] > rewards[2]
        assert [body["scores"] for body in told] == [[r] for r in rewards]
        assert told[0]["extra_logs"] == {"answered": [1.0], "siblings": [4.0]}
        shown = server.engine.queries[0].messages[-1].content
        assert "im_start" not in shown
        assert "</s>" not in shown
        whole = {
            key: [openrlhf(n, chat)[key][0] for n in (1, 2, 3, 4)] for key in ("query", "prompts", "labels")
        }
        _, body, _ = await server.post("/get_reward", whole)
        assert len(set(body["rewards"])) == 4
        assert body["rewards"] == sorted(body["rewards"])


async def test_scores_are_shares_or_are_left_out():
    engine = Strength()
    for options, there in (({"reward": "standardised"}, True), ({"rating": "elo"}, False)):
        with running(engine, judge_of(engine, **options), group_size=2) as server:
            calls = [server.post("/get_reward", openrlhf(n)) for n in (1, 2)]
            for _, body, _ in await asyncio.gather(*calls):
                assert ("scores" in body) == there
                assert not there or 0 <= body["scores"][0] <= 1
                assert not 0 <= body["rewards"][0] <= 1 or body["rewards"][0] == pytest.approx(1)


@pytest.mark.parametrize(("unanswered", "expected"), [("error", None), ("mean", None), ("-1.5", -1.5)])
async def test_a_sample_without_reward_is_what_was_chosen_for_it(unanswered, expected):
    with running(group_size=1, unanswered=unanswered) as server:
        status, body, headers = await server.post("/get_reward", openrlhf(1))
        if expected is None:
            assert (status, headers.get("Retry-After")) == (409, None)  # the same again, if sent again
            assert "lone response" in body["error"]["message"]
        else:
            assert body["rewards"] == [expected]
            assert body["extra_logs"]["answered"] == [0.0]


async def test_the_mean_stands_in_for_one_that_is_missing():
    engine = Strength()
    judge = judge_of(engine)
    judge = replace(judge, policy=msgspec.structs.replace(judge.policy, empty="none"))
    with running(engine, judge, group_size=3, unanswered="mean") as server:
        empty = {"query": ["p"], "prompts": ["p"], "labels": [None]}
        calls = [server.post("/get_reward", body) for body in (openrlhf(1), openrlhf(2), empty)]
        low, high, none = [body for _, body, _ in await asyncio.gather(*calls)]
        assert none["rewards"][0] == pytest.approx((low["rewards"][0] + high["rewards"][0]) / 2)
        assert none["extra_logs"]["answered"] == [0.0]


async def test_a_failed_group_is_judged_anew_when_the_trainer_retries():
    with running(group_size=2) as server:
        server.engine.broken = True
        calls = [server.post("/get_reward", openrlhf(n)) for n in (1, 2)]
        assert [status for status, _, _ in await asyncio.gather(*calls)] == [503, 503]
        server.engine.broken = False
        calls = [server.post("/get_reward", openrlhf(n)) for n in (1, 2)]
        low, high = [body["rewards"][0] for _, body, _ in await asyncio.gather(*calls)]
        assert low < high
        assert server.service.cohorts.counts.retries == 0


async def test_who_disconnects_cancels_no_group_and_finds_its_place_again():
    with running(Strength(0.1), group_size=3, wait=60) as server:
        gone = asyncio.create_task(server.post("/get_reward", openrlhf(1)))
        await server.until(lambda: server.service.cohorts.counts.waiting == 1)
        gone.cancel()
        await server.until(lambda: server.service.keys._waiting)
        again = asyncio.create_task(server.post("/get_reward", openrlhf(1)))
        await server.until(lambda: server.service.cohorts.counts.retries == 1)
        # An equal response while the first waits is a sibling, no retry.
        calls = [server.post("/get_reward", openrlhf(n)) for n in (1, 2)]
        told = [body["rewards"][0] for _, body, _ in await asyncio.gather(again, *calls)]
        assert told[0] == told[1] < told[2]
        counts = server.service.cohorts.counts
        assert (counts.samples, counts.retries, counts.judged, counts.partial) == (3, 1, 1, 0)


async def test_the_same_response_in_the_next_epoch_is_a_new_sample():
    with running(group_size=2) as server:
        for _ in range(2):
            await asyncio.gather(*(server.post("/get_reward", openrlhf(n)) for n in (1, 2)))
        counts = server.service.cohorts.counts
        assert (counts.samples, counts.retries, counts.judged) == (4, 0, 2)


def test_keys_wait_for_their_retries_only():
    keys = SampleKeys(most=2)
    a, b = keys.take(b"x", 0), keys.take(b"x", 0)
    assert a != b
    keys.give_back(b"x", a, 0)
    keys.give_back(b"x", a, 0)
    assert keys.take(b"x", 1) == a
    assert keys.take(b"x", 1) not in (a, b)
    keys.give_back(b"x", a, 1)
    assert keys.take(b"x", 902) != a
    for name in (b"1", b"2", b"3"):
        keys.give_back(name, "k", 1000)
    assert keys.take(b"1", 1000) != "k"
    assert keys.take(b"3", 1000) == "k"
    assert keys.take(b"y", 2000) != "k"
    assert not keys._by_name
    left = []
    caller = Caller()
    caller.on_leaving(lambda: left.append(1))
    caller.leave()
    caller.on_leaving(lambda: left.append(2))
    assert left == [1, 2]


def test_templates_are_read_as_a_whole_or_not_at_all():
    user = Message("user", "q")
    assert turns_of("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n") == (user,)
    assert turns_of("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n") == (user,)
    llama = "<|start_header_id|>{}<|end_header_id|>\n\n"
    text = "<|begin_of_text|>" + llama.format("user") + "q<|eot_id|>" + llama.format("assistant")
    assert turns_of(text) == (user,)
    for other in ("q", "", "before <|im_start|>user\nq<|im_end|>\n", "<|im_start|>user\nq"):
        assert turns_of(other) is None
    assert without_ends("a<|im_end|>\n<|endoftext|>") == "a"
    assert without_ends("</s> a </s> b") == "</s> a </s> b"


# --- slime, rerank --------------------------------------------------------------------------------


async def test_slime_gets_a_bare_number():
    with running(group_size=2) as server:
        sent = [{"prompt": "p", "response": f"answer {n}<|im_end|>", "label": "7"} for n in (1, 2)]
        low, high = [told for _, told, _ in await asyncio.gather(*(server.post("/slime", s) for s in sent))]
        assert isinstance(low, float)
        assert low < high


async def test_documents_are_reranked_best_first():
    with running() as server:
        texts = ["answer 1", {"text": "answer 9"}, "answer 5"]
        body = {"model": "m", "query": "q", "documents": texts, "top_n": 2}
        for path in ("/rerank", "/v1/rerank"):
            _, told, _ = await server.post(path, body)
            assert [r["index"] for r in told["results"]] == [1, 2]
            assert told["results"][0]["document"] == {"text": "answer 9"}
            assert told["results"][0]["relevance_score"] > told["results"][1]["relevance_score"]
        server.engine.broken = True
        assert (await server.post("/rerank", body))[0] == 503


def rollout(number, index, **more):
    said = {"type": "message", "content": [{"type": "output_text", "text": f"answer {number}"}]}
    thought = {"type": "reasoning", "summary": [{"text": "answer 0"}]}
    params = {"input": [{"role": "user", "content": [{"type": "input_text", "text": "q"}]}], "temperature": 1}
    response = {"id": "r", "output": [thought, said]}
    return {"responses_create_params": params, "response": response, "_ng_rollout_index": index, **more}


async def test_gym_rollouts_wait_for_their_cohort_and_come_back_whole():
    with running(group_size=2) as server:
        for group in ({"_ng_task_index": 1}, {"_ng_task_index": 2}, {"prompt_id": "x"}, {}):
            sent = [rollout(n, i, **group) for i, n in enumerate((3, 8))]
            told = [body for _, body, _ in await asyncio.gather(*(server.post("/verify", s) for s in sent))]
            assert told[0]["reward"] < told[1]["reward"]
            assert told[0]["response"] == sent[0]["response"]
            assert told[0]["responses_create_params"] == sent[0]["responses_create_params"]
        # Two tasks with one prompt are two groups, and the next epoch is judged anew, beside its own sibling.
        sent = [rollout(n, i, _ng_task_index=task) for task in (1, 2) for i, n in enumerate((3, task))]
        told = [body for _, body, _ in await asyncio.gather(*(server.post("/verify", s) for s in sent))]
        assert [body["reward"] for body in told] == [1.0, 0.0, 1.0, 0.0]
        assert server.service.cohorts.counts.retries == 0
        status, told, _ = await server.post("/verify", {**sent[0], "response": {}})
        assert (status, told["error"]["field"]) == (422, "response.output")
        status, told, _ = await server.post("/verify", {**sent[0], "responses_create_params": {"input": [7]}})
        assert (status, told["error"]["field"]) == (422, "responses_create_params.input")


async def test_gym_compares_on_the_path_of_our_own_comparison():
    body = {"conversation_history": [{"role": "user", "content": "q"}]}
    with running() as server:
        better = (5, 9, 7)
        objects = [rollout(n, 0)["response"] for n in better]
        _, told, _ = await server.post("/compare", {**body, "response_objs": objects})
        assert told["rewards"][1] > told["rewards"][2] > told["rewards"][0]
        assert told["metrics"] == {"judgments": 6.0, "answered": 6.0}
        for row in told["comparison_results"]:
            better = {0: 5, 1: 9, 2: 7}
            assert (row["score_1"] > row["score_2"]) == (
                better[row["response_i"]] > better[row["response_j"]]
            )
        assert (await server.post("/compare", {**body, "response_objs": []}))[1]["rewards"] == []
