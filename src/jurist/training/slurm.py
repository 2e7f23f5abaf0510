"""Scripts for `jurist train` on several nodes: a Slurm job, what each node starts, and a server for rollouts.

Each node starts torchrun, or accelerate with DeepSpeed or FSDP; with `--rollouts vllm-server` one more node
runs TRL's vLLM server, to which the weights are sent. The same job again goes on where the training stopped.
With DRY_RUN=1 the scripts print what they would run, on any machine.
"""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from jurist.core.errors import ConfigError
from jurist.core.files import write_whole
from jurist.core.version import __version__
from jurist.training.config import GrpoOptions, TrainOptions
from jurist.training.presets import Method, with_preset

JOB, NODE, SERVER, SHARING = "job.sbatch", "node.sh", "server.sh", "accelerate.yaml"
"""Names of the files."""

SERVER_PORT = 8000


@dataclass(frozen=True)
class Slurm:
    """What the job asks for."""

    nodes: int = 1
    """Nodes that train."""
    gpus: int = 8
    """GPUs of a node."""
    share: Literal["none", "zero2", "zero3", "fsdp"] = "none"
    """How the model is shared out: not at all (torchrun), by DeepSpeed (zero2: gradients and optimizer;
    zero3: the weights too) or by FSDP (for sft and scalar without --held-out)."""
    tensor_parallel: int = 1
    """With --rollouts vllm-server: GPUs over which the server spreads the model; the rest are replicas."""
    time: str = "24:00:00"
    """Longest time of the job."""
    partition: str | None = None
    """Partition."""
    account: str | None = None
    """Account."""
    cpus: int | None = None
    """CPUs of a node."""
    setup: str | None = None
    """A line that each node runs first, such as `source .venv/bin/activate`."""
    port: int = 29500
    """Port at which the processes meet."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("nodes", "gpus", "tensor_parallel", "port"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is out of range", hint="from 1 on")
        if self.gpus % self.tensor_parallel:
            raise ConfigError(
                f"{self.gpus} GPUs do not divide into tensors of {self.tensor_parallel}",
                hint="another --tensor-parallel",
            )


def write_scripts(
    method: Method, options: TrainOptions, slurm: Slurm, source: str, run: Path, out: Path
) -> list[Path]:
    """Write the scripts of a training into ``out``; what was written. Raises ``ConfigError``."""
    served = _check(method, options, slurm)
    files = {JOB: _job(method, options, slurm, run, served=served),
             NODE: _node(_training(method, options, source, run), slurm)}  # fmt: skip
    if served:
        files[SERVER] = _server(options, slurm)
    if slurm.share != "none":
        files[SHARING] = _sharing(slurm)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {out}: {error.strerror or error}") from error
    for name, text in files.items():
        write_whole(out / name, text.encode())
    return [out / name for name in files]


def _check(method: Method, options: TrainOptions, slurm: Slurm) -> bool:
    """Whether a server writes the rollouts; raises for what cannot be."""
    with_preset(options, method)  # a preset of another method is refused here, not on the cluster
    served = isinstance(options, GrpoOptions) and options.rollouts == "vllm-server"
    if options.model == "embedded" and served:
        raise ConfigError("the embedded model is no model of vLLM", hint="--model HUB_ID_OR_FOLDER")
    if slurm.share == "fsdp" and (method == "grpo" or options.held_out):
        raise ConfigError(
            "a model that FSDP shares out can neither write nor be measured here", hint="--share zero3"
        )
    if slurm.share in ("zero3", "fsdp") and options.adapter == "lora":
        raise ConfigError(
            f"with {slurm.share} all weights are trained", hint="--adapter full, or --share zero2"
        )
    return served


def _training(method: Method, options: TrainOptions, source: str, run: Path) -> list[str]:
    """The words of the command, without the program: what differs from the defaults."""
    words = ["train", method, source, "--out", str(run)]
    plain = type(options)()
    for field in fields(options):
        value = getattr(options, field.name)
        if value == getattr(plain, field.name) or (field.name == "vllm_url"):
            continue
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def _job(method: Method, options: TrainOptions, slurm: Slurm, run: Path, *, served: bool) -> str:
    asked = {
        "job-name": f"jurist-{method}",
        "nodes": slurm.nodes + served,
        "ntasks-per-node": 1,
        "gpus-per-node": slurm.gpus,
        "cpus-per-task": slurm.cpus,
        "time": slurm.time,
        "partition": slurm.partition,
        "account": slurm.account,
        "output": f"{run.name}-%j.log",
        "open-mode": "append",
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in asked.items() if value is not None]
    text = _HEAD + "\n".join([*lines, "#SBATCH --requeue"]) + _BODY.format(nodes=slurm.nodes, port=slurm.port)
    if served:
        assert isinstance(options, GrpoOptions)
        text += _SERVED.format(port=SERVER_PORT)
    trained = '"${NODES[@]:0:$TRAINING}"' if served else '"${NODES[@]}"'
    return text + _START.format(trained=trained)


_HEAD = f"""\
#!/usr/bin/env bash
# Written by jurist {__version__}: sbatch job.sbatch; DRY_RUN=1 bash job.sbatch prints what it would run.
# Submitted again it goes on where the training stopped.
"""

_BODY = """
set -euo pipefail
# Slurm runs a copy of this file: the others stand where it was submitted, or beside this one.
HERE="${{JURIST_JOB:-${{SLURM_SUBMIT_DIR:-$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)}}}}"
TRAINING={nodes}

