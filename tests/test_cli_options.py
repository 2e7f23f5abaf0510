"""Options, help and errors of the command line, and what a run with failures says."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from make import chat_server, write_pairs

import jurist
from jurist.api import JudgeOptions
from jurist.cli.main import COMMANDS, run
from jurist.cli.runs import write_parquet
from jurist.core.errors import ConfigError
from jurist.core.runs import read_decisions
from jurist.judging.config import JudgeConfig

A = "scripted:<answer>[[A]]</answer>"
Printed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def printed(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Printed:
    """Runs a command in this process: its exit code, standard output and standard error."""
    from jurist.cli import console

    for screen in (console.err, console.out):
        monkeypatch.setattr(screen, "_width", 300)

    def call(*words: object) -> tuple[int, str, str]:
        code = run([str(word) for word in words])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    "command", [*COMMANDS, "data pairs", "data mix", "train sft", "train export", "plan judge", "plan grpo"]
)
def test_every_command_shows_examples_and_its_own_options(command: str, printed: Printed):
    code, text, _ = printed("help", *command.split())
    assert code == 0
    if command not in ("data", "train", "protocols", "plan"):
        assert text.count(f"jurist {command}") >= 2
    assert "--config FILE.toml" in text


def test_options_of_a_judge_are_in_groups_with_resolved_defaults(printed: Printed):
    text = printed("judge", "--help")[1]
    for group in ("What is judged", "Judge", "Sampling and thinking", "Deliberation", "Network", "Output"):
        assert f"╭─ {group} " in text
    assert "--engine -e" in text
    assert "[default: by the protocol" in " ".join(text.split())


def test_completion_is_printed_for_each_shell(printed: Printed):
    for shell in ("bash", "zsh", "fish"):
        code, text, _ = printed("completion", shell)
        assert code == 0
        assert "best-of-n" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["judge", "--temperatur", "3"], "did you mean --temperature?"),
        (["judge", "--promt", "x", "--response", "a"], "did you mean --prompt?"),
        (["juge"], 'Did you mean "judge"'),
        (["judge", "PAIRS", "--temperature", "warm"], 'unable to convert "warm"'),
        (["judge", "PAIRS", "--out", ""], "it is empty"),
        (["judge", "PAIRS", "--out="], "it is empty"),
        (["data", "split"], "requires an argument"),
        (["show"], "jurist show --help"),
        (["judge", "PAIRS", "--prompt", "x"], "give a source of cases, or --prompt"),
        (["list", "protokols"], "did you mean 'protocols'"),
    ],
)
def test_a_mistake_is_one_error_with_a_hint(words: list[str], message: str, printed: Printed, tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 1)
    code, data, errors = printed(*[str(pairs) if word == "PAIRS" else word for word in words])
    assert (code, data) == (2, "")
    assert errors.startswith("error: ")
    assert "\nhint: " in errors
    assert message in errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("concurrency = true", "concurrency = true is not a number"),
        ("engine = true", "engine = true is not a text"),
        ("json = 1", "json = 1 is not true or false"),
        ("[engine]\nname = 1", "engine is a table"),
        ("temperatur = 0.5", "did you mean 'temperature'"),
    ],
)
def test_a_config_file_is_checked(line: str, message: str, printed: Printed, tmp_path: Path):
    (tmp_path / "jurist.toml").write_text(line)
    code, _, errors = printed(
        "judge", write_pairs(tmp_path / "p.jsonl", 1), "--config", tmp_path / "jurist.toml"
    )
    assert code == 2
    assert message in errors


def test_config_with_an_equals_sign_and_short_flags_that_win(printed: Printed, tmp_path: Path):
    (tmp_path / "jurist.toml").write_text('engine = "nonsense"\ndeliberation = "given"\njson = true\n')
    pairs = write_pairs(tmp_path / "p.jsonl", 1)
    code, data, _ = printed("judge", pairs, f"--config={tmp_path / 'jurist.toml'}", "-e", A)
    assert code == 0
    assert len(json.loads(data)["judgments"]) == 1


def test_one_case_from_the_command_line_is_kept(printed: Printed, tmp_path: Path):
    words = ("judge", "--prompt", "q", "--response", "a", "--response", "b", "-e", A, "-o", tmp_path / "run")
    code, text, errors = printed(*words)
    assert code == 0
    assert "judgment  A = response 1" in text
    assert f"jurist show {tmp_path / 'run'} 1" in errors
    assert [d.case_id for d in read_decisions(tmp_path / "run")] == ["1"]
    assert "are kept" in printed(*words)[2]


def test_show_takes_the_beginning_of_an_id(printed: Printed, tmp_path: Path):
    rows = [{"id": f"{name}-case", "prompt": "q", "responses": ["a", "b"]} for name in ("ant", "ape", "bee")]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed("judge", tmp_path / "p.jsonl", "-e", A, "-o", tmp_path / "run")
    assert "case bee-case" in printed("show", tmp_path / "run", "b")[1]
    assert "2 cases" in printed("show", tmp_path / "run", "a")[2]
    assert "did you mean 'bee-case'" in printed("show", tmp_path / "run", "bea-case")[2]


def test_a_damaged_run_is_counted_without_its_lost_lines(printed: Printed, tmp_path: Path):
    pairs, out = tmp_path / "p.jsonl", tmp_path / "run"
    pairs.write_text("".join(f'{{"prompt":"{i}","chosen":"a","rejected":"b"}}\n' for i in range(3)))
    words = ["judge", str(pairs), "--engine", "scripted:<answer>[[A]]</answer>", "--deliberation", "given"]
    assert printed(*words, "--out", out)[0] == 0
    lines = (out / "judgments.jsonl").read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"[[A]]", b"[[B]]")
    (out / "judgments.jsonl").write_bytes(b"".join(lines))
    code, shown, _ = printed("score", out)
    assert (code, "Damaged records of the run, not counted: 1." in shown) == (0, True)
    assert json.loads((out / "scorecard.json").read_bytes())["lost"] == 1
    assert json.loads(printed("score", out, "--json")[1])["lost"] == 1


def test_show_names_the_winner_of_a_tournament(printed: Printed):
    words = [word for text in ("w", "x", "y", "z") for word in ("--response", text)]
    code, text, _ = printed("rank", "--prompt", "q", *words, "-e", A, "--deliberation", "round_robin(given)")
    assert code == 0
    for shown, said in re.findall(r"judgment  A = response (\d).*?verdict  response (\d)", text, re.S):
        assert shown == said
    assert text.count("verdict  response 3") == 1


@pytest.mark.parametrize(
    ("command", "message", "status"),
    [
        ("judge", "System role not supported", "failed"),
        ("judge", "maximum context length is 2048 tokens", "truncated"),
        ("rank", "no", "failed"),
        ("best-of-n", "no", "failed"),
    ],
)
def test_a_run_without_an_answer_says_why_and_ends_with_1(
    command: str, message: str, status: str, printed: Printed, tmp_path: Path
):
    pairs = write_pairs(tmp_path / "p.jsonl", 3)
    with chat_server(lambda _: (400, {"error": {"message": message}})) as url:
        code, data, errors = printed(
            command, pairs, "-e", url, "--retry-for", 0, "-o", tmp_path / "run", "-p", "rubrics"
        )
    text = data + errors
    assert code == 1
    assert f"6 x {status}: " in text
    assert message.removesuffix("2048 tokens") in text
    assert "no score: none of 6 judgments has a verdict" in text
    assert "0.00%" not in text
    assert "exit code 1" in errors


def test_texts_without_a_verdict_are_explained(printed: Printed, tmp_path: Path):
    code, data, errors = printed(
        "judge", write_pairs(tmp_path / "p.jsonl", 2), "-e", "scripted:well", "--json"
    )
    assert code == 0
    assert len(data.splitlines()) == 2
    assert "4 x unparsed" in errors
    assert "--forced missing" in errors


def test_python_keywords_are_the_flags_and_typos_are_named():
    assert set(JudgeOptions.__annotations__) == {f.name for f in fields(JudgeConfig)}
    with pytest.raises(ConfigError, match="no option 'temprature'") as error:
        jurist.judge("q", ["a", "b"], engine=A, temprature=1)  # pyright: ignore[reportCallIssue]
    assert "'temperature'" in error.value.hint
    config = JudgeConfig(engine=A, deliberation="swapped")
    assert len(jurist.judge("q", ["a", "b"], config=config, deliberation="given").judgments) == 1
    with pytest.raises(ConfigError, match="out is empty"):
        jurist.judge_all([], out="", engine=A)
    assert set(jurist.__all__) <= set(dir(jurist))


def test_rows_of_python_are_judged_as_those_of_files():
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "responses": "ab"}]
    bad: list[Exception] = []
    decisions = jurist.judge_all(rows, engine=A, skip_bad=True, on_bad=bad.append)
    assert [d.gold for d in decisions] == [(1.0, 0.0)]
    assert "row 2" in str(bad[0])
    assert len(jurist.judge_all(rows, engine=A, limit=1)) == 1


def test_a_table_has_the_columns_of_all_its_rows(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")

    def rows() -> Iterator[dict[str, object]]:
        for i in range(2500):
            late = {"late": i / 2} if i > 1500 else {}
            yield {
                "n": i,
                "scores": [] if i < 1000 else [1.0, i],
                "note": "said" if i > 2000 else None,
                **late,
            }

    assert write_parquet(rows, tmp_path / "rows.parquet") == 2500
    read = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [{"late": None, **row} for row in rows()] == read


def test_a_server_and_a_model_are_no_engines(printed: Printed, tmp_path: Path):
    pairs = write_pairs(tmp_path / "p.jsonl", 1)
    assert "--engine http://localhost:11434/v1" in printed("judge", pairs, "-e", "ollama")[2]
    assert "--model gpt-4o" in printed("judge", pairs, "-e", "gpt-4o")[2]
    assert "did you mean 'embedded'" in printed("judge", pairs, "-e", "embeded")[2]
    assert "not both" in printed("judge", pairs, "--prompt", "q", "--response", "a", "-e", A)[2]


@pytest.mark.parametrize("rows", ["decisions", "judgments"])
def test_a_run_is_exported_as_plain_rows(rows: str, printed: Printed, tmp_path: Path):
    printed("judge", write_pairs(tmp_path / "p.jsonl", 3), "-e", A, "-d", "given", "-o", tmp_path / "run")
    words = ("export", tmp_path / "run", "--rows", rows, "--format")
    assert printed(*words, "jsonl", "-o", tmp_path / "rows.jsonl")[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    parquet = pytest.importorskip("pyarrow.parquet")
    assert printed(*words, "parquet", "-o", tmp_path / "rows.parquet")[0] == 0
    table = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [set(row) for row in table] == [set(row) for row in lines]
    assert printed(*words, "jsonl", "-o", tmp_path / "no" / "rows.jsonl")[0] == 2
