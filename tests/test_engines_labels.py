"""Forced verdicts over HTTP: the labels' log-probabilities by the route that each kind of server has."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
import stamina
from msgspec.structs import replace
from stub_server import Reply, StubServer, chat, html, message, problem

from jurist.core.types import Message, Query, Sampling
from jurist.engines.openai.client import HttpEngine

CHAT = "/v1/chat/completions"
Make = Callable[..., HttpEngine]
ASKED = Query("c", (0, 1), 0, (Message("user", "Which?"),), Sampling())
WHICH = replace(ASKED, prefill="<answer>[[", choices=("A", "B"))


@pytest.fixture
def make(make_http: Make) -> Make:
    """Engines at the stub."""
    return make_http


def which(**more: Any) -> Query:
    """A query for the label that comes next."""
    return replace(WHICH, **more)


def vllm(server: StubServer, seen: dict[str, float], tokens: dict[str, list[int]] | None = None) -> None:
    """The stub as vLLM: its tokenizer gives each label the number of its letter."""
    known = {"<answer>[[": [7, 8], "A": [49], "B": [50], **(tokens or {})}

    def tokenize(body: Any) -> Reply:
        ids = [1, 2, 3] if "messages" in body else known[body["prompt"]]
        return Reply({"count": len(ids), "max_model_len": 8192, "tokens": ids})

    logprobs = {
        "text_offset": [0],
        "token_logprobs": [max(seen.values(), default=-1.0)],
        "tokens": ["token_id:49"],
        "top_logprobs": [seen],
    }
    server.say("/version", Reply({"version": "0.22.0"}))
    server.say("/tokenize", tokenize)
    server.say("/v1/completions", Reply({"choices": [{"index": 0, "text": "A", "logprobs": logprobs}]}))


def llama(server: StubServer, probs: dict[int, float], tokens: dict[str, list[int]] | None = None) -> None:
    """The stub as llama.cpp."""
    known = {"A": [49], "B": [50], **(tokens or {})}
    top = [{"id": i, "token": chr(i + 16), "prob": p} for i, p in probs.items()]
    position = {"id": 49, "token": "A", "prob": 0.54, "top_probs": top}
    answer = {"content": "A", "tokens_evaluated": 45, "completion_probabilities": [position]}
    server.say("/props", Reply({"default_generation_settings": {"n_ctx": 4096}, "total_slots": 1}))
    server.say("/apply-template", Reply({"prompt": "<|user|>Which?<|assistant|>"}))
    server.say("/tokenize", lambda body: Reply({"tokens": known[body["content"]]}))
    server.say("/completion", Reply(answer))


def chat_logprobs(top: dict[str, float], text: str = "A") -> Reply:
    """A chat completion of one token with its likeliest tokens."""
    shown = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in top.items()]
    reply = chat(text, "length")
    reply.body["choices"][0]["logprobs"] = {
        "content": [{"token": text, "logprob": -0.1, "top_logprobs": shown}]
    }
    return reply


async def test_vllm_route(server: StubServer, make: Make) -> None:
    vllm(server, {"token_id:49": -0.7366, "token_id:50": -0.98})
    engine = make(extra={"chat_template_kwargs": {"enable_thinking": False}, "top_k": 3})
    got = await engine(which())
    assert got.logprobs == {"A": -0.7366, "B": -0.98}
    assert (got.text, got.usage.prompt_tokens, got.usage.completion_tokens) == ("A", 5, 1)
    first = server.asked("/tokenize")[0].body
    assert first == {
        "model": "m",
        "messages": [{"role": "user", "content": "Which?"}],
        "add_generation_prompt": True,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    (asked,) = server.asked("/v1/completions")
    assert asked.body["prompt"] == [1, 2, 3, 7, 8]
    assert asked.body["logprob_token_ids"] == [49, 50]
    assert asked.body["max_tokens"] == 1
    await engine(which())
    assert len(server.asked("/version")) == 1, "the route is looked for once"
    assert [r.body.get("prompt") for r in server.asked("/tokenize")].count("A") == 1


async def test_llama_cpp_route(server: StubServer, make: Make) -> None:
    llama(server, {49: 0.54, 50: 0.46})
    got = await make()(which())
    assert got.logprobs == {"A": pytest.approx(math.log(0.54)), "B": pytest.approx(math.log(0.46))}
    assert (got.text, got.usage.prompt_tokens) == ("A", 45)
    body = server.asked("/completion")[0].body
    assert body["prompt"] == "<|user|>Which?<|assistant|><answer>[["
    assert [i for i, _ in body["logit_bias"]] == [49, 50]


async def test_chat_route(server: StubServer, make: Make) -> None:
    server.say(CHAT, chat_logprobs({"A": -0.3, " A": -4.0, "B": -1.4}))
    got = await make(extra={"max_completion_tokens": 500, "top_k": 3})(which())
    assert got.logprobs == {"A": -0.3, "B": -1.4}
    assert got.usage.prompt_tokens == 7
    body = server.asked(CHAT)[0].body
    assert body["messages"][-1] == {"role": "assistant", "content": "<answer>[["}
    assert (body["top_logprobs"], body["continue_final_message"], body["top_k"]) == (20, True, 3)


@pytest.mark.parametrize("text", ["B", " B", "<answer>[[B"])
async def test_chat_route_without_probabilities(server: StubServer, make: Make, text: str) -> None:
    server.say(CHAT, chat(text, "length"))
    got = await make()(which())
    assert (got.text, got.logprobs, got.finish) == ("B", None, "stop")


async def test_a_label_missing_is_a_choice(server: StubServer, make: Make) -> None:
    server.say(CHAT, chat_logprobs({"The": -0.2, "B": -5.0}, "The"))
    got = await make()(which())
    assert (got.text, got.logprobs, got.finish) == ("B", None, "stop")


async def test_all_labels_missing_is_a_failure(server: StubServer, make: Make) -> None:
    server.say(CHAT, chat_logprobs({"The": -0.2, "I": -5.0}, "The"))
    got = await make()(which())
    assert got.finish == "error"
    assert "labels" in (got.error or "")
    vllm(server, {"token_id:11": -0.2})
    got = await make()(which())
    assert "labels" in (got.error or "")


@pytest.mark.parametrize("kind", [vllm, llama])
async def test_a_label_of_two_tokens(server: StubServer, make: Make, kind: Callable[..., None]) -> None:
    kind(server, {}, {"B": [50, 51]})
    got = await make()(which())
    assert got.finish == "error"
    assert "'B' is 2 tokens" in (got.error or "")


def odd_vllm(server: StubServer, body: Any) -> None:
    vllm(server, {})
    server.say("/v1/completions", Reply(body))


def odd_llama(server: StubServer, body: Any) -> None:
    llama(server, {})
    server.say("/completion", Reply(body))


def odd_chat(server: StubServer, body: Any) -> None:
    server.say(CHAT, Reply(body))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (odd_vllm, {"choices": []}),
        (odd_vllm, {"choices": [{"logprobs": None}]}),
        (odd_vllm, {"choices": [{"logprobs": {"top_logprobs": []}}]}),
        (odd_vllm, {"choices": [{"logprobs": {"top_logprobs": [None]}}]}),
        (odd_llama, {"content": "A"}),
        (odd_llama, {"completion_probabilities": []}),
        (odd_chat, {"choices": [{"message": "A"}]}),
    ],
)
async def test_odd_answers_are_failures(
    server: StubServer, make: Make, kind: Callable[..., None], body: Any
) -> None:
    kind(server, body)
    got = await make()(which())
    assert got.finish == "error"
    assert "another shape" in (got.error or "") or "not a chat completion" in (got.error or "")


@pytest.mark.parametrize(
    "down", [problem(503, "starting"), problem(500, "oh"), Reply({"version": "0.22.0"}, cut=3)]
)
async def test_a_server_down_while_probed_fixes_no_route(server: StubServer, make: Make, down: Reply) -> None:
    vllm(server, {"token_id:49": -0.7, "token_id:50": -0.9})
    server.say("/version", down, Reply({"version": "0.22.0"}))
    engine = make(retry_for=0.0)
    assert (await engine(which())).finish == "error"
    assert (await engine(which())).logprobs == {"A": -0.7, "B": -0.9}
    assert not server.asked(CHAT)


async def test_llama_cpp_down_while_probed(server: StubServer, make: Make) -> None:
    llama(server, {49: 0.5, 50: 0.5})
    server.say("/props", problem(503, "Loading model"), Reply({"default_generation_settings": {}}))
    with stamina.set_testing(True, attempts=2):
        got = await make()(which())
    assert got.logprobs is not None


async def test_a_server_that_answers_200_to_everything_is_neither(server: StubServer, make: Make) -> None:
    server.say("/version", Reply({"error": "Unexpected endpoint or method. (GET /version)"}))
    server.say("/props", html())
    server.say(CHAT, chat_logprobs({"A": -0.3, "B": -1.4}))
    assert (await make()(which())).logprobs == {"A": -0.3, "B": -1.4}


async def test_a_reasoning_over_the_context_has_a_reason(server: StubServer, make: Make) -> None:
    vllm(server, {})
    server.say("/v1/completions", problem(400, "This model's maximum context length is 8192 tokens."))
    got = await make()(which())
    assert got.finish == "length"
    assert "context" in (got.error or "")


async def test_sixteen_at_once_look_for_the_route_once(server: StubServer, make: Make) -> None:
    vllm(server, {"token_id:49": -0.7, "token_id:50": -0.9})
    engine = make(concurrency=16)
    got = await asyncio.gather(*[engine(which(sample=i)) for i in range(16)])
    assert all(c.logprobs for c in got)
    assert len(server.asked("/version")) == 1
    assert server.most <= 16


def tops(*pairs: tuple[str, Any], text: str | None = "A", **fields: Any) -> Reply:
    """A chat completion of one token with its likeliest tokens."""
    reply = message(text, "length", **fields)
    shown = [{"token": token, "logprob": logprob} for token, logprob in pairs]
    reply.body["choices"][0]["logprobs"] = {
        "content": [{"token": text, "logprob": -0.1, "top_logprobs": shown}]
    }
    return reply


@pytest.mark.parametrize(
    ("reply", "text", "logprobs"),
    [
        (tops(("A", -0.1), ("x", None), ("B", -2.4)), "A", {"A": -0.1, "B": -2.4}),
        (tops(("A", -0.0), ("B", -3.4028234663852886e38)), "A", {"A": 0.0, "B": -9999.0}),
        (tops(("A", None), ("B", -2.4)), "A", None),
        (tops(("A", -0.1), ("B", "?")), "A", None),
        (tops((" A", -0.1), ("\u0120B", -0.3), ("B", -2.4)), "A", {"A": -0.1, "B": -0.3}),
        (message("A]]</answer>", "length"), "A", None),
        (message(None, "length", reasoning_content="A"), "A", None),
    ],
)
async def test_labels_beside_odd_numbers(
    server: StubServer, make: Make, reply: Reply, text: str, logprobs: dict[str, float] | None
) -> None:
    server.say(CHAT, reply)
    got = await make()(WHICH)
    assert (got.error, got.text, got.logprobs) == (None, text, logprobs)


async def test_labels_in_the_older_shape(server: StubServer, make: Make) -> None:
    reply = message("A", "length")
    reply.body["choices"][0]["logprobs"] = {"tokens": ["A"], "top_logprobs": [{"A": -0.1, "B": -2.4}]}
    server.say(CHAT, reply)
    assert (await make()(WHICH)).logprobs == {"A": -0.1, "B": -2.4}


@pytest.mark.parametrize("text", ["A or B", "A is better", "Neither", "AB"])
async def test_a_text_that_only_begins_like_a_label(server: StubServer, make: Make, text: str) -> None:
    server.say(CHAT, message(text))
    assert (await make()(WHICH)).finish == "error"


async def test_a_server_that_shows_fewer_tokens_or_none(server: StubServer, make: Make) -> None:
    def five(body: Any) -> Reply:
        top = body.get("top_logprobs", 0)
        return (
            problem(422, "top_logprobs: less than or equal to 5")
            if top > 5
            else tops(("A", -0.1), ("B", -2.4))
        )

    server.say(CHAT, five)
    engine = make()
    assert (await engine(WHICH)).logprobs == {"A": -0.1, "B": -2.4}
    await engine(WHICH)
    assert [r.body["top_logprobs"] for r in server.asked(CHAT)] == [20, 5, 5]
    none = problem(400, "logprobs are not supported with reasoning models")
    server.say(CHAT, lambda body: none if "logprobs" in body else message("A", "length"))
    assert (await make()(WHICH)).text == "A"


async def test_a_server_that_continues_only_without_thinking(server: StubServer, make: Make) -> None:
    refused = problem(400, "Assistant response prefill is incompatible with enable_thinking.")
    off = {"enable_thinking": False}
    server.say(
        CHAT,
        lambda body: tops(("A", -1.0), ("B", -2.0)) if body.get("chat_template_kwargs") == off else refused,
    )
    assert (await make()(WHICH)).logprobs == {"A": -1.0, "B": -2.0}


async def test_a_version_that_is_not_vllms(server: StubServer, make: Make) -> None:
    server.say("/version", Reply({"version": "v3.4.0"}))
    server.say(CHAT, tops(("A", -0.1), ("B", -2.4)))
    engine = make()
    assert (await engine(WHICH)).logprobs == {"A": -0.1, "B": -2.4}
    assert (await engine(replace(ASKED, prefill="So"))).text == "A"
    assert len(server.asked("/tokenize")) == 1, "the chat route is kept"


async def test_a_router_of_llama_cpp_is_told_the_model(server: StubServer, make: Make) -> None:
    def named(reply: Any) -> Callable[[Any], Reply]:
        return lambda body: (
            Reply(reply(body)) if body.get("model") == "m" else problem(400, "model name is missing")
        )

    ids = {"A": 49, "B": 50}
    top = [{"id": 49, "prob": 0.75}, {"id": 50, "prob": 0.25}]
    server.say("/props", Reply({"role": "router"}))
    server.say("/apply-template", named(lambda _: {"prompt": "?"}))
    server.say("/tokenize", named(lambda body: {"tokens": [ids[body["content"]]]}))
    server.say("/completion", named(lambda _: {"completion_probabilities": [{"top_probs": top}]}))
    assert (await make()(WHICH)).text == "A"
    assert not server.asked(CHAT)
