"""Decisions as counting needs them, small enough to hold those of a whole run."""

from collections.abc import Hashable
from typing import Any, TypeVar

from msgspec.structs import replace

from jurist.core.types import Completion, Decision, Judgment, Order, Query, Sampling

V = TypeVar("V", bound=Hashable)

_MOST = 4096
"""Different values that are remembered: those of most runs are few, logprobs and seconds differ each time."""


class Compact:
    """Takes texts, seeds and ids out of judgments, and holds equal parts of them once.

    What counting looks at stays: order, judge and thinking budget of each query, verdicts, tokens, seconds,
    errors.
    """

    def __init__(self) -> None:
        self._queries: dict[tuple[Order, str, int | None], Query] = {}
        self._known: dict[Hashable, Hashable] = {}
        self._empty: dict[str, Any] = {}

    def decision(self, decision: Decision) -> Decision:
        """The decision with its judgments made small."""
        return replace(
            decision,
            verdict=self._one(decision.verdict),
            judgments=tuple([self._judgment(judgment) for judgment in decision.judgments]),
            gold=None if decision.gold is None else self._one(decision.gold),
            group=None if decision.group is None else self._one(decision.group),
            meta=decision.meta or self._empty,
        )

    def _judgment(self, judgment: Judgment) -> Judgment:
        asked, said = judgment.query, judgment.verdict
        which = asked.order, asked.judge, asked.sampling.thinking_budget
        query = self._queries.get(which)
        if query is None:
            sampling = Sampling(thinking_budget=which[2])
            query = self._queries[which] = Query("", which[0], 0, (), sampling, judge=which[1])
        forced = None if judgment.forced is None else self._completion(judgment.forced)
        return self._one(Judgment(query, self._completion(judgment.completion), self._one(said), forced))

    def _completion(self, completion: Completion) -> Completion:
        return self._one(
            Completion(
                finish=completion.finish,
                usage=completion.usage,
                seconds=completion.seconds,
                error=completion.error,
                reused=completion.reused,
            )
        )

    def _one(self, value: V) -> V:
        """The value, or the equal one that was there before."""
        known = self._known.get(value)
        if known is None:
            if len(self._known) < _MOST:
                self._known[value] = value
            return value
        return known  # pyright: ignore[reportReturnType] - equal records are of one type
