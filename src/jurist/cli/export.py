"""`jurist export`: a run as rows or as published; a training's files for verl, OpenRLHF and Slurm."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from jurist.cli.console import say
from jurist.cli.options import CASES, Out
from jurist.cli.runs import export as export_run
from jurist.cli.train import TRAINING
from jurist.training.config import GrpoOptions, ScalarOptions, SftOptions, TrainOptions
from jurist.training.external import Cluster
from jurist.training.slurm import Slurm

if TYPE_CHECKING:
    from jurist.training.external import Trainer
    from jurist.training.presets import Method

export = App(name="export", help="Write a run as rows, or a training's files for other programs.")
export.default(export_run)

Pairs = Annotated[str, Parameter(group=CASES)]
Settings = Annotated[GrpoOptions, Parameter(name="*", group=TRAINING)]
Machines = Annotated[Cluster, Parameter(name="*", group="Machines")]


@export.command
def verl(
    source: Pairs,
    /,
    *,
    out: Out,
    cluster: Machines = Cluster(),  # noqa: B008
    options: Settings = GrpoOptions(),  # noqa: B008
) -> int:
    """A judge's training for verl (0.9.1): parquet, reward function and launch script.

    Examples::

        jurist export verl pairs.jsonl --preset rm-r1-instruct-7b --model runs/sft/model -o runs/verl
        jurist export verl pairs.jsonl --preset rrm-7b --model MODEL -o runs/rrm
        bash runs/verl/launch.sh --cfg job

    Parameters
    ----------
    source
        Pairs with gold, as for `jurist judge`. Ties are left out.
    out
        Folder that is written.
    """
    return _export("verl", source, out, cluster, options)


@export.command
def openrlhf(
    source: Pairs,
    /,
    *,
    out: Out,
    cluster: Machines = Cluster(),  # noqa: B008
    options: Settings = GrpoOptions(),  # noqa: B008
) -> int:
    """A judge's training for OpenRLHF (0.11.2): JSON lines, reward function and launch script.

    Examples::

        jurist export openrlhf pairs.jsonl --preset rm-r1-instruct-7b --model runs/sft/model -o runs/openrlhf
        jurist export openrlhf pairs.jsonl --model MODEL --gpus 4 --tensor-parallel 2 -o runs/o
        jurist export openrlhf pairs.jsonl --preset rrm-7b --model MODEL -o runs/rrm

    Parameters
    ----------
    source
        Pairs with gold, as for `jurist judge`. Ties are left out.
    out
        Folder that is written.
    """
    return _export("openrlhf", source, out, cluster, options)


def _export(trainer: "Trainer", source: str, out: Path, cluster: Cluster, options: GrpoOptions) -> int:
    from jurist.training.external import export_training

    counts, written = export_training(trainer, options, cluster, source, out)
    n = len(counts.first)
    say(
        f"{n:,} prompts of {counts.read:,} pairs; {counts.ties + counts.unlabelled + counts.equal:,} left out"
    )
    say(f"the better response stands first in {sum(counts.first) / n:.0%} of the prompts")
    for path in written:
        say(f"written: {path}")
    return 0


slurm = App(name="slurm", help="Scripts that train on several nodes: a Slurm job, torchrun or accelerate.")
export.command(slurm)

Job = Annotated[Slurm, Parameter(name="*", group="Job")]
RunFolder = Annotated[Path, Parameter(group="Job")]


@slurm.command
def grpo(
    source: Pairs,
    /,
    *,
    out: Out,
    run: RunFolder,
    job: Job = Slurm(),  # noqa: B008
    options: Settings = GrpoOptions(),  # noqa: B008
) -> int:
    """Scripts for `jurist train grpo` on several nodes; with --rollouts vllm-server one more node writes.

    Examples::

        jurist export slurm grpo pairs.jsonl --model M --nodes 2 --share zero3 --run runs/judge -o jobs/judge
        jurist export slurm grpo pairs.jsonl --model M --rollouts vllm-server --run runs/judge -o jobs/judge
        DRY_RUN=1 bash jobs/judge/job.sbatch

    Parameters
    ----------
    source
        Pairs with gold, as the nodes see the file.
    out
        Folder of the scripts.
    run
        Folder of the training, as the nodes see it.
    """
    return _scripts("grpo", options, job, source, run, out)


@slurm.command
def sft(
    source: Pairs,
    /,
    *,
    out: Out,
    run: RunFolder,
    job: Job = Slurm(),  # noqa: B008
    options: Annotated[SftOptions, Parameter(name="*", group=TRAINING)] = SftOptions(),  # noqa: B008
) -> int:
    """Scripts for `jurist train sft` on several nodes.

    Examples::

        jurist export slurm sft rows.jsonl --model M --nodes 2 --share fsdp --run runs/sft -o jobs/sft
        jurist export slurm sft rows.jsonl --model M --nodes 1 --run runs/sft -o jobs/sft
        DRY_RUN=1 bash jobs/sft/job.sbatch

    Parameters
    ----------
    source
        Rows, as the nodes see the file.
    out
        Folder of the scripts.
    run
        Folder of the training, as the nodes see it.
    """
    return _scripts("sft", options, job, source, run, out)


@slurm.command
def scalar(
    source: Pairs,
    /,
    *,
    out: Out,
    run: RunFolder,
    job: Job = Slurm(),  # noqa: B008
    options: Annotated[ScalarOptions, Parameter(name="*", group=TRAINING)] = ScalarOptions(),  # noqa: B008
) -> int:
    """Scripts for `jurist train scalar` on several nodes.

    Examples::

        jurist export slurm scalar pairs.jsonl --model M --nodes 2 --run runs/scalar -o jobs/scalar
        jurist export slurm scalar pairs.jsonl --model M --nodes 1 --run runs/scalar -o jobs/scalar
        DRY_RUN=1 bash jobs/scalar/job.sbatch

    Parameters
    ----------
    source
        Pairs with gold, as the nodes see the file.
    out
        Folder of the scripts.
    run
        Folder of the training, as the nodes see it.
    """
    return _scripts("scalar", options, job, source, run, out)


def _scripts(method: "Method", options: TrainOptions, job: Slurm, source: str, run: Path, out: Path) -> int:
    from jurist.training.slurm import write_scripts

    for path in write_scripts(method, options, job, source, run, out):
        say(f"written: {path}")
    say(f"see what it runs: DRY_RUN=1 bash {out / 'job.sbatch'}; submit it: cd {out} && sbatch job.sbatch")
    return 0
