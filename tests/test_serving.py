"""The reward server over real connections: everyone is answered, by a number only where there is one."""

import asyncio
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from served import Strength, running

from jurist.core.errors import ConfigError
from jurist.core.types import Message
from jurist.serving.client import AsyncClient, Client, ServerError
from jurist.serving.connections import RateLimit, requests_within
from jurist.serving.server import listening
from jurist.serving.settings import Settings

# --- our own JSON ---------------------------------------------------------------------------------


async def test_two_are_compared_in_both_orders_with_a_trace_on_request():
    body = {"prompt": "p", "responses": ["answer 1", "answer 2"]}
    with running() as server:
        status, told, _ = await server.post("/compare", body)
        assert (status, told["scores"], told["winner"], told["status"]) == (200, [0.0, 1.0], 1, "ok")
        assert told["usage"] == {"prompt_tokens": 20, "completion_tokens": 10}
        assert "trace" not in told
        _, traced, _ = await server.post("/compare", {**body, "trace": True})
        assert sorted(t["order"] for t in traced["trace"]) == [[0, 1], [1, 0]]
        assert {t["text"][:7] for t in traced["trace"]} == {"because"}
        _, same, _ = await server.post("/compare", {**body, "responses": ["answer 1"] * 2})
        assert (same["status"], same["scores"], same["winner"]) == ("refused", None, None)
        server.engine.broken = True
        _, silent, _ = await server.post("/compare", body)
        assert (silent["status"], silent["scores"], silent["winner"]) == ("unparsed", None, None)


async def test_a_deadline_leaves_no_verdict_and_no_number():
    with running(Strength(5)) as server:
        body = {"prompt": "p", "responses": ["answer 1", "answer 2"], "deadline": 0.1}
        _, told, _ = await server.post("/compare", body)
        assert (told["status"], told["scores"]) == ("truncated", None)
        _, told, _ = await server.post("/rank", body)
        assert told["order"] == []
        assert [(r["status"], r["reward"]) for r in told["responses"]] == [("truncated", None)] * 2


async def test_a_ranking_has_rewards_in_the_order_of_the_request():
    messages = [{"role": "user", "content": "q"}]
    with running() as server:
        body = {"prompt": messages, "responses": [f"answer {n}" for n in (5, 9, 7)], "trace": True}
        _, told, _ = await server.post("/rank", body)
        assert told["order"] == [1, 2, 0]
        rewards = [r["reward"] for r in told["responses"]]
        assert rewards[1] > rewards[2] > rewards[0]
        assert (told["matches"], len(told["trace"])) == (3, 6)
        assert {t["order"][0] for t in told["trace"]} == {0, 1, 2}


async def test_four_siblings_in_random_order_are_one_group():
    numbers = [1, 2, 3, 4]
    random.shuffle(numbers)
    with running() as server:

        async def one(number):
            await asyncio.sleep(random.random() / 20)
            body = {"prompt": "p", "response": f"answer {number}", "size": 4, "trace": number == 4}
            return number, (await server.post("/score", body))[1]

        told = dict(await asyncio.gather(*(one(n) for n in numbers)))
        rewards = [told[n]["reward"] for n in (1, 2, 3, 4)]
        assert rewards == sorted(rewards)
        assert len(set(rewards)) == 4
        assert {t["siblings"] for t in told.values()} == {4}
        assert server.service.cohorts.counts.judged == 1
        index, trace = told[4]["index"], told[4]["trace"]
        assert trace
        assert all(index in t["order"] for t in trace)
        assert "trace" not in told[1]
        assert not server.service._traced


async def test_an_incomplete_group_is_judged_only_where_chosen():
    body = {"prompt": "p", "response": "answer 1", "size": 3}
    for partial, rewards in (("refuse", [None, None]), ("judge", [0.0, 1.0])):
        with running(wait=0.2, longest=0.5, partial=partial) as server:
            asks = [server.post("/score", {**body, "response": f"answer {n}"}) for n in (1, 2)]
            answers = [answer for _, answer, _ in await asyncio.gather(*asks)]
            assert [answer["reward"] for answer in answers] == rewards
            assert all("2 of 3 siblings" in answer["note"] for answer in answers)
            if partial == "refuse":
                assert {answer["status"] for answer in answers} == {"truncated"}
                assert not server.engine.queries


