"""The HTTP engine against a real server: what is sent, what is read, and what every failure becomes."""

import asyncio
import logging
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import stamina
from msgspec.structs import replace
from stub_server import Reply, StubServer, chat, html, models, problem, stub_server

from jurist.api import judge_all
from jurist.core.errors import EngineError, UnknownNameError
from jurist.core.types import Case, Completion, Message, Query, Sampling, Status
from jurist.engines.openai.client import HttpEngine
from jurist.engines.openai.errors import Refused
from jurist.protocols.verdicts import parse_letter

CHAT = "/v1/chat/completions"
KEY = "sk-never-on-disk-4711"
Make = Callable[..., HttpEngine]


@pytest.fixture
def make(make_http: Make) -> Make:
    """Engines at the stub."""
    return make_http


def ask(sample: int = 0, case: str = "c", **sampling: Any) -> Query:
    """A query; its seed is its sample's number where it draws."""
    chosen = Sampling(**sampling)
    if chosen.temperature > 0 and chosen.seed is None:
        chosen = replace(chosen, seed=sample)
    return Query(case, (0, 1), sample, (Message("user", "Which?"),), chosen)


def with_n(body: Any, first_usage: tuple[int, int] = (7, 10)) -> Reply:
    """As many choices as the request asks for, listed backwards; usage as vLLM states it."""
    n = body.get("n", 1)
    choices = [{"index": i, "message": {"content": f"{i} of {n}"}, "finish_reason": "stop"} for i in range(n)]
    usage = {"prompt_tokens": first_usage[0], "completion_tokens": first_usage[1]}
    return Reply({"choices": choices[::-1], "usage": usage})


async def one(server: StubServer, engine: HttpEngine, *replies: Reply) -> Completion:
    """What the engine makes of these replies to one query."""
    server.say(CHAT, *replies)
    return await asyncio.wait_for(engine(ask()), 10)


async def refusal(engine: HttpEngine) -> EngineError:
    """What ``check`` refuses with."""
    with pytest.raises(EngineError) as caught:
        await engine.check()
    return caught.value


# --- replies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "filter"),
        (None, "stop"),
        ("tool_calls", "stop"),
    ],
)
async def test_a_good_reply(server: StubServer, make: Make, said: str | None, read: str) -> None:
    got = await one(server, make(), chat("Fine.", said))
    assert (got.text, got.finish, got.error, got.thinking) == ("Fine.", read, None, None)
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (7, 3)
    assert 0 < got.seconds < 5


@pytest.mark.parametrize("said", ["abort", "error"])
async def test_an_aborted_reply_is_a_failure(server: StubServer, make: Make, said: str) -> None:
    got = await one(server, make(), chat("Fi", said))
    assert got.finish == "error"
    assert "aborted" in (got.error or "")


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_in_its_own_field(server: StubServer, make: Make, field: str) -> None:
    got = await one(server, make(), chat("<answer>[[A]]</answer>", **{field: "[[B]]?"}))
    assert got.thinking == "[[B]]?"
    assert parse_letter(got).scores == (1.0, 0.0)


async def test_reasoning_in_the_content_stays_there(server: StubServer, make: Make) -> None:
    got = await one(server, make(), chat("<think>[[B]]?</think><answer>[[A]]</answer>"))
    assert got.thinking is None
    assert parse_letter(got).scores == (1.0, 0.0)


async def test_reasoning_alone_is_an_empty_answer(server: StubServer, make: Make) -> None:
    got = await one(server, make(), chat(None, "length", reasoning="still thinking"))
    assert (got.text, got.thinking) == ("", "still thinking")
    assert parse_letter(got).status is Status.TRUNCATED


async def test_content_in_parts(server: StubServer, make: Make) -> None:
    parts = [
        {"type": "text", "text": "One, "},
        {"type": "text", "text": None},
        {"type": "text", "text": "two."},
    ]
    reply = chat()
    reply.body["choices"][0]["message"]["content"] = parts
    assert (await one(server, make(), reply)).text == "One, two."


async def test_a_refusal(server: StubServer, make: Make) -> None:
    got = await one(server, make(), chat(None, refusal="I can't compare these."))
    assert (got.text, got.finish) == ("I can't compare these.", "filter")
    assert parse_letter(got).status is Status.REFUSED


