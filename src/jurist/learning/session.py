"""What every training shares: its folder, its trainer's settings, its callbacks, its ending."""

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import msgspec

from jurist import __version__
from jurist.config import as_dict
from jurist.errors import ConfigError, MissingExtraError
from jurist.learning.card import DataFile, Facts, Measured, Overlap, Score, card, draw_course, read_overlap
from jurist.learning.guards import STATE, DiskGuard, NumberGuard, SignalGuard, last_checkpoint
from jurist.learning.held_out import Generate, Standing
from jurist.learning.metrics import Line, Metrics, Recorder, Watcher, read_metrics
from jurist.learning.models import EMBEDDED, Learner, check_base
from jurist.learning.options import TrainOptions
from jurist.learning.packages import package
from jurist.learning.presets import Method
from jurist.learning.processes import everyone, rank, world
from jurist.learning.rollouts import generate
from jurist.learning.view import View
from jurist.lines import write_whole
from jurist.overlap.report import file_hash
from jurist.store import adopt
from jurist.types import Case, Noun

Say = Callable[[str], None]

TRAIN, METRICS, CHECKPOINTS, MODEL, HELD_OUT, RESULT = (
    "train.json", "metrics.jsonl", "checkpoints", "model", "held-out", "result.json",
)  # fmt: skip
BEFORE, AFTER = "before", "after"
CARD, CURVES = "README.md", "curves.png"

_PACKAGES = ("torch", "transformers", "trl", "accelerate")
# The packaged model, as its file names it (general.organization, general.license) and the Hub has it.
_EMBEDDED, _EMBEDDED_LICENSE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"

# Options that change how a training is seen or kept, not what it computes.
_FREE = frozenset({"jurist", "keep", "report_to", "dull_after", "vllm_url", "processes", "overlap"})


class Result(Noun, frozen=True):
    """What a training came to. ``seconds`` are of all its sessions; ``tokens`` those the trainer counted."""

    method: str
    model: str
    steps: int
    seconds: float
    tokens: float | None = None
    before: Standing | None = None
    after: Standing | None = None


class Pairs(Protocol):
    """Held-out pairs, and how they measure a model that is opened for them."""

    @property
    def cases(self) -> Sequence[Case]:
        """What is measured on."""
        ...

    def measure(self, name: str, how: Any, /) -> Standing:
        """Measure by ``how``, which is what was opened; keep it under a name. Every process calls."""
        ...

    def read(self, name: str) -> Standing | None:
        """What an earlier measurement came to."""
        ...


