"""What every training shares: its folder, its trainer's settings, its callbacks, its ending."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from jurist import __version__
from jurist.config import as_dict
from jurist.errors import ConfigError
from jurist.learning.guards import DiskGuard, NumberGuard, SignalGuard, last_checkpoint
from jurist.learning.held_out import Generate, HeldOut, Standing
from jurist.learning.metrics import Metrics, Recorder, Watcher, read_metrics
from jurist.learning.models import Learner, check_base
from jurist.learning.options import TrainOptions
from jurist.learning.packages import package
from jurist.learning.presets import Method
from jurist.learning.processes import everyone, rank, world
from jurist.learning.rollouts import generate
from jurist.learning.view import View
from jurist.lines import write_whole
from jurist.store import adopt
from jurist.types import Noun

Say = Callable[[str], None]

TRAIN, METRICS, CHECKPOINTS, MODEL, HELD_OUT, RESULT = (
    "train.json", "metrics.jsonl", "checkpoints", "model", "held-out", "result.json",
)  # fmt: skip
BEFORE, AFTER = "before", "after"

# Options that change how a training is seen or kept, not what it computes.
_FREE = frozenset({"jurist", "keep", "report_to", "dull_after", "vllm_url", "processes"})


class Result(Noun, frozen=True):
    """What a training came to. ``seconds`` are of all its sessions; ``tokens`` those the trainer counted."""

    method: str
    model: str
    steps: int
    seconds: float
    tokens: float | None = None
    before: Standing | None = None
    after: Standing | None = None


@dataclass(slots=True)
class Session:
    """A training in a folder; the same command goes on from the last whole checkpoint."""

    method: Method
    options: TrainOptions
    out: Path
    source: str
    say: Say

    def open(self) -> Path | None:
        """Claim the folder; the checkpoint to go on from, if there is one."""
        if rank() == 0:
            self.out.mkdir(parents=True, exist_ok=True)
            adopt(self.out, self.facts(), TRAIN, _FREE)
        checkpoint = last_checkpoint(self.out / CHECKPOINTS, self.say)
        if checkpoint:
            check_base(self.options, checkpoint)
            self.say(f"resumed from {checkpoint}")
        return checkpoint

    def facts(self) -> dict[str, Any]:
        """What train.json keeps: every option, and the data's hash."""
        data = {"pairs": self.source, "pairs_sha256": _hash(self.source)}
        return {"jurist": __version__, "method": self.method, "processes": world(), **data,
                **as_dict(self.options)}  # fmt: skip

    def arguments(self, learner: Learner, rows_per_step: int, micro: int) -> dict[str, Any]:
        """Settings of the trainer (transformers' names) that all methods share."""
        o, torch = self.options, package("torch")
        reports = [name for name in o.report_to.split(",") if name and name != "none"]
        schedule = {"min_lr_rate": 0.1} if o.schedule == "cosine_with_min_lr" else {}
        cpu = not torch.cuda.is_available()
        return {
            "output_dir": str(self.out / CHECKPOINTS),
            "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": rows_per_step // (micro * world()),
            "learning_rate": o.learning_rate,
            "lr_scheduler_type": o.schedule,
            "lr_scheduler_kwargs": schedule,
            "warmup_steps": o.warmup,
            "weight_decay": o.weight_decay,
            "max_grad_norm": o.max_grad_norm,
            "num_train_epochs": o.epochs,
            "max_steps": o.steps or -1,
            "save_strategy": "steps",
            "save_steps": o.save_every,
            "save_total_limit": o.keep,
            "logging_steps": 1,
            "report_to": reports or "none",
            "seed": o.seed,
            "use_cpu": cpu,
            "bf16": learner.bf16,
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
        self, trainer: Any, checkpoint: Path | None, learner: Learner, pairs: HeldOut | None,
        dull_after: int = 50,
    ) -> Result:  # fmt: skip
        """Train to the end, save the model, measure it, and write down what it came to."""
        held = Held(trainer, learner, pairs, self.options.eval_every) if pairs else None
        trainer.remove_callback(package("transformers").PrinterCallback)
        watchers: list[Watcher | None] = [
            Recorder(Metrics(self.out / METRICS, self.say)), View(self.method),
            NumberGuard(), DiskGuard(), SignalGuard(self.say, dull_after), held,
        ]  # fmt: skip
        for watcher in filter(None, watchers):
            trainer.add_callback(watcher)

        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        after = held.measured(AFTER) if held else None
        self.save(trainer)
        lines = read_metrics(self.out / METRICS) if rank() == 0 else []
        result = Result(
            self.method,
            self.options.model,
            trainer.state.global_step,
            lines[-1].seconds if lines else 0.0,
            float(getattr(trainer.state, "num_input_tokens_seen", 0)) or None,
            held.before if held else None,
            after,
        )
        if rank() == 0:
            write_whole(self.out / RESULT, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        return result

    def save(self, trainer: Any) -> None:
        """Write the trained model as a plain folder, adapters merged."""
        folder = self.out / MODEL
        model = trainer.accelerator.unwrap_model(trainer.model)
        if hasattr(model, "merge_and_unload"):
            if rank() == 0:
                model.merge_and_unload().save_pretrained(str(folder))
                trainer.processing_class.save_pretrained(str(folder))
        else:
            trainer.save_model(str(folder))
        everyone(None)


class Held(Watcher):
    """Measures held-out pairs before, every so many steps, and after."""

    def __init__(self, trainer: Any, learner: Learner, pairs: HeldOut, every: int | None) -> None:
        self.before: Standing | None = None
        self._trainer, self._learner, self._pairs, self._every = trainer, learner, pairs, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the model before its first step; a resumed training reads what it was."""
        del args, control
        self.before = self._pairs.read(BEFORE) if state.global_step else self.measured(BEFORE)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure at every so many steps."""
        del args, control
        every = self._every or max(1, state.max_steps // 10)
        if state.global_step % every == 0 and state.global_step < state.max_steps:
            self.measured(f"step-{state.global_step:06d}")

    def measured(self, name: str) -> Standing:
        """Measure now."""
        with generating(self._trainer, self._learner) as generate:
            standing = self._pairs.measure(name, generate)
        # Not by the trainer's own log: that one empties what it gathered during the step.
        package("transformers").Trainer.log(self._trainer, standing.metrics())
        return standing


@contextmanager
def generating(trainer: Any, learner: Learner) -> Generator[Generate]:
    """The model of a trainer as it stands, writing greedily."""
    with written_by(trainer) as model:

        def write(prompts: list[list[int]], most: int) -> list[list[int]]:
            with trainer.accelerator.autocast():
                rows = generate(
                    model, prompts, 1, max_new_tokens=most, temperature=0.0, top_p=1.0,
                    eos=learner.eos, pad=learner.tokenizer.pad_token_id, seed=0,
                )  # fmt: skip
            return [ids for ids, _ in rows]

        yield write


@contextmanager
def written_by(trainer: Any) -> Generator[Any]:
    """The model of a trainer, gathered and in the mood to write; as it was, afterwards."""
    unwrapped: Any = package("trl.models.utils").unwrap_model_for_generation
    wrapped = getattr(trainer, "model_wrapped", None) or trainer.model
    with unwrapped(wrapped, trainer.accelerator) as model, package("torch").no_grad():
        training, cached = model.training, model.config.use_cache
        model.eval()
        try:
            yield model
        finally:
            model.train(training)
            model.config.use_cache = cached


def _hash(source: str) -> str | None:
    path = Path(source)
    if not path.is_file():
        return None
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
