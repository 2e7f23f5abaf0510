"""A run is a folder: run.json, judgments.jsonl, decisions.jsonl, scorecard.json; resumed by Query.key."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from filelock import AcquireReturnProxy, FileLock, Timeout

from jurist.core.errors import StoreError
from jurist.core.files import Lines, Warn, read_line, scan, write_whole
from jurist.core.types import Decision, Judgment, Record, Scorecard, Scores, Status, Verdict

RUN, JUDGMENTS, DECISIONS, SCORECARD = "run.json", "judgments.jsonl", "decisions.jsonl", "scorecard.json"

# Options that change how fast a run goes, not what it says.
_FREE = frozenset({"concurrency", "timeout", "retry_for", "give_up_after", "jurist", "input"})


class _JudgmentLine(Record, frozen=True):
    key: str
    judgment: Judgment


class _DecisionLine(Record, frozen=True):
    """A decision as it stands in the file: judgments by key, and the digest of the case it decided."""

    case_id: str
    verdict: Verdict
    judgments: tuple[str, ...] = ()
    agreement: float | None = None
    gold: Scores | None = None
    group: str | None = None
    meta: dict[str, Any] = {}
    digest: str = ""
    complete: bool = True
    """No judgment under it failed; only such a decision is not taken again on resuming."""


# What the index needs of a line: decoding skips the rest.
class _VerdictHead(Record, frozen=True):
    status: Status = Status.OK


class _InnerHead(Record, frozen=True):
    verdict: _VerdictHead


class _JudgmentHead(Record, frozen=True):
    key: str
    judgment: _InnerHead


class _DecisionHead(Record, frozen=True):
    case_id: str
    digest: str = ""
    complete: bool = True


def claim(folder: Path) -> AcquireReturnProxy:
    """A folder for this process alone, as long as ``with`` lasts; a killed process gives it back.

    Raises ``StoreError`` where another process has it.
    """
    try:
        return FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise StoreError(
            f"another process is writing to the run folder {folder}",
            hint="wait for it, stop it, or choose another --out",
        ) from None


class Store:
    """A run folder, open for writing by one process.

    Every record is on disk when the call returns: a killed process loses at most what was in flight.
    What failed (network, engine) is asked again when a run is resumed; everything else is not.
    """

    def __init__(self, folder: Path, config: dict[str, Any], *, warn: Warn = lambda _: None) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the run folder {folder}: {error.strerror or error}") from error
        self._lock = claim(folder).lock
        try:
            _unclaimed(folder)
            adopt(folder, config)
            self._judgments = Lines(folder / JUDGMENTS, warn)
            self._decisions = Lines(folder / DECISIONS, warn)
            self._keys = index_judgments(folder)
            self._decided = _index_decisions(folder)
        except BaseException:
            self._lock.release()
            raise
        self.kept = len(self._keys), len(self._decided)
        """(judgments, decisions) that were already here."""
        if any(self.kept):
            judgments, decisions = self.kept
            warn(f"resumed {folder}: {decisions} decisions and {judgments} judgments are kept")

    def recall(self, key: str) -> Judgment | None:
        """The judgment of a query that was already paid for."""
        offset = self._keys.get(key)
        return None if offset is None else _judgment(self._judgments.read(offset))

    def record(self, judgment: Judgment) -> None:
        """Append a judgment."""
        key = judgment.query.key
        offset = self._judgments.append(msgspec.json.encode(_JudgmentLine(key, judgment)))
        if judgment.verdict.status is not Status.FAILED:
            self._keys[key] = offset

    def decided(self, case_id: str, digest: str) -> Decision | None:
        """The decision about this very case (its content, not only its id), if it was already taken."""
        offset = self._decided.get((case_id, digest))
        if offset is None:
            return None
        return _joined(msgspec.json.decode(self._decisions.read(offset), type=_DecisionLine), self.recall)

    def decide(self, decision: Decision, digest: str) -> None:
        """Append a decision."""
        line = _DecisionLine(
            decision.case_id,
            decision.verdict,
            tuple(j.query.key for j in decision.judgments),
            decision.agreement,
            decision.gold,
            decision.group,
            decision.meta,
            digest,
            all(j.verdict.status is not Status.FAILED for j in decision.judgments),
        )
        self._decisions.append(msgspec.json.encode(line))

    def close(self) -> None:
        """Close the files and let others in."""
        self._judgments.close()
        self._decisions.close()
        self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_config(folder: Path, name: str = RUN) -> dict[str, Any]:
    """The resolved configuration of a run; raises where the folder is not a run."""
    path = folder / name
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        raise StoreError(f"{folder} is not a run folder: it has no {name}") from None
    except (msgspec.DecodeError, OSError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error


def read_decisions(folder: Path) -> Iterator[Decision]:
    """Every decision of a run with its judgments, the last one for each case; opens nothing for writing."""
    read_config(folder)
    path = folder / DECISIONS
    if not path.exists():
        return
    last = {head.case_id: offset for offset, head in scan(path, _DecisionHead)}
    keys = index_judgments(folder, failed=True)
    judgments = os.open(folder / JUDGMENTS, os.O_RDONLY)
    decisions = os.open(path, os.O_RDONLY)

    def recall(key: str) -> Judgment | None:
        return _judgment(read_line(judgments, keys[key])) if key in keys else None

    try:
        for offset in last.values():
            line = msgspec.json.decode(read_line(decisions, offset), type=_DecisionLine)
            yield _joined(line, recall)
    finally:
        os.close(judgments)
        os.close(decisions)


def read_digests(folder: Path) -> dict[str, str]:
    """The hash of each case that a run decided, by its id; empty strings where the run was imported."""
    path = folder / DECISIONS
    return {h.case_id: h.digest for _, h in scan(path, _DecisionHead)} if path.exists() else {}


def read_judgments(folder: Path) -> Iterator[Judgment]:
    """Every judgment of a run, in the order in which they came."""
    read_config(folder)
    path = folder / JUDGMENTS
    if path.exists():
        yield from (line.judgment for _, line in scan(path, _JudgmentLine))


def index_judgments(folder: Path, *, failed: bool = False) -> dict[str, int]:
    """Where each judgment stands in the file, by its query's key; failed ones only on request."""
    lines = scan(folder / JUDGMENTS, _JudgmentHead)
    return {h.key: at for at, h in lines if failed or h.judgment.verdict.status is not Status.FAILED}


