"""A turn that is continued, and thinking that the server caps: what is sent to each kind of server."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stub_server import Reply, StubServer, chat, models, problem

from jurist.core.types import Completion, Message, Query, Sampling, Usage
from jurist.engines.embedded import EmbeddedEngine
from jurist.engines.openai.client import HttpEngine
from jurist.engines.transformers import TransformersEngine

CHAT = "/v1/chat/completions"
PREFILL = "<think>\nA is shorter.\n</think>\n\n"
DRAWN: dict[str, Any] = {"temperature": 0.6, "top_p": 0.9, "max_tokens": 20, "seed": 11, "stop": ("END",)}
SENT = {"temperature": 0.6, "top_p": 0.9, "max_tokens": 20, "seed": 11, "stop": ["END"]}
CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}
Make = Callable[..., HttpEngine]


@pytest.fixture
def make(make_http: Make) -> Make:
    """Engines at the stub that try once."""
    return partial(make_http, retry_for=0.0)


def begun(prefill: str | None = PREFILL, **sampling: Any) -> Query:
    """A query whose answer begins with ``prefill``."""
    return Query("c", (0, 1), 0, (Message("user", "Which?"),), Sampling(**sampling), prefill=prefill)


# --- servers -----------------------------------------------------------------------------------------


def vllm(server: StubServer, *answers: Any) -> None:
    """The stub as vLLM."""

    def tokenize(body: Any) -> Reply:
        ids = [1, 2, 3] if "messages" in body else [10 + len(body["prompt"])]
        return Reply({"count": len(ids), "max_model_len": 8192, "tokens": ids})

    server.say("/version", Reply({"version": "0.32.0"}))
    server.say("/tokenize", tokenize)
    server.say("/v1/completions", *(answers or [raw()]))


def raw(text: str = "The first.", reason: str | None = "stop") -> Reply:
    """A raw completion of vLLM."""
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
    return Reply({"choices": [{"index": 0, "text": text, "finish_reason": reason}], "usage": usage})


def llama(server: StubServer, *answers: Any) -> None:
    """The stub as llama.cpp."""
    server.say("/props", Reply({"default_generation_settings": {"n_ctx": 4096}, "total_slots": 1}))
    server.say("/apply-template", Reply({"prompt": "<|user|>Which?<|assistant|>"}))
    server.say("/completion", *(answers or [native()]))


def native(text: str = "The first.", stop: str = "eos", **more: Any) -> Reply:
    """llama.cpp's own completion."""
    tokens = {"tokens_evaluated": 4, "tokens_predicted": 3, "timings": {"cache_n": 2}}
    return Reply({"content": text, "stop_type": stop, "truncated": False, **tokens, **more})


def strict(body: Any) -> Reply:
    """A hosted server that refuses fields it does not know, and continues the last turn unasked."""
    known = {"model", "messages", "temperature", "top_p", "max_tokens"}
    unknown = sorted(set(body) - known)
    return problem(400, f"Unrecognized request arguments: {', '.join(unknown)}") if unknown else chat("A.")


# --- the routes --------------------------------------------------------------------------------------


async def test_vllm_continues_token_ids(server: StubServer, make: Make) -> None:
    vllm(server)
    kwargs = {"enable_thinking": True}
    extra = {"chat_template_kwargs": kwargs, "top_k": 3, "min_p": None, "max_tokens": None}
    got = await make(extra=extra)(begun(**DRAWN))
    assert (got.text, got.finish, got.usage) == ("The first.", "stop", Usage(4, 3, 2))
    first, second = [r.body for r in server.asked("/tokenize")]
    turns = [{"role": "user", "content": "Which?"}]
    asked = {"messages": turns, "add_generation_prompt": True, "chat_template_kwargs": kwargs}
    assert first == {"model": "m", **asked}
    assert second == {"model": "m", "prompt": PREFILL, "add_special_tokens": False}
    (body,) = [r.body for r in server.asked("/v1/completions")]
    prompt = [1, 2, 3, 10 + len(PREFILL)]
    assert body == {"model": "m", "prompt": prompt, **SENT, "top_k": 3, "repetition_penalty": 1.0}
    assert not server.asked(CHAT)


