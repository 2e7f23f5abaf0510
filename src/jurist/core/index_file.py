"""The SQLite file of an index: opened for one writer or for readers, with a checksum while it is closed."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from jurist.core.errors import StoreError

_TABLES = """
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, size INT, last INT, crc INT);
CREATE TABLE IF NOT EXISTS blocks
  (name TEXT, at INT, size INT, crc INT, PRIMARY KEY (name, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS damaged (name TEXT, at INT, PRIMARY KEY (name, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cases (digest TEXT PRIMARY KEY, at INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prompts (id BLOB PRIMARY KEY, at INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS judgments (key BLOB PRIMARY KEY, at INT, failed INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions
  (case_id TEXT, digest TEXT, at INT, complete INT, place INT, PRIMARY KEY (case_id, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS in_order ON decisions (place, at);
"""

_CHECKSUM_AT = 68
"""Offset of SQLite's application id: the checksum of a closed index, 0 while it is written to."""


def check_whole(path: Path) -> None:
    """Raise ``sqlite3.DatabaseError`` where a closed index is not what was written."""
    if path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as file:
        written = int.from_bytes(os.pread(file.fileno(), 4, _CHECKSUM_AT))
    if written and written != checksum(path):
        raise sqlite3.DatabaseError("the index is damaged")


def checksum(path: Path) -> int:
    total, at = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if not at:
                block = block[:_CHECKSUM_AT] + bytes(4) + block[_CHECKSUM_AT + 4 :]
            total, at = crc32(block, total), at + len(block)
    return total or 1


def write_checksum(path: Path, checksum: int) -> None:
    with suppress(OSError), path.open("r+b") as file:
        os.pwrite(file.fileno(), checksum.to_bytes(4), _CHECKSUM_AT)


def connect(path: Path, *, fresh: bool) -> sqlite3.Connection:
    for name in (path, path.with_name(path.name + "-journal")):
        if name.is_symlink():
            raise StoreError(f"cannot open {name}: it is a link")
        if fresh:
            with suppress(OSError):
                name.unlink()
    if path.exists():
        write_checksum(path, 0)
    database = _set(sqlite3.connect(path, timeout=60, check_same_thread=False))
    database.executescript(_TABLES)
    return _begun(database)


def read_only(path: Path, *, fresh: bool) -> sqlite3.Connection:
    if fresh or path.is_symlink() or not path.is_file():
        return temporary()
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60, check_same_thread=False
    )
    return _set(database)


def temporary() -> sqlite3.Connection:
    database = _set(sqlite3.connect("", check_same_thread=False))
    database.executescript(_TABLES)
    return _begun(database)


def copied(database: sqlite3.Connection) -> sqlite3.Connection:
    copy = _set(sqlite3.connect("", check_same_thread=False))
    database.backup(copy)
    database.close()
    copy.executescript(_TABLES)
    return _begun(copy)


def _begun(database: sqlite3.Connection) -> sqlite3.Connection:
    """A transaction is always open, so that a look-up takes no lock: 5 µs instead of 40. Others can read."""
    database.isolation_level = None
    database.execute("BEGIN")
    return database


def commit(database: sqlite3.Connection) -> None:
    if database.in_transaction:
        database.execute("COMMIT")
    database.execute("BEGIN")


def _set(database: sqlite3.Connection) -> sqlite3.Connection:
    # The lines are what is kept: a power loss that damages the index costs making it again.
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    database.execute("PRAGMA cache_size = -16000")
    return database
