"""Chat completions as servers send them: odd JSON, event streams, parts, reasoning, errors; no I/O."""

import json
import re
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from jurist.core.types import Completion, Finish, Usage
from jurist.engines.base import failed
from jurist.engines.openai.errors import Refused, Retried, WireError, problem_in, refusal_inside
from jurist.engines.openai.json_values import count_of, list_of, number_of, object_of, objects_of

T = TypeVar("T")

# Where servers put the reasoning, beside the answer.
_THOUGHTS = ("reasoning", "reasoning_content", "reasoning_details", "thinking_blocks", "thinking")
_TEXTS = ("text", "content", "thinking", "reasoning", "reasoning_content", "summary", "value")
_CUT = re.compile(r"length|max.*token|limit|overflow|truncat|context.?window|incomplete|max.?output")
_FILTER = re.compile(
    r"filter|safety|prohibit|block|polic|sensitive|refus|moderat|guardrail|recitation|spii|censor|risk"
)
_BROKEN = re.compile(r"abort|error|cancel|fail|insufficient|time.?out|unavailable|malformed")
_COMMENTS = re.compile(r"(?:\s*:[^\n]*(?:\n|\Z))+")
_EVENT = re.compile(r"\s*(?:data|event|id|retry)\s*:")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Another try may bring the reply that was missing; a server that sends none twice more is broken.
_ODD_TRIES = 2


class _Message(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    reasoning_details: Any = None
    thinking_blocks: Any = None
    thinking: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct):
    message: _Message | msgspec.UnsetType | None = msgspec.UNSET
    finish_reason: Any = None
    index: Any = None
    error: Any = None
    content_filter_results: Any = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    prompt_filter_results: Any = None
    promptFeedback: Any = None  # Gemini


class _RawChoice(msgspec.Struct):
    text: str
    finish_reason: Any = None


class _Raw(msgspec.Struct):
    choices: list[_RawChoice]
    usage: Any = None


class _Native(msgspec.Struct):
    """llama.cpp's own completion."""

    content: str
    stop_type: str = "eos"
    truncated: bool = False
    tokens_evaluated: Any = 0
    tokens_predicted: Any = 0
    timings: Any = None


def read_json(data: bytes, kind: type[T], complaint: str) -> T:
    """``data`` as ``kind``, also where it is no clean JSON.

    Raises ``WireError`` with ``complaint`` where it has another shape, and the server's own error
    (``Refused``, ``Retried``) where it is one with status 200, or empty.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = error
    try:
        value = loads(data)
        if inside := refusal_inside(value):
            raise inside
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise WireError(f"{complaint}: {error}") from error
    except (ValueError, RecursionError):
        if data.lstrip()[:1] == b"<":
            page = " ".join(data[:2000].decode("utf-8", "replace").split())[:120]
            raise WireError(f"{complaint}: HTML instead of JSON: {page!r}") from None
        raise WireError(f"{complaint}: {reason}") from None


def loads(data: bytes) -> Any:
    """The value of JSON as servers send it; raises ``ValueError`` where there is none.

    Read besides JSON: a byte order mark, comments of an event stream before the reply, NaN and Infinity (as
    None), half surrogates and bytes that are not UTF-8 (as U+FFFD), and a reply in events though none was
    asked for. An empty reply raises ``Retried``.
    """
    text = data.decode("utf-8-sig", "replace")
    if comments := _COMMENTS.match(text):
        text = text[comments.end() :]
    if not text.strip():
        raise Retried("an empty reply", most=_ODD_TRIES)
    if _EVENT.match(text):
        return _merged(text)
    return _loaded(text)


def read_reply(data: bytes) -> list[Completion]:
    """The completions of a reply, in the order of their index.

    Raises ``WireError`` on another shape, and the server's own error where the reply holds one.
    """
    reply = read_json(data, _Reply, "the server's JSON is not a chat completion")
    if reply.error is not None and (inside := refusal_inside({"error": reply.error})):
        raise inside
    choices = reply.choices or []
    if not choices:
        raise _without_choices(data, reply)
    problems = [refusal_inside({"error": c.error}) if c.error else None for c in choices]
    if problems[0] and all(problems):
        raise problems[0]
    usage = usage_of(reply.usage)
    n = len(choices)
    if n == 1:
        return [_completion(choices[0], None, usage)]
    # One request for n samples reads its prompt once and reports one sum of written tokens.
    written = usage.completion_tokens
    first = replace(usage, completion_tokens=written - written // n * (n - 1))
    others = Usage(0, written // n)
    ordered = sorted(zip(choices, problems, strict=True), key=lambda pair: number_of(pair[0].index) or 0)
    return [
        _completion(choice, problem, first if i == 0 else others)
        for i, (choice, problem) in enumerate(ordered)
    ]


def read_raw(data: bytes) -> Completion:
    """The completion of a raw continuation by vLLM; raises ``WireError`` on another shape."""
    reply = read_json(data, _Raw, "/completions answered with another shape than expected")
    if not reply.choices:
        raise WireError("/completions answered with another shape than expected: no choices")
    choice = reply.choices[0]
    return _ended(choice.text, choice.finish_reason, usage_of(reply.usage))


def read_native(data: bytes) -> Completion:
    """The completion of a raw continuation by llama.cpp; raises ``WireError`` on another shape."""
    reply = read_json(data, _Native, "/completion answered with another shape than expected")
    cached = count_of(object_of(reply.timings).get("cache_n"))
    usage = Usage(count_of(reply.tokens_evaluated), count_of(reply.tokens_predicted), cached)
    cut = reply.truncated or reply.stop_type == "limit"
    return _ended(reply.content, "length" if cut else "stop", usage)


def finish_of(reason: Any) -> Finish:
    """What a server's reason to stop means, in whatever spelling; one that says nothing is a stop."""
    if isinstance(reason, dict):
        reason = object_of(reason).get("type") or object_of(reason).get("reason")
    if not isinstance(reason, str):
        return "stop"
    return _finish_named(reason)