run() {{
    if [ -n "${{DRY_RUN:-}}" ]; then
        printf '%q ' "$@"
        printf '\\n'
    else
        "$@"
    fi
}}

if [ -n "${{DRY_RUN:-}}" ] && ! command -v scontrol >/dev/null; then
    mapfile -t NODES < <(seq -f 'node%g' 0 "$TRAINING")
else
    mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
fi
export TRAINING HERE
export MAIN_ADDRESS="${{NODES[0]}}"
export MAIN_PORT={port}
"""

_SERVED = """
# The last node writes the rollouts.
SERVER="${{NODES[$TRAINING]}}"
export VLLM_URL="http://$SERVER:{port}"
if [ -n "${{DRY_RUN:-}}" ]; then
    run srun --nodes=1 --ntasks=1 --nodelist="$SERVER" bash "$HERE/server.sh"
    bash "$HERE/server.sh"
else
    srun --nodes=1 --ntasks=1 --nodelist="$SERVER" bash "$HERE/server.sh" &
    SERVING=$!
    trap 'kill "$SERVING" 2>/dev/null || true' EXIT
    for _ in $(seq 360); do
        curl --silent --fail "$VLLM_URL/health/" >/dev/null && break
        kill -0 "$SERVING" || {{ echo "the server for rollouts has ended" >&2; exit 1; }}
        sleep 5
    done
    curl --silent --fail "$VLLM_URL/health/" >/dev/null || {{ echo "$VLLM_URL does not answer" >&2; exit 1; }}
fi
"""

_START = """
TRAINERS="$(IFS=,; echo {trained})"
TRAINERS="${{TRAINERS// /,}}"
run srun --nodes="$TRAINING" --ntasks="$TRAINING" --ntasks-per-node=1 --nodelist="$TRAINERS" \\
    bash "$HERE/node.sh"
if [ -n "${{DRY_RUN:-}}" ]; then
    bash "$HERE/node.sh"
