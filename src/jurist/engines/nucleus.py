"""The draw of a token from a nucleus, the same everywhere: one uniform number a token, no other noise."""

from typing import Any


def nucleus_draw(torch: Any, weights: Any, points: Any, top_p: float) -> Any:
    """Tokens (rows,) by inverting each row's distribution at its point.

    ``weights``: probabilities (rows, vocabulary) in float64; ``points``: numbers (rows,) in [0, 1). With
    ``top_p`` < 1 only the likeliest tokens are drawn from, up to and with the one that reaches ``top_p``.
    """
    order: Any = None
    if top_p < 1:
        weights, order = weights.sort(descending=True, stable=True)
    sums = weights.cumsum(-1)  # (rows, vocabulary)
    inside = (sums - weights < top_p).sum(-1, keepdim=True)  # (rows, 1): how many tokens the nucleus has
    last = inside - 1 if order is not None else torch.full_like(inside, sums.shape[1] - 1)
    places = torch.searchsorted(sums, points[:, None] * sums.gather(1, last), right=True).minimum(last)
    tokens = places if order is None else order.gather(1, places)
    return tokens[:, 0]
