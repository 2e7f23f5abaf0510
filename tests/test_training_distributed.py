"""Two processes train what one would; the configuration files for more are read as they are meant."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trainings import A, pairs, rows, tiny

from jurist.cli.main import run
from jurist.core.errors import ConfigError
from jurist.training.config import SftOptions
from jurist.training.distributed import destroy
from jurist.training.metrics import read_metrics
from jurist.training.session import Session

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[1] / "recipes" / "accelerate"
COMMON = ["--protocol", "pairwise-short", "--precision", "fp32", "--save-every", "2", "--eval-every", "2"]
SFT = ["sft", "chains.jsonl", "--steps", "4", "--batch", "8", "--learning-rate", "1e-2", "--eval-tokens", "4"]
GRPO = ["grpo", "pairs.jsonl", "--steps", "4", "--batch", "4", "--group", "4", "--learning-rate", "1e-2",
        "--max-completion", "12", "--eval-tokens", "4", "--trace-every", "1"]  # fmt: skip


# The command, telling which threads of the group of processes are there when the interpreter ends.
LEAVING = """
import atexit, pathlib, sys
from jurist.cli.main import main

@atexit.register
def threads():
    names = [p.read_text().strip() for p in pathlib.Path("/proc/self/task").glob("*/comm")]
    print("threads of the group:", sum("gloo" in name for name in names), file=sys.stderr)

main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    tiny(folder / "base")
    pairs(folder / "pairs.jsonl", 16)
    pairs(folder / "held.jsonl", 5)
    rows(
        folder / "chains.jsonl", ({"prompt": f"say {n}", "completion": "a" * (n % 7) + A} for n in range(32))
    )
    (folder / "leaving.py").write_text(LEAVING)
    return folder


def train(
    place: Path, command: list[str], out: str, jurist: tuple[str, ...] = ("-m", "jurist")
) -> subprocess.CompletedProcess[str]:
    """`jurist train` on the CPU, by torchrun in two processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    more = ["--model", "base", "--held-out", "held.jsonl", "--out", out, *COMMON]
    return subprocess.run(
        [sys.executable, *torchrun, *jurist, "train", *command, *more],
        cwd=place,
        check=False,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def weights(out: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(out / "model" / "model.safetensors")


def course(out: Path, name: str) -> list[float | None]:
    return [line.metrics[name] for line in read_metrics(out / "metrics.jsonl") if name in line.metrics]


def test_two_processes_learn_what_one_does_and_leave_one_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    more = ["--model", "base", "--held-out", "held.jsonl", "--out", "one", *COMMON]
    assert run(["train", *SFT, *more]) == 0
    printed = capsys.readouterr().out
    two = train(place, SFT, "two")
    assert two.returncode == 0, two.stderr
    out = place / "one", place / "two"
    assert course(out[1], "loss") == pytest.approx(course(out[0], "loss"), rel=1e-5)
    assert len(course(out[1], "loss")) == 4
    assert course(out[1], "held_out/accuracy") == course(out[0], "held_out/accuracy")
    a, b = map(weights, out)
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    names = [sorted(p.relative_to(o).as_posix() for p in o.rglob("*") if p.is_file()) for o in out]
    # Each process keeps its own random state.
    assert [n for n in names[1] if "rng_state" not in n] == [n for n in names[0] if "rng_state" not in n]
    assert sum("rng_state" in n for n in names[1]) == 4
    timeless = [re.sub(r"[\d.]+ s\b", "T s", text) for text in (printed, two.stdout)]
    assert timeless[1] == timeless[0].replace("one", "two"), "said once"


def test_two_processes_reward_their_own_groups_and_resume(place: Path):
    assert (done := train(place, GRPO, "grpo")).returncode == 0, done.stderr
    out, again = place / "grpo", place / "again"
    assert len(course(out, "reward")) == 4
    assert max(course(out, "reward_std")) > 0, "there was something to learn"
    spoilt = shutil.ignore_patterns("model", "checkpoint-4", "result.json", "after")
    shutil.copytree(out, again, ignore=spoilt)
    done = train(place, GRPO, "again", ("leaving.py",))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("threads of the group: 0") == 2, done.stderr
    assert "resumed from again/checkpoints/checkpoint-2" in done.stderr
    assert course(again, "reward") == course(out, "reward")
    a, b = weights(out), weights(again)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_process_group_is_destroyed_unless_vllm_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # vLLM destroys its own groups at the end, and fails if they are gone (its parallel_state.py).
    dist = torch.distributed
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    for runs, left in ((True, False), (False, True)):
        vllm = SimpleNamespace(model_parallel_is_initialized=lambda runs=runs: runs)
        monkeypatch.setitem(sys.modules, "vllm.distributed.parallel_state", vllm)
        destroy()
        assert dist.is_initialized() is not left
    destroy()


@pytest.mark.parametrize("name", ["ddp", "fsdp", "zero2", "zero3"])
def test_the_launcher_reads_each_configuration(name: str, monkeypatch: pytest.MonkeyPatch):
    launch = pytest.importorskip("accelerate.commands.launch")
    utils = pytest.importorskip("accelerate.utils")
    command = ["--config_file", str(RECIPES / f"{name}.yaml"), "--num_processes", "2", "-m", "jurist"]
    args, read, _ = launch._validate_launch_command(launch.launch_command_parser().parse_args(command))
    assert read.num_processes == 8
    assert (args.num_processes, args.mixed_precision) == (2, "no")
    kinds = {"ddp": (True, False, False), "fsdp": (False, True, False)}
    assert (args.multi_gpu, args.use_fsdp, args.use_deepspeed) == kinds.get(name, (False, False, True))
    args.deepspeed_fields_from_accelerate_config = ",".join(read.deepspeed_config)
    prepare = utils.launch.prepare_deepspeed_cmd_env if args.use_deepspeed else None
    env = prepare(args)[1] if prepare else utils.launch.prepare_multi_gpu_env(args)
    for key in env.keys() - os.environ.keys():
        monkeypatch.setenv(key, env[key])
    if name == "fsdp":
        plugin = utils.FullyShardedDataParallelPlugin()
        assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
        assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    if args.use_deepspeed:
        plugin = utils.DeepSpeedPlugin()
        config = plugin.deepspeed_config
        assert plugin.zero_stage == int(name[-1])
        assert (config["gradient_accumulation_steps"], config["gradient_clipping"]) == ("auto", "auto")
        assert plugin.zero3_save_16bit_model == (name == "zero3")


@pytest.mark.parametrize(
    ("fsdp", "stage", "adapter", "held", "refused"),
    [
        (False, 0, "lora", True, ""),
        (False, 2, "lora", True, ""),
        (False, 3, "full", True, ""),
        (True, 0, "full", False, ""),
        (True, 0, "full", True, "cannot be measured"),
        (True, 0, "lora", False, "cannot be merged"),
        (False, 3, "lora", False, "cannot be merged"),
    ],
)
def test_limits_of_a_sharded_model_are_reported_before_training(
    tmp_path: Path, fsdp: bool, stage: int, adapter: Any, held: bool, refused: str
):
    plugin = SimpleNamespace(zero_stage=stage) if stage else None
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
    trainer = SimpleNamespace(is_fsdp_enabled=fsdp, accelerator=accelerator)
    session = Session("sft", SftOptions(adapter=adapter), tmp_path, "pairs.jsonl", print)
    if not refused:
        session.check_shards(trainer, writes=held)
        return
    with pytest.raises(ConfigError, match=refused):
        session.check_shards(trainer, writes=held)
