"""Callbacks that stop a training at a number that is not finite or a full disk, and warn of equal rewards.

Also: which checkpoint is complete, so that a training can resume from it.
"""

import json
import math
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, cast

from jurist.core.errors import ConfigError, JuristError, StoreError
from jurist.core.files import Warn
from jurist.core.json_value import JsonObject
from jurist.training.metrics import Callback, Logs, numbers, unanswered
from jurist.training.types import Args, Control, Module, Optimizer, State, Tensor

STATE = "trainer_state.json"
"""The file that the trainer writes last into a checkpoint (transformers 5.23, ``_save_checkpoint``)."""

MOST = 0.9
"""A share from which on it is nearly all."""

SAME = 1e-6
"""A standard deviation of rewards up to which they are the same: float32's rounding."""

_MARGIN = 1.05
_SMALL_FILES = 32 << 20


class TrainingError(JuristError):
    """A training run that cannot go on; what it saved before stands."""


class FiniteCallback(Callback):
    """Stops at a gradient or a loss that is not finite, before the weights take the step.

    The gradients are looked at themselves at every step, the loss where it is logged. With float16's loss
    scaling such gradients are usual and skipped by the scaler; there, and where gradients are not in the
    model's parameters (DeepSpeed), only the logged numbers are watched.
    """

    def __init__(self) -> None:
        self._norms: list[float] = []

    def on_train_begin(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Let the trainer log a loss that is not finite; else it would log a mean in its place."""
        del state, control
        args.logging_nan_inf_filter = False

    def on_pre_optimizer_step(
        self, args: Args, state: State, control: Control, model: Module = None, **_: object
    ) -> None:
        """Raise ``TrainingError`` where the step would spoil the weights."""
        del control
        if not args.fp16 and not math.isfinite(norm := _norm(p.grad for p in model.parameters())):
            what = (
                f"the gradient of step {state.global_step + 1} is {norm}; the weights were left as they were"
            )
            raise self._error(what, args, model)

    def on_log(
        self,
        args: Args,
        state: State,
        control: Control,
        logs: Logs | None = None,
        model: Module = None,
        **_: object,
    ) -> None:
        """Raise ``TrainingError`` for a loss or gradient norm that is not finite; nothing is saved then."""
        del control
        logged = numbers(logs or {})
        for name in ("loss",) if args.fp16 else ("loss", "grad_norm"):
            value = logged.get(name)
            if value is not None and not math.isfinite(value):
                raise self._error(f"{name} is {value} at step {state.global_step}; not saved", args, model)
        if (norm := logged.get("grad_norm")) is not None:
            self._norms.append(norm)

    def _error(self, what: str, args: Args, model: Module) -> TrainingError:
        passed: list[str] = []
        last = last_checkpoint(Path(args.output_dir), passed.append)
        back = (
            f"the last good checkpoint is {last}: resume from it" if last else "no checkpoint was saved yet"
        )
        causes = "; ".join(_causes(args, model, self._norms))
        return TrainingError(f"{what}. Likely causes: {causes}", hint="; ".join([*passed, back]))


class RewardSignalCallback(Callback):
    """Warns once, with the likely cause, when all groups had equal rewards for ``steps`` steps in a row.

    GRPO learns nothing from a group whose rewards are all equal: every advantage is 0.
    """

    def __init__(self, warn: Warn, steps: int = 50) -> None:
        if steps < 1:
            raise ConfigError(f"steps {steps} is out of range", hint="1 or more steps without a signal")
        self._warn, self._steps = warn, steps
        self._alive: int | None = None
        self._told = False

    def on_train_begin(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Count from the step at which this session begins."""
        del args, control
        self._alive = state.global_step

    def on_log(
        self, args: Args, state: State, control: Control, logs: Logs | None = None, **_: object
    ) -> None:
        """Look at the batches since the last log."""
        del args, control
        metrics, step = numbers(logs or {}), int(state.global_step)
        if "reward" not in metrics or self._told or not state.is_world_process_zero:
            return
        if self._alive is None or not flat(metrics):
            self._alive = step
        elif step - self._alive >= self._steps:
            self._told = True
            silent = step - self._alive
            self._warn(f"no group's rewards have differed for {silent} steps: {why_flat(metrics)}")


class DiskSpaceCallback(Callback):
    """Raises ``TrainingError`` before a checkpoint is written that would not fit on the disk.

    Older checkpoints are deleted only after the new one is whole (``rotate_checkpoints`` comes last in
    ``Trainer._save_checkpoint``, transformers 5.23), so the disk must hold one more than are kept, and a
    checkpoint that stands is never given up for one that does not.
    """

    def on_train_begin(
        self,
        args: Args,
        state: State,
        control: Control,
        model: Module = None,
        optimizer: Optimizer = None,
        **_: object,
    ) -> None:
        """Check before the first step."""
        del state, control
        if args.should_save and str(getattr(args.save_strategy, "value", args.save_strategy)) != "no":
            self._demand(args, model, optimizer)

    def on_step_end(
        self,
        args: Args,
        state: State,
        control: Control,
        model: Module = None,
        optimizer: Optimizer = None,
        **_: object,
    ) -> None:
        """Check before a checkpoint is written."""
        if control.should_save and args.should_save:
            self._demand(args, model, optimizer)
            _give_up(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    on_epoch_end = on_step_end

    def _demand(self, args: Args, model: Module, optimizer: Optimizer) -> None:
        folder = Path(args.output_dir)
        last = last_checkpoint(folder)
        size = _held(last) if last else estimate(model, optimizer, weights_only=args.save_only_model)
        need, free = math.ceil(size * _MARGIN) + _SMALL_FILES, _free(folder)
        if free < need:
            kept = f"{last} is whole: make room and resume from it" if last else "make room there"
            raise TrainingError(
                f"no room for a checkpoint in {folder}: it needs {_bytes(need)}, {_bytes(free)} are free",
                hint=f"{kept}; one more checkpoint must fit than are kept (--keep)",
            )


def flat(metrics: Mapping[str, float | None]) -> bool:
    """Whether no group of the logged batches had rewards that differ; without any reward too."""
    spread, same = metrics.get("reward_std"), metrics.get("frac_reward_zero_std")
    return metrics.get("reward") is None or (spread is not None and spread < SAME) or same == 1.0


def why_flat(metrics: Mapping[str, float | None]) -> str:
    """The likely cause, as far as the other metrics tell, and what to do about it."""
    missing = unanswered(metrics)
    reward, right, first = (metrics.get(n) for n in ("reward", "verdicts/right", "verdicts/first"))
    if right is None and reward is not None and (metrics.get("reward_std") or 0.0) < SAME:
        right = float(reward > 0)
    entropy = metrics.get("entropy")
    if (cut := metrics.get("completions/clipped_ratio") or 0.0) >= MOST:
        return (
            f"{cut:.0%} of the completions are cut by length before their verdict: raise the maximum length"
        )
    if (missing or 0.0) >= MOST or reward is None:
        share = f"{missing:.0%} of the completions" if missing is not None else "no completion"
        what = "have no verdict" if missing is not None else "has a verdict"
        return f"{share} {what}: teach the format first (jurist train sft), or take another protocol"
    if first is not None and not 1 - MOST < first < MOST:
        place = "first" if first > 0.5 else "second"
        return (
            f"the {place} response is chosen in {max(first, 1 - first):.0%}, whatever stands there (position "
            "collapse): go back to an earlier checkpoint, a lower learning rate, and both orders of each pair"
        )
    if right is not None and right >= MOST:
        return "all verdicts are right, the pairs are too easy: filter them by difficulty"
    if right is not None and right <= 1 - MOST:
        wrong = "wrong" if missing is not None else "wrong or missing"
        return f"all verdicts are {wrong}: look at the gold labels, or begin with easier pairs"
    if entropy is not None and entropy < 0.01:
        return f"all completions of a prompt are the same (entropy {entropy:.4f}): raise the temperature"
    return "each pair is always right or always wrong: filter by difficulty, or raise the temperature"


def last_checkpoint(folder: Path, say: Warn = lambda _: None) -> Path | None:
    """The newest checkpoint in a folder that is whole; what is passed over is said, with the reason.

    Whole is judged from the files alone, not from a mark: the trainer deletes older checkpoints before it
    tells anybody that the new one is saved, so a mark could be missing in the only one there is.
    """
    numbered = [(p.name.removeprefix("checkpoint-"), p) for p in folder.glob("checkpoint-*") if p.is_dir()]
    for _, path in sorted(((int(n), p) for n, p in numbered if n.isdecimal()), reverse=True):
        if not (fault := torn(path)):
            return path
        say(f"{path.name} is passed over: {fault}")
    return None


def torn(checkpoint: Path) -> str:
    """What a checkpoint lacks for going on from it exactly; empty if it is whole.

    It holds the trainer's state of its step, weights, optimizer, schedule and random state; archives end
    with their directory, safetensors files are as long as they say, an index names files that are there.
    """
    try:
        files = (path for path in sorted(checkpoint.rglob("*")) if path.is_file())
        faults = chain(_missing(checkpoint), map(_broken, files))
        return next((fault for fault in faults if fault), "")
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def estimate(model: Module, optimizer: Optimizer = None, *, weights_only: bool = False) -> int:
    """Bytes of a checkpoint: what is saved of the weights, and the optimizer's state.

    Of a model with adapters (peft) the trained weights are saved. An optimizer that took no step yet is
    counted as Adam: two numbers per trained one, as wide as it.
    """
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, trains in sizes if trains)
    weights = trained if hasattr(model, "peft_config") else sum(size for size, _ in sizes)
    if weights_only:
        return weights
    states = cast("dict[object, dict[str, Tensor]]", getattr(optimizer, "state", None) or {})
    state = sum(
        t.numel() * t.element_size() for s in states.values() for t in s.values() if hasattr(t, "numel")
    )
    return weights + (state or 2 * trained)


def _missing(checkpoint: Path) -> Iterator[str]:
    """The parts that a checkpoint must have and this one has not."""
    step = checkpoint.name.removeprefix("checkpoint-")
    try:
        # The trainer writes NaN as such, which the standard library alone reads.
        state: JsonObject = json.loads((checkpoint / STATE).read_bytes())
        if str(state["global_step"]) != step:
            yield f"{STATE} is of step {state['global_step']}"
    except FileNotFoundError:
        yield f"no {STATE}, so its writing was not finished"
    except (ValueError, KeyError, TypeError):
        yield f"{STATE} is torn"
    names = {path.name for path in checkpoint.iterdir()}
    # FSDP and DeepSpeed keep weights and optimizer in folders of shards.
    sharded = any(name.startswith(("pytorch_model_fsdp_", "global_step")) for name in names)
    weights = {n for n in names if n.endswith((".safetensors", ".bin"))}
    if not sharded and not any(n.startswith(("model", "adapter_model", "pytorch_model")) for n in weights):
        yield "no weights"
    for part in () if sharded else ("optimizer", "scheduler"):
        if not {f"{part}.pt", f"{part}.bin"} & names:
            yield f"no {part}.pt"
    if not any(name.startswith("rng_state") for name in names):
        yield "no random state (rng_state.pth)"


def _broken(path: Path) -> str:
    """What is wrong with one file of a checkpoint; empty if nothing is."""
    if path.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(path):
        return f"{path.name} is torn"
    if path.suffix == ".safetensors" and not _whole_tensors(path):
        return f"{path.name} is torn"
    if path.name.endswith(".index.json"):
        return _unindexed(path)
    return ""


def _unindexed(index: Path) -> str:
    try:
        named: set[str] = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{index.name} is torn"
    absent = sorted(name for name in named if not (index.parent / name).exists())
    return f"{absent[0]} is not there, {index.name} names it" if absent else ""


def _whole_tensors(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says (8 bytes of its length, JSON, the data)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= path.stat().st_size - 8:
            return False
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
    return path.stat().st_size == 8 + length + max(ends, default=0)


def _give_up(checkpoint: Path) -> None:
    """An older checkpoint of the same step counts as unfinished while it is written over."""
    try:
        (checkpoint / STATE).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write over {checkpoint}: {error.strerror or error}") from error


def _norm(gradients: Iterable[Tensor]) -> float:
    """The norm of all gradients together, over every shard; 0 where there are none."""
    present = [gradient for gradient in gradients if gradient is not None]
    if not present:
        return 0.0
    norm: Any = import_module("torch").nn.utils.get_total_norm(present)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _causes(args: Args, model: Module, norms: list[float]) -> Iterable[str]:
    """What usually makes a number infinite, what can be seen here first."""
    isfinite: Any = import_module("torch").isfinite
    if not all(bool(isfinite(p).all()) for p in model.parameters()):
        yield "weights that are not finite themselves (an earlier step, or the model as it was loaded)"
    if len(norms) > 1 and norms[-1] > 10 * sorted(norms)[len(norms) // 2]:
        yield f"gradients that grew (norm {norms[-1]:.3g} at the last log): a lower learning rate"
    if args.fp16:
        yield "float16 overflows: bf16 holds larger numbers"
    if not args.max_grad_norm:
        yield "gradients that are not clipped: max_grad_norm 1.0"
    yield f"a learning rate too high ({args.learning_rate:g})"
    yield "a batch without any token to learn from (rows cut before their answers)"


def _held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _free(folder: Path) -> int:
    """Bytes free where a folder is, or will be."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def _bytes(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