Opening = Callable[[Any], AbstractContextManager[Any]]
"""Opens the model of a trainer for ``Pairs.measure``."""


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
        self._overlap()
        if rank() == 0:
            self.out.mkdir(parents=True, exist_ok=True)
            if not (self.out / METRICS).exists():
                # It never began: what was wrong with it may be mended in the same folder.
                (self.out / TRAIN).unlink(missing_ok=True)
            adopt(self.out, self.facts(), TRAIN, _FREE)
        checkpoint = last_checkpoint(self.out / CHECKPOINTS, self.say)
        if checkpoint:
            check_base(self.options, checkpoint)
            self.say(f"resumed from {checkpoint}")
        return checkpoint

    def ended(self) -> Result | None:
        """What a training that is over came to: the same command once more has nothing to do."""
        path = self.out / RESULT
        if not path.exists() or not (self.out / MODEL).exists():
            return None
        self.say(f"{self.out} holds this training, and it is over")
        return msgspec.json.decode(path.read_bytes(), type=Result)

    def facts(self) -> dict[str, Any]:
        """What train.json keeps: every option, and the data's hash."""
        data = {"pairs": self.source, "pairs_sha256": file_hash(self.source)}
        return {"jurist": __version__, "method": self.method, "processes": world(), **data,
                **as_dict(self.options)}  # fmt: skip

    def arguments(self, learner: Learner, rows_per_step: int, micro: int) -> dict[str, Any]:
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
            # What is called constant knows of no warmup.
            "lr_scheduler_type": f"{o.schedule}_with_warmup" if rises else o.schedule,
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
            "report_to": _installed(o.reports) or "none",
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
        self, trainer: Any, checkpoint: Path | None, learner: Learner, pairs: Pairs | None,
        dull_after: int = 50, opening: Opening | None = None, rows: int | None = None,
    ) -> Result:  # fmt: skip
        """Train to the end, save the model, measure it, and write down what it came to.

        ``opening`` opens the model for the held-out pairs; without one it writes (``generating``). ``rows``:
        how many are trained on, where the trainer's data set does not say it.
        """
        self.check_shards(trainer, writes=pairs is not None or self.method == "grpo")
        opening = opening or partial(generating, learner=learner)
        held = Held(trainer, pairs, opening, self.options.eval_every) if pairs else None
        trainer.remove_callback(package("transformers").PrinterCallback)
        with View(self.method) as view, closing(Metrics(self.out / METRICS, self.say)) as metrics:
            watchers: list[Watcher | None] = [
                Recorder(metrics), view, NumberGuard(), DiskGuard(), SignalGuard(self.say, dull_after),
                _Tokens(trainer), held,
            ]  # fmt: skip
            for watcher in filter(None, watchers):
                trainer.add_callback(watcher)
            if not (checkpoint and _at_its_end(trainer, checkpoint)):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if held:
            held.recalled()
        self.save(trainer)
        lines = read_metrics(self.out / METRICS) if rank() == 0 else []
        result = Result(
            self.method,
            self.options.model,
            trainer.state.global_step // trainer.args.logging_steps,
            lines[-1].seconds if lines else 0.0,
            _tokens(lines),
            held.before if held else None,
            held.after if held else None,
        )
        if rank() == 0:
            write_whole(self.out / RESULT, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
            learned = len(trainer.train_dataset) if rows is None else rows
            self.describe(result, lines, learned, len(pairs.cases) if pairs else 0)
        return result

    def check_shards(self, trainer: Any, *, writes: bool) -> None:
        """Raise for what cannot be done with a model that is shared out over the processes.

        By FSDP every forward pass is one of all processes, and they write at their own pace.
        """
        deepspeed = trainer.accelerator.state.deepspeed_plugin
        fsdp: bool = trainer.is_fsdp_enabled
        if fsdp and writes:
            raise ConfigError(
                "a model that FSDP shares out cannot be measured or write here",
                hint="leave --held-out out, or launch with recipes/accelerate/zero3.yaml",
            )
        if self.options.adapter == "lora" and (fsdp or (deepspeed and deepspeed.zero_stage == 3)):
            raise ConfigError(
                "adapters of a model that is shared out cannot be merged here",
                hint="launch with recipes/accelerate/ddp.yaml or zero2.yaml, or train with --adapter full",
            )

    def describe(self, result: Result, lines: Sequence[Line], rows: int, held_out: int) -> None:
        """Write the model's card and its curves; ``rows`` were trained on, ``held_out`` ones measured."""
        folder = self.out / MODEL
        try:
            picture = CURVES if draw_course(lines, folder / CURVES) else None
        except MissingExtraError as error:
            self.say(f"no curves in the model card: {error}")
            picture = None
        o, (base, local, license) = self.options, _base(self.options.model)
        told = {f.name: getattr(o, f.name) for f in fields(o)} | {"model": base}
        overlap = self._overlap()
        facts = Facts(
            self.out.resolve().name, base, self.method, o.protocol, __version__,
            base_local=local, family=o.family, preset=o.preset, license=license, options=told,
            data=tuple(self._data(rows, held_out)), overlap=(overlap,) if overlap else (),
            scores=tuple(self._scores(result)), course=tuple(lines), picture=picture, steps=result.steps,
            seconds=result.seconds, tokens=result.tokens, device=_device(),
            versions={name: version(name) for name in _PACKAGES},
        )  # fmt: skip
        write_whole(folder / CARD, card(facts).encode())

    def _data(self, rows: int, held_out: int) -> Generator[DataFile]:
        yield _file(self.source, rows, "training")
        if self.options.held_out:
            yield _file(str(self.options.held_out), held_out, "held-out")

    def _scores(self, result: Result) -> Generator[Measured]:
        if path := self.options.held_out:
            before, after = (s and _score(s) for s in (result.before, result.after))
            yield Measured(path.name, before, after, _hub(str(path)))

    def _overlap(self) -> Overlap | None:
        """The stamp of --overlap; raises where it is of other data."""
        if self.options.overlap is None:
            return None
        overlap, data = read_overlap(self.options.overlap), file_hash(self.source)
        clean = overlap.summary.clean
        known = {overlap.summary.sha256, clean.sha256 if clean else None}
        if data is not None and data not in known:
            raise ConfigError(
                f"{self.options.overlap} is about {overlap.summary.source}, not about {self.source}",
                hint=f"jurist overlap {self.source} --report FILE, and --overlap FILE",
            )
        return overlap

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

    def __init__(self, trainer: Any, pairs: Pairs, opening: Opening, every: int | None) -> None:
        self.before: Standing | None = None
        self.after: Standing | None = None
        self._trainer, self._pairs, self._opening, self._every = trainer, pairs, opening, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the model before its first step; a resumed training reads what it was."""
        del args, control
        if not state.global_step:
            self.before = self.measured(BEFORE)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure at every so many steps, and after the last, before its checkpoint is written."""
        # The trainer's steps are updates, of which a step of rollouts may have several.
        step, updates = state.global_step, args.logging_steps
        every = (self._every or max(1, state.max_steps // updates // 10)) * updates
        # A log says that nothing is left to be logged; the step's own is still to come.
        due = control.should_log
        if step >= state.max_steps:
            self.after = self.measured(AFTER)
        elif step % every == 0:
            self.measured(f"step-{step // updates:06d}")
        control.should_log = due

    def recalled(self) -> None:
        """What earlier sessions measured is read again."""
        self.before = self.before or self._pairs.read(BEFORE)
        self.after = self.after or self._pairs.read(AFTER)

    def measured(self, name: str) -> Standing:
        """Measure now."""
        with self._opening(self._trainer) as how:
            standing = self._pairs.measure(name, how)
        # Not by the trainer's own log: that one empties what it gathered during the step.
        package("transformers").Trainer.log(self._trainer, standing.metrics())
        return standing


class _Tokens(Watcher):
    """Lets a resumed trainer go on counting tokens: TRL's SFTTrainer and RewardTrainer begin at 0 again."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take what was logged last."""
        del args, control
        counted = [logs["num_tokens"] for logs in state.log_history if "num_tokens" in logs]
        if counted and hasattr(self._trainer, "_total_train_tokens"):
            self._trainer._total_train_tokens = int(counted[-1])


def _at_its_end(trainer: Any, checkpoint: Path) -> bool:
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


def _installed(names: Sequence[str]) -> list[str]:
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"report_to = {name} is not installed", hint=f"python -m pip install {name}")
    return list(names)


def _tokens(lines: Sequence[Line]) -> float | None:
    """Tokens of all sessions; some trainers count each from zero."""
    counts = [n for line in lines if (n := line.metrics.get("num_tokens")) is not None]
    return sum(n for n, after in pairwise([*counts, 0.0]) if after < n) or None


def _base(model: str) -> tuple[str, bool, str | None]:
    """(what a reader may know the model by, whether that is only a folder's name, its licence)."""
    if model == EMBEDDED:
        return _EMBEDDED, False, _EMBEDDED_LICENSE
    local = Path(model).is_dir()
    return (Path(model).resolve().name if local else model), local, None


def _file(source: str, rows: int, use: str) -> DataFile:
    return DataFile(Path(source).name, rows, file_hash(source), use, _hub(source))


def _hub(source: str) -> str | None:
    """The data set's id in a name such as hf:someone/pairs:train@revision."""
    return re.split(r"[:@#]", source.removeprefix("hf:"))[0] if source.startswith("hf:") else None


def _score(s: Standing) -> Score:
    return Score(s.accuracy, s.n, s.low, s.high, s.consistent, s.unanswered)


def _device() -> str:
    cuda = package("torch").cuda
    what = cuda.get_device_name(0) if cuda.is_available() else "CPU"
    return what if world() == 1 else f"{world()} x {what}"
