"""What users bring: every format becomes the right cases, every mistake is named by place, field and mend."""

import csv
import gzip
import io
import json
import os
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared import shared

from jurist.cli.main import run
from jurist.core.errors import InputError, MissingExtraError
from jurist.core.types import Case, Message
from jurist.inputs import BadRows, case_from, cases_of, hub, load_cases, tables
from jurist.inputs.turns import response_of

OURS = {"prompt": "Why?", "responses": ["Because.", ""]}
USER = {"role": "user", "content": "Hi"}
GOOD, POOR = ({"role": "assistant", "content": content} for content in ("Yes", "No"))
TALK = [USER, GOOD, USER]
LETTERS = {"prompt": "Q", "response_a": "x", "response_b": "y"}
NUMBERS = {"prompt": "Q", "output_1": "x", "output_2": "y"}
HUGE = b'{"prompt": "Q", "response": "a", "score": 1%s}' % (b"0" * 310)


def write(path: Path, *rows: Any) -> Path:
    """Rows as JSONL; bytes and texts are written as they are."""
    lines = [
        r if isinstance(r, bytes) else r.encode() if isinstance(r, str) else msgspec.json.encode(r)
        for r in rows
    ]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def load(path: Path, *rows: Any, name: str = "rows.jsonl", **options: Any) -> list[Case]:
    """The cases of rows written to a file."""
    return list(load_cases(write(path / name, *rows), **options))


def wrong(path: Path, *rows: Any, name: str = "rows.jsonl") -> str:
    """The message that rows written to a file are refused with."""
    with pytest.raises(InputError) as caught:
        load(path, *rows, name=name)
    assert caught.value.hint, "every error says how to mend it"
    return str(caught.value)


# --- formats -----------------------------------------------------------------------------------------


def test_ours_with_everything(tmp_path: Path) -> None:
    row = {
        "id": 7, "prompt": [USER], "responses": ["a", [GOOD, USER, POOR], "c"], "gold": 2, "reference": 18,
        "rubric": "be right", "group": "math", "meta": {"x": [1]}, "source": "forum",
    }  # fmt: skip
    [case] = load(tmp_path, row)
    talk = (Message("assistant", "Yes"), Message("user", "Hi"), Message("assistant", "No"))
    assert case == Case(
        "7", (Message("user", "Hi"),), ("a", talk, "c"), (0.0, 0.0, 1.0), "18", "be right", "math",
        {"source": "forum", "x": [1]},
    )  # fmt: skip


def test_rows_without_id_are_numbered_by_row_not_by_line(tmp_path: Path) -> None:
    cases = load(tmp_path, OURS, "", "   ", OURS | {"gold": [0.25, 0.75]}, OURS | {"gold": None, "id": None})
    assert [(c.id, c.gold) for c in cases] == [("1", None), ("2", (0.25, 0.75)), ("3", None)]
    assert cases[0].responses == ("Because.", ""), "an empty answer is something to be judged"


@pytest.mark.parametrize(
    ("row", "prompt", "responses"),
    [
        ({"prompt": "Hi", "chosen": "Yes", "rejected": "No"}, ["Hi"], ("Yes", "No")),
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [POOR]}, ["Hi"], ("Yes", "No")),
        ({"chosen": [USER, GOOD], "rejected": [USER, POOR]}, ["Hi"], ("Yes", "No")),
        ({"text_chosen": [USER, GOOD], "text_rejected": [USER, POOR]}, ["Hi"], ("Yes", "No")),
        # a prompt and whole conversations that repeat it
        ({"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [USER, POOR]}, ["Hi"], ("Yes", "No")),
        ({"chosen": [USER, GOOD], "rejected": [USER, GOOD]}, ["Hi"], ("Yes", "Yes")),
        ({"chosen": [*TALK, GOOD], "rejected": [*TALK, POOR]}, ["Hi", "Yes", "Hi"], ("Yes", "No")),
        (
            {"chosen": "\n\nHuman: Hi\n\nAssistant: Yes", "rejected": "\n\nHuman: Hi\n\nAssistant:"},
            ["Hi"],
            ("Yes", ""),
        ),
    ],
)  # fmt: skip
def test_preferences(
    tmp_path: Path, row: dict[str, Any], prompt: list[str], responses: tuple[str, ...]
) -> None:
    [case] = load(tmp_path, row)
    assert [m.content for m in case.prompt] == prompt
    assert (case.responses, case.gold, case.meta) == (responses, (1.0, 0.0), {})


def test_a_conversation_that_went_on_stays_one(tmp_path: Path) -> None:
    [case] = load(tmp_path, {"chosen": [USER, GOOD, USER, POOR], "rejected": [USER, POOR]})
    assert [m.content for m in case.responses[0] if isinstance(m, Message)] == ["Yes", "Hi", "No"]
    assert case.responses[1] == "No"