async def test_cached_tokens_and_a_usage_with_gaps(server: StubServer, make: Make) -> None:
    reply = chat()
    reply.body["usage"]["prompt_tokens_details"] = {"cached_tokens": 5}
    assert (await one(server, make(), reply)).usage.cached == 5
    reply.body["usage"] = {"prompt_tokens": 7, "completion_tokens": None, "prompt_tokens_details": None}
    got = await one(server, make(), reply)
    assert (got.error, got.usage.prompt_tokens, got.usage.completion_tokens) == (None, 7, 0)


# --- request bodies ----------------------------------------------------------------------------------


async def test_the_body(server: StubServer, make: Make) -> None:
    engine = make(extra={"top_k": 20, "max_tokens": None, "max_completion_tokens": 99})
    server.say(CHAT, chat())
    await engine(ask(temperature=0.6, top_p=0.9, seed=11, stop=("END",), thinking_budget=64))
    assert server.requests[0].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Which?"}],
        "temperature": 0.6,
        "top_p": 0.9,
        "seed": 11,
        "stop": ["END"],
        "top_k": 20,
        "max_completion_tokens": 99,
    }


async def test_the_body_of_a_plain_query(server: StubServer, make: Make) -> None:
    await one(server, make(), chat())
    body = server.requests[0].body
    assert set(body) == {"model", "messages", "temperature", "top_p", "max_tokens"}
    assert server.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("owner", "neutral"),
    [
        ("vllm", {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}),
        ("llamacpp", {"top_k": 0, "min_p": 0.0}),
        ("openai", {}),
    ],
)
async def test_neutral_sampling_fields(
    server: StubServer, make: Make, owner: str, neutral: dict[str, float]
) -> None:
    server.say("/v1/models", models("m", owned_by=owner))
    engine = make()
    await engine.check()
    await one(server, engine, chat())
    body = server.asked(CHAT)[-1].body
    assert {k: v for k, v in body.items() if k in ("top_k", "min_p", "repetition_penalty")} == neutral


async def test_extra_wins_over_neutral_fields(server: StubServer, make: Make) -> None:
    server.say("/v1/models", models("m", owned_by="vllm"))
    engine = make(extra={"top_k": 5, "min_p": None})
    await engine.check()
    await one(server, engine, chat())
    body = server.asked(CHAT)[-1].body
    assert body["top_k"] == 5
    assert "min_p" not in body


# --- check -------------------------------------------------------------------------------------------


async def test_check_server_down(make: Make) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    error = await refusal(make(url))
    assert url in error.message
    assert "start the server" in error.hint


@pytest.mark.parametrize(
    "url", ["http://", "http:///v1", "http://no such host/v1", "http://127.0.0.1:99999/v1"]
)
async def test_check_an_address_that_is_none(make: Make, url: str) -> None:
    assert "address" in (await refusal(make(url))).hint


@pytest.mark.parametrize("model", ["m", None])
@pytest.mark.parametrize("status", [200, 404])
async def test_check_a_page_for_people(
    server: StubServer, make: Make, status: int, model: str | None
) -> None:
    server.say("/v1/models", html(status))
    server.say(CHAT, html(status))
    error = await refusal(make(model=model))
    assert "HTML instead of JSON" in error.message
    assert "/v1" in error.hint


@pytest.mark.parametrize("model", ["m", None])
@pytest.mark.parametrize("status", [401, 403])
async def test_check_key_refused(
    server: StubServer, make: Make, monkeypatch: pytest.MonkeyPatch, status: int, model: str | None
) -> None:
    server.say("/v1/models", problem(status, "Incorrect API key provided"))
    error = await refusal(make(model=model))
    assert f"HTTP {status}: Incorrect API key" in error.message
    assert "export JURIST_API_KEY" in error.hint
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "OPENAI_API_KEY" in (await refusal(make(model=model))).hint, "the key that was refused is named"


async def test_check_without_a_list_of_models(server: StubServer, make: Make) -> None:
    error = await refusal(make(model=None))
    assert "HTTP 404" in error.message
    assert "/v1" in error.hint
    server.say(CHAT, chat())
    await make(model="m").check()
    assert server.asked(CHAT)[0].body["max_tokens"] == 1


