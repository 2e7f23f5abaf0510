"""Completions of groups by the trained model: each prompt is computed once, finished rows leave the batch.

Each row has a random generator of its own, so its draws do not depend on the other rows.
"""

import inspect
import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from jurist.core.errors import ConfigError
from jurist.engines.nucleus import nucleus_draw
from jurist.training.distributed import package
from jurist.training.shared_prefix import causal_of, obstacle, still
from jurist.training.types import Device, KeyValueCache, Library, Module, Tensor

_LOG = logging.getLogger("jurist")
# Tokens by which a row's room in the cache grows at least.
_ROOM = 128


class GeneratedRow(NamedTuple):
    """One completion: its ids (with the end token, if it came) and the log-probability of each."""

    ids: list[int]
    logprobs: list[float]


@dataclass(frozen=True, slots=True)
class DrawSettings:
    """How tokens are drawn: at temperature 0 the likeliest, else from the nucleus of mass ``top_p``."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    eos: tuple[int, ...] = ()
    pad: int = 0
    seed: int = 0


def generate(
    model: Module,
    prompts: Sequence[Sequence[int]],
    copies: int,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    eos: Sequence[int] = (),
    pad: int = 0,
    seed: int = 0,
) -> list[GeneratedRow]:
    """``copies`` rows of each prompt, prompt by prompt, of at most ``max_new_tokens`` tokens.

    Log-probabilities are those of logits / temperature (of the logits, at temperature 0), over the whole
    vocabulary. Equal arguments give equal rows. A model whose prompts cannot be shared generates by
    ``model.generate``, with the same draws. Raises ``ConfigError``.
    """
    if copies < 1:
        raise ConfigError(f"copies {copies} is out of range", hint="1 or more")
    owners = [at for at in range(len(prompts)) for _ in range(copies)]
    settings = DrawSettings(max_new_tokens, temperature, top_p, tuple(eos), pad, seed)
    _checked(prompts, settings)
    if not owners:
        return []
    run = _Stock if obstacle(model, _LOG.warning) else _Shared
    # In training mode layers may drop their cache (checkpointing) or their values (dropout).
    with package("torch").no_grad(), still(model):
        return run(model, prompts, owners, settings).rows()


def _checked(prompts: Sequence[Sequence[int]], settings: DrawSettings) -> None:
    if not all(prompts):
        raise ConfigError("a prompt has no tokens", hint="at least the beginning-of-text token")
    if settings.max_new_tokens < 1 or settings.temperature < 0 or not 0 < settings.top_p <= 1:
        raise ConfigError(
            f"max_new_tokens {settings.max_new_tokens}, temperature {settings.temperature} or top_p "
            f"{settings.top_p} is out of range",
            hint="1 or more; 0 or more; above 0 and at most 1",
        )


class _Batch:
    """Left-padded prompts, and what the rows have written."""

    def __init__(
        self, model: Module, prompts: Sequence[Sequence[int]], owners: Sequence[int], settings: DrawSettings
    ) -> None:
        self.model, self.settings, count = model, settings, len(owners)
        torch = package("torch")
        self.device: Device = model.get_input_embeddings().weight.device
        self.width = max(map(len, prompts))
        pads = [self.width - len(p) for p in prompts]
        ids = [[settings.pad] * n + list(p) for n, p in zip(pads, prompts, strict=True)]
        mask = [[0] * n + [1] * len(p) for n, p in zip(pads, prompts, strict=True)]
        self.ids = torch.tensor(ids, device=self.device)  # (prompts, width)
        self.mask = torch.tensor(mask, device=self.device)  # (prompts, width)
        self.owners = torch.tensor(owners, device=self.device)  # (rows,): the prompt of each row
        self.eos = torch.tensor(settings.eos, dtype=torch.long, device=self.device)
        shape = (count, settings.max_new_tokens)  # (rows, tokens)
        self.written = torch.full(shape, settings.pad, device=self.device)
        self.logps = torch.zeros(shape, device=self.device)
        self.lengths = torch.zeros(count, dtype=torch.long, device=self.device)
        self._points = _points(settings.seed, *shape).to(self.device) if settings.temperature else None

    def step(self, logits: Tensor, alive: Tensor, at: int) -> Tensor:
        """Draw token ``at`` of the rows ``alive`` (rows,) from their logits (rows, vocabulary); its ids."""
        points: Tensor = None if self._points is None else self._points[alive, at]
        tokens, logps = _drawn(logits, self.settings, points)
        self.written[alive, at], self.logps[alive, at] = tokens, logps
        self.lengths[alive] = at + 1
        return tokens

    def generated(self) -> list[GeneratedRow]:
        """The rows, in order."""
        table = zip(self.written.tolist(), self.logps.tolist(), self.lengths.tolist(), strict=True)
        return [GeneratedRow(ids[:length], logps[:length]) for ids, logps, length in table]


class _Shared(_Batch):
    """Prompts read once, then all rows token by token."""

    def rows(self) -> list[GeneratedRow]:
        """Generate, until every row has ended or is full."""
        torch = package("torch")
        known = inspect.signature(causal_of(self.model).forward).parameters
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._takes_positions = "position_ids" in known
        library: Library = package("transformers")
        cache = library.DynamicCache(config=causal_of(self.model).base_model.config)
        # (prompts, vocabulary), then a copy for each row: (rows, vocabulary)
        logits = self._logits(self.ids, self.mask, self.mask.cumsum(1) - 1, cache)[self.owners]
        rooms = [_Room(layer, self.owners, self.settings.max_new_tokens) for layer in cache.layers]
        cache = library.Cache(layers=[room.layer for room in rooms])
        more = self.mask.new_ones(len(self.owners), self.settings.max_new_tokens)
        mask = torch.cat([self.mask[self.owners], more], 1)  # (rows, width + tokens)
        alive = torch.arange(len(self.owners), device=self.device)  # rows that are still in the batch
        ended = torch.zeros_like(alive, dtype=torch.bool)  # of these, those that have ended
        for at in range(self.settings.max_new_tokens):
            tokens = torch.full_like(alive, self.settings.pad)
            tokens[~ended] = self.step(logits[~ended], alive[~ended], at)
            ended |= torch.isin(tokens, self.eos)
            left = int((~ended).sum())
            if not left or at + 1 == self.settings.max_new_tokens:
                break
            if 2 * left <= len(alive):  # ended rows leave the batch when they are half of it
                kept = (~ended).nonzero()[:, 0]
                alive, tokens, mask, ended = alive[kept], tokens[kept], mask[kept], ended[kept]
                for room in rooms:
                    room.keep(kept)
            seen = mask[:, : self.width + at + 1]
            logits = self._logits(tokens[:, None], seen, seen.sum(1, keepdim=True) - 1, cache)
        for room in rooms:
            room.release()
        return self.generated()

    def _logits(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits (rows, vocabulary) after the last of these ids."""
        placed = {"position_ids": positions.clamp(min=0)} if self._takes_positions else {}
        return self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **placed, **self._last
        ).logits[:, -1]


