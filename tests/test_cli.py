"""The command line from outside: what it prints where, what it keeps, and what survives kill -9."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Semaphore
from typing import Any
from unittest import mock

import msgspec
import pytest
from make import chat_reply, chat_server, jurist, write_pairs
from rich.console import Console
from shared import shared

from jurist.cli import console
from jurist.cli.main import COMMANDS
from jurist.core.runs import read_decisions, read_judgments
from jurist.core.types import Decision, Scorecard
from jurist.judging.pool import RunProgress

JURIST = [sys.executable, "-c", "from jurist.cli.main import main; main()"]
A = "scripted:<answer>[[A]]</answer>"


def test_help_and_list_name_everything():
    text = jurist("--help").stdout
    for command in COMMANDS:
        assert command in text
    names = json.loads(jurist("list", "--json").stdout)
    assert {"rubrics", "rm-r1", "rrm", "pairwise", "pointwise"} <= set(names["protocols"])
    assert {"judgebench", "llmbar"} <= set(names["benchmarks"])
    plain = jurist("list").stdout
    assert all(name in plain for rows in names.values() for name in rows)


def test_judge_prints_the_table_and_keeps_the_run(tmp_path: Path):
    pairs, run = write_pairs(tmp_path / "pairs.jsonl", 3), tmp_path / "run"
    done = jurist("judge", pairs, "--engine", A, "--deliberation", "given", "--out", run)
    assert "overall" in done.stdout
    assert "100.00%" in done.stdout
    assert "3 judgments: 3 ok" in done.stdout
    assert "judge: scripted" in done.stderr
    assert {"cases.jsonl", "decisions.jsonl", "judgments.jsonl", "run.json", "scorecard.json"} <= {
        p.name for p in run.iterdir()
    }
    card = msgspec.json.decode((run / "scorecard.json").read_bytes(), type=Scorecard)
    assert card.headline is not None
    assert card.headline.value == 1.0
    again = jurist("judge", pairs, "--engine", A, "--deliberation", "given", "--out", run)
    assert "3 decisions and 3 judgments are kept" in again.stderr
    assert len(list(read_judgments(run))) == 3


def test_standard_output_is_data_when_piped(tmp_path: Path):
    rows = write_pairs(tmp_path / "pairs.jsonl", 2).read_text()
    done = jurist("judge", "-", "--engine", A, stdin=rows)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["case_id"] for row in rows] == ["0", "1"]
    assert rows[0]["verdict"]["scores"] == [0.5, 0.5]
    assert rows[0]["judgments"][1]["query"]["order"] == [1, 0]
    assert rows[0]["judgments"][1]["completion"]["text"] == "<answer>[[A]]</answer>"
    assert "both orders agree on 0.0%" in done.stderr.lower()


def test_one_case_is_printed_for_reading():
    text = (
        "<type>Chat</type><rubric>1. Kindness (100%): is kind</rubric>"
        "<eval><quote_A>hello</quote_A> is kind</eval><answer>[[A]]</answer>"
    )
    done = jurist(
        "judge",
        "--prompt",
        "greet me",
        "--response",
        "hello",
        "--response",
        "-go",
        "--engine",
        f"scripted:{text}",
    )
    for words in ("Kindness", "100%", "“hello” (response 1)", "verdict", "written by the model"):
        assert words in done.stdout
    data = jurist("judge", "--prompt", "q", "--response", "a", "--response", "b", "--engine", A, "--json")
    assert json.loads(data.stdout)["verdict"]["scores"] == [0.5, 0.5]


def test_show_reads_one_case_and_names_the_nearest(tmp_path: Path):
    pairs, run = write_pairs(tmp_path / "pairs.jsonl", 12), tmp_path / "run"
    jurist("judge", pairs, "--engine", A, "--out", run)
    assert "case 7" in jurist("show", run, "7").stdout
    whole = [
        msgspec.json.decode(line, type=Decision) for line in jurist("show", run, "--json").stdout.splitlines()
    ]
    assert len(whole) == 12
    assert whole[0].judgments[0].query.messages
    assert "did you mean '1" in jurist("show", run, "1x", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["judge", "PAIRS", "--engine", "embeded"], "did you mean 'embedded'"),
        (["judge", "PAIRS", "--engine", A, "--protocol", "rubrix"], "did you mean 'rubrics'"),
        (["judge", "PAIRS", "--engine", A, "--deliberation", "vote(0)"], "asks nothing"),
        (["judge", "nowhere.jsonl", "--engine", A], "no such file"),
        (["judge", "--engine", A], "give a source"),
        (["judge", "--prompt", "q", "--engine", A], "no response to judge"),
        (["judge", "--prompt", "q", "--response", "a", "--engine", A], "pointwise"),
        (["judge", "PAIRS", "--engine", "http://127.0.0.1:9/v1", "--retry-for", "0"], "no server answers"),
        (["judge", "PAIRS", "--engine", "replay:nowhere"], "not a run folder"),
        (["eval", "judgebank", "--data", ".", "--engine", A], "did you mean 'judgebench'"),
        (["score", "nowhere"], "not a run folder"),
        (["protocols", "pull", "rmr1"], "did you mean 'rm-r1'"),
    ],
)
def test_mistakes_exit_2_with_a_hint_and_no_data(tmp_path: Path, arguments: list[str], words: str):
    pairs = str(write_pairs(tmp_path / "pairs.jsonl", 2))
    done = jurist(*[pairs if a == "PAIRS" else a for a in arguments], code=2)
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bad_row_stops_or_is_skipped_and_listed(tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 2)
    pairs.write_text(pairs.read_text() + '{"prompt": "q", "responses": ["a"], "gold": [1, 0]}\n')
    assert "pairs.jsonl:3" in jurist("judge", pairs, "--engine", A, code=2).stderr
    done = jurist("judge", pairs, "--engine", A, "--skip-bad")
    assert "1 bad rows were left out" in done.stderr
    pairs.write_text(pairs.read_text() + '{"id": "trio", "prompt": "q", "responses": ["a", "b", "c"]}\n')
    told = jurist("judge", pairs, "--engine", A, "--skip-bad").stderr
    assert f"{pairs}: case 'trio' has 3 responses" in told
    assert len(done.stdout.splitlines()) == 2


def test_a_config_file_holds_the_flags_and_flags_win(tmp_path: Path):
    pairs, config = write_pairs(tmp_path / "pairs.jsonl", 1), tmp_path / "jurist.toml"
    config.write_text(f'engine = "{A}"\ndeliberation = "given"\nprotocol = "pairwise"\n')
    done = jurist("judge", pairs, "--config", config, "--protocol", "rubrics")
    assert "protocol rubrics, deliberation given" in done.stderr
    config.write_text('engin = "x"\n')
    assert "did you mean 'engine'" in jurist("judge", pairs, "--config", config, code=2).stderr


def test_kill_9_loses_nothing_and_the_same_command_goes_on(tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 4_000)
    command = ["judge", str(pairs), "--engine", A, "--out"]
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*JURIST, *command, str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in _until(20):
        if (run / "judgments.jsonl").exists() and (run / "judgments.jsonl").stat().st_size > 200_000:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = _whole_keys(run)
    assert 0 < len(before) < 8_000
    jurist(*command, run)
    after = _whole_keys(run)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 8_000
    assert len(list(read_decisions(run))) == 4_000


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path):
    pairs, run = write_pairs(tmp_path / "pairs.jsonl", 30_000), tmp_path / "run"
    command = [*JURIST, "judge", str(pairs), "--engine", A, "--out", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in _until(20):
        if (run / "judgments.jsonl").exists() and (run / "judgments.jsonl").stat().st_size > 100_000:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "goes on where it stopped" in errors
    assert "Traceback" not in errors


def test_a_log_file_gets_a_line_of_progress_now_and_then(tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 500)
    code = "import jurist.cli.console as s; s.EVERY = 0.05; from jurist.cli.main import main; main()"
    command = [sys.executable, "-c", code, "judge", str(pairs), "--engine", A, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "/500 decided" in done.stderr


def test_import_and_score_give_the_published_number(tmp_path: Path):
    outputs = shared("judgebench") / "outputs"
    (file,) = outputs.glob("*o1-mini*")
    done = jurist("import", "judgebench", file, "--out", tmp_path / "run")
    assert "65.71%" in done.stdout
    card = json.loads(jurist("score", tmp_path / "run", "--json").stdout)
    assert round(100 * card["headline"]["value"], 2) == 65.71


def test_eval_scores_real_benchmarks(tmp_path: Path):
    data = shared("judgebench").parent
    out = tmp_path / "x"
    done = jurist("eval", "judgebench,llmbar", "--data", data, "--engine", A, "--out", out, "--limit", 20)
    assert "20 of 350 cases, not the official score" in done.stdout
    assert "20 of 419 cases" in done.stdout
    assert (out / "judgebench" / "scorecard.json").exists()
    assert "llmbar" in jurist("score", out / "llmbar").stdout


def _until(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s")


def _whole_keys(run: Path) -> list[str]:
    lines = (run / "judgments.jsonl").read_bytes().splitlines(keepends=True)
    return [json.loads(line)["key"] for line in lines if line.endswith(b"\n")]


def test_the_best_of_many_is_found_by_a_tournament(tmp_path: Path):
    rows = tmp_path / "many.jsonl"
    rows.write_text(json.dumps({"prompt": "q", "responses": ["a", "b", "c", "d", "e"], "gold": 0}) + "\n")
    done = jurist("judge", rows, "--engine", A, "--deliberation", "knockout(given)")
    row = json.loads(done.stdout)
    assert len(row["judgments"]) == 4
    assert row["winner"] == row["verdict"]["scores"].index(1.0)
    assert "any number" not in done.stderr
    wrong = jurist("judge", rows, "--engine", A, code=2)
    assert "knockout" in wrong.stderr


def last_one(
    n: int, reply: tuple[int, dict[str, Any]]
) -> Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]:
    """A server that gives question 0 its reply when n others were answered; to them A wins."""
    answered = Semaphore(0)

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "question 0\n" not in body["messages"][-1]["content"]:
            answered.release()
            return chat_reply("<answer>[[A]]</answer>")
        for _ in range(n):
            answered.acquire(timeout=60)
        return reply

    return answer


def test_standard_output_keeps_the_order_of_the_source(tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 12)
    with chat_server(last_one(11, chat_reply("<answer>[[A]]</answer>"))) as url:
        words = ("judge", pairs, "--engine", url, "--deliberation", "given", "--json")
        in_order, as_completed = jurist(*words), jurist(*words, "--as-completed")
    ids = [json.loads(line)["case_id"] for line in in_order.stdout.splitlines()]
    assert ids == [str(i) for i in range(12)]
    ids = [json.loads(line)["case_id"] for line in as_completed.stdout.splitlines()]
    assert ids.index("0") > 6
    assert sorted(ids, key=int) == [str(i) for i in range(12)]


def test_waiting_decisions_are_written_at_the_end(tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 12)
    with chat_server(last_one(11, (400, {"error": {"message": "no"}}))) as url:
        stop = ("--give-up-after", 1, "--retry-for", 0)
        done = jurist("judge", pairs, "--engine", url, "--deliberation", "given", "--json", *stop, code=2)
    ids = [int(json.loads(line)["case_id"]) for line in done.stdout.splitlines()]
    assert ids == sorted(ids)
    assert 6 < len(ids) < 12
    assert 0 not in ids


def test_the_pace_counts_what_was_decided_now():
    now = RunProgress(decisions=60, kept=50, judgments=120, remembered=100, tokens=400, graded=20, right=15)
    pace = console._pace(now, 4.0, 100)
    assert pace.rate == "5.0 judgments/s, 100 tokens/s"
    assert pace.right == "75% right of 20"
    assert pace.left == 16.0  # 10 cases took 4 seconds, 40 are left
    assert console._pace(RunProgress(decisions=50, kept=50), 4.0, 100).left is None
    assert console._pace(now, 4.0, None).left is None


def test_rows_stand_on_the_terminal_before_the_end(tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 8)
    seen = io.StringIO()
    terminal = Console(file=seen, force_terminal=True, width=100)

    def slow(_: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        time.sleep(0.3)
        return chat_reply("<answer>[[A]]</answer>")

    with chat_server(slow) as url, mock.patch.object(console, "err", terminal):
        jurist(
            "judge",
            pairs,
            "--engine",
            url,
            "--concurrency",
            1,
            "--deliberation",
            "given",
            "--out",
            tmp_path / "r",
        )
    before, _, _ = seen.getvalue().partition("read one")
    assert "8/8" in before
    assert "right of" in before
    assert re.search(r"0:00:0\d left", before)
    assert "response 1" in before  # a row of the running table
