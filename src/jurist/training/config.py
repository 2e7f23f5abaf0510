"""Options of training: one frozen dataclass for what all methods share, one more for each method."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar

from jurist.core.errors import ConfigError

Orders = Literal["random", "both", "given"]
"""How a pair is shown: in a seeded order, in both (two prompts), or as the row has it."""

TooLong = Literal["drop", "truncate", "stop"]
"""What becomes of a prompt over the limit."""


SCHEDULES = (
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr", "cosine_with_restarts",
    "polynomial", "inverse_sqrt",
)  # fmt: skip
"""Courses of the learning rate, by the names of transformers (``SchedulerType``)."""

REPORTS = ("tensorboard", "trackio", "wandb")
"""Where a trainer can report to besides; each is a package of that name."""

_COUNTS = (
    "steps", "batch", "micro_batch", "max_prompt", "max_length", "max_completion", "lora_rank", "lora_alpha",
    "group", "updates", "eval_every", "eval_limit", "eval_tokens", "save_every", "keep", "no_signal_after",
)  # fmt: skip
_NOT_BELOW_0 = ("weight_decay", "max_grad_norm", "beta", "resample", "trace_every", "seed", "verdict_weight")
_ABOVE_0 = ("learning_rate", "epochs", "temperature", "clip", "top_p")


@dataclass(frozen=True)
class TrainOptions:
    """What every method of training is told. What is None comes from the preset, or from the method."""

    model: str = "embedded"
    """The model to train: a folder or hub id; embedded is the one of the extra `embedded` (SmolLM2-135M)."""
    protocol: str = "rubrics"
    """Prompt and parser of the judge that is trained. See `jurist list`."""
    family: Literal["instruct", "reasoning"] | None = None
    """Prompts of RM-R1: instruct or reasoning."""
    protocol_file: Path | None = None
    """Local file with the prompts of a published protocol."""
    adapter: Literal["full", "lora"] = "full"
    """Train all weights, or low-rank adapters beside them (merged into the model at the end)."""
    lora_rank: int = 16
    """Rank of the adapters."""
    lora_alpha: int = 32
    """Scale of the adapters: alpha / rank."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """What is computed in bfloat16: auto where the device is quick at it. The weights stay in float32."""
    preset: str | None = None
    """Settings of a published training, by name. See `jurist train presets`. Flags win over them."""
    learning_rate: float | None = None
    """Peak learning rate of AdamW."""
    schedule: str | None = None
    """What becomes of it: constant, linear, cosine, cosine_with_min_lr (down to a tenth) ..."""
    warmup: float | None = None
    """Share of the steps over which it rises."""
    weight_decay: float | None = None
    """Weight decay of AdamW."""
    adam_beta2: float | None = None
    """Share that AdamW's mean of squared gradients keeps at each step."""
    max_grad_norm: float | None = None
    """Gradients are cut at this norm."""
    epochs: float | None = None
    """How often the data is seen; --steps sets another end."""
    steps: int | None = None
    """Optimizer steps (SFT, scalar) or rollout steps (GRPO)."""
    batch: int | None = None
    """Rows of one step over all processes; for GRPO: prompts."""
    micro_batch: int = 8
    """Sequences that go through the model at once, on each device."""
    max_prompt: int = 4096
    """Most tokens of a prompt."""
    too_long: TooLong = "drop"
    """A prompt that is longer is dropped (and counted), its replies are cut, or the command stops."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    held_out: Path | None = None
    """Pairs with gold that are judged in both orders before, during and after training."""
    eval_every: int | None = None
    """Steps between two such measurements (a tenth of the training)."""
    eval_limit: int = 200
    """At most so many pairs of them."""
    eval_tokens: int | None = None
    """Most tokens of a held-out judgment (as in training)."""
    overlap: Path | None = None
    """Report of `jurist overlap PAIRS --report FILE` on the data; the model card says what it found."""
    save_every: int = 50
    """Steps between two checkpoints."""
    keep: int = 2
    """Checkpoints that are kept."""
    report_to: str = "none"
    """Where the trainer reports as well: tensorboard, trackio, wandb (several: with commas)."""
    seed: int = 0
    """Decides orders, shuffling and draws."""

    def __post_init__(self) -> None:
        """Raise ``ConfigError`` for values that mean nothing."""
        self._demand(_COUNTS, "from 1 on", lambda value: value >= 1)
        self._demand(_NOT_BELOW_0, "from 0 on", lambda value: value >= 0)
        self._demand(_ABOVE_0, "above 0", lambda value: value > 0)
        self._demand(("top_p",), "above 0, at most 1", lambda value: value <= 1)
        self._demand(("adam_beta2",), "from 0 to below 1", lambda value: 0 <= value < 1)
        self._demand(("warmup",), "a share of the steps, from 0 to below 1", lambda value: 0 <= value < 1)
        self._among("schedule", self.schedule or "constant", SCHEDULES)
        for name in self.reports:
            self._among("report_to", name, REPORTS)

    @property
    def reports(self) -> tuple[str, ...]:
        """The names in ``report_to``."""
        named = (name.strip() for name in self.report_to.split(","))
        return tuple(name for name in named if name and name != "none")

    def _among(self, name: str, value: str, legal: Iterable[str]) -> None:
        if value not in legal:
            raise ConfigError(f"{name} = {value} is not known", hint=f"legal: {', '.join(legal)}")

    def _demand(self, names: Iterable[str], legal: str, holds: Callable[[float], bool]) -> None:
        for name in names:
            value = getattr(self, name, None)
            if value is not None and not (isfinite(value) and holds(value)):
                raise ConfigError(f"{name} = {value} is out of range", hint=f"legal: {legal}")


@dataclass(frozen=True)
class SftOptions(TrainOptions):
    """Supervised fine-tuning on written judgments."""

    target: Literal["chain", "answer"] = "chain"
    """What is learned: the rows' completions, or (from pairs) the bare verdict."""
    orders: Orders = "random"
    """With --target answer: how each pair is shown."""
    max_length: int = 12288
    """Most tokens of prompt and completion together; longer rows are dropped and counted."""
    packing: bool = False
    """Put several rows into one sequence (needs an attention that keeps them apart: flash_attention_2)."""
    verdict_weight: float = 1.0
    """What the loss of the verdict's label counts, next to 1 for every other token. Rows may name more spans
    (``weights``)."""


