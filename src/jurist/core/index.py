"""Where each record of a run folder stands: an SQLite file that can always be made again from the lines."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from jurist.core.blocks import Block, Extent, changed, checksum_of, unsealed_lines
from jurist.core.errors import StoreError
from jurist.core.files import is_sealed, lines_from, read_line
from jurist.core.hash_set import HashSet, Seen
from jurist.core.index_file import (
    check_whole,
    checksum,
    commit,
    connect,
    copied,
    read_only,
    temporary,
    write_checksum,
)
from jurist.core.index_state import DecisionPlace, FileState, Waiting
from jurist.core.run_lines import (
    CASES,
    DECISIONS,
    FILES,
    JUDGMENTS,
    PROMPTS,
    CaseHead,
    DecisionHead,
    DecisionKeys,
    JudgmentHead,
    OldJudgmentHead,
    PromptHead,
)
from jurist.core.types import Status

INDEX = "index.sqlite"
_DECIDED = "decided"
"""The row of the table of files with the number of cases that have a decision, as of the last closing."""

WAITING = 2000
"""Records that are written to the index at once."""
PAGE = 1000
"""Rows that are read at once: no reader holds a lock while its records are worked on."""

_OLD = 1 << 60
"""Is taken from the place of a decision whose case is not in the folder: it stands before all others."""


class Index:
    """The index of a folder: kept beside the files by the one who writes them, else in a temporary file.

    ``unsealed`` as in ``Records``. Opening it reads what the files hold beyond it; an index that does not
    fit the files, or is damaged, is made again. For a writer every byte of the cases, judgments and
    decisions is compared with the checksums of their blocks: what it rests on later need not be read again.
    """

    def __init__(self, folder: Path, unsealed: dict[str, int], *, write: bool = False) -> None:
        self._folder, self._unsealed, self._write = folder, unsealed, write
        self._waiting = Waiting()
        self._states: dict[str, FileState] = {}
        # A case was damaged, so that a decision may rest on what is not there.
        self._case_gone = False
        # What a new folder was asked about; None where the database knows more.
        self._seen: Seen | None = None
        self._database = self._opened()

    def _opened(self) -> sqlite3.Connection:
        path = self._folder / INDEX
        for fresh in (False, True):
            database = None
            try:
                if not fresh:
                    check_whole(path)
                database = connect(path, fresh=fresh) if self._write else read_only(path, fresh=fresh)
                self._database = database
                self._catch_up()
                return self._database
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if database:
                    database.close()
                if fresh:
                    raise StoreError(
                        f"cannot keep the index {path}: {error}",
                        hint="make room, or choose a disk that can be written to",
                    ) from error
            except BaseException:
                if database:
                    database.close()
                raise
        raise AssertionError("an index is opened or refused")

    def close(self, *, write: bool = True) -> None:
        """Write what waits, if anything is to be written, and close the file."""
        write = write and self._write
        try:
            if write:
                number = self.decisions()
                self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, 0, 0)", (_DECIDED, number))
                commit(self._database)
        except sqlite3.Error:
            write = False  # the lines are kept, and the next process reads what the index lacks
        finally:
            self._database.close()
        if write:
            write_checksum(self._folder / INDEX, checksum(self._folder / INDEX))

    def again(self) -> None:
        """Make the index again from the files: it named a record that is not where it says."""
        self._database.close()
        self._waiting, self._states = Waiting(), {}
        self._database = connect(self._folder / INDEX, fresh=True) if self._write else temporary()
        self._catch_up()

    # What a record's line was written at.

    def add_case(self, digest: str, at: int, line: bytes) -> None:
        """A line of cases.jsonl that begins at ``at`` (so of all of these)."""
        self._waiting.cases[digest] = at
        self._added(CASES, at, line, digest)

    def add_prompt(self, prompt_id: str, at: int, line: bytes) -> None:
        """A line of prompts.jsonl; shared texts have no id."""
        if prompt_id:
            self._waiting.prompts[prompt_id] = at
        self._added(PROMPTS, at, line, prompt_id)

    def add_judgment(self, key: str, at: int, line: bytes, *, failed: bool) -> None:
        """A line of judgments.jsonl. One that did not fail is not replaced by one that did."""
        known = self._waiting.judgments.get(key)
        if known is None or not failed or known[1]:
            self._waiting.judgments[key] = at, failed
        self._added(JUDGMENTS, at, line, key)

    def add_decision(self, head: DecisionHead, at: int, line: bytes) -> None:
        """A line of decisions.jsonl; it replaces an earlier one about the same case."""
        place = at - _OLD if head.case is None else head.case
        row = DecisionPlace(head.case_id, head.digest, at, head.complete, place)
        self._waiting.decisions[head.case_id, head.digest] = row
        self._added(DECISIONS, at, line, head.digest)

    # Where records stand.

    def case(self, digest: str) -> int | None:
        """Where the case with this digest stands."""
        at = self._waiting.cases.get(digest)
        if at is None and self._is_new(digest):
            return None
        return at if at is not None else self._one("SELECT at FROM cases WHERE digest = ?", digest)

    def prompt(self, prompt_id: str) -> int | None:
        """Where the prompt with this hash stands."""
        at = self._waiting.prompts.get(prompt_id)
        if at is None and self._is_new(prompt_id):
            return None
        return at if at is not None else self._one("SELECT at FROM prompts WHERE id = ?", _blob(prompt_id))

    def judgment(self, key: str, *, failed: bool = False) -> int | None:
        """Where the judgment of this key stands; ``failed``: also one whose call failed."""
        known = self._waiting.judgments.get(key)
        if known is not None and (failed or not known[1]):
            return known[0]
        if known is None and self._is_new(key):
            return None
        which = "" if failed else " AND failed = 0"
        return self._one(f"SELECT at FROM judgments WHERE key = ?{which}", _blob(key))

    def decision(self, case_id: str, digest: str, *, failed: bool = False) -> int | None:
        """Where the decision about this very case stands; ``failed``: also if a judgment under it failed."""
        known = self._waiting.decisions.get((case_id, digest))
        if known is not None:
            return known.at if known.complete or failed else None
        if self._is_new(digest):
            return None
        which = "" if failed else " AND complete = 1"
        return self._one(f"SELECT at FROM decisions WHERE case_id = ? AND digest = ?{which}", case_id, digest)

    def last(self, case_id: str) -> int | None:
        """Where the last decision about a case of this id stands."""
        self.flush()
        return self._one("SELECT max(at) FROM decisions WHERE case_id = ?", case_id)

    def counts(self) -> tuple[int, int]:
        """(judgments that did not fail, decisions under which none failed)."""
        self.flush()
        judgments = self._one("SELECT count(*) FROM judgments WHERE failed = 0") or 0
        return judgments, self._one("SELECT count(*) FROM decisions WHERE complete = 1") or 0

    def decisions(self) -> int:
        """How many cases have a decision."""
        self.flush()
        known = self._one("SELECT size FROM files WHERE name = ?", _DECIDED)
        return known or self._one("SELECT count(DISTINCT case_id) FROM decisions") or 0

    def settled(self) -> HashSet:
        """The digests of the cases that are decided, no judgment under them failed or lost."""
        self.flush()
        rows = self._database.execute("SELECT digest FROM decisions WHERE complete = 1")
        return HashSet(digest for (digest,) in rows)

    def in_order(
        self, prefix: str = "", after: tuple[int, int] | None = None, *, every: bool = False
    ) -> Iterator[DecisionPlace]:
        """The last decision of each case, in the order of the cases; ids that begin with ``prefix``.

        ``after``: only those behind this (place, at). ``every``: that of each content which had this id.
        """
        self.flush()
        later = "SELECT 1 FROM decisions AS e WHERE e.case_id = d.case_id AND e.at > d.at"
        last = "" if every else f"AND NOT EXISTS ({later})"
        sql = f"""SELECT case_id, digest, at, complete, place FROM decisions AS d
            WHERE (place, at) > (?, ?) AND substr(case_id, 1, {len(prefix)}) = ? {last}
            ORDER BY place, at LIMIT {PAGE}"""
        place, at = after or (-(1 << 62), -1)
        while rows := self._rows(sql, place, at, prefix):
            for row in rows:
                yield DecisionPlace(*row)
            place, at = rows[-1][4], rows[-1][2]

    def damaged(self) -> list[tuple[str, int]]:
        """(file, offset) of lines that could not be read when they were indexed."""
        return [(name, at) for name, at in self._rows("SELECT name, at FROM damaged ORDER BY name, at")]

    # What was found to be damaged.

    def forget_damage(self) -> None:
        """The damaged lines are blank now."""
        self._change("DELETE FROM damaged")

    def blanked(self, name: str, at: int) -> None:
        """A damaged line was overwritten: the checksums are those of the file now, unless more is wrong."""
        self.flush()
        path, state = self._folder / name, self._state(name)
        sql = "SELECT at, size FROM blocks WHERE name = ? AND at <= ? ORDER BY at DESC LIMIT 1"
        for start, size in self._rows(sql, name, at):
            if not unsealed_lines(path, Block(start, size, 0), self._unsealed.get(name, 0)):
                crc = checksum_of(path, start, size)
                self._change("UPDATE blocks SET crc = ? WHERE name = ? AND at = ?", crc, name, start)
        if state.size and state.last == at:
            state.crc = self._crc(name, state)
            self._change("UPDATE files SET crc = ? WHERE name = ?", state.crc, name)

    def drop_judgment(self, key: str) -> None:
        """Forget a judgment, so that it is asked again."""
        self._waiting.judgments.pop(key, None)
        self._change("DELETE FROM judgments WHERE key = ?", _blob(key))

    def flush(self) -> None:
        """Put what waits into the database, with how far each file is in it, in one transaction."""
        waiting, self._waiting = self._waiting, Waiting()
        if not waiting.count:
            return
        self._seen_last()
        try:
            run = self._database.executemany
            run("INSERT OR REPLACE INTO cases VALUES (?, ?)", waiting.cases.items())
            rows = [(_blob(prompt), at) for prompt, at in waiting.prompts.items()]
            run("INSERT OR REPLACE INTO prompts VALUES (?, ?)", rows)
            run(
                "INSERT INTO judgments VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "at = excluded.at, failed = excluded.failed WHERE excluded.failed <= failed",
                [(_blob(key), at, failed) for key, (at, failed) in waiting.judgments.items()],
            )
            run("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?, ?, ?)", waiting.decisions.values())
            run("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)", self._blocks_ended())
            states = [(name, s.size, s.last, s.crc) for name, s in self._states.items()]
            states.append((_DECIDED, 0, 0, 0))
            run("INSERT OR REPLACE INTO files (name, size, last, crc) VALUES (?, ?, ?, ?)", states)
            commit(self._database)
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"cannot write to {self._folder / INDEX}: {error}",
                hint="run the same command again: what was judged so far is kept",
            ) from error
        except sqlite3.DatabaseError:
            self.again()

    def _added(self, name: str, at: int, line: bytes, text: str = "") -> None:
        state = self._states.get(name) or self._states.setdefault(name, FileState())
        state.size, state.last, state.line = at + len(line) + 1, at, line
        state.block = crc32(b"\n", crc32(line, state.block))
        if self._seen is not None:
            self._seen.add(text)
        self._waiting.count += 1
        if self._waiting.count >= WAITING:
            self.flush()

    def _is_new(self, text: str) -> bool:
        """Whether a hash was certainly not added: in a new folder most are not, and nobody need be asked."""
        return self._seen is not None and text not in self._seen

    def _blocks_ended(self) -> list[tuple[str, int, int, int]]:
        """The block of each file that ends here."""
        ended: list[tuple[str, int, int, int]] = []
        for name, state in self._states.items():
            if state.size > state.begin:
                ended.append((name, state.begin, state.size - state.begin, state.block))
                state.begin, state.block = state.size, 0
        return ended

    def _seen_last(self) -> None:
        """Note the checksum of each file's last line: by it a file that was exchanged is recognised."""
        for state in self._states.values():
            if state.line is not None:
                state.crc, state.line = crc32(state.line), None

    def _crc(self, name: str, state: FileState) -> int:
        try:
            file = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return -1
        try:
            return crc32(read_line(file, state.last))
        finally:
            os.close(file)

    def _one(self, sql: str, *values: object) -> int | None:
        rows = self._rows(sql, *values)
        return rows[0][0] if rows else None

    def _rows(self, sql: str, *values: object) -> list[Any]:
        """The rows of a question; a damaged index is made again first."""
        try:
            return self._database.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            raise StoreError(f"cannot read {self._folder / INDEX}: {error}") from error
        except sqlite3.DatabaseError:
            self.again()
            return self._database.execute(sql, values).fetchall()

    def _change(self, sql: str, *values: object) -> None:
        try:
            self._database.execute(sql, values)
        except sqlite3.DatabaseError:
            self.again()
            self._database.execute(sql, values)

    # Reading the files.

    def _catch_up(self) -> None:
        """Read the lines that are not in the index; all where it is not that of these files."""
        rows = self._database.execute("SELECT name, size, last, crc FROM files").fetchall()
        kept = [row for row in rows if row[0] in FILES]
        self._states = {name: FileState(size, last, crc, begin=size) for name, size, last, crc in kept}
        sizes = {name: _size(self._folder / name) for name in FILES}
        for name, state in self._states.items():
            if state.size > sizes.get(name, 0) or (state.size and state.crc != self._crc(name, state)):
                raise sqlite3.DatabaseError("the files are not those that were indexed")
        if self._write and not kept and not any(sizes.values()):
            self._seen = Seen()
        damaged = self._verified() if self._write else []
        behind = {name: self._state(name).size for name in FILES if sizes[name] > self._state(name).size}
        if behind and not self._write:
            self._database = copied(self._database)
        for name, size in behind.items():
            for at, line in lines_from(self._folder / name, size):
                self._read_line(name, at, line)
        self.flush()
        if self._write:
            self._forget(damaged, behind.get(DECISIONS))

    def _verified(self) -> list[tuple[str, Extent]]:
        """The damaged lines in what decisions rest on: cases, judgments, and they themselves."""
        found: list[tuple[str, Extent]] = []
        for name in (CASES, JUDGMENTS, DECISIONS):
            path, sealed_from = self._folder / name, self._unsealed.get(name, 0)
            sql = "SELECT at, size, crc FROM blocks WHERE name = ? ORDER BY at"
            blocks = [Block(*row) for row in self._database.execute(sql, (name,))]
            if sum(block.size for block in blocks) != self._state(name).size:
                raise sqlite3.DatabaseError("an index of before there were blocks")
            for block in changed(path, blocks):
                lines = unsealed_lines(path, block, sealed_from)
                if not lines:
                    raise sqlite3.DatabaseError("the files are not those that were indexed")
                found += [(name, line) for line in lines]
        return found

    def _forget(self, damaged: list[tuple[str, Extent]], new_from: int | None) -> None:
        """Forget what is damaged, so that it is asked again, and the decisions that it was under.

        ``new_from``: where the decisions begin that the index did not know.
        """
        for name, line in damaged:
            self._database.execute("INSERT OR REPLACE INTO damaged VALUES (?, ?)", (name, line.at))
            within = line.at, line.at + line.size
            table = name.removesuffix(".jsonl")
            self._database.execute(f"DELETE FROM {table} WHERE at BETWEEN ? AND ?", within)
            self._case_gone |= name == CASES
        if damaged:
            self._database.execute("UPDATE files SET size = 0 WHERE name = ?", (_DECIDED,))
        if self._case_gone:
            gone = "place >= 0 AND place NOT IN (SELECT at FROM cases)"
            self._database.execute(f"UPDATE decisions SET complete = 0 WHERE {gone}")
        start = 0 if any(name == JUDGMENTS for name, _ in damaged) else new_from
        path = self._folder / DECISIONS
        if start is None:
            return
        few = path.stat().st_size - start < 1 << 20
        rows = self._database.execute("SELECT key FROM judgments")
        known = None if few else HashSet(key for (key,) in rows)
        for at, line in lines_from(path, start):
            try:
                keys = _decode_keys(line).judgments
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            there = (key in known if known is not None else self.judgment(key, failed=True) for key in keys)
            if not all(found is not None and found is not False for found in there):
                self._database.execute("UPDATE decisions SET complete = 0 WHERE at = ?", (at,))

    def _state(self, name: str) -> FileState:
        return self._states.get(name) or FileState()

    def _read_line(self, name: str, at: int, line: bytes) -> None:
        old = at < self._unsealed.get(name, 0)
        if not line.strip():
            self._case_gone |= name == CASES
            self._added(name, at, line)
            return
        try:
            if not (old or is_sealed(line)):
                raise msgspec.DecodeError("its checksum is wrong")
            if name == CASES:
                self.add_case(_decode_case(line).digest, at, line)
            elif name == PROMPTS:
                self.add_prompt(_decode_prompt(line).id, at, line)
            elif name == DECISIONS:
                self.add_decision(_decode_decision(line), at, line)
            elif old:
                head = _decode_old_judgment(line)
                self.add_judgment(head.key, at, line, failed=_failed(head.judgment.verdict.status))
            else:
                head = _decode_judgment(line)
                self.add_judgment(head.key, at, line, failed=_failed(head.verdict.status))
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._case_gone |= name == CASES
            self._database.execute("INSERT OR REPLACE INTO damaged VALUES (?, ?)", (name, at))
            self._added(name, at, line)


def _failed(status: Status) -> bool:
    return status is Status.FAILED


def _blob(digits: str) -> bytes | str:
    """A hash as bytes; what is none (imported runs may have other names) as it is."""
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return digits


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


_decode_case = msgspec.json.Decoder(CaseHead).decode
_decode_prompt = msgspec.json.Decoder(PromptHead).decode
_decode_judgment = msgspec.json.Decoder(JudgmentHead).decode
_decode_old_judgment = msgspec.json.Decoder(OldJudgmentHead).decode
_decode_decision = msgspec.json.Decoder(DecisionHead).decode
_decode_keys = msgspec.json.Decoder(DecisionKeys).decode
