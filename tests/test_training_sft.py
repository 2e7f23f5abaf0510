"""Supervised training of a tiny model: to its end, interrupted, resumed, with adapters, refused."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from trainings import OPENS, TEMPLATE, A, pairs, rows, said, same, stopping, tiny, weights

trl = pytest.importorskip("trl", reason="trl is not installed: pip install 'jurist[train]'")

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from jurist.cli.main import run  # noqa: E402
from jurist.core.errors import ConfigError, EngineError, InputError, JuristError, StoreError  # noqa: E402
from jurist.core.store import claim  # noqa: E402
from jurist.training import session as sessions  # noqa: E402
from jurist.training.config import SftOptions  # noqa: E402
from jurist.training.metrics import read_metrics  # noqa: E402
from jurist.training.sft import train_sft  # noqa: E402

torch.set_num_threads(1)


def options(model: Path, **more: Any) -> SftOptions:
    base = {"model": str(model), "protocol": "pairwise-short", "precision": "fp32", "batch": 4, "steps": 4}
    rest = {"micro_batch": 2, "save_every": 2, "learning_rate": 3e-2, "eval_tokens": 4, "target": "answer"}
    return SftOptions(**base | rest | more)


# --- to the end ------------------------------------------------------------------------------------------


def test_a_training_leaves_a_model_metrics_and_measurements(model: Path, held: Path, tmp_path: Path):
    data, out = pairs(tmp_path / "t.jsonl", 10), tmp_path / "out"
    chosen = options(model, held_out=held, orders="both", steps=6, eval_every=4, adam_beta2=0.95)
    heard, say = said()
    result = train_sft(chosen, str(data), out, say)
    assert "20 prompts of 10 pairs" in heard[0]
    lines = [x for x in read_metrics(out / "metrics.jsonl") if "loss" in x.metrics]
    assert [x.step for x in lines] == [1, 2, 3, 4, 5, 6]
    first, last = (x.metrics["loss"] or 0.0 for x in (lines[0], lines[-1]))
    assert last < first / 2
    assert {p.name for p in (out / "held-out").iterdir()} == {"before", "step-000004", "after"}
    assert (result.steps, result.tokens) == (6, lines[-1].metrics["num_tokens"])
    assert result.before is not None
    assert result.after is not None
    assert transformers.AutoModelForCausalLM.from_pretrained(out / "model").config.vocab_size > 256
    assert transformers.AutoTokenizer.from_pretrained(out / "model").chat_template
    held_files = [path for path in (out / "model").rglob("*") if path.is_file()]
    # What was made here says nothing about this machine.
    assert "training_args.bin" not in {path.name for path in held_files}
    assert not [path for path in held_files if str(tmp_path.parent).encode() in path.read_bytes()]
    state = torch.load(out / "checkpoints" / "checkpoint-6" / "optimizer.pt", weights_only=True)
    assert [group["betas"] for group in state["param_groups"]] == [(0.9, 0.95)] * len(state["param_groups"])
    # The same command once more has nothing to do.
    held_before = (out / "metrics.jsonl").read_bytes()
    assert train_sft(chosen, str(data), out, say) == result
    assert "it is over" in heard[-1]
    assert (out / "metrics.jsonl").read_bytes() == held_before


@pytest.mark.parametrize(
    ("template", "pad", "more"),
    [
        (OPENS, True, {}),
        (None, False, {}),
        (None, True, {"batch": 32, "micro_batch": 8}),
        (None, True, {"steps": None, "epochs": 0.5, "schedule": "constant", "warmup": 0.5}),
    ],
    ids=["opens thinking", "no padding token", "fewer rows than a batch", "half an epoch"],
)
def test_written_judgments_are_learned(tmp_path: Path, template: str | None, pad: bool, more: dict[str, Any]):
    folder = tiny(tmp_path / "model", template or TEMPLATE, pad)
    values = [{"prompt": f"is it {i}?", "completion": f"<think>\nhm\n</think>\n\n{A}"} for i in range(12)]
    heard, say = said()
    chosen = options(folder, target="chain", **{"steps": 2} | more)
    out = tmp_path / "out"
    result = train_sft(chosen, str(rows(tmp_path / "r.jsonl", values)), out, say)
    assert "12 rows" in heard[0]
    lines = read_metrics(out / "metrics.jsonl")
    assert result.steps == 2
    assert all((x.metrics["loss"] or 0) > 0 for x in lines if "loss" in x.metrics)
    assert any(not torch.equal(a, b) for a, b in zip(
        weights(out).values(), load_file(folder / "model.safetensors").values(), strict=True
    ))  # fmt: skip


def test_rows_of_another_protocol_are_refused(model: Path, tmp_path: Path):
    values = [
        {"prompt": "is it?", "completion": A, "protocol": name} for name in ("rubrics", "rm-r1-instruct")
    ]
    path = rows(tmp_path / "r.jsonl", values)
    with pytest.raises(
        InputError, match="written for \"rm-r1-instruct\", the training is for 'rubrics'"
    ) as caught:
        train_sft(options(model, target="chain", protocol="rubrics"), str(path), tmp_path / "out", print)
    assert caught.value.message.startswith(f"{path}:2: protocol: ")


# --- interrupted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "more"),
    [
        (1, {}),
        (5, {"steps": None, "epochs": 2.0, "adapter": "lora", "lora_rank": 4}),
    ],
    ids=["before the first checkpoint", "in the second epoch, adapters"],
)
def test_resuming_an_interrupted_sft_run_changes_nothing(
    stop: int, more: dict[str, Any], model: Path, held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = pairs(tmp_path / "t.jsonl", 10)
    chosen = options(model, held_out=held, **more)
    train_sft(chosen, str(data), tmp_path / "whole", print)
    with monkeypatch.context() as patch:
        stopping(patch, stop, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            train_sft(chosen, str(data), tmp_path / "cut", print)
    heard, say = said()
    train_sft(chosen, str(data), tmp_path / "cut", say)
    assert any("resumed from" in line for line in heard) == (stop > 1)
    same(tmp_path / "whole", tmp_path / "cut")


def test_after_the_last_step_only_the_saving_is_done_again(
    model: Path, held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Four steps end within the second epoch of three.
    data, chosen = pairs(tmp_path / "t.jsonl", 10), options(model, held_out=held, steps=4)
    train_sft(chosen, str(data), tmp_path / "whole", print)
    with monkeypatch.context() as patch:
        patch.setattr(sessions.Session, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_sft(chosen, str(data), tmp_path / "cut", print)
    train_sft(chosen, str(data), tmp_path / "cut", print)
    same(tmp_path / "whole", tmp_path / "cut")


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_command_ends_with_130(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    data, out = pairs(tmp_path / "t.jsonl", 8), tmp_path / "out"
    words = "--target answer --protocol pairwise-short --precision fp32 --batch 4 --steps 3 --save-every 1"
    arguments = ["train", "sft", str(data), "--out", str(out), "--model", str(model), *words.split()]
    with monkeypatch.context() as patch:
        stopping(patch, 2, KeyboardInterrupt)
        assert run(arguments) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["steps"] == 3
    assert "resumed from" in captured.err
    # Neither bars nor notices of the packages.
    assert "%|" not in captured.err
    assert "TRL_EXPERIMENTAL" not in captured.err
    assert "mtime" not in captured.err


# --- refused ---------------------------------------------------------------------------------------------


def test_what_cannot_be_trained_is_said_at_the_door(model: Path, tmp_path: Path):
    data = str(pairs(tmp_path / "t.jsonl", 4))
    small = tiny(tmp_path / "small", context=64)
    base = tiny(tmp_path / "base", None)
    refused: list[tuple[type[JuristError], str, SftOptions]] = [
        (EngineError, "no chat template", options(base)),
        (ConfigError, "cannot load the model .*nowhere", options(tmp_path / "nowhere")),
        (ConfigError, "packing would let rows .*flash attention", options(model, packing=True)),
        (ConfigError, "report_to = trackio is not installed", options(model, report_to="trackio")),
        (InputError, "no row to learn from: all are longer", options(small)),
        (InputError, "t.jsonl:1: completion: is missing", options(model, target="chain")),
        (InputError, "no held-out pair", options(model, held_out=rows(tmp_path / "h.jsonl", [
            {"prompt": "?", "responses": ["a", "b"]}]))),
    ]  # fmt: skip
    for error, words, chosen in refused:
        # What never began may be mended in the same folder.
        with pytest.raises(error, match=f"(?s){words}"):
            train_sft(chosen, data, tmp_path / "out", print)
    assert train_sft(options(model, steps=1), data, tmp_path / "out", print).steps == 1


def test_two_processes_do_not_train_in_one_folder(model: Path, tmp_path: Path):
    data, out = str(pairs(tmp_path / "t.jsonl", 4)), tmp_path / "out"
    out.mkdir()
    with claim(out), pytest.raises(StoreError, match="another process is writing to the run folder"):
        train_sft(options(model), data, out, print)
    assert train_sft(options(model), data, out, print).steps == 4


def test_a_folder_of_another_training_is_not_gone_on_with(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data, out = str(pairs(tmp_path / "t.jsonl", 8)), tmp_path / "out"
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        stopping(patch, 3, KeyboardInterrupt)
        train_sft(options(model), data, out, print)
    with pytest.raises(StoreError, match=r"learning_rate was 0.03, now 0.5"):
        train_sft(options(model, learning_rate=0.5), data, out, print)
    pairs(tmp_path / "t.jsonl", 9)
    with pytest.raises(StoreError, match="pairs_sha256 was"):
        train_sft(options(model), data, out, print)
    pairs(tmp_path / "t.jsonl", 8)
    file = out / "checkpoints" / "checkpoint-2" / "config.json"
    file.write_text(file.read_text().replace('"hidden_size": 32', '"hidden_size": 48'))
    with pytest.raises(ConfigError, match=r"checkpoint of another model \(hidden_size: 48 here, 32 in"):
        train_sft(options(model), data, out, print)
