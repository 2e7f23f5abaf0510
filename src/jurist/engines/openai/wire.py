"""Requests to OpenAI-compatible servers: the bodies that go out; no I/O."""

from collections.abc import Mapping
from typing import Any

from jurist.core.types import Conversation, Query, Sampling

# Servers that fill in a model's or their own sampling defaults unless told otherwise.
NEUTRAL: dict[str, dict[str, float]] = {
    "vllm": {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0},
}


def chat_body(query: Query, model: str, extra: Mapping[str, Any], n: int = 1) -> dict[str, Any]:
    """The body of a chat completion request. A None in ``extra`` takes a field out."""
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(query.messages),
        **sampling_body(query.sampling),
    }
    if n > 1:
        body["n"] = n
    return present({**body, **extra})


def sampling_body(sampling: Sampling) -> dict[str, Any]:
    """How tokens are drawn, as a request says it; a thinking budget is not part of it."""
    body: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


def chat_messages(turns: Conversation) -> list[dict[str, str]]:
    """Messages as a request carries them."""
    return [{"role": m.role, "content": m.content} for m in turns]


def present(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a body that have a value; None takes a field out."""
    return {name: value for name, value in body.items() if value is not None}
