"""Files that survive kills: sealed lines that are appended and read again by offset, and files written whole.

Also where fetched and prepared files are kept between runs.
"""

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import msgspec

from jurist.core.errors import StoreError

Warn = Callable[[str], None]
T = TypeVar("T")

_SEAL = b',"crc":"'
_SEAL_LENGTH = len(_SEAL) + len('01234567"}')


def seal(line: bytes) -> bytes:
    """A JSON object with a last field ``crc``: the CRC-32 of all bytes before it, as 8 hex digits."""
    return b'%s%s%08x"}' % (line[:-1], _SEAL, crc32(line[:-1]))


def is_sealed(line: bytes) -> bool:
    """Whether a line ends with the right checksum of what stands before it."""
    if line[-_SEAL_LENGTH:-10] != _SEAL or line[-2:] != b'"}':
        return False
    return line[-10:-2] == b"%08x" % crc32(line[:-_SEAL_LENGTH])


class Lines:
    """An append-only file. Opening it cuts off the torn last line of a process that was killed."""

    def __init__(self, path: Path, warn: Warn) -> None:
        self.path = path
        self._file = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        size = os.fstat(self._file).st_size
        self.size = _whole(self._file, size)
        if self.size < size:
            warn(f"{path.name}: cut off a torn last line of {size - self.size} bytes")
            os.ftruncate(self._file, self.size)

    def append(self, line: bytes) -> int:
        """Write one line; returns its offset. A write that fails half way is taken back."""
        offset, data = self.size, line + b"\n"
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
        self.size = offset + len(data)
        return offset

    def read(self, offset: int) -> bytes:
        """The line that begins at ``offset``."""
        return read_line(self._file, offset)

    def starts_at(self, offset: int) -> bool:
        """Whether a line begins at ``offset``."""
        return offset == 0 or os.pread(self._file, 1, offset - 1) == b"\n"

    def blank(self, offset: int) -> None:
        """Overwrite an unsealed line with blanks; a sealed one is left as it is."""
        line = self.read(offset)
        if is_sealed(line):
            return
        # A file that is open for appending cannot be written to anywhere else.
        file = open_regular(self.path, os.O_WRONLY)
        try:
            os.pwrite(file, b" " * len(line), offset)
        finally:
            os.close(file)

    def sync(self) -> None:
        """Have the system write all lines to the disk; raises ``StoreError`` where the file is gone."""
        size = self.size
        os.fsync(self._file)
        try:
            there = os.stat(self.path).st_size
        except OSError:
            there = -1
        # Not by the inode, which some network file systems change.
        if there < size:
            raise StoreError(
                f"{self.path} was moved or deleted while it was written to",
                hint="what was judged so far is kept where the folder is now: go on with --out there",
            )

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def scan(path: Path, kind: type[T]) -> Iterator[tuple[int, T]]:
    """(offset, decoded line) of every whole line; a line that cannot be read is an error with its number."""
    decode = msgspec.json.Decoder(kind).decode
    for number, (offset, line) in enumerate(lines_from(path), 1):
        try:
            yield offset, decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{path}:{number}: not a line that this version writes ({error})",
                hint=f"take the line out (sed -i {number}d {path}) and run the same command again",
            ) from error


def lines_from(path: Path, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """(offset, line without its end) of every whole line from an offset on."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield offset, line[:-1]
            offset += len(line)


def line_number(path: Path, offset: int) -> int:
    """The number, from 1, of the line that begins at an offset."""
    number, left = 1, offset
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            number += block.count(b"\n")
            left -= len(block)
    return number


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


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of a plain file; raises ``StoreError`` for a link, a device and what cannot be opened.

    Folders of runs come from elsewhere too: a link in one must not lead to another file.
    """
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        why = "it is a link" if path.is_symlink() else error.strerror or error
        raise StoreError(f"cannot open {path}: {why}") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise StoreError(f"cannot open {path}: it is not a plain file")
    return file


def read_regular(path: Path) -> bytes:
    """The content of a plain file; see ``open_regular``."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        return file.read()


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file in one step: readers see the old one or the new one, a link is replaced."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        # Exclusive, so that a link of that name that somebody put there is not followed.
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(file, "wb") as draft_file:
            draft_file.write(data)
            draft_file.flush()
            os.fsync(file)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, in one step."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def file_hash(path: str | os.PathLike[str]) -> str | None:
    """sha256 of a file, 64 hex digits; None for what is no file."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


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