async def test_llama_cpp_continues_text(server: StubServer, make: Make) -> None:
    llama(server)
    got = await make(extra={"cache_prompt": False, "max_completion_tokens": 9})(begun(**DRAWN))
    assert (got.text, got.finish, got.usage) == ("The first.", "stop", Usage(4, 3, 2))
    (body,) = [r.body for r in server.asked("/completion")]
    assert body.pop("preserved_tokens") == ["<think>", "</think>"]
    assert body == {
        "model": "m",
        "prompt": "<|user|>Which?<|assistant|>" + PREFILL,
        **{k: v for k, v in SENT.items() if k != "max_tokens"},
        "n_predict": 20,
        "top_k": 0,
        "min_p": 0.0,
        "cache_prompt": False,
    }


async def test_elsewhere_the_chat_ends_with_the_turn(server: StubServer, make: Make) -> None:
    server.say(CHAT, chat("The first."))
    got = await make(extra={"user": "us"})(begun(**DRAWN))
    assert (got.text, got.finish, got.usage) == ("The first.", "stop", Usage(7, 3))
    turns = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": PREFILL}]
    body = server.asked(CHAT)[0].body
    assert body == {"model": "m", "messages": turns, **SENT, **CONTINUE, "user": "us"}


async def test_fields_that_a_server_refuses_are_not_sent_again(server: StubServer, make: Make) -> None:
    server.say(CHAT, strict)
    engine = make()
    assert [(await engine(begun())).text for _ in range(3)] == ["A."] * 3
    assert ["continue_final_message" in r.body for r in server.asked(CHAT)] == [True, False, False, False]
    forced = await engine(Query("c", (0, 1), 0, (), Sampling(), prefill="[[", choices=("A", "B")))
    assert "continue_final_message" not in server.asked(CHAT)[-1].body
    assert (forced.text, forced.logprobs) == ("A", None)


async def test_another_refusal_is_not_remembered_as_one_of_the_fields(server: StubServer, make: Make) -> None:
    no = problem(400, "temperature is too high")
    server.say(CHAT, no, no, chat("A."))
    engine = make()
    assert (await engine(begun())).error == "HTTP 400: temperature is too high"
    assert (await engine(begun())).text == "A."
    assert "continue_final_message" in server.asked(CHAT)[-1].body


@pytest.mark.parametrize("prefill", [None, ""])
async def test_nothing_to_continue_is_an_ordinary_query(
    server: StubServer, make: Make, prefill: str | None
) -> None:
    vllm(server)
    server.say(CHAT, chat("A."))
    assert (await make()(begun(prefill))).text == "A."
    assert [r.path for r in server.requests] == [CHAT]


async def test_votes_that_begin_alike_are_continued_one_by_one(server: StubServer, make: Make) -> None:
    llama(server)
    got = await make(samples_per_request=4)(begun(temperature=1.0))
    assert got.text == "The first."


# --- what comes back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "answer", "finish"),
    [
        (vllm, raw(reason="length"), "length"),
        (vllm, raw(reason=None), "stop"),
        (vllm, raw(reason="abort"), "error"),
        (llama, native(stop="limit"), "length"),
        (llama, native(stop="word"), "stop"),
        (llama, native(truncated=True), "length"),
    ],
)
async def test_the_finish_of_a_native_route(
    server: StubServer, make: Make, kind: Callable[..., None], answer: Reply, finish: str
) -> None:
    kind(server, answer)
    got = await make()(begun())
    assert (got.finish, got.text, bool(got.error)) == (finish, "The first.", finish == "error")


@pytest.mark.parametrize(
    ("prefill", "content", "reasoning", "text"),
    [
        # Some repeat the turn (llama.cpp's chat does).
        ("The fir", "The first.", None, "st."),
        ("The fir", "st.", None, "st."),
        ("\n", "\nA", None, "\nA"),
        # Some take what follows for thinking, since the closing tag is in the turn and not in what follows.
        (PREFILL, None, "The first.", "The first."),
        (PREFILL, "first.", "The ", "The first."),
        (PREFILL, "", None, ""),
        ("<think>\nHm", "The first.", "m, yes.", "m, yes.\n</think>\n\nThe first."),
        ("<think>\nHm", None, "m, yes.", "m, yes."),
        ("<think>\nHm", "m.</think>So", None, "m.</think>So"),
    ],
)
async def test_only_what_is_new_and_all_of_it(
    server: StubServer, make: Make, prefill: str, content: str | None, reasoning: str | None, text: str
) -> None:
    server.say(CHAT, chat(content, reasoning=reasoning))
    got = await make()(begun(prefill))
    assert (got.text, got.thinking, got.error) == (text, None, None)


