"""Writes a run folder (docs/run-folder.md): one process at a time; resumed by ``Query.key``."""

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from filelock import AcquireReturnProxy, FileLock, Timeout

from jurist.core.errors import BusyError, StoreError
from jurist.core.files import Lines, Warn, write_json
from jurist.core.hash_set import HashSet
from jurist.core.index import Index
from jurist.core.recent import Recent
from jurist.core.records import (
    DamagedError,
    Records,
    asked_line,
    decision_of,
    pieces_of,
    prompt_id,
    sealed_line,
    texts_of,
)
from jurist.core.run_config import FORMAT, FREE, RUN, RunFacts, agreed, read_run, write_run
from jurist.core.run_lines import (
    CASES,
    DECISIONS,
    FILES,
    JUDGMENTS,
    LONGEST,
    NOWHERE,
    PROMPTS,
    SHORTEST,
    CaseLine,
    DecisionHead,
    DecisionLine,
    JudgmentLine,
    Piece,
    PromptLine,
    TextLine,
)
from jurist.core.types import Case, Conversation, Decision, Judgment, Query, Scorecard, Status

SCORECARD = "scorecard.json"
SYNC_SECONDS = 2.0
"""What was written is forced onto the disk so often (and at the end): all that a power loss can take."""


class _OpenCase(NamedTuple):
    """A case in work: where it stands, and its texts by length, for the references of its prompts."""

    case: Case
    digest: str
    offset: int
    texts: list[tuple[int, str]]


def claim(folder: Path) -> AcquireReturnProxy:
    """A folder for this process alone, as long as ``with`` lasts; a killed process gives it back.

    Raises ``BusyError`` where another process has it, ``StoreError`` where it cannot be written to.
    """
    lock = folder / ".lock"
    try:
        if lock.is_symlink():
            raise StoreError(f"cannot open {lock}: it is a link")
        # It may be given back by another thread than the one that took it.
        return FileLock(lock, thread_local=False).acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"another process is writing to the run folder {folder}",
            hint="wait for it, stop it, or choose another --out",
        ) from None
    except OSError as error:
        raise StoreError(
            f"cannot write to the run folder {folder}: {error.strerror or error}", hint="choose another --out"
        ) from error


