"""The published files of benchmarks: where they are, which of a folder is meant, and their rows."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TypeVar

import msgspec

from jurist.core.errors import InputError
from jurist.core.json_value import JsonValue
from jurist.inputs import read_rows as read_source
from jurist.inputs.lines import NoDataError
from jurist.inputs.lines import Row as SourceRow

Row = TypeVar("Row")

RAW = "https://raw.githubusercontent.com"
HUB = "https://huggingface.co/datasets"


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A published file: its address, its path below the benchmark's folder, and its hash."""

    url: str
    path: str
    sha256: str


def on_hub(dataset: str, revision: str, files: dict[str, tuple[str, str]]) -> tuple[PinnedFile, ...]:
    """Files of a dataset of the Hugging Face Hub at a commit, as for ``on_github``."""
    return tuple(
        PinnedFile(f"{HUB}/{dataset}/resolve/{revision}/{there}", here, sha)
        for there, (here, sha) in files.items()
    )


def on_github(repository: str, commit: str, files: dict[str, tuple[str, str]]) -> tuple[PinnedFile, ...]:
    """Files of a repository at a commit: path there, and (path below the benchmark's folder, sha256)."""
    return tuple(
        PinnedFile(f"{RAW}/{repository}/{commit}/{there}", here, sha) for there, (here, sha) in files.items()
    )


def hub_files(path: Path, dataset: str, split: str) -> list[Path]:
    """Files of a split as a dataset's repository holds them: ``data/SPLIT-*`` or ``SPLIT-*``.

    ``path`` is the repository, or a folder in which it has the dataset's name.
    """
    for folder in (path, path / dataset):
        for place in (folder / "data", folder):
            if files := sorted(place.glob(f"{split}-*")):
                return files
    return []


def published_file(path: Path, name: str, folders: Sequence[str], repository: str) -> Path:
    """``path`` itself, or the file ``name`` (a pattern) in it, or in one of ``folders`` below it.

    Raises ``NoDataError``, with the repository of GitHub that has it.
    """
    if not path.is_dir():
        return path
    for folder in (".", *folders):
        if files := sorted(path.joinpath(folder).glob(name)):
            return files[0]
    raise missing(path, f"file {name}", folders, repository)


def missing(path: Path, what: str, folders: Sequence[str], repository: str) -> NoDataError:
    """The error that ``what`` lies neither in ``path`` nor in one of ``folders`` below it."""
    return NoDataError(
        f"{path}: no {what} here or in {' or '.join(folders)}",
        hint=f"git clone https://github.com/{repository}, and give its folder",
    )


def one_file(path: Path, *patterns: str) -> Path:
    """A file of results: ``path`` itself, or the one file in a folder that fits the first fitting pattern.

    Raises ``InputError`` where a folder has none, or several.
    """
    if not path.is_dir():
        return path
    for pattern in patterns:
        files = sorted(file for file in path.glob(pattern) if file.is_file())
        if len(files) == 1:
            return files[0]
        if files:
            names = ", ".join(file.name for file in files[:4]) + (", ..." if len(files) > 4 else "")
            raise InputError(
                f"{path} holds {len(files)} files of results: {names}", "name the one that is meant"
            )
    raise InputError(f"{path}: no file of results ({' or '.join(patterns)}) in this folder", "name the file")


def read_rows(path: Path, row: type[Row]) -> Iterator[Row]:
    """The rows of a file of any format, a folder or an ``hf:`` name; raises naming file, line and field."""

    def typed(source: SourceRow) -> Row:
        try:
            return msgspec.convert(source.fields, row)
        except msgspec.ValidationError as error:
            raise InputError(str(error)) from error

    return read_source(str(path), typed)


def read_lines(path: Path, row: type[Row]) -> Iterator[Row]:
    """The rows of a JSON-lines file; raises ``InputError`` naming file, line and field."""
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        if line.strip():
            yield decoded(line, row, f"{path}, line {number}")


def read_list(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a file that is one JSON array; raises ``InputError`` naming file and field."""
    return decoded(read_bytes(path), list[row], str(path))


def decoded(data: bytes, kind: type[Row], place: str) -> Row:
    """A JSON value of a type; raises ``InputError`` with the place, and with a field that is NaN or infinite.

    Python's own writer, which most official code uses, writes those as ``NaN`` and ``Infinity``.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        field = _not_finite(data)
        if field is None:
            raise InputError(f"{place}: {error}") from error
        raise InputError(
            f"{place}: {field} is no finite number",
            "the program that wrote it failed there: run it again, or take the entry out",
        ) from error


def _not_finite(data: bytes) -> str | None:
    """The field of the first NaN or infinity in what Python's JSON writer wrote; None if there is none."""
    if not re.search(rb"\b(NaN|Infinity)\b", data):
        return None
    try:
        value: JsonValue = json.loads(data)
    except ValueError:
        return None
    unread = [("", value)]
    while unread:
        name, item = unread.pop(0)
        if isinstance(item, dict):
            unread += [(f"{name}.{key}" if name else key, entry) for key, entry in item.items()]
        elif isinstance(item, list):
            unread += [(f"{name}[{i}]", entry) for i, entry in enumerate(item)]
        elif isinstance(item, float) and not isfinite(item):
            return f"{name or 'the value'} ({item})"
    return None


def read_bytes(path: Path) -> bytes:
    """What a file holds; raises ``InputError`` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