def test_rewardbench_rows(tmp_path: Path) -> None:
    row = {
        "prompt": "Q",
        "chosen": "a",
        "rejected": "b",
        "chosen_model": "m1",
        "rejected_model": "m2",
        "id": 5,
    }
    one, two = load(tmp_path, row | {"subset": "hep-go"}, row | {"subset": "hep-cpp"})
    assert (one.id, one.group, one.meta) == ("5", "hep-go", {"chosen_model": "m1", "rejected_model": "m2"})
    assert (two.id, two.group) == ("hep-cpp/5", "hep-cpp")
    assert "rows.jsonl:1" in wrong(tmp_path, row | {"subset": "hep-go"}, row | {"subset": "hep-go"})


def test_rewardbench_2_rows(tmp_path: Path) -> None:
    row = {
        "id": "tied:1",
        "prompt": "Q",
        "chosen": ["a", "b"],
        "rejected": ["c"],
        "num_correct": 2,
        "subset": "Ties",
    }
    [case] = load(tmp_path, row)
    assert (case.responses, case.gold) == (("a", "b", "c"), (1.0, 1.0, 0.0))
    assert (case.group, case.meta) == ("Ties", {"num_correct": 2})


@pytest.mark.parametrize(
    ("names", "verdict", "gold"),
    [
        (("response_A", "response_B"), {"label": "B>A"}, (0.0, 1.0)),
        (("response_a", "response_b"), {"winner": "model_a"}, (1.0, 0.0)),
        (("response_a", "response_b"), {"winner": "Tie"}, (0.5, 0.5)),
        (("answer_a", "answer_b"), {"winner": "A=B"}, (0.5, 0.5)),
        (("answer_A", "answer_B"), {"label": "b"}, (0.0, 1.0)),
        (("output_1", "output_2"), {"label": 2}, (0.0, 1.0)),
        (("response1", "response2"), {"label": "1"}, (1.0, 0.0)),
        (("response1", "response2"), {"label": 2.0}, (0.0, 1.0)),
        (("response1", "response2"), {"gold": 1}, (0.0, 1.0)),
        (("response1", "response2"), {"label": None}, None),
    ],
)
def test_pairs(tmp_path: Path, names: tuple[str, str], verdict: dict[str, Any], gold: Any) -> None:
    [case] = load(tmp_path, {"question": "Q", **dict(zip(names, ("x", "y"), strict=True)), **verdict})
    assert (case.prompt[0].content, case.responses, case.gold, case.meta) == ("Q", ("x", "y"), gold, {})


def test_instruction_and_input_are_one_prompt(tmp_path: Path) -> None:
    pair = {"response1": "x", "response2": "y"}
    both, bare = load(
        tmp_path,
        {"instruction": "Shorten.", "input": "Long.", **pair},
        {"instruction": "Go.", "input": "", **pair},
    )
    assert (both.prompt[0].content, bare.prompt[0].content) == ("Shorten.\n\nLong.", "Go.")


def test_ratings(tmp_path: Path) -> None:
    rated, unrated = load(
        tmp_path, {"prompt": "Q", "response": "x", "score": 4}, {"prompt": "Q", "response": "x"}
    )
    assert (rated.responses, rated.gold, unrated.gold) == (("x",), (4.0,), None)


# --- bad rows ----------------------------------------------------------------------------------------