class Store:
    """A run folder, open for writing by one process.

    Every record is with the operating system when the call returns: a killed process loses at most what
    was in flight, a power loss the last ``SYNC_SECONDS``. What failed (network, engine) or was damaged is
    asked again when a run is resumed; everything else is not.
    """

    def __init__(self, folder: Path, config: dict[str, Any], *, warn: Warn = lambda _: None) -> None:
        self.folder, self._warn = folder, warn
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the run folder {folder}: {error.strerror or error}") from error
        self._lock = claim(folder).lock
        self._lines: dict[str, Lines] = {}
        try:
            _unclaimed(folder)
            unsealed = self._open(config)
            self._records = Records(folder, unsealed)
            self._index = Index(folder, unsealed, write=True)
        except BaseException:
            for lines in self._lines.values():
                lines.close()
            self._lock.release()
            raise
        self._open_cases: Recent[str, _OpenCase] = Recent(512)
        self._prompts: Recent[str, int] = Recent(4096)
        # The template's texts: an offset once a text was seen twice, -1 before that.
        self._texts: Recent[str, int] = Recent(512)
        self._syncing = ThreadPoolExecutor(1, "jurist-sync")
        self._sync: Future[None] | None = None
        self._synced = time.monotonic()
        self._say_damage()
        self.kept = self._index.counts()
        """(judgments, decisions) that were already here."""
        if any(self.kept):
            judgments, decisions = self.kept
            warn(f"resumed {folder}: {decisions} decisions and {judgments} judgments are kept")

    def begin(self, case: Case, digest: str | None = None) -> int:
        """Note a case that is about to be judged, before anything is recorded about it; where it stands."""
        digest = digest or case.digest
        known = self._open_cases.get(case.id)
        if known is not None and known.digest == digest:
            return known.offset
        offset = self._index.case(digest)
        if offset is not None:
            try:
                self._records.case(offset)
            except DamagedError as error:
                self._damaged(error)
                offset = None
        if offset is None:
            line = sealed_line(CaseLine(digest, case))
            offset = self._lines[CASES].append(line)
            self._index.add_case(digest, offset, line)
        texts = sorted(enumerate(texts_of(case)), key=lambda numbered: -len(numbered[1]))
        self._open_cases.put(case.id, _OpenCase(case, digest, offset, texts))
        return offset

    def has_decided(self, case_id: str, digest: str) -> bool:
        """Whether this very case has a decision that is not taken again, as far as the index knows."""
        return self._index.decision(case_id, digest) is not None

    def place(self, key: str) -> int | None:
        """Where the judgment of a query stands, if its call did not fail."""
        return self._index.judgment(key)

    def recall(self, query: Query) -> Judgment | None:
        """The judgment of a query that was already paid for."""
        offset = self._index.judgment(query.key)
        if offset is None:
            return None
        try:
            judgment = self._records.judgment_of(offset, query)
        except DamagedError as error:
            self._damaged(error)
            self._index.drop_judgment(query.key)
            return None
        return judgment if judgment.verdict.status is not Status.FAILED else None

    def record(self, judgment: Judgment) -> None:
        """Append a judgment."""
        query = judgment.query
        prompt = self._prompt(query) if query.messages else None
        record = JudgmentLine(
            query.key, asked_line(query), judgment.completion, judgment.verdict, prompt, judgment.forced
        )
        line = sealed_line(record)
        offset = self._lines[JUDGMENTS].append(line)
        failed = judgment.verdict.status is Status.FAILED
        self._index.add_judgment(query.key, offset, line, failed=failed)
        self._sync_now_and_then()

    def decided(
        self, case_id: str, digest: str, *, texts: bool = True, failed: bool = False
    ) -> Decision | None:
        """The decision about this very case (its content, not only its id), if it was already taken.

        Without ``texts`` its judgments hold no prompts and no completions, which is much faster. ``failed``:
        also one under which a call failed, which a run would take again.
        """
        offset = self._index.decision(case_id, digest, failed=failed)
        if offset is None:
            return None
        try:
            line = self._records.decision(offset)
            if (line.case_id, line.digest) != (case_id, digest) or not (line.complete or failed):
                raise DamagedError(DECISIONS, offset, "it is not where the index says")
            judgments = tuple(self._joined(offset, line, texts=texts))
            return decision_of(line, judgments, self._records.meta(line))
        except DamagedError as error:
            self._damaged(error)
            return None

    def settled(self) -> HashSet:
        """The digests of the cases that were decided, with no judgment under them failed or damaged."""
        return self._index.settled()

    def size_of_decisions(self) -> int:
        """Bytes of decisions.jsonl."""
        return self._lines[DECISIONS].size

    def decide(self, decision: Decision, digest: str) -> None:
        """Append a decision."""
        opened = self._open_cases.get(decision.case_id)
        case = opened if opened is not None and opened.digest == digest else None
        keys = tuple(j.query.key for j in decision.judgments)
        places = tuple(self._index.judgment(key, failed=True) for key in keys)
        record = DecisionLine(
            decision.case_id,
            decision.verdict,
            keys,
            decision.agreement,
            decision.gold,
            decision.group,
            None if case is not None and decision.meta == case.case.meta else decision.meta,
            digest,
            all(j.verdict.status is not Status.FAILED for j in decision.judgments),
            tuple(NOWHERE if place is None else place for place in places),
            case.offset if case is not None else None,
        )
        line = sealed_line(record)
        offset = self._lines[DECISIONS].append(line)
        head = DecisionHead(record.case_id, digest, record.complete, record.case)
        self._index.add_decision(head, offset, line)
        self._open_cases.drop(decision.case_id)
        self._sync_now_and_then()

    def sync(self) -> None:
        """Force everything onto the disk, where other machines can read it."""
        self._force()

    def close(self) -> None:
        """Force everything onto the disk, close the files and let others in."""
        whole = False
        try:
            self._syncing.shutdown()
            self._force()
            whole = True
        finally:
            self._index.close(write=whole)
            self._records.close()
            for lines in self._lines.values():
                lines.close()
            self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, config: dict[str, Any]) -> dict[str, int]:
        """Open the files and adopt the configuration; returns what is unsealed."""
        before = read_run(self.folder) if (self.folder / RUN).exists() else None
        if before is not None:
            config = agreed(self.folder, before.config, config, FREE, self._warn)
        else:
            # First of all: files without it are nobody's, and who is killed between them must come back.
            write_run(self.folder, RunFacts(config, FORMAT, {}))
        self._lines = {name: Lines(self.folder / name, self._warn) for name in FILES}
        unsealed = {} if before is None else before.unsealed
        if before is not None and before.version < FORMAT:
            unsealed = {name: self._lines[name].size for name in (JUDGMENTS, DECISIONS)}
        facts = RunFacts(config, FORMAT, unsealed)
        if before is not None and facts != before:
            write_run(self.folder, facts)
        return unsealed

    def _joined(self, at: int, line: DecisionLine, *, texts: bool) -> list[Judgment]:
        read = self._records.judgment if texts else self._records.slim_judgment
        judgments: list[Judgment] = []
        for place, key in line.places():
            offset = self._index.judgment(key, failed=True) if place is None else place
            if offset is None:
                raise DamagedError(DECISIONS, at, "a judgment under it is missing")
            judgments.append(read(offset, key))
        return judgments

    def _prompt(self, query: Query) -> int:
        """Where the prompt of a query stands; it is written where it is not there yet."""
        name = prompt_id(query.messages)
        known = self._prompts.get(name)
        if known is not None:
            return known
        offset = self._index.prompt(name)
        if offset is not None:
            try:
                if self._records.prompt(offset) != query.messages:
                    raise DamagedError(PROMPTS, offset, "it is another prompt")
            except DamagedError as error:
                self._damaged(error)
                offset = None
        if offset is None:
            opened = self._open_cases.get(query.case_id)
            pieces = self._pieces(query.messages, opened)
            line = sealed_line(PromptLine(name, pieces, None if opened is None else opened.offset))
            offset = self._lines[PROMPTS].append(line)
            self._index.add_prompt(name, offset, line)
        return self._prompts.put(name, offset)

    def _pieces(
        self, messages: Conversation, opened: _OpenCase | None
    ) -> tuple[tuple[str, tuple[Piece, ...]], ...]:
        texts = opened.texts if opened is not None else []
        return tuple(
            (message.role, tuple(map(self._shared, self._parts(message.content, texts))))
            for message in messages
        )

    def _parts(self, text: str, known: list[tuple[int, str]]) -> list[str | int]:
        # A whole message that all prompts share, such as the system's, quotes nothing.
        return [text] if self._texts.get(text) is not None else pieces_of(text, known)

    def _shared(self, piece: str | int) -> Piece:
        """A piece, or the reference to a text that was seen before."""
        if isinstance(piece, int) or not SHORTEST <= len(piece) <= LONGEST:
            return piece
        known = self._texts.get(piece)
        if known is None:
            self._texts.put(piece, -1)
            return piece
        if known < 0:
            line = sealed_line(TextLine(piece))
            known = self._lines[PROMPTS].append(line)
            self._index.add_prompt("", known, line)
            self._texts.put(piece, known)
        return (known,)

    def _sync_now_and_then(self) -> None:
        if time.monotonic() - self._synced < SYNC_SECONDS:
            return
        if self._sync is not None:
            if not self._sync.done():
                return
            self._sync.result()
        self._synced = time.monotonic()
        self._sync = self._syncing.submit(self._force)

    def _force(self) -> None:
        # What others refer to goes first.
        for name in FILES:
            self._lines[name].sync()

    def _damaged(self, error: DamagedError) -> None:
        """Say what is damaged, and blank its line, so that it is not counted again once it is replaced."""
        self._warn(f"damaged: {self._records.damage(error)}; it is asked again where it is needed")
        lines = self._lines[error.file]
        if error.offset >= self._records.unsealed.get(error.file, 0) and lines.starts_at(error.offset):
            lines.blank(error.offset)
            self._index.blanked(error.file, error.offset)

    def _say_damage(self) -> None:
        for name, offset in self._index.damaged():
            self._damaged(DamagedError(name, offset, "it cannot be read"))
        self._index.forget_damage()


def write_scorecard(folder: Path, scorecard: Scorecard) -> None:
    """Write the scorecard of a run."""
    write_json(folder / SCORECARD, scorecard)


def _unclaimed(folder: Path) -> None:
    strange = [name for name in FILES if os.path.lexists(folder / name)]
    if strange and not (folder / RUN).exists():
        raise StoreError(f"{folder} holds {strange[0]} but no {RUN}", hint="choose another --out")
