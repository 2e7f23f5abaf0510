"""The README is true: its Python and its commands run, its table names what there is."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from make import chat_reply, chat_server, write_pairs
from shared import shared

from jurist.cli.main import app, run
from jurist.judging.registry import BENCHMARKS, DELIBERATIONS, PROTOCOLS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))

# Commands that other tests run: they train, listen until a signal comes, or need files of a hub.
ELSEWHERE = ("train ", "serve ", "ablate ", "export ", "protocols ")


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


PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)
COMMANDS = [words for line in commands(TEXT) if not " ".join(words := words_of(line)).startswith(ELSEWHERE)]


@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code: str):
    if "jurist.judge(" in code:
        pytest.importorskip("openvino_genai", reason="the extra 'embedded' is not installed")
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("path", [ROOT / "README.md", *DOCS], ids=lambda path: path.name)
def test_every_command_of_the_documentation_parses(path: Path):
    for line in commands(path.read_text()):
        words = words_of(line)
        if "..." not in words:
            app.parse_args(words, exit_on_error=False, print_error=False)


def prefer_quality(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A judge of pairs: the reply with the greater "quality N" wins, without such the one shown first."""
    a, b = [*map(int, re.findall(r"quality (\d)", body["messages"][-1]["content"])), 1, 0][:2]
    return chat_reply(f"<answer>[[{'A' if a > b else 'B'}]]</answer>")


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The address of a server that judges."""
    with chat_server(prefer_quality) as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Path:
    """A folder with the files that the commands name; what one command writes the next ones read."""
    place = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", place / "examples")
    write_pairs(place / "pairs.jsonl", 30)
    for name in ("raw", "train"):
        rows = [
            {"prompt": f"What do you think of {i}?", "chosen": f"fine: {i}", "rejected": f"bad: {i}"}
            for i in range(6)
        ]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    row = {"id": "1", "prompt": "q", "responses": [f"quality {i}" for i in (3, 2, 1)], "gold": 0}
    (place / "candidates.jsonl").write_text(json.dumps(row) + "\n")
    row = {"prompt": "q", "responses": ["quality 3"], "anchors": ["quality 2", "quality 1"]}
    (place / "answers.jsonl").write_text(json.dumps(row) + "\n")
    pairs = str(place / "pairs.jsonl")
    for name in ("cheap", "thorough"):
        words = ["judge", pairs, "--engine", engine, "--deliberation", "given", "--out"]
        assert run([*words, str(place / "runs" / name)]) == 0
    return place


def _runnable(words: list[str], engine: str, data: Path) -> list[str]:
    """The command with an engine that answers at once, and with the data that is here."""
    outputs = next((data / "judgebench" / "outputs").glob("*o1-mini*"), Path("OUTPUTS.jsonl"))
    here = {
        "rewardbench,rm-bench,judgebench": "llmbar,rm-bench,judgebench",
        "OUTPUTS.jsonl": str(outputs),
        "CASE": "1",
        "rm-r1": "rubrics",
    }
    # The judge's own prompts are fetched from where they are published; the server's model is m.
    words = [here.get(word, word) for word in words]
    if "--model" in words:
        words[words.index("--model") + 1] = "m"
    command = " ".join(words[:2])
    if "--engine" in words:
        words[words.index("--engine") + 1] = engine
    elif command.startswith(("judge ", "rank ", "best-of-n ", "label ", "curve ", "distill ")):
        words += ["--engine", engine]
    if words[0] in ("eval", "curve"):
        words += ["--limit", "6"]
    if words[0] in ("eval", "curve", "overlap") or words[:2] == ["data", "pairs"]:
        words += ["--data", str(data)]
    return words


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:60])
def test_commands_run(
    words: list[str],
    folder: Path,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    data = shared("judgebench").parent
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", (folder / "pairs.jsonl").open())
    code = run(_runnable(words, engine, data))
    assert code == 0, capfd.readouterr().err


def test_there_is_something_to_test():
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 8


def test_every_name_is_in_the_readme():
    for name in (*PROTOCOLS, *BENCHMARKS, *DELIBERATIONS):
        assert f"`{name}" in TEXT, name


def test_make_names_what_the_readme_names():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"make (\w+)", TEXT)) <= set(targets)