async def test_a_callers_earlier_deadline_leaves_the_group_alone():
    with running(longest=60) as server:
        body = {"prompt": "p", "response": "answer 1", "size": 2, "deadline": 0.3}
        _, early, _ = await server.post("/score", body)
        assert (early["reward"], early["status"]) == (None, "truncated")
        again = asyncio.create_task(server.post("/score", {**body, "deadline": 20}))
        await server.until(lambda: server.service.cohorts.counts.retries == 1)
        await server.post("/score", {**body, "response": "answer 2", "deadline": 20})
        assert (await again)[1]["reward"] == 0.0
        assert server.service.cohorts.counts.judged == 1


async def test_groups_are_not_mixed_up():
    with running(group_size=2) as server:
        first = [
            server.post("/score", {"prompt": "p", "response": f"answer {n}", "group": "a"}) for n in (1, 2)
        ]
        other = [
            server.post("/score", {"prompt": "q", "response": f"answer {n}", "group": "b"}) for n in (1, 9)
        ]
        await asyncio.gather(*first, *other)
        assert server.service.cohorts.counts.judged == 2
        waiting = asyncio.create_task(server.post("/score", {"prompt": "p", "response": "1", "group": "c"}))
        await server.until(lambda: server.service.cohorts.counts.open)
        status, told, _ = await server.post("/score", {"prompt": "other", "response": "2", "group": "c"})
        assert status == 409
        assert "open with another prompt" in told["error"]["message"]
        waiting.cancel()


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "field", "message"),
    [
        ("/compare", b"{", 400, None, "no JSON"),
        ("/compare", b"\xff\xfe", 400, None, "no JSON"),
        ("/slime", b'{"x": ' + b"[" * 100_000, 400, None, "nested too deeply"),
        ("/compare", b"[]", 422, None, "Expected `object`"),
        ("/compare", {"prompt": "p"}, 422, "responses", "missing required field"),
        ("/compare", {"prompt": "p", "responses": ["a", 7]}, 422, "responses[1]", "got `int`"),
        ("/compare", {"prompt": "p", "responses": ["a"]}, 422, "responses", "length >= 2"),
        ("/score", {"prompt": "p", "response": "a", "gruop": "g"}, 422, "gruop", "unknown field"),
        ("/score", {"prompt": "p", "response": "a", "deadline": 0}, 422, "deadline", ">= 0.1"),
        ("/score", {"prompt": "p", "response": "a", "size": 0}, 422, "size", ">= 1"),
        ("/rank", {"prompt": "p", "responses": []}, 422, "responses", "length >= 1"),
        ("/get_reward", {"query": ["p1"], "prompts": [], "labels": None}, 409, "prompts", "1 queries"),
        ("/nowhere", {}, 404, None, "no route /nowhere"),
    ],
)
async def test_bad_bodies_are_told_the_field_and_the_mend(door, path, body, status, field, message):
    got, told, _ = await door.post(path, body)
    assert (got, told["error"]["field"]) == (status, field)
    assert message in told["error"]["message"]
    assert told["error"]["hint"]


@pytest.fixture(scope="module")
def door():
    with running() as server:
        yield server


async def test_ten_megabytes_are_too_many(door):
    status, told, _ = await door.post("/compare", b'{"prompt": "' + b"x" * 10_000_000 + b'"}')
    assert status == 413
    assert "8,388,608" in told["error"]["message"]
    assert (await door.get("/compare"))[0] == 405
    assert (await door.get("/healthz"))[0] == 200


async def test_the_openapi_document_describes_what_is_there(door):
    told = json.loads((await door.get("/openapi.json"))[1])
    assert {"/compare", "/score", "/rank", "/get_reward"} <= set(told["paths"])
    asked = told["components"]["schemas"]["CompareRequest"]
    assert asked["required"] == ["prompt", "responses"]
    assert asked["properties"]["responses"]["minItems"] == 2
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(told)))
    assert names <= set(told["components"]["schemas"])


# --- the door -------------------------------------------------------------------------------------


