"""Guards of a training: numbers that are none, rewards that teach nothing, full disks, torn checkpoints."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import tiny_trainer

from jurist.core.errors import ConfigError
from jurist.training import callbacks as callbacks_module
from jurist.training.callbacks import (
    DiskSpaceCallback,
    FiniteCallback,
    RewardSignalCallback,
    TrainingError,
    last_checkpoint,
    torn,
)
from jurist.training.metrics import Metrics, MetricsCallback, read_metrics

HERE = Path(__file__).parent


def finite(model):
    return all(bool(p.isfinite().all()) for p in model.parameters())


# Numbers


def test_a_nan_gradient_stops_before_the_weights_change(tmp_path):
    trainer = tiny_trainer(tmp_path, FiniteCallback(), broken=5)
    with pytest.raises(TrainingError, match=r"gradient of step 5 is nan; the weights were left") as caught:
        trainer.train()
    assert str(tmp_path / "checkpoint-4") in caught.value.hint
    assert finite(trainer.model)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"


def test_without_the_guard_a_nan_gradient_spoils_the_model(tmp_path):
    trainer = tiny_trainer(tmp_path, broken=6)
    trainer.train()
    assert not finite(trainer.model)
    assert all(math.isfinite(one["loss"]) for one in trainer.state.log_history if "loss" in one)


def test_a_nan_loss_with_zero_gradient_is_not_hidden_by_the_mean(tmp_path):
    trainer = tiny_trainer(tmp_path, FiniteCallback(), masked=[5])
    with pytest.raises(TrainingError, match=r"loss is nan at step 5; .*without any token"):
        trainer.train()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_learning_rate_beyond_reason_is_caught_clipped_or_not(tmp_path, clip):
    options = {"learning_rate": 1e30, "max_grad_norm": clip, "lr_scheduler_type": "constant"}
    trainer = tiny_trainer(tmp_path, FiniteCallback(), save_steps=100, **options)
    with pytest.raises(
        TrainingError, match=r"step 2 is (nan|inf).*learning rate too high \(1e\+30\)"
    ) as caught:
        trainer.train()
    assert ("not clipped" in str(caught.value)) == (clip == 0)
    assert "no checkpoint was saved yet" in caught.value.hint


def test_a_broken_model_is_told_from_a_step_that_breaks_it(tmp_path):
    trainer = tiny_trainer(tmp_path, FiniteCallback())
    next(trainer.model.parameters()).data[3] = math.nan
    with pytest.raises(TrainingError, match=r"step 1 is nan.*weights that are not finite themselves"):
        trainer.train()


@pytest.mark.parametrize(
    ("logs", "fp16", "stops"),
    [
        ({"loss": math.nan}, False, True),
        ({"loss": math.nan}, True, True),
        ({"loss": 1.0, "grad_norm": math.inf}, False, True),
        ({"loss": 1.0, "grad_norm": math.inf}, True, False),
        ({"loss": 1.0, "grad_norm": 2.0, "reward": math.nan}, False, False),
        ({"loss": None}, False, False),
    ],
)
def test_logged_values_are_watched_except_float16_overflows(tmp_path, logs, fp16, stops):
    pytest.importorskip("torch")
    args = SimpleNamespace(fp16=fp16, output_dir=str(tmp_path), max_grad_norm=1.0, learning_rate=1e-6)
    model = SimpleNamespace(parameters=list)
    step = SimpleNamespace(global_step=7)
    if not stops:
        FiniteCallback().on_log(args, step, None, logs=logs, model=model)
        return
    with pytest.raises(TrainingError, match="at step 7; not saved"):
        FiniteCallback().on_log(args, step, None, logs=logs, model=model)


# Rewards


DEAD = {"reward": -1.0, "reward_std": 0.0}
MIXED = {"reward": 0.1, "reward_std": 1.0, "frac_reward_zero_std": 1.0}


def warned(logs, steps=50, every=1, alive=(), begins=0, ends=120):
    """The warnings of a run that logs the same; at the steps ``alive`` rewards differ."""
    told = []
    guard = RewardSignalCallback(told.append, steps)
    guard.on_train_begin(None, SimpleNamespace(global_step=begins), None)
    for step in range(begins + every, ends + 1, every):
        now = logs | {"reward_std": 0.4, "frac_reward_zero_std": 0.5} if step in alive else logs
        main = SimpleNamespace(global_step=step, is_world_process_zero=True)
        guard.on_log(None, main, None, logs=now)
        guard.on_log(None, main, None, logs={"held_out/accuracy": 0.5})
    return told


@pytest.mark.parametrize(
    ("run", "count"),
    [
        ({}, 1),
        ({"ends": 49}, 0),
        ({"ends": 50}, 1),
        ({"alive": [49]}, 1),
        ({"alive": [49], "ends": 98}, 0),
        ({"alive": range(0, 120, 40)}, 0),
        ({"every": 7, "ends": 55}, 0),
        ({"every": 7, "ends": 56}, 1),
        ({"begins": 100, "ends": 149}, 0),
        ({"steps": 10, "ends": 10}, 1),
    ],
)
def test_equal_rewards_are_warned_of_once_after_some_steps(run, count):
    assert len(warned(DEAD, **run)) == count


@pytest.mark.parametrize(
    ("logs", "cause"),
    [
        ({"reward": None, "reward_std": None}, "no completion has a verdict: teach the format"),
        (DEAD | {"verdicts/unanswered": 0.97}, "97% of the completions have no verdict"),
        (DEAD | {"jurist/answered": 0.0}, "100% of the completions have no verdict"),
        (DEAD | {"completions/clipped_ratio": 0.98, "verdicts/unanswered": 1.0}, "98% of .* cut by length"),
        (DEAD, "all verdicts are wrong or missing"),
        (DEAD | {"verdicts/unanswered": 0.0}, "all verdicts are wrong: look at the gold"),
        ({"reward": 1.0, "reward_std": 5e-8}, "all verdicts are right"),
        (MIXED | {"verdicts/first": 0.97}, "the first .*97%"),
        (MIXED | {"verdicts/first": 0.02}, "the second .*98%"),
        (MIXED | {"entropy": 0.001}, "raise the temperature"),
        (MIXED, "each pair is always right or always wrong"),
    ],
)
def test_the_warning_names_the_likely_cause(logs, cause):
    (told,) = warned(logs)
    assert told.startswith("no group's rewards have differed for 50 steps: ")
    assert re.search(cause, told), told


def test_what_teaches_or_has_no_rewards_at_all_is_not_warned_of():
    assert not warned({"reward": 0.1, "reward_std": 0.9, "frac_reward_zero_std": 0.97})
    assert not warned({"loss": 0.5})
    with pytest.raises(ConfigError, match="steps 0"):
        RewardSignalCallback(print, 0)


def grpo(folder, reward, *callbacks, steps=3):
    """TRL's own trainer on a tiny model whose words are digits."""
    trl, transformers = pytest.importorskip("trl"), pytest.importorskip("transformers")
    tokenizers, datasets = pytest.importorskip("tokenizers"), pytest.importorskip("datasets")
    transformers.set_seed(0)
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", *map(str, range(10))])}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    config = transformers.LlamaConfig(
        vocab_size=12, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    options = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 24}
    options |= {"logging_steps": 1, "use_cpu": True, "bf16": False, "report_to": [], "disable_tqdm": True}
    return trl.GRPOTrainer(
        model=transformers.LlamaForCausalLM(config),
        reward_funcs=reward,
        args=trl.GRPOConfig(str(folder), max_steps=steps, save_strategy="no", **options),
        train_dataset=datasets.Dataset.from_dict({"prompt": ["1 2 3", "4 5 6"] * 8}),
        processing_class=transformers.PreTrainedTokenizerFast(
            tokenizer_object=plain, pad_token="<pad>", eos_token="<eos>"
        ),
        callbacks=list(callbacks),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "warned"), [(-1.0, "all verdicts are wrong"), (None, "100% of the completions")]
)
def test_trl_warns_of_constant_and_of_missing_rewards(tmp_path, value, warned):
    def constant(completions, log_metric, **_):
        log_metric("verdicts/unanswered", float(value is None))
        return [value] * len(completions)

    told, path = [], tmp_path / "metrics.jsonl"
    callbacks = (FiniteCallback(), RewardSignalCallback(told.append, 2), MetricsCallback(Metrics(path)))
    grpo(tmp_path, constant, *callbacks).train()
    (warning,) = told
    assert warning.startswith(f"no group's rewards have differed for 2 steps: {warned}"), warning
    steps = [line for line in read_metrics(path) if "reward" in line.metrics]
    assert [line.step for line in steps] == [1, 2, 3]
    assert {line.metrics["reward"] for line in steps} == {value}
    assert steps[0].metrics["completions/mean_length"] is not None


