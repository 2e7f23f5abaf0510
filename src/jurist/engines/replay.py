"""Answers from a recorded run: the same queries, nothing paid."""

from collections.abc import Iterable

from jurist.core.types import Completion, Judgment, Query, Verdict
from jurist.engines.base import EngineBase, failed

UNRECORDED = "not in the recorded run"
"""How the error of a query begins that was not recorded."""


class ReplayEngine(EngineBase):
    """Gives each query the completion that was recorded under its key.

    ``imported``: the run holds what another program published, whose prompts are not ours, so that no key
    fits. Then a query is answered by its case, order and sample, and ``recorded`` gives the verdict that
    was published, which our parsers could not read. A query that was not recorded fails.
    """

    concurrency = 256
    caps_thinking = True
    """What was recorded is whole: its thinking was capped then."""

    def __init__(self, judgments: Iterable[Judgment], *, imported: bool = False) -> None:
        self._completions: dict[str, Completion] = {}
        self._forced: dict[object, Completion] = {}
        self._imported: dict[object, Judgment] = {}
        for judgment in judgments:
            query = judgment.query
            if imported:
                self._imported[query.case_id, query.order, query.sample] = judgment
                continue
            self._completions[query.key] = judgment.completion
            if judgment.forced:
                self._forced[_place(query)] = judgment.forced

    async def __call__(self, query: Query) -> Completion:
        imported = self._imported.get((query.case_id, query.order, query.sample))
        if imported is not None:
            return imported.completion
        known = self._forced.get(_place(query)) if query.choices else self._completions.get(query.key)
        if known is not None:
            return known
        return failed(f"{UNRECORDED}: case {query.case_id!r}, order {query.order}, sample {query.sample}")

    def recorded(self, query: Query) -> Verdict | None:
        """The verdict that another program published for a query, in the order of the case."""
        imported = self._imported.get((query.case_id, query.order, query.sample))
        return None if imported is None else imported.verdict


def _place(query: Query) -> object:
    return query.case_id, query.order, query.sample, query.sampling.thinking_budget, query.judge
