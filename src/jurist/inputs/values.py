"""Numbers of a row: gold, ratings, and what is none."""

import sys
from typing import Any, cast

from jurist.core.errors import InputError
from jurist.core.types import Scores
from jurist.inputs.lines import seen

MAX = sys.float_info.max


def gold_of(value: Any, n: int) -> Scores | None:
    """``gold`` as one number per response; an index stands for the best one."""
    if value is None:
        return None
    if isinstance(value, list):
        numbers = cast("list[Any]", value)
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


def number_of(value: Any, field: str) -> float:
    """A finite number; true and false are none, though Python counts with them."""
    sized = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX
    if not sized:  # not true of NaN either
        raise InputError(
            f"{field}: must be a finite number, saw {seen(value)}",
            "write a number without quotes, or leave the field out where nobody knows",
        )
    return float(value)
