"""Answers from a recorded run: the same queries, nothing paid."""

import sqlite3
from hashlib import blake2b

from jurist.core.runs import Run
from jurist.core.types import Completion, Judgment, Query, Verdict
from jurist.engines.base import EngineBase, failed

UNRECORDED = "not in the recorded run"
"""How the error of a query begins that was not recorded."""


class ReplayEngine(EngineBase):
    """Gives each query the completion that was recorded under its key; the run stays on the disk.

    A run that was imported holds what another program published, whose prompts are not ours, so that no key
    fits. Then a query is answered by its case, order and sample, and ``recorded`` gives the verdict that
    was published, which our parsers could not read. A query that was not recorded fails.
    """

    concurrency = 256
    caps_thinking = True
    """What was recorded is whole: its thinking was capped then."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._imported = bool(run.config.get("imported"))
        self._places: sqlite3.Connection | None = None

    async def __call__(self, query: Query) -> Completion:
        by_place = self._imported or query.choices
        judgment = self._at_place(query) if by_place else self._run.judgment_of(query)
        known = judgment.forced if judgment and query.choices else judgment and judgment.completion
        if known is not None:
            return known
        return failed(f"{UNRECORDED}: case {query.case_id!r}, order {query.order}, sample {query.sample}")

    def recorded(self, query: Query) -> Verdict | None:
        """The verdict that another program published for a query, in the order of the case."""
        judgment = self._at_place(query) if self._imported else None
        return None if judgment is None else judgment.verdict

    async def aclose(self) -> None:
        """Close the run."""
        self._run.close()
        if self._places:
            self._places.close()

    def _at_place(self, query: Query) -> Judgment | None:
        """What was recorded for a case, order and sample, where the key is not that of the query."""
        if self._places is None:
            self._places = self._indexed()
        sql = "SELECT at FROM places WHERE place = ?"
        found = self._places.execute(sql, (self._place(query),)).fetchone()
        return None if found is None else self._run.judgment_at(found[0])

    def _indexed(self) -> sqlite3.Connection:
        """Where each judgment stands, by its place, in a temporary file: of a run of any size."""
        places = sqlite3.connect("", check_same_thread=False)
        places.execute("PRAGMA cache_size = -16000")
        places.execute("CREATE TABLE places (place BLOB PRIMARY KEY, at INT) WITHOUT ROWID")
        rows = (
            (self._place(judgment.query), at)
            for at, judgment in self._run.slim_judgments()
            if self._imported or judgment.forced
        )
        places.executemany("INSERT OR REPLACE INTO places VALUES (?, ?)", rows)
        return places

    def _place(self, query: Query) -> bytes:
        place: tuple[object, ...] = (query.case_id, query.order, query.sample)
        if not self._imported:
            place += (query.sampling.thinking_budget, query.judge)
        return blake2b(repr(place).encode(), digest_size=12).digest()
