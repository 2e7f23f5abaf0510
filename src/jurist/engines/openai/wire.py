"""OpenAI-compatible chat completions on the wire: bodies out, replies in; no I/O."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec.structs import replace

from jurist.core.types import Completion, Conversation, Finish, Query, Sampling, Usage

T = TypeVar("T")

# Servers that fill in a model's or their own sampling defaults unless told otherwise.
NEUTRAL: dict[str, dict[str, float]] = {
    "vllm": {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0},
}
_FINISH: dict[str, Finish] = {
    "length": "length",
    "content_filter": "filter",
    "abort": "error",
    "error": "error",
}
_TOO_LONG = re.compile(
    r"HTTP (?:400|413|422): .*?(?:context[ _](?:length|size|window)|maximum context|n_ctx"
    r"|(?:prompt|input|messages?|conversation)\b.{0,40}too long)",
    re.I | re.S,
)
_CONTEXT = re.compile(r"context length (?:is|of) (\d+)")
_OUTPUT = re.compile(r"requested (\d+) output|too large: (\d+)|(\d+)(?: tokens for| in) the completion")


class WireError(Exception):
    """A reply of another shape than was asked for."""


class Refused(Exception):
    """The server answered, and would answer the same request the same way again."""

    @property
    def of_request(self) -> bool:
        """Whether it is the request's body that was refused: another one may be taken."""
        return str(self).startswith(("HTTP 400", "HTTP 422"))


class Retried(Exception):
    """The request may succeed later; ``after`` seconds if the server said so."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None

    @property
    def thought(self) -> str | None:
        """The thinking, by the newer name or the older."""
        return self.reasoning or self.reasoning_content


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    index: int = 0


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _RawChoice(msgspec.Struct):
    text: str
    finish_reason: str | None = None


class _Raw(msgspec.Struct):
    choices: Annotated[list[_RawChoice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None


class _Timings(msgspec.Struct):
    cache_n: int = 0


class _Native(msgspec.Struct):
    """llama.cpp's own completion."""

    content: str
    stop_type: str = "eos"
    truncated: bool = False
    tokens_evaluated: int = 0
    tokens_predicted: int = 0
    timings: _Timings | None = None


class _Problem(msgspec.Struct):
    """An error reply: OpenAI's object under ``error``, a text under it, or FastAPI's ``detail``."""

    error: dict[str, Any] | str | None = None
    message: str | None = None
    detail: Any = None

    def words(self) -> str | None:
        error = self.error.get("message") if isinstance(self.error, dict) else self.error
        found = error or self.message or _fields(self.detail)
        return " ".join(str(found).split())[:400] if found else None


class _Place(msgspec.Struct):
    """One of FastAPI's complaints; what it quotes of the request is left out."""

    msg: str
    loc: list[str | int] = []


def _fields(detail: Any) -> Any:
    try:
        places = msgspec.convert(detail, list[_Place])
    except msgspec.ValidationError:
        return detail
    return "; ".join(f"{'.'.join(map(str, p.loc))}: {p.msg}" for p in places)


def read_json(data: bytes, kind: type[T], complaint: str) -> T:
    """``data`` as ``kind``; raises ``WireError`` with ``complaint`` and the reason where it is not."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"{complaint}: {error}") from error


def chat_body(query: Query, model: str, extra: Mapping[str, Any], n: int = 1) -> dict[str, Any]:
    """The body of a chat completion request. A None in ``extra`` takes a field out."""
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(query.messages),
        **sampling_body(query.sampling),
    }
    if n > 1:
        body["n"] = n
    body |= extra
    return {name: value for name, value in body.items() if value is not None}


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


def read_reply(data: bytes) -> list[Completion]:
    """The completions of a reply, in the order of their index; raises ``WireError`` on another shape."""
    try:
        reply = read_json(data, _Reply, "the server's JSON is not a chat completion")
    except WireError:
        # Some gateways report an error of the server behind them with status 200.
        if words := _words(data):
            raise WireError(f"an error with status 200: {words}") from None
        raise
    if not reply.choices:
        raise WireError("the server sent no choices")
    usage = _usage(reply.usage)
    n = len(reply.choices)
    # One request for n samples reads its prompt once and reports one sum of written tokens.
    written = usage.completion_tokens
    first = replace(usage, completion_tokens=written - written // n * (n - 1))
    others = Usage(0, written // n)
    ordered = sorted(reply.choices, key=lambda c: c.index)
    return [_completion(choice, first if i == 0 else others) for i, choice in enumerate(ordered)]


def read_raw(data: bytes) -> Completion:
    """The completion of a raw continuation by vLLM; raises ``WireError`` on another shape."""
    reply = read_json(data, _Raw, "/completions answered with another shape than expected")
    choice = reply.choices[0]
    return _ended(choice.text, choice.finish_reason, _usage(reply.usage))


def read_native(data: bytes) -> Completion:
    """The completion of a raw continuation by llama.cpp; raises ``WireError`` on another shape."""
    reply = read_json(data, _Native, "/completion answered with another shape than expected")
    cached = reply.timings.cache_n if reply.timings else 0
    usage = Usage(reply.tokens_evaluated, reply.tokens_predicted, cached)
    cut = reply.truncated or reply.stop_type == "limit"
    return _ended(reply.content, "length" if cut else "stop", usage)


def _usage(usage: _Usage | None) -> Usage:
    usage = usage or _Usage()
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details else 0
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached or 0)


def _ended(text: str, reason: str | None, usage: Usage) -> Completion:
    finish = _FINISH.get(reason or "stop", "stop")
    error = "the server aborted the request" if finish == "error" else None
    return Completion(text, finish=finish, usage=usage, error=error)


def _completion(choice: _Choice, usage: Usage) -> Completion:
    message = choice.message
    content = message.content
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content)
    ended = replace(_ended(content or "", choice.finish_reason, usage), thinking=message.thought)
    if message.refusal and not content:
        return replace(ended, text=message.refusal, finish="filter", error=None)
    return ended


def read_error(status: int, data: bytes, content_type: str) -> str:
    """One line for people from an error reply of any shape."""
    text = data[:2000].decode("utf-8", "replace")
    message = _words(data)
    if message is None:
        kind = "HTML" if "html" in content_type or text.lstrip()[:1] == "<" else "text"
        message = f"{kind} instead of JSON: {' '.join(text.split())[:120]!r}"
    return f"HTTP {status}: {message}"


def _words(data: bytes) -> str | None:
    try:
        return read_json(data, _Problem, "no error object").words()
    except WireError:
        return None


def is_too_long(error: str) -> bool:
    """Whether an error says that the prompt does not fit into the model's context."""
    context, output = _CONTEXT.search(error), _OUTPUT.search(error)
    if context and output and int(output[output.lastindex or 0]) >= int(context[1]):
        return False  # more output was asked for than fits with any prompt: max_tokens is wrong
    return bool(_TOO_LONG.match(error))


def too_long(error: str) -> Completion:
    """A prompt over the context is a truncation of the input, not a failure of the server."""
    note = f"the prompt does not fit into the model's context ({error})"
    return Completion(finish="length", error=note)
