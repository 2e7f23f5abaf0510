"""Scalar reward models: what is shown, what a number is, and both engines against hand-made figures."""

import asyncio
import math
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st
from stub_server import Reply, StubServer, html, models, problem
from tiny import CONTEXT, save_tokenizer, scalar_model

from jurist.core.errors import EngineError, MissingExtraError, ProtocolError, UnknownNameError
from jurist.core.types import Case, Completion, Conversation, Message, Query, Response, Sampling, Status
from jurist.deliberation.effort import cascade
from jurist.deliberation.views import each
from jurist.engines.openai.scalar import ScalarHttpEngine
from jurist.engines.scalar import ScalarEngine, WholeChat, exact_head
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge
from jurist.protocols.base import Protocol
from jurist.protocols.injection import JOINER, defuse, guarded
from jurist.protocols.pairwise import pairwise
from jurist.protocols.scalar import parse_score, scalar

USER, SYSTEM = Message("user", "2 + 2 ?"), Message("system", "be brief")
PROTOCOL: Protocol = scalar()


def query(*contents: str, **more: Any) -> Query:
    """A conversation of a user and an assistant in turns."""
    turns = tuple(
        Message(("user", "assistant")[i % 2], c) for i, c in enumerate(contents or ("Hi", "Hello."))
    )
    return Query("c", (0,), 0, turns, Sampling(), **more)


# --- protocol ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "response", "shown"),
    [
        ((USER,), "4", (USER, Message("assistant", "4"))),
        ((SYSTEM, USER), "", (SYSTEM, USER, Message("assistant", ""))),
        (
            (USER,),
            (Message("assistant", "5"), Message("user", "sure?"), Message("assistant", "4")),
            (USER, Message("assistant", "5"), Message("user", "sure?"), Message("assistant", "4")),
        ),
    ],
)
def test_the_conversation_is_shown_and_nothing_else(
    prompt: Conversation, response: Response, shown: Conversation
) -> None:
    case = Case("1", prompt, (response,), reference="four", rubric="be right")
    assert PROTOCOL.render(guarded(case)) == shown


MARKERS = ["[[A]]", "<answer>", "</think>", "<think>", r"\boxed{Assistant 1}", "[End of reply]", "<|im_end|>"]
TEXTS = st.lists(st.sampled_from([*MARKERS, JOINER, "a", " ", "<", "[", "</s>", "\n"])).map("".join)


@given(text=TEXTS)
def test_a_response_is_shown_as_written_but_for_control_tokens(text: str) -> None:
    for response in (text, (Message("assistant", text),)):
        *_, last = PROTOCOL.render(guarded(Case("1", (USER,), (response,))))
        assert last.content == defuse(text, control_only=True)


def test_which_markers_keep_their_joiner() -> None:
    shown = {m: PROTOCOL.render(guarded(Case("1", (USER,), (m,))))[-1].content for m in MARKERS}
    assert [m for m in MARKERS if shown[m] != m] == ["<|im_end|>"]
    assert shown["<|im_end|>"] == f"<{JOINER}|im_end|>"


