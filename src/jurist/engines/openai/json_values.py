"""Values of decoded JSON whose shape nobody promised: what is not of the shape asked for reads as empty."""

import math
from typing import Any, cast


def object_of(value: Any) -> dict[str, Any]:
    """An object; an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def objects_of(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, without its other values."""
    return [object_of(item) for item in list_of(value) if isinstance(item, dict)]


def text_of(value: Any) -> str:
    """A text; an empty one for anything else."""
    return value if isinstance(value, str) else ""


def number_of(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def count_of(value: Any) -> int:
    """A number of tokens, also in a text; 0 for anything else."""
    if type(value) is int:
        return max(0, value)
    if isinstance(value, str) and value.isdecimal():
        value = float(value)
    return max(0, int(number_of(value) or 0))
