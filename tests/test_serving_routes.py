"""The contracts of trainers and rerankers, as their clients send and read them."""

import asyncio
import json
from dataclasses import replace

import msgspec
import pytest
from served import Strength, judge_of, running

from jurist.core.types import Message
from jurist.rewards.cohort import CohortSample
from jurist.serving.retries import Caller, HeldConnections, SampleKeys
from jurist.serving.templates import turns_of, without_ends


def openrlhf(number, prompt="p", label=None):
    return {"query": [f"{prompt}answer {number}</s>"], "prompts": [prompt], "labels": [label]}


# --- OpenRLHF -------------------------------------------------------------------------------------


async def test_openrlhf_gets_one_number_a_query_in_its_own_shape():
    chat = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
    with running(group_size=4) as server:
        calls = [server.post("/get_reward", openrlhf(n, chat, "7")) for n in (4, 2, 1, 3)]
        told = [body for _, body, _ in await asyncio.gather(*calls)]
        rewards = [body["rewards"][0] for body in told]
        assert rewards[0] > rewards[3] > rewards[1] > rewards[2]
        assert [body["scores"] for body in told] == [[r] for r in rewards]
        assert told[0]["extra_logs"] == {"answered": [1.0], "prompt_found": [1.0], "siblings": [4.0]}
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


async def test_a_disconnected_caller_cancels_no_group_and_can_rejoin():
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


async def test_a_retry_read_beside_its_lost_request_is_one_sample():
    """As after a pause of the server: both requests and the loss of the first connection come at once."""

    async def lost():
        for _ in range(2):
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def kept():
        await asyncio.Event().wait()

    body = {"prompt": "q", "response": "answer 3"}
    with running(group_size=2) as server:
        sample = CohortSample((Message("user", body["prompt"]),), body["response"])
        other = CohortSample((Message("user", body["prompt"]),), "answer 8")
        asks = [
            server.service.numbers([one], Caller("client", receive), None)
            for one, receive in ((sample, lost), (sample, kept), (other, kept))
        ]
        first, again, last = await asyncio.wait_for(asyncio.gather(*asks), 10)
        assert (first[0][1], again[0][1], last[0][1]) == (0.0, 0.0, 1.0)
        assert server.service.cohorts.counts.retries == 1


def test_templates_are_read_as_a_whole_or_not_at_all():
    user = Message("user", "q")
    assert turns_of("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n") == (user,)
    assert turns_of("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n") == (user,)
    llama = "<|start_header_id|>{}<|end_header_id|>\n\n"
    text = "<|begin_of_text|>" + llama.format("user") + "q<|eot_id|>" + llama.format("assistant")
    assert turns_of(text) == (user,)
    gemma = "<start_of_turn>{}\n"
    text = "<bos>" + gemma.format("user") + "q<end_of_turn>\n" + gemma.format("model")
    assert turns_of(text) == (user,)
    assert turns_of(text + "a<end_of_turn>\n") == (user, Message("assistant", "a"))
    assert turns_of("<s>[INST] q [/INST]") == turns_of("<s> [INST]q[/INST] ") == (user,)
    assert turns_of("<s>[INST] q [/INST] a</s>[INST] q [/INST]") == (user, Message("assistant", "a"), user)
    for other in ("[INST] q", "[INST] a [/INST] b [/INST]", "[INST]" * 9):
        assert turns_of(other) is None
    for other in ("q", "", "before <|im_start|>user\nq<|im_end|>\n", "<|im_start|>user\nq"):
        assert turns_of(other) is None
    assert without_ends("a<|im_end|>\n<|endoftext|>") == "a"
    assert without_ends("</s> a </s> b") == "</s> a </s> b"


async def test_few_connections_are_given_back_and_every_group_is_whole():
    """slime's client: a connection is held by each sample that waits, and a 503 is tried again."""
    with running(group_size=4, longest=60) as server:
        server.service.held = HeldConnections(most=3, times=1000)
        free = asyncio.Semaphore(4)

        async def sample(group, number):
            for _ in range(1000):
                async with free:
                    status, reward, _ = await server.post(
                        "/slime", {"prompt": f"p{group}", "response": f"answer {number}"}
                    )
                if status == 200:
                    return reward
                assert (status, "kept its place" in reward["error"]["hint"]) == (503, True), reward
                await asyncio.sleep(0.05)
            raise AssertionError("never answered")

        # Siblings come last, so that all connections are held by samples that wait for them.
        rewards = await asyncio.gather(*(sample(group, n) for n in (1, 2, 3, 4) for group in range(6)))
        for group in range(6):
            assert rewards[group::6] == pytest.approx([0, 1 / 3, 2 / 3, 1])
        counts = server.service.cohorts.counts
        assert (counts.samples, counts.judged, counts.partial) == (24, 6, 0)
        assert not server.service.held._held


