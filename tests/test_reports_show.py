"""`jurist show`: which decisions it lists, one case cut and whole, and the reader's pager."""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from make import jurist

from jurist.core.store import Store
from jurist.core.types import Case, Completion, Decision, Judgment, Message, Query, Sampling, Status, Verdict

LONG = "\n".join(f"line {i} of a long text" for i in range(200))
SCORES: dict[str, tuple[float, float] | None] = {
    "right": (1.0, 0.0),
    "wrong": (0.0, 1.0),
    "tie": (0.5, 0.5),
    "none": None,
}


def add(
    store: Store,
    name: str,
    kind: str,
    *,
    group: str | None = None,
    agreement: float = 1.0,
    text: str = "because",
    thinking: str | None = None,
    gold: tuple[float, float] | None = (1.0, 0.0),
) -> None:
    case = Case(name, (Message("user", f"question {name}"),), (f"good {LONG}", "bad"), gold=gold, group=group)
    scores = SCORES[kind]
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED)
    query = Query(name, (0, 1), 0, (Message("user", f"prompt {name}"),), Sampling())
    judgment = Judgment(query, Completion(text, thinking), verdict)
    store.begin(case)
    store.record(judgment)
    store.decide(Decision(name, verdict, (judgment,), agreement, gold, group), case.digest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decisions right, wrong, tie, none (no verdict) of two groups, and 40 more of a third."""
    run = tmp_path_factory.mktemp("show") / "run"
    with Store(run, {}) as store:
        add(store, "z-right", "right", group="math", text="Since PRIME numbers\nare few")
        add(store, "a-wrong", "wrong", group="math", agreement=0.5, thinking=LONG)
        add(store, "m-tie", "tie", group="code")
        add(store, "b-none", "none", group="code")
        add(store, "c-open", "tie", group="code", gold=None)
        for i in range(40):
            add(store, f"more {i}", "right", group="rest")
    return run


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--wrong"], ["a-wrong", "m-tie"]),
        (["--ties"], ["m-tie", "c-open"]),
        (["--unanswered"], ["b-none"]),
        (["--disagree"], ["a-wrong"]),
        (["--wrong", "--unanswered"], ["a-wrong", "m-tie", "b-none"]),
        (["--wrong", "--group", "code"], ["m-tie"]),
        (["--group", "math", "--group", "code"], ["z-right", "a-wrong", "m-tie", "b-none", "c-open"]),
        (["--search", "few prime"], ["z-right"]),
        (["--search", "line 199", "--wrong", "--disagree"], ["a-wrong"]),
        (["--search", "question nobody"], []),
    ],
)
def test_filters_add_up_and_narrow(folder: Path, options: list[str], ids: list[str]):
    done = jurist("show", folder, *options)
    assert re.findall(r"^([a-z]-\w+|more \d+|\w-\w+)  ", done.stdout, re.M) == ids
    assert f"{len(ids)} of 45 cases fit" in done.stderr
    lines = jurist("show", folder, *options, "--json").stdout.splitlines()
    decisions = [msgspec.json.decode(line, type=Decision) for line in lines]
    assert [decision.case_id for decision in decisions] == ids
    assert all(judgment.query.messages for decision in decisions for judgment in decision.judgments)


def test_a_list_is_in_the_order_of_the_input(folder: Path):
    lines = jurist("show", folder).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["z-right", "a-wrong", "m-tie", "b-none"]
    assert lines[-1] == "... and 21 more: --all lists them"
    assert len(lines) == 1 + 24 + 1


def test_what_is_left_out_of_those_that_fit_is_counted(folder: Path):
    done = jurist("show", folder, "--group", "rest")
    assert "... and 16 more: --all lists them" in done.stdout
    assert "40 of 45 cases fit" in done.stderr


def test_all_lists_every_row_in_columns_that_stay(folder: Path):
    lines = jurist("show", folder, "--all").stdout.splitlines()
    assert len(lines) == 1 + 45
    assert {line.index("  rest  ") for line in lines if "  rest  " in line} == {lines[0].index("  group ")}


def test_a_narrow_screen_folds_ids_only(folder: Path):
    lines = jurist("show", folder, "--wrong", width=60).stdout.splitlines()
    assert lines[0].split() == ["case", "verdict", "scores", "agreement", "tokens", "gold"]
    assert all(len(line) <= 60 for line in lines)
    assert [line.split()[-1] for line in lines[1:]] == ["wrong", "wrong"]


def test_no_verdict_is_neither_right_nor_wrong(folder: Path):
    (line,) = (x for x in jurist("show", folder).stdout.splitlines() if x.startswith("b-none"))
    assert "no verdict: unparsed" in line
    assert "wrong" not in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group", "maths"], "did you mean 'math'"),
        (["--group", "math", "--group", "nowhere"], "its groups: code, math, rest"),
        (["a-wrong", "--wrong"], "is one case"),
        (["--full"], "which?"),
    ],
)
def test_options_that_choose_nothing_are_refused(folder: Path, words: list[str], message: str):
    done = jurist("show", folder, *words, code=2)
    assert message in done.stderr
    assert not done.stdout


def test_what_is_cut_says_so_and_full_shows_it(folder: Path):
    cut, whole = (jurist("show", folder, "a-w", *full).stdout for full in ([], ["--full"]))
    assert "line 199" not in cut
    assert cut.count("more characters: --full]") == 2  # the response and the thinking
    assert "more characters" not in whole
    assert [whole.count(f"  line {i} of a long text") for i in (1, 199)] == [2, 2]
    assert "gold      response 1  (1, 0)  wrong" in whole


def test_a_response_of_several_turns_is_shown_whole(tmp_path: Path):
    turns = (Message("assistant", "first"), Message("user", "and then?"), Message("assistant", "second"))
    with Store(tmp_path / "run", {}) as store:
        case = Case("1", (Message("user", "q"),), (turns, "b"), reference="the key", rubric="be kind")
        store.begin(case)
        store.decide(Decision("1", Verdict((1.0, 0.0))), case.digest)
    text = jurist("show", tmp_path / "run", "1").stdout
    for part in ("[user]\n  and then?", "[assistant]\n  second", "the key", "be kind"):
        assert part in re.sub(r" +\n", "\n", text)


def test_an_empty_run_says_so(tmp_path: Path):
    with Store(tmp_path / "run", {}):
        pass
    assert "0 of 0 cases fit" in jurist("show", tmp_path / "run").stderr


def on_a_terminal(words: Sequence[object], **environment: str) -> str:
    """What a command writes to a terminal of 24 lines."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24", **environment}
    command = [sys.executable, "-m", "jurist", *map(str, words)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=settings
    ) as run:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:  # the terminal was closed at the other end
            pass
        run.wait()
    os.close(ours)
    assert run.returncode == 0
    return shown.decode()


