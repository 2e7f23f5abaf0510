"""`jurist train`: judges are made here."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import App, Group, Parameter

from jurist.cli.console import next_step, say, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import CASES, Flag, Json, Out
from jurist.reports.views.style import borderless, duration, interval
from jurist.training.config import GrpoOptions, ScalarOptions, SftOptions, TrainOptions

if TYPE_CHECKING:
    from jurist.training.evaluation import EvalResult
    from jurist.training.session import Result, Say

Options = TypeVar("Options", bound=TrainOptions)
Source = Annotated[str, Parameter(group=CASES)]
TRAINING = Group("Training", sort_key=3)

train = App(
    name="train", help="Train a judge on preference data: supervised, by reinforcement, or a scalar one."
)


@train.command
def sft(
    source: Source,
    /,
    *,
    out: Out,
    json: Json = False,
    options: Annotated[SftOptions, Parameter(name="*", group=TRAINING)] = SftOptions(),  # noqa: B008
) -> int:
    """Teach a model to write judgments: the rows of `jurist distill`, or bare verdicts (--target answer).

    Examples::

        jurist train sft runs/traces/rows.jsonl --model Qwen/Qwen2.5-7B-Instruct -o runs/sft
        jurist train sft runs/traces/rows.jsonl --model embedded -o runs/sft --held-out held_out.jsonl
        jurist train sft pairs.jsonl --target answer --model embedded -o runs/bare

    Parameters
    ----------
    source
        Rows with prompt and completion, or messages; with --target answer, pairs as for `jurist judge`.
    out
        Folder of the training. The same command goes on where it stopped; the model stands in OUT/model.
    json
        The result as JSON on standard output.
    """
    from jurist.training.sft import train_sft

    return _train(train_sft, options, source, out, as_json=json)


@train.command
def grpo(
    source: Source,
    /,
    *,
    out: Out,
    json: Json = False,
    options: Annotated[GrpoOptions, Parameter(name="*", group=TRAINING)] = GrpoOptions(),  # noqa: B008
) -> int:
    """Reinforcement learning: judgments of preference pairs, rewarded by their verdicts.

    Examples::

        jurist train grpo pairs.jsonl --model runs/sft/model -o runs/judge --held-out held_out.jsonl
        jurist train grpo pairs.jsonl --model Qwen/Qwen2.5-7B-Instruct --preset rrm-7b -o runs/judge
        jurist train grpo pairs.jsonl --model embedded -o runs/judge --steps 20

    Parameters
    ----------
    source
        Pairs with gold, as for `jurist judge`. Ties are left out.
    out
        Folder of the training. The same command goes on where it stopped; the model stands in OUT/model.
    json
        The result as JSON on standard output.
    """
    from jurist.training.grpo import train_grpo

    return _train(train_grpo, options, source, out, as_json=json)


@train.command
def scalar(
    source: Source,
    /,
    *,
    out: Out,
    json: Json = False,
    options: Annotated[ScalarOptions, Parameter(name="*", group=TRAINING)] = ScalarOptions(),  # noqa: B008
) -> int:
    """A scalar reward model (Bradley-Terry), the baseline of every reasoning judge.

    Examples::

        jurist train scalar pairs.jsonl --model Qwen/Qwen2.5-7B-Instruct -o runs/scalar
        jurist train scalar pairs.jsonl --model embedded -o runs/scalar --held-out held_out.jsonl
        jurist judge pairs.jsonl -e scalar:runs/scalar/model

    Parameters
    ----------
    source
        Pairs with gold, as for `jurist judge`. Ties are left out.
    out
        Folder of the training. The same command goes on where it stopped; the model stands in OUT/model.
    json
        The result as JSON on standard output.
    """
    from jurist.training.scalar import train_scalar

    return _train(train_scalar, options, source, out, as_json=json)


@train.command
def export(
    run: Path,
    /,
    *,
    to: Path,
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
    gguf: Flag = False,
) -> int:
    """Write a trained model as a plain Hugging Face folder, adapters merged, and for the embedded engine.

    Examples::

        jurist train export runs/judge --to models/judge
        jurist train export runs/judge --to models/judge --gguf
        jurist train export runs/judge/checkpoints/checkpoint-20 --to models/at-20

    Parameters
    ----------
    run
        Folder of a training, or one of its checkpoints (RUN/checkpoints/checkpoint-N).
    to
        Folder that is written.
    dtype
        Precision of the weights there; they were trained in float32.
    gguf
        Write TO/model.gguf as well (float16), for `--engine embedded --model TO/model.gguf`: models of the
        kinds Llama, Qwen2 and Qwen3 whose tokenizer the embedded engine follows (SmolLM2, Qwen2.5, Qwen3).
    """
    from jurist.training.export import export

    for path in export(run, to, dtype=dtype, gguf=gguf):
        say(f"written: {path}")
    if gguf:
        next_step("judge with it", "jurist", "judge", "pairs.jsonl", "--model", to / "model.gguf")
    else:
        next_step("judge with it", "jurist", "judge", "pairs.jsonl", "--engine=transformers", "--model", to)
    return 0


@train.command
def presets(*, json: Json = False) -> int:
    """Settings of published trainings, with notes where paper and scripts disagree.

    Examples::

        jurist train presets
        jurist train presets --json
        jurist train grpo pairs.jsonl --preset rm-r1-instruct-7b --batch 64 -o runs/judge

    Parameters
    ----------
    json
        As JSON on standard output.
    """
    from jurist.training.presets import PRESETS

    if json:
        write_json({name: asdict(preset) for name, preset in PRESETS.items()})
        return 0
    table = borderless("preset", words=("train", "what", "rate", "batch", "group"))
    for name, p in PRESETS.items():
        v = p.values
        table.add_row(
            name, p.method, p.summary, f"{v['learning_rate']:g}", str(v["batch"]), str(v.get("group", ""))
        )
    screen.print(table)
    for note in dict.fromkeys(p.note for p in PRESETS.values()):
        names = ", ".join(name for name, p in PRESETS.items() if p.note == note)
        screen.print(f"\n{names}\n  {note}", style="dim", soft_wrap=True)
    next_step(
        "use one", "jurist", "train", "grpo", "pairs.jsonl", "--preset", next(iter(PRESETS)), "--out", "RUN"
    )
    return 0


def _train(
    method: Callable[[Options, str, Path, "Say"], "Result"],
    options: Options,
    source: str,
    folder: Path,
    *,
    as_json: bool,
) -> int:
    """Train, and show the result (on the first process)."""
    from jurist.training.distributed import destroy, rank
    from jurist.training.session import MODEL

    first = rank() == 0
    result = method(options, source, folder, say if first else lambda _: None)
    destroy()
    if not first:
        return 0
    if as_json:
        write_json(result)
    else:
        _show(result)
    model = folder / MODEL
    say(f"the model: {model}")
    engine = f"scalar:{model}" if result.method == "scalar" else "transformers"
    words = ["--engine", engine] + ([] if result.method == "scalar" else ["--model", str(model)])
    next_step("judge with it", "jurist", "judge", "pairs.jsonl", *words)
    next_step("write it for other programs", "jurist", "train", "export", folder, "--to", "FOLDER")
    return 0


def _show(result: "Result") -> None:
    if result.after:
        table = borderless("held-out pairs", "accuracy", "95% interval", "consistent", "unanswered", "tokens")
        for name, measured in (("before", result.before), ("after", result.after)):
            if measured:
                table.add_row(name, *_cells(measured))
        screen.print(table)
        screen.print()
    time = duration(result.seconds)
    screen.print(f"{result.method}: {result.steps:,} steps in {time}", style="bold")


def _cells(s: "EvalResult") -> list[str]:
    consistent = "" if s.consistent is None else f"{s.consistent:.1%}"
    return [
        f"{s.accuracy:.1%}",
        interval((s.low, s.high)),
        consistent,
        f"{s.unanswered:.1%}",
        f"{s.tokens:,.0f}",
    ]