@pytest.mark.parametrize("status", [400, 422])
async def test_check_a_server_that_only_takes_other_requests(
    server: StubServer, make: Make, status: int
) -> None:
    server.say(CHAT, problem(status, "max_tokens is too small"))
    await make().check()


@pytest.mark.parametrize("reply", [html(404), problem(404, "The model `m` does not exist.")])
async def test_check_neither_models_nor_chat(server: StubServer, make: Make, reply: Reply) -> None:
    server.say(CHAT, reply)
    error = await refusal(make())
    assert "refused: HTTP 404" in error.message
    assert "/v1" in error.hint


@pytest.mark.parametrize("body", [{"models": 3}, "m", b"{", b"\xff", {"data": [3]}, {"data": [{"size": 1}]}])
async def test_check_another_shape(server: StubServer, make: Make, body: Any) -> None:
    server.say("/v1/models", Reply(body))
    error = await refusal(make(model=None))
    assert "did not answer with a list of models" in error.message
    assert "/v1" in error.hint


async def test_check_a_server_that_is_still_loading(server: StubServer, make: Make) -> None:
    server.say("/v1/models", problem(503, "Loading model"))
    error = await refusal(make())
    assert "not ready" in error.message
    assert "HTTP 503: Loading model" in error.message
    assert "wait" in error.hint


async def test_check_several_models(server: StubServer, make: Make) -> None:
    server.say("/v1/models", models("qwen-7b", "llama-8b"))
    error = await refusal(make(model=None))
    assert "qwen-7b, llama-8b" in error.message
    assert "--model" in error.hint
    await make(model="llama-8b").check()


async def test_check_an_unknown_model(server: StubServer, make: Make) -> None:
    server.say("/v1/models", models("qwen-7b", "llama-8b"))
    with pytest.raises(UnknownNameError) as caught:
        await make(model="qwen-7").check()
    assert caught.value.hint == "did you mean 'qwen-7b'?"
    with pytest.raises(UnknownNameError) as caught:
        await make(model="zzz").check()
    assert "--model" in caught.value.hint


@pytest.mark.parametrize("body", [{"object": "list", "data": []}, {"data": None}, {"models": []}, []])
async def test_check_no_models(server: StubServer, make: Make, body: Any) -> None:
    server.say("/v1/models", Reply(body))
    error = await refusal(make(model=None))
    assert "lists no models" in error.message
    assert "--model" in error.hint
    await make(model="m").check()


@pytest.mark.parametrize("end", ["", "/", "/chat/completions", "/chat/completions/"])
async def test_check_a_single_model_is_chosen(server: StubServer, make: Make, end: str) -> None:
    server.say("/v1/models", models("only"))
    engine = make(server.url + end, model=None)
    await engine.check()
    assert engine.identity() == "only"
    await one(server, engine, chat())
    assert server.asked(CHAT)[0].body["model"] == "only"


# --- retries and failures ----------------------------------------------------------------------------


async def test_retry_after_seconds(server: StubServer, make: Make) -> None:
    busy = Reply({}, status=429, headers={"Retry-After": "0.7"})
    assert (await one(server, make(), busy, chat())).text == "ok"
    first, second = server.requests
    assert second.at - first.at >= 0.7


async def test_retry_after_a_date(server: StubServer, make: Make) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    busy = Reply({}, status=503, headers={"Retry-After": format_datetime(until, usegmt=True)})
    assert (await one(server, make(), busy, chat())).text == "ok"
    assert datetime.now(UTC) >= until


@pytest.mark.parametrize("value", ["0", "-5"])
async def test_retry_after_that_says_nothing_does_not_hammer(
    server: StubServer, make: Make, value: str
) -> None:
    busy = Reply({}, status=429, headers={"Retry-After": value})
    got = await one(server, make(retry_for=0.2), busy)
    assert "HTTP 429" in (got.error or "")
    assert len(server.requests) <= 3


async def test_two_503_then_good(server: StubServer, make: Make) -> None:
    with stamina.set_testing(True, attempts=3):
        got = await one(server, make(), problem(503, "busy"), problem(503, "busy"), chat())
    assert (got.text, got.finish) == ("ok", "stop")
    assert len(server.requests) == 3


