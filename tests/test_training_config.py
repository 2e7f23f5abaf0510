"""Options of training: wrong values named, presets as published, commands that answer without torch."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from shared import ROOT

from jurist.cli.main import run
from jurist.core.errors import ConfigError, UnknownNameError
from jurist.training.config import GrpoOptions, ScalarOptions, SftOptions, resolved
from jurist.training.evaluation import judge_of
from jurist.training.grpo import _check, course
from jurist.training.presets import DEFAULTS, PRESETS, with_preset

KINDS: dict[str, type[Any]] = {"sft": SftOptions, "grpo": GrpoOptions, "scalar": ScalarOptions}
FAMILY = {"nstruct": "instruct", "dpsk": "reasoning"}
REFERENCE = ROOT.parent / "reference" / "rm-r1.md"


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        *[(n, 0, 1) for n in ("steps", "batch", "micro_batch", "max_prompt", "max_completion", "group")],
        *[(n, 0, 1) for n in ("updates", "save_every", "keep", "eval_every", "eval_limit", "eval_tokens")],
        *[(n, 0, 1) for n in ("no_signal_after", "lora_rank", "lora_alpha")],
        *[(n, -1, 0) for n in ("beta", "resample", "trace_every", "weight_decay", "max_grad_norm", "seed")],
        *[(n, 0.0, 0.5) for n in ("learning_rate", "epochs", "temperature", "clip", "top_p")],
        *[(n, float("nan"), 0.5) for n in ("learning_rate", "warmup", "top_p")],
        ("adam_beta2", 1.0, 0.0), ("adam_beta2", -0.1, 0.95),
        ("top_p", 1.5, 1.0), ("warmup", 1.0, 0.0), ("warmup", -0.1, 0.1),
        ("learning_rate", float("inf"), 1.0),
        ("schedule", "cosin", "cosine"), ("report_to", "tensorboard,paper", "none"),
    ],
)  # fmt: skip
def test_values_that_mean_nothing_are_named(name: str, wrong: Any, right: Any):
    with pytest.raises(ConfigError, match=f"{name} = ") as error:
        GrpoOptions(**{name: wrong})
    assert error.value.hint.startswith("legal: ")
    GrpoOptions(**{name: right})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reward": "consistent"}, "consistent reward needs both orders"),
        ({"orders": "both", "group": 5}, "group of 5 has no halves"),
        ({"group": 1}, "group of one has nothing"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        _check(with_preset(GrpoOptions(**options), "grpo"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (GrpoOptions(protocol="rubrics", rule="train"), "official rule of RM-R1 and RRM"),
        (GrpoOptions(protocol="pointwise"), "'pointwise' does not judge pairs"),
        (SftOptions(protocol="pointwise", target="answer"), "'pointwise' does not judge pairs"),
        (SftOptions(protocol="listwise"), "'listwise' does not judge pairs"),
    ],
)
def test_protocols_and_rules_that_train_no_judge_of_pairs(options: Any, words: str):
    with pytest.raises(ConfigError, match=words):
        judge_of(options)
    with pytest.raises(UnknownNameError, match="unknown protocol"):
        judge_of(SftOptions(protocol="rubric"))


def test_reports_are_names_with_commas():
    assert SftOptions(report_to="none").reports == ()
    assert SftOptions(report_to="wandb, tensorboard").reports == ("wandb", "tensorboard")


# --- presets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fills_what_was_not_chosen_and_flags_win(name: str):
    preset = PRESETS[name]
    kind = KINDS[preset.method]
    filled = with_preset(kind(preset=name), preset.method)
    for option, value in {**DEFAULTS[preset.method], **preset.values, **preset.forced}.items():
        assert getattr(filled, option) == value, option
    own = with_preset(kind(preset=name, learning_rate=0.5, max_prompt=7), preset.method)
    assert (own.learning_rate, own.max_prompt) == (0.5, 7)
    if preset.method == "grpo":
        rows = filled.batch * filled.group
        assert rows % filled.updates == 0
        _check(filled)


def test_what_no_preset_decides_comes_from_the_method():
    for method, kind in KINDS.items():
        filled = with_preset(kind(), method)  # type: ignore[arg-type]
        assert all(getattr(filled, name) is not None for name in DEFAULTS[method])  # type: ignore[index]
        names = {f.name for f in fields(kind)}
        assert set(DEFAULTS[method]) <= names  # type: ignore[index]
    assert resolved(
        SftOptions(batch=3), {"batch": 4, "epochs": 2.0}, {"epochs": 1.0, "steps": 5}
    ) == SftOptions(batch=3, epochs=2.0, steps=5)


def test_presets_of_another_method_or_none_are_refused():
    with pytest.raises(ConfigError, match=r"is one of `train grpo`(?s:.*)rm-r1-sft-7b"):
        with_preset(SftOptions(preset="rrm-7b"), "sft")
    with pytest.raises(UnknownNameError, match="did you mean 'rrm-32b'"):
        with_preset(GrpoOptions(preset="rrm-32"), "grpo")


def test_the_presets_of_rm_r1_are_those_of_the_paper():
    if not REFERENCE.exists():
        pytest.skip(f"needs {REFERENCE}")
    rows = re.findall(
        r"\|[^|]*(nstruct|dpsk)_(\d+b) *\|[^|]*\|[^|]*\| ([\d.e-]+) \|", REFERENCE.read_text("utf-8")
    )
    rates = {f"rm-r1-{FAMILY[family]}-{size}": float(rate) for family, size, rate in rows}
    assert len(rates) == 6
    for name, rate in rates.items():
        one = with_preset(GrpoOptions(preset=name), "grpo")
        assert one.learning_rate == rate
        assert (one.batch, one.group, one.updates, one.clip, one.beta) == (1024, 7, 8, 0.2, 1e-3)
        assert (one.max_prompt, one.max_completion, one.temperature, one.rule) == (4096, 8192, 1.0, "train")
        assert (one.schedule, one.warmup, one.weight_decay, one.max_grad_norm) == ("constant", 0.0, 0.01, 1.0)


def test_presets_for_rm_r1_distillation_match_its_scripts():
    if not REFERENCE.exists():
        pytest.skip(f"needs {REFERENCE}")
    told = REFERENCE.read_text("utf-8").partition("SFT training")[2].partition("\n##")[0]
    betas = re.search(r"Adam betas \(0\.9, ([\d.]+)\), weight decay (\d), grad clip ([\d.]+)", told)
    assert betas
    for size in ("7b", "14b", "32b"):
        one = with_preset(SftOptions(preset=f"rm-r1-sft-{size}"), "sft")
        assert (one.adam_beta2, one.weight_decay, one.max_grad_norm) == tuple(map(float, betas.groups()))
    assert {with_preset(kind(), method).adam_beta2 for method, kind in KINDS.items()} == {0.999}


# --- the order of pairs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "batch", "steps"), [(5, 2, 7), (8, 4, 4), (3, 3, 2), (100, 7, 1)])
def test_every_epoch_sees_each_pair_once_in_an_order_of_its_own(pairs: int, batch: int, steps: int):
    numbers = course(pairs, batch, steps, 3)
    assert len(numbers) == batch * steps
    size = pairs // batch * batch
    epochs = [numbers[at : at + size] for at in range(0, len(numbers), size)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= set(range(pairs))
    assert numbers == course(pairs, batch, steps + 1, 3)[: len(numbers)]
    assert course(pairs, batch, 40, 3) != course(pairs, batch, 40, 4)


# --- commands --------------------------------------------------------------------------------------------


CODE = """
import sys
from jurist.cli.main import run
try:
    run(["train", *sys.argv[1:]])
except SystemExit as end:
    assert not end.code
print(sorted({"torch", "numpy", "transformers", "trl", "datasets", "aiohttp"} & set(sys.modules)))
"""


@pytest.mark.parametrize("command", [["--help"], ["grpo", "--help"], ["sft", "--help"], ["presets"]])
def test_help_and_presets_load_nothing_heavy(command: list[str]):
    done = subprocess.run([sys.executable, "-c", CODE, *command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "rm-r1-sft-7b" in done.stdout or "--" in done.stdout


def test_a_wrong_value_on_the_command_line_is_a_user_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["train", "grpo", "pairs.jsonl", "--out", str(tmp_path / "x"), "--temperature", "0"]
    assert run(arguments) == 2
    assert "temperature = 0.0 is out of range" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
