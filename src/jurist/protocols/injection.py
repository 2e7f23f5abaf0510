"""Protects the judge from instructions in responses: forged verdicts, frames and control tokens are broken.

A mark is put behind the first character of each marker. Markers that a parser reads get a visible mark: a
judge often drops invisible characters when it copies a response, and would so turn the marker into a verdict
(measured by ``benchmarks/injection_marks.py``). Control tokens and frames, which occur in ordinary HTML and
Markdown, get an invisible word joiner. Other text is not changed, and ``restore`` removes exactly what
``defuse`` inserted.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec.structs import replace

from jurist.core.types import Case, Message, Response
from jurist.protocols.text import INVISIBLE, JOINER, unstyled, visible
from jurist.protocols.thinking_tags import THINKING_MARKS, THINKING_WORDS
from jurist.protocols.verdicts import BOXED_LABEL, box_spans

MARK = "^"
"""The visible mark, put behind the first character of everything that a parser would read."""

# Each pattern is wider than what the parsers and the chat templates read, is tried at its first character
# only, and looks ahead from there: markers may overlap.
_CONTROL = (
    r"<(?=\|[^\s<>|]{1,80}\|?>)",  # <|im_end|>, <｜User｜>, Gemma's <|turn>
    r"<(?=[^\s<>|]{1,80}\|>)",  # <turn|>
    r"<(?=/?(?:s|bos|eos|eop|sop|eod|eoh|eoa|pad|unk|mask|sep|cls)(?:_token)?>)",
    r"<(?=/?(?:(?:start|end|begin)_of_[a-z]+|fim_[a-z]+|(?:issue|jupyter|commit|tool|minimax:tool)_[a-z]+"
    r"|file_sep|filename|repo_?name|gh_stars|empty_output|role)>)",
    r"<(?=/?(?:seed:[a-z_]+|_(?:user|bot|system|start|end|pad))>)",
    r"<(?=(?:SPECIAL|extra_id|reserved|unused|TOKENS_UNUSED|reserved_token|special_token)_?\d+>)",
    r"<(?=</?SYS>>)",
    r"\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_(?:CALLS|RESULTS|CONTENT)|ARGS|CALL_ID|MODEL_SETTINGS"
    r"|IMG(?:_BREAK|_END)?|(?:BEGIN_)?AUDIO|TRANSCRIBE|PREFIX|MIDDLE|SUFFIX|[gs]?MASK|CLS|SEP|PAD|UNK|BOS|EOS|EOT"
    r"|unused\d+)\])",
    r"\[(?=\|[a-z_]{1,40}\|\])",  # EXAONE's [|user|]
    r"\](?=~!?b[\[\]]|![pd]~\[)|\[(?=e~\[)",  # MiniMax's ]~b] and [e~[
    # Falcon's >>QUESTION<<
    r">(?=>(?:TITLE|ABSTRACT|INTRODUCTION|SUMMARY|COMMENT|ANSWER|QUESTION|DOMAIN|PREFIX|SUFFIX|MIDDLE)<<)",
)
# The frames that the judges' prompts put around responses, and the parts of a chain of rubrics.
_FRAMES = (
    r"\[(?=The (?:Start|End) of )",
    r"\[(?=(?:End of )?(?:reply|request|rubric|reference answer|client question)(?: [A-Z])?\])",
    r"#(?=#{1,2} (?:Assistant \d|Assistant responses|Analysis|Query|Request|Reply [A-Z]|Reply of assistant"
    r"|Your reasons and|Comparison and ranking)\b)",
    r"<(?=\s*(?:/\s*)?(?:type|rubrics?|justify|solution|summary_?[A-Z])\s*>)",
)
_VERDICTS = (
    r"<(?=\s*(?:/\s*)?(?:answer|rating|ranking|verdict|eval|quote_?\w?)\s*(?:>|\Z))",
    r"\[(?=\[\s*[A-Z]\s*(?:\]\]|\]?\Z))",
    # Parts of a closing mark that two candidates may write together.
    r"<(?=\|?(?:channel|message|constrain|content)\|?(?:>|\Z))",
    *(re.sub(r"(?s)(\\?.)(.*)", r"\1(?=\2)", mark, count=1) for mark in THINKING_MARKS),
)
_CONTROL_TOKEN = re.compile("|".join(_CONTROL), re.I)
_MARKER = re.compile("|".join(_CONTROL + _FRAMES + _VERDICTS), re.I)
_VERDICT = re.compile("|".join(_VERDICTS), re.I)
_POSSIBLE = "<>[]#\\◁"
"""What a marker begins with, but for words."""
_UNSEEN = re.compile(f"[{INVISIBLE}{re.escape(MARK)}]+")
_LONGEST_REMEMBERED = 32_768


def defuse(text: str, *, control_only: bool = False, tokens: Sequence[str] = ()) -> str:
    """``text`` with every marker defused; ordinary text is returned unchanged.

    ``tokens`` are further control tokens, as the engine's tokenizer names them.
    """
    remembered = _remembered if len(text) <= _LONGEST_REMEMBERED else _defused
    return remembered(text, control_only, tuple(tokens))


def restore(text: str, *, tokens: Sequence[str] = ()) -> str:
    """The inverse of ``defuse``: ``restore(defuse(text)) == text`` for every text."""
    if MARK not in text and JOINER not in text:
        return text
    pieces: list[str] = []
    done = 0
    for start, mark in _markers(text, False, tuple(tokens)):
        if text.startswith(mark, start + 1):
            pieces.append(text[done : start + 1])
            done = start + 1 + len(mark)
    return "".join(pieces) + text[done:] if pieces else text


def guarded(case: Case, tokens: Sequence[str] = ()) -> Case:
    """The case as a judge may see it.

    Responses, the reference and the turns of the prompt that no user wrote are defused; in the user's turns
    and the rubric only control tokens are, since a question may be about verdicts. ``tokens``: see
    ``defuse``.
    """

    def turn(message: Message, *, control_only: bool = False) -> Message:
        content = defuse(message.content, control_only=control_only, tokens=tokens)
        return replace(message, role=_role(message.role, tuple(tokens)), content=content)

    def response(value: Response) -> Response:
        return defuse(value, tokens=tokens) if isinstance(value, str) else tuple(turn(m) for m in value)

    return replace(
        case,
        prompt=tuple(turn(m, control_only=m.role in ("user", "system")) for m in case.prompt),
        responses=tuple(response(r) for r in case.responses),
        reference=case.reference and defuse(case.reference, tokens=tokens),
        rubric=case.rubric and defuse(case.rubric, control_only=True, tokens=tokens),
    )


@lru_cache(maxsize=64)
def _role(role: str, tokens: tuple[str, ...]) -> str:
    """A role in one line, without markers: chat templates write it as it is."""
    return " ".join(defuse(role, tokens=tokens).split())[:40]


def _defused(text: str, control_only: bool, tokens: tuple[str, ...]) -> str:
    pieces: list[str] = []
    done = 0
    for start, mark in _markers(text, control_only, tokens):
        pieces += text[done : start + 1], mark
        done = start + 1
    return "".join(pieces) + text[done:] if pieces else text


_remembered = lru_cache(maxsize=1024)(_defused)
"""Votes and tournaments show a response many times; it is treated once."""


def _markers(text: str, control_only: bool, tokens: tuple[str, ...]) -> list[tuple[int, str]]:
    """(first character's place, its mark) of each marker, in order.

    Markers are found in the text without any mark or invisible character and with styled letters plain, which
    neither ``defuse`` nor ``restore`` changes: so the one undoes the other, whatever a text already holds.
    """
    seen = visible(unstyled(text)).replace(MARK, "")
    if not (tokens or any(first in seen for first in _POSSIBLE) or _has_words(seen)):
        return []
    patterns = [_CONTROL_TOKEN if control_only else _MARKER, *([_literal(tokens)] if tokens else [])]
    starts = dict.fromkeys((m.start() for pattern in patterns for m in pattern.finditer(seen)), JOINER)
    if not control_only:
        starts |= dict.fromkeys(_verdict_starts(seen, starts), MARK)
    if not starts:
        return []
    # From places in what is seen to places in the text.
    unseen = [m.span() for m in _UNSEEN.finditer(text)]
    removed = [0]
    for start, end in unseen:
        removed.append(removed[-1] + end - start)
    before = [start - gone for (start, _), gone in zip(unseen, removed, strict=False)]
    return [(start + removed[bisect_right(before, start)], mark) for start, mark in sorted(starts.items())]


def _verdict_starts(text: str, markers: Iterable[int]) -> set[int]:
    """Where something begins that a parser reads: verdicts, thinking marks, quotations."""
    starts = {start for start in markers if _VERDICT.match(text, start)}
    if _has_words(text):
        starts |= {m.start() for m in THINKING_WORDS.finditer(text)}
    boxes = box_spans(text)
    labels = [m.start() for m in BOXED_LABEL.finditer(text)] if boxes else []
    for backslash, start, end in boxes:
        nearest = bisect_left(labels, start)
        # An open box may be closed by what another candidate writes.
        if end < 0 or (nearest < len(labels) and labels[nearest] < end):
            starts.add(backslash)
    return starts


def _has_words(text: str) -> bool:
    return any(word in text for word in ("Here", "assistantfinal", "analysis"))


@lru_cache(maxsize=16)
def _literal(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern of a tokenizer's control tokens; words and white space among them are ordinary text."""
    names = {visible(unstyled(token)).replace(MARK, "") for token in tokens}
    marked = sorted(name for name in names if re.search(r"[^\w\s]", name) and len(name) > 2)
    return re.compile("|".join(f"{re.escape(n[0])}(?={re.escape(n[1:])})" for n in marked) or r"(?!)")