LONG = problem(400, "This model's maximum context length is 8192 tokens.")


@pytest.mark.parametrize("kind", [vllm, llama, lambda server, *a: server.say(CHAT, *a)])
async def test_failures_are_completions(server: StubServer, make: Make, kind: Callable[..., None]) -> None:
    kind(server, problem(401, "no"))
    assert ((await make()(begun())).error or "").startswith("HTTP 401: no; mend: ")
    kind(server, LONG)
    got = await make()(begun())
    assert (got.finish, got.text) == ("length", "")
    assert "does not fit" in (got.error or "")
    kind(server, Reply({"choices": [], "content": None}))
    got = await make()(begun())
    assert got.finish == "error"
    assert "shape" in (got.error or "") or "choices" in (got.error or "")
    kind(server, problem(503, "busy"))
    assert "503" in ((await make()(begun())).error or "")


# --- thinking capped by the server -------------------------------------------------------------------

BUDGET = "thinking_token_budget"
NO_PARSER = f"{BUDGET} is set but reasoning_config is not configured. Please set --reasoning-parser"


def capping(body: Any) -> Reply:
    """vLLM with a reasoning parser: refuses a budget that is no number."""
    if BUDGET in body and not isinstance(body[BUDGET], int):
        return problem(400, f"`{BUDGET}` must be a non-negative integer or -1 for unlimited.")
    return chat()


def uncapping(body: Any) -> Reply:
    """vLLM without a reasoning parser: refuses any budget."""
    return problem(400, NO_PARSER) if isinstance(body.get(BUDGET), int) else capping(body)


async def checked(server: StubServer, make: Make, owner: str, answer: Any, **options: Any) -> HttpEngine:
    """An engine that has asked the stub what it is; its later requests begin a new list."""
    server.say("/v1/models", models("m", owned_by=owner))
    server.say(CHAT, answer)
    engine = make(**options)
    assert engine.caps_thinking is False
    await engine.check()
    server.requests.clear()
    return engine


async def asked(engine: HttpEngine, **sampling: Any) -> Completion:
    """An ordinary query with a budget of 64 tokens."""
    return await engine(begun(None, **{"thinking_budget": 64, **sampling}))


@pytest.mark.parametrize(
    ("owner", "answer", "caps"),
    [
        ("vllm", capping, True),
        ("vllm", uncapping, False),
        ("vllm", chat(), False),  # before the field was there: not known, and ignored
        ("vllm", problem(400, "max_tokens must be at least 2"), False),
        ("vllm", problem(500, "oh"), False),
        ("vllm", problem(404, "not here"), False),
        ("llamacpp", chat(), False),
        ("openai", capping, False),
    ],
)
async def test_who_caps_is_found_out_at_the_door(
    server: StubServer, make: Make, owner: str, answer: Any, caps: bool
) -> None:
    engine = await checked(server, make, owner, answer)
    assert engine.caps_thinking is caps
    server.say(CHAT, chat())
    await asked(engine)
    assert [r.body.get(BUDGET) for r in server.requests] == [64 if caps else None]


async def test_an_engine_that_was_not_checked_sends_no_budget(server: StubServer, make: Make) -> None:
    server.say(CHAT, strict)
    engine = make()
    assert (await asked(engine)).text == "A."
    assert engine.caps_thinking is False


async def test_a_busy_server_is_one_that_does_not_cap(server: StubServer, make: Make) -> None:
    slow = chat()
    slow.delay = 3.0
    engine = await checked(server, make, "vllm", slow, timeout=0.1)
    assert engine.caps_thinking is False


@pytest.mark.parametrize("prefill", [None, PREFILL])
async def test_a_budget_refused_later_is_left_out_once_and_for_all(
    server: StubServer, make: Make, prefill: str | None
) -> None:
    engine = await checked(server, make, "vllm", capping)
    path = "/v1/completions" if prefill else CHAT
    answer = raw() if prefill else chat()
    vllm(server)
    server.say(path, lambda body: problem(400, NO_PARSER) if BUDGET in body else answer)
    got = [await engine(begun(prefill, thinking_budget=64)) for _ in range(2)]
    assert [c.error for c in got] == [None, None]
    assert [r.body.get(BUDGET) for r in server.asked(path)] == [64, None, None]
    assert engine.caps_thinking is False


