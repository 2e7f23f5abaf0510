"""Which label comes next: a forced verdict's log-probabilities over HTTP, by the route that a server has.

vLLM and llama.cpp offer a raw continuation that shows any token's probability. Elsewhere, and where that
fails, the chat request ends with the assistant's turn so far, and the labels are looked for among the 20
likeliest tokens.
"""

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from jurist.core.types import Completion, Message, Query, Usage
from jurist.engines.base import failed
from jurist.engines.openai.errors import Refused, WireError
from jurist.engines.openai.json_values import list_of, number_of, object_of, objects_of, text_of
from jurist.engines.openai.replies import read_json, read_reply
from jurist.engines.openai.routes import Routes
from jurist.engines.openai.wire import chat_messages, present

# How many of the likeliest tokens are asked for: some servers show five at most, some none.
_TOPS = (20, 5, 0)
# What a log-probability of minus infinity is written as: JSON has no such number (vLLM writes the same).
_IMPOSSIBLE = -9999.0
_SPACES = " \t\n\u0120\u2581"  # also as GPT-2's and SentencePiece's vocabularies write one
_NO_TOPS = re.compile(
    r"not (?:be )?(?:supported|allowed|available)|n't support|unsupported|unrecognized|unknown", re.I
)
_TOKEN_ID = re.compile(r"token_id:\d+")

Tokenize = Callable[[str, str], Awaitable[list[int]]]
"""``tokenize(text, model)``: the ids of a text by itself."""

Logprobs = dict[str, float | None]
"""A token's text and its log-probability; None where the server shows the token without a usable one."""


class _Choice(msgspec.Struct):
    logprobs: Any = None


class _Choices(msgspec.Struct):
    choices: list[_Choice]


class _Prob(msgspec.Struct):
    id: int
    prob: Any = None


class _Position(msgspec.Struct):
    top_probs: list[_Prob]


class _Native(msgspec.Struct):
    completion_probabilities: list[_Position]
    tokens_evaluated: Any = 0