async def test_without_the_token_only_the_health_is_told():
    body = {"prompt": "p", "responses": ["answer 1", "answer 2"]}
    with running(token="secret é") as server:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret é"}):
            status, _, headers = await server.post("/compare", body, headers=given)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            assert (await server.get("/metrics", headers=given))[0] == 401
        assert (await server.get("/healthz"))[0] == 200
        assert not server.engine.queries
        right = {"Authorization": "Bearer secret é"}
        assert (await server.post("/compare", body, headers=right))[0] == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "no token"),
        ({"host": "judge.example"}, "no token"),
        ({"unanswered": "zero"}, "none of error, mean or a number"),
        ({"unanswered": "nan"}, "none of"),
        ({"port": 70_000}, "out of range"),
        ({"queue": 0}, "out of range"),
        ({"deadline": -1.0}, "out of range"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Settings(**options)
    assert Settings(host="::1").token is None
    assert Settings(host="0.0.0.0", token="t").host == "0.0.0.0"


async def test_pages_of_the_web_may_not_ask_and_a_full_queue_says_when(door):
    assert (await door.post("/compare", {}, headers={"Origin": "https://example.com"}))[0] == 403
    with running(queue=1) as server:
        first = asyncio.create_task(server.post("/score", {"prompt": "p", "response": "answer 1", "size": 2}))
        await server.until(lambda: server.service.active)
        status, _, headers = await server.post("/score", {"prompt": "p", "response": "answer 2"})
        assert (status, headers["Retry-After"]) == (429, "5")
        assert (await server.get("/healthz"))[0] == 200
        server.service.draining = True
        assert (await first)[0] == 503  # its sibling will not come here any more


async def test_draining_answers_whoever_waits_and_takes_nobody_new():
    with running(Strength(0.2), wait=60, partial="judge") as server:
        waiting = [
            asyncio.create_task(server.post("/score", {"prompt": "p", "response": f"answer {n}", "size": 4}))
            for n in (1, 2)
        ]
        pair = {"prompt": "p", "responses": ["answer 1", "answer 2"]}
        waiting.append(asyncio.create_task(server.post("/compare", pair)))
        await server.until(lambda: server.service.cohorts.counts.waiting == 2 and server.service.active == 3)
        server.service.draining = True
        status, _, headers = await server.post("/score", {"prompt": "p", "response": "answer 3"})
        assert (status, headers["Retry-After"]) == (503, "5")
        assert json.loads((await server.get("/healthz"))[1])["status"] == "draining"
        low, high, compared = [told for _, told, _ in await asyncio.gather(*waiting)]
        assert low["reward"] < high["reward"]
        assert compared["winner"] == 1
        server.thread.join(5)
        assert not server.thread.is_alive()


async def test_the_counters_say_what_went_on():
    with running(group_size=2) as server:
        both = [server.post("/score", {"prompt": "p", "response": f"answer {n}"}) for n in (1, 2)]
        await asyncio.gather(*both)
        await server.post("/score", b"{")
        text = (await server.get("/metrics"))[1]
        for line in (
            'jurist_requests_total{route="/score",status="200"} 2.0',
            'jurist_requests_total{route="/score",status="400"} 1.0',
            'jurist_rewards_total{status="ok"} 2.0',
            'jurist_judgment_tokens_total{kind="completion"} 10.0',
            "jurist_judgment_seconds_total 1.0",
            "jurist_groups_open 0.0",
        ):
            assert line in text, line


# --- limits ----------------------------------------------------------------------------------------


async def test_half_a_head_or_half_a_body_is_not_waited_for():
    head = b"POST /compare HTTP/1.1\r\nHost: x\r\n"
    with running(idle=0.3) as server:
        port = int(server.url.rpartition(":")[2])
        for sent, answered in (
            (b"", b""),
            (head, b""),
            (head + b"Content-Length: 9\r\n\r\n{", b"HTTP/1.1 408"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            reply = await asyncio.wait_for(reader.read(), 5)
            assert reply.startswith(answered), sent
            assert bool(reply) == bool(answered)
            writer.close()
        # A second request on a connection has the same time for its head.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read(12)).endswith(b"200")
        await asyncio.sleep(0.1)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost")
        assert b"HTTP/1.1" not in await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert server.service.held_bytes == server.service.active == 0


async def test_requests_that_wait_hold_so_many_bytes_and_no_more():
    body = {"prompt": "x" * 600, "response": "answer 1", "size": 2}
    with running(max_bytes=1000) as server:
        first = asyncio.create_task(server.post("/score", body))
        await server.until(lambda: server.service.held_bytes)
        status, error, headers = await server.post("/score", {**body, "response": "answer 2"})
        assert (status, headers["Retry-After"]) == (429, "5")
        assert "1,000 bytes" in error["error"]["message"]
        assert (await server.get("/healthz"))[0] == 200
        server.service.draining = True
        await first


def test_the_queue_fits_the_limit_of_open_files():
    assert requests_within(None, 4096, 64) == 4096
    assert requests_within(100_000, 4096, 64) == 4096
    assert requests_within(256, 4096, 64) == 128
    assert requests_within(1024, 4096, 64) == 1024 - 128
    assert requests_within(3, 4096, 64) == 2


async def test_more_connections_than_files_end_in_429():
    with running(queue=8) as server:
        body = {"prompt": "p", "size": 64}
        asks = [server.post("/score", {**body, "response": f"answer {n}"}) for n in range(40)]
        tasks = [asyncio.create_task(ask) for ask in asks]
        done, waiting = await asyncio.wait(tasks, timeout=2)
        assert {task.result()[0] for task in done} == {429}
        assert (len(done), len(waiting)) == (32, 8)
        server.service.draining = True
        await asyncio.wait(waiting)


def test_troubles_that_repeat_are_logged_now_and_then():
    limit = RateLimit(most=2, seconds=0.05)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "it fails", None, None)
    assert [limit.filter(record) for _ in range(5)] == [True, True, False, False, False]
    time.sleep(0.06)
    assert limit.filter(record)
    assert record.msg == "it fails (3 more such lines were left out)"


# --- our client -----------------------------------------------------------------------------------


async def test_the_client_gives_back_what_the_server_said():
    with running(token="t") as server:
        async with AsyncClient(server.url, "t") as client:
            pair = ["answer 1", "answer 2"]
            compared = await client.compare([Message("user", "q")], pair, trace=True)
            assert (compared.winner, compared.scores, len(compared.trace)) == (1, (0.0, 1.0), 2)
            assert (await client.rank("q", ["answer 1", "answer 3", "answer 2"])).order == (1, 2, 0)
            low, high = await asyncio.gather(*(client.score("q", r, size=2) for r in pair))
            assert low.reward < high.reward
            assert (await client.score("q", "answer 1", size=1)).reward is None
            with pytest.raises(ServerError, match="HTTP 422: responses: ") as refused:
                await client.compare("q", ["alone"])
            assert refused.value.status == 422
        async with AsyncClient(server.url, "wrong") as client:
            with pytest.raises(ServerError, match="no token"):
                await client.compare("q", pair)


def test_the_client_for_scripts_waits_and_tries_again():
    with running() as server, Client(server.url) as client:
        assert client.compare("q", ["answer 2", "answer 1"]).winner == 0
        assert client.rank("q", ["answer 2", "answer 1"]).order == (0, 1)
        assert client.score("q", "answer 1", size=1).status == "refused"
    with Client(server.url, patience=1.5) as client, pytest.raises(ServerError, match="no reply") as gone:
        client.compare("q", ["a", "b"])
    assert gone.value.status == 0


async def test_the_client_waits_for_a_server_that_comes_back():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        refused.set()

    refused = asyncio.Event()
    busy = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = busy.sockets[0].getsockname()[1]
    async with AsyncClient(f"http://127.0.0.1:{port}", patience=30) as client:
        asked = asyncio.create_task(client.compare("q", ["answer 1", "answer 2"]))
        await refused.wait()
        busy.close()
        await busy.wait_closed()
        await asyncio.sleep(1)  # nobody listens
        with running(port=port):
            assert (await asked).winner == 1


# --- the process ----------------------------------------------------------------------------------


def test_sigterm_ends_the_process_in_order():
    command = [sys.executable, "-m", "jurist", "serve", "--engine", "scripted:<answer>[[A]]</answer>"]
    process = subprocess.Popen(
        [*command, "--port", "0"], stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "listening" in line:
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert "goodbye" in process.stderr.read()
    process.stderr.close()
    assert any("balanced(4)" in line for line in lines)


def test_a_port_that_is_taken_is_said():
    with running() as server, pytest.raises(ConfigError, match="cannot listen"):
        listening(Settings(port=int(server.url.rpartition(":")[2])))