async def test_another_refusal_leaves_the_budget_in(server: StubServer, make: Make) -> None:
    engine = await checked(server, make, "vllm", capping)
    server.say(CHAT, problem(400, "top_p is too high"))
    assert (await asked(engine)).error == "HTTP 400: top_p is too high"
    assert engine.caps_thinking is True
    assert len(server.requests) == 1


@pytest.mark.parametrize("budget", [None, -1])
async def test_no_cap_is_no_field(server: StubServer, make: Make, budget: int | None) -> None:
    engine = await checked(server, make, "vllm", capping)
    await asked(engine, thinking_budget=budget)
    assert BUDGET not in server.requests[0].body


async def test_a_continued_turn_has_its_budget_too(server: StubServer, make: Make) -> None:
    engine = await checked(server, make, "vllm", capping)
    vllm(server)
    await engine(begun(thinking_budget=0))
    assert server.asked("/v1/completions")[0].body[BUDGET] == 0


@pytest.mark.parametrize("field", [None, 5])
async def test_the_users_own_field_wins(server: StubServer, make: Make, field: int | None) -> None:
    engine = await checked(server, make, "vllm", capping, extra={BUDGET: field})
    await asked(engine)
    assert server.requests[0].body.get(BUDGET) == field
    assert engine.caps_thinking is False


STRICT = {"enable_strict_thinking": True, "reasoning_parser": "qwen3"}


@pytest.mark.parametrize(
    ("info", "caps"),
    [
        (STRICT, True),
        ({"serving": STRICT, "version": "0.5.21"}, True),
        ({**STRICT, "enable_strict_thinking": False}, False),
        ({**STRICT, "reasoning_parser": "deepseek-r1"}, False),
        ({**STRICT, "reasoning_parser": None}, False),
        ({"version": "0.4.9"}, False),
        ([], False),
    ],
)
@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
async def test_sglang_caps_where_it_says_so(
    server: StubServer, make: Make, path: str, info: Any, caps: bool
) -> None:
    server.say(path, Reply(info))
    engine = await checked(server, make, "sglang", chat())
    assert engine.caps_thinking is caps
    await asked(engine)
    sent = {"thinking_budget": 64} if caps else None
    assert server.requests[0].body.get("custom_params") == sent


async def test_sglang_with_the_users_logit_processor(server: StubServer, make: Make) -> None:
    engine = await checked(server, make, "sglang", chat(), extra={"custom_logit_processor": "{}"})
    await asked(engine)
    body = server.requests[0].body
    assert (body["custom_logit_processor"], body["custom_params"]) == ("{}", {"thinking_budget": 64})
    no = problem(400, "custom_params: thinking_budget is not supported")
    server.say(CHAT, lambda body: no if "custom_params" in body else chat("A."))
    assert (await engine(begun(thinking_budget=64))).text == "A."
    assert engine.caps_thinking is False


# --- in this process ---------------------------------------------------------------------------------


async def test_a_word_that_is_continued_keeps_its_space(tmp_path: Path) -> None:
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    # Such vocabularies mark the space before a word, and drop it where a text begins.
    words = {w: i for i, w in enumerate(["<eos>", "<unk>", *[f"▁{c}" for c in "abcdefgh"]])}
    raw_tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    raw_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    raw_tokenizer.decoder = tokenizers.decoders.Metaspace()
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %} a"
    names = {"eos_token": "<eos>", "unk_token": "<unk>", "chat_template": template}
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw_tokenizer, **names).save_pretrained(tmp_path)
    torch.manual_seed(3)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=len(words), bos_token_id=None, eos_token_id=None, **size)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    engine = TransformersEngine(str(tmp_path))
    whole = await engine(begun(None, max_tokens=8))
    start = " ".join(whole.text.split(" ")[:3])
    rest = await engine(begun(start, max_tokens=5))
    await engine.aclose()
    assert (whole.error, rest.error) == (None, None)
    assert start + rest.text == whole.text


async def test_the_embedded_model_goes_on_as_it_would_have(embedded_engine: EmbeddedEngine) -> None:
    engine = embedded_engine
    whole = await engine(begun(None, max_tokens=16))
    words = whole.text.split(" ")
    starts = [" ".join(words[:n]) for n in (3, 7)]
    rests = [await engine(begun(start, max_tokens=4)) for start in starts]
    assert whole.text
    for start, rest in zip(starts, rests, strict=True):
        assert whole.text.startswith((start + rest.text)[: len(whole.text)]), start