def write_scorecard(folder: Path, scorecard: Scorecard) -> None:
    """Write the scorecard of a run."""
    write_whole(folder / SCORECARD, msgspec.json.format(msgspec.json.encode(scorecard), indent=2) + b"\n")


def _index_decisions(folder: Path) -> dict[tuple[str, str], int]:
    lines = scan(folder / DECISIONS, _DecisionHead)
    return {(h.case_id, h.digest): at for at, h in lines if h.complete}


def adopt(folder: Path, config: dict[str, Any], name: str = RUN, free: frozenset[str] = _FREE) -> None:
    """Write the configuration of a run into ``folder / name``, or check that it is the one that is there.

    Raises ``StoreError`` with what differs; options in ``free`` may.
    """
    path = folder / name
    config = msgspec.to_builtins(config)
    if not path.exists():
        write_whole(path, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
        return
    before = read_config(folder, name)
    names = sorted({*before, *config} - free)
    pairs = {name: (before.get(name), config.get(name)) for name in names}
    changed = [f"{name} was {old!r}, now {new!r}" for name, (old, new) in pairs.items() if old != new]
    if changed:
        raise StoreError(
            f"the run folder {folder} belongs to another configuration: {'; '.join(changed)}",
            hint="choose another --out, or repeat the options of that run",
        )


def _unclaimed(folder: Path) -> None:
    strange = [n for n in (JUDGMENTS, DECISIONS) if (folder / n).exists()]
    if strange and not (folder / RUN).exists():
        raise StoreError(f"{folder} holds {strange[0]} but no {RUN}", hint="choose another --out")


def _judgment(line: bytes) -> Judgment:
    return msgspec.json.decode(line, type=_JudgmentLine).judgment


def _joined(line: _DecisionLine, recall: Callable[[str], Judgment | None]) -> Decision:
    found = (recall(key) for key in line.judgments)
    judgments = tuple(j for j in found if j is not None)
    return Decision(line.case_id, line.verdict, judgments, line.agreement, line.gold, line.group, line.meta)
