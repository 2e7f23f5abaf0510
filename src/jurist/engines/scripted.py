"""The engine that answers what a script says: for tests, demonstrations and measurements."""

from collections.abc import Callable, Mapping

from jurist.core.types import Completion, Query
from jurist.engines.base import EngineBase, failed

Script = Callable[[Query], Completion | str]


class ScriptedEngine(EngineBase):
    """Answers by a function of the query, a table from key to text, or one text for all.

    ``queries`` holds what it was asked, in order, unless ``keep`` is false: a long run would fill the memory.
    """

    def __init__(
        self, script: Script | Mapping[str, str] | str, concurrency: int = 64, *, keep: bool = True
    ) -> None:
        self._script = script
        self._keep = keep
        self.concurrency = concurrency
        self.queries: list[Query] = []

    async def __call__(self, query: Query) -> Completion:
        if self._keep:
            self.queries.append(query)
        answer = self._answer(query)
        return Completion(answer) if isinstance(answer, str) else answer

    def _answer(self, query: Query) -> Completion | str:
        script = self._script
        if isinstance(script, str):
            return script
        if callable(script):
            return script(query)
        text = script.get(query.key)
        return failed(f"no line in the script for query {query.key}") if text is None else text
