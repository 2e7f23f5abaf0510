"""The trainer's side of shared prompts: siblings in one micro-batch, and what cannot be shared."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from jurist.learning.packages import package
from jurist.learning.prefix import Logps, obstacle, shared_logps


class SharedPrefix:
    """For trl's GRPOTrainer, before it among the bases: log-probabilities with shared prompts.

    Siblings stay together when the trainer cuts a generation batch into micro-batches: with micro-batches
    of whole groups each prompt is computed once, with smaller ones once in each. Groups change places at
    random as rows do in the stock trainer. Where a model or a batch cannot be shared the stock computation
    runs, and ``say`` is told why, once. Dropout, where it is on, is drawn once for a shared prompt.
    """

    say: Callable[[str], None] = logging.getLogger("jurist").warning

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        stock: Any = super()
        own: Any = self
        before: Any = own._buffered_inputs
        inputs: Any = stock._prepare_inputs(generation_batch)
        after: Any = own._buffered_inputs
        if after is None or after is before:
            return inputs
        own._buffered_inputs = after = regrouped(after)
        return after[own._step % own.args.steps_per_generation]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Any,
        attention_mask: Any,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **images: Any,
    ) -> tuple[Any, Any, Any]:
        stock: Any = super()
        own: Any = self
        plain: Any = stock._get_per_token_logps_and_entropies
        if not self._shares(model, compute_aux_loss, images):
            return plain(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy,
                compute_aux_loss, **images,
            )  # fmt: skip
        torch = package("torch")
        parts: list[Logps] = []
        size = batch_size or len(input_ids)
        for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True):
            with own.accelerator.autocast():
                part = shared_logps(model, ids, mask, logits_to_keep)
            parts.append(part or plain(model, ids, mask, logits_to_keep, None, compute_entropy)[:2])
        logps = torch.cat([p[0] for p in parts])
        return logps, torch.cat([p[1] for p in parts]) if compute_entropy else None, None

    def _shares(self, model: Any, auxiliary: bool, images: dict[str, Any]) -> bool:
        own: Any = self
        why = ""
        if auxiliary:
            why = "the load-balancing loss counts every token of the batch"
        elif any(value is not None for value in images.values()):
            why = "the batch has images or token types"
        elif own.is_fsdp_enabled or own.is_deepspeed_enabled:
            why = "with sharded parameters every process must make the same passes"
        said: set[str] = own.__dict__.setdefault("_prefix_said", set())
        if why and why not in said:
            said.add(why)
            self.say(f"prompts are not shared, every row computes its own: {why}")
        return not why and obstacle(model, self.say) is None


def regrouped(batches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The micro-batches of a generation batch, with rows of one prompt next to each other.

    Each batch keeps its size. Groups come in the order of their first rows.
    """
    if len(batches) < 2 or any(_unrowed(value, batches[0]) for value in batches[0].values()):
        return list(batches)
    whole = {key: _joined([b[key] for b in batches]) for key in batches[0]}
    masked = whole["prompt_ids"].masked_fill(whole["prompt_mask"] == 0, -1).tolist()
    first: dict[tuple[int, ...], int] = {}
    ranks = [first.setdefault(tuple(ids), at) for at, ids in enumerate(masked)]
    order = sorted(range(len(ranks)), key=lambda at: ranks[at])
    size = len(batches[0]["prompt_ids"])
    return [
        {key: _chosen(value, order[at : at + size]) for key, value in whole.items()}
        for at in range(0, len(order), size)
    ]


def _unrowed(value: Any, batch: dict[str, Any]) -> bool:
    """Whether a value has a first dimension, and that is not the rows (the patches of images)."""
    return getattr(value, "ndim", 1) > 0 and value is not None and len(value) != len(batch["prompt_ids"])


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], list):
        return [item for part in parts for item in part]
    return parts[0] if parts[0] is None or parts[0].ndim == 0 else package("torch").cat(list(parts))


def _chosen(value: Any, rows: list[int]) -> Any:
    if value is None or getattr(value, "ndim", 1) == 0:
        return value
    return [value[row] for row in rows] if isinstance(value, list) else value[rows]