@lru_cache(maxsize=64)
def _finish_named(reason: str) -> Finish:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", reason).lower()
    if _FILTER.search(words):
        return "filter"
    if _BROKEN.search(words):
        return "error"
    return "length" if _CUT.search(words) else "stop"


def usage_of(usage: Any) -> Usage:
    """Tokens read and written, as far as the server states them as numbers."""
    fields = object_of(usage)
    cached = object_of(fields.get("prompt_tokens_details")).get("cached_tokens")
    return Usage(
        count_of(fields.get("prompt_tokens")), count_of(fields.get("completion_tokens")), count_of(cached)
    )


def flat_text(value: Any) -> str:
    """The text of content or reasoning: a text, a number, parts in a list, or an object that holds one."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(flat_text, list_of(value)))
    if isinstance(value, dict):
        fields = object_of(value)
        if named := [fields[name] for name in _TEXTS if name in fields]:
            return next((text for v in named if (text := flat_text(v))), "")
        # An object that is the answer itself; of a part without text (an image) nothing is written.
        return "" if "type" in fields else msgspec.json.encode(fields).decode()
    return str(value)


def _completion(choice: _Choice, problem: Exception | None, usage: Usage) -> Completion:
    if problem:
        return replace(failed(str(problem)), usage=usage)
    message = choice.message
    if not isinstance(message, _Message):
        if finish_of(choice.finish_reason) == "filter" or _filtered(choice.content_filter_results):
            return Completion(finish="filter", usage=usage)
        if message is None:
            raise Retried("the server sent no message", most=_ODD_TRIES)
        raise WireError("the server's JSON is not a chat completion: a choice has no message")
    text, parts_thinking = _parted(message.content)
    thinking = _thinking(message) or parts_thinking or None
    ended = _ended(text, choice.finish_reason, usage, thinking)
    if not text and (refusal := flat_text(message.refusal)):
        return replace(ended, text=refusal, finish="filter", error=None)
    if not text and (calls := _tool_calls(message)):
        return replace(ended, text=calls)
    return ended


def _thinking(message: _Message) -> str:
    """The reasoning beside the answer, wherever the server put it."""
    for name in _THOUGHTS:
        value: Any = getattr(message, name)
        if value is not None and (text := flat_text(value)):
            return text
    return ""


def _parted(content: Any) -> tuple[str, str]:
    """(text, thinking) of content that may come in parts, some of which may be thinking."""
    if not isinstance(content, list):
        return flat_text(content), ""
    thoughts = [part for part in objects_of(content) if _is_thought(part)]
    return flat_text([part for part in list_of(content) if part not in thoughts]), flat_text(thoughts)


def _is_thought(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and ("think" in kind or "reason" in kind)


def _tool_calls(message: _Message) -> str:
    """Calls of tools as the text from which the server parted them; a judge has no tools to call."""
    calls = [object_of(c.get("function")) for c in objects_of(message.tool_calls)]
    calls.append(object_of(message.function_call))
    return "\n".join(
        f'<tool_call>\n{{"name": {json.dumps(call.get("name"))}, '
        f'"arguments": {flat_text(call.get("arguments")) or "{}"}}}\n</tool_call>'
        for call in calls
        if call
    )


def _without_choices(data: bytes, reply: _Reply) -> Exception:
    """Why a reply has no choices: an error, a filter of the prompt, or nothing that says why."""
    value = loads(data)
    if inside := refusal_inside(value):
        return inside
    if _filtered(reply.prompt_filter_results) or _filtered(reply.promptFeedback):
        return Refused("the prompt was stopped by a content filter", filtered=True)
    fields = object_of(value)
    if "choices" in fields:
        return Retried("the server sent no choices", most=_ODD_TRIES)
    words = fields.get("message") or fields.get("detail") or fields.get("msg")
    problem = refusal_inside({"error": {**fields, "message": words}}) if words else None
    return problem or WireError("the server's JSON is not a chat completion: it has no choices")


def _filtered(results: Any) -> bool:
    """Whether results of a content filter (Azure, Gemini), however nested, say that a text was stopped."""
    if isinstance(results, list):
        return any(map(_filtered, list_of(results)))
    fields = object_of(results)
    if fields.get("filtered") is True or fields.get("blockReason"):
        return True
    return any(map(_filtered, fields.values()))


def _ended(text: str, reason: Any, usage: Usage, thinking: str | None = None) -> Completion:
    finish = finish_of(reason)
    error = "the server aborted the request" if finish == "error" else None
    return Completion(text, thinking=thinking, finish=finish, usage=usage, error=error)


def _loaded(text: str) -> Any:
    value = json.loads(text, strict=False, parse_constant=lambda _: None)
    # An escape such as "\\ud83d" alone stands for half a character.
    return _whole(value) if "\\ud" in text or "\\uD" in text else value


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(item) for item in list_of(value)]
    if isinstance(value, dict):
        return {_SURROGATE.sub("\ufffd", name): _whole(item) for name, item in object_of(value).items()}
    return value


def _merged(text: str) -> dict[str, Any]:
    """One reply from an event stream; raises ``Retried`` where the stream broke off."""
    choices: dict[int, dict[str, Any]] = {}
    usage: Any = None
    done = False
    for event in re.split(r"\r?\n\r?\n|\r\r", text):
        lines = [line[5:].removeprefix(" ") for line in event.splitlines() if line.startswith("data:")]
        payload = "\n".join(lines)
        if payload.strip() == "[DONE]":
            done = True
            break
        if not payload.strip():
            continue
        value = _loaded(payload)
        if problem_in(value):
            return object_of(value)
        usage = object_of(value).get("usage") or usage
        for part in objects_of(object_of(value).get("choices")):
            _append(choices, part)
    if not done and not any(c.get("finish_reason") for c in choices.values()):
        raise Retried("the server's stream ended before its answer did", most=_ODD_TRIES)
    return {"choices": list(choices.values()), "usage": usage}


def _append(choices: dict[int, dict[str, Any]], part: dict[str, Any]) -> None:
    """Put one event's part behind what its choice has so far."""
    index = int(number_of(part.get("index")) or 0)
    choice = choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
    message: dict[str, Any] = choice["message"]
    for name, value in object_of(part.get("delta") or part.get("message")).items():
        if name in ("content", "refusal", *_THOUGHTS):
            message[name] = message.get(name, "") + flat_text(value)
        elif value is not None:
            message[name] = value
    for name in ("finish_reason", "error", "content_filter_results", "logprobs"):
        if part.get(name) is not None:
            choice[name] = part[name]
