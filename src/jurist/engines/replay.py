"""Answers from a recorded run: the same queries, nothing paid."""

from collections.abc import Iterable

from jurist.core.types import Completion, Judgment, Query
from jurist.engines.base import EngineBase, failed


class ReplayEngine(EngineBase):
    """Gives each query the completion that was recorded under its key.

    A query that was not recorded fails; ``loose`` answers it by case, order and sample instead, for runs
    whose prompts or sampling have changed since.
    """

    concurrency = 256
    caps_thinking = True
    """What was recorded is whole: its thinking was capped then."""

    def __init__(self, judgments: Iterable[Judgment], *, loose: bool = False) -> None:
        self._completions: dict[str, Completion] = {}
        self._forced: dict[object, Completion] = {}
        self._loose: dict[object, Completion] = {}
        for judgment in judgments:
            query = judgment.query
            place = _place(query)
            self._completions[query.key] = judgment.completion
            if judgment.forced:
                self._forced[place] = judgment.forced
            if loose:
                self._loose[place] = judgment.completion

    async def __call__(self, query: Query) -> Completion:
        place = _place(query)
        if query.choices:
            found = self._forced.get(place)
        else:
            found = self._completions.get(query.key) or self._loose.get(place)
        return found or failed(f"case {query.case_id!r}, order {query.order} is not in the recorded run")


def _place(query: Query) -> object:
    return query.case_id, query.order, query.sample, query.sampling.thinking_budget, query.judge