class _Room:
    """A layer of the cache that is written in place; transformers' own is copied for every token.

    Keys and values are (rows, heads, room, width); the first ``_used`` columns of the room are filled.
    """

    def __init__(self, prompt: Tensor, owners: Tensor, limit: int) -> None:
        self.layer, self._limit = copy(prompt), limit
        self.layer.keys, self.layer.values = prompt.keys[owners], prompt.values[owners]
        if not prompt.is_sliding:
            self._keys, self._values = self.layer.keys, self.layer.values
            self._used: int = self._keys.shape[2]
            self._limit += self._used
            self.layer.update, self.layer.get_seq_length = self._update, lambda: self._used

    def release(self) -> None:
        """Drop the layer's references to this object: the cycle would keep the cache in memory."""
        self.layer.__dict__.clear()

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on."""
        if self.layer.is_sliding:
            self.layer.batch_select_indices(rows)
        else:
            self._keys, self._values = self._keys[rows], self._values[rows]

    def _update(self, keys: Tensor, values: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        end = self._used + keys.shape[2]
        if end > self._keys.shape[2]:
            size = min(self._limit, end + max(_ROOM, end // 4))
            self._keys, self._values = (self._grown(t, size) for t in (self._keys, self._values))
        self._keys[:, :, self._used : end], self._values[:, :, self._used : end] = keys, values
        self._used = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def _grown(self, old: Tensor, size: int) -> Tensor:
        new = old.new_empty(*old.shape[:2], size, old.shape[3])
        new[:, :, : self._used] = old[:, :, : self._used]
        return new


class _Stock(_Batch):
    """``model.generate`` with the same draws, for a model whose prompts cannot be shared."""

    def rows(self) -> list[GeneratedRow]:
        """Generate; a row that has ended is only padded."""
        library: Library = package("transformers")
        causal = causal_of(self.model)
        config = library.GenerationConfig(
            do_sample=False,
            max_new_tokens=self.settings.max_new_tokens,
            eos_token_id=list(self.settings.eos) or None,
            pad_token_id=self.settings.pad,
        )
        # A model's own defaults (top_k, repetition penalty) would change what is asked for.
        usual, causal.generation_config = causal.generation_config, library.GenerationConfig()
        try:
            self.model.generate(
                input_ids=self.ids[self.owners],
                attention_mask=self.mask[self.owners],
                generation_config=config,
                logits_processor=library.LogitsProcessorList([self._chosen]),
            )
        finally:
            causal.generation_config = usual
        return self.generated()

    def _chosen(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Logits (rows, vocabulary) in which only the drawn token is left."""
        torch = package("torch")
        at = ids.shape[1] - self.width
        alive = (~torch.isin(ids[:, self.width :], self.eos).any(1)).nonzero()[:, 0]
        tokens = torch.full_like(self.owners, self.settings.pad)
        tokens[alive] = self.step(logits[alive], alive, at)
        return torch.full_like(logits, -torch.inf).scatter(1, tokens[:, None], 0.0)


def _points(seed: int, rows: int, tokens: int) -> Tensor:
    """Numbers in [0, 1), (rows, tokens), each row's from its own generator.

    On the CPU wherever the model is, so that a seed means the same draws on every device.
    """
    torch = package("torch")
    seeds = [blake2b(f"{seed}/{row}".encode(), digest_size=7).digest() for row in range(rows)]
    draws = [torch.Generator().manual_seed(int.from_bytes(s)) for s in seeds]
    return torch.stack([torch.rand(tokens, generator=g, dtype=torch.float64) for g in draws])


def _drawn(logits: Tensor, settings: DrawSettings, points: Tensor) -> tuple[Tensor, Tensor]:
    """Token (rows,) and its log-probability (rows,), by inverting the distribution at the points (rows,)."""
    torch = package("torch")
    logps = (logits.float() / (settings.temperature or 1.0)).log_softmax(-1)
    if points is None:
        tokens = logps.argmax(-1, keepdim=True)
        return tokens[:, 0], logps.gather(1, tokens)[:, 0]
    tokens = nucleus_draw(torch, logps.double().exp(), points, settings.top_p)
    return tokens, logps.gather(1, tokens[:, None])[:, 0]
