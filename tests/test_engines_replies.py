"""Replies and refusals as servers send them: what becomes of each, and after how many requests."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import stamina
from msgspec.structs import replace
from stub_server import Reply, StubServer, chat, html, message, models, problem

from jurist.core.errors import ConfigError, EngineError, UnknownNameError
from jurist.core.types import Completion, Message, Query, Sampling
from jurist.engines.openai.address import Address, is_address, read_address
from jurist.engines.openai.client import HttpEngine
from jurist.engines.openai.replies import finish_of
from jurist.judging.config import JudgeConfig
from jurist.judging.registry import engine as engine_of

CHAT = "/v1/chat/completions"
GOOD = "<answer>[[B]]</answer>"
Make = Callable[..., HttpEngine]
ASKED = Query("c", (0, 1), 0, (Message("user", "Which?"),), Sampling())


@pytest.fixture
def make(make_http: Make) -> Iterator[Make]:
    """Engines at the stub that try four times, without waiting."""
    with stamina.set_testing(True, attempts=4):
        yield make_http


async def one(server: StubServer, engine: HttpEngine, *replies: Reply) -> Completion:
    """What the engine makes of these replies to one query."""
    server.say(CHAT, *replies)
    return await asyncio.wait_for(engine(ASKED), 10)


def events(*values: Any, done: bool = True) -> Reply:
    """A reply in events, though none was asked for."""
    lines = [f"data: {v if isinstance(v, str) else json.dumps(v)}\n\n" for v in values]
    text = "".join(lines) + ("data: [DONE]\n\n" if done else "")
    return Reply(text.encode(), kind="text/event-stream")


def delta(content: str | None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content, **fields}, "finish_reason": finish}]}


def good(**more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"content": GOOD}, "finish_reason": "stop"}], **more}


RAW_GOOD = json.dumps(good())
READ = {
    "strings in a list": message(["<answer>[[B]]", "</answer>"]),
    "an object with a text": message({"type": "text", "text": GOOD}),
    "parts with thinking": message(
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "[[A]]"}]},
            {"type": "text", "text": GOOD},
        ]
    ),
    "usage as text": Reply(good(usage="7 tokens")),
    "usage with odd parts": Reply(good(usage={"prompt_tokens": "7", "completion_tokens": -1.5})),
    "index null": Reply({"choices": [{"index": None, "message": {"content": GOOD}}]}),
    "error null and empty": Reply(good(error={"message": "", "code": None})),
    "NaN beside it": Reply(RAW_GOOD[:-1].encode() + b', "logprobs": {"x": NaN, "y": -Infinity, "z": 1e999}}'),
    "half a surrogate": Reply(RAW_GOOD.replace(GOOD, "\\ud83d" + GOOD).encode()),
    "latin-1": Reply(RAW_GOOD.replace(GOOD, "caf\u00e9 " + GOOD).encode("latin-1")),
    "byte order mark": Reply(b"\xef\xbb\xbf" + RAW_GOOD.encode()),
    "a comment before it": Reply(b": PROCESSING\n\n: PROCESSING\n\n" + RAW_GOOD.encode()),
    "gzip": Reply(gzip.compress(RAW_GOOD.encode()), headers={"Content-Encoding": "gzip"}),
    "events": events(delta("<answer>[[B]]"), delta("</answer>", "stop"), {"choices": [], "usage": {}}),
    "events without an end": events(delta(GOOD, "stop"), done=False),
    "one event": events(delta(GOOD)),
}


@pytest.mark.parametrize("name", READ)
async def test_a_good_verdict_is_read(server: StubServer, make: Make, name: str) -> None:
    got = await one(server, make(), READ[name])
    assert (got.error, got.finish) == (None, "stop")
    assert got.text.endswith(GOOD)
    assert "[[A]]" not in got.text
    assert len(server.requests) == 1


AGAIN = {
    "empty": Reply(b""),
    "blank": Reply(b" \n "),
    "choices null": Reply({"choices": None, "error": None}),
    "choices empty": Reply({"choices": []}),
    "message null": Reply({"choices": [{"message": None, "finish_reason": "stop"}]}),
    "events that broke off": events(delta("<ans"), done=False),
    "429 in a 200": Reply({"error": {"message": "slow down", "code": 429}}),
    "429 beside choices": Reply(good(error={"message": "slow down", "code": "429"})),
    "a name of an overload": Reply({"error": {"message": "no", "type": "overloaded_error"}}),
    "words of a rate limit": Reply({"error": "Rate limit exceeded: try again"}),
    "an event with an error": events({"error": {"message": "CUDA out of memory", "code": 500}}),
    "an error of the choice": Reply(
        {"choices": [{"error": {"code": 502, "message": "x"}, "finish_reason": "error"}]}
    ),
    "a list of errors": Reply([{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}]),
}


@pytest.mark.parametrize("name", AGAIN)
async def test_what_may_succeed_later_is_asked_again(server: StubServer, make: Make, name: str) -> None:
    got = await one(server, make(), AGAIN[name], AGAIN[name], Reply(good()))
    assert (got.error, got.text) == (None, GOOD)
    assert len(server.requests) == 3


@pytest.mark.parametrize("name", ["empty", "choices empty", "message null", "events that broke off"])
async def test_a_server_that_sends_nothing_is_asked_thrice(server: StubServer, make: Make, name: str) -> None:
    got = await one(server, make(retry_for=60.0), AGAIN[name])
    assert got.finish == "error"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"choices": [{"message": None, "finish_reason": "content_filter"}]}),
        Reply({"choices": [{"finish_reason": "PROHIBITED_CONTENT"}]}),
        Reply({"choices": [{"message": None, "content_filter_results": {"hate": {"filtered": True}}}]}),
        Reply(
            {"choices": [], "prompt_filter_results": [{"content_filter_results": {"x": {"filtered": True}}}]}
        ),
        problem(400, "The response was filtered", code="content_filter"),
        problem(400, "no", innererror={"code": "ResponsibleAIPolicyViolation"}),
        problem(
            400, "Your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"
        ),
        problem(400, "Input data may contain inappropriate content.", code="data_inspection_failed"),
        problem(400, "Content Exists Risk"),
        problem(403, "Your chosen model requires moderation and your input was flagged for 'violence'"),
        Reply({"error": {"message": "blocked", "code": "content_policy_violation"}}),
        message(None, refusal="I cannot help with that."),
        message("I would", "SAFETY"),
    ],
)
async def test_a_content_filter_is_a_refusal(server: StubServer, make: Make, reply: Reply) -> None:
    got = await one(server, make(), reply)
    assert got.finish == "filter"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("finish", "reasons"),
    [
        (
            "length",
            "length max_tokens MAX_TOKENS MaxTokens model_length max_output_tokens token_limit truncated "
            "model_context_window_exceeded incomplete max_new_tokens context_length_exceeded",
        ),
        (
            "filter",
            "content_filter SAFETY content-filtered blocklist PROHIBITED_CONTENT SPII refusal sensitive "
            "RECITATION guardrail_intervened",
        ),
        ("error", "abort aborted error cancelled insufficient_system_resource network_error"),
        ("stop", "stop eos end_turn STOP stop_sequence eos_token tool_calls completed COMPLETE"),
    ],
)
def test_reasons_to_stop_in_any_spelling(finish: str, reasons: str) -> None:
    assert {r: finish_of(r) for r in reasons.split()} == dict.fromkeys(reasons.split(), finish)
    assert finish_of({"type": "length"}) == "length"
    assert finish_of(None) == finish_of(3) == "stop"


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": ["Hm, ", {"type": "text", "text": "so."}]},
        {"reasoning": {"content": "Hm, so."}},
        {"reasoning": None, "reasoning_details": [{"type": "reasoning.text", "text": "Hm, so."}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "Hm, so."}]},
    ],
)
async def test_reasoning_in_any_shape(server: StubServer, make: Make, fields: dict[str, Any]) -> None:
    got = await one(server, make(), message(GOOD, **fields))
    assert (got.text, got.thinking) == (GOOD, "Hm, so.")


async def test_a_call_of_a_tool_is_shown_as_text(server: StubServer, make: Make) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "verdict", "arguments": '{"winner": "B"}'}}
    got = await one(server, make(), message(None, "tool_calls", tool_calls=[call]))
    assert got.text == '<tool_call>\n{"name": "verdict", "arguments": {"winner": "B"}}\n</tool_call>'


# --- errors with their mend --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (
            problem(400, "System role not supported"),
            "HTTP 400: System role not supported; mend: --system merge",
        ),
        (problem(400, "Conversation roles must alternate user/assistant/..."), "--system merge"),
        (
            problem(400, "Unsupported parameter: 'max_tokens' is not supported with this model."),
            """--extra '{"max_tokens": null, "max_completion_tokens": 4096}'""",
        ),
        (
            problem(400, "Unsupported value: 'temperature' does not support 0 with this model."),
            """--extra '{"temperature": null, "top_p": null}'""",
        ),
        (problem(401, "bad key"), "export JURIST_API_KEY=..."),
        (problem(404, "The model `x` does not exist."), "--model with a name that the server lists"),
        (Reply({"detail": "Not Found"}, 404), "usually ends in /v1"),
        (html(200), "usually ends in /v1"),
        (Reply(b"<html>Sign in</html>"), "HTML instead of JSON"),
        (
            problem(429, "You exceeded your quota", code="insufficient_quota"),
            "add credit to the account of the key",
        ),
        (
            problem(
                400,
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
                "(904 in the messages, 4096 in the completion).",
            ),
            "a smaller --max-tokens",
        ),
    ],
)
async def test_an_error_says_how_to_mend_it(server: StubServer, make: Make, reply: Reply, error: str) -> None:
    got = await one(server, make(), reply)
    assert got.finish == "error"
    assert error in (got.error or "")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "value",
    ["inf", "nan", "-5", "1e300", "2s", "Wed, 21 Oct 2015 07:28:00", "Wed, 21 Oct 99999 07:28:00 GMT"],
)
async def test_retry_after_of_any_value(server: StubServer, make: Make, value: str) -> None:
    busy = Reply({}, status=429, headers={"Retry-After": value})
    assert (await one(server, make(), busy, chat())).text == "ok"


async def test_who_gives_up_at_once_says_no_retry(server: StubServer, make: Make) -> None:
    engine, lines = make(), list[str]()
    engine.say = lines.append
    await one(server, engine, Reply({}, status=429, headers={"Retry-After": "3600"}))
    assert lines == []


# --- the list of models ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        Reply([{"id": "m"}]),
        Reply(["m"]),
        Reply({"models": [{"name": "m"}]}),
        Reply({"data": [{"name": "m"}]}),
    ],
)
async def test_a_list_of_models_in_any_shape(server: StubServer, make: Make, reply: Reply) -> None:
    server.say("/v1/models", reply)
    engine = make(model=None)
    await engine.check()
    assert engine.identity() == "m"
    assert not server.asked(CHAT)


@pytest.mark.parametrize(
    "reply",
    [
        problem(401, "no scope"),
        problem(403, "forbidden"),
        Reply(b"no", 405, "text/plain"),
        problem(500, "oh"),
        problem(429, "slow"),
        models("other"),
        Reply({"data": 3}),
        Reply(b"{"),
        html(),
    ],
)
async def test_a_given_model_needs_no_list(server: StubServer, make: Make, reply: Reply) -> None:
    server.say("/v1/models", reply)
    server.say(CHAT, chat())
    await make().check()
    assert [r.body["max_tokens"] for r in server.asked(CHAT)] == [1]


async def test_an_unlisted_model_that_the_server_refuses(server: StubServer, make: Make) -> None:
    server.say("/v1/models", models("qwen-7b"))
    server.say(CHAT, problem(400, "model_not_found: no such model"))
    with pytest.raises(UnknownNameError, match="known: qwen-7b"):
        await make(model="qwen-8b").check()
    server.say(CHAT, problem(401, "bad key"))
    with pytest.raises(EngineError, match="HTTP 401: bad key") as caught:
        await make(model="qwen-8b").check()
    assert "JURIST_API_KEY" in caught.value.hint


async def test_vllm_names_its_control_tokens_where_it_shows_them(server: StubServer, make: Make) -> None:
    server.say("/v1/models", models("m", owned_by="vllm"))
    engine = make()
    await engine.check()
    assert engine.control_tokens == ()
    added = {"1": {"content": "<|im_start|>", "special": True}, "2": "odd"}
    server.say("/tokenizer_info", Reply({"added_tokens_decoder": added}))
    await engine.check()
    assert engine.control_tokens == ("<|im_start|>",)


# --- addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://h:1/v1", Address("http://h:1/v1")),
        (" HTTP://h:1//v1/ ", Address("http://h:1/v1")),
        ("http://h:1/v1/chat/completions/", Address("http://h:1/v1")),
        ("https://h/v1/models", Address("https://h/v1")),
        ("localhost:1/v1", Address("http://localhost:1/v1")),
        ("http://h/v1?api-version=3", Address("http://h/v1", "api-version=3")),
    ],
)
def test_an_address_in_any_spelling(text: str, address: Address) -> None:
    assert read_address(text) == address
    assert is_address(text)


@pytest.mark.parametrize("text", ["embedded", "replay:runs/a", "scalar:org/model", "transformers"])
def test_the_name_of_an_engine_is_no_address(text: str) -> None:
    assert not is_address(text)


async def test_a_query_goes_with_every_request(server: StubServer, make: Make) -> None:
    server.say("/v1/models", models("m"))
    engine = make(f"{server.url}?api-version=3")
    await engine.check()
    await one(server, engine, chat())
    await engine(replace(ASKED, prefill="So"))
    assert all(r.query.endswith("api-version=3") for r in server.requests)
    assert {"/v1/models", "/version", CHAT} <= {r.path for r in server.requests}


async def test_a_bare_host_is_asked_below_v1_first(server: StubServer, make: Make) -> None:
    server.say("/v1/models", models("m"))
    engine = make(server.root, model=None)
    await engine.check()
    assert (await one(server, engine, chat())).text == "ok"
    server.say("/v1/models", Reply({}, 404))
    server.say("/models", models("root"))
    other = make(server.root, model=None)
    await other.check()
    assert (other.identity(), other.url) == ("root", server.root)


def test_every_engine_of_the_command_line_can_be_made() -> None:
    for name in ("transformers", "vllm", "scalar:org/model", "embedded"):
        assert engine_of(JudgeConfig(engine=name, model="org/model")).concurrency > 0
    for address in ("http://h:1/v1", "HTTP://h:1/v1", "localhost:1/v1", "scalar+http://h:1", "127.0.0.1:80"):
        assert isinstance(engine_of(JudgeConfig(engine=address)), HttpEngine)


# --- keys, sizes, redirects --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("http://h/v1?key=abc", {}),
        ("http://h/v1?a=1&api_key=abc", {}),
        ("http://user:pw@h/v1", {}),
        ("http://h/v1?x=sk-abcdefghijklmnopqrst", {}),
        ("http://h/v1", {"api_key": "abc"}),
        ("http://h/v1", {"extra_headers": {"Authorization": "Bearer abcdefgh"}}),
        ("http://h/v1", {"x": ["sk-abcdefghijklmnopqrst"]}),
    ],
)
def test_a_key_is_not_taken_where_it_is_written_down(url: str, extra: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"looks like a key|name or password") as caught:
        HttpEngine(url, "m", extra=extra)
    assert "JURIST_API_KEY" in caught.value.hint
    assert "abc" not in caught.value.message


def test_options_that_only_sound_like_keys_are_taken() -> None:
    extra = {"prompt_cache_key": "a", "max_tokens": None, "stop_token_ids": [1], "logit_bias": {"5": 1}}
    HttpEngine("http://h/v1?api-version=2024-10-21", "m", extra=extra)


@pytest.mark.parametrize("key", ["sk-a\nb", "sk a", "sk-\u2026"])
async def test_a_key_that_no_header_can_carry(make: Make, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("JURIST_API_KEY", key)
    with pytest.raises(ConfigError, match="JURIST_API_KEY") as caught:
        await make().check()
    assert key not in str(caught.value)


async def test_a_reply_that_unpacks_without_end(server: StubServer, make: Make) -> None:
    bomb = gzip.compress(b" " * (65 << 20))
    got = await one(server, make(), Reply(bomb, headers={"Content-Encoding": "gzip"}))
    assert got.error == "the reply is larger than 64 MiB"
    broken = Reply(b"not gzip", headers={"Content-Encoding": "gzip"})
    assert "is not the gzip data" in ((await one(server, make(), broken)).error or "")


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_drops_the_question(server: StubServer, make: Make, status: int) -> None:
    server.say("/elsewhere", chat())
    moved = Reply({}, status=status, headers={"Location": f"{server.root}/elsewhere?token=hidden"})
    got = await one(server, make(), moved)
    assert f"HTTP {status}: the server redirects to {server.root}/elsewhere, " in (got.error or "")
    assert "hidden" not in (got.error or "")


# --- TLS ---------------------------------------------------------------------------------------------


async def test_a_certificate_that_nobody_trusts(make: Make, tls_server: tuple[int, str]) -> None:
    port, _ = tls_server
    with pytest.raises(EngineError, match="certificate is not accepted: self-signed") as caught:
        await make(f"https://127.0.0.1:{port}/v1").check()
    assert "SSL_CERT_FILE" in caught.value.hint
    got = await make(f"https://127.0.0.1:{port}/v1", retry_for=60.0)(ASKED)
    assert "certificate" in (got.error or "")
    assert "tried" not in (got.error or "")


async def test_an_address_with_the_wrong_scheme(
    server: StubServer, make: Make, tls_server: tuple[int, str]
) -> None:
    with pytest.raises(EngineError, match="does not speak TLS") as caught:
        await make(server.root.replace("http", "https") + "/v1").check()
    assert "http://" in caught.value.hint
    with pytest.raises(EngineError) as caught:
        await make(f"http://127.0.0.1:{tls_server[0]}/v1", retry_for=0.0).check()
    assert "https://" in caught.value.hint


@pytest.fixture
async def tls_server(tmp_path: Any) -> AsyncIterator[tuple[int, str]]:
    """A port that speaks TLS with a certificate of its own."""
    import ssl
    import subprocess

    key, certificate = tmp_path / "k.pem", tmp_path / "c.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    try:
        await asyncio.to_thread(subprocess.run, made, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    yield listener.sockets[0].getsockname()[1], str(certificate)
    listener.close()
