"""Low-rank updates of a model's linear layers, computed in bfloat16 from float32 masters.

A linear layer and its update are one node of the graph, without a gradient for the frozen weight: on a CPU a
training step is about 1.5 times as fast as one of all weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Updated(torch.autograd.Function):
    """x W' + scale (x A') B' with gradients for x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ down.t()
        ctx.save_for_backward(flat, low, weight, down, up)
        ctx.scale = scale
        y = functional.linear(flat, weight).addmm_(low, up.t(), alpha=scale)
        return y.reshape(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        flat, low, weight, down, up = ctx.saved_tensors
        dy = gradients[0].reshape(-1, weight.shape[0])
        dlow = (dy @ up) * ctx.scale
        dx = (dy @ weight).addmm_(dlow, down)
        return (
            dx.reshape(*gradients[0].shape[:-1], weight.shape[1]),
            None,
            dlow.t() @ flat,
            (dy.t() @ low) * ctx.scale,
            None,
        )


class Updated(nn.Module):
    """A frozen linear layer with an update of rank ``rank``."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.weight, self.scale = linear.weight.requires_grad_(False), scale
        like = {"dtype": linear.weight.dtype, "device": linear.weight.device}
        self.down = nn.Parameter(torch.empty(rank, linear.in_features, **like))
        nn.init.uniform_(self.down, -(linear.in_features**-0.5) * 1.7, linear.in_features**-0.5 * 1.7)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, **like))
        self.merged: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.merged is not None:
            return functional.linear(x, self.merged)
        return _Updated.apply(x, self.weight, self.down, self.up, self.scale)  # pyright: ignore


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """For writing: each layer and its update as one matrix, rounded to the layer's type."""
    layers = [module for module in model.modules() if isinstance(module, Updated)]
    with torch.no_grad():
        for layer in layers:
            whole = torch.addmm(layer.weight.float(), layer.up.float(), layer.down.float(), alpha=layer.scale)
            layer.merged = whole.to(layer.weight.dtype)
    try:
        yield
    finally:
        for layer in layers:
            layer.merged = None


def update(model: Any, rank: int, scale: float, lowest: int = 0) -> dict[str, nn.Parameter]:
    """Give the linear layers of the decoder an update; the parameters by name (``...q_proj.down``).

    ``lowest``: the first of the decoder's layers that has one. Below it nothing is computed backwards.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    found: dict[str, nn.Parameter] = {}
    for name, module in list(model.model.layers.named_modules()):
        if not name or int(name.split(".")[0]) < lowest:
            continue
        for child, linear in list(module.named_children()):
            if isinstance(linear, nn.Linear):
                updated = Updated(linear, rank, scale)
                setattr(module, child, updated)
                for part, parameter in (("down", updated.down), ("up", updated.up)):
                    found[f"{name}.{child}.{part}"] = parameter
    return found