BAD_ROWS: list[tuple[Any, str, str]] = [
    ({"prompt": "Q", "respones": ["a"]}, "respones", "did you mean 'responses'?"),
    ({"promt": "Q", "responses": ["a"]}, "promt", "did you mean 'prompt'?"),
    (OURS | {"refrence": "x"}, "refrence: is no known field", "did you mean 'reference'?"),
    ({"prompt": "Q"}, "responses: no field", "chosen and rejected"),
    ({"prompt": "Q", "chosen": "a"}, "rejected: is missing", "needs rejected"),
    ({"responses": ["a"]}, "prompt: is missing", "question"),
    ({"prompt": None, "responses": ["a"]}, "prompt: is null", "question"),
    ({"prompt": " \n", "responses": ["a"]}, 'prompt: is empty, saw " \\n"', "judge needs"),
    ({"prompt": [], "responses": ["a"]}, "prompt: is a conversation without turns", "role"),
    ({"prompt": [{"role": "user", "content": None}], "responses": ["a"]}, "prompt[0].content", '"content"'),
    ({"prompt": [{"by": "human", "text": "Q"}], "responses": ["a"]}, "prompt[0].role: is missing", '"role"'),
    ({"prompt": 3, "responses": ["a"]}, "prompt: must be a text", "list of messages"),
    ({"prompt": "Q", "responses": []}, "responses: must be a list of one or more", "for example"),
    ({"prompt": "Q", "responses": "a"}, 'list of one or more responses, saw "a"', "for example"),
    ({"prompt": "Q", "responses": ["a", None]}, "responses[1]: is null", "write a text"),
    ({"prompt": "Q", "chosen": None, "rejected": "b"}, "chosen: is null", "write a text"),
    ({"prompt": "Q", "chosen": ["a"], "rejected": "b"}, "rejected: must be a list", "for example"),
    ({"chosen": "a", "rejected": "b"}, "and chosen is not a conversation", "add a prompt"),
    ({"chosen": [POOR, GOOD], "rejected": [USER, GOOD]}, "do not begin with the same turn", "add a prompt"),
    ({"chosen": [USER, GOOD], "rejected": [USER, USER]}, "rejected: has no assistant turn", "role assistant"),
    ({"prompt": "Q", "chosen": "a", "rejected": "b", "gold": 0}, "gold: is already told", "leave gold out"),
    (OURS | {"gold": [1, 0, 0]}, "gold: 3 numbers for 2 responses, saw [1,0,0]", "one number per response"),
    (OURS | {"gold": 2}, "gold: index 2 is out of range for 2 responses, legal are 0 to 1", "index 0"),
    (OURS | {"gold": -1}, "gold: index -1 is out of range", "index 0"),
    (OURS | {"gold": 0.5}, "gold: index 0.5 is out of range", "rating is written as a list"),
    (OURS | {"gold": True}, "gold: must be a finite number, saw true", "without quotes"),
    (OURS | {"gold": [1, False]}, "gold[1]: must be a finite number, saw false", "without quotes"),
    (OURS | {"gold": "0"}, 'gold: must be a finite number, saw "0"', "without quotes"),
    (HUGE, "score: must be a finite number, saw 1000", "without quotes"),
    ({"prompt": "Q", "response": "a", "score": "good"}, 'finite number, saw "good"', "without quotes"),
    (LETTERS | {"label": 1}, "label: does not say", "'A>B', 'A', 'model_a'"),
    (NUMBERS | {"label": 0}, "label: does not say", "legal are '1', '2', 'tie'"),
    (NUMBERS | {"label": True}, "saw true", "index (0 or 1)"),
    (OURS | {"id": ""}, "id: must be a text", "leave it out"),
    (OURS | {"rubric": ["a"]}, 'rubric: must be a text, saw ["a"]', "leave it out"),
    (OURS | {"meta": 3}, "meta: must be an object, saw 3", "for example"),
    (OURS | {"meta": {"k": 1}, "k": 2}, "k: stands in the row and in meta", "rename"),
    ([OURS], "this is a list", "name the file .json"),
    ('"just text"', 'this is a text, saw "just text"', "a row looks like"),
    ("12", "this is a number", "a row looks like"),
    ('{"prompt": "Q", "responses": ', "not JSON: Input data was truncated", "one whole JSON object"),
    ('{"prompt": "Q", "responses": ["a"], "gold": [NaN]}', "not JSON", "NaN and Infinity are not JSON"),
    ('{"prompt": "\\ud83d", "responses": ["a"]}', "not JSON", "surrogate"),
    ("[" * 100_000, "nested too deeply", "JSON object"),
    (b'{"prompt": "caf\xe9", "responses": ["a"]}', "not UTF-8 at byte 15 of the line, saw 0xe9", "iconv"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "said", "hint"), BAD_ROWS)
def test_bad_rows_are_named_and_can_be_skipped(tmp_path: Path, row: Any, said: str, hint: str) -> None:
    message = wrong(tmp_path, OURS, "", row, OURS)
    body, _, mend = message.partition("\n  hint: ")
    assert f"{tmp_path / 'rows.jsonl'}:3: " in body
    assert said in body
    assert hint in mend
    assert len(body) < len(str(tmp_path)) + 260, "what was seen is shortened"
    skipped: list[InputError] = []
    cases = load(tmp_path, OURS, "", row, OURS, skip_bad=True, on_bad=skipped.append)
    assert [c.id for c in cases] == ["1", "3"], "the bad row keeps its number"
    assert [str(e) for e in skipped] == [message]


def test_duplicate_ids_name_both_lines(tmp_path: Path) -> None:
    message = wrong(tmp_path, OURS | {"id": "x"}, OURS, OURS | {"id": "x"})
    assert "rows.jsonl:3: id: 'x' was taken by" in message
    assert "rows.jsonl:1\n" in message
    assert "rows.jsonl:2: id: '2' was taken" in wrong(tmp_path, OURS | {"id": 2}, OURS)


@pytest.mark.parametrize("name", ["preference", "scores", "idx", "prompt_id", "metadata", "model"])
def test_ordinary_names_are_not_taken_for_typos(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, OURS | {name: 1})[0].meta == {name: 1}


# --- files -------------------------------------------------------------------------------------------


def test_byte_order_mark_crlf_and_a_very_long_line(tmp_path: Path) -> None:
    long = msgspec.json.encode(OURS | {"responses": ["x" * 5_000_000]})
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + msgspec.json.encode(OURS) + b"\r\n\r\n" + long)
    one, two = load_cases(tmp_path / "a.jsonl")
    assert (one.responses, len(two.responses[0])) == (("Because.", ""), 5_000_000)


