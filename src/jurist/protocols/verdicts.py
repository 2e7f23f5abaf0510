"""The rule of all parsers: the last verdict after the thinking counts; without one there is a status."""

import re
from bisect import bisect_left
from collections.abc import Sequence

from msgspec.structs import replace

from jurist.core.types import Completion, Scores, Status, Verdict
from jurist.protocols.text import plain, visible
from jurist.protocols.thinking_tags import split_thinking

# No two unbounded repetitions stand side by side in here: a text of any length is read in linear time.
_BLOCK = r"<\s*{0}\s*>(.*?)(?:(<\s*/\s*{0}\s*>)|(?=<\s*{0}\s*>)|\Z)"
_ANSWER = re.compile(_BLOCK.format("answer"), re.I | re.S)
_RATING = re.compile(_BLOCK.format("rating"), re.I | re.S)
_BARE = re.compile(r"\[\[\s*([A-Za-z])\s*\]\]")
# In a block a capital letter counts where it stands alone in its own script: 回答B更好 names B, ÄB does not.
_LETTER = re.compile(r"(?<![0-9A-Za-zÀ-ɏ\u0300-\u036f])([A-Z])(?![0-9A-Za-zÀ-ɏ\u0300-\u036f])")
_SMALL = re.compile(r"\W*(?:(?:chatbot|assistant|response|reply|option|model)\W+)?([a-z])\W*", re.I)
_TIE = re.compile(r"\b(?:tie|draw|equal(?:ly)?)\b", re.I)
# A quotation that was never closed ends with the comparison it stands in, else with the text.
_QUOTE = re.compile(r"<\s*quote_?\w\s*>.*?(?:<\s*/\s*quote_?\w?\s*>|(?=<\s*/\s*eval\s*>)|\Z)", re.I | re.S)
_BOX = re.compile(r"\\f?box(?:ed)?\s*\{", re.I)
_BRACE = re.compile(r"(\\f?box(?:ed)?\s*\{)|[{}]")
BOXED_LABEL = re.compile(
    r"(?:assistant|solution|response)(?:\\(?:text(?:bf|rm|it)?|math(?:bf|rm))|[\W_])*([0-9]+)", re.I
)
_NUMBER = re.compile(r"(?<![\d.])([-−]?\d+(?:\.\d+)?)(?:\s*/\s*10\b)?")
_REFUSAL = re.compile(
    r"\W*(?:unfortunately,? )?(?:i['’]?m (?:very |so |really )?sorry|sorry\b|(?:i|my) apolog"
    r"|i (?:can(?:not|['’]t| not)|won['’]t|must (?:\w+ )?decline)\b"
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
        return Verdict(status=Status.TRUNCATED, note=completion.error or note or "cut before a verdict")
    if _REFUSAL.match(answer):
        return Verdict(status=Status.REFUSED, note=answer.strip()[:80])
    empty = "empty answer" if not answer.strip() else "no verdict in the answer"
    return Verdict(status=Status.UNPARSED, note=note or empty)


def answer_of(completion: Completion, *, opens: bool = False) -> str:
    """The text in which a verdict counts: after the thinking, without quotes, in plain visible letters."""
    thinking = completion.thinking and visible(plain(completion.thinking))
    completion = replace(completion, text=visible(plain(completion.text)), thinking=thinking)
    _, answer = split_thinking(completion, opens=opens)
    return _QUOTE.sub(" ", answer)


def parse_letter(completion: Completion, labels: Sequence[str] = "AB", *, opens: bool = False) -> Verdict:
    """The last ``<answer>`` block, else the last ``[[X]]``; a block that names two labels says nothing."""
    answer = answer_of(completion, opens=opens)
    if completion.finish == "error":
        return nothing(completion, answer)
    block, cut = _last_block(_ANSWER, completion, answer)
    if block is None:
        bare = [m.upper() for m in _BARE.findall(answer) if m.upper() in labels]
        return pick(list(labels).index(bare[-1]), len(labels)) if bare else nothing(completion, answer)
    # Of a block that was cut, only what stands whole in brackets counts: "A" may have become "A or B".
    if cut and not _BARE.search(block):
        return nothing(completion, answer)
    named = _named(block, labels)
    if len(named) == 1:
        return pick(list(labels).index(named.pop()), len(labels))
    note = "the answer names more than one response" if named else "the answer names no response"
    return nothing(completion, answer, note)


def parse_box(completion: Completion, *, opens: bool = False) -> Verdict:
    r"""The last ``\boxed{Assistant k}`` of the answer; a box that names two responses says nothing."""
    answer = answer_of(completion, opens=opens)
    if completion.finish == "error":
        return nothing(completion, answer)
    labels = list(BOXED_LABEL.finditer(answer))
    starts = [label.start() for label in labels]
    for _, start, end in reversed(box_spans(answer)):
        inside = labels[bisect_left(starts, start) : bisect_left(starts, end)] if end >= 0 else []
        named = {label[1] for label in inside if label.end() <= end}
        if len(named) == 1 and named <= {"1", "2"}:
            return pick(int(named.pop()) - 1)
        if named:
            return nothing(completion, answer, "the box does not name one of the two responses")
    return nothing(completion, answer)


def box_spans(text: str) -> list[tuple[int, int, int]]:
    r"""(backslash, start, end) of the content of every box, in order; ``end`` is -1 where it never closes."""
    if "\\" not in text or not _BOX.search(text):
        return []
    ends: dict[tuple[int, int], int] = {}
    braces: list[tuple[int, int] | None] = []
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            box = brace.span() if brace[1] else None
            braces.append(box)
            if box:
                ends[box] = -1
        elif braces and (box := braces.pop()):
            ends[box] = brace.start()
    return [(opening, start, end) for (opening, start), end in ends.items()]


def parse_rating(completion: Completion, low: float, high: float, *, opens: bool = False) -> Verdict:
    """The last ``<rating>`` block: one number between ``low`` and ``high``, "8/10" read as 8."""
    answer = answer_of(completion, opens=opens)
    if completion.finish == "error":
        return nothing(completion, answer)
    block, cut = _last_block(_RATING, completion, answer)
    # A rating that was cut may have gone on: "1" to "10".
    if block is None or cut:
        return nothing(completion, answer)
    numbers = [float(x.replace("−", "-")) for x in _NUMBER.findall(block)]
    if len(numbers) == 1 and low <= numbers[0] <= high:
        scores: Scores = (numbers[0],)
        return Verdict(scores)
    return nothing(completion, answer, f"the rating is not one number from {low:g} to {high:g}")


def _last_block(tag: re.Pattern[str], completion: Completion, answer: str) -> tuple[str | None, bool]:
    """The last block of a tag that holds something (None: there is no block), and whether it was cut."""
    blocks = list(tag.finditer(answer))
    if not blocks:
        return None, False
    if completion.finish == "length" and not blocks[-1][2]:
        return blocks[-1][1], True
    # Empty blocks are doubled tags: <answer><answer>[[A]]</answer>, <answer>[[A]]<answer>.
    written = [b[1] for b in blocks if b[1].strip()]
    return (written[-1] if written else ""), False


def _named(block: str, labels: Sequence[str]) -> set[str]:
    """The labels that an answer block names: in double brackets, else as a letter that stands alone."""
    bracketed = {x.upper() for x in _BARE.findall(block)} & set(labels)
    if bracketed or _TIE.search(block):
        return bracketed
    # A small letter is an article where anything else stands beside it: "it is a close call".
    small = _SMALL.fullmatch(block)
    return {x.upper() for x in ([small[1]] if small else _LETTER.findall(block))} & set(labels)
