"""Ablations: what a recipe means, what is run once, and what the table says."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jurist.cli.ablate import ablate, check_commands
from jurist.cli.main import run
from jurist.core.errors import ConfigError, JuristError
from jurist.core.statistics import mcnemar, wilson
from jurist.training.ablation.plan import Stage, plan, with_flags
from jurist.training.ablation.recipe import read_recipe
from jurist.training.ablation.running import RECORDS, StageError, judging, measured_in, run_stage, settled
from jurist.training.ablation.table import training_cost

PAIRS = """
[pairs]
train = "pairs.jsonl"
held_out = "{split.held_out}"
limit = 8
[judge]
model = "tiny"
protocol = "pairwise-short"
max_tokens = 32
[flags]
train = "--micro-batch 2 --batch 4"
"train grpo" = "--batch 8"
[prepare]
split = "data split {train} --parts rl=0.5,held_out=0.5"
"""
ARMS = """
[[arm]]
name = "base"
[[arm]]
name = "sft"
stages = ["train sft {split.rl} --target answer"]
[[arm]]
name = "sft+grpo"
stages = ["train grpo {split.rl} --model {sft.model}"]
[[arm]]
name = "two"
stages = ["train sft {split.rl} --seed 1", "train grpo {split.rl} --model {previous.model}"]
[[arm]]
name = "three"
stages = ["train scalar {split.rl} --model {two.1.model}"]
"""

# Leaves what a training leaves; its judge says what its name tells it to.
TRAINING = """
import sys, json, pathlib
from jurist.cli.main import run
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
out = pathlib.Path(value("--out"))
with open(out.parents[1] / "calls", "a") as file:
    file.write(f"{out.name} {value('--model')}\\n")
# The better response stands first in the file: in that order alone, "A" is always right.
letter, how = ("B", "swapped") if "grpo" in words else ("A", "given")
for name, said in (("before", "nothing"), ("after", f"<answer>[[{letter}]]</answer>")):
    assert run(["judge", value("--held-out"), "--engine", f"scripted:{said}", "--deliberation", how,
                "--protocol", value("--protocol"), "--out", str(out / "held-out" / name)]) == 0
(out / "model").mkdir()
(out / "result.json").write_text(json.dumps(
    {"method": words[1], "model": value("--model"), "steps": 3, "seconds": 60.0, "tokens": 1000}))
