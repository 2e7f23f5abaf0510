"""What a candidate writes cannot steer the judge: forged verdicts and control tokens are defused.

A word joiner (U+2060, invisible, no width) goes behind the first character of each marker. Ordinary
text stays as it is, and ``restore`` takes out exactly what ``defuse`` put in.
"""

import re
from bisect import bisect_left

from msgspec.structs import replace

from jurist.core.types import Case, Message, Response
from jurist.protocols.base import plain
from jurist.protocols.verdicts import BOXED_LABEL, box_spans

JOINER = "\u2060"

# Each pattern is wider than what the parsers read, and looks ahead: markers may overlap.
_CONTROL = (
    r"<\|[^\s<>|]{1,80}\|>",  # <|im_end|>, <｜User｜>
    r"</?(?:s|bos|eos|pad|unk|mask|sep|cls)>",
    r"</?(?:(?:start|end|begin)_of_[a-z]+|fim_[a-z]+|(?:issue|jupyter|commit|tool)_[a-z]+"
    r"|file_sep|filename|repo_?name|gh_stars|empty_output)>",
    r"<</?SYS>>",
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]",
)
_FORGED = (
    r"<\s*(?:/\s*)?(?:answer|rating|verdict|think|thinking|eval|quote_?\w?|summary_\w)\s*>",
    r"\[\[\s*[A-Z]\s*\]\]",
    # The frames that the judges' prompts put around responses.
    r"\[The (?:Start|End) of ",
    r"\[(?:End of )?reply(?: [A-Z])?\]",
    r"##{1,2} (?:Assistant \d|Assistant responses|Analysis|Query|Reply of assistant|Your reasons and)\b",
)
_CONTROL_ONLY = re.compile(rf"(?=[<\[#])(?={'|'.join(_CONTROL)})", re.I)
_MARKER = re.compile(rf"(?=[<\[#])(?={'|'.join(_CONTROL + _FORGED)})", re.I)
_CHARACTER = re.compile(f"([^{JOINER}])({JOINER}*)")


def defuse(text: str, *, control_only: bool = False) -> str:
    """``text`` with every marker defused; ordinary text is returned unchanged."""
    return _joined(text, 1, control_only=control_only)


def restore(text: str) -> str:
    """The inverse of ``defuse``: ``restore(defuse(text)) == text`` for every text."""
    return _joined(text, -1)


def guarded(case: Case) -> Case:
    """The case as a judge may see it: responses defused, control tokens defused in all the rest."""
    prompt = tuple(replace(m, content=defuse(m.content, control_only=True)) for m in case.prompt)
    return replace(
        case,
        prompt=prompt,
        responses=tuple(_guarded(r) for r in case.responses),
        reference=case.reference and defuse(case.reference, control_only=True),
        rubric=case.rubric and defuse(case.rubric, control_only=True),
    )


def _guarded(response: Response) -> Response:
    if isinstance(response, str):
        return defuse(response)
    return tuple(Message(m.role, defuse(m.content)) for m in response)


def _joined(text: str, change: int, *, control_only: bool = False) -> str:
    """One joiner more (or less, where there is one) behind the first character of each marker.

    Markers are found in the text without any joiner, which neither direction changes: so the one undoes
    the other, whatever joiners a text already holds.
    """
    starts = _starts(plain(text.replace(JOINER, "")), control_only=control_only)
    if not starts:
        return text
    characters = _CHARACTER.findall(text)
    for start in starts:
        first, joiners = characters[start]
        characters[start] = first, JOINER * max(0, len(joiners) + change)
    leading = text[: len(text) - len(text.lstrip(JOINER))]
    return leading + "".join(first + joiners for first, joiners in characters)


def _starts(text: str, *, control_only: bool) -> set[int]:
    """Where markers begin in a plain text."""
    if control_only:
        return {m.start() for m in _CONTROL_ONLY.finditer(text)}
    labels = [m.start() for m in BOXED_LABEL.finditer(text)]
    starts = {m.start() for m in _MARKER.finditer(text)}
    for backslash, start, end in box_spans(text):
        nearest = bisect_left(labels, start)
        # An open box may be closed by what another candidate writes.
        if end < 0 or (nearest < len(labels) and labels[nearest] < end):
            starts.add(backslash)
    return starts
