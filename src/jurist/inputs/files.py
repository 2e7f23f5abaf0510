"""Rows of a source: its files, whether their first bytes fit their names, and the reader for each."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from os.path import exists, isdir
from pathlib import Path, PurePath
from typing import IO, cast

from jurist.core.errors import InputError
from jurist.inputs.hub import hub_rows
from jurist.inputs.lines import (
    BOM,
    BadRow,
    BrokenFile,
    NoDataError,
    Numbered,
    Place,
    Row,
    json_any,
    json_lines,
)
from jurist.inputs.tables import comma_rows, parquet_rows, pyarrow_parquet, tab_rows

Reader = Callable[[IO[bytes]], Iterator[Numbered]]

READERS: dict[str, Reader] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_any,
    ".csv": comma_rows,
    ".tsv": tab_rows,
    ".parquet": parquet_rows,
}
LEGAL = "legal are .jsonl, .ndjson, .json, .csv, .tsv (each also with .gz) and .parquet"

PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
LOOKS = (
    (PARQUET, "a parquet file", "name it .parquet"),
    (GZIP, "gzip", "let its name end in .gz"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"\x89PNG", "a PNG image", "name a file of rows"),
    (b"\xff\xd8\xff", "a JPEG image", "name a file of rows"),
    (b"%PDF", "a PDF document", "name a file of rows"),
    (b"BZh", "bzip2", "unpack it first with bunzip2"),
    (b"\xfd7zXZ", "xz", "unpack it first with unxz"),
    (b"\x28\xb5\x2f\xfd", "zstandard", "unpack it first with unzstd"),
    (b"ARROW1", "an Arrow file", "write it as parquet"),
    (b"SQLite format 3", "a SQLite database", "export its table as CSV"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"<!DOCTYPE html", "a web page", "download the file itself, not the page that shows it"),
    (b"<html", "a web page", "download the file itself, not the page that shows it"),
)


def open_source(source: str) -> Iterator[Row | BadRow]:
    """Rows of a file, a folder, ``-`` or an ``hf:`` name; a source that cannot be read raises here.

    ``read_rows`` is the loop over them.
    """
    if source.startswith("hf:"):
        return placed_rows(hub_rows(source), source, unit="row ")
    if source == "-":
        return _stream_rows(sys.stdin.buffer, "stdin")
    path = Path(source).expanduser()
    if not exists(path):
        raise _missing(source, path)
    if path.is_dir():
        files = _data_files(path)
        for file in files:
            _check(file)
        rows = (row for file in files for row in _file_rows(file, prefix=f"{file.name}:"))
        return (row._replace(number=number) for number, row in enumerate(rows, 1))
    if not path.is_file():  # a pipe: what is read from it to look at it would be gone
        return _stream_rows(path.open("rb"), source)
    _check(path)
    return _file_rows(path)


def _file_rows(path: Path, prefix: str = "") -> Iterator[Row | BadRow]:
    reader = READERS[suffix_of(path)]
    unit = "row " if reader is parquet_rows else ""
    with _open(path) as stream:
        yield from placed_rows(reader(stream), str(path), prefix, unit)


def _stream_rows(stream: IO[bytes], name: str) -> Iterator[Row | BadRow]:
    """Rows of JSONL that can be read only once."""

    def lines() -> Iterator[bytes]:
        first = stream.readline()
        _look(first[:4096], name, "")
        yield first
        yield from stream

    return placed_rows(json_lines(lines()), name)


def placed_rows(
    rows: Iterator[Numbered], name: str, prefix: str = "", unit: str = ""
) -> Iterator[Row | BadRow]:
    """Rows with places and default ids; the error of a damaged file names the last line that was read."""
    number = line = 0
    try:
        for number, (line, fields) in enumerate(rows, 1):
            place = Place(name, line, unit)
            if isinstance(fields, InputError):
                yield BadRow(place, number, fields)
            else:
                yield Row(place, number, f"{prefix}{number}", fields)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{name}: the gzip stream is damaged or cut after {unit or 'line '}{line}: {error}",
            f"copy the file again; `gzip -t {name}` tests it",
        ) from error
    except BrokenFile as error:
        raise InputError(f"{Place(name, error.line, unit)}: {error.message}", error.hint) from error
    if not number:
        raise _empty(name)


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def suffix_of(path: PurePath) -> str:
    """The suffix that tells the format, without ``.gz``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def _check(path: Path) -> None:
    """Raise for a file that is not what its name says, before anything else is read."""
    suffix = suffix_of(path)
    zipped = path.suffix.lower() == ".gz"
    if suffix not in READERS or (zipped and suffix == ".parquet"):
        raise InputError(f"{path}: no format of rows has the suffix {path.suffix!r}; {LEGAL}", _rename(path))
    if suffix == ".parquet":
        pyarrow_parquet()
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
        if zipped and head.startswith(GZIP):
            with _open(path) as stream:
                head = stream.read(4096)
        elif zipped and head:
            raise InputError(f"{path}: is not gzip", "let the name end without .gz")
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return  # the reader tells how far it came
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}", f"check it with: ls -l {path}"
        ) from error
    if not head.removeprefix(BOM).strip() and len(head) < 4096:
        raise _empty(str(path))
    _look(head, str(path), suffix)


