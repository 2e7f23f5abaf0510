"""Reinforcement learning of a tiny model: to its end, killed, resumed, with adapters, refused."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from trainings import OPENS, A, B, course, pairs, rows, said, same, stopping, tiny, weights
from trainings import grpo_options as options

trl = pytest.importorskip("trl", reason="trl is not installed: pip install 'jurist[train]'")


from jurist.cli.main import run  # noqa: E402
from jurist.core.errors import ConfigError, InputError, JuristError  # noqa: E402
from jurist.core.runs import read_decisions  # noqa: E402
from jurist.training import rollout_backends  # noqa: E402
from jurist.training.grpo import train_grpo  # noqa: E402
from jurist.training.metrics import read_metrics  # noqa: E402


def logged(out: Path) -> list[Any]:
    return [x for x in read_metrics(out / "metrics.jsonl") if "reward" in x.metrics]


def test_metrics_say_what_the_samples_show(
    model: Path, held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):  # fmt: skip
    data, out = pairs(tmp_path / "t.jsonl", 5), tmp_path / "out"
    result = train_grpo(options(model, held_out=held, orders="both", resample=0), str(data), out, print)
    steps = logged(out)
    assert [x.step for x in steps] == [1, 2, 3, 4]
    # Two groups are a step and two pairs of five an epoch's last: two steps see four of them.
    assert [x.epoch for x in steps] == [0.5, 1.0, 1.5, 2.0]
    kept = list(read_decisions(out / "traces"))
    tokens = 0
    for at, line in enumerate(steps):
        groups = [d for d in kept if d.case_id.startswith(f"step-{at:05d}/")]
        members = [j for d in groups for j in d.judgments]
        rewards = [r for d in groups for r in d.meta["rewards"]]
        assert (len(groups), len(members)) == (2, 8)
        assert {j.query.order for j in members} == {(0, 1), (1, 0)}
        assert line.metrics["reward"] == pytest.approx(sum(rewards) / 8)
        assert line.metrics["verdicts/right"] == pytest.approx(sum(r == 1 for r in rewards) / 8)
        tokens += sum(
            j.completion.usage.prompt_tokens + j.completion.usage.completion_tokens for j in members
        )
        assert line.metrics["num_tokens"] == tokens
    assert any(x.metrics["groups/zero_variance"] < 1 for x in steps)
    assert result.tokens == tokens
    assert result.steps == 4
    assert run(["show", str(out / "traces")]) == 0
    assert "step-00003/" in capsys.readouterr().out


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from trainings import grpo_options as options
from jurist.training.grpo import train_grpo
from jurist.training.session import RewardSignalCallback
def stop(self, args, state, control, **_):
    if state.global_step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
RewardSignalCallback.on_step_end = stop
train_grpo(options(Path(sys.argv[2]), held_out=Path(sys.argv[3])), sys.argv[4], Path(sys.argv[5]), print)
"""


@pytest.mark.slow
def test_resuming_a_killed_grpo_run_changes_nothing(model: Path, held: Path, tmp_path: Path):
    data, out = pairs(tmp_path / "t.jsonl", 5), tmp_path / "killed"
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tests, model, held, data, out], capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr.decode()
    chosen = options(model, held_out=held)
    train_grpo(chosen, str(data), out, print)
    train_grpo(chosen, str(data), tmp_path / "whole", print)
    same(tmp_path / "whole", out)
    traces = [
        sorted(read_decisions(o / "traces"), key=lambda d: d.case_id) for o in (tmp_path / "whole", out)
    ]
    assert traces[0] == traces[1]


