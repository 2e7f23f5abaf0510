"""Tokenizers, models and a trainer that are as small as they can be."""

from pathlib import Path
from typing import Any

import pytest

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }} {{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant {% endif %}"
)
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
)
DROPS_SYSTEM = (
    "{% for m in messages if m['role'] != 'system' %}<|start|>{{ m['role'] }} {{ m['content'] }}<|end|>"
    "{% endfor %}<|start|>assistant "
)
CONTEXT = 96
"""The context of a scalar model, tokens."""
TOKENIZER_TEXT = [
    "12 123 1234 in 2023",
    "\n\n  x = [1, 2]",
    "don't I've we'll WE'LL",
    "été naïve",
    "read the text",
    "a  b",
]
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
LINE_TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def vocabulary() -> dict[str, int]:
    """Byte tokens, so that any text has ids, and no merges: every character is one token."""
    from tokenizers.pre_tokenizers import ByteLevel

    return {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}


def make_tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    raw = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary(), []))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    raw.add_special_tokens(["<|start|>", "<|end|>"])
    raw.add_tokens([tokenizers.AddedToken("<think>", special=False)])
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>"
    )
    made.chat_template = TEMPLATE
    return made


def save_tokenizer(folder: Path, template: str = TEMPLATE) -> Any:
    """One token per byte, and three control tokens."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    level = tokenizers.pre_tokenizers.ByteLevel
    raw = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary(), []))
    raw.pre_tokenizer = level(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    raw.add_special_tokens(["<|start|>", "<|end|>", "<|pad|>"])
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|end|>", pad_token="<|pad|>", padding_side="left"
    )
    made.chat_template = template
    made.save_pretrained(folder)
    return made


def scalar_model(
    folder: Path, kind: str = "Llama", head: str = "SequenceClassification", **more: Any
) -> Path:
    """A saved model of random weights; its class is ``{kind}For{head}``."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = save_tokenizer(folder)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    names = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
    }
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": None}
    config = getattr(transformers, f"{kind}Config")(**{**size, **names, **ids, "num_labels": 1, **more})
    torch.manual_seed(3)
    getattr(transformers, f"{kind}For{head}")(config).save_pretrained(folder)
    return folder


def pre_tokenizer(kind: str) -> Any:
    """What cuts a text before byte pairs are merged: as in qwen2, smollm or gpt-2."""
    tokenizers = pytest.importorskip("tokenizers")
    pre = tokenizers.pre_tokenizers
    level = pre.ByteLevel(add_prefix_space=False, use_regex=kind != "qwen2")
    first = {"qwen2": pre.Split(tokenizers.Regex(QWEN2), "isolated"), "smollm": pre.Digits(True)}.get(kind)
    return pre.Sequence([first, level]) if first else level


def save_bpe_model(folder: Path, kind: str, architecture: str, **more: Any) -> Path:
    """A model of random float16 numbers and a small vocabulary; some tokens have no text."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizer(kind), tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<|start|>", "<|end|>", "<|pad|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TOKENIZER_TEXT * 3, trainer)
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|end|>", pad_token="<|pad|>"
    )
    made.chat_template = LINE_TEMPLATE
    made.save_pretrained(folder)
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    ids = {"bos_token_id": None, "eos_token_id": made.eos_token_id, "pad_token_id": made.pad_token_id}
    rest = {"vocab_size": len(made) + 5, "intermediate_size": 96, "max_position_embeddings": 512}
    config = {**size, **ids, **rest, "initializer_range": 0.3, "head_dim": 16, **more}
    torch.manual_seed(1)
    model = getattr(transformers, f"{architecture}ForCausalLM")(
        getattr(transformers, f"{architecture}Config")(**config)
    )
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            torch.nn.init.normal_(weight, float("norm" in name), 0.3)
    model.half().float().save_pretrained(folder)
    return folder


def tiny_trainer(folder, *callbacks, masked=(), broken=0, steps=6, **options):
    """A real trainer of a tiny model, a checkpoint every second step.

    Batches ``masked`` teach no token; the logits of batch ``broken`` are 0 / 0.
    """
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    transformers.set_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    counted, forwards = iter(range(1, 1000)), iter(range(1, 1000))

    def collate(rows):
        ids = torch.tensor(rows)
        return {
            "input_ids": ids,
            "labels": torch.full_like(ids, -100) if next(counted) in masked else ids,
        }

    chosen = {"save_steps": 2, "logging_steps": 1, "learning_rate": 1e-3, "max_steps": steps} | options
    model = transformers.LlamaForCausalLM(config)
    model.lm_head.register_forward_hook(lambda _, __, out: out * 0 / 0 if next(forwards) == broken else out)
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            str(folder), use_cpu=True, report_to=[], disable_tqdm=True, remove_unused_columns=False, **chosen
        ),
        collate,
        [[i % 16, 3, 5, 7] for i in range(64)],
        callbacks=list(callbacks),
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer
