"""Prompts and responses from texts and messages; the prompt that two conversations share."""

import re
from collections.abc import Mapping
from typing import cast

import msgspec

from jurist.core.errors import InputError
from jurist.core.types import Conversation, Message, Response
from jurist.inputs.lines import seen
from jurist.inputs.messages import MESSAGE_HINT, message_of, text_of

_TEXT_HINT = "write a text, or a list of messages with role and content"

# Anthropic's transcripts: the whole dialogue in one text, each turn behind a blank line and a name.
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def prompt_of(value: object, field: str) -> Conversation:
    """A prompt: a text is one user turn, a list of messages a conversation."""
    if isinstance(value, str):
        return _asking((Message("user", text_of(value, field)),), field)
    return _asking(messages_of(value, field), field)


def response_of(value: object, field: str) -> Response:
    """A response: a text, which may be empty, or the turns of a conversation that went on."""
    return text_of(value, field) if isinstance(value, str) else messages_of(value, field)


def responses_of(value: object, field: str) -> tuple[Response, ...]:
    """A list of responses; one text is not taken for a list of its letters."""
    items = _listed(value)
    if not items:
        raise InputError(
            f"{field}: must be a list of one or more responses, saw {seen(value)}",
            'for example ["first answer", "second answer"]',
        )
    return tuple(response_of(item, f"{field}[{i}]") for i, item in enumerate(items))


def is_many(value: object) -> bool:
    """Whether a value is a list of responses rather than one response."""
    items = _listed(value)
    return bool(items) and isinstance(items[0], str | list)


def messages_of(value: object, field: str) -> Conversation:
    """The turns of a list of messages, or of one message; see ``message_of`` for what is rendered."""
    if isinstance(value, Message | Mapping):
        return (message_of(cast("object", value), field),)
    items = _listed(value)
    if items is None:
        said = "is null" if value is None else "must be a text or a list of messages"
        raise InputError(f"{field}: {said}, saw {seen(value)}", _TEXT_HINT)
    if not items:
        raise InputError(f"{field}: is a conversation without turns, saw []", MESSAGE_HINT)
    return tuple(message_of(item, f"{field}[{i}]") for i, item in enumerate(items))


def _listed(value: object) -> list[object] | None:
    """The items of a list, tuple or array; None for anything else."""
    if isinstance(value, list | tuple):
        return list(cast("list[object]", value))
    as_list = getattr(value, "tolist", None)  # numpy, pandas and pyarrow hand lists out as arrays
    items: object = as_list() if callable(as_list) else None
    return cast("list[object]", items) if isinstance(items, list) else None


def after(prompt: Conversation, value: object, field: str) -> Response:
    """A response that may repeat the turns of its prompt first, as conversational preference data does."""
    response = response_of(value, field)
    if isinstance(response, str):
        return response
    repeats = len(response) > len(prompt) and response[: len(prompt)] == prompt
    return _shortest(response[len(prompt) :] if repeats else response, field)


def shared_prompt(
    values: tuple[object, object], fields: tuple[str, str]
) -> tuple[Conversation, tuple[Response, Response]]:
    """The turns that two conversations begin with are the prompt, what is left are the responses."""
    one, two = (_dialogue(value, field) for value, field in zip(values, fields, strict=True))
    shared = 0
    while shared < min(len(one), len(two)) - 1 and one[shared] == two[shared]:
        shared += 1  # the last turn is always left, also of two equal conversations
    if not shared:
        raise InputError(
            f"prompt: is missing, and {fields[0]} and {fields[1]} do not begin with the same turn, "
            f"saw {seen(one[0].content)} and {seen(two[0].content)}",
            "add a prompt field, or let both begin with the turns they share",
        )
    return _asking(one[:shared], "prompt"), (
        _shortest(one[shared:], fields[0]),
        _shortest(two[shared:], fields[1]),
    )


def _asking(turns: Conversation, field: str) -> Conversation:
    if not any(turn.content.strip() for turn in turns):
        raise InputError(
            f"{field}: is empty, saw {seen(turns[0].content)}", "a judge needs to see what was asked"
        )
    return turns


def _dialogue(value: object, field: str) -> Conversation:
    """A whole conversation, from messages or from a Human/Assistant transcript."""
    if not isinstance(value, str):
        return messages_of(value, field)
    parts = _TURN.split(value)
    if len(parts) == 1 or parts[0].strip():
        raise InputError(
            f"prompt: is missing, and {field} is not a conversation that holds one, saw {seen(value)}",
            "add a prompt field, or write chosen and rejected as lists of messages that begin alike",
        )
    named = zip(parts[1::2], parts[2::2], strict=True)
    return tuple(Message(_ROLES[name], content.strip()) for name, content in named)


def _shortest(turns: Conversation, field: str) -> Response:
    """One assistant turn is a text; several turns stay a conversation."""
    if not any(turn.role == "assistant" for turn in turns):
        raise InputError(
            f"{field}: has no assistant turn after the prompt, saw {seen(msgspec.to_builtins(turns))}",
            "the response that is judged must be a turn with the role assistant",
        )
    return turns[0].content if len(turns) == 1 else turns
