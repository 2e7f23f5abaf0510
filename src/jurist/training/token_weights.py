"""Weights of a completion's tokens in the loss: the verdict's own, and spans that a row names.

A verdict is about one token in sixty of a chain: at weight 1 its share of the loss is small, and it is
learned long after the wording of rubric and reasons.
"""

import re
from collections.abc import Callable, Sequence
from typing import cast

from jurist.core.errors import InputError
from jurist.inputs.lines import seen
from jurist.protocols.base import VerdictSlot
from jurist.training.distributed import package
from jurist.training.types import Batch, Library, Module, Tensor, Tokenizer, Trainer

Span = tuple[int, int, float]
"""Characters of a completion (start, end), and what the loss of the tokens that touch them counts."""


def spans_of(value: object) -> list[Span]:
    """The field ``weights`` of a row: a list of [start, end, factor]. Raises ``InputError``."""
    shown = seen(value)
    spans: list[Span] = []
    for span in cast("list[object]", value) if isinstance(value, list) else [None]:
        match span:
            case [int(start), int(end), int() | float() as factor] if 0 <= start < end and factor >= 0:
                spans.append((start, end, float(factor)))
            case _:
                raise InputError(f"weights: spans [start, end, factor] were expected, saw {shown}")
    return spans


def verdict_span(text: str, slot: VerdictSlot, weight: float) -> list[Span]:
    """The label of the last verdict in a text; nothing where it has none."""
    labels = "|".join(map(re.escape, slot.labels))
    verdicts = list(re.finditer(f"{re.escape(slot.before)}({labels})", text))
    return [(*verdicts[-1].span(1), weight)] if verdicts and weight != 1.0 else []


def token_weights(tokenizer: Tokenizer, text: str, ids: Sequence[int], spans: Sequence[Span]) -> list[float]:
    """A weight for each of the ``ids`` of a turn with the content ``text``; of several spans the largest."""
    weights = [1.0] * len(ids)
    if not spans:
        return weights
    encoded = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    tokens = list(encoded["input_ids"])
    if tokens != list(ids[: len(tokens)]):
        raise InputError(
            "weights: cannot be placed on this completion's tokens",
            "the chat template or a control token in the text changes how it is cut; leave the weights out",
        )
    for i, (start, end) in enumerate(encoded["offset_mapping"]):
        touching = [factor for first, last, factor in spans if start < last and end > first]
        if touching:
            weights[i] = max(touching)
    return weights


def weighted_trainer(trl: Library) -> type[Trainer]:
    """TRL's ``SFTTrainer`` with the loss of each token times its weight (column ``loss_weights``).

    As in TRL the sum is divided by the number of completion tokens, so with all weights 1 the loss is TRL's.
    """

    class WeightedSFTTrainer(trl.SFTTrainer):
        def __init__(self, *args: object, **options: object) -> None:
            stock: Trainer = super()
            stock.__init__(*args, **options)
            self.data_collator = _padding_weights(self.data_collator)

        def _set_signature_columns_if_needed(self) -> None:
            stock: Trainer = super()
            stock._set_signature_columns_if_needed()
            columns: list[str] = getattr(self, "_signature_columns")  # noqa: B009
            if "loss_weights" not in columns:
                columns.append("loss_weights")

        def compute_loss(
            self,
            model: Module,
            inputs: Batch,
            return_outputs: bool = False,
            num_items_in_batch: Tensor | int | None = None,
        ) -> Tensor:
            weights = inputs.pop("loss_weights")
            outputs: Library = None

            def recorded(**more: object) -> Library:
                nonlocal outputs
                outputs = model(**more)
                return outputs

            # TRL's own loss, for its metrics; it keeps the outputs to itself.
            stock: Trainer = super()
            stock.compute_loss(recorded, inputs, False, num_items_in_batch)
            # Zero where nothing is learned; log_probs[:, i] is that of token i + 1.
            losses = -(outputs.log_probs * weights[:, 1:].to(outputs.log_probs.dtype))
            count = outputs.label_mask.sum() if num_items_in_batch is None else num_items_in_batch
            loss = losses.sum() / package("torch").as_tensor(count).clamp(min=1)
            if self.args.average_tokens_across_devices and num_items_in_batch is not None:
                loss = loss * self.accelerator.num_processes
            return (loss, outputs) if return_outputs else loss

    return WeightedSFTTrainer


def _padding_weights(
    collate: Callable[[list[Batch]], Batch],
) -> Callable[..., Batch]:
    torch = package("torch")

    def collated(examples: list[Batch]) -> Batch:
        rows: list[list[float]] = [example["loss_weights"] for example in examples]
        plain = [{k: v for k, v in example.items() if k != "loss_weights"} for example in examples]
        batch = collate(plain)
        weights = torch.ones(batch["input_ids"].shape)
        for i, row in enumerate(rows):
            weights[i, : len(row)] = torch.tensor(row)
        return {**batch, "loss_weights": weights}

    return collated
