"""The lines of a run folder's files (docs/run-folder.md), whole and as far as scores and the index need."""

from typing import Any

from jurist.core.types import (
    Case,
    Completion,
    Finish,
    Judgment,
    Order,
    Record,
    Sampling,
    Scores,
    Status,
    Usage,
    Verdict,
)

CASES, PROMPTS, JUDGMENTS, DECISIONS = "cases.jsonl", "prompts.jsonl", "judgments.jsonl", "decisions.jsonl"
FILES = (CASES, PROMPTS, JUDGMENTS, DECISIONS)

Piece = str | int | tuple[int]
"""A part of a message: text, the number of a text of the case, or (offset,) of a ``TextLine``."""

NOWHERE = -1
"""The offset of a judgment that is not in the folder."""

SHORTEST = 48
"""Characters of a text that is worth a reference."""
LONGEST = 1 << 14
"""Characters of the longest text of a template that is shared: some hundreds of them are held in memory."""


class CaseLine(Record, frozen=True):
    """A line of cases.jsonl."""

    digest: str
    case: Case


class TextLine(Record, frozen=True):
    """A line of prompts.jsonl: a text of the template that several prompts share."""

    text: str


class PromptLine(Record, frozen=True):
    """A line of prompts.jsonl: (role, pieces) of each message; ``case`` is the offset of its case."""

    id: str
    messages: tuple[tuple[str, tuple[Piece, ...]], ...]
    case: int | None = None


class AskedLine(Record, frozen=True):
    """A query without its messages."""

    case_id: str
    order: Order
    sample: int
    sampling: Sampling
    prefill: str | None = None
    choices: tuple[str, ...] = ()
    judge: str = ""


class JudgmentLine(Record, frozen=True):
    """A line of judgments.jsonl; ``prompt`` is the offset of the prompt, None where there is none."""

    key: str
    query: AskedLine
    completion: Completion
    verdict: Verdict
    prompt: int | None = None
    forced: Completion | None = None


class OldJudgmentLine(Record, frozen=True):
    """A line of judgments.jsonl before version 2 of the folder: the whole query, no checksum."""

    key: str
    judgment: Judgment


class DecisionLine(Record, frozen=True):
    """A line of decisions.jsonl: the keys of its judgments and where they stand, and the case's digest.

    ``meta`` is only written where it is not the case's. Before version 2 there were no offsets.
    """

    case_id: str
    verdict: Verdict
    judgments: tuple[str, ...] = ()
    agreement: float | None = None
    gold: Scores | None = None
    group: str | None = None
    meta: dict[str, Any] | None = None
    digest: str = ""
    complete: bool = True
    """No judgment under it failed; only such a decision is not taken again on resuming."""
    at: tuple[int, ...] = ()
    case: int | None = None

    def places(self) -> list[tuple[int | None, str]]:
        """(offset, key) of each judgment; no offset where only the index knows it."""
        places = self.at or (NOWHERE,) * len(self.judgments)
        return [(None if at < 0 else at, key) for at, key in zip(places, self.judgments, strict=False)]


# What scores, lists and the index need: decoding skips the texts.
class SlimCompletion(Record, frozen=True):
    finish: Finish = "stop"
    usage: Usage = Usage()
    seconds: float = 0.0
    logprobs: dict[str, float] | None = None
    error: str | None = None
    reused: bool = False


class SlimJudgmentLine(Record, frozen=True):
    key: str
    query: AskedLine
    completion: SlimCompletion
    verdict: Verdict
    forced: SlimCompletion | None = None


class _VerdictHead(Record, frozen=True):
    status: Status = Status.OK


class JudgmentHead(Record, frozen=True):
    """What the index needs of a judgment."""

    key: str
    verdict: _VerdictHead


class _OldHeadInside(Record, frozen=True):
    verdict: _VerdictHead


class OldJudgmentHead(Record, frozen=True):
    """What the index needs of a judgment before version 2."""

    key: str
    judgment: _OldHeadInside


class DecisionHead(Record, frozen=True):
    """What the index needs of a decision."""

    case_id: str
    digest: str = ""
    complete: bool = True
    case: int | None = None


class DecisionKeys(Record, frozen=True):
    """The judgments that a decision rests on."""

    judgments: tuple[str, ...] = ()


class CaseHead(Record, frozen=True):
    """What the index needs of a case."""

    digest: str


class PromptHead(Record, frozen=True):
    """What the index needs of a prompt; shared texts have no id."""

    id: str = ""


class _MetaInside(Record, frozen=True):
    meta: dict[str, Any] = {}


class CaseMeta(Record, frozen=True):
    case: _MetaInside
