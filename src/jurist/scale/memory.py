"""What a run folder knows about a case: its deliberation is gone through, and nobody is asked."""

import asyncio
from typing import NamedTuple

from jurist.core.store import Store
from jurist.core.types import Case, Judgment, Query
from jurist.engines.base import EngineBase
from jurist.scale.work import Asking, NotHere


class Known(NamedTuple):
    """Where the judgments of a case stand that need not be asked for, and how many calls are missing."""

    places: tuple[int, ...] = ()
    missing: int = 0


class Recollection:
    """The deliberations of a work, with a run folder in the place of the engines."""

    def __init__(self, asking: Asking, store: Store) -> None:
        self._store = store
        self._places: list[int] = []
        self._engines: list[NotHere] = []
        self._ask, self._decide = asking.answering(self._not_here).remembering(self)
        self._loop = asyncio.new_event_loop()

    def of(self, case: Case) -> Known:
        """What there is about a case. What depends on an answer that is missing is not looked for."""
        before = self._calls()
        self._places = []
        self._loop.run_until_complete(self._decide(self._ask, case))
        return Known(tuple(dict.fromkeys(self._places)), self._calls() - before)

    def close(self) -> None:
        """Give back what it holds."""
        self._loop.close()

    def recall(self, query: Query) -> Judgment | None:
        """The judgment of a query, its place noted."""
        judgment, place = self._store.recall(query), self._store.place(query.key)
        if judgment is not None and place is not None:
            self._places.append(place)
        return judgment

    def record(self, judgment: Judgment) -> None:
        """Nothing was asked, so nothing is kept."""

    def _calls(self) -> int:
        return sum(engine.calls for engine in self._engines)

    def _not_here(self, engine: EngineBase) -> EngineBase:
        self._engines.append(NotHere(engine))
        return self._engines[-1]
