"""A judgment as its student has to write it, and the rows of training data made from it."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Literal

import msgspec

from jurist.core.errors import StoreError
from jurist.core.types import (
    Completion,
    Conversation,
    Finish,
    Judgment,
    Message,
    Order,
    Query,
    Record,
    Verdict,
)
from jurist.protocols.base import Protocol, split_thinking

Keep = Literal["first", "shortest", "longest", "all"]
"""Which of a pair's accepted chains become rows; lengths are those of the content, in characters."""


class Draft(Record, frozen=True):
    """A judgment in the student's form.

    ``query`` is what the student is asked, ``verdict`` is in the order of the case. ``tokens`` are those of
    ``content``: as the engine counted, less the share of thinking that is left out; where it did not count, a
    quarter of the characters. ``written`` are all that the engine counted. ``turn`` is 1 for a first answer,
    2 for a repaired one.
    """

    query: Query
    thinking: str
    answer: str
    verdict: Verdict
    finish: Finish = "stop"
    tokens: int = 0
    written: int = 0
    turn: Literal[1, 2] = 1

    @property
    def content(self) -> str:
        """The whole assistant turn, its thinking in ``<think>`` tags, each tag once."""
        return content_of(self.thinking, self.answer)


class Row(Record, frozen=True, omit_defaults=False, rename={"turn": "pass"}):
    """One line of training data, in TRL's conversational prompt-completion format."""

    prompt: Conversation
    completion: Conversation
    case_id: str
    order: Order
    turn: Literal[1, 2]
    tokens: int


def content_of(thinking: str, answer: str) -> str:
    """An assistant turn from its parts; without thinking the answer alone."""
    if not thinking.strip():
        return answer.strip()
    return f"<think>\n{thinking.strip()}\n</think>\n\n{answer.strip()}"


def draft_of(judgment: Judgment, protocol: Protocol, *, keep_thinking: bool = True) -> Draft:
    """A first answer as its student would write it, with its thinking or without."""
    thinking, answer = split_thinking(judgment.completion, opens=protocol.opens_thinking)
    return drafted(judgment, judgment.query, thinking if keep_thinking else "", answer)


def drafted(judgment: Judgment, query: Query, thinking: str, answer: str, turn: Literal[1, 2] = 1) -> Draft:
    """The draft with these parts of a judgment's text, as the answer to ``query``."""
    completion = judgment.completion
    tokens = _tokens(completion, content_of(thinking, answer))
    written = completion.usage.completion_tokens
    return Draft(query, thinking, answer, judgment.verdict, completion.finish, tokens, written, turn)


def row_of(draft: Draft) -> Row:
    """The row that teaches a draft."""
    completion = (Message("assistant", draft.content),)
    query = draft.query
    return Row(query.messages, completion, query.case_id, query.order, draft.turn, draft.tokens)


def chosen(drafts: Sequence[Draft], keep: Keep) -> list[Draft]:
    """The drafts of one pair that become rows, the same text for the same prompt only once."""
    distinct = list({(draft.query.order, draft.content): draft for draft in reversed(drafts)}.values())[::-1]
    if keep == "all" or not distinct:
        return distinct
    # The first of equals, in both directions.
    best = {
        "first": lambda: distinct[0],
        "shortest": lambda: min(distinct, key=lambda d: len(d.content)),
        "longest": lambda: max(distinct, key=lambda d: len(d.content)),
    }
    return [best[keep]()]


class RowFile:
    """Rows in the order of their cases, however these fall; the file is there, whole, after ``finish``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._draft = TemporaryFile(dir=path.parent)  # noqa: SIM115, it is closed on exit
        except OSError as error:
            raise StoreError(f"cannot write beside {path}: {error.strerror or error}") from error
        self._blocks: list[tuple[int, int, int]] = []

    def add(self, place: int, drafts: Sequence[Draft]) -> None:
        """Note the rows of the case at this place of the source."""
        block = b"".join(msgspec.json.encode(row_of(draft)) + b"\n" for draft in drafts)
        if block:
            self._blocks.append((place, self._draft.tell(), len(block)))
            self._draft.write(block)

    def finish(self) -> None:
        """Write the file in one step: readers see the old one or the new one."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            with temporary.open("wb") as file:
                for _, start, size in sorted(self._blocks):
                    self._draft.seek(start)
                    file.write(self._draft.read(size))
            temporary.replace(self.path)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from error

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draft.close()


def _tokens(completion: Completion, content: str) -> int:
    counted = completion.usage.completion_tokens
    if not counted:
        return -(-len(content) // 4)
    written = len(completion.text) + len(completion.thinking or "")
    return min(counted, round(counted * len(content) / max(1, written)))
