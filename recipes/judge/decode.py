"""Writes several completions for each prompt, token by token, over the weights that are being trained.

A prompt is read once for all of its completions, and its keys and values are held once. Prompts whose
completions have all ended leave the batch. Only tokens of a given vocabulary are considered: a sixth of the
output layer's work. On a CPU each core has a batch of its own (README.md has its speed beside `generate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_EVERY = 8
"""After so many tokens it is seen which prompts have ended."""


@dataclass
class Text:
    """One completion: its tokens, the end included, and for each the labels' logits before it."""

    tokens: list[int]
    labels: Tensor
    """(tokens, labels), float32."""


class Decoder:
    """Writes with a Llama of transformers whose linear layers may have updates.

    ``vocabulary``: the ids that may be written; ``head``: their rows of the output layer.
    """

    def __init__(
        self, model: Any, vocabulary: Tensor, head: Tensor, end: int, labels: Sequence[int], new: int = 160
    ) -> None:
        self.model, self.vocabulary, self.head, self.end, self.new = model, vocabulary, head, end, new
        column = {int(t): i for i, t in enumerate(vocabulary.tolist())}
        self.label_columns = [column[t] for t in labels]
        config = model.config
        self.kv_heads = config.num_key_value_heads
        self.repeats = config.num_attention_heads // self.kv_heads
        self.size = config.hidden_size // config.num_attention_heads

    @torch.no_grad()
    def write(
        self, prompts: Sequence[list[int]], samples: int, temperature: float, generator: torch.Generator
    ) -> list[list[Text]]:
        """``samples`` completions of each prompt; temperature 0: the likeliest token each time."""
        device = self.head.device
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
        for i, p in enumerate(prompts):
            ids[i, : len(p)] = torch.tensor(p)
        ids = ids.to(device)
        positions = torch.arange(ids.shape[1], device=device).expand_as(ids)
        cache = _Cache(len(prompts), samples, self.new, self, lengths, ids.shape[1])
        hidden = self._forward(ids, positions, cache, None)
        last = hidden[torch.arange(len(prompts), device=device), lengths - 1]
        last = last[:, None].expand(-1, samples, -1)  # every completion begins at the same place
        groups = torch.arange(len(prompts), device=device)
        written = torch.full((len(prompts), samples, self.new), self.end, device=device)
        logits_of_labels = torch.zeros(len(prompts), samples, self.new, len(self.label_columns))
        ended = torch.zeros(len(prompts), samples, dtype=torch.bool, device=device)
        for at in range(self.new):
            logits = functional.linear(last, self.head).float()
            logits_of_labels[groups, :, at] = logits[..., self.label_columns].cpu()
            chosen = self.vocabulary[self._choose(logits, temperature, generator)]
            chosen = torch.where(ended, self.end, chosen)
            written[groups, :, at] = chosen
            ended = ended | (chosen == self.end)
            if at % _EVERY == _EVERY - 1 or bool(ended.all()):
                alive = ~ended.all(1)
                if not bool(alive.any()):
                    break
                if not bool(alive.all()):
                    groups, chosen, ended = groups[alive], chosen[alive], ended[alive]
                    cache.keep(alive)
            places = (cache.lengths + at)[:, None].expand(-1, samples)
            last = self._forward(chosen, places, cache, at)
        return [
            [self._text(written[p, s], logits_of_labels[p, s]) for s in range(samples)]
            for p in range(len(prompts))
        ]

    def _text(self, row: Tensor, labels: Tensor) -> Text:
        tokens = row.tolist()
        length = tokens.index(self.end) + 1 if self.end in tokens else len(tokens)
        return Text(tokens[:length], labels[:length])

    @staticmethod
    def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        if not temperature:
            return logits.argmax(-1)
        sums = (logits / temperature).softmax(-1).cumsum(-1)
        drawn = torch.rand(*logits.shape[:-1], 1, generator=generator, device=logits.device) * sums[..., -1:]
        return torch.searchsorted(sums, drawn, right=True)[..., 0].clamp_(max=logits.shape[-1] - 1)

    def _forward(self, ids: Tensor, positions: Tensor, cache: "_Cache", at: int | None) -> Tensor:
        """The last hidden states of whole prompts (``at`` None) or of one token of every completion."""
        model = self.model.model
        x = model.embed_tokens(ids)
        cos, sin = model.rotary_emb(x, positions)
        cos, sin = cos[:, :, None], sin[:, :, None]
        for number, layer in enumerate(model.layers):
            h, attention = layer.input_layernorm(x), layer.self_attn
            query = _turned(attention.q_proj(h).unflatten(-1, (-1, self.size)), cos, sin)
            key = _turned(attention.k_proj(h).unflatten(-1, (-1, self.size)), cos, sin)
            value = attention.v_proj(h).unflatten(-1, (-1, self.size))
            if at is None:
                cache.put_prompt(number, key, value)
                query, key, value = (v.transpose(1, 2) for v in (query, key, value))
                mixed = functional.scaled_dot_product_attention(
                    query, key, value, is_causal=True, enable_gqa=True
                ).transpose(1, 2)
            else:
                mixed = cache.attend(number, query, key, value, at)
            x = x + attention.o_proj(mixed.flatten(-2))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return model.norm(x)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class _Cache:
    """Keys and values: of the prompts (once) and of what was written (each completion its own)."""

    def __init__(
        self, prompts: int, samples: int, new: int, decoder: Decoder, lengths: Tensor, longest: int
    ) -> None:
        self.decoder, self.lengths = decoder, lengths
        like = {"dtype": decoder.head.dtype, "device": decoder.head.device}
        layers, heads, size = len(decoder.model.model.layers), decoder.kv_heads, decoder.size
        self.prompt: list[list[Tensor]] = [[] for _ in range(layers)]
        own = (prompts, samples, heads, new, size)
        self.own = [[torch.zeros(own, **like) for _ in range(2)] for _ in range(layers)]
        beyond = torch.arange(longest, device=lengths.device) >= lengths[:, None]
        self.mask = torch.where(beyond, float("-inf"), 0.0)[:, None, None]  # (prompts, 1, 1, longest)

    def put_prompt(self, layer: int, key: Tensor, value: Tensor) -> None:
        """(prompts, length, heads, size) each."""
        self.prompt[layer] = [key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous()]

    def keep(self, alive: Tensor) -> None:
        """Only these prompts go on."""
        self.lengths, self.mask = self.lengths[alive], self.mask[alive]
        self.prompt = [[v[alive] for v in layer] for layer in self.prompt]
        self.own = [[v[alive] for v in layer] for layer in self.own]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, at: int) -> Tensor:
        """(prompts, samples, heads, size) in and out; the new keys and values are kept."""
        repeats = self.decoder.repeats
        samples, size = query.shape[1], query.shape[-1]
        own_keys, own_values = self.own[layer]
        own_keys[:, :, :, at], own_values[:, :, :, at] = key, value
        own_keys, own_values = own_keys[:, :, :, : at + 1], own_values[:, :, :, : at + 1]
        query = query.unflatten(2, (-1, repeats)) * size**-0.5  # (prompts, samples, kv heads, repeats, size)
        shared = query.transpose(1, 2).flatten(2, 3)  # (prompts, kv heads, samples x repeats, size)
        keys, values = self.prompt[layer]
        before = (shared @ keys.transpose(-1, -2)).float() + self.mask
        before = before.unflatten(2, (samples, repeats)).transpose(1, 2)
        since = (query @ own_keys.transpose(-1, -2)).float()
        weights = torch.cat((before, since), -1).softmax(-1).to(value.dtype)
        longest = keys.shape[-2]
        of_prompt = weights[..., :longest].transpose(1, 2).flatten(2, 3) @ values
        of_prompt = of_prompt.unflatten(2, (samples, repeats)).transpose(1, 2)
        return (of_prompt + weights[..., longest:] @ own_values).flatten(2, 3)
