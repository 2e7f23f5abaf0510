"""A trained model in other forms: the folder answers as what was trained, its GGUF file too."""

import asyncio
import json
import random
import re
from pathlib import Path

import pytest
from tiny import TOKENIZER_TEXT, save_bpe_model, scalar_model

from jurist.cli.main import run as jurist
from jurist.core.errors import ConfigError, EngineError
from jurist.core.types import Message
from jurist.engines.embedded import EmbeddedEngine, embedded_chat
from jurist.engines.gguf import packaged
from jurist.training.export import GGUF, _cutting, export
from jurist.training.model import embedded_folder, embedded_tokenizer

torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
tokenizers, peft = pytest.importorskip("tokenizers"), pytest.importorskip("peft")
pytestmark = pytest.mark.slow

PROMPTS = [
    "Name three rivers.",
    "What is 12345 + 678   12?\n    1. 2",
    "Écris l'été 2023-11-21 in\n\n  Python:\tdef f(x): return x*2",
    "I've I'LL don't 日本語 😀 <b>",
]


def written(file: Path, ids: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """(ids of the prompts, greedy ids) by the embedded engine."""
    engine = EmbeddedEngine(str(file))

    async def ask():
        await engine.check()
        shown = [engine._runtime.chat.ids((Message("user", p),), None) for p in PROMPTS]
        settings = {"max_new_tokens": 16, "do_sample": False}
        outputs = await asyncio.gather(*[engine._runtime.submit(i, settings) for i in ids])
        await engine.aclose()
        return shown, [o.generated_ids for o in outputs]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("kind", "architecture", "more"),
    [
        ("smollm", "Llama", {"tie_word_embeddings": True}),
        ("smollm", "Llama", {"num_key_value_heads": 4, "rope_theta": 5e5, "rms_norm_eps": 1e-5}),
        ("qwen2", "Qwen2", {}),
        ("qwen2", "Qwen3", {"tie_word_embeddings": True, "head_dim": 32}),
    ],
)
def test_embedded_engine_and_transformers_agree_on_tokens(tmp_path, monkeypatch, kind, architecture, more):
    pytest.importorskip("openvino_genai")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = save_bpe_model(tmp_path / "model", kind, architecture, **more)
    assert export(tmp_path, tmp_path / "to", gguf=True) == [tmp_path / "to", tmp_path / "to" / GGUF]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    turns = [[{"role": "user", "content": p}] for p in PROMPTS]
    ids = [tokenizer.apply_chat_template(t, add_generation_prompt=True, return_dict=False) for t in turns]
    greedy = [
        model.generate(torch.tensor([i]), do_sample=False, max_new_tokens=16)[0, len(i) :].tolist()
        for i in ids
    ]
    assert written(tmp_path / "to" / GGUF, ids) == (ids, greedy)
    assert len({tuple(g) for g in greedy}) == len(PROMPTS)


def test_tokenizer_of_the_embedded_model_matches_engine():
    pytest.importorskip("openvino_genai", reason="the extra 'embedded' is not installed")
    try:
        packaged()
    except EngineError as error:
        pytest.skip(str(error))
    draw = random.Random(0)
    texts = [*TOKENIZER_TEXT, *PROMPTS, "a  1", "a   12\n    3", "\t 4", "  5"]
    texts += ["".join(draw.choices("  1a9.\n\té½'²", k=draw.randint(1, 12))) for _ in range(500)]
    source = packaged()
    tokenizer = embedded_tokenizer(source.parent, source.name)
    chat = embedded_chat("base")
    for text in texts:
        assert tokenizer(text, add_special_tokens=False).input_ids == chat._encode(text), text
    assert _cutting(json.loads(tokenizer.backend_tokenizer.to_str())) == "smollm"


