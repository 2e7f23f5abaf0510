"""Tiny models, prompts and comparisons that the tests of training share."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tiny import TEMPLATE, vocabulary

from jurist.core.types import Case, Message
from jurist.engines.chat_template import ChatIds
from jurist.judging.judge import Judge
from jurist.training.config import GrpoOptions
from jurist.training.evaluation import judge_of
from jurist.training.metrics import read_metrics
from jurist.training.prompts import PromptCounts, PromptExample, prompt_examples

A, B = "<answer>[[A]]</answer>", "<answer>[[B]]</answer>"


OPENS = TEMPLATE.replace("<|start|>assistant {%", "<|start|>assistant <think>\n{%")


GOOD, BAD = "yes, it is", "no idea"


def tokenizer(template: str | None = TEMPLATE, pad: bool = True) -> Any:
    """Every character is a token, and so is each verdict."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    raw = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary(), []))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    raw.add_special_tokens(["<|start|>", "<|end|>", "<|pad|>"])
    raw.add_tokens([tokenizers.AddedToken(t, special=False) for t in ("<think>", "</think>", A, B)])
    named = {"pad_token": "<|pad|>"} if pad else {}
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", **named)
    made.chat_template = template
    return made


def tiny(path: Path, template: str | None = TEMPLATE, pad: bool = True, context: int = 512) -> Path:
    """A saved model of two layers whose random texts are mostly verdicts and endings."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    words = tokenizer(template, pad)
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context,
        initializer_range=0.3, bos_token_id=None, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        # One number is large in every state, so that it can carry a bias of the vocabulary.
        model.model.embed_tokens.weight[:, 0] = 6.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[words.convert_tokens_to_ids([A, B, "<|end|>"]), 0] = 1.2
    model.generation_config.update(do_sample=True, top_k=3, temperature=0.7)
    model.save_pretrained(path)
    words.save_pretrained(path)
    return path


def rows(path: Path, values: Iterable[object]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def pairs(path: Path, n: int, **more: Any) -> Path:
    """A JSONL file of n labelled pairs."""
    return rows(
        path,
        ({"id": f"p{i}", "prompt": f"is it {i}?", "chosen": GOOD, "rejected": BAD, **more} for i in range(n)),
    )


def judge(protocol: str = "pairwise-short", **options: Any) -> Judge:
    return judge_of(GrpoOptions(protocol=protocol, **options))


def case(name: str = "1", *responses: str, gold: tuple[float, ...] | None = (1.0, 0.0)) -> Case:
    return Case(name, (Message("user", f"is it {name}?"),), responses or (GOOD, BAD), gold=gold)


@cache
def chat(template: str = TEMPLATE) -> ChatIds:
    return ChatIds(tokenizer(template), "tiny")


def asked(cases: Iterable[Case], **options: Any) -> tuple[list[PromptExample], PromptCounts]:
    return prompt_examples(cases, judge(), chat(), **{"max_prompt": 500} | options)


TIMED = ("runtime", "per_second", "step_time", "train_loss", "total_flos")
"""Metrics of time, or of a session."""


def course(out: Path) -> list[tuple[int, float, dict[str, float | None]]]:
    """What was logged at each step, without times and sums of a session."""
    lines = read_metrics(out / "metrics.jsonl")
    kept = [(x.step, x.epoch, {k: v for k, v in x.metrics.items() if not k.endswith(TIMED)}) for x in lines]
    return [one for one in kept if one[2]]


def weights(out: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(out / "model" / "model.safetensors")


def same(one: Path, other: Path) -> None:
    """Both folders hold the same training: what was logged, what was learned, how it was measured."""
    import torch

    assert course(one) == course(other)
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    for place in ("before", "after"):
        files = [out / "held-out" / place / "eval.json" for out in (one, other)]
        assert files[0].read_bytes() == files[1].read_bytes()
    results = [json.loads((out / "result.json").read_bytes()) for out in (one, other)]
    assert [r.pop("seconds") >= 0 for r in results] == [True, True]
    assert results[0] == results[1]


def stopping(monkeypatch: pytest.MonkeyPatch, step: int, error: type[BaseException]) -> None:
    """Raise at the end of a step, before it is logged and saved."""

    def stop(*told: Any, **_: Any) -> None:
        if told[2].global_step == step:
            raise error

    from jurist.training import session as sessions

    monkeypatch.setattr(sessions.RewardSignalCallback, "on_step_end", stop, raising=False)


def said() -> tuple[list[str], Callable[[str], None]]:
    lines: list[str] = []
    return lines, lines.append


def grpo_options(model: Path, **more: Any) -> GrpoOptions:
    base = {"model": str(model), "protocol": "pairwise-short", "precision": "fp32", "batch": 2, "steps": 4}
    rest = {"micro_batch": 4, "save_every": 2, "learning_rate": 1e-2, "max_completion": 16, "group": 4}
    return GrpoOptions(**base | rest | {"eval_tokens": 4, "trace_every": 1} | more)