async def test_who_waits_is_told_why_once(server: StubServer, make: Make) -> None:
    engine, told = make(), list[str]()
    engine.say = told.append
    with stamina.set_testing(True, attempts=3):
        for _ in range(3):
            await one(server, engine, problem(500, "dead"), chat())
    assert len(told) == 1
    assert "HTTP 500: dead; trying again" in told[0]


async def test_retries_are_not_logged_to_the_screen(
    server: StubServer, make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As in a program that has not set up logging: pytest's own handlers would swallow the line.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with stamina.set_testing(True, attempts=2):
        await one(server, make(), problem(503, "busy"), chat())
    assert capsys.readouterr().err == ""


async def test_429_for_good(server: StubServer, make: Make) -> None:
    got = await one(server, make(retry_for=0.3), problem(429, "Rate limit reached"))
    assert got.finish == "error"
    assert "HTTP 429: Rate limit reached" in (got.error or "")
    assert len(server.requests) > 1


async def test_a_wait_beyond_retry_for_is_not_waited(server: StubServer, make: Make) -> None:
    busy = Reply({}, status=429, headers={"Retry-After": "3600"})
    got = await one(server, make(retry_for=1.0), busy)
    assert "HTTP 429" in (got.error or "")
    assert len(server.requests) == 1


async def test_no_retries(server: StubServer, make: Make, recwarn: pytest.WarningsRecorder) -> None:
    got = await one(server, make(retry_for=0.0), problem(503, "busy"))
    assert "HTTP 503: busy" in (got.error or "")
    assert len(server.requests) == 1
    assert not recwarn.list


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_not_retried(server: StubServer, make: Make, status: int) -> None:
    got = await one(server, make(), problem(status, "no"), chat())
    assert got.finish == "error"
    assert (got.error or "").partition("; mend: ")[0] == f"HTTP {status}: no"
    assert parse_letter(got).status is Status.FAILED
    assert len(server.requests) == 1


VLLM = (
    "This model's maximum context length is 8192 tokens. However, your prompt contains at least 8193 input "
    "tokens, which is over the limit."
)
ROOM = (
    "This model's maximum context length is 8192 tokens. However, you requested {} output tokens and your "
    "prompt contains at least 4097 input tokens, for a total of at least 8193 tokens."
)
LARGE = (
    "'max_tokens' or 'max_completion_tokens' is too large: {}. This model's maximum context length is 8192 "
    "tokens and your request has 6000 input tokens ({} > 8192 - 6000)."
)
LLAMA = "request (6031 tokens) exceeds the available context size (4096 tokens), try increasing it"
TOO_LONG = [
    problem(400, VLLM, type="BadRequestError", param="input_tokens", code=400),
    problem(400, ROOM.format(4096)),
    problem(400, LARGE.format(4096, 4096)),
    problem(400, LLAMA, type="exceed_context_size_error", n_prompt_tokens=6031, n_ctx=4096),
    Reply(
        {"message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."}, 400
    ),
    problem(400, "prompt is too long: 210000 tokens > 200000 maximum"),
]


@pytest.mark.parametrize("reply", TOO_LONG)
async def test_a_prompt_over_the_context(server: StubServer, make: Make, reply: Reply) -> None:
    got = await one(server, make(), reply, chat())
    verdict = parse_letter(got)
    assert verdict.status is Status.TRUNCATED
    assert "context" in (got.error or "")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        problem(400, "max_tokens is too large: 100000. This model supports at most 16384 completion tokens."),
        problem(400, "max_tokens is too long"),
        problem(400, "'stop' is too long: at most 4 sequences"),
        problem(401, "the context length of the key is too long"),
        # The model's whole context asked for as output: no prompt would fit, the setting is wrong.
        problem(400, ROOM.format(8192)),
        problem(400, LARGE.format(100000, 100000)),
        problem(400, "maximum context length is 4096 tokens. However, you requested 4300 tokens "
                     "(204 in the messages, 4096 in the completion)."),
    ],
)  # fmt: skip
async def test_another_limit_is_a_failure(server: StubServer, make: Make, reply: Reply) -> None:
    got = await one(server, make(), reply)
    assert parse_letter(got).status is Status.FAILED
    assert (got.error or "").startswith(f"HTTP {reply.status}: {reply.body['error']['message']}")


def test_is_too_long_needs_a_refusal() -> None:
    assert [Refused(VLLM, status).too_long for status in (400, 413, 500)] == [True, True, False]


BROKEN = [
    (Reply(chat().data(), cut=20), "not completed"),
    (Reply(reset=True), "reset|disconnected"),
    (problem(500, "CUDA error"), "HTTP 500: CUDA error"),
]


@pytest.mark.parametrize(("reply", "words"), BROKEN)
async def test_broken_answers_are_tried_again(
    server: StubServer, make: Make, reply: Reply, words: str
) -> None:
    with stamina.set_testing(True, attempts=2):
        assert (await one(server, make(), reply, chat())).text == "ok"
        got = await one(server, make(), reply)
    assert got.finish == "error"
    assert any(w in (got.error or "").lower() for w in words.lower().split("|")), got.error
    assert len(server.requests) == 4


async def test_an_answer_slower_than_the_timeout(server: StubServer, make: Make) -> None:
    slow = chat()
    slow.delay = 3.0
    with stamina.set_testing(True, attempts=2):
        assert (await one(server, make(timeout=0.2), slow, chat())).text == "ok"
        got = await one(server, make(timeout=0.2), slow)
    assert "no answer in time" in (got.error or "")
    assert len(server.requests) == 4
    await asyncio.sleep(0.05)
    assert server.dropped == 3


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (html(200), "HTML instead of JSON: '<!DOCTYPE html>"),
        (html(413), "HTTP 413: HTML instead of JSON"),
        (Reply(b"upstream died", status=418, kind="text/plain"), "HTTP 418: text instead of JSON: 'upstream"),
        (Reply({"text": "hi"}), "not a chat completion"),
        (Reply({"error": {"message": "Provider returned error", "code": 404}}), "Provider returned error"),
        (Reply({"choices": [{"text": "hi"}]}), "not a chat completion"),
        (Reply(b'{"choices": ['), "not a chat completion"),
        (Reply(b"[" * 100_000), "not a chat completion"),
        (Reply(b'\xff\xfe{"choices": []}'), "not a chat completion"),
        (Reply(b"\xff", status=400), "HTTP 400"),
        (Reply(b'{"error": "\xff"}', status=400), "HTTP 400"),
    ],
)
async def test_nonsense_is_a_failed_completion(
    server: StubServer, make: Make, reply: Reply, words: str
) -> None:
    got = await one(server, make(), reply)
    assert got.finish == "error"
    assert words in (got.error or "")
    assert "\n" not in (got.error or "")
    assert len(server.requests) == 1


async def test_fastapi_says_which_field_without_its_input(server: StubServer, make: Make) -> None:
    detail = [
        {"type": "missing", "loc": ["body", "model"], "msg": "Field required", "input": {"x": "context size"}}
    ]
    got = await one(server, make(), Reply({"detail": detail}, status=422))
    assert (got.error or "").partition("; mend")[0] == "HTTP 422: body.model: Field required"
    assert got.finish == "error"


# --- concurrency and cancellation --------------------------------------------------------------------


async def test_never_more_than_concurrency(server: StubServer, make: Make) -> None:
    reply = chat()
    reply.delay = 0.01
    server.say(CHAT, reply)
    engine = make(concurrency=16)
    got = await asyncio.gather(*[engine(ask(i)) for i in range(200)])
    assert [c.text for c in got] == ["ok"] * 200
    assert server.most == 16


@pytest.mark.parametrize("samples", [1, 4])
async def test_cancelling_frees_the_slot_and_closes_the_request(
    server: StubServer, make: Make, samples: int
) -> None:
    slow = chat()
    slow.delay = 30.0
    server.say(CHAT, slow, chat())
    engine = make(concurrency=1, samples_per_request=samples)
    task = asyncio.create_task(engine(ask(temperature=1.0)))
    await server.busy.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    got = await asyncio.wait_for(engine(ask(1, temperature=1.0)), 2)
    assert got.text == "ok"
    assert (server.dropped, server.in_flight) == (1, 0)