# Room


def disk(monkeypatch, *free):
    """A disk with so many bytes free, at one look after another; the last stays."""
    left = list(free)
    monkeypatch.setattr(
        callbacks_module.shutil,
        "disk_usage",
        lambda _: SimpleNamespace(free=left.pop(0) if len(left) > 1 else left[0]),
    )


def test_a_full_disk_stops_before_the_checkpoint_is_written(tmp_path, monkeypatch):
    trainer = tiny_trainer(tmp_path, DiskSpaceCallback(), save_total_limit=1)
    disk(monkeypatch, 1 << 40, 1 << 40, 1 << 20)
    with pytest.raises(TrainingError, match=r"needs 3\d MiB, 1 MiB are free") as caught:
        trainer.train()
    assert str(tmp_path) in caught.value.message
    assert f"{tmp_path / 'checkpoint-2'} is whole" in caught.value.hint
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    assert not torn(tmp_path / "checkpoint-2")


def test_a_disk_too_small_is_reported_before_the_first_step(tmp_path, monkeypatch):
    trainer = tiny_trainer(tmp_path / "not" / "yet", DiskSpaceCallback())
    disk(monkeypatch, 0)
    with pytest.raises(TrainingError, match="0 MiB are free"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_run_that_saves_nothing_needs_no_room(tmp_path, monkeypatch):
    disk(monkeypatch, 0)
    tiny_trainer(tmp_path, DiskSpaceCallback(), save_strategy="no", steps=1).train()


def test_the_estimate_is_the_size_of_what_is_written(tmp_path):
    trainer = tiny_trainer(tmp_path, steps=2)
    before = callbacks_module.estimate(trainer.model)
    trainer.train()
    after = callbacks_module.estimate(trainer.model, trainer.optimizer)
    saved = tmp_path / "checkpoint-2"
    tensors = sum((saved / name).stat().st_size for name in ("model.safetensors", "optimizer.pt"))
    # Adam's counters and the files' own headers come on top, a few bytes for each tensor.
    assert before <= after <= tensors < after + 20_000
    assert callbacks_module.estimate(trainer.model, weights_only=True) * 3 == before


# Checkpoints


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a training with whole checkpoints at steps 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("saved")
    trainer = tiny_trainer(folder)
    trainer.train()
    return folder


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def restate(path):
    held = json.loads(path.read_bytes())
    path.write_text(json.dumps(held | {"global_step": 2}))


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("trainer_state.json", Path.unlink, "no trainer_state.json"),
        ("trainer_state.json", halve, "trainer_state.json is torn"),
        ("trainer_state.json", restate, "trainer_state.json is of step 2"),
        ("model.safetensors", Path.unlink, "no weights"),
        ("model.safetensors", halve, "model.safetensors is torn"),
        ("model.safetensors", lambda p: p.write_bytes(b""), "model.safetensors is torn"),
        ("optimizer.pt", Path.unlink, "no optimizer.pt"),
        ("optimizer.pt", halve, "optimizer.pt is torn"),
        ("scheduler.pt", Path.unlink, "no scheduler.pt"),
        ("rng_state.pth", Path.unlink, "no random state"),
        ("rng_state.pth", lambda p: p.write_bytes(bytes(p.stat().st_size)), "rng_state.pth is torn"),
        (
            "model.safetensors.index.json",
            lambda p: p.write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
            "model-2.safetensors is not there",
        ),
    ],
)
def test_a_checkpoint_that_lost_a_part_is_passed_over_and_said(saved, tmp_path, name, damage, reason):
    folder, said = tmp_path / "run", []
    shutil.copytree(saved, folder)
    (folder / "checkpoint-final").mkdir()
    assert last_checkpoint(folder, said.append) == folder / "checkpoint-6"
    assert said == []
    damage(folder / "checkpoint-6" / name)
    assert last_checkpoint(folder, said.append) == folder / "checkpoint-4"
    assert said == [f"checkpoint-6 is passed over: {torn(folder / 'checkpoint-6')}"]
    assert reason in said[0]


