"""A decision as one JSON row: the record itself, defaults written out, and what is computed from it."""

from typing import Any, cast

import msgspec

from jurist.core.types import Decision


def decision_row(decision: Decision) -> dict[str, Any]:
    """The row of a decision, by the schema ``core.schemas.schema("decision")``; it decodes as a ``Decision``.

    Beside the record's fields: ``winner``, ``right`` and ``tokens`` (written for it).
    """
    return {
        **_whole(decision),
        "winner": decision.winner,
        "right": decision.right,
        "tokens": decision.usage.completion_tokens,
    }


def _whole(value: Any) -> Any:
    """Records as dictionaries with every field, also those that have their default."""
    if isinstance(value, msgspec.Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_whole(item) for item in cast("tuple[object, ...]", value)]
    return value
