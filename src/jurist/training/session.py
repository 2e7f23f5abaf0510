"""What every training method shares: folder, trainer arguments, callbacks, saving, result."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from jurist.core.errors import ConfigError
from jurist.core.files import file_hash, write_whole
from jurist.core.run_config import adopt
from jurist.core.store import claim
from jurist.core.version import __version__
from jurist.judging.config import as_dict
from jurist.training.callbacks import (
    STATE,
    DiskSpaceCallback,
    FiniteCallback,
    RewardSignalCallback,
    last_checkpoint,
)
from jurist.training.config import TrainOptions
from jurist.training.distributed import all_gather, package, rank, world
from jurist.training.evaluation import AFTER, BEFORE, HeldOutCallback, OpenModel, Pairs, generating
from jurist.training.metrics import Callback, Line, Metrics, MetricsCallback, read_metrics
from jurist.training.model import PolicyModel, check_base
from jurist.training.model_card import Result, describe, overlap_of
from jurist.training.presets import Method
from jurist.training.progress import ProgressCallback
from jurist.training.types import Args, Control, State, Trainer

Say = Callable[[str], None]

TRAIN, METRICS, CHECKPOINTS, MODEL, HELD_OUT, RESULT = (
    "train.json", "metrics.jsonl", "checkpoints", "model", "held-out", "result.json",
)  # fmt: skip

# Options that do not change what a training computes: another value may resume it.
_FREE = frozenset({"jurist", "keep", "report_to", "no_signal_after", "vllm_url", "processes", "overlap"})


@dataclass(slots=True)
class Session:
    """A training in a folder; the same command resumes from the last whole checkpoint."""

    method: Method
    options: TrainOptions
    out: Path
    source: str
    say: Say

    @contextmanager
    def open(self) -> Generator[Path | None]:
        """The folder, claimed for this training alone: the checkpoint to go on from, if there is one."""
        overlap_of(self.options, self.source)
        with self._claimed():
            checkpoint = last_checkpoint(self.out / CHECKPOINTS, self.say)
            if checkpoint:
                check_base(self.options, checkpoint)
                self.say(f"resumed from {checkpoint}")
            yield checkpoint

    @contextmanager
    def _claimed(self) -> Generator[None]:
        if rank():
            yield
            return
        self.out.mkdir(parents=True, exist_ok=True)
        with claim(self.out):
            if not (self.out / METRICS).exists():
                # No step was taken: the options may still be changed.
                (self.out / TRAIN).unlink(missing_ok=True)
            adopt(self.out, self.facts(), TRAIN, _FREE)
            yield

    def ended(self) -> Result | None:
        """The result, if this training is finished; then the same command has nothing to do."""
        path = self.out / RESULT
        if not path.exists() or not (self.out / MODEL).exists():
            return None
        self.say(f"{self.out} holds this training, and it is over")
        return msgspec.json.decode(path.read_bytes(), type=Result)

    def facts(self) -> dict[str, object]:
        """What train.json keeps: every option, and the data's hash."""
        data = {"pairs": self.source, "pairs_sha256": file_hash(self.source)}
        return {"jurist": __version__, "method": self.method, "processes": world(), **data,
                **as_dict(self.options)}  # fmt: skip

    def arguments(self, policy: PolicyModel, rows_per_step: int, micro: int) -> dict[str, Any]:
        """Settings of the trainer (transformers' names) that all methods share."""
        o, torch = self.options, package("torch")
        schedule = {"min_lr_rate": 0.1} if o.schedule == "cosine_with_min_lr" else {}
        cpu = not torch.cuda.is_available()
        rises = o.schedule == "constant" and o.warmup
        return {
            "output_dir": str(self.out / CHECKPOINTS),
            "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": rows_per_step // (micro * world()),
            "learning_rate": o.learning_rate,
            # The schedule "constant" ignores warmup.
            "lr_scheduler_type": f"{o.schedule}_with_warmup" if rises else o.schedule,
            "lr_scheduler_kwargs": schedule,
            "warmup_steps": o.warmup,
            "weight_decay": o.weight_decay,
            "adam_beta2": o.adam_beta2,
            "max_grad_norm": o.max_grad_norm,
            "num_train_epochs": o.epochs,
            "max_steps": o.steps or -1,
            "save_strategy": "steps",
            "save_steps": o.save_every,
            "save_total_limit": o.keep,
            "logging_steps": 1,
            "report_to": _installed(o.reports) or "none",
            "run_name": self.out.resolve().name,
            "seed": o.seed,
            "use_cpu": cpu,
            "bf16": policy.bf16,
            "gradient_checkpointing": o.gradient_checkpointing,
            "disable_tqdm": True,
            "dataloader_pin_memory": not cpu,
        }

    def micro(self, batch: int) -> int:
        """Sequences of a micro-batch, for steps of ``batch`` sequences over all processes."""
        share, rest = divmod(batch, world())
        if rest:
            raise ConfigError(
                f"a step of {batch} rows does not divide among {world()} processes", hint="another --batch"
            )
        return max(n for n in range(1, min(share, self.options.micro_batch) + 1) if share % n == 0)

    def train(
        self, trainer: Trainer, checkpoint: Path | None, policy: PolicyModel, pairs: Pairs | None,
        no_signal_after: int = 50, open_model: OpenModel | None = None, rows: int | None = None,
    ) -> Result:  # fmt: skip
        """Train to the end, save the model, measure it, and write down what it came to.

        ``open_model`` opens the model for the held-out pairs; by default it writes (``generating``).
        ``rows``: how many are trained on, where the trainer's data set does not say it.
        """
        self.check_shards(trainer, writes=pairs is not None or self.method == "grpo")
        open_model = open_model or partial(generating, policy=policy)
        held_out = HeldOutCallback(trainer, pairs, open_model, self.options.eval_every) if pairs else None
        trainer.remove_callback(package("transformers").PrinterCallback)
        with ProgressCallback(self.method) as view, closing(Metrics(self.out / METRICS, self.say)) as metrics:
            callbacks: list[Callback | None] = [
                MetricsCallback(metrics),
                view, FiniteCallback(), DiskSpaceCallback(), RewardSignalCallback(self.say, no_signal_after),
                _TokenCountCallback(trainer), held_out,
            ]  # fmt: skip
            for callback in filter(None, callbacks):
                trainer.add_callback(callback)
            if not (checkpoint and _at_its_end(trainer, checkpoint)):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        self.save(trainer)
        return self._finished(trainer, held_out, len(trainer.train_dataset) if rows is None else rows)

    def _finished(self, trainer: Trainer, held_out: HeldOutCallback | None, rows: int) -> Result:
        lines = read_metrics(self.out / METRICS) if rank() == 0 else []
        result = Result(
            self.method,
            self.options.model,
            trainer.state.global_step // trainer.args.logging_steps,
            lines[-1].seconds if lines else 0.0,
            _tokens(lines),
            held_out.result(BEFORE) if held_out else None,
            held_out.result(AFTER) if held_out else None,
        )
        if rank() == 0:
            write_whole(self.out / RESULT, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
            describe(
                self.out / MODEL, result, self.options, self.source, lines, name=self.out.resolve().name,
                rows=rows, held_out=held_out.count if held_out else 0, say=self.say,
            )  # fmt: skip
        return result

    def check_shards(self, trainer: Trainer, *, writes: bool) -> None:
        """Raise for what cannot be done with a model whose parameters are sharded over the processes.

        Under FSDP every forward pass involves all processes, and generation takes each a different number.
        """
        deepspeed = trainer.accelerator.state.deepspeed_plugin
        fsdp: bool = trainer.is_fsdp_enabled
        if fsdp and writes:
            raise ConfigError(
                "a model sharded by FSDP cannot be measured or generate here",
                hint="leave --held-out out, or launch with recipes/accelerate/zero3.yaml",
            )
        if self.options.adapter == "lora" and (fsdp or (deepspeed and deepspeed.zero_stage == 3)):
            raise ConfigError(
                "adapters of a model with sharded parameters cannot be merged here",
                hint="launch with recipes/accelerate/ddp.yaml or zero2.yaml, or train with --adapter full",
            )

    def save(self, trainer: Trainer) -> None:
        """Write the trained model as a plain folder, adapters merged."""
        folder = self.out / MODEL
        model = trainer.accelerator.unwrap_model(trainer.model)
        if hasattr(model, "merge_and_unload"):
            if rank() == 0:
                model.merge_and_unload().save_pretrained(str(folder))
                trainer.processing_class.save_pretrained(str(folder))
        else:
            trainer.save_model(str(folder))
            if rank() == 0:
                # The trainer's settings hold paths of this machine, and no model needs them.
                (folder / "training_args.bin").unlink(missing_ok=True)
        all_gather(None)


class _TokenCountCallback(Callback):
    """Lets a resumed trainer go on counting tokens: TRL's SFTTrainer and RewardTrainer begin at 0 again."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Take what was logged last."""
        del args, control
        counted = [logs["num_tokens"] for logs in state.log_history if "num_tokens" in logs]
        if counted and hasattr(self._trainer, "_total_train_tokens"):
            self._trainer._total_train_tokens = int(counted[-1])


def _at_its_end(trainer: Trainer, checkpoint: Path) -> bool:
    """Whether a checkpoint is of the last step; the trainer then stands there.

    To go on from it would take one step more where the steps end within an epoch (transformers 5.19,
    trainer.py, ``_inner_training_loop``).
    """
    state = package("transformers").TrainerState.load_from_json(str(checkpoint / STATE))
    if state.global_step < state.max_steps:
        return False
    trainer.state = state
    trainer._load_from_checkpoint(str(checkpoint))
    return True


def _installed(names: Sequence[str]) -> list[str]:
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"report_to = {name} is not installed", hint=f"python -m pip install {name}")
    return list(names)


def _tokens(lines: Sequence[Line]) -> float | None:
    """Tokens of all sessions; some trainers count each from zero."""
    counts = [n for line in lines if (n := line.metrics.get("num_tokens")) is not None]
    return sum(n for n, after in pairwise([*counts, 0.0]) if after < n) or None