def test_where_nothing_is_whole_there_is_nothing_to_resume_from(tmp_path):
    assert last_checkpoint(tmp_path / "absent") is None
    (tmp_path / "checkpoint-3").mkdir()
    assert last_checkpoint(tmp_path) is None


def test_an_overwritten_checkpoint_is_unfinished_until_done(saved, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(saved, folder)
    DiskSpaceCallback().on_step_end(
        SimpleNamespace(output_dir=str(folder), should_save=True, save_only_model=False),
        SimpleNamespace(global_step=6),
        SimpleNamespace(should_save=True),
    )
    assert last_checkpoint(folder) == folder / "checkpoint-4"


KILLED = """
import os, signal, sys
import torch
sys.path.insert(0, {here!r})
from pathlib import Path
from tiny import tiny_trainer
from jurist.training.callbacks import DiskSpaceCallback, FiniteCallback
from jurist.training.metrics import Metrics, MetricsCallback

whole = torch.save
def half(value, path, *rest, **options):
    whole(value, path, *rest, **options)
    if "checkpoint-4" in str(path) and "optimizer" in str(path):
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
folder = Path({folder!r})
metrics = MetricsCallback(Metrics(folder / "metrics.jsonl"))
tiny_trainer(folder, FiniteCallback(), DiskSpaceCallback(), metrics).train()
"""


@pytest.mark.slow
def test_killed_during_a_save_it_resumes_from_the_one_before(saved, tmp_path):
    del saved  # skips here, where there is no trainer
    script = KILLED.format(here=str(HERE), folder=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    said = []
    start = last_checkpoint(tmp_path, said.append)
    assert start == tmp_path / "checkpoint-2"
    assert said == ["checkpoint-4 is passed over: no trainer_state.json, so its writing was not finished"]
    assert [line.step for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    trainer = tiny_trainer(
        tmp_path, FiniteCallback(), DiskSpaceCallback(), MetricsCallback(Metrics(tmp_path / "metrics.jsonl"))
    )
    trainer.train(resume_from_checkpoint=str(start))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line.step for line in lines if "loss" in line.metrics] == [1, 2, 3, 4, 5, 6]
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