async def test_cancelling_one_vote_leaves_the_others(server: StubServer, make: Make) -> None:
    reply = with_n({"n": 2})
    reply.delay = 0.2
    server.say(CHAT, reply)
    engine = make(samples_per_request=2)
    tasks = [asyncio.create_task(engine(ask(i, temperature=1.0))) for i in range(2)]
    await server.busy.wait()
    tasks[0].cancel()
    assert (await asyncio.wait_for(tasks[1], 2)).text == "1 of 2"
    assert len(server.requests) == 1


async def test_votes_do_not_wait_for_a_closed_engine(server: StubServer, make: Make) -> None:
    slow = chat()
    slow.delay = 30.0
    server.say(CHAT, slow)
    engine = make(samples_per_request=2)
    task = asyncio.create_task(engine(ask(temperature=1.0)))
    await server.busy.wait()
    await engine.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2)


async def test_an_engine_can_be_used_again_after_closing(server: StubServer, make: Make) -> None:
    engine = make()
    await one(server, engine, chat())
    await engine.aclose()
    assert (await one(server, engine, chat("again"))).text == "again"


# --- samples in one request --------------------------------------------------------------------------


async def votes(engine: HttpEngine, n: int, **sampling: Any) -> list[Completion]:
    """n votes about one case, asked in the same moment."""
    asked = [engine(ask(i, **{"temperature": 0.7, **sampling})) for i in range(n)]
    return list(await asyncio.wait_for(asyncio.gather(*asked), 5))


def paid(completions: list[Completion]) -> tuple[int, int]:
    """Tokens read and written over all completions."""
    usages = [c.usage for c in completions]
    return sum(u.prompt_tokens for u in usages), sum(u.completion_tokens for u in usages)


async def test_votes_in_one_request(server: StubServer, make: Make) -> None:
    server.say(CHAT, with_n)
    got = await votes(make(samples_per_request=4), 4)
    assert [c.text for c in got] == [f"{i} of 4" for i in range(4)]
    assert [r.body["n"] for r in server.requests] == [4]
    assert paid(got) == (7, 10)


async def test_more_votes_than_fit_and_other_cases_apart(server: StubServer, make: Make) -> None:
    server.say(CHAT, with_n)
    engine = make(samples_per_request=3)
    got, other = await asyncio.gather(votes(engine, 4), engine(ask(0, "other", temperature=0.7)))
    assert [c.text for c in got] == ["0 of 3", "1 of 3", "2 of 3", "0 of 1"]
    assert other.text == "0 of 1"
    assert sorted(r.body.get("n", 1) for r in server.requests) == [1, 1, 3]


async def test_greedy_queries_are_never_grouped(server: StubServer, make: Make) -> None:
    server.say(CHAT, with_n)
    await votes(make(samples_per_request=4), 3, temperature=0.0)
    assert [r.body.get("n") for r in server.requests] == [None] * 3


async def test_a_server_that_ignores_n(server: StubServer, make: Make) -> None:
    server.say(CHAT, chat())
    got = await votes(make(samples_per_request=4), 4)
    assert [c.text for c in got] == ["ok"] * 4
    assert [r.body.get("n", 1) for r in server.requests] == [4, 1, 1, 1]
    assert {r.body["seed"] for r in server.requests} == {0, 1, 2, 3}
    assert paid(got) == (28, 12)


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_that_refuses_n(server: StubServer, make: Make, status: int) -> None:
    server.say(CHAT, lambda body: problem(status, "n must be 1") if "n" in body else chat())
    engine = make(samples_per_request=3)
    got = await votes(engine, 3)
    assert [c.text for c in got] == ["ok"] * 3
    assert [r.body.get("n", 1) for r in server.requests] == [3, 1, 1, 1]
    assert paid(got) == (21, 9)


async def test_a_server_that_sends_more_than_n(server: StubServer, make: Make) -> None:
    server.say(CHAT, with_n({"n": 3}))
    got = await votes(make(samples_per_request=2), 2)
    assert [c.text for c in got] == ["0 of 3", "1 of 3"]