def test_a_gguf_file_becomes_a_folder_once(tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = save_bpe_model(tmp_path / "model", "smollm", "Llama", tie_word_embeddings=True)
    export(tmp_path, tmp_path / "to", gguf=True)
    unpacked = embedded_folder(tmp_path / "to" / GGUF)
    assert embedded_folder(tmp_path / "to" / GGUF) == unpacked
    before, after = (transformers.AutoModelForCausalLM.from_pretrained(f).eval() for f in (folder, unpacked))
    ids = torch.tensor([[70, 80, 90]])
    with torch.no_grad():
        assert torch.allclose(before(ids).logits, after(ids).logits, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "architecture", "more", "message"),
    [
        ("gpt-2", "Llama", {}, r"would cut texts otherwise than this tokenizer \(ByteLevel\)"),
        ("smollm", "Mistral", {}, "MistralForCausalLM is none of llama, qwen2, qwen3"),
        ("smollm", "Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
         r"positions are scaled \(linear\)"),
    ],
)  # fmt: skip
def test_what_gguf_cannot_express_is_refused_with_what_to_run(tmp_path, kind, architecture, more, message):
    save_bpe_model(tmp_path / "model", kind, architecture, **more)
    with pytest.raises(ConfigError, match=message) as caught:
        export(tmp_path, tmp_path / "to", gguf=True)
    assert "convert_hf_to_gguf.py" in caught.value.hint
    assert not (tmp_path / "to" / GGUF).exists()


@pytest.mark.parametrize("kind", ["SequenceClassification", "CausalLM"])
def test_exported_folder_has_the_precision_and_the_card(tmp_path, kind):
    scalar_model(tmp_path / "run" / "model", head=kind)
    (tmp_path / "run" / "model" / "README.md").write_text("the card")
    to = tmp_path / "to"
    assert jurist(["train", "export", str(tmp_path / "run"), "--to", str(to)]) == 0
    maker = getattr(transformers, f"AutoModelFor{kind}")
    was, now = (maker.from_pretrained(f).state_dict() for f in (tmp_path / "run" / "model", to))
    assert {w.dtype for w in now.values()} == {torch.bfloat16}
    assert all(torch.equal(was[name].bfloat16(), now[name]) for name in was)
    assert json.loads((to / "config.json").read_bytes())["dtype"] == "bfloat16"
    assert (to / "README.md").read_text() == "the card"
    assert transformers.AutoTokenizer.from_pretrained(to)("hi").input_ids
    assert jurist(["train", "export", str(tmp_path / "run"), "--to", str(to)]) == 2, "not empty"


@pytest.mark.parametrize(("kind", "task"), [("CausalLM", "CAUSAL_LM"), ("SequenceClassification", "SEQ_CLS")])
def test_adapters_of_a_checkpoint_are_merged_into_their_base(tmp_path, kind, task):
    base = scalar_model(tmp_path / "base", head="CausalLM")
    torch.manual_seed(0)
    maker = getattr(transformers, f"AutoModelFor{kind}")
    more = {"num_labels": 1} if task == "SEQ_CLS" else {}
    model = peft.get_peft_model(
        maker.from_pretrained(base, **more),
        peft.LoraConfig(r=2, target_modules="all-linear", task_type=task, init_lora_weights=False),
    ).eval()
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-3"
    model.save_pretrained(checkpoint)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(checkpoint)
    (tmp_path / "run" / "train.json").write_text(json.dumps({"model": str(base)}))
    with pytest.raises(ConfigError, match="has no model yet"):
        export(tmp_path / "run", tmp_path / "to")
    export(checkpoint, tmp_path / "to", dtype="float32")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        merged = maker.from_pretrained(tmp_path / "to").eval()(ids).logits
        assert torch.allclose(merged, model(ids).logits, atol=1e-5)


def test_a_scalar_model_has_no_gguf_and_an_empty_folder_no_model(tmp_path):
    scalar_model(tmp_path / "model")
    with pytest.raises(ConfigError, match="LlamaForSequenceClassification is none of"):
        export(tmp_path, tmp_path / "to", gguf=True)
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'cache'} holds no model")):
        export(tmp_path / "cache", tmp_path / "other")
