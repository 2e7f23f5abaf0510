"""An append-only file of lines: one write each, no torn line left behind, read again by offset.

Where fetched and prepared files are kept between runs.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from jurist.core.errors import StoreError

Warn = Callable[[str], None]
T = TypeVar("T")


class Lines:
    """An append-only file. Opening it cuts off the torn last line of a process that was killed."""

    def __init__(self, path: Path, warn: Warn) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StoreError(f"cannot open {path}: {error.strerror or error}") from error
        size = os.fstat(self._file).st_size
        self._size = _whole(self._file, size)
        if self._size < size:
            warn(f"{path.name}: cut off a torn last line of {size - self._size} bytes")
            os.ftruncate(self._file, self._size)

    def append(self, line: bytes) -> int:
        """Write one line; returns its offset. A write that fails half way is taken back."""
        offset, data = self._size, line + b"\n"
        try:
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            os.ftruncate(self._file, offset)
            raise StoreError(
                f"cannot write to {self.path}: {error.strerror or error}",
                hint="make room, then run the same command again: what was judged so far is kept",
            ) from error
        self._size = offset + len(data)
        return offset

    def read(self, offset: int) -> bytes:
        """The line that begins at ``offset``."""
        return read_line(self._file, offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def scan(path: Path, kind: type[T]) -> Iterator[tuple[int, T]]:
    """(offset, decoded line) of every whole line; a line that cannot be read is an error with its number."""
    decode = msgspec.json.Decoder(kind).decode
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield offset, decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise StoreError(
                    f"{path}:{number}: not a line that this version writes ({error})",
                    hint=f"take the line out (sed -i {number}d {path}) and run the same command again",
                ) from error
            offset += len(line)


def read_line(file: int, offset: int) -> bytes:
    """The line that begins at ``offset`` of an open file."""
    parts: list[bytes] = []
    while True:
        block = os.pread(file, 16384, offset)
        head, newline, _ = block.partition(b"\n")
        parts.append(head)
        if newline or not block:
            return b"".join(parts)
        offset += len(block)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file in one step: readers see the old one or the new one."""
    draft = path.with_suffix(path.suffix + ".tmp")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def _whole(file: int, size: int) -> int:
    """How much of a file of ``size`` bytes is whole lines."""
    end = size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def cache_folder(kind: str) -> Path:
    """``$XDG_CACHE_HOME/jurist/KIND`` (by default ``~/.cache/jurist/KIND``); it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jurist" / kind
