"""Settings of published trainings, by name, with a note where the paper and its scripts disagree.

Sources: RM-R1 (arXiv 2505.02387, appendix; github.com/RM-R1-UIUC/RM-R1 @ d4c2542, rm_r1/scripts) and RRM
(arXiv 2505.14674; names of the released runs in github.com/microsoft/LMOps @ af6bc85).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from jurist.core.errors import ConfigError, unknown
from jurist.training.config import Options, resolved

Method = Literal["sft", "grpo", "scalar"]


@dataclass(frozen=True)
class Preset:
    """Values of options, and what should be known about them."""

    method: Method
    summary: str
    values: Mapping[str, object]
    note: str = ""
    forced: Mapping[str, object] = field(default_factory=dict[str, object])
    """Values of options that have a default of their own."""


DEFAULTS: dict[Method, dict[str, object]] = {
    "sft": {
        "learning_rate": 1e-5, "schedule": "cosine", "warmup": 0.03, "weight_decay": 0.0,
        "adam_beta2": 0.999, "max_grad_norm": 1.0, "epochs": 1.0, "batch": 32,
    },
    "grpo": {
        "learning_rate": 1e-6, "schedule": "constant", "warmup": 0.0, "weight_decay": 0.01,
        "adam_beta2": 0.999, "max_grad_norm": 1.0, "epochs": 1.0, "batch": 32, "group": 8, "updates": 1,
        "max_completion": 1024, "temperature": 1.0, "beta": 1e-3, "clip": 0.2, "loss": "dapo",
    },
    "scalar": {
        "learning_rate": 1e-5, "schedule": "linear", "warmup": 0.03, "weight_decay": 0.0,
        "adam_beta2": 0.999, "max_grad_norm": 1.0, "epochs": 1.0, "batch": 32,
    },
}  # fmt: skip
"""What is chosen where neither the user nor a preset did."""

_RM_R1_SFT = {
    "schedule": "cosine_with_min_lr", "warmup": 0.03, "weight_decay": 0.0, "adam_beta2": 0.95,
    "max_grad_norm": 1.0, "epochs": 1.0, "batch": 128,
}  # fmt: skip
_RM_R1_GRPO = {
    "schedule": "constant", "warmup": 0.0, "weight_decay": 0.01, "max_grad_norm": 1.0, "epochs": 1.0,
    "batch": 1024, "group": 7, "updates": 8, "max_completion": 8192, "temperature": 1.0, "beta": 1e-3,
    "clip": 0.2, "loss": "bnpo",
}  # fmt: skip
_RM_R1_FORCED = {"protocol": "rm-r1", "rule": "train", "max_prompt": 4096, "resample": 0}
_RRM_GRPO = {
    "schedule": "constant", "warmup": 0.0, "weight_decay": 0.01, "max_grad_norm": 0.2,
    "batch": 128, "group": 16, "updates": 2, "max_completion": 8192, "temperature": 0.8, "beta": 1e-3,
    "clip": 0.2, "loss": "bnpo",
}  # fmt: skip
_RRM_FORCED = {"protocol": "rrm", "rule": "train", "max_prompt": 4096, "resample": 0}

_SFT_NOTE = (
    "The paper has learning rates 5e-6, 3e-6 and 2e-6 for 7B, 14B and 32B; the three released scripts "
    "all say 5e-6."
)
_LOSS_NOTE = (
    "The paper averages the loss over each sequence (--loss grpo); the code that ran averages over the "
    "tokens of a micro-batch (bnpo)."
)
_RRM_NOTE = (
    "From the names of the released runs (32B: 16 rollouts, temperature 0.8, 440 steps; 7B: 720 steps). The "
    "paper's table, as far as it is known, says batch 128, mini-batch 64, temperature 0.6; trust neither."
)


def _sft(size: str, rate: float) -> Preset:
    forced = {"protocol": "rm-r1", "family": "instruct", "max_length": 12288}
    return Preset(
        "sft", f"RM-R1, distillation, Qwen2.5-{size}-Instruct", _RM_R1_SFT | {"learning_rate": rate},
        _SFT_NOTE, forced,
    )  # fmt: skip


def _rm_r1(size: str, family: str, rate: float, note: str = "") -> Preset:
    base = f"Qwen2.5-{size}-Instruct" if family == "instruct" else f"DeepSeek-R1-Distill-Qwen-{size}"
    forced = _RM_R1_FORCED | {"family": family}
    return Preset(
        "grpo", f"RM-R1, GRPO, {base}", _RM_R1_GRPO | {"learning_rate": rate},
        " ".join(filter(None, (_LOSS_NOTE, note))), forced,
    )  # fmt: skip


def _rrm(size: str, rate: float, steps: int) -> Preset:
    values = _RRM_GRPO | {"learning_rate": rate, "steps": steps}
    return Preset(
        "grpo", f"RRM, GRPO without traces, DeepSeek-R1-Distill-Qwen-{size}", values, _RRM_NOTE, _RRM_FORCED
    )


PRESETS: dict[str, Preset] = {
    "rm-r1-sft-7b": _sft("7B", 5e-6),
    "rm-r1-sft-14b": _sft("14B", 3e-6),
    "rm-r1-sft-32b": _sft("32B", 2e-6),
    "rm-r1-instruct-7b": _rm_r1("7B", "instruct", 1e-6),
    "rm-r1-instruct-14b": _rm_r1("14B", "instruct", 7e-7, "The local script says 1e-6, Slurm's 7e-7."),
    "rm-r1-instruct-32b": _rm_r1("32B", "instruct", 5e-7),
    "rm-r1-reasoning-7b": _rm_r1("7B", "reasoning", 1e-6),
    "rm-r1-reasoning-14b": _rm_r1("14B", "reasoning", 1e-6),
    "rm-r1-reasoning-32b": _rm_r1("32B", "reasoning", 8e-7),
    "rrm-7b": _rrm("7B", 1e-6, 720),
    "rrm-32b": _rrm("32B", 1e-6, 440),
}


def with_preset(options: Options, method: Method) -> Options:
    """The options with every None filled, and with the preset's values where the default stood.

    Raises for a preset that is unknown, or of another method.
    """
    if options.preset is None:
        return resolved(options, DEFAULTS[method])
    if options.preset not in PRESETS:
        raise unknown("preset", options.preset, PRESETS)
    preset = PRESETS[options.preset]
    if preset.method != method:
        fitting = ", ".join(name for name, p in PRESETS.items() if p.method == method)
        raise ConfigError(f"the preset {options.preset!r} is one of `train {preset.method}`", hint=fitting)
    default = type(options)()
    unchosen = {k: v for k, v in preset.forced.items() if getattr(options, k) == getattr(default, k)}
    return resolved(replace(options, **unchosen), preset.values, DEFAULTS[method])
