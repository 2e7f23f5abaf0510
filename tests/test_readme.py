"""README and first pages of the docs are true: Python and commands run, tables name what there is."""

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
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("judging", "measuring", "python", "how-to-rm-r1")]
"""The pages whose commands and Python are run like the README's; those of the others are parsed."""

ALL = [ROOT / "README.md", *PAGES]
LINKED = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *DOCS]

# Commands that other tests run: they train, listen until a signal comes, or need files of a hub.
ELSEWHERE = ("train ", "serve ", "ablate ", "export ", "protocols ", "import rewardbench ")


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


PYTHON = [code for page in ALL for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)]
COMMANDS = [
    pytest.param(page.stem, words, id=f"{page.stem}: {' '.join(words)[:60]}")
    for page in ALL
    for line in commands(page.read_text())
    if not " ".join(words := words_of(line)).startswith(ELSEWHERE)
]


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
    """A judge of pairs: the reply with the greater "quality N" wins, without such the one shown first.

    The verdict is written as RRM does where the prompt asks for its box, else as RM-R1 does.
    """
    a, b = [*map(int, re.findall(r"quality (\d)", body["messages"][-1]["content"])), 1, 0][:2]
    if any("boxed{Assistant" in message["content"] for message in body["messages"]):
        return chat_reply(f"so </think> \\boxed{{Assistant {1 if a > b else 2}}}")
    return chat_reply(f"<answer>[[{'A' if a > b else 'B'}]]</answer>")


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The address of a server that judges."""
    with chat_server(prefer_quality) as url:
        yield url


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, engine: str) -> dict[str, Path]:
    """For each page a folder with the files that its commands name; what one writes the next ones read."""
    return {page.stem: _filled(tmp_path_factory.mktemp(page.stem), engine) for page in ALL}


def _filled(place: Path, engine: str) -> Path:
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
    # RewardBench and PPE come from a hub; RM-Bench has the published order too. The server's model is m.
    here = {
        "rewardbench,rm-bench,judgebench": "llmbar,rm-bench,judgebench",
        "OUTPUTS.jsonl": str(outputs),
        "CASE": "1",
    }
    words = [here.get(word, word) for word in words]
    if words[0] == "eval" and words[1] in ("rewardbench", "ppe-correctness"):
        words[1] = "rm-bench"
    if "--data" in words:
        words[(at := words.index("--data")) : at + 2] = []
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
    with Path("pairs.jsonl").open() as pairs:
        monkeypatch.setattr("sys.stdin", pairs)
        code = run(_runnable(words, engine, data))
    assert code == 0, capfd.readouterr().err


def test_there_is_something_to_test():
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 30


def test_every_name_is_in_the_documentation():
    table = (ROOT / "docs" / "judging.md").read_text()
    for name in (*PROTOCOLS, *BENCHMARKS, *DELIBERATIONS):
        assert f"`{name}" in table, name


def test_make_names_what_the_documentation_names():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for page in ALL:
        assert set(re.findall(r"`make ([\w-]+)", page.read_text())) <= set(targets), page


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in DOCS:
        assert page.name == "README.md" or f"({page.name})" in index, page.name


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        target, _, heading = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (path.parent / target) if target else path
        assert file.exists(), link
        if heading:
            assert heading in headings(file.read_text()), link


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_picture_is_small():
    assert (ROOT / "docs" / "images" / "report.png").stat().st_size <= 250_000


def test_version_is_the_same_everywhere():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"jurist-{version[1]}-py3-none-any.whl" in TEXT
