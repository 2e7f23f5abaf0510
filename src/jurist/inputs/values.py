"""Gold, ratings and references of a row."""

import sys
from typing import cast

import msgspec

from jurist.core.errors import InputError
from jurist.core.types import Scores
from jurist.inputs.lines import seen
from jurist.inputs.messages import text_of

MAX = sys.float_info.max


def gold_of(value: object, n: int) -> Scores | None:
    """``gold`` as one number per response; an index stands for the best one."""
    if value is None:
        return None
    if isinstance(value, list):
        numbers = cast("list[object]", value)
        if len(numbers) != n:
            raise InputError(
                f"gold: {len(numbers)} numbers for {n} responses, saw {seen(numbers)}",
                "gold has one number per response, or is the index of the best one",
            )
        return tuple(number_of(x, f"gold[{i}]") for i, x in enumerate(numbers))
    index = number_of(value, "gold")
    if not index.is_integer() or not 0 <= index < n:
        raise InputError(
            f"gold: index {seen(value)} is out of range for {n} responses, legal are 0 to {n - 1}",
            "the first response has the index 0; a rating is written as a list, [4]",
        )
    return tuple(float(i == index) for i in range(n))


def number_of(value: object, field: str) -> float:
    """A finite number; true and false are none, though Python counts with them."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX:  # so no NaN
        return float(value)
    raise InputError(
        f"{field}: must be a finite number, saw {seen(value)}",
        "write a number without quotes, or leave the field out where nobody knows",
    )


def text_or_json(value: object, field: str) -> str | None:
    """A reference or label as trainers and tables hold it: text, number, or an object, which becomes JSON.

    None and NaN, a table's missing value, are no reference.
    """
    as_python = getattr(value, "tolist", None)  # numpy's numbers and arrays
    if callable(as_python):
        value = as_python()
    if value is None or value != value:
        return None
    if isinstance(value, str):
        return text_of(value, field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{field}: a value that JSON cannot hold ({error})", "give a text") from None