def test_json_as_a_list_as_lines_and_as_one_object(tmp_path: Path) -> None:
    for text in (json.dumps([OURS, OURS]), json.dumps([OURS, OURS], indent=2), f"{json.dumps(OURS)}\n" * 2):
        (tmp_path / "a.json").write_text(f"\ufeff\n{text}", encoding="utf-8")
        assert [c.id for c in load_cases(tmp_path / "a.json")] == ["1", "2"]
    (tmp_path / "a.json").write_text(json.dumps(OURS, indent=2))
    assert len(list(load_cases(tmp_path / "a.json"))) == 1


def test_errors_in_a_json_list_name_the_line(tmp_path: Path) -> None:
    assert "a.json:3: gold" in wrong(
        tmp_path, "[", json.dumps(OURS) + ",", OURS | {"gold": 9}, "]", name="a.json"
    )
    broken = wrong(tmp_path, "[", json.dumps(OURS) + ",", '{"prompt": ]', "]", name="a.json")
    assert "a.json:3: not JSON" in broken
    with pytest.raises(InputError, match=r"a\.json:2: not JSON.*truncated"):
        load(tmp_path, "[", OURS, name="a.json", skip_bad=True)


def test_gzip_also_cut(tmp_path: Path) -> None:
    zipped = gzip.compress(
        b"".join(msgspec.json.encode(OURS | {"n": os.urandom(99).hex()}) + b"\n" for _ in range(500))
    )
    for name in ("a.jsonl.gz", "a.json.gz"):
        (tmp_path / name).write_bytes(zipped)
        assert len(list(load_cases(tmp_path / name))) == 500
    (tmp_path / "a.jsonl.gz").write_bytes(zipped[: len(zipped) // 2])
    read: list[Case] = []
    with pytest.raises(
        InputError, match=r"a\.jsonl\.gz: the gzip stream is damaged or cut after line \d+.*\n.*copy"
    ):
        read.extend(c for c in load_cases(tmp_path / "a.jsonl.gz", skip_bad=True))
    (tmp_path / "a.jsonl.gz").write_bytes(zipped[:15])
    with pytest.raises(InputError, match="after line 0"):
        list(load_cases(tmp_path / "a.jsonl.gz"))


def test_csv_and_tsv(tmp_path: Path) -> None:
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        text = io.StringIO()
        table = csv.writer(text, delimiter=delimiter)
        table.writerow(["", "prompt", "responses", "gold", "id", "extra "])
        table.writerow([0, "[INST] line\nbreak", '["a, b", ""]', "1", "", "x"])
        table.writerow([1, json.dumps([USER]), json.dumps([[GOOD], "b" * 200_000]), "[0.5, 0.5]", "k", ""])
        (tmp_path / name).write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")
        one, two = load_cases(tmp_path / name)
        assert one == Case(
            "1", (Message("user", "[INST] line\nbreak"),), ("a, b", ""), (0.0, 1.0), meta={"extra": "x"}
        )
        assert (two.id, two.prompt, two.gold) == ("k", (Message("user", "Hi"),), (0.5, 0.5))


def test_csv_cells_of_preferences(tmp_path: Path) -> None:
    text = 'prompt,chosen,rejected\n"Say {x}","[1, 2]",\nQ,"[""a"", ""b""]","[""c""]"\n'
    (tmp_path / "a.csv").write_text(text)
    one, two = load_cases(tmp_path / "a.csv")
    assert one.responses == ("[1, 2]", ""), (
        "an answer that looks like JSON is a text, an empty one stays empty"
    )
    assert two.responses == ("a", "b", "c")


def test_bad_csv_rows(tmp_path: Path) -> None:
    data = b'prompt,response,score\nQ,"a\nb",1\nQ,x\nQ,caf\xe9,1\nQ,"a"b,1\nQ,y,high\nQ,"z,2\n'
    (tmp_path / "a.csv").write_bytes(data)
    bad: list[InputError] = []
    cases = list(load_cases(tmp_path / "a.csv", skip_bad=True, on_bad=bad.append))
    assert [(c.id, c.responses) for c in cases] == [("1", ("a\nb",))]
    said = [str(e).removeprefix(str(tmp_path)) for e in bad]
    assert said[0].startswith("/a.csv:4: 2 cells for 3 columns")
    assert said[1].startswith("/a.csv:5: not UTF-8 at byte 5")
    assert said[2].startswith("/a.csv:6: not a table row")
    assert said[3].startswith('/a.csv:7: score: must be a finite number, saw "high"')
    assert said[4].startswith("/a.csv:8: not a table row: unexpected end of data")
    for header in (b"prompt,prompt\n", b"pr\xe9,response\nx,y\n"):
        (tmp_path / "a.csv").write_bytes(header)
        with pytest.raises(InputError, match=r"a\.csv:1: the header"):
            list(load_cases(tmp_path / "a.csv", skip_bad=True))


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"id": i, "chosen": [USER, GOOD], "rejected": [USER, POOR], "n": None} for i in range(600)]
    rows[400] = rows[400] | {"rejected": None}
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    bad: list[InputError] = []
    cases = list(load_cases(path, skip_bad=True, on_bad=bad.append))
    assert len(cases) == 599
    assert cases[-1] == Case("599", (Message("user", "Hi"),), ("Yes", "No"), (1.0, 0.0), meta={"n": None})
    assert "a.parquet:row 401: rejected: is null" in str(bad[0])
    parquet.write_table(arrow.table({"prompt": ["Q"], "response": ["a"], "score": [float("nan")]}), path)
    with pytest.raises(InputError, match="row 1: score: must be a finite number, saw nan"):
        list(load_cases(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"a\.parquet:row 1: not parquet that can be read"):
        list(load_cases(path, skip_bad=True))
    tables.pyarrow_parquet.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"jurist\[parquet\]"):
        load_cases(path)