@given(score=st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_read_to_its_last_digit(score: float) -> None:
    assert parse_score(Completion(repr(score))).scores == (score,)


@pytest.mark.parametrize(
    ("completion", "status", "note"),
    [
        (Completion(" -3.5\n"), Status.OK, ""),
        (Completion(""), Status.UNPARSED, "not a number: ''"),
        (Completion("8/10"), Status.UNPARSED, "not a number: '8/10'"),
        (Completion("the score is 8"), Status.UNPARSED, "not a number"),
        (Completion("nan"), Status.UNPARSED, "the score is nan"),
        (Completion("-inf"), Status.UNPARSED, "the score is -inf"),
        (Completion("1e999"), Status.UNPARSED, "the score is inf"),
        (Completion("1.0", finish="length", error="too long"), Status.TRUNCATED, "too long"),
        (Completion("1.0", finish="error", error="gone"), Status.FAILED, "gone"),
        (Completion("1.0", finish="filter"), Status.REFUSED, "content filter"),
    ],
)
def test_anything_but_a_number_has_a_status(completion: Completion, status: Status, note: str) -> None:
    verdict = parse_score(completion)
    assert verdict.status is status
    assert note in verdict.note
    assert (verdict.scores is None) == (status is not Status.OK)


def by_length(asked: Query) -> Completion:
    """As a scalar engine answers: the response's length is its score."""
    if asked.prefill is not None:
        return Completion(finish="error", error="nothing is written")
    return Completion(repr(float(len(asked.messages[-1].content))))


@pytest.mark.parametrize("forced", ["never", "missing", "always"])
async def test_a_forced_verdict_leaves_the_number(forced: Any) -> None:
    judge = Judge(PROTOCOL, ScriptedEngine(by_length), forced=forced)
    case = Case("1", (USER,), ("four", "4", "four", "it is 4"))
    decision = await each()(judge.ask, case)
    assert decision.verdict.scores == (4.0, 1.0, 4.0, 7.0)
    assert len(decision.judgments) == 3, "equal responses are scored once"
    with pytest.raises(ProtocolError, match="judges 1"):
        await judge.ask(case)


@pytest.mark.parametrize(("threshold", "asked"), [(2.0, 0), (3.5, 2)])
async def test_it_is_the_first_judge_of_a_cascade(threshold: float, asked: int) -> None:
    main = ScriptedEngine(lambda _: Completion("<answer>[[A]]</answer>"))
    judge = Judge(pairwise(), main, first=Judge(PROTOCOL, ScriptedEngine(by_length), name="first"))
    decision = await cascade(threshold, first=each())(judge.ask, Case("1", (USER,), ("four", "4")))
    assert sum(j.query.judge == "" for j in decision.judgments) == asked
    assert decision.verdict.scores == ((4.0, 1.0) if not asked else (0.5, 0.5))


# --- in process --------------------------------------------------------------------------------------

TURNS = [("hi", "yes"), ("why ?", "b" * 30), ("q", ""), ("one", "two", "three", "four"), ("end", "<|end|> x")]


@lru_cache(maxsize=1)
def loaded(folder: Path) -> tuple[Any, Any]:
    """The tokenizer and the model of a folder, as transformers loads them."""
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32")
    return transformers.AutoTokenizer.from_pretrained(folder), model.eval()


def by_hand(folder: Path, *contents: str) -> float:
    """The score of one conversation without control tokens in its texts, as transformers gives it."""
    torch = pytest.importorskip("torch")
    tokenizer, model = loaded(folder)
    turns = [{"role": m.role, "content": m.content} for m in query(*contents).messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    with torch.inference_mode():
        return float(
            model(torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])).logits[0, 0]
        )


async def all_of(engine: Any, *queries: Query) -> list[Completion]:
    """The completions of queries that are asked in the same moment."""
    try:
        return await asyncio.gather(*[engine(q) for q in queries])
    finally:
        await engine.aclose()


# The model's own padding token, none, one out of range, and one that ends every turn.
PADS = [{}, {"pad_token_id": None}, {"pad_token_id": -1}, {"pad_token_id": 257}]
OTHERS = [("Qwen2", {**PADS[1], "num_key_value_heads": 2}), ("GPT2", PADS[1]), ("Bert", PADS[0])]


