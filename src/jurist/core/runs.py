"""Reading a run folder: nothing is written, little is held in memory, what is damaged is listed."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from jurist.core.errors import StoreError
from jurist.core.files import lines_from, read_regular
from jurist.core.hash_set import HashSet
from jurist.core.index import Index
from jurist.core.index_state import DecisionPlace
from jurist.core.records import Damage, DamagedError, Records, decision_of
from jurist.core.run_config import read_run
from jurist.core.run_lines import DECISIONS, JUDGMENTS, DecisionLine
from jurist.core.types import Case, Decision, Judgment, Query, Scorecard

if TYPE_CHECKING:
    from jurist.core.store import Store

Folder = str | PathLike[str]
"""The path of a run folder; ``~`` stands for the home folder."""


class Run(AbstractContextManager["Run"]):
    """A run folder, open for reading, also while somebody writes it: then it is as it was when opened.

    ``config`` is what run.json says. ``damage`` lists what could not be read so far, ``lost`` counts the
    judgments and decisions among it.
    """

    def __init__(self, folder: Folder) -> None:
        folder = Path(folder).expanduser()
        facts = read_run(folder)
        self.folder, self.config = folder, facts.config
        self.damage: list[Damage] = []
        self._lost: set[tuple[str, int | str | None]] = set()
        self._records = Records(folder, facts.unsealed if facts.version > 1 else _all_unsealed())
        self._index = Index(folder, self._records.unsealed)
        self._fresh = False
        self._note_damage()

    @property
    def lost(self) -> int:
        """How many judgments and decisions could not be read so far, however often they were looked for."""
        return len(self._lost)

    def close(self) -> None:
        """Close the files."""
        self._records.close()
        self._index.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """How many cases have a decision."""
        return self._index.decisions()

    def ids(self, prefix: str = "") -> Iterator[str]:
        """The ids of the decided cases that begin so, in the order of the input."""
        return (place.case_id for place in self._index.in_order(prefix))

    def decisions(self, *, slim: bool = False) -> Iterator[Decision]:
        """The last decision about each case, in the order of the input; ``slim``: without texts.

        The order is that in which cases were first begun, so that of the input. Decisions whose case the
        folder does not hold (old and imported runs) come in the order in which they were taken.
        """
        for line in self._lines():
            decision = self._joined(line, texts=not slim)
            if decision is not None:
                yield decision

    def decided(self, *, slim: bool = False) -> Iterator[tuple[Decision, Case | None]]:
        """As ``decisions``, each with its case, which costs less than to ask for it by its id.

        None where the folder does not hold the case (old and imported runs).
        """
        for line in self._lines():
            case = self._case(line)
            decision = self._joined(line, texts=not slim, case=case)
            if decision is not None:
                yield decision, case

    def kept_before(self, size: int, left: HashSet) -> Iterator[Decision]:
        """The decisions in the first ``size`` bytes of their file, without texts; not those in ``left``."""
        for place in self._index.in_order(every=True):
            if place.at < size and place.complete and place.digest not in left:
                line = self._line(place)
                decision = self._joined(line, texts=False) if line is not None else None
                if decision is not None:
                    yield decision

    def decision(self, case_id: str) -> Decision | None:
        """The last decision about a case; None where there is none."""
        line = self._last(case_id)
        return None if line is None else self._joined(line, texts=True)

    def found(self, case_id: str) -> tuple[Decision | None, Case | None]:
        """The last decision about a case, and the case: as ``decision`` and ``case``, looked up once."""
        line = self._last(case_id)
        if line is None:
            return None, None
        case = self._case(line)
        decision = self._joined(line, texts=True, case=case)
        return decision, case if decision is not None else None

    def case(self, case_id: str) -> Case | None:
        """A decided case; None where the folder does not hold it (old and imported runs)."""
        line = self._last(case_id)
        return None if line is None else self._case(line)

    def _case(self, line: DecisionLine) -> Case | None:
        if line.case is None:
            return None
        try:
            return self._records.case(line.case).case
        except DamagedError as error:
            self._note(error)
            return None

    def judgments(self) -> Iterator[Judgment]:
        """Every judgment, in the order in which they came."""
        path = self.folder / JUDGMENTS
        for offset, line in lines_from(path) if path.exists() else ():
            if line.strip() and (judgment := self._judgment(offset, None, texts=True)) is not None:
                yield judgment

    def slim_judgments(self) -> Iterator[tuple[int, Judgment]]:
        """(offset of its line, judgment without texts) of every judgment, in the order in which they came."""
        path = self.folder / JUDGMENTS
        for offset, line in lines_from(path) if path.exists() else ():
            try:
                if line.strip():
                    yield offset, self._records.slim_judgment(offset)
            except DamagedError as error:
                self._note(error)
                self._lost.add((JUDGMENTS, offset))

    def judgment_of(self, query: Query) -> Judgment | None:
        """The judgment of a query, by its key; None where there is none that can be read."""
        offset = self._index.judgment(query.key, failed=True)
        try:
            return None if offset is None else self._records.judgment_of(offset, query)
        except DamagedError as error:
            self._note(error)
            self._lost.add((JUDGMENTS, query.key))
            return None

    def judgment_at(self, offset: int) -> Judgment | None:
        """The judgment whose line begins at an offset; None where it cannot be read."""
        return self._judgment(offset, None, texts=True)

    def digests(self) -> dict[str, str]:
        """The hash of each case that was decided, by its id; empty strings where the run was imported."""
        return {place.case_id: place.digest for place in self._index.in_order()}

    def _lines(self) -> Iterator[DecisionLine]:
        """The lines of ``decisions``, in its order."""
        after: tuple[int, int] | None = None
        while True:
            for place in self._index.in_order(after=after):
                line = self._line(place)
                if line is None and not self._fresh:
                    break
                after = place.place, place.at
                if line is not None:
                    yield line
            else:
                return
            # Either the record is damaged or the index is: only a new index tells.
            self._again()

    def _last(self, case_id: str) -> DecisionLine | None:
        offset = self._index.last(case_id)
        if offset is None:
            return None
        line = self._line(DecisionPlace(case_id, "", offset, True, 0))
        if line is None and not self._fresh:
            self._again()
            return self._last(case_id)
        return line

    def _again(self) -> None:
        self._index.again()
        self._fresh = True
        self._note_damage()

    def _line(self, place: DecisionPlace) -> DecisionLine | None:
        try:
            line = self._records.decision(place.at)
        except DamagedError:
            return None
        return line if line.case_id == place.case_id else None

    def _joined(self, line: DecisionLine, *, texts: bool, case: Case | None = None) -> Decision | None:
        """A decision with its judgments; ``case``: its case, where it has been read."""
        try:
            meta = case.meta if case is not None and line.meta is None else self._records.meta(line)
        except DamagedError as error:
            self._note(error)
            self._lost.add((DECISIONS, line.case_id))
            return None
        judgments = [self._judgment(at, key, texts=texts) for at, key in line.places()]
        return decision_of(line, tuple(j for j in judgments if j is not None), meta)

    def _judgment(self, offset: int | None, key: str | None, *, texts: bool) -> Judgment | None:
        if offset is None and key is not None:
            offset = self._index.judgment(key, failed=True)
        if offset is None:
            self._lost.add((JUDGMENTS, key))
            return None
        try:
            if key is not None and not texts:
                return self._records.slim_judgment(offset, key)
            try:
                return self._records.judgment(offset, key)
            except DamagedError as error:
                if error.file == JUDGMENTS:
                    raise
                # Its prompt is damaged, or the case that the prompt quotes; what it says stands.
                self._note(error)
                return self._records.judgment(offset, key, prompt=False)
        except DamagedError as error:
            self._note(error)
            self._lost.add((JUDGMENTS, offset))
            return None

    def _note(self, error: DamagedError) -> None:
        damage = self._records.damage(error)
        if damage not in self.damage:
            self.damage.append(damage)

    def _note_damage(self) -> None:
        for name, offset in self._index.damaged():
            before = len(self.damage)
            self._note(DamagedError(name, offset, "it cannot be read"))
            if len(self.damage) > before and name in (JUDGMENTS, DECISIONS):
                self._lost.add((name, offset))


class Kept:
    """What a run that goes on has decided before: passed over first (``left``), and read at its end."""

    def __init__(self, store: "Store") -> None:
        self._folder, self._size = store.folder, store.size_of_decisions()
        self.left = store.settled()
        """The digests of the cases that did not come yet; who passes over a case takes it out."""
        self._n = len(self.left)

    def decisions(self) -> Iterator[Decision]:
        """The decisions about the cases that were taken out of ``left``, without texts, in their order."""
        if len(self.left) < self._n:
            with Run(self._folder) as run:
                yield from run.kept_before(self._size, self.left)


def open_run(folder: Folder) -> Run:
    """A run folder for reading; raises ``StoreError`` where it is none."""
    return Run(folder)


def read_decisions(folder: Folder) -> Iterator[Decision]:
    """The last decision about each case with its judgments, in the order of the input; see ``Run``."""
    with Run(folder) as run:
        yield from run.decisions()


def read_judgments(folder: Folder) -> Iterator[Judgment]:
    """Every judgment of a run, in the order in which they came."""
    with Run(folder) as run:
        yield from run.judgments()


def read_digests(folder: Folder) -> dict[str, str]:
    """The hash of each case that a run decided, by its id; empty strings where the run was imported."""
    with Run(folder) as run:
        return run.digests()


def read_scorecard(folder: Folder) -> Scorecard:
    """The scorecard of a run; raises ``StoreError`` where there is none that can be read."""
    from jurist.core.store import SCORECARD

    path = Path(folder).expanduser() / SCORECARD
    try:
        return msgspec.json.decode(read_regular(path), type=Scorecard)
    except msgspec.DecodeError as error:
        raise StoreError(f"cannot read {path}: {error}", hint=f"jurist score {folder} makes it") from None


Rows = Literal["decisions", "judgments"]


def export_rows(folder: Folder, rows: Rows = "decisions") -> Iterator[dict[str, Any]]:
    """Plain rows of a run, each whole: a decision with its case, or a judgment with its prompt."""
    with Run(folder) as run:
        if rows == "judgments":
            for judgment in run.judgments():
                yield {"key": judgment.query.key, **msgspec.to_builtins(judgment)}
            return
        for decision, case in run.decided(slim=True):
            row = {**msgspec.to_builtins(decision), "judgments": [j.query.key for j in decision.judgments]}
            yield row if case is None else {**msgspec.to_builtins(case), **row}


def _all_unsealed() -> dict[str, int]:
    """A folder before version 2: no line has a checksum."""
    return {JUDGMENTS: sys.maxsize, DECISIONS: sys.maxsize}
