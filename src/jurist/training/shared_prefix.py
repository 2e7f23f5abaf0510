"""GRPO's log-probabilities with each group's prompt computed once, forward and backward.

``shared_logps`` finds rows with equal prompts, runs each prompt once with a key-value cache that keeps its
gradients, and lets the completions continue it. (Packing a group into one row with a block mask costs the
same for short texts, but its mask grows with the square of all tokens, and not every attention takes one.)
The output layer and the losses stay TRL's: trl 1.16, trl/trainer/grpo_trainer.py,
``_get_per_token_logps_and_entropies``, and ``add_fused_lm_head`` of trl/trainer/utils.py.

``SharedPrefix`` is the mixin for TRL's trainer: it keeps the rows of a group in one micro-batch, and falls
back to the stock computation, saying why, where a model or a batch cannot share.
"""

import inspect
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from jurist.training.distributed import package
from jurist.training.types import Batch, KeyValueCache, Library, Module, Tensor, Trainer

# Tokens whose activations are held at once under gradient checkpointing.
_AT_ONCE = 8192
# Largest difference between the probe's states and the stock ones, relative to their norm: rounding in
# float32 (also with TF32 products), and in narrower types. Without its prompt a row differs by about half.
_EXACT, _ROUGH = 2e-3, 5e-2

_KNOWN: WeakKeyDictionary[Module, str | None] = WeakKeyDictionary()

Logps = tuple[Tensor, Tensor]
"""Log-probabilities (rows, tokens), and entropies of the same shape or None; 0 where the mask is 0."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a batch with one prompt: its ids (tokens,), the column where it starts, and their numbers."""

    prompt: Tensor
    start: int
    rows: list[int]


def groups_of(input_ids: Tensor, attention_mask: Tensor, keep: int) -> list[Group]:
    """The rows (rows, columns) by their prompts, which are all but the last ``keep`` columns, left-padded."""
    heads = input_ids[:, :-keep].tolist()
    starts = (attention_mask[:, :-keep] == 0).sum(1).tolist()
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row, (ids, start) in enumerate(zip(heads, starts, strict=True)):
        rows_of.setdefault((start, *ids[start:]), []).append(row)
    return [Group(input_ids[rows[0], start:-keep], start, rows) for (start, *_), rows in rows_of.items()]


def shared_logps(model: Module, input_ids: Tensor, attention_mask: Tensor, keep: int) -> Logps | None:
    """Log-probabilities and entropies of the last ``keep`` columns, by a model with TRL's fused head.

    None where there is nothing to share: no two rows with the same prompt, a prompt of one token, or no
    token to score.
    """
    torch = package("torch")
    groups = groups_of(input_ids, attention_mask, keep)
    scored = attention_mask[:, -keep:].bool()
    if len(groups) == len(input_ids) or min(len(g.prompt) for g in groups) < 2 or not scored.any():
        return None
    backbone = backbone_of(model)
    places = torch.arange(scored.numel(), device=scored.device).view(scored.shape)
    order = torch.cat([places[g.rows][scored[g.rows]] for g in groups])
    labels = input_ids[:, -keep:].reshape(-1)[order]
    states = _States(backbone, groups, input_ids[:, -keep:], scored)
    with _replaced(backbone, states):
        out = model(
            input_ids=input_ids, attention_mask=attention_mask, shift_labels=labels[None], fused_lm_head=True
        )
    return _spread(out.log_probs, order, scored), _spread(out.entropy, order, scored)


def _spread(values: Tensor, order: Tensor, scored: Tensor) -> Tensor:
    """Values (1, scored tokens) at their places (rows, tokens), zeros elsewhere."""
    if values is None:
        return None
    return values.new_zeros(scored.numel()).scatter(0, order, values[0]).view(scored.shape)


