"""The parser discipline: the last verdict after the thinking; everything else has a status."""

import re
import unicodedata
from collections.abc import Sequence

from jurist.protocols.base import split_thinking
from jurist.types import Completion, Scores, Status, Verdict

# In an answer block a letter counts when it stands alone: brackets, markdown and names may surround it.
_LETTER = re.compile(r"(?<![^\W_])([A-Za-z])(?![^\W_])")
_BLOCK = re.compile(r"<\s*answer\s*>(.*?)(?:<\s*/\s*answer\s*>|<\s*answer\s*>|$)", re.I | re.S)
_BARE = re.compile(r"\[\[\s*([A-Za-z])\s*\]\]")
_QUOTE = re.compile(r"<\s*quote_?(\w)\s*>.*?(?:<\s*/\s*quote_?\1\s*>|$)", re.I | re.S)
_BOX = re.compile(r"\\f?box(?:ed)?\s*\{")
_BOXED_LABEL = re.compile(r"\W*(?:assistant|solution|response)\W*([1-9])\W*", re.I)
_RATING = re.compile(r"<\s*rating\s*>(.*?)(?:<\s*/\s*rating\s*>|$)", re.I | re.S)
_NUMBER = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)(?:\s*/\s*10\b)?")
_REFUSAL = re.compile(
    r"\W*(?:i['’]?m (?:very |so |really )?sorry|sorry\b|i apologi[sz]e|i can(?:not|['’]t| not)\b|i won['’]t\b"
    r"|i(?: am|['’]m) (?:unable|not able|not going)|as an ai\b)",
    re.I,
)


def pick(index: int, n: int = 2, note: str = "") -> Verdict:
    """The verdict that response ``index`` of ``n`` is the best."""
    return Verdict(tuple(float(i == index) for i in range(n)), note=note)


def nothing(completion: Completion, answer: str, note: str = "") -> Verdict:
    """The verdict of a text without one: why there is no score."""
    if completion.finish == "error":
        return Verdict(status=Status.FAILED, note=completion.error or "the engine failed")
    if completion.finish == "filter":
        return Verdict(status=Status.REFUSED, note="stopped by a content filter")
    if completion.finish == "length":
        return Verdict(status=Status.TRUNCATED, note=note or "cut before a verdict")
    if _REFUSAL.match(answer):
        return Verdict(status=Status.REFUSED, note=answer.strip()[:80])
    empty = "empty answer" if not answer.strip() else "no verdict in the answer"
    return Verdict(status=Status.UNPARSED, note=note or empty)


def answer_of(completion: Completion, *, opens: bool = False) -> str:
    """The text in which a verdict counts: after the thinking, without quotes, in plain-width letters."""
    _, answer = split_thinking(completion, opens=opens)
    return unicodedata.normalize("NFKC", _QUOTE.sub(" ", answer))


def parse_letter(completion: Completion, labels: Sequence[str] = "AB", *, opens: bool = False) -> Verdict:
    """The last ``<answer>`` block, else the last ``[[X]]``; a block that names two labels says nothing."""
    answer = answer_of(completion, opens=opens)
    blocks = _BLOCK.findall(answer)
    if completion.finish == "error":
        return nothing(completion, answer)
    if blocks:
        # A capital letter first: in "B is a better reply" the small one is an article.
        letters = _LETTER.findall(blocks[-1])
        named = set(letters) & set(labels) or {x.upper() for x in letters} & set(labels)
        if len(named) == 1:
            return pick(list(labels).index(named.pop()), len(labels))
        note = "the answer names more than one response" if named else "the answer names no response"
        return nothing(completion, answer, note)
    bare = [m.upper() for m in _BARE.findall(answer) if m.upper() in labels]
    return pick(list(labels).index(bare[-1]), len(labels)) if bare else nothing(completion, answer)


def parse_box(completion: Completion, *, opens: bool = False) -> Verdict:
    r"""The last ``\boxed{Assistant k}`` of the answer."""
    answer = answer_of(completion, opens=opens)
    if completion.finish == "error":
        return nothing(completion, answer)
    for content in reversed(boxes(answer)):
        plain = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*", "", content)
        label = _BOXED_LABEL.fullmatch(plain)
        if label and label[1] in "12":
            return pick(int(label[1]) - 1)
    return nothing(completion, answer)


def boxes(text: str) -> list[str]:
    r"""The contents of every closed ``\boxed{...}`` (or ``\fbox``), braces balanced, in order."""
    found: list[str] = []
    for match in _BOX.finditer(text):
        depth = 1
        for position in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                found.append(text[match.end() : position])
                break
    return found


def parse_rating(completion: Completion, low: float, high: float, *, opens: bool = False) -> Verdict:
    """The last ``<rating>`` block: one number between ``low`` and ``high``, "8/10" read as 8."""
    answer = answer_of(completion, opens=opens)
    if completion.finish == "error":
        return nothing(completion, answer)
    blocks = _RATING.findall(answer)
    numbers = [float(x) for x in _NUMBER.findall(blocks[-1])] if blocks else []
    if len(numbers) == 1 and low <= numbers[0] <= high:
        scores: Scores = (numbers[0],)
        return Verdict(scores)
    note = f"the rating is not one number from {low:g} to {high:g}" if blocks else ""
    return nothing(completion, answer, note)
