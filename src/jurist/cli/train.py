"""`jurist train`: judges are made here."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from jurist.training.config import GrpoOptions, ScalarOptions, SftOptions

train = App(
    name="train", help="Train a judge on preference data: supervised, by reinforcement, or a scalar one."
)
Flag = Annotated[bool, Parameter(negative="")]


@train.command
def sft(
    source: str,
    /,
    *,
    out: Path,
    json: Flag = False,
    options: Annotated[SftOptions, Parameter(name="*")] = SftOptions(),  # noqa: B008
) -> int:
    """Teach a model to write judgments: the rows of `jurist distill`, or bare verdicts (--target answer).

    Parameters
    ----------
    source
        Rows with prompt and completion, or messages; with --target answer, pairs as for `jurist judge`.
    out
        Folder of the training. The same command goes on where it stopped; the model stands in OUT/model.
    json
        The result as JSON on standard output.
    """
    from jurist.cli import training
    from jurist.training.sft import train_sft

    return training.run(train_sft, options, source, out, as_json=json)


@train.command
def grpo(
    source: str,
    /,
    *,
    out: Path,
    json: Flag = False,
    options: Annotated[GrpoOptions, Parameter(name="*")] = GrpoOptions(),  # noqa: B008
) -> int:
    """Reinforcement learning: judgments of preference pairs, rewarded by their verdicts.

    Parameters
    ----------
    source
        Pairs with gold, as for `jurist judge`. Ties are left out.
    out
        Folder of the training. The same command goes on where it stopped; the model stands in OUT/model.
    json
        The result as JSON on standard output.
    """
    from jurist.cli import training
    from jurist.training.grpo import train_grpo

    return training.run(train_grpo, options, source, out, as_json=json)


@train.command
def scalar(
    source: str,
    /,
    *,
    out: Path,
    json: Flag = False,
    options: Annotated[ScalarOptions, Parameter(name="*")] = ScalarOptions(),  # noqa: B008
) -> int:
    """A scalar reward model (Bradley-Terry), the baseline of every reasoning judge.

    Parameters
    ----------
    source
        Pairs with gold, as for `jurist judge`. Ties are left out.
    out
        Folder of the training. The same command goes on where it stopped; the model stands in OUT/model.
    json
        The result as JSON on standard output.
    """
    from jurist.cli import training
    from jurist.training.scalar import train_scalar

    return training.run(train_scalar, options, source, out, as_json=json)


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
    from jurist.cli import training

    return training.export(run, to, dtype=dtype, gguf=gguf)


@train.command
def presets(*, json: Flag = False) -> int:
    """Settings of published trainings, with notes where paper and scripts disagree.

    Parameters
    ----------
    json
        As JSON on standard output.
    """
    from jurist.cli import training

    return training.show_presets(as_json=json)