fi
"""


def _node(training: list[str], slurm: Slurm) -> str:
    program = shlex.join(training)
    if slurm.share == "none":
        start = (
            f'torchrun --nnodes="$TRAINING" --nproc_per_node={slurm.gpus} --rdzv_backend=c10d \\\n'
            '    --rdzv_endpoint="$MAIN_ADDRESS:$MAIN_PORT" --rdzv_id="${SLURM_JOB_ID:-0}" \\\n'
            f"    -m jurist {program}"
        )
    else:
        start = (
            f'accelerate launch --config_file "$HERE/{SHARING}" --num_machines "$TRAINING" \\\n'
            f'    --num_processes "$((TRAINING * {slurm.gpus}))" --machine_rank "${{SLURM_PROCID:-0}}" \\\n'
            '    --main_process_ip "$MAIN_ADDRESS" --main_process_port "$MAIN_PORT" \\\n'
            f"    -m jurist {program}"
        )
    return (
        "#!/usr/bin/env bash\n"
        f"# Written by jurist {__version__}: what each node of the job starts.\n"
        "set -euo pipefail\n"
        f"{_setup(slurm)}"
        'words=()\nif [ -n "${VLLM_URL:-}" ]; then\n    words=(--vllm-url "$VLLM_URL")\nfi\n'
        f'start=({start} "${{words[@]}}")\n'
        f"{_PRINT_OR_START}"
    )


def _server(options: TrainOptions, slurm: Slurm) -> str:
    replicas = slurm.gpus // slurm.tensor_parallel
    longest = ""
    if isinstance(options, GrpoOptions):
        resolved = with_preset(options, "grpo")
        longest = f" --max_model_len {resolved.max_prompt + (resolved.max_completion or 0)}"
    return (
        "#!/usr/bin/env bash\n"
        f"# Written by jurist {__version__}: TRL's vLLM server, which writes the rollouts.\n"
        "set -euo pipefail\n"
        f"{_setup(slurm)}"
        f"start=(trl vllm-serve --model {shlex.quote(options.model)} --host 0.0.0.0 --port {SERVER_PORT} \\\n"
        f"    --tensor_parallel_size {slurm.tensor_parallel} --data_parallel_size {replicas} \\\n"
        f"    --enable_prefix_caching True{longest})\n"
        f"{_PRINT_OR_START}"
    )


_PRINT_OR_START = """\
if [ -n "${DRY_RUN:-}" ]; then
    printf '%q ' "${start[@]}"
    printf '\\n'
else
    exec "${start[@]}"
fi
"""


def _setup(slurm: Slurm) -> str:
    return (
        f'if [ -z "${{DRY_RUN:-}}" ]; then\n    # shellcheck disable=SC1091\n    {slurm.setup}\nfi\n'
        if slurm.setup
        else ""
    )


def _sharing(slurm: Slurm) -> str:
    """accelerate's configuration; how many machines and processes there are stands in the command."""
    common = (
        "compute_environment: LOCAL_MACHINE\nmain_training_function: main\nrdzv_backend: static\n"
        "same_network: true\nuse_cpu: false\ndebug: false\n"
        '# `jurist train --precision` decides.\nmixed_precision: "no"\n'
        f"num_machines: {slurm.nodes}\nnum_processes: {slurm.nodes * slurm.gpus}\nmachine_rank: 0\n"
    )
    if slurm.share == "fsdp":
        return (
            common + "distributed_type: FSDP\nfsdp_config:\n  fsdp_version: 2\n"
            "  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n  fsdp_reshard_after_forward: true\n"
            "  fsdp_state_dict_type: FULL_STATE_DICT\n  fsdp_cpu_ram_efficient_loading: false\n"
            "  fsdp_activation_checkpointing: false\n  fsdp_offload_params: false\n"
        )
    stage = slurm.share.removeprefix("zero")
    whole = "  zero3_init_flag: false\n  zero3_save_16bit_model: true\n" if stage == "3" else ""
    return (
        common + f"distributed_type: DEEPSPEED\ndeepspeed_config:\n  zero_stage: {stage}\n"
        "  gradient_accumulation_steps: auto\n  gradient_clipping: auto\n"
        "  offload_optimizer_device: none\n  offload_param_device: none\n"
        f"{whole}  deepspeed_multinode_launcher: standard\n"
    )