@pytest.mark.parametrize(
    ("stop", "more"),
    [
        (3, {"adapter": "lora", "lora_rank": 4, "orders": "both", "resample": 0}),
        (5, {"updates": 2, "beta": 0.0, "save_every": 1, "steps": 3}),
        (3, {"shared_prefix": False, "loss": "bnpo", "batch": 4, "orders": "both", "reward": "consistent"}),
    ],
    ids=["adapters", "within the updates of a step", "stock loss, in the second epoch"],
)
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    stop: int, more: dict[str, Any], model: Path, held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    data, chosen = str(pairs(tmp_path / "t.jsonl", 7)), options(model, held_out=held, **more)
    whole = train_grpo(chosen, data, tmp_path / "whole", print)
    with monkeypatch.context() as patch:
        stopping(patch, stop, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            train_grpo(chosen, data, tmp_path / "cut", print)
    assert train_grpo(chosen, data, tmp_path / "cut", print).steps == whole.steps == chosen.steps
    same(tmp_path / "whole", tmp_path / "cut")


def test_the_samplers_log_probabilities_do_not_move_the_loss(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    data = str(pairs(tmp_path / "t.jsonl", 5))
    chosen = options(model, steps=2)
    train_grpo(chosen, data, tmp_path / "as drawn", print)
    drawn = rollout_backends.generate

    def otherwise(*arguments: Any, **named: Any) -> Sequence[Any]:
        return [(ids, [-9.0] * len(ids)) for ids, _ in drawn(*arguments, **named)]

    monkeypatch.setattr(rollout_backends, "generate", otherwise)
    train_grpo(chosen, data, tmp_path / "otherwise", print)
    one, other = weights(tmp_path / "as drawn"), weights(tmp_path / "otherwise")
    assert all(one[name].equal(other[name]) for name in one)
    assert course(tmp_path / "as drawn") == course(tmp_path / "otherwise")


def test_a_template_that_opens_the_thinking_opens_every_text(tmp_path: Path):
    data, out = pairs(tmp_path / "t.jsonl", 4), tmp_path / "out"
    chosen = options(tiny(tmp_path / "model", OPENS, pad=False), steps=1, resample=0)
    train_grpo(chosen, str(data), out, print)
    judgments = [j for d in read_decisions(out / "traces") for j in d.judgments]
    texts = [j.completion.text for j in judgments]
    assert len(texts) == 8
    assert all(text.startswith("<think>\n") for text in texts)
    # A verdict without the end of the thinking is none.
    assert sum(A in text or B in text for text in texts) > 2
    assert all("</think>" in j.completion.text for j in judgments if j.verdict.scores)
    (line,) = logged(out)
    assert line.metrics["verdicts/unanswered"] == sum(not j.verdict.scores for j in judgments) / 8


def test_what_cannot_be_trained_is_said_at_the_door(model: Path, tmp_path: Path):
    data = str(pairs(tmp_path / "t.jsonl", 4))
    ties = str(
        rows(tmp_path / "ties.jsonl", [{"prompt": "?", "responses": ["a", "b"], "gold": [0.5, 0.5]}] * 2)
    )
    none = str(rows(tmp_path / "none.jsonl", [{"prompt": "?", "responses": ["a", "b"]}]))
    refused: list[tuple[type[JuristError], str, str, dict[str, Any]]] = [
        (ConfigError, "a step of 8 prompts needs more than the 4 .*--batch 4", data, {"batch": 8}),
        (ConfigError, "completions of 600 tokens leave no room .* of 512", data, {"max_completion": 600}),
        (ConfigError, "2 groups of 5 do not divide into 4 updates", data, {"group": 5, "updates": 4}),
        (InputError, "4 prompts over the limit", data, {"max_completion": 500}),
        (InputError, "case 'p0': its prompt has", data, {"max_prompt": 60, "too_long": "stop"}),
        (InputError, "no pair to train on: 2 ties left out", ties, {}),
        (InputError, "no pair to train on: 1 pairs without a label", none, {}),
        (InputError, "stands first in every prompt", data, {"orders": "given"}),
        (InputError, "nowhere.jsonl", str(tmp_path / "nowhere.jsonl"), {}),
    ]
    for error, words, source, more in refused:
        with pytest.raises(error, match=f"(?s){words}"):
            train_grpo(options(model, **more), source, tmp_path / "out", said()[1])