@dataclass(frozen=True)
class GrpoOptions(TrainOptions):
    """Reinforcement learning with verifiable rewards: group relative policy optimisation."""

    rule: Literal["robust", "eval", "train"] = "robust"
    """How a verdict is read, in the reward as in the measurement: ours, or the official rules of RM-R1 and
    RRM (their training rule: the last 80 characters; thinking closed, then the box)."""
    orders: Orders = "random"
    """How each pair is shown to its group: both shows either order to half of it."""
    reward: Literal["verdict", "consistent", "faithful"] = "verdict"
    """+1 for a right verdict, else -1; consistent (with --orders both): +1 where both
    orders are right; faithful: +1 where the verdict is right and its reasons hold
    (quotations occur, the evaluation fits the verdict: docs/report.md)."""
    format_reward: float = 0.0
    """Added where the judgment is whole: its chain complete, its thinking closed."""
    group: int | None = None
    """Judgments of one prompt."""
    updates: int | None = None
    """Optimizer updates for one step of rollouts."""
    max_completion: int | None = None
    """Most tokens of a judgment."""
    temperature: float | None = None
    """Sampling temperature of the rollouts."""
    top_p: float = 1.0
    """Nucleus of the rollouts."""
    beta: float | None = None
    """Weight of the KL penalty (k3) against the model before training."""
    clip: float | None = None
    """The ratio of probabilities is clipped at 1 - clip and 1 + clip."""
    loss: Literal["grpo", "bnpo", "dapo", "dr_grpo"] | None = None
    """How tokens are averaged: over each sequence, the micro-batch, the whole batch, or a constant."""
    resample: int = 1
    """Dynamic sampling: a group whose judgments are all right or all wrong is replaced, up to so often."""
    shared_prefix: bool = True
    """Compute the prompt of a group once instead of once for each of its judgments."""
    rollouts: Literal["auto", "transformers", "vllm", "vllm-server", "paged", "embedded"] = "auto"
    """What writes judgments: this model with shared prompts, vLLM in this process (vllm) or behind `trl
    vllm-serve` (vllm-server), the continuous batching of transformers (paged), or on a CPU the embedded
    engine, loaded anew at each step (embedded)."""
    vllm_url: str = "http://127.0.0.1:8000"
    """Address of `trl vllm-serve`."""
    trace_every: int = 10
    """Steps between two samples of judgments in RUN/traces."""
    no_signal_after: int = 50
    """Steps with a constant reward after which a warning says why."""


@dataclass(frozen=True)
class ScalarOptions(TrainOptions):
    """A scalar reward model: Bradley-Terry on the pairs."""

    max_length: int = 4096
    """Most tokens of prompt and reply together; longer pairs are dropped and counted."""


T = TypeVar("T")
Options = TypeVar("Options", bound=TrainOptions)


def chosen(value: T | None) -> T:
    """An option that the preset or the method filled."""
    assert value is not None
    return value


def resolved(options: Options, *layers: Mapping[str, object]) -> Options:
    """The options with each None filled from the first layer that has a value for it."""
    names = {f.name for f in fields(options)}
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        values |= {k: v for k, v in layer.items() if k in names and getattr(options, k) is None}
    return replace(options, **values)