class LabelLogprobs:
    """Asks one server for the log-probabilities of a query's choices."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._ids: dict[str, int] = {}
        self._top = _TOPS[0]

    async def read(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        """A completion whose ``logprobs`` hold every choice, or whose text is the likeliest one."""
        route = await self._routes.route(model)
        if route == "chat":
            return await self._chat(query, model, extra)
        native = self._vllm if route == "vllm" else self._llama_cpp
        try:
            completion = await native(query, model, extra)
        except _SeveralTokens:
            raise
        except (Refused, WireError) as error:
            if isinstance(error, Refused) and (error.too_long or error.of_key):
                raise
            completion = failed(str(error))
        if completion.finish != "error":
            return completion
        # Not every server with vLLM's or llama.cpp's mark has its routes.
        try:
            chat = await self._chat(query, model, extra)
        except (Refused, WireError):
            return completion
        if chat.finish == "error":
            return completion
        self._routes.only_chat()
        return chat

    async def _vllm(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        prompt = await self._routes.vllm_prompt(query, model, extra)
        ids = await self._label_ids(query, model, self._routes.vllm_ids)
        body = {
            "model": model,
            "prompt": prompt,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 0,
            "logprob_token_ids": list(ids.values()),
            "return_tokens_as_token_ids": True,
        }
        reply = await self._routes.ask("POST", "/completions", body, _Choices)
        tops = _legacy(reply.choices[0].logprobs) if reply.choices else None
        if not tops:
            raise WireError("/completions answered with another shape than expected: no log-probabilities")
        logprobs = {c: tops[f"token_id:{i}"] for c, i in ids.items() if f"token_id:{i}" in tops}
        return _completion(query, logprobs, len(prompt))

    async def _label_ids(self, query: Query, model: str, tokenize: Tokenize) -> dict[str, int]:
        """The token of each choice, asked for once."""
        for label in query.choices:
            if label not in self._ids:
                ids = await tokenize(label, model)
                if len(ids) != 1:
                    words = f"{len(ids)} tokens in this model's vocabulary"
                    raise _SeveralTokens(f"the verdict's label {label!r} is {words}")
                self._ids[label] = ids[0]
        return {label: self._ids[label] for label in query.choices}

    async def _llama_cpp(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        prompt = await self._routes.llama_prompt(query, model, extra)
        ids = await self._label_ids(query, model, self._routes.llama_ids)
        # An equal bias on all labels leaves their ratios as they are and makes all of them visible.
        body = {
            "model": model,
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
        if not reply.completion_probabilities:
            raise WireError("/completion answered with another shape than expected: no probabilities")
        probabilities = {p.id: number_of(p.prob) for p in reply.completion_probabilities[0].top_probs}
        logprobs = {c: _log(probabilities[i]) for c, i in ids.items() if i in probabilities}
        return _completion(query, logprobs, int(number_of(reply.tokens_evaluated) or 0))

    async def _chat(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        """By the chat route, with as many of the likeliest tokens as the server shows."""
        while True:
            try:
                return await self._chat_top(query, model, extra, self._top)
            except Refused as error:
                if not error.of_request or "logprob" not in str(error) or not self._top:
                    raise
                self._top = 0 if _NO_TOPS.search(str(error)) else _TOPS[_TOPS.index(self._top) + 1]

    async def _chat_top(self, query: Query, model: str, extra: Mapping[str, Any], top: int) -> Completion:
        turns = (*query.messages, Message("assistant", query.prefill or ""))
        body: dict[str, Any] = {
            "model": model,
            "messages": chat_messages(turns),
            "max_tokens": 1,
            "temperature": 0.0,
            **({"logprobs": True, "top_logprobs": top} if top else {}),
        }

        async def send(more: Mapping[str, Any]) -> bytes:
            return await self._routes.request("POST", "/chat/completions", present({**body, **more, **extra}))

        data = await self._routes.continued(send)
        written = read_reply(data)[0]
        if written.finish in ("error", "filter"):
            return written
        reply = read_json(data, _Choices, "/chat/completions answered with another shape than expected")
        logprobs: Logprobs = {}
        for token, logprob in _likeliest(reply.choices[0].logprobs):
            logprobs.setdefault(token.strip(_SPACES), logprob)
        # A parser of reasoning may have taken the label for a thought.
        text = written.text or written.thinking or ""
        return _completion(query, logprobs, written.usage.prompt_tokens, text)


class _SeveralTokens(WireError):
    """A label that no single token stands for: no route could show its probability."""


def _completion(
    query: Query, logprobs: Mapping[str, float | None], prompt_tokens: int, text: str = ""
) -> Completion:
    """All labels shown: their log-probabilities. Else the likeliest one, or the written one, as a choice.

    Without either it is a failure.
    """
    usage = Usage(prompt_tokens, 1)
    known = {c: p for c in query.choices if (p := logprobs.get(c)) is not None}
    if len(known) == len(query.choices) and max(known.values()) > _IMPOSSIBLE:
        return Completion(max(known, key=lambda c: known[c]), usage=usage, logprobs=known)
    written = _label_in(text.removeprefix(query.prefill or ""), query.choices)
    # A label that is shown without its number may be the likeliest; what was written then is.
    if written and (not known or logprobs.get(written, 0.0) is None):
        return Completion(written, usage=usage)
    if known:
        return Completion(max(known, key=lambda c: known[c]), usage=usage)
    return Completion(
        finish="error", usage=usage, error="the server shows no probability of the verdict's labels"
    )


def _label_in(text: str, labels: Sequence[str]) -> str | None:
    """The label with which a text begins, if nothing but punctuation follows it at once."""
    text = text.strip(_SPACES)
    longest_first = sorted(labels, key=len, reverse=True)
    return next((c for c in longest_first if re.match(rf"{re.escape(c)}(?:\W*\Z|[\])}}<\"*])", text)), None)


def _likeliest(logprobs: Any) -> list[tuple[str, float | None]]:
    """The first position's likeliest tokens of a chat completion, in today's shape or the older one."""
    fields = object_of(logprobs)
    content = objects_of(fields.get("content"))
    if not content:
        return list((_legacy(fields) or {}).items())
    return [(_token(t), logprob_of(t.get("logprob"))) for t in objects_of(content[0].get("top_logprobs"))]


def _token(fields: dict[str, Any]) -> str:
    """A token's text; of one that is shown by its number, what its bytes say."""
    token, data = text_of(fields.get("token")), list_of(fields.get("bytes"))
    if _TOKEN_ID.fullmatch(token) and data:
        try:
            return bytes(data).decode("utf-8", "replace")
        except (TypeError, ValueError):
            return token
    return token


def _legacy(logprobs: Any) -> Logprobs | None:
    """The first position's tokens in the shape of /completions; None without any."""
    tops = objects_of(object_of(logprobs).get("top_logprobs"))
    return {token: logprob_of(value) for token, value in tops[0].items()} if tops else None


def logprob_of(value: Any) -> float | None:
    """A log-probability; minus infinity, and what stands for it, as a large negative number."""
    if value == -math.inf:
        return _IMPOSSIBLE
    logprob = number_of(value)
    return None if logprob is None or logprob > 1e-3 else max(logprob, _IMPOSSIBLE)


def _log(probability: float | None) -> float | None:
    """The logarithm of a probability; one that was rounded to nothing is impossible."""
    if probability is None:
        return None
    return math.log(probability) if probability > 0 else _IMPOSSIBLE