def _look(head: bytes, name: str, suffix: str) -> None:
    """Raise where the first bytes of a file are not those of its format."""
    if suffix == ".parquet" and head.startswith(PARQUET):
        return
    for magic, what, hint in LOOKS:
        if head.startswith(magic):
            raise InputError(f"{name}: looks like {what}", hint)
    if b"\0" in head:
        raise InputError(
            f"{name}: is binary, saw a NUL byte at byte {head.index(0)}", f"{LEGAL}, as UTF-8 text"
        )
    if suffix == ".parquet":
        raise InputError(
            f"{name}: is not parquet, it looks like text", "name it by its format, such as .jsonl"
        )


def _missing(source: str, path: Path) -> InputError:
    if "://" in source:
        return InputError(
            f"{source}: addresses are not read", "download the file first, for example with curl -LO"
        )
    if not isdir(path.parent):
        return InputError(f"{source}: there is no folder {str(path.parent)!r}", _hub_hint(source))
    near = get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    hint = f"did you mean {str(path.parent / near[0])!r}?" if near else _hub_hint(source)
    return InputError(f"{source}: there is no such file", hint)


def _hub_hint(source: str) -> str:
    """What else the name may mean: ``org/name`` is how the Hub names datasets."""
    if source.count("/") == 1 and not source.startswith((".", "/", "~")) and not Path(source).suffix:
        return f"a dataset of the Hugging Face Hub is written hf:{source}"
    return "name a file, a folder of files, - for standard input, or hf:org/name"


def _data_files(folder: Path) -> list[Path]:
    def holds_rows(path: Path) -> bool:
        return path.is_file() and not path.name.startswith(".") and suffix_of(path) in READERS

    files = sorted(path for path in folder.iterdir() if holds_rows(path))
    if not files:
        deeper = sorted(str(path.parent) for path in folder.rglob("*") if holds_rows(path))
        hint = f"there are some in {deeper[0]!r}" if deeper else LEGAL
        raise NoDataError(f"{folder}: the folder holds no data files", hint)
    return files


def _rename(path: Path) -> str:
    return (
        "let the name tell the format, or pipe JSONL through -" if path.suffix else "add a suffix to the name"
    )


def _empty(name: str) -> InputError:
    return InputError(f"{name}: is empty: it holds no rows", "one row per line; the README shows the formats")


def count_lines(source: str, limit: int | None = None) -> int | None:
    """How many rows a JSONL file has, for a progress bar; None where only reading it all would tell."""
    path = Path(source)
    if path.suffix not in (".jsonl", ".ndjson") or not path.is_file():
        return limit
    with path.open("rb") as file:
        n = sum(1 for line in file if line.strip())
    return n if limit is None else min(n, limit)
