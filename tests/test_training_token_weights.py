"""Weights of tokens in the loss: where they lie, and that they count."""

from pathlib import Path
from typing import Any

import pytest
from trainings import A, chat, rows, said, tiny, tokenizer

trl = pytest.importorskip("trl", reason="trl is not installed: pip install 'jurist[train]'")

from jurist.core.errors import ConfigError, InputError  # noqa: E402
from jurist.protocols.rubrics import SLOT  # noqa: E402
from jurist.training.config import SftOptions  # noqa: E402
from jurist.training.metrics import read_metrics  # noqa: E402
from jurist.training.sft import train_sft  # noqa: E402
from jurist.training.token_weights import spans_of, token_weights, verdict_span  # noqa: E402


def test_the_verdict_is_the_last_label():
    text = "a [[A]] <answer>[[A]]</answer> no: <answer>[[B]]</answer>"
    assert verdict_span(text, SLOT, 15.0) == [(text.rindex("B"), text.rindex("B") + 1, 15.0)]
    assert verdict_span("no verdict", SLOT, 15.0) == []
    assert verdict_span(text, SLOT, 1.0) == []


def test_tokens_that_touch_a_span_have_its_weight():
    text = f"hm. {A}"
    ids = chat().reply(text)
    weights = token_weights(tokenizer(), text, ids, verdict_span(text, SLOT, 15.0))
    assert weights.count(15.0) == 1
    assert weights.count(1.0) == len(ids) - 1
    assert chat().text([ids[weights.index(15.0)]]) == A, "this tokenizer has the whole verdict as one token"


@pytest.mark.parametrize("value", ["x", [[0, 3]], [[3, 1, 2.0]], [[0, 1, -1]], {"0": 1}])
def test_spans_that_are_none_are_refused(value: object):
    with pytest.raises(InputError, match="weights"):
        spans_of(value)


def trained(tmp_path: Path, name: str, values: list[Any], **more: Any) -> list[float]:
    """The losses of two steps."""
    folder = tiny(tmp_path / "model") if not (tmp_path / "model").exists() else tmp_path / "model"
    options = SftOptions(
        **{
            "model": str(folder),
            "protocol": "pairwise-short",
            "precision": "fp32",
            "batch": 4,
            "micro_batch": 2,
            "steps": 2,
            "learning_rate": 1e-3,
        }
        | more
    )
    out = tmp_path / name
    train_sft(options, str(rows(tmp_path / f"{name}.jsonl", values)), out, said()[1])
    return [x.metrics["loss"] or 0.0 for x in read_metrics(out / "metrics.jsonl") if "loss" in x.metrics]


def test_weights_of_one_are_the_plain_loss_and_others_are_not(tmp_path: Path):
    plain = [{"prompt": f"is it {i}?", "completion": f"hm {i}. {A}"} for i in range(8)]
    # Half of each token's loss: a weight that is no 1 goes through the weighted loss, everywhere the same.
    halved = [{**row, "weights": [[0, 500, 0.5]]} for row in plain]
    first = trained(tmp_path, "plain", plain)
    assert trained(tmp_path, "verdict", plain, verdict_weight=15.0)[0] > first[0]
    # The token that ends the turn stands in no span, and counts 1.
    assert first[0] / 2 < trained(tmp_path, "halved", halved)[0] < first[0]


def test_a_pointwise_row_is_learned_and_a_pair_of_it_is_not(tmp_path: Path):
    plain = [{"prompt": f"is it {i}?", "completion": "<rating>5</rating>"} for i in range(8)]
    assert len(trained(tmp_path, "alone", plain, protocol="pointwise-short", verdict_weight=5.0)) == 2
    with pytest.raises(ConfigError, match="does not judge pairs"):
        trained(tmp_path, "answer", plain, protocol="pointwise-short", target="answer")