def test_a_long_text_on_a_terminal_goes_to_the_pager(folder: Path, tmp_path: Path):
    paged = tmp_path / "paged"
    shown = on_a_terminal(["show", folder, "a-w", "--full"], PAGER="cat")
    assert "line 199" in shown  # cat is no pager
    pager = tmp_path / "my pager"
    pager.write_text(f"#!/bin/sh\ncat > {shlex.quote(str(paged))}\n")
    pager.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    (tmp_path / "mypager").symlink_to(pager)
    assert on_a_terminal(["show", folder, "a-w", "--full"], PAGER="mypager -x", **environment) == ""
    text = paged.read_text()
    assert text.count("line 199") == 2
    assert "\x1b" not in text  # a pager that is not known to show colours gets none


def test_a_short_text_on_a_terminal_needs_no_pager(folder: Path):
    shown = on_a_terminal(["show", folder, "--ties"], PAGER="false")
    assert "c-open" in shown


def test_a_pager_that_is_left_early_ends_the_list(folder: Path, tmp_path: Path):
    quits = tmp_path / "quits"
    quits.write_text("#!/bin/sh\nhead -n 2\n")
    quits.chmod(0o755)
    shown = on_a_terminal(["show", folder, "--all"], PAGER=str(quits))
    assert "z-right" in shown
    assert "more 39" not in shown


def test_a_pipe_and_json_have_no_pager(folder: Path):
    command = [sys.executable, "-m", "jurist", "show", str(folder), "--all"]
    environment = {**os.environ, "PAGER": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "more 39" in done.stdout
    assert '"more 39"' in on_a_terminal(["show", folder, "--json"], PAGER="false")
