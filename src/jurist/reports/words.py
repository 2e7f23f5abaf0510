"""Words that the terminal and the report share: what a judgment was shown, how its verdict came about."""

from jurist.core.types import Order, Verdict

_WAYS = {
    "text": "written by the model",
    "logprobs": "forced: read from the labels' probabilities after the reasoning",
    "choice": "forced: a constrained choice after the reasoning",
    "recorded": "recorded by another program",
}
_MEAN = "mean of the ratings by their probabilities"


def shown(order: Order) -> str:
    """``A = response 1, B = response 2``: which response stood where; of a single one ``of response 1``."""
    if len(order) == 1:
        return f"of response {order[0] + 1}"
    return ", ".join(f"{slot(place)} = response {response + 1}" for place, response in enumerate(order))


def slot(place: int) -> str:
    """The letter under which a protocol shows a response, its number where the letters are used up."""
    return chr(ord("A") + place) if place < 26 else str(place + 1)


def way(verdict: Verdict) -> str:
    """How a verdict came about."""
    rating = verdict.scores is not None and len(verdict.scores) == 1
    return _MEAN if rating and verdict.via == "logprobs" else _WAYS[verdict.via]