async def test_one_aborted_sample_is_one_failed_vote(server: StubServer, make: Make) -> None:
    reply = with_n({"n": 3})
    reply.body["choices"][-1]["finish_reason"] = "abort"
    server.say(CHAT, reply)
    got = await votes(make(samples_per_request=3), 3)
    assert [c.finish for c in got] == ["error", "stop", "stop"]
    assert [c.text for c in got] == ["0 of 3", "1 of 3", "2 of 3"]
    assert paid(got) == (7, 10)


async def test_failed_votes_are_not_asked_singly(server: StubServer, make: Make) -> None:
    server.say(CHAT, TOO_LONG[0])
    got = await votes(make(samples_per_request=3), 3)
    assert [c.finish for c in got] == ["length"] * 3
    assert len(server.requests) == 1
    server.say(CHAT, problem(401, "no"))
    got = await votes(make(samples_per_request=3), 3)
    assert [(c.error or "").partition("; mend")[0] for c in got] == ["HTTP 401: no"] * 3
    assert len(server.requests) == 2


# --- the key -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({"JURIST_API_KEY": "ours", "OPENAI_API_KEY": "theirs"}, "Bearer ours"),
        ({"OPENAI_API_KEY": "theirs"}, "Bearer theirs"),
        ({"JURIST_API_KEY": "", "OPENAI_API_KEY": " theirs\r\n"}, "Bearer theirs"),
        ({}, None),
    ],
)
async def test_where_the_key_comes_from(
    server: StubServer,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    sent: str | None,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    await one(server, make(), chat())
    assert server.requests[0].headers.get("Authorization") == sent


async def test_a_netrc_does_not_come_between(
    server: StubServer, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("JURIST_API_KEY", KEY)
    assert (await one(server, make(), chat())).text == "ok"
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_a_proxy_is_used(server: StubServer, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.root)
    monkeypatch.setenv("no_proxy", "other.invalid")
    server.say(CHAT, chat())
    assert (await make("http://judge.invalid/v1", retry_for=0.0)(ask())).text == "ok"
    assert server.requests[0].headers["Host"] == "judge.invalid"
    refused = await make("http://other.invalid/v1", retry_for=0.0)(ask())
    assert refused.finish == "error"


async def test_the_key_does_not_follow_to_another_host(
    server: StubServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JURIST_API_KEY", KEY)
    async with stub_server() as other:
        other.say(CHAT, chat())
        moved = Reply({}, status=307, headers={"Location": other.root + CHAT})
        assert (await one(server, make(), moved)).text == "ok"
        assert "Authorization" not in other.requests[0].headers


@pytest.mark.parametrize("status", [401, 429])
async def test_no_error_shows_the_key(
    server: StubServer, make: Make, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("JURIST_API_KEY", KEY)
    echo = problem(status, f"Incorrect API key provided: {KEY}.")
    server.say("/v1/models", echo)
    assert KEY not in str(await refusal(make()))
    got = await one(server, make(retry_for=0.0), echo)
    assert "Incorrect API key provided" in (got.error or "")
    assert KEY not in (got.error or "")


async def test_the_key_is_never_on_disk(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JURIST_API_KEY", KEY)
    server.say("/v1/models", models("m"))
    bad = problem(400, f"The key {KEY} may not do this")
    server.say(CHAT, bad, Reply({"error": {"message": f"no {KEY}"}}), chat("<answer>[[A]]</answer>"))
    cases = [Case(str(i), (Message("user", "Which?"),), ("x", "y")) for i in range(3)]
    options: dict[str, Any] = {"engine": server.url, "protocol": "rubrics", "deliberation": "once"}
    # In a thread: the synchronous door would keep this loop, and so the server, from running.
    decisions = await asyncio.to_thread(judge_all, cases, out=tmp_path / "run", **options)
    assert sorted(d.verdict.status for d in decisions) == [Status.FAILED, Status.FAILED, Status.OK]
    assert all(r.headers["Authorization"] == f"Bearer {KEY}" for r in server.requests)
    files = [f for f in (tmp_path / "run").rglob("*") if f.is_file()]
    assert {"run.json", "judgments.jsonl", "decisions.jsonl"} <= {f.name for f in files}
    for file in files:
        assert KEY.encode() not in file.read_bytes(), file.name
