"""Writes a training file without its hits: lines of JSONL unchanged, rows of other formats as JSONL."""

import gzip
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, cast

import msgspec

from jurist.core.errors import ConfigError, InputError, StoreError
from jurist.data.overlap.report import Clean
from jurist.data.overlap.rows import RowCase
from jurist.inputs import read_rows

_UNSEEN, _KEEP, _DROP = 0, 1, 2


class Marks:
    """Which rows of a source stay, one byte a row. A row that was never marked could not be read."""

    def __init__(self, source: str) -> None:
        path = Path(source).expanduser()
        self.source = source
        self.lines = _suffix(path) in (".jsonl", ".ndjson") and path.is_file()
        self.kept = 0
        self._marks = bytearray()

    def mark(self, row: RowCase, *, keep: bool) -> None:
        """Note whether a row stays."""
        at = row.line if self.lines else row.number
        self._marks.extend(bytes(at + 1 - len(self._marks)))
        self._marks[at] = _KEEP if keep else _DROP
        self.kept += keep

    def keeps(self, at: int) -> bool:
        """Whether the row with this line (of JSONL) or number stays."""
        return at < len(self._marks) and self._marks[at] == _KEEP


def check_target(source: str, target: Path) -> None:
    """Raise where ``write_clean`` could not do its work, before anything is read."""
    if _suffix(target) not in (".jsonl", ".ndjson") or target.suffix == ".gz":
        raise ConfigError(f"{target}: the filtered rows are JSON lines", "let its name end in .jsonl")
    if source == "-" or (Path(source).exists() and not (Path(source).is_file() or Path(source).is_dir())):
        raise ConfigError("a stream cannot be read a second time", "write it to a file first, or leave --out")
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise ConfigError(f"{target} is the source itself", "name another file; the source stays as it is")


def write_clean(marks: Marks, target: Path) -> Clean:
    """Write the rows that stay, in one step; blank lines stay, rows that could not be read do not.

    Raises ``InputError`` where the source has changed since it was marked.
    """
    draft = target.with_name(target.name + ".tmp")
    taken, rows = sha256(), 0
    try:
        with draft.open("wb") as out:
            for is_row, data in _lines(marks) if marks.lines else _rows(marks):
                rows += is_row
                taken.update(data)
                out.write(data)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    if rows != marks.kept:
        draft.unlink()
        raise InputError(f"{marks.source}: has changed while it was read", "run the same command again")
    draft.replace(target)
    return Clean(target.name, rows, taken.hexdigest())


def _lines(marks: Marks) -> Iterator[tuple[bool, bytes]]:
    """The lines that stay as they are, and whether each is a row."""
    path = Path(marks.source).expanduser()
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with cast("IO[bytes]", opened(path, "rb")) as file:
        for number, line in enumerate(file, 1):
            if marks.keeps(number):
                yield True, line
            elif not line.strip():
                yield False, line


def _rows(marks: Marks) -> Iterator[tuple[bool, bytes]]:
    """The rows that stay, all their fields, one JSON object a line."""
    for row in read_rows(marks.source, lambda row: row, on_bad=lambda _error: None):
        if marks.keeps(row.number):
            yield True, msgspec.json.encode(row.fields) + b"\n"


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix
