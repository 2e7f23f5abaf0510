"""A piece of a run in the hands of one worker: a run folder of its own, taken into the run at its end."""

import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from jurist.core.errors import BusyError, StoreError
from jurist.core.files import Warn, lines_from, open_regular
from jurist.core.records import Records
from jurist.core.run_config import read_run
from jurist.core.run_lines import CASES, CaseLine
from jurist.core.runs import Run
from jurist.core.store import Store
from jurist.core.types import Case, Decision, Judgment, Status, Verdict

BEGUN = "begun.txt"
"""Which cases were in work: a line ``=`` for each process, ``+ DIGEST`` and ``- DIGEST`` for each case."""

GIVEN_UP = "given up"
"""How the note of a case begins that workers died of."""

LOCK_SECONDS = 60.0
"""How long a lock that another process holds is waited for: one that was killed gives it back."""


class Part:
    """A part, open for one worker; opened again after a worker's death it goes on where that one stopped.

    ``deaths`` counts, by the digest of a case, the processes that ended while it was in work. Raises
    ``BusyError`` where another process has the part for longer than ``wait`` seconds.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        *,
        warn: Warn = lambda _: None,
        wait: float = LOCK_SECONDS,
    ) -> None:
        self.store = _opened(folder, config, warn, wait)
        try:
            self._begun = open_regular(folder / BEGUN, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self.deaths = deaths(folder)
            self._note("=")
        except BaseException:
            self.store.close()
            raise

    def begin(self, digest: str) -> None:
        """Note that work on a case begins."""
        self._note(f"+ {digest}")

    def end(self, digest: str) -> None:
        """Note that work on a case has ended, whatever came of it."""
        self._note(f"- {digest}")

    def give_up(self, case: Case) -> None:
        """Decide a case as failed: workers died of it. It is not asked about again."""
        times = self.deaths[case.digest]
        note = f"{GIVEN_UP}: {times} workers in a row died while this case was in work"
        verdict = Verdict(status=Status.FAILED, note=note)
        self.store.begin(case)
        self.store.decide(
            Decision(case.id, verdict, gold=case.gold, group=case.group, meta=case.meta), case.digest
        )

    def close(self) -> None:
        """Force everything onto the disk, close the files and let others in."""
        try:
            self.store.close()
        finally:
            os.close(self._begun)

    def _note(self, line: str) -> None:
        try:
            os.write(self._begun, f"{line}\n".encode())
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.store.folder / BEGUN}: {error.strerror or error}",
                hint="make room, then run the same command again: what was judged so far is kept",
            ) from error


def deaths(folder: Path) -> Counter[str]:
    """By the digest of a case: how many processes ended while it was in work; a torn last line is no line."""
    counts: Counter[str] = Counter()
    working: set[str] = set()
    for _, line in lines_from(folder / BEGUN) if (folder / BEGUN).exists() else ():
        mark, _, digest = line.decode("ascii", "replace").partition(" ")
        if mark == "=":
            counts.update(working)
            working.clear()
        elif mark == "+":
            working.add(digest)
        elif mark == "-":
            working.discard(digest)
    counts.update(working)
    return counts


def recorded(run: Path, places: Iterable[int]) -> list[Judgment]:
    """Judgments of a run folder by the offsets of their lines; one that is damaged is left out."""
    records = Records(run, read_run(run).unsealed)
    found: list[Judgment] = []
    try:
        for place in places:
            try:
                found.append(records.judgment(place))
            except StoreError:
                continue
    finally:
        records.close()
    return found


def cases_at(run: Path, places: Iterable[int]) -> list[Case]:
    """Cases of a run folder by the offsets of their lines; raises ``StoreError`` where one cannot be read."""
    records = Records(run, {})
    try:
        return [records.case(place).case for place in places]
    finally:
        records.close()


def take_in(folder: Path, store: Store, *, again: bool, warn: Warn = lambda _: None) -> list[Decision]:
    """Copy what a part holds into a run; returns its decisions.

    ``again``: the run may hold some of it already, which is not copied twice.
    """
    with Run(folder) as part:
        for case in _cases(folder):
            store.begin(case)
        for judgment in part.judgments():
            if not (again and store.place(judgment.query.key) is not None):
                store.record(judgment)
        decisions = list(part.decisions())
        digests = part.digests()
        for decision in decisions:
            digest = digests[decision.case_id]
            if not (again and store.has_decided(decision.case_id, digest)):
                store.decide(decision, digest)
        for damage in part.damage:
            warn(f"damaged: {folder.name}/{damage}; it is asked again")
    return decisions


def _cases(folder: Path) -> list[Case]:
    """The cases of a part, as many as can be read."""
    decode, found = msgspec.json.Decoder(CaseLine).decode, list[Case]()
    for _, line in lines_from(folder / CASES) if (folder / CASES).exists() else ():
        try:
            found.append(decode(line).case)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


def _opened(folder: Path, config: dict[str, Any], warn: Warn, wait: float) -> Store:
    until = time.monotonic() + wait
    while True:
        try:
            return Store(folder, config, warn=warn)
        except BusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.5)
