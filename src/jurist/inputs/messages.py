"""One message of a chat, in the shapes that trainers, servers and data sets write, as a role and a text.

Text, tool calls, tool results and reasoning are rendered; images, sound and files are refused by name, since
a judge that reads text would see two equal responses where only these differ.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypeGuard, cast

import msgspec

from jurist.core.errors import InputError
from jurist.core.types import Message
from jurist.inputs.lines import seen

MESSAGE_HINT = 'a message looks like {"role": "user", "content": "..."}'
TEXT_ONLY = "a judge reads text alone: leave the row out, or describe the content in words"

MEDIA = ("image", "images", "audio", "audios", "video", "videos", "files", "attachments")
"""Fields of a row or message for images, sound and files."""

_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant"}
_TEXT_PARTS = ("text", "input_text", "output_text")
_THINKING_PARTS = ("thinking", "reasoning")
_CALL_PARTS = ("tool_use", "tool_call", "function_call")
_RESULT_PARTS = ("tool_result", "function_call_output")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")


def message_of(value: object, field: str) -> Message:
    """A message from a ``Message``, OpenAI's or Anthropic's fields, or ShareGPT's ``from`` and ``value``.

    Tool calls stand after the content in ``<tool_call>`` tags, with name and arguments as JSON, reasoning
    before it in ``<think>`` tags. Raises ``InputError`` naming the field.
    """
    if isinstance(value, Message):
        return Message(text_of(value.role, f"{field}.role"), text_of(value.content, f"{field}.content"))
    if not isinstance(value, Mapping):
        raise InputError(f"{field}: expected a message, saw {seen(value)}", MESSAGE_HINT)
    fields = cast("Mapping[str, object]", value)
    if len(fields) == 2:
        role, content = fields.get("role"), fields.get("content")
        if _is_plain(role) and _is_plain(content):
            return Message(role, content)  # nearly every message, at half the time
    role, content, name = _role_and_content(fields, field)
    calls = _calls(fields, field)
    refuse_media(fields, f"{field}.")
    texts = [*_reasoning(fields, field)]
    if content is not None:
        texts.append(content_of(content, f"{field}.{name}"))
    elif not calls and not fields.get("refusal"):
        said = "is null" if name in fields else "is missing"
        raise InputError(f"{field}.{name}: {said}, saw {seen(dict(fields))}", MESSAGE_HINT)
    if fields.get("refusal"):
        texts.append(text_of(fields["refusal"], f"{field}.refusal"))
    return Message(role, "\n\n".join(text for text in (*texts, "\n".join(calls)) if text))


def content_of(value: object, field: str) -> str:
    """The text of a content: a text, or a list of parts, joined by line breaks; refuses what is no text."""
    if isinstance(value, str):
        return text_of(value, field)
    if isinstance(value, Mapping):
        return _part(cast("Mapping[str, object]", value), field)
    if not isinstance(value, Sequence):
        raise InputError(f"{field}: must be a text or a list of parts, saw {seen(value)}", MESSAGE_HINT)
    parts = cast("Sequence[object]", value)
    texts = [content_of(part, f"{field}[{i}]") for i, part in enumerate(parts)]
    return "\n".join(text for text in texts if text)


def text_of(value: object, field: str) -> str:
    """A plain text; raises for another type and for half a surrogate pair, which no file can hold."""
    if not isinstance(value, str):
        raise InputError(f"{field}: must be a text, saw {seen(value)}", MESSAGE_HINT)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{field}: half of a surrogate pair (U+{ord(value[error.start]):04X}) at character "
                f"{error.start} is no character",
                'remove it: text.encode("utf-8", "ignore").decode()',
            ) from None
    return str(value)  # numpy's texts are a subclass that msgspec does not write


def _is_plain(value: object) -> TypeGuard[str]:
    return type(value) is str and value.isascii()


def refuse_media(fields: Mapping[str, object], field: str = "") -> None:
    """Raise where a row or message holds an image, sound or file beside its texts."""
    for name in MEDIA:
        if fields.get(name) not in (None, "", [], {}):
            raise InputError(
                f"{field}{name}: holds what is no text, saw {seen(type(fields[name]).__name__)}",
                f"{TEXT_ONLY}; where the texts say all of it, drop the column",
            )


def _role_and_content(fields: Mapping[str, object], field: str) -> tuple[str, object, str]:
    """(role, content, the name of the content's field)."""
    if "role" not in fields and "from" in fields and "value" in fields:
        role = text_of(fields["from"], f"{field}.from")
        return _SHAREGPT_ROLES.get(role, role), fields["value"], "value"
    if not isinstance(fields.get("role"), str):
        said = "is missing" if "role" not in fields else "must be a text"
        raise InputError(f"{field}.role: {said}, saw {seen(dict(fields))}", MESSAGE_HINT)
    return text_of(fields["role"], f"{field}.role"), fields.get("content"), "content"


def _reasoning(fields: Mapping[str, object], field: str) -> list[str]:
    """The reasoning in fields beside the content; the same under two names counts once."""
    texts = [
        content_of(fields[name], f"{field}.{name}")
        for name in _REASONING_FIELDS
        if isinstance(fields.get(name), str | list)
    ]
    return [_tagged("think", text) for text in dict.fromkeys(texts) if text.strip()]


def _calls(fields: Mapping[str, object], field: str) -> list[str]:
    listed = fields.get("tool_calls")
    if listed is not None and (isinstance(listed, str) or not isinstance(listed, Sequence)):
        raise InputError(f"{field}.tool_calls: must be a list, saw {seen(listed)}", MESSAGE_HINT)
    calls = [
        _call(call, f"{field}.tool_calls[{i}]")
        for i, call in enumerate(cast("Sequence[object]", listed or ()))
    ]
    if fields.get("function_call") is not None:
        calls.append(_call(fields["function_call"], f"{field}.function_call"))
    return calls


def _call(value: object, field: str) -> str:
    """A call in its tags, from OpenAI's ``function``, Anthropic's ``input`` or plain fields."""
    if isinstance(value, str):
        return _tagged("tool_call", text_of(value, field))
    outer = cast("Mapping[str, object]", value if isinstance(value, Mapping) else {})
    function: object = outer.get("function") or outer.get("custom")
    inner = cast("Mapping[str, object]", function if isinstance(function, Mapping) else outer)
    if not isinstance(inner.get("name"), str):
        raise InputError(f"{field}: is no tool call with a name, saw {seen(dict(outer))}", MESSAGE_HINT)
    arguments: object = next(
        (inner[name] for name in ("arguments", "input") if inner.get(name) is not None), "{}"
    )
    if isinstance(arguments, str):
        text_of(arguments, field)
        with suppress(msgspec.DecodeError):  # what is no JSON stays a text
            arguments = msgspec.json.decode(arguments)
    call = {"name": text_of(inner["name"], field), "arguments": arguments}
    try:
        return _tagged("tool_call", msgspec.json.encode(call, enc_hook=str).decode())
    except UnicodeEncodeError as error:
        text_of(error.object, field)  # says which character
        raise


def _part(part: Mapping[str, object], field: str) -> str:
    kind = part.get("type") or ("text" if "text" in part else None)
    if kind in _TEXT_PARTS:
        return text_of(part.get("text"), f"{field}.text")
    if kind in _THINKING_PARTS:
        inside = next((part[name] for name in ("thinking", "text", "summary") if part.get(name)), "")
        return _tagged("think", content_of(inside, field)) if inside else ""
    if kind in _CALL_PARTS:
        return _call(part, field)
    if kind in _RESULT_PARTS:
        result = next((part[name] for name in ("content", "output") if part.get(name) is not None), "")
        return _tagged("tool_response", content_of(result, field))
    if kind == "refusal":
        return text_of(part.get("refusal"), f"{field}.refusal")
    raise InputError(f"{field}: a part of the type {seen(kind)} is no text", TEXT_ONLY)


def _tagged(tag: str, text: str) -> str:
    return f"<{tag}>\n{text.strip()}\n</{tag}>"
