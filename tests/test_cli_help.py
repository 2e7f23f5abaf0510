"""Help has examples of every command; every command says the next one; a protocol of one's own."""

import json
import shlex
from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path
from typing import Any

from cyclopts import App
from make import jurist, write_pairs

from jurist.cli.main import app


def every_command() -> Iterator[tuple[str, Any]]:
    """Each command that does something, by the words that call it, and its function."""

    def below(group: App, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name in group:
            if not name.startswith("-"):
                command = group[name]
                yield from below(command, (*words, name))
                if command.default_command:
                    yield " ".join((*words, name)), command.default_command

    return below(app, ())


def test_the_help_of_every_command_has_three_examples_of_it():
    named = dict(every_command())
    assert {"judge", "train grpo", "data split", "help", "completion", "protocols pull"} <= set(named)
    for words, function in named.items():
        _, _, rest = (getdoc(function) or "").partition("Examples::")
        examples = [line for line in rest.partition("\n\nParameters")[0].splitlines() if line.strip()]
        assert len(examples) >= 3, words
        assert sum(f"jurist {words}" in line for line in examples) >= 2, words
        for line in examples:
            called = shlex.split(line, comments=True)
            if called[0] == "jurist" and called[1] != "help":
                called = called[: called.index("|")] if "|" in called else called
                app.parse_args(called[1:], exit_on_error=False, print_error=False)


def test_a_protocol_of_ones_own_stands_in_a_file(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from jurist.protocols.pairwise import pairwise\n"
        "from msgspec.structs import replace\n"
        "import dataclasses\n"
        "mine = dataclasses.replace(pairwise(), name='mine', summary='of my own')\n"
        "number = 3\n"
    )
    pair = (
        "judge",
        "--prompt",
        "q",
        "--response",
        "a",
        "--response",
        "b",
        "--engine",
        "scripted:[[A]]",
        "--json",
    )
    row = json.loads(jurist(*pair, "--protocol", f"{file}:mine").stdout)
    assert row["verdict"]["status"] == "ok"
    assert "'number' in" in jurist(*pair, "--protocol", f"{file}:number", code=2).stderr
    assert "is nothing, not a Protocol" in jurist(*pair, "--protocol", f"{file}:none", code=2).stderr
    assert "FileNotFoundError" in jurist(*pair, "--protocol", f"{tmp_path}/no.py:mine", code=2).stderr
    assert "FILE.py:NAME" in jurist("list", "protocols").stdout


def test_every_reading_ends_with_the_next_command(tmp_path: Path):
    run, pairs = tmp_path / "run", write_pairs(tmp_path / "pairs.jsonl", 3)
    judged = jurist("judge", pairs, "--engine", "scripted:<answer>[[A]]</answer>", "--out", run)
    case = "0"
    for done, next_one in (
        (judged, f"jurist show {run} {case}"),
        (jurist("show", run), f"jurist show {run} {case}"),
        (jurist("show", run, "0"), f"jurist show {run} --full {case}"),
        (jurist("show", run, "0", "--full"), f"jurist report {run}"),
        (jurist("export", run, "--format", "jsonl", "--out", tmp_path / "rows.jsonl"), f"jurist show {run}"),
        (jurist("score", run), f"jurist show {run}"),
        (jurist("list"), "jurist help judge"),
        (jurist("train", "presets"), "jurist train grpo pairs.jsonl --preset"),
        (
            jurist("data", "split", pairs, "--parts", "a=0.5,b=0.5", "--out", tmp_path / "parts"),
            "jurist train grpo",
        ),
    ):
        assert next_one in done.stderr.splitlines()[-1], done.args
