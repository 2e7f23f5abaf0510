"""Files on other filesystems give the same cases, ids and errors as the same files on this machine's disk."""

import gzip
import json
from pathlib import Path

import pytest

from jurist.core.errors import InputError
from jurist.core.runs import open_run
from jurist.inputs import load_cases

pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

ROWS = [{"prompt": f"question {i}", "responses": ["good", "bad"], "gold": 0} for i in range(5)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def folder(tmp_path):
    """A folder of one file of each kind."""
    from pyarrow import parquet

    place = tmp_path / "data"
    place.mkdir()
    (place / "a.jsonl").write_bytes(LINES)
    (place / "b.jsonl.gz").write_bytes(gzip.compress(LINES))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), place / "c.parquet")
    (place / "d.csv").write_text("prompt,chosen,rejected\nq,good,bad\n")
    (place / ".hidden.jsonl").write_text("no rows")
    (place / "notes.txt").write_text("no rows")
    return place


@pytest.fixture
def memory(folder):
    """The same folder in memory, by fsspec."""
    filesystem = fsspec.filesystem("memory")
    for path in folder.iterdir():
        with filesystem.open(f"/data/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    yield filesystem
    filesystem.rm("/data", recursive=True)


def test_a_folder_gives_the_same_cases_wherever_it_is(folder, memory):
    here = list(load_cases(folder))
    assert len(here) == 16
    assert list(load_cases(f"file://{folder}")) == here
    assert list(load_cases("memory://data")) == here
    assert list(load_cases("/data", filesystem=memory)) == here
    assert list(load_cases(str(folder), filesystem=pyarrow.fs.LocalFileSystem())) == here


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz", "c.parquet", "d.csv"])
def test_a_file_gives_the_same_cases_wherever_it_is(folder, memory, name):
    assert memory.exists(f"/data/{name}")
    assert list(load_cases(f"memory://data/{name}")) == list(load_cases(folder / name))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("memory://nowhere", "memory://nowhere: there is no such file or folder"),
        ("memory://data/notes.txt", "no format of rows has this suffix"),
        ("nosuch://data", "nosuch://data: cannot be read"),
        ("https://example.org/rows.jsonl", "addresses are not read"),
    ],
)
def test_what_cannot_be_read_is_said(memory, source, said):
    assert memory.exists("/data")
    with pytest.raises(InputError, match=said):
        list(load_cases(source))


def test_a_bad_row_is_named_by_its_address_and_line(memory):
    with memory.open("/data/e.jsonl", "wb") as file:
        file.write(LINES + b'{"prompt": "q"}\n')
    with pytest.raises(InputError, match=r"memory://data/e\.jsonl:6: "):
        list(load_cases("memory://data/e.jsonl"))
    found: list[InputError] = []
    assert len(list(load_cases("memory://data", skip_bad=True, on_bad=found.append))) == 21
    assert len(found) == 1


def test_a_command_reads_an_address(folder, tmp_path):
    from make import jurist

    words = ("-e", "scripted:<answer>[[A]]</answer>", "-p", "rubrics", "-o", tmp_path / "run")
    jurist("judge", f"file://{folder}", *words)
    with open_run(Path(tmp_path / "run")) as run:
        assert len(run) == 16
