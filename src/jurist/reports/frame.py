"""Decisions as one flat table for pandas, polars and DuckDB, handed over in Arrow's memory format."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from jurist.core.errors import InputError, MissingExtraError
from jurist.core.types import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

_COLUMNS: "dict[str, tuple[str, Callable[[Decision], Any]]]" = {
    "case_id": ("string", lambda d: _utf8(d.case_id)),
    "group": ("string", lambda d: _utf8(d.group)),
    "status": ("string", lambda d: d.verdict.status.value),
    "note": ("string", lambda d: _utf8(d.verdict.note)),
    "winner": ("int64", lambda d: d.winner),
    "right": ("bool_", lambda d: d.right),
    "agreement": ("float64", lambda d: d.agreement),
    "judgments": ("int64", lambda d: len(d.judgments)),
    "prompt_tokens": ("int64", lambda d: d.usage.prompt_tokens),
    "completion_tokens": ("int64", lambda d: d.usage.completion_tokens),
    "seconds": ("float64", lambda d: sum(j.completion.seconds for j in d.judgments)),
    "reasons": ("string", lambda d: _utf8("\n\n".join(filter(None, d.reasons)))),
    "meta": ("string", lambda d: msgspec.json.encode(d.meta).decode() if d.meta else None),
}


def to_frame(decisions: Iterable[Decision]) -> Any:
    """The decisions as a ``pyarrow.Table``, one row each, in their order; extra: parquet.

    ``table.to_pandas()`` and ``polars.from_arrow(table)`` make data frames of it. Columns: ``case_id``,
    ``group``, ``status``, ``note``, ``winner`` (index, null for a tie), ``right`` (null without gold or
    verdict), ``agreement``, ``judgments`` (how many), ``prompt_tokens``, ``completion_tokens``, ``seconds``
    (summed over the judgments), ``reasons`` (their texts), ``meta`` (JSON), then ``score_0`` and so on, and
    ``gold_0`` and so on, for each response. Raises ``MissingExtraError`` without pyarrow and ``InputError``
    for other objects.
    """
    try:
        pyarrow = import_module("pyarrow")  # loaded by name: it has no types to offer
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", "to_frame") from None
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    scores: list[Sequence[float]] = []
    gold: list[Sequence[float]] = []
    for decision in [decisions] if isinstance(decisions, Decision) else decisions:
        if not isinstance(decision, Decision):  # pyright: ignore[reportUnnecessaryIsInstance] - users' objects
            raise InputError(
                f"to_frame takes decisions, not {type(decision).__name__}",
                hint="what jurist.judge, judge_all or jurist.core.runs.read_decisions gave",
            )
        for name, (_, value) in _COLUMNS.items():
            columns[name].append(value(decision))
        scores.append(decision.verdict.scores or ())
        gold.append(decision.gold or ())
    arrays = {
        name: pyarrow.array(columns[name], getattr(pyarrow, kind)()) for name, (kind, _) in _COLUMNS.items()
    }
    for name, rows in (("score", scores), ("gold", gold)):
        for i in range(max(map(len, rows), default=0)):
            values = [row[i] if i < len(row) else None for row in rows]
            arrays[f"{name}_{i}"] = pyarrow.array(values, pyarrow.float64())
    return pyarrow.table(arrays)


def _utf8(text: str | None) -> str | None:
    """A text that Arrow can hold: half surrogates as question marks; None for an empty one."""
    return text.encode("utf-8", "replace").decode() if text else None