class _States:
    """In place of a backbone's forward: the last states of the scored tokens only, (1, tokens, width)."""

    def __init__(
        self, backbone: Module, groups: Sequence[Group], completions: Tensor, scored: Tensor
    ) -> None:
        self._backbone, self._forward = backbone, backbone.forward
        self._groups, self._completions, self._scored = groups, completions, scored
        self._positions = "position_ids" in inspect.signature(backbone.forward).parameters

    def __call__(self, **_: object) -> Library:
        torch = package("torch")
        states = [part for group in self._groups for part in self._of_group(group)]
        output: Library = package("transformers.modeling_outputs").BaseModelOutputWithPast
        return output(last_hidden_state=torch.cat(states)[None])

    def _of_group(self, group: Group) -> Iterator[Tensor]:
        """States of the tokens of a group's rows, (tokens, width), row by row."""
        torch = package("torch")
        saving = self._backbone.training and torch.is_grad_enabled() and _checkpointing(self._backbone)
        run: Library = (
            partial(package("torch.utils.checkpoint").checkpoint, use_reentrant=False) if saving else _called
        )
        ends = self._scored[group.rows].any(0).nonzero()
        if not len(ends):
            return
        longest = int(ends.max()) + 1
        count = max(1, _AT_ONCE // longest) if saving else len(group.rows)
        cache = run(self._prompt, group)
        for at in range(0, len(group.rows), count):
            rows = group.rows[at : at + count]
            yield run(self._completed, group, cache, rows, longest)[self._scored[rows, :longest]]

    def _prompt(self, group: Group) -> KeyValueCache:
        """The cache of a prompt but its last token; gradients flow through it."""
        cache: KeyValueCache = package("transformers").DynamicCache(config=self._backbone.config)
        self._run(group.prompt[None, :-1], group.start, past_key_values=cache)
        return cache

    def _completed(self, group: Group, cache: KeyValueCache, rows: list[int], longest: int) -> Tensor:
        """States (rows, longest, width): each predicts the token that follows in its row."""
        torch = package("torch")
        last = group.prompt[-1:].expand(len(rows), 1)
        ids = torch.cat([last, self._completions[rows, : longest - 1]], dim=1)
        seen = self._scored.new_ones(len(rows), len(group.prompt))
        mask = torch.cat([seen, self._scored[rows, : longest - 1]], dim=1)
        start = group.start + len(group.prompt) - 1
        cache = _borrowed(cache, len(rows))
        return self._run(ids, start, past_key_values=cache, attention_mask=mask.long()).last_hidden_state

    def _run(self, ids: Tensor, start: int, **inputs: object) -> Tensor:
        # Positions count the padding, as they do in a stock batch, whose forward is told none.
        if self._positions:
            positions = package("torch").arange(start, start + ids.shape[1], device=ids.device)
            inputs["position_ids"] = positions.expand(len(ids), -1)
        with _uncheckpointed(self._backbone):
            return self._forward(input_ids=ids, use_cache=True, **inputs)


def _borrowed(cache: KeyValueCache, copies: int) -> KeyValueCache:
    """The prompt's cache for its rows: each appends to it, the cache itself is not changed."""
    kind: Library = package("transformers").Cache
    layers = [copy(layer) for layer in cache.layers]
    for layer, prompt_layer in zip(layers, cache.layers, strict=True):
        layer.update = partial(_continued, prompt_layer, copies)
    return kind(layers=layers)


def _continued(
    prompt: Tensor, copies: int, keys: Tensor, values: Tensor, *args: object, **kwargs: object
) -> Tensor:
    """Keys and values of a layer's prompt and of the rows, (rows, heads, tokens, width)."""
    layer = copy(prompt)
    layer.keys = prompt.keys.expand(copies, -1, -1, -1)
    layer.values = prompt.values.expand(copies, -1, -1, -1)
    return layer.update(keys, values, *args, **kwargs)


def _called(function: Callable[..., Tensor], *args: object) -> Tensor:
    return function(*args)


@contextmanager
def _replaced(module: Module, forward: Callable[..., object]) -> Generator[None]:
    """While it is open, a module's forward is another."""
    replaced: object = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if replaced is not None:
            module.forward = replaced


def _checkpointing(module: Module) -> list[Module]:
    return [m for m in module.modules() if getattr(m, "gradient_checkpointing", False)]


@contextmanager
def _uncheckpointed(module: Module) -> Generator[None]:
    """While it is open, layers do not checkpoint: one that does drops its cache without a word."""
    layers = _checkpointing(module)
    for layer in layers:
        layer.gradient_checkpointing = False
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = True


def _silent(_: str) -> None:
    pass


def _bare(model: Module) -> Module:
    while hasattr(model, "module"):
        model = model.module
    return model


def causal_of(model: Module) -> Module:
    """The causal model inside the wrappers of data parallelism and adapters."""
    model = _bare(model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backbone_of(model: Module) -> Module:
    """The causal model without its output layer."""
    return causal_of(model).base_model


def obstacle(model: Module, say: Callable[[str], None] = _silent) -> str | None:
    """Why this model's prompts cannot be shared, or None: its kind, then a probe with a few tokens.

    A model is looked at once; ``say`` is told then.
    """
    model = _bare(model)
    if model not in _KNOWN:
        _KNOWN[model] = why = _kind(model) or _probed(model)
        if why:
            say(f"prompts are not shared, every row computes its own: {why}")
    return _KNOWN[model]


def _kind(model: Module) -> str | None:
    causal = causal_of(model)
    backbone: Module = causal.base_model
    adapters: Any = getattr(model, "peft_config", None) or {}
    if any(getattr(a, "is_prompt_learning", False) for a in adapters.values()):
        return "an adapter puts tokens of its own before the prompt"
    if backbone is causal or hasattr(model, "_orig_mod"):
        return "its layers cannot be run apart from its output layer"
    if "past_key_values" not in inspect.signature(backbone.forward).parameters:
        return "it takes no cache"
    library: Library = package("transformers.cache_utils")
    layers: set[type[Any]] = {type(layer) for layer in library.DynamicCache(config=backbone.config).layers}
    if other := layers - {library.DynamicLayer, library.DynamicSlidingWindowLayer}:
        return f"its cache holds more than keys and values ({', '.join(sorted(t.__name__ for t in other))})"
    return None


def _probed(model: Module) -> str | None:
    """Whether two groups of two rows, padded on both sides, get the states of a stock forward."""
    torch = package("torch")
    backbone = backbone_of(model)
    weight: Tensor = model.get_input_embeddings().weight
    wide = all(p.dtype in (torch.float32, torch.float64) for p in backbone.parameters())
    ids = torch.randint(len(weight), (4, 24), generator=torch.Generator().manual_seed(0)).to(weight.device)
    ids[1, :14], ids[3, :14] = ids[0, :14], ids[2, :14]
    mask = torch.ones_like(ids)
    mask[2:, :5] = 0
    mask[1, 20:] = 0
    try:
        with still(backbone), torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            stock = backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, 13:-1]
            scored = mask[:, 14:].bool()
            shared = _States(backbone, groups_of(ids, mask, 10), ids[:, 14:], scored)().last_hidden_state[0]
    except (TypeError, ValueError, AttributeError, RuntimeError, NotImplementedError, IndexError) as error:
        return f"its cache cannot be shared ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    wanted = stock[scored].float()
    off = float((shared.float() - wanted).norm() / wanted.norm())
    return (
        None
        if off <= (_EXACT if wide else _ROUGH)
        else f"shared prompts change its states by {off:.1e} of their norm"
    )


@contextmanager
def still(module: Module) -> Generator[None]:
    """While it is open, a module is in evaluation mode: no dropout."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


class SharedPrefix:
    """For trl's GRPOTrainer, before it among the bases: log-probabilities with shared prompts.

    Siblings stay together when the trainer cuts a generation batch into micro-batches: with micro-batches
    of whole groups each prompt is computed once, with smaller ones once in each. Groups change places at
    random as rows do in the stock trainer. Where a model or a batch cannot be shared the stock computation
    runs, and ``say`` is told why, once. Dropout, where it is on, is drawn once for a shared prompt.
    """

    say: Callable[[str], None] = logging.getLogger("jurist").warning

    def _prepare_inputs(self, generation_batch: Batch) -> Batch:
        stock: Trainer = super()
        trainer: Trainer = self
        before: list[Batch] | None = trainer._buffered_inputs
        inputs: Batch = stock._prepare_inputs(generation_batch)
        after: list[Batch] | None = trainer._buffered_inputs
        if after is None or after is before:
            return inputs
        batches: list[Batch] = regrouped(after)
        trainer._buffered_inputs = batches
        number: int = trainer._step % trainer.args.steps_per_generation
        return batches[number]

    def _get_per_token_logps_and_entropies(
        self,
        model: Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **images: object,
    ) -> tuple[Tensor, Tensor, Tensor]:
        stock: Trainer = super()
        trainer: Trainer = self
        plain: Library = stock._get_per_token_logps_and_entropies
        if not self._shares(model, compute_aux_loss, images):
            return plain(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy,
                compute_aux_loss, **images,
            )  # fmt: skip
        torch = package("torch")
        parts: list[Logps] = []
        size = batch_size or len(input_ids)
        for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True):
            with trainer.accelerator.autocast():
                part = shared_logps(model, ids, mask, logits_to_keep)
            parts.append(part or plain(model, ids, mask, logits_to_keep, None, compute_entropy)[:2])
        logps = torch.cat([p[0] for p in parts])
        return logps, torch.cat([p[1] for p in parts]) if compute_entropy else None, None

    def _shares(self, model: Module, auxiliary: bool, images: dict[str, object]) -> bool:
        trainer: Trainer = self
        why = ""
        if auxiliary:
            why = "the load-balancing loss counts every token of the batch"
        elif any(value is not None for value in images.values()):
            why = "the batch has images or token types"
        elif trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            why = "with sharded parameters every process must make the same passes"
        said: set[str] = trainer.__dict__.setdefault("_prefix_said", set())
        if why and why not in said:
            said.add(why)
            self.say(f"prompts are not shared, every row computes its trainer: {why}")
        return not why and obstacle(model, self.say) is None


def regrouped(batches: Sequence[Batch]) -> list[Batch]:
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


def _unrowed(value: Tensor, batch: Batch) -> bool:
    """Whether a value has a first dimension, and that is not the rows (the patches of images)."""
    return getattr(value, "ndim", 1) > 0 and value is not None and len(value) != len(batch["prompt_ids"])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    if isinstance(parts[0], list):
        return [item for part in parts for item in part]
    return parts[0] if parts[0] is None or parts[0].ndim == 0 else package("torch").cat(list(parts))


def _chosen(value: Tensor, rows: list[int]) -> Tensor:
    if value is None or getattr(value, "ndim", 1) == 0:
        return value
    return [value[row] for row in rows] if isinstance(value, list) else value[rows]