def test_folder(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", OURS)
    write(tmp_path / "a.jsonl", OURS, OURS | {"id": "x"})
    (tmp_path / "readme.md").write_text("no data")
    (tmp_path / ".hidden.jsonl").write_text("broken")
    assert [c.id for c in load_cases(tmp_path)] == ["a.jsonl:1", "x", "b.jsonl:1"]
    write(tmp_path / "b.jsonl", OURS | {"id": "x"})
    with pytest.raises(InputError, match=r"b\.jsonl:1: id: 'x' was taken by .*a\.jsonl:2"):
        list(load_cases(tmp_path))
    deep = tmp_path / "empty" / "data"
    deep.mkdir(parents=True)
    with pytest.raises(InputError, match=r"empty: the folder holds no data files"):
        load_cases(deep.parent)
    write(deep / "a.jsonl", OURS)
    with pytest.raises(InputError, match=r"hint: there are some in '.*/empty/data'"):
        load_cases(deep.parent)


def test_standard_input_and_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    def given_bytes(data: bytes) -> list[Case]:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        return list(load_cases("-"))

    row = msgspec.json.encode(OURS)
    assert [c.id for c in given_bytes(b"\n" + row + b"\n" + row)] == ["1", "2"]
    for data, said in (
        (b"", "stdin: is empty"),
        (row + b"\n{}", "stdin:2: responses"),
        (gzip.compress(row), "gzip"),
    ):
        with pytest.raises(InputError, match=said):
            given_bytes(data)
    source, sink = os.pipe()
    os.write(sink, row)
    os.close(sink)
    if Path(f"/dev/fd/{source}").exists():
        assert len(list(load_cases(f"/dev/fd/{source}"))) == 1


WRONG_FILES: list[tuple[str, bytes, str, str]] = [
    ("a.jsonl", b"", "is empty", "one row per line"),
    ("a.jsonl", b"\n \r\n", "is empty", "one row per line"),
    ("a.json", b"[]", "is empty", "one row per line"),
    ("a.csv", b"prompt,response\n", "is empty", "one row per line"),
    ("a.jsonl", b"PAR1....", "looks like a parquet file", "name it .parquet"),
    ("a.jsonl", b"PK\x03\x04....", "looks like a zip archive", "unpack"),
    ("a.csv", b"\x89PNG....", "looks like a PNG image", "file of rows"),
    ("a.jsonl", gzip.compress(b"{}", mtime=0), "looks like gzip", "end in .gz"),
    ("a.jsonl.gz", b"{}", "is not gzip", "without .gz"),
    ("a.parquet", b'{"prompt": 1}', "is not parquet", "name it by its format"),
    ("a.parquet", b"PK\x03\x04....", "looks like a zip archive", "unpack"),
    ("a.jsonl", "{}".encode("utf-16"), "looks like UTF-16 text", "UTF-8"),
    ("a.json", b'{"a": \0}', "is binary, saw a NUL byte at byte 6", "UTF-8"),
    ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", "git lfs pull"),
    ("a.jsonl", b"<!DOCTYPE html>", "looks like a web page", "download the file itself"),
    ("a.txt", b"{}", "no format of rows has the suffix '.txt'; legal are .jsonl", "pipe JSONL"),
    ("rows", b"{}", "no format of rows has the suffix ''", "add a suffix"),
    ("a.gz", gzip.compress(b"{}", mtime=0), "no format of rows has the suffix '.gz'", "pipe JSONL"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "said", "hint"), WRONG_FILES)
def test_files_that_are_not_what_their_name_says(
    tmp_path: Path, name: str, data: bytes, said: str, hint: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        list(load_cases(tmp_path / name, skip_bad=True))
    body, _, mend = str(caught.value).partition("\n  hint: ")
    assert body.startswith(f"{tmp_path / name}: ")
    assert said in body
    assert hint in mend


def test_missing_files(tmp_path: Path) -> None:
    write(tmp_path / "dev_set.jsonl", OURS)
    for source, said in (
        (tmp_path / "dev-set.jsonl", r"no such file\n  hint: did you mean '.*/dev_set\.jsonl'\?"),
        (tmp_path / "nowhere" / "a.jsonl", "there is no folder '.*/nowhere'"),
        ("allenai/reward-bench", "is written hf:allenai/reward-bench"),
        ("https://example.org/a.jsonl", "addresses are not read"),
        (json.dumps(OURS) * 100, "hint"),
    ):
        with pytest.raises(InputError, match=said):
            load_cases(source)  # at the door, before the first row is asked for


# --- the Hub -----------------------------------------------------------------------------------------


def test_hub_reads_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    row = {"prompt": "Q", "chosen": "a", "rejected": "b"}
    write(tmp_path / "set" / "train.jsonl", row, row)
    assert [c.responses for c in load_cases("hf:set")] == [("a", "b")] * 2
    write(tmp_path / "set" / "test.jsonl", row | {"chosen": None})
    with pytest.raises(InputError, match=r"hf:set has the splits train, test.*\n.*for example hf:set:test"):
        load_cases("hf:set")
    with pytest.raises(InputError, match=r"unknown split 'tset'.*\n.*did you mean 'test'\?"):
        load_cases("hf:set:tset")
    with pytest.raises(InputError, match=r"hf:set:test:row 1: chosen: is null"):
        list(load_cases("hf:set:test"))


def test_hub_names_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(path: str, config: str | None, **options: Any) -> Any:
        asked.append((path, config, options["revision"]))
        if path == "org/away":
            raise ConnectionError("no route to host")

        def rows() -> Any:
            yield {"prompt": "Q", "response": "a"}
            raise TimeoutError("too slow")

        return {"test": rows()}

    monkeypatch.setattr(hub, "import_module", lambda _: SimpleNamespace(load_dataset=load_dataset))
    cases = load_cases("hf:org/set:test@abc12#easy")
    assert next(cases).id == "1"
    assert asked == [("org/set", "easy", "abc12")]
    with pytest.raises(InputError, match="after row 1: TimeoutError: too slow"):
        next(cases)
    with pytest.raises(
        InputError, match=r"hf:org/away: ConnectionError: no route to host\n  hint: .*network"
    ):
        load_cases("hf:org/away")
    with pytest.raises(InputError, match="the form is hf:org/name"):
        load_cases("hf:org/set:a:b")
    monkeypatch.setattr(hub, "import_module", lambda _: (_ for _ in ()).throw(ImportError))
    with pytest.raises(MissingExtraError, match=r"jurist\[hub\]"):
        load_cases("hf:org/set")


# --- there and back ----------------------------------------------------------------------------------

texts = st.text(max_size=20)
named = st.text(min_size=1, max_size=8)
messages = st.builds(Message, st.sampled_from(["user", "assistant", "system"]), texts)
prompts = st.lists(messages, min_size=1, max_size=3).filter(lambda ms: any(m.content.strip() for m in ms))
talks = st.lists(messages, min_size=1, max_size=3).map(tuple)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | numbers | texts, st.lists
)


@st.composite
def legal_cases(draw: st.DrawFn) -> Case:
    """Any case that the types allow and a judge can be asked about."""
    responses = tuple(draw(st.lists(texts | talks, min_size=1, max_size=4)))
    n = len(responses)
    return Case(
        id=draw(named),
        prompt=tuple(draw(prompts)),
        responses=responses,
        gold=draw(st.none() | st.lists(numbers, min_size=n, max_size=n).map(tuple)),
        reference=draw(st.none() | texts),
        rubric=draw(st.none() | texts),
        group=draw(st.none() | texts),
        meta=draw(st.dictionaries(texts, values, max_size=3)),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(legal_cases(), min_size=1, max_size=4, unique_by=lambda c: c.id))
def test_what_we_write_we_read(tmp_path: Path, cases: list[Case]) -> None:
    assert load(tmp_path, *cases) == cases


def test_rows_are_streamed(tmp_path: Path) -> None:
    cases = load_cases(write(tmp_path / "a.jsonl", OURS, "broken"))
    assert next(cases).id == "1"
    with pytest.raises(InputError, match=":2: not JSON"):
        next(cases)


# --- real data ---------------------------------------------------------------------------------------


def test_judgebench_as_it_is_published() -> None:
    cases = list(load_cases(shared("judgebench", "data")))
    assert Counter(c.gold for c in cases) == {(1.0, 0.0): 193 + 143, (0.0, 1.0): 157 + 127}
    assert cases[0].id == "b5ce1305-50fe-5a5e-b785-325ab15c6d2b"
    assert cases[0].meta["source"] == "mmlu-pro-health"


def test_llmbar_as_it_is_published() -> None:
    cases = list(load_cases(shared("llmbar", "Natural", "dataset.json")))
    assert Counter(c.gold for c in cases) == {(1.0, 0.0): 42, (0.0, 1.0): 58}


def test_hh_transcripts_as_they_are_published() -> None:
    cases = list(load_cases(shared("hh-rlhf", "harmless-base", "test.jsonl.gz")))
    assert len(cases) == 2312
    assert all(c.prompt[-1].role == "user" for c in cases)
    assert sum(all(isinstance(r, str) for r in c.responses) for c in cases) == 2307
    assert cases[0].prompt[0].content == "what are some pranks with a pen i can do?"
    assert str(cases[0].responses[0]).startswith("No, sorry!  All of these involve a pen")


def test_ifbench_as_it_is_published() -> None:
    cases = list(load_cases(shared("ifbench", "data", "IFBench", "data.converted.json"), skip_bad=True))
    assert len(cases) == 444
    assert {c.prompt[-1].role for c in cases} == {"user"}


CALL = {"id": "1", "type": "function", "function": {"name": "rm", "arguments": '{"path": "/"}'}}
SHOWN = '<tool_call>\n{"name":"rm","arguments":{"path":"/"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "tool_calls": [CALL]}, SHOWN),
        ({"tool_calls": [CALL]}, SHOWN),
        ({"content": "Done.", "tool_calls": [CALL], "function_call": None}, f"Done.\n\n{SHOWN}"),
        ({"content": "", "function_call": {"name": "rm", "arguments": '{"path": "/"}'}}, SHOWN),
        ({"content": [{"type": "tool_use", "id": "1", "name": "rm", "input": {"path": "/"}}]},
         SHOWN),
        ({"content": [{"type": "text", "text": "a", "image_url": None}, {"type": "text", "text": "b"}]},
         "a\nb"),
        ({"content": ["a", {"type": "tool_result", "content": [{"type": "text", "text": "7"}]}]},
         "a\n<tool_response>\n7\n</tool_response>"),
        ({"content": "7", "reasoning_content": "hm", "reasoning": "hm"}, "<think>\nhm\n</think>\n\n7"),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "7"}]},
         "<think>\nhm\n</think>\n7"),
        ({"content": None, "refusal": "No."}, "No."),
    ],
)  # fmt: skip
def test_parts_of_messages_are_rendered(message: dict[str, Any], text: str) -> None:
    assert response_of([{"role": "assistant", **message}], "chosen") == (Message("assistant", text),)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
         'prompt[0].content[0]: a part of the type "image_url" is no text'),
        ({"prompt": [{"role": "user", "content": "Hi", "audio": {"id": "1"}}]}, "prompt[0].audio"),
        ({"prompt": "What is it?", "images": ["a.png"]}, "images: holds what is no text"),
        ({"prompt": "Q", "responses": [[{"role": "assistant", "tool_calls": [{"id": "1"}]}], "b"]},
         "responses[0][0].tool_calls[0]: is no tool call with a name"),
    ],
)  # fmt: skip
def test_parts_that_are_no_text_are_refused(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    assert said in wrong(tmp_path, {"responses": ["a", "b"], **row})


def test_gold_of_other_tables(tmp_path: Path) -> None:
    def golds(*rows: dict[str, Any]) -> list[Any]:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return [case.gold for case in load_cases(tmp_path / "rows.jsonl")]

    outputs = {"instruction": "Q", "output_1": "a", "output_2": "b"}
    assert golds(*({**outputs, "preference": x} for x in (1, 2, 1.5, 0, 1.25, None))) == [
        (1, 0), (0, 1), (0.5, 0.5), (0.5, 0.5), (0.75, 0.25), None,
    ]  # fmt: skip
    assert "preference: 3 is out of range" in wrong(tmp_path, {**outputs, "preference": 3})
    answers = {"prompt": "Q", "response_a": "a", "response_b": "b"}
    assert golds({**answers, "winner": "tie (bothbad)"}) == [(0.5, 0.5)]
    columns = ("winner_model_a", "winner_model_b", "winner_tie")
    one_hot = [
        {**answers, **dict(zip(columns, flags, strict=True))} for flags in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert golds(*one_hot) == [(1, 0), (0, 1), (0.5, 0.5)]
    assert "one must be 1" in wrong(tmp_path, {**answers, **dict.fromkeys(columns, 0)})


def test_lmsys_table_of_turns(tmp_path: Path) -> None:
    path = tmp_path / "lmsys.csv"
    cells = [json.dumps(texts).replace('"', '""') for texts in (["Q1", "Q2"], ["a1", "a2"], ["b1", "b2"])]
    line = ",".join(f'"{cell}"' for cell in cells)
    path.write_text(
        f"id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n1,{line},0,1,0\n"
    )
    (case,) = load_cases(path)
    turns = [
        (Message("assistant", f"{x}1"), Message("user", "Q2"), Message("assistant", f"{x}2")) for x in "ab"
    ]
    assert (case.prompt, case.responses, case.gold) == ((Message("user", "Q1"),), tuple(turns), (0, 1))


@pytest.mark.parametrize(("separator", "said"), [(";", '";"'), ("\t", '"\\t"'), ("|", '"|"')])
def test_table_with_another_separator(tmp_path: Path, separator: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen,rejected\nQ,a,b\n".replace(",", separator))
    with pytest.raises(InputError) as caught:
        list(load_cases(path))
    assert f"separated by {said}" in caught.value.hint


def test_binary_columns_of_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    columns = {"prompt": [b"caf\xc3\xa9", b"\xff"], "chosen": ["a", "a"], "rejected": ["b", "b"]}
    parquet.write_table(arrow.table(columns), path)
    bad = BadRows(skip=True)
    assert [case.prompt[0].content for case in load_cases(path, skip_bad=True, on_bad=bad.on_bad)] == [
        "caf\u00e9"
    ]
    assert "row 2: prompt: holds 1 bytes that are no UTF-8" in list(bad.lines())[1]


PAIR = {"prompt": "Q", "responses": ["a", "b"]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [Case("1", (Message("user", "Q"),), ("a\ud83d", "b"))],
            "row 1: responses[0]: half of a surrogate pair",
        ),
        ([Case("x", (Message("user", "Q"),), ("a", "b"))] * 2, "row 2: id: 'x' was taken by row 1"),
        ([PAIR, {**PAIR, "id": "1"}], "row 2: id: '1' was taken by row 1"),
        ([{**PAIR, "responses": "ab"}], "row 1: responses: must be a list"),
        ([{**PAIR, "prompt": "Q\ud83d"}], "row 1: half of a surrogate pair"),
        ([{**PAIR, "id": "\ud83d"}], "row 1: half of a surrogate pair"),
        ([{**PAIR, "by": ["a\ud83d"]}], "row 1: half of a surrogate pair"),
        ([Case("a\ud83d", (Message("user", "Q"),), ("a", "b"))], "row 1: half of a surrogate pair"),
        ([Case("1", (Message("user", "Q"),), ("a", "b"), meta={"x": object()})], "row 1: a value that JSON"),
        (
            [Case("1", (Message("user", "Q"),), ("a", "b"), gold=(1.0,))],
            "row 1: gold: 1 numbers for 2 responses",
        ),
        ([7], "row 1: expected a case or a row, saw 7"),
        ("pairs.jsonl", "cases: must be a list"),
        (PAIR, "cases: must be a list"),
    ],
)
def test_cases_from_python_are_checked(values: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        list(cases_of(values))
    assert caught.value.message.startswith(said)


def test_cases_from_python() -> None:
    bad = BadRows(skip=True)
    rows = [PAIR, {**PAIR, "responses": "ab"}, Case("x", (Message("user", "Q"),), ("a", "b"))]
    assert [case.id for case in cases_of(rows, skip_bad=True, on_bad=bad.on_bad)] == ["1", "x"]
    assert list(bad.lines()) == ["1 bad rows were left out:", f"  {bad.errors[0].message}"]
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"prompt": ["p", "q"], "chosen": ["a", "b"], "rejected": ["c", "d"],
                              "reference": [1.0, float("nan")]})  # fmt: skip
    cases = list(cases_of(frame))
    assert [(c.id, c.responses, c.reference) for c in cases] == [
        ("1", ("a", "c"), "1.0"),
        ("2", ("b", "d"), None),
    ]
    numpy = pytest.importorskip("numpy")
    assert case_from("Q", numpy.array(["a", "b"])).responses == ("a", "b")
    assert case_from([{"role": "user", "content": [{"type": "text", "text": "Q"}]}], ["a"]).prompt == (
        Message("user", "Q"),
    )
    for responses in ("ab", ["a", None], [7, 8], []):
        with pytest.raises(InputError, match=r"^responses"):
            case_from("Q", responses)