@pytest.mark.parametrize(("kind", "more"), [*[("Llama", pad) for pad in PADS], *OTHERS])
async def test_a_score_is_that_of_transformers_alone_and_in_a_batch(
    tmp_path: Path, kind: str, more: dict[str, Any]
) -> None:
    folder = scalar_model(tmp_path, kind, **more)
    together = await all_of(ScalarEngine(str(folder)), *[query(*t) for t in TURNS])
    engine = ScalarEngine(str(folder), concurrency=1)
    alone = await all_of(engine, *[query(*t) for t in TURNS])
    assert [c.error for c in together + alone] == [None] * 2 * len(TURNS)
    scores = [[float(c.text) for c in answers] for answers in (together, alone)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert scores[0][:4] == pytest.approx([by_hand(folder, *t) for t in TURNS[:4]], abs=1e-5)
    assert len({round(s, 3) for s in scores[0]}) == len(TURNS), "they differ, so that a mix-up would show"
    # 2 control tokens and 1 space a turn, and the role's letters.
    assert [c.usage.prompt_tokens for c in together[:3]] == [24, 54, 20]
    assert all(c.usage.completion_tokens == 0 and c.finish == "stop" for c in together)


async def test_padding_hides_no_token_of_a_row(tmp_path: Path) -> None:
    folder = scalar_model(tmp_path, pad_token_id=None)
    save_tokenizer(folder, "{% for m in messages %}{{ m['content'] }}{% endfor %}")
    # The first tokens of the vocabulary, in the order in which a free one is looked for.
    rows = [query("a", "!"), query("a", '"#'), query("a", "b" * 9)]
    together = await all_of(ScalarEngine(str(folder)), *rows)
    alone = [by_hand(folder, *[m.content for m in row.messages]) for row in rows]
    assert [float(c.text) for c in together] == pytest.approx(alone, abs=1e-5)


async def test_a_control_token_in_a_response_ends_no_turn(tmp_path: Path) -> None:
    folder = scalar_model(tmp_path)
    chat = WholeChat(save_tokenizer(folder), "tiny")
    ids = chat.ids(query("end", "<|end|> x").messages)
    assert ids.count(257) == 2
    assert ids[-1] == 257, "and nobody is asked to speak next"


async def test_a_conversation_over_the_context_is_a_truncation(tmp_path: Path) -> None:
    engine = ScalarEngine(str(scalar_model(tmp_path)))
    fits = CONTEXT - len("user") - len("assistant") - 6
    whole, over = await all_of(engine, query("", "x" * fits), query("", "x" * (fits + 1)))
    assert (whole.error, whole.usage.prompt_tokens) == (None, CONTEXT)
    assert (
        over.error == f"the prompt is longer than the model's context ({CONTEXT + 1} tokens, {CONTEXT} fit)"
    )
    assert parse_score(over).status is Status.TRUNCATED


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_labels": 2}, "has 2 labels; a scalar reward model has one"),
        ({"head": "CausalLM"}, "lacks weights of a sequence classifier: score.weight"),
    ],
)
async def test_another_kind_of_model_is_refused_at_the_door(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    folder = scalar_model(tmp_path, **options)
    with pytest.raises(EngineError, match=words) as caught:
        await ScalarEngine(str(folder)).check()
    assert caught.value.hint


async def test_a_wrong_folder_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        with pytest.raises(MissingExtraError, match="the scalar engine needs the package 'torch'"):
            await ScalarEngine("x").check()
    pytest.importorskip("transformers")
    with pytest.raises(EngineError, match="cannot load"):
        await ScalarEngine(str(tmp_path / "nothing")).check()


async def test_failures_are_completions(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = scalar_model(tmp_path)
    engine = ScalarEngine(str(folder))
    await engine.check()
    runtime: Any = engine._runtime
    forced = await engine(query(prefill="[[", choices=("A", "B")))
    assert (forced.finish, "continues no text" in (forced.error or "")) == ("error", True)
    save_tokenizer(folder, "{{ raise_exception('roles must alternate') }}")
    runtime.chat = WholeChat(save_tokenizer(folder, "{{ raise_exception('no such role') }}"), "tiny")
    assert "no such role" in ((await engine(query())).error or "")
    runtime.chat = WholeChat(save_tokenizer(folder), "tiny")
    good = await engine(query())
    with torch.no_grad():
        runtime._model.score.weight.fill_(math.nan)
    verdict = parse_score(await engine(query()))
    assert (verdict.status, verdict.note) == (Status.UNPARSED, "the score is nan")
    runtime._model.score = None
    broken = await engine(query())
    assert (broken.finish, "failed: TypeError" in (broken.error or "")) == ("error", True)
    await engine.aclose()
    again = await all_of(engine, query())
    assert again[0].text == good.text, "a closed engine loads its model again"


def test_the_head_computes_in_float32(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = scalar_model(tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.bfloat16
    ).eval()
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        hidden = model.model(ids).last_hidden_state[0, -1]
        expected = float(hidden.double() @ model.score.weight[0].double())
        exact_head(torch, model)
        logits = model(ids).logits
    assert logits.dtype == torch.float32
    assert float(logits[0, 0]) == pytest.approx(expected, abs=1e-6)


# --- servers -----------------------------------------------------------------------------------------

Make = Callable[..., ScalarHttpEngine]
USAGE = {"prompt_tokens": 27, "total_tokens": 27, "completion_tokens": 0, "prompt_tokens_details": None}
NOT_FOUND = Reply({"detail": "Not Found"}, status=404)
# vLLM 0.32 words it so.
TOO_LONG = problem(
    400,
    "This model's maximum context length is 256 tokens. However, your prompt contains at least 257 input "
    "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the "
    "input prompt. (parameter=input_tokens, value=257)",
    type="BadRequestError",
    param="input_tokens",
    code=400,
)


def listed(item: dict[str, Any], **more: Any) -> Reply:
    """A reply with one item, in the frame that all these routes share."""
    return Reply({"object": "list", "model": "rm", "data": [{"index": 0, **item}], "usage": USAGE, **more})


def classes(*probs: Any) -> Reply:
    """vLLM's ``/classify``."""
    return listed({"label": "LABEL_0", "probs": probs, "num_classes": len(probs)}, id="classify-1", created=1)


def pooled(*data: Any) -> Reply:
    """vLLM's ``/pooling``."""
    return listed({"object": "pooling", "data": data}, id="pooling-1", created=1)


def embedded(*numbers: Any) -> Reply:
    """SGLang's ``/v1/embeddings``."""
    return listed({"object": "embedding", "embedding": numbers})


@pytest.fixture
def make(server: StubServer, make_http: Make) -> Make:
    """Engines at the stub, which lists one model as vLLM does."""
    server.say("/v1/models", models("rm", owned_by="vllm"))

    def build(url: str = "", model: str | None = None, **options: Any) -> ScalarHttpEngine:
        return make_http(url or server.root, model, kind=ScalarHttpEngine, **options)

    return build


@pytest.mark.parametrize("form", ["scalar+{}", "{}", "{}/", "scalar+{}/v1/"])
async def test_vllm_gives_the_raw_score(server: StubServer, make: Make, form: str) -> None:
    server.say("/classify", classes(3.3471717834472656))
    engine = make(form.format(server.root), extra={"priority": 1, "add_generation_prompt": None})
    await engine.check()
    got = await engine(query("Hi", "Hello."))
    assert (got.text, got.finish, got.error) == ("3.3471717834472656", "stop", None)
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (27, 0)
    assert engine.identity() == "rm"
    assert engine.caps_thinking
    assert server.asked("/classify")[-1].body == {
        "model": "rm",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
        "use_activation": False,
        "priority": 1,
    }
    assert {r.path for r in server.requests} == {"/v1/models", "/classify"}
    assert len(server.asked("/classify")) == 2, "one to find the route, one to score"


@pytest.mark.parametrize("data", [(-1.25,), ([7.0], [8.0], [-1.25])])
async def test_pooling_is_asked_where_there_is_no_classify(server: StubServer, make: Make, data: Any) -> None:
    server.say("/pooling", pooled(*data))
    engine = make()
    await engine.check()
    assert [(await engine(query())).text for _ in range(2)] == ["-1.25"] * 2
    sent = server.asked("/pooling")[-1].body
    assert (sent["use_activation"], sent["add_generation_prompt"]) == (False, False)
    assert len(server.asked("/classify")) == 1, "the route is found once"


class Letters:
    """Ids of a conversation: the letters of its last turn."""

    def ids(self, messages: Conversation) -> list[int]:
        """Ids of all turns."""
        return [ord(c) for c in messages[-1].content]


async def test_sglang_gets_the_ids_of_the_whole_chat(
    server: StubServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def letters(_: ScalarHttpEngine) -> Any:
        return Letters()

    monkeypatch.setattr(ScalarHttpEngine, "_tokenizer", letters)
    # Its own /classify takes other bodies.
    server.say("/classify", problem(400, "Either text, input_ids or input_embeds should be provided."))
    server.say("/v1/embeddings", embedded(-0.5))
    engine = make()
    await engine.check()
    got = await engine(query("Hi", "AB"))
    assert (got.text, got.usage.prompt_tokens) == ("-0.5", 27)
    assert server.asked("/v1/embeddings")[-1].body == {"model": "rm", "input": [65, 66]}
    words = "The input (300 tokens) is longer than the model's context length (256 tokens)."
    server.say("/v1/embeddings", Reply({"object": "error", "message": words, "code": 400}, status=400))
    assert parse_score(await engine(query())).status is Status.TRUNCATED


@pytest.mark.parametrize("path", ["/get_model_info", "/model_info"])
async def test_sglang_names_the_tokenizer(server: StubServer, make: Make, tmp_path: Path, path: str) -> None:
    chat = WholeChat(save_tokenizer(tmp_path), "tiny")
    server.say(
        path, Reply({"model_path": "elsewhere", "tokenizer_path": str(tmp_path), "is_generation": False})
    )
    server.say("/v1/embeddings", embedded(2.0))
    engine = make()
    assert (await engine(query())).text == "2.0"
    assert server.asked("/v1/embeddings")[-1].body["input"] == chat.ids(query().messages)
    server.say(path, Reply({"model_path": str(tmp_path / "nothing")}))
    with pytest.raises(EngineError, match="cannot be loaded here") as caught:
        await make().check()
    assert "Hugging Face id" in caught.value.hint


async def test_sglang_without_transformers(
    server: StubServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    server.say("/get_model_info", Reply({"model_path": "org/rm"}))
    with pytest.raises(MissingExtraError, match="behind SGLang"):
        await make().check()
    got = await make(model="rm")(query())
    assert (got.finish, "needs the package 'transformers'" in (got.error or "")) == ("error", True)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (classes(0.1, 0.9), "the model gives 2 numbers; a scalar reward model gives one"),
        (classes(), "the model gives 0 numbers"),
        (classes(None), "/classify answered with another shape than expected"),
        (Reply({"data": []}), "/classify answered with another shape than expected"),
        (Reply({"object": "list"}), "/classify answered with another shape than expected"),
        (Reply(b"{"), "/classify answered with another shape than expected"),
        (html(200), "HTML instead of JSON"),
        (problem(400, "default chat template is no longer allowed"), "HTTP 400: default chat template"),
    ],
)
async def test_what_is_no_score_is_a_failure_and_refused_at_the_door(
    server: StubServer, make: Make, reply: Reply, words: str
) -> None:
    server.say("/classify", classes(1.0), reply)
    engine = make(model="rm")
    await engine.check()
    got = await engine(query())
    assert (got.finish, got.text) == ("error", "")
    assert words in (got.error or "")
    with pytest.raises(EngineError, match="gives no reward for a conversation") as caught:
        await make().check()
    assert words in caught.value.message
    assert "/pooling: HTTP 404: Not Found; /v1/embeddings: HTTP 404" in caught.value.message
    assert "--runner pooling" in caught.value.hint


@pytest.mark.parametrize("data", [(1.0, 2.0), (), ([1.0, 2.0],), ([],)])
async def test_pooling_of_another_width_is_no_score(server: StubServer, make: Make, data: Any) -> None:
    server.say("/pooling", pooled(1.0), pooled(*data))
    got = [await (engine := make(model="rm"))(query()), await engine(query())][-1]
    assert "a scalar reward model gives one" in (got.error or "")


async def test_a_conversation_over_the_context_of_a_server(server: StubServer, make: Make) -> None:
    server.say("/classify", classes(1.0), TOO_LONG)
    engine = make()
    await engine.check()
    verdict = parse_score(await engine(query()))
    assert verdict.status is Status.TRUNCATED
    assert "maximum context length is 256" in verdict.note


@pytest.mark.parametrize(
    "reply", [Reply(classes(1.0).data(), cut=20), problem(503, "busy"), problem(500, "died")]
)
async def test_a_server_in_trouble_is_asked_again(server: StubServer, make: Make, reply: Reply) -> None:
    engine = make(model="rm")
    with stamina.set_testing(True, attempts=3):
        server.say("/classify", reply, classes(1.0), reply, classes(2.0))
        assert (await engine(query())).text == "2.0", "trouble while the route is found, and after it"
        server.say("/classify", reply)
        got = await engine(query())
    assert (got.finish, "tried for" in (got.error or "")) == ("error", True)


async def test_a_server_that_is_not_ready_or_not_ours(server: StubServer, make: Make) -> None:
    server.say("/classify", problem(503, "loading"))
    with pytest.raises(EngineError, match="not ready"):
        await make().check()
    server.say("/classify", problem(401, "wrong key"))
    with pytest.raises(EngineError, match="HTTP 401: wrong key") as caught:
        await make().check()
    assert "JURIST_API_KEY" in caught.value.hint
    with pytest.raises(UnknownNameError):
        await make(model="other").check()


async def test_slots_bound_requests_and_scalar_queries_need_a_choice(server: StubServer, make: Make) -> None:
    slow = classes(1.0)
    slow.delay = 0.02
    server.say("/classify", slow)
    engine = make(model="rm", concurrency=3)
    answers = await asyncio.gather(*[engine(query(str(i), "x")) for i in range(12)])
    assert {a.text for a in answers} == {"1.0"}
    assert server.most == 3
    before = len(server.requests)
    forced = await engine(query(prefill="", choices=("A", "B")))
    assert (forced.finish, len(server.requests)) == ("error", before)


@pytest.mark.parametrize(
    "options", [{"engine": "scalar:x", "protocol": "rubrics"}, {"engine": "embedded", "protocol": "scalar"}]
)
def test_scalar_models_and_written_verdicts_do_not_mix(options):
    from jurist.core.errors import ConfigError
    from jurist.judging.build import assemble
    from jurist.judging.config import JudgeConfig

    with pytest.raises(ConfigError, match="scalar"):
        assemble(JudgeConfig(**options))