async def test_who_came_often_is_not_sent_away_again():
    held = HeldConnections(most=1, times=2)
    first = held.hold("a", b"1", lambda: True)
    second = held.hold("a", b"2", lambda: False)  # its group is being judged
    assert (first.done(), second.done()) == (True, False)
    held.end("a", first)
    first = held.hold("a", b"1", lambda: True)
    assert not first.done()
    other = held.hold("b", b"3", lambda: True)  # another address
    assert not other.done()
    for address, future in (("a", first), ("a", second), ("b", other)):
        held.end(address, future)
    assert not held._held


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


async def test_a_reranker_answers_one_document_equal_ones_and_objects():
    with running() as server:

        async def results(documents, **more):
            body = {"query": "q", "documents": documents, "top_n": None, **more}
            status, reply, _ = await server.post("/rerank", body)
            assert status == 200, reply
            assert set(reply["usage"]) == {"prompt_tokens", "total_tokens"}
            return reply["results"]

        assert [r["relevance_score"] for r in await results(["answer 1"])] == [0.5]
        assert [r["relevance_score"] for r in await results(["answer 1"] * 3)] == [0.5] * 3
        objects = [{"title": f"t{n}", "body": f"answer {n}", "year": n} for n in (1, 9)]
        for more in ({"rank_fields": ["body"]}, {"rank_fields": ["title", "body"]}, {}):
            ranked = await results(objects, **more)
            assert [r["index"] for r in ranked] == [1, 0]
            assert ranked[0]["document"] == objects[1]
        assert "document" not in (await results(["answer 1", "answer 2"], return_documents=False))[0]


async def test_a_document_without_a_verdict_leaves_the_others_ranked():
    judge = judge_of(Strength())
    judge = replace(judge, policy=msgspec.structs.replace(judge.policy, empty="none"))
    with running(judge=judge) as server:
        _, reply, _ = await server.post("/rerank", {"query": "q", "documents": ["answer 1", "", "answer 5"]})
        assert [r["index"] for r in reply["results"]] == [2, 0]
        assert [(r["index"], r["status"]) for r in reply["unanswered"]] == [(1, "refused")]


async def test_the_judge_is_listed_as_a_model():
    with running() as server:
        status, text = await server.get("/v1/models")
        listed = json.loads(text)
        assert (status, listed["object"], [m["id"] for m in listed["data"]]) == (200, "list", ["jurist"])


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


async def test_gym_rollouts_that_differ_in_their_calls_are_not_equal():
    def calls(number):
        call = {"type": "function_call", "name": "find", "arguments": f'{{"n": "answer {number}"}}'}
        came = {"type": "function_call_output", "call_id": "c", "output": "found"}
        return {**rollout(1, 0)["response"], "output": [call, came]}

    body = {"conversation_history": [{"role": "user", "content": "q"}, *calls("x")["output"]]}
    with running() as server:
        status, told, _ = await server.post("/compare", {**body, "response_objs": [calls(3), calls(8)]})
        assert (status, told["rewards"][1] > told["rewards"][0]) == (200, True), told
        image = {"output": [{"type": "message", "content": [{"type": "output_image"}]}]}
        status, told, _ = await server.post("/compare", {**body, "response_objs": [calls(3), image]})
        assert (status, told["error"]["message"]) == (
            422,
            'response_objs[1].output[0].content[0]: a part of the type "output_image" is no text',
        )


async def test_gym_s_agent_finds_the_routes_of_a_resources_server():
    rows = [
        {"_ng_task_index": i // 2, "reward": float(i), "response": {"usage": {"total_tokens": 7}}}
        for i in range(4)
    ]
    with running() as server:
        for prefix in ("", "/ng-rollout/1-2"):
            assert (await server.post(f"{prefix}/seed_session", {"any": 1}))[:2] == (200, {})
            status, metrics, _ = await server.post(f"{prefix}/aggregate_metrics", {"verify_responses": rows})
            assert (status, metrics["agent_metrics"]["mean/reward"]) == (200, 1.5)
            assert metrics["key_metrics"] == {"mean/reward": 1.5, "mean/total_tokens": 7.0}
            assert [g["mean/reward"] for g in metrics["group_level_metrics"]] == [0.5, 2.5]
            assert await server.get(f"{prefix}/reverify_mode") == (200, '"unsupported"')
        status, metrics, _ = await server.post("/aggregate_metrics", {"verify_responses": []})
        assert (status, metrics["agent_metrics"]) == (200, {})


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
