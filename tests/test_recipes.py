"""Every recipe reads, names only what exists, does what its paper did; the laptop's teacher is right."""

import asyncio
import importlib.util
import random
import re
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from jurist.cli.main import run
from jurist.core.types import Case, Completion, conversation, winner
from jurist.protocols.injection import guarded
from jurist.protocols.pairwise import pairwise_short
from jurist.training.ablation.plan import Plan, plan
from jurist.training.ablation.recipe import read_recipe
from jurist.training.presets import PRESETS

RECIPES = Path(__file__).parents[1] / "recipes"
FILES = sorted(path for name in ("rm_r1", "rrm", "ablations") for path in (RECIPES / name).glob("*.toml"))


def planned(name: str) -> Plan:
    path = RECIPES / f"{name}.toml"
    return plan(read_recipe(path), Path("runs/x"))


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, RECIPES / "laptop" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


teacher = program("teacher")


def test_the_recipes_that_the_readme_names_are_there():
    named = set(re.findall(r"^\| `(\w+)/(.+?) \|", (RECIPES / "README.md").read_text(), re.M))
    listed = {f"{folder}/{file}" for folder, rest in named for file in re.findall(r"\w+", rest)}
    assert listed == {f"{path.parent.name}/{path.stem}" for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_recipes_name_only_existing_commands_and_options(path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["ablate", str(path), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "{" not in printed
    # Everything prepared is used, with the recipe's own pairs.
    recipe = read_recipe(path)
    assert {s.name for s in plan(recipe, Path("x")).stages} >= {f"prepare/{name}" for name in recipe.prepare}
    assert len(path.read_text().splitlines()) < 80


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_own_pairs_need_one_change(path: Path, tmp_path: Path):
    text, n = re.subn(r"^train = .*# PAIRS", 'train = "mine.jsonl"  # PAIRS', path.read_text(), flags=re.M)
    assert n == 1
    changed = tmp_path / path.name
    changed.write_text(text)
    words = {word for stage in plan(read_recipe(changed), tmp_path).stages for word in stage.words}
    assert "mine.jsonl" in words


@pytest.mark.parametrize(("size", "rate"), [("7b", 5e-6), ("14b", 3e-6), ("32b", 2e-6)])
def test_rm_r1_splits_distils_and_trains_as_published(size: str, rate: float):
    found = planned(f"rm_r1/{size}")
    stages = {stage.name: stage for stage in found.stages}
    shares = stages["prepare/split"].option("--parts") or ""
    assert "distill=0.12" in shares
    assert sum(float(p.partition("=")[2]) for p in shares.split(",")) == 1
    rows = [int(n) for n in re.findall(r"=(\d+)", " ".join(stages["prepare/mixed"].words))]
    assert sum(rows) == 72983
    assert stages["prepare/skywork"].option("--drop") == "source=magpie_ultra"
    sft, grpo = found.trainings(found.arms[-1])
    assert (sft.command, grpo.command) == ("train sft", "train grpo")
    assert PRESETS[sft.option("--preset") or ""].values["learning_rate"] == rate
    assert grpo.option("--model") == str(sft.out / "model")
    assert PRESETS[grpo.option("--preset") or ""].method == "grpo"


@pytest.mark.parametrize("size", ["7b", "32b"])
def test_rrm_trains_on_the_published_mixture_undistilled(size: str):
    found = planned(f"rrm/{size}")
    mixed = next(stage for stage in found.stages if stage.name == "prepare/mixed")
    assert re.findall(r"=(\d)", " ".join(mixed.words)) == ["5", "1", "1", "1"]
    assert {stage.command for stage in found.stages if stage.command.startswith("train")} == {"train grpo"}
    plain, whole = (arm.trained for arm in found.arms[1:])
    assert plain
    assert whole
    assert "prepare/synthetic" not in plain.needs


@pytest.mark.parametrize(("path", "gpus"), [
    ("rm_r1/7b", 8), ("rm_r1/14b", 16), ("rm_r1/32b", 32), ("rrm/7b", 8), ("rrm/32b", 32),
])  # fmt: skip
def test_sizes_launch_with_a_config_that_can_measure_and_write(path: str, gpus: int):
    launch = pytest.importorskip("accelerate.commands.launch")
    found = planned(path)
    trainings = [stage for stage in found.stages if stage.launch]
    assert {stage.command for stage in trainings} <= {"train sft", "train grpo"}
    assert all(stage.option("--held-out") for stage in trainings), "so by FSDP they would not run"
    for stage in trainings:
        parser = launch.launch_command_parser()
        args, _, _ = launch._validate_launch_command(parser.parse_args([*stage.launch[2:], *stage.words]))
        assert (args.training_script, args.training_script_args) == ("jurist", [*stage.words])
        assert (args.use_deepspeed, args.zero_stage, args.num_processes) == (True, 3, gpus)
        assert args.num_machines == gpus // 8
        # A launcher other than the standard one starts the processes of all nodes by itself.
        assert args.deepspeed_multinode_launcher == ("standard" if gpus == 8 else "pdsh")
        # 0.3 of 80 GB, TRL's share for vLLM in the process, holds 7B alone.
        assert stage.option("--rollouts") in (None, "vllm" if gpus == 8 else "vllm-server")


def case(terms: tuple[int, int], said: tuple[str, str]) -> Case:
    return Case("1", conversation(f"What is {terms[0]} + {terms[1]}?"), said)


def prompt(of: Case) -> str:
    return pairwise_short().render(guarded(of))[0].content


def test_the_teacher_writes_what_its_docstring_promises():
    asked = teacher.task(prompt(case((47, 38), ("47 + 38 = 85.", "47 + 38 = 83."))))
    assert asked == teacher.Task((47, 38), (85, 83))
    assert teacher.chain(asked, random.Random(0), 0.0) == (
        "7 + 8 = 15, carry 1. 4 + 3 + 1 = 8. 47 + 38 = 85. A says 85, right. B says 83, wrong. "
        "<answer>[[A]]</answer>"
    )
    assert teacher.task("What is love?\n\n[Reply A]\n1\n\n[Reply B]\n2\n\n[End of reply B]") is None
    assert teacher.task("What is 1 + 1?") is None


@given(st.integers(0, 99999), st.integers(0, 99999), st.integers(1, 50), st.booleans(), st.integers(0, 99))
def test_the_teacher_adds_and_prefers_the_right_reply(x: int, y: int, off: int, swap: bool, seed: int):
    said = (f"{x} + {y} = {x + y}.", f"It is {x + y + off}")
    asked = teacher.task(prompt(case((x, y), said[::-1] if swap else said)))
    text = teacher.chain(asked, random.Random(seed), 0.0)
    digits = re.findall(r"= (\d+)[.,]", teacher.columns(x, y))
    assert int(digits[-1] + "".join(d[-1] for d in reversed(digits[:-1]))) == x + y
    assert winner(pairwise_short().parse(Completion(text)).scores) == swap
    wrong = teacher.chain(asked, random.Random(seed), 1.0)
    assert winner(pairwise_short().parse(Completion(wrong)).scores) in (None, 1 - swap)


def test_the_teacher_teaches_through_the_real_distillation(tmp_path: Path):
    rows = [
        f'{{"prompt": "What is {x} + {x + 1}?", "chosen": "{2 * x + 1}", "rejected": "{2 * x}"}}\n'
        for x in range(10, 40)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(rows))

    async def distilled() -> int:
        async with TestServer(teacher.server(0.3)) as server:
            words = ["distill", str(tmp_path / "pairs.jsonl"), "--engine", str(server.make_url("/v1")),
                     "--protocol", "pairwise-short", "--out", str(tmp_path / "run")]  # fmt: skip
            return await asyncio.to_thread(run, words)

    assert asyncio.run(distilled()) == 0
    kept = (tmp_path / "run" / "rows.jsonl").read_text().splitlines()
    assert 10 < len(kept) < 30
    assert all(re.search(r"says \d+, right\.", row) for row in kept)