"""


def recipe(folder: Path, text: str = PAIRS + ARMS, top: str = "") -> Path:
    path = folder / "recipe.toml"
    path.write_text(top + text)
    return path


def pairs(folder: Path, n: int = 24) -> None:
    rows = [{"id": str(i), "prompt": f"question {i}", "chosen": f"right {i}", "rejected": f"wrong {i}"}
            for i in range(n)]  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def stages_of(folder: Path, *only: str, **how: str) -> dict[str, Stage]:
    planned = plan(read_recipe(recipe(folder, **how)), folder / "run", only)
    return {stage.name: stage for stage in planned.stages}


def test_references_become_paths_and_stages_follow_their_inputs(tmp_path: Path):
    found, out = stages_of(tmp_path), tmp_path / "run"
    assert list(found)[:2] == ["prepare/split", "held-out"]
    assert found["sft+grpo/1-train-grpo"].option("--model") == str(out / "sft/1-train-sft/model")
    assert found["two/2-train-grpo"].option("--model") == str(out / "two/1-train-sft/model")
    assert found["three/1-train-scalar"].option("--model") == str(out / "two/1-train-sft/model")
    assert found["sft/1-train-sft"].words[2] == str(out / "prepare/split/rl.jsonl")
    seen: set[str] = set()
    for stage in found.values():
        assert set(stage.needs) <= seen
        seen.add(stage.name)


def test_flags_are_shared_and_the_more_special_one_wins(tmp_path: Path):
    found = stages_of(tmp_path)
    assert found["sft/1-train-sft"].option("--batch") == "4"
    assert found["sft+grpo/1-train-grpo"].option("--batch") == "8"
    assert found["sft/1-train-sft"].option("--eval-tokens") == "32"
    assert found["three/1-train-scalar"].option("--protocol") is None
    assert with_flags(["train", "--a", "1"], ["--a=2", "--field", "x", "--b", "3"]) == [
        "train", "--a", "1", "--field", "x", "--b", "3",
    ]  # fmt: skip


def test_only_takes_arms_with_what_they_refer_to_and_the_base(tmp_path: Path):
    planned = plan(read_recipe(recipe(tmp_path)), tmp_path, ["three"])
    assert [arm.name for arm in planned.arms] == ["base", "three"]
    names = [stage.name for stage in planned.stages]
    assert names == ["prepare/split", "held-out", "two/1-train-sft", "three/1-train-scalar"]
    assert [stage.name for stage in planned.trainings(planned.arms[1])] == names[2:]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("limit = 8", "limits = 8", "limits"),
        ("limit = 8", 'limit = "8"', r"pairs\.limit"),
        ("limit = 8", "limit = 0", "limit = 0"),
        ('name = "base"', 'name = "sft"', "taken twice"),
        ('name = "base"', 'name = "a b"', "is no name"),
        ('name = "base"', 'name = "previous"', "is no name"),
        ("max_tokens = 32", "max_token = 32", "max_token"),
        ("max_tokens = 32", 'deliberation = "once"', "both orders"),
        ("{sft.model}", "{sfd.model}", "unknown reference 'sfd.model'"),
        ("{sft.model}", "{sft.rows}", "leaves nothing called 'rows'"),
        ("{sft.model}", "{two.3.model}", "stages 1 to 2"),
        ("{sft.model}", "{previous.model}", "no stage before"),
        ("{sft.model}", "{sft+grpo.model}", "circle: sft"),
        ("{split.rl} --target", "{split.test} --target", "leaves nothing called 'test'"),
        ("train sft {split.rl} --target", "trian sft {split.rl} --target", "unknown command"),
        ("--seed 1", "--out x", "--out is no flag of a stage"),
        ("--seed 1", "--sead 1", "--sead"),
        ("--seed 1", "--seed one", "seed"),
        ("--seed 1", "--batch 0", "batch = 0"),
        ("--seed 1", "--preset rm-r2", "unknown preset 'rm-r2'"),
        ("pairwise-short", "pairwise-shirt", "unknown protocol 'pairwise-shirt'"),
        ("--seed 1", "'", "No closing quotation"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_said_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
):
    text = (PAIRS + ARMS).replace(old, new)
    assert text != PAIRS + ARMS
    path = recipe(tmp_path, text)
    with pytest.raises(JuristError, match=said):
        check_commands(plan(read_recipe(path), tmp_path / "run").stages)
    assert run(["ablate", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "recipe.toml" in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "run").exists()


def test_a_wrong_arm_or_base_is_named(tmp_path: Path):
    with pytest.raises(JuristError, match="unknown arm 'stf'"):
        plan(read_recipe(recipe(tmp_path)), tmp_path, ["stf"])
    with pytest.raises(JuristError, match="unknown arm"):
        read_recipe(recipe(tmp_path, top='base = "bass"\n'))


def test_a_training_measures_its_arm_only_where_it_asks_the_same(tmp_path: Path):
    def places(text: str) -> list[str | None]:
        planned = plan(read_recipe(recipe(tmp_path, text)), tmp_path)
        found = [measured_in(planned, arm) for arm in planned.arms[:2]]
        return [str(folder.relative_to(tmp_path)) if folder else None for folder in found]

    whole = PAIRS + ARMS
    trained = ["sft/1-train-sft/held-out/before", "sft/1-train-sft/held-out/after"]
    assert places(whole) == trained
    assert places(whole.replace("max_tokens = 32\n", "")) == [None, None]
    for flag in ("--protocol pairwise", "--eval-tokens 16", "--eval-limit 4"):
        assert places(whole.replace("--target answer", flag))[1] is None
    reflex = whole.replace('name = "sft"\n', 'name = "sft"\njudge = { forced = "always" }\n')
    assert places(reflex)[1] is None


def test_judges_are_asked_as_their_kind_is_asked(tmp_path: Path):
    planned = plan(read_recipe(recipe(tmp_path)), tmp_path)
    base, scalar = (judging(planned, arm) for arm in (planned.arms[0], planned.arms[4]))
    assert base.words[:6] == (
        "judge", str(tmp_path / "held-out.jsonl"), "--engine", "transformers", "--model", "tiny",
    )  # fmt: skip
    assert "swapped" in base.words
    assert f"scalar:{tmp_path}/three/1-train-scalar/model" in scalar.words
    assert "swapped" not in scalar.words
    assert settled(base) == base


def test_a_dry_run_prints_every_command_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    assert run(["ablate", str(recipe(tmp_path)), "--out", str(out), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("jurist train")]) == 5
    assert not out.exists()


def test_an_ablation_shares_stages_and_compares_with_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path)
    (tmp_path / "training.py").write_text(TRAINING)
    text = (PAIRS + ARMS).split('[[arm]]\nname = "two"')[0]
    shape = recipe(tmp_path, text, top=f'launch = "{sys.executable} training.py"\n')
    command = ["ablate", str(shape), "--out", "run", "--json"]
    assert run(command) == 0
    table = json.loads(capsys.readouterr().out)
    assert (tmp_path / "run/calls").read_text().splitlines() == [
        "1-train-sft tiny",
        "1-train-grpo run/sft/1-train-sft/model",
    ]
    base, sft, grpo = table["rows"]
    n = table["n"]
    assert (tmp_path / "run/held-out.jsonl").read_text().count("\n") == n == 8
    assert (base["accuracy"], base["unanswered"], base["first"], base["p"]) == (0, 1, None, None)
    assert (sft["accuracy"], sft["first"], sft["consistent"], sft["unanswered"]) == (1, 1, None, 0)
    assert (sft["difference"], sft["p"], sft["corrected"]) == (1, mcnemar(n, 0), 2 * mcnemar(n, 0))
    # Who says B in both orders contradicts itself: ties, and ties are wrong.
    assert (grpo["accuracy"], grpo["first"], grpo["consistent"], grpo["p"]) == (0, 0, 0, 1)
    assert sft["interval"] == list(wilson(n, n))
    assert (base["seconds"], sft["seconds"], grpo["seconds"]) == (0, 60, 120)
    assert (base["training_tokens"], grpo["training_tokens"]) == (None, 2000)
    written = (tmp_path / "run/ABLATION.md").read_text()
    assert "| sft+grpo | 0.0% |" in written
    assert "2.0 min" in written
    assert json.loads((tmp_path / "run/ablation.json").read_text()) == table

    assert run(command) == 0
    assert json.loads(capsys.readouterr().out) == table
    assert len((tmp_path / "run/calls").read_text().splitlines()) == 2, "what was done is not done again"
    shape.write_text(shape.read_text().replace("--target answer", "--target answer --seed 7"))
    assert run(command) == 2
    assert "was made by another command" in capsys.readouterr().err.replace("\n", " ")


def _stage(folder: Path, code: str, *reads: str) -> Stage:
    launch = (sys.executable, "-c", code)
    return Stage("prepare/one", ("data", "mix"), folder / "one.jsonl", reads=reads, launch=launch)


def test_a_stage_reruns_only_if_its_input_or_output_changed(tmp_path: Path):
    source, records = tmp_path / "in", tmp_path / RECORDS
    source.write_text("1")
    stage = _stage(tmp_path, f"open({str(tmp_path / 'one.jsonl')!r}, 'a').write('x')", str(source))
    done = [run_stage(stage, records, lambda _: None) for _ in range(2)]
    source.write_text("2")
    done.append(run_stage(stage, records, lambda _: None))
    stage.out.unlink()
    done.append(run_stage(stage, records, lambda _: None))
    assert done == [True, False, True, True]
    assert stage.out.read_text() == "x"


def test_a_stage_that_fails_is_named_and_not_recorded(tmp_path: Path):
    with pytest.raises(StageError, match="stage prepare/one ended with 3"):
        run_stage(_stage(tmp_path, "raise SystemExit(3)"), tmp_path / RECORDS, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        run_stage(_stage(tmp_path, "raise SystemExit(130)"), tmp_path / RECORDS, lambda _: None)
    assert not (tmp_path / RECORDS).exists()


def test_an_interrupt_reaches_the_stage_and_ends_the_ablation(tmp_path: Path):
    pairs(tmp_path)
    waiting = "import time, pathlib\ntry:\n pathlib.Path('up').touch(); time.sleep(60)\n" \
        "except KeyboardInterrupt:\n pathlib.Path('told').touch(); raise SystemExit(130)\n"  # fmt: skip
    (tmp_path / "training.py").write_text(waiting)
    shape = recipe(tmp_path, top=f'out = "run"\nlaunch = "{sys.executable} training.py"\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "jurist", "ablate", str(shape)], cwd=tmp_path, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"goes on where it stopped" in said
    assert (tmp_path / "told").exists()


def test_tokens_of_a_resumed_training_are_added_up(tmp_path: Path):
    (tmp_path / "result.json").write_text('{"method": "sft", "model": "m", "steps": 4, "seconds": 9.5}')
    counts = [100, 200, 50, 150]
    lines = [{"step": i, "epoch": 0, "seconds": i, "num_tokens": n} for i, n in enumerate(counts, 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training_cost([tmp_path]) == (9.5, 350)
    assert training_cost([]) == (0, None)


def test_what_is_missing_is_said_before_the_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JuristError, match=r"there is no pairs\.jsonl"):
        ablate(recipe(tmp_path), out=tmp_path / "run")
    with pytest.raises(ConfigError, match="names no run folder"):
        ablate(recipe(tmp_path))
