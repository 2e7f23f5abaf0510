"""Rows of written judgments as a student learns them: prompt, completion, and where each came from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from jurist.engines.chat_ids import ChatError, ChatIds
from jurist.errors import InputError
from jurist.inputs.files import open_source
from jurist.inputs.lines import Fields, seen
from jurist.learning.questions import Question
from jurist.protocols.base import Protocol
from jurist.types import Conversation, Message


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is read and what is to be written, in tokens."""

    prompt: list[int]
    completion: list[int]


@dataclass(slots=True)
class Lengths:
    """What became of the rows."""

    rows: int = 0
    dropped: int = 0
    longest: int = 0
    written: int = 0

    def lines(self) -> Iterator[str]:
        """What a person should know, a line each."""
        kept = self.rows - self.dropped
        mean = self.written / kept if kept else 0.0
        yield f"{kept:,} rows, at most {self.longest:,} tokens; {mean:,.0f} tokens to learn in each"
        if self.dropped:
            yield f"{self.dropped:,} longer rows left out (--max-length)"


def lessons_of(source: str, chat: ChatIds, max_length: int) -> tuple[list[Lesson], Lengths]:
    """The rows of a file: `prompt` and `completion`, or `messages` whose last turn is learned.

    Raises ``InputError`` naming file, line and field.
    """
    return kept(_lessons(source, chat), max_length)


def answers_of(
    questions: Iterable[Question], protocol: Protocol, chat: ChatIds, max_length: int
) -> tuple[list[Lesson], Lengths]:
    """Lessons that teach the bare verdict of each question, with no reasons before it."""
    return kept((_answer(question, protocol, chat) for question in questions), max_length)


def kept(lessons: Iterable[Lesson], max_length: int) -> tuple[list[Lesson], Lengths]:
    """The lessons that are not too long, and the count."""
    found: list[Lesson] = []
    lengths = Lengths()
    for lesson in lessons:
        lengths.rows += 1
        length = len(lesson.prompt) + len(lesson.completion)
        if length > max_length:
            lengths.dropped += 1
            continue
        lengths.longest = max(lengths.longest, length)
        lengths.written += len(lesson.completion)
        found.append(lesson)
    if not found:
        why = "all are longer than --max-length" if lengths.rows else "the file has no rows"
        raise InputError(f"no row to learn from: {why}")
    return found, lengths


def _lessons(source: str, chat: ChatIds) -> Iterator[Lesson]:
    for row in open_source(source):
        try:
            if isinstance(row.fields, InputError):
                raise row.fields
            prompt, completion = _parts(row.fields)
            yield Lesson(chat.prompt(prompt, None), chat.reply(completion))
        except ChatError as error:
            raise InputError(f"{row.place}: {error}") from error
        except InputError as error:
            raise InputError(f"{row.place}: {error.message}", error.hint) from None


def _parts(fields: Fields) -> tuple[Conversation, str]:
    """(what is read, what is to be written)."""
    if "messages" in fields and "completion" not in fields:
        turns = _turns(fields["messages"], "messages")
        if len(turns) < 2 or turns[-1].role != "assistant":
            raise InputError("messages: the last turn is not the assistant's", "it is what would be learned")
        return turns[:-1], _written(turns[-1].content, "messages")
    if "prompt" not in fields or "completion" not in fields:
        raise InputError(
            f"completion: is missing; fields of the row: {seen(list(fields))}",
            hint="rows of `jurist distill` have prompt and completion; pairs need --target answer",
        )
    prompt, completion = fields["prompt"], fields["completion"]
    read = (Message("user", prompt),) if isinstance(prompt, str) else _turns(prompt, "prompt")
    if isinstance(completion, str):
        return read, _written(completion, "completion")
    turns = _turns(completion, "completion")
    if len(turns) != 1 or turns[0].role != "assistant":
        raise InputError(f"completion: one turn of the assistant was expected, saw {seen(completion)}")
    return read, _written(turns[0].content, "completion")


def _written(text: str, field: str) -> str:
    if not text.strip():
        raise InputError(f"{field}: what is to be written is empty", "nothing could be learned from it")
    return text


def _turns(value: Any, field: str) -> Conversation:
    turns: list[Message] = []
    shown = seen(cast("object", value))
    for turn in cast("list[Any]", value) if isinstance(value, list) else [None]:
        fields = cast("dict[str, Any]", turn) if isinstance(turn, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise InputError(f"{field}: no messages with role and content, saw {shown}")
        turns.append(Message(role, content))
    if not turns:
        raise InputError(f"{field}: has no messages")
    return tuple(turns)


def _answer(question: Question, protocol: Protocol, chat: ChatIds) -> Lesson:
    slot = protocol.slot
    label = slot.labels_of(len(question.query.order))[question.slot]
    opened = "<think>\n\n</think>\n\n" if protocol.opens_thinking or chat.opened else ""
    return Lesson(question.ids, chat.reply(f"{opened}{slot.before}{label}{slot.after}"))
