"""A judgment as its student has to write it, and the rows of training data made from it."""

from collections.abc import Sequence
from typing import Literal

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
from jurist.protocols.base import Protocol
from jurist.protocols.thinking_tags import split_thinking

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
    """One line of training data, in TRL's conversational prompt-completion format.

    ``protocol`` is the name of the one that the prompt is of, such as "rm-r1-instruct".
    """

    prompt: Conversation
    completion: Conversation
    case_id: str
    order: Order
    turn: Literal[1, 2]
    tokens: int
    protocol: str


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


def row_of(draft: Draft, protocol: Protocol) -> Row:
    """The row that teaches a draft of a protocol."""
    completion = (Message("assistant", draft.content),)
    query = draft.query
    tokens, name = draft.tokens, protocol.name
    return Row(query.messages, completion, query.case_id, query.order, draft.turn, tokens, name)


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


def _tokens(completion: Completion, content: str) -> int:
    counted = completion.usage.completion_tokens
    if not counted:
        return -(-len(content) // 4)
    written = len(completion.text) + len(completion.thinking or "")
    return min(counted, round(counted * len(content) / max(1, written)))
