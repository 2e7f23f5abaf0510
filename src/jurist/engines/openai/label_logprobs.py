"""Which label comes next: a forced verdict's log-probabilities over HTTP, by the route that a server has.

vLLM and llama.cpp offer a raw continuation that shows any token's probability. Elsewhere the chat request
ends with the assistant's turn so far, and the labels are looked for among the 20 likeliest tokens.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from jurist.core.types import Completion, Message, Query, Usage
from jurist.engines.openai.routes import Routes
from jurist.engines.openai.wire import WireError, chat_messages, read_json

T = TypeVar("T")
Some = Annotated[list[T], msgspec.Meta(min_length=1)]
"""A list that is not empty."""


# The parts of each server's reply that are read; msgspec checks their shape.
class _LegacyLogprobs(msgspec.Struct):
    top_logprobs: Some[dict[str, float]]


class _LegacyChoice(msgspec.Struct):
    logprobs: _LegacyLogprobs


class _Legacy(msgspec.Struct):
    choices: Some[_LegacyChoice]


class _Prob(msgspec.Struct):
    id: int
    prob: float


class _Position(msgspec.Struct):
    top_probs: list[_Prob]


class _Native(msgspec.Struct):
    completion_probabilities: Some[_Position]
    tokens_evaluated: int = 0


class _Top(msgspec.Struct):
    token: str
    logprob: float


class _Content(msgspec.Struct):
    top_logprobs: list[_Top] = []


class _ChatLogprobs(msgspec.Struct):
    content: list[_Content] | None = None


class _ChatMessage(msgspec.Struct):
    content: str | None = None


class _ChatChoice(msgspec.Struct):
    message: _ChatMessage
    logprobs: _ChatLogprobs | None = None

    def top(self) -> list[_Top]:
        """The likeliest next tokens, if the server shows any."""
        content = self.logprobs.content if self.logprobs else None
        return content[0].top_logprobs if content else []


class _ChatUsage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Chat(msgspec.Struct):
    choices: Some[_ChatChoice]
    usage: _ChatUsage | None = None


class Labels:
    """Reads the choices of a query from one server."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._ids: dict[str, int] = {}

    async def read(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        """A completion whose ``logprobs`` hold every choice, or whose text is the likeliest one."""
        route = await self._routes.route()
        if route == "vllm":
            return await self._vllm(query, model, extra)
        if route == "llama.cpp":
            return await self._llama_cpp(query, extra)
        return await self._chat(query, model, extra)

    async def _vllm(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        prompt = await self._routes.vllm_prompt(query, model, extra)
        ids = {c: await self._vllm_label(c, model) for c in query.choices}
        body = {
            "model": model,
            "prompt": prompt,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 0,
            "logprob_token_ids": list(ids.values()),
            "return_tokens_as_token_ids": True,
        }
        reply = await self._routes.ask("POST", "/completions", body, _Legacy)
        seen = reply.choices[0].logprobs.top_logprobs[0]
        found = {c: seen.get(f"token_id:{i}") for c, i in ids.items()}
        return _completion(query, found, len(prompt))

    async def _vllm_label(self, label: str, model: str) -> int:
        if label not in self._ids:
            self._ids[label] = _single(label, await self._routes.vllm_ids(label, model))
        return self._ids[label]

    async def _llama_cpp(self, query: Query, extra: Mapping[str, Any]) -> Completion:
        prompt = await self._routes.llama_prompt(query, extra)
        ids = {c: await self._llama_label(c) for c in query.choices}
        # An equal bias on all labels leaves their ratios as they are and makes all of them visible.
        body = {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": len(ids),
            "logit_bias": [[i, 100.0] for i in ids.values()],
            "post_sampling_probs": True,
            "samplers": ["temperature"],
            "temperature": 1.0,
            # With the cache a prompt's numbers depend on what was asked before it.
            "cache_prompt": extra.get("cache_prompt", True),
        }
        reply = await self._routes.ask("POST", "//completion", body, _Native)
        shown = {p.id: p.prob for p in reply.completion_probabilities[0].top_probs}
        found = {c: _log(shown.get(i)) for c, i in ids.items()}
        return _completion(query, found, reply.tokens_evaluated)

    async def _llama_label(self, label: str) -> int:
        if label not in self._ids:
            self._ids[label] = _single(label, await self._routes.llama_ids(label))
        return self._ids[label]

    async def _chat(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        turns = (*query.messages, Message("assistant", query.prefill or ""))
        body: dict[str, Any] = {
            "model": model,
            "messages": chat_messages(turns),
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": True,
            "top_logprobs": 20,
        }

        async def send(more: Mapping[str, Any]) -> bytes:
            whole = {name: value for name, value in {**body, **more, **extra}.items() if value is not None}
            return await self._routes.request("POST", "/chat/completions", whole)

        data = await self._routes.continued(send)
        reply = read_json(data, _Chat, "/chat/completions answered with another shape than expected")
        choice = reply.choices[0]
        read = (reply.usage and reply.usage.prompt_tokens) or 0
        shown: dict[str, float] = {}
        for token in choice.top():
            shown.setdefault(token.token.strip(), token.logprob)
        return _completion(
            query, {c: shown.get(c) for c in query.choices}, read, choice.message.content or ""
        )


def _completion(
    query: Query, found: Mapping[str, float | None], prompt_tokens: int, text: str = ""
) -> Completion:
    """All labels seen: their log-probabilities. Some: the likeliest as a choice. None: a failure."""
    seen = {c: p for c, p in found.items() if p is not None}
    usage = Usage(prompt_tokens, 1)
    if not seen:
        written = text.removeprefix(query.prefill or "").strip()
        if written in query.choices:
            return Completion(written, usage=usage)
        return Completion(
            finish="error", usage=usage, error="the server shows no probability of the verdict's labels"
        )
    best = max(seen, key=lambda c: seen[c])
    return Completion(best, usage=usage, logprobs=seen if len(seen) == len(found) else None)


def _single(label: str, ids: list[int]) -> int:
    if len(ids) != 1:
        raise WireError(f"the verdict's label {label!r} is {len(ids)} tokens in this model's vocabulary")
    return ids[0]


def _log(probability: float | None) -> float | None:
    return math.log(probability) if probability else None