@pytest.mark.parametrize(
    ("label", "text"),
    [(None, None), (float("nan"), None), ("x", "x"), (7, "7"), (0.5, "0.5"), (True, "true"),
     ({"a": [1]}, '{"a":[1]}'), ([1, 2], "[1,2]")],
)  # fmt: skip
def test_references_of_any_type(label: Any, text: str | None) -> None:
    assert case_from("Q", ["a"], reference=label).reference == text


def test_arguments_that_are_no_utf_8_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["judge", "x\udcff.jsonl", "--engine", "scripted:<answer>[[A]]</answer>"]) == 2
    assert "the argument 'x\\udcff.jsonl' is no UTF-8 text" in " ".join(capsys.readouterr().err.split())


def test_a_run_folder_is_a_source_of_the_cases_that_it_decided(tmp_path: Path) -> None:
    """What was sampled or judged once is judged again by another judge, and nothing else is read."""
    from make import A_WINS, jurist, write_pairs

    pairs = write_pairs(tmp_path / "pairs.jsonl", 5)
    jurist("judge", pairs, "-o", tmp_path / "a", "-e", f"scripted:{A_WINS}", "-p", "rubrics")
    assert list(load_cases(tmp_path / "a")) == list(load_cases(pairs))
    pairs.unlink()
    again = ("judge", tmp_path / "a", "-o", tmp_path / "b", "-e", f"scripted:{A_WINS}", "-p", "pairwise")
    jurist(*again)
    assert list(load_cases(tmp_path / "b")) == list(load_cases(tmp_path / "a"))


def test_a_run_folder_without_cases_says_so(tmp_path: Path) -> None:
    from jurist.core.store import Store

    Store(tmp_path / "run", {"jurist": "0", "engine": "x"}).close()
    with pytest.raises(InputError, match="run folder that holds no case"):
        list(load_cases(tmp_path / "run"))
