"""What a judge's free words claim: which response is better, which ones they name, the judge's own answer.

Every pattern is bounded: the texts are written by models, and trainings read thousands of them. Those that
take letters in either case are matched in the text in small letters, which is 2 to 3 times faster than
``re.IGNORECASE``.
"""

import re
from collections.abc import Iterator

from jurist.core.answers import final_answer

_NOUN = r"(?:chatbot|response|reply|answer|assistant|output|text|candidate|model|solution)"
_NAMED = rf"\b{_NOUN}s?[\s(\[*_`'\"]{{1,4}}(?P<slot>[a-z])\b[)\]*_`'\"]{{0,4}}"
"""A response by its letter, in small letters: assistant a, **reply b**, output (a)."""

_BETTER = re.compile(
    rf"{_NAMED}(?:['’]s\s(?:\w+\s)?{_NOUN}s?)?[*_]{{0,3}}\s"
    r"(?:is|was|does|performs|seems|appears)\s(?:to be\s)?"
    r"(?:(?:clearly|overall|slightly|much|far|therefore|thus|also|the|significantly|somewhat|ultimately|a)"
    r"\s){0,3}"
    r"(?:better|superior|stronger|best|preferable|preferred)\b"
    r"(?!\s(?:in|at|on|for(?!\s(?:this|the\s(?:given|user|client)))|with|if|when|where|written|structured"
    r"|organi[sz]ed|suited|formatted)\b)"
)
_BEST = re.compile(r"(?:better|superior|stronger|best|preferable|preferred)\b")
_WIDEST, _AFTER = 160, 40
"""Characters that a comparison has at most before its last word, and that decide about it behind it."""
_REPORTED = re.compile(
    r"\b(?:in terms of|when it comes to|regarding|as for|argu(?:es?|ed|ing|ments?)|claim(?:s|ed|ing)?"
    r"|assert(?:s|ed)?|contend(?:s|ed)?|points? out|pointed out|according to|suggest(?:s|ed)?|states? that"
    r"|believes|thinks|says|concludes|maintains|feels)\b"
)
_CONDITION = re.compile(r"\b(?:if|although|though|while|whether|unless|because|since|even)\b[^,]{0,200}$")
_SENTENCE = re.compile(r"[.!?:;]\s|\n")
_REACH = 400
"""Characters before a comparison in which its sentence may begin."""

_TEN = re.compile(
    rf"\b(?:{_NOUN}\s)?\(?(?P<slot>[A-Z])\b\)?[^.\n]{{0,40}}?\b(?P<score>\d{{1,2}}(?:\.\d{{1,2}})?)\s?/\s?10\b"
)
_TOTAL = re.compile(
    rf"\b(?:total|final|overall)\sscore\b[^.\n]{{0,20}}?\b(?:{_NOUN}\s)?\(?(?P<slot>[A-Z])\b[^\d\n]{{0,15}}"
    r"(?P<score>\d{1,3}(?:\.\d{1,2})?)",
    re.I,
)


def lowered(text: str) -> str:
    """A text in small letters, character by character, as ``re.IGNORECASE`` compares them with ASCII ones."""
    if text.isascii():
        return text.lower()
    small = text.lower()
    if len(small) != len(text):
        small = "".join(character.lower()[0] for character in text)
    return small.replace("\u017f", "s").replace("\u0131", "i")


def preferred(evaluation: str) -> int | None:
    """The slot (0 or 1) that the words prefer, by their scores or their last plain comparison; None if none.

    A comparison in one respect, under a condition, or reported of somebody else is not plain.
    """
    patterns = [_TEN] if "10" in evaluation and "/" in evaluation else []
    patterns += [_TOTAL] if "core" in evaluation else []
    for pattern in reversed(patterns):
        scores: dict[int, list[float]] = {}
        for match in pattern.finditer(evaluation):
            scores.setdefault(_slot(match), []).append(float(match["score"]))
        if scores.keys() == {0, 1} and len(scores[0]) == len(scores[1]) == 1:
            first, second = scores[0][0], scores[1][0]
            return None if first == second else int(second > first)
    # From the end: the last plain comparison is looked for around the words that make one.
    small = lowered(evaluation)
    for word in reversed(list(_BEST.finditer(small))):
        before = small[word.start() - 1 : word.start()]
        if before.isalnum() or before == "_":
            continue  # the end of a longer word
        begin = max(0, word.start() - _WIDEST)
        near = small[begin : word.end() + _AFTER]
        for match in _BETTER.finditer(near):
            if begin + match.end() == word.end() and _plain(small, begin + match.start()):
                slot = _slot(match)
                return slot if slot in (0, 1) else None
    return None


def _slot(match: re.Match[str]) -> int:
    return ord(match["slot"].upper()) - ord("A")


def _plain(text: str, at: int) -> bool:
    before = text[max(0, at - _REACH) : at]
    sentence = _SENTENCE.split(before)[-1]
    return not (_REPORTED.search(sentence) or _CONDITION.search(sentence))


# --- who is named ----------------------------------------------------------------------------------------

_BOTH = re.compile(
    rf"\b(?:both|neither|either|each|the others?|former|latter|the two|{_NOUN}s\s(?:were|are|have|did|do))\b"
)
_LETTERS = tuple(
    re.compile(
        rf"\b{_NOUN}s?[\s(\[*_`'\"]{{1,4}}{letter}\b|[_(\[]{letter}[>)\]]|^\W{{0,9}}{letter}\b"
        rf"|(?-i:\b{letter}(?:['’]s\b|\s(?:is|has|does|gives|says|and|also|fails|offers)\b))"
        rf"|(?-i:\b(?:and|or|to|than|over|nor)\s{letter}\b)",
        re.I | re.M,
    )
    for letter in "AB"
)


def named(evaluation: str) -> set[int]:
    """The slots (0, 1) that the words speak of."""
    if _BOTH.search(lowered(evaluation)):
        return {0, 1}
    return {slot for slot, letter in enumerate(_LETTERS) if letter.search(evaluation)}


# --- the judge's own answer ------------------------------------------------------------------------------

_REPEATED = re.compile(r"(?<![A-Za-z])([A-Z])\1{3,9}(?![A-Za-z])")
_OPTION = re.compile(
    r"\b(?:final|correct|right|my|my own|best) (?:answer|option|choice)\b(?: is| would be| should be)?"
    r"[\s:*_`$\\]{1,9}(?:(?-i:\(([A-J])\))|option[\s*(]{1,3}(?-i:([A-J]))\b|(?-i:([C-HJ]))(?![\w'’]))"
    r"|\bis (?:option )?[*_]{0,2}(?-i:\(([A-J])\))",
    re.I,
)
_EMPHASISED = re.compile(
    r"\*\*\*([^*\n]{1,40})\*\*\*"
    r"|^\W{0,4}\*\*((?:yes|no|true|false|unknown)(?:, (?:yes|no|true|false|unknown)){0,9})\*\*",
    re.I | re.M,
)
_SPEAKS_OF = re.compile(_NAMED)
_BOTH_LETTERS = re.compile(r"\bA(?:['’]s)?(?: \w{1,12})? (?:and|or|&) (?:\w{1,12} )?B\b")


def stated_answer(text: str) -> str | None:
    r"""The last answer that a text states as final; None without one.

    ``####`` and ``\boxed{}`` as ``final_answer`` reads them; else the letter of an option ("the correct
    answer is (C)", "CCCCC"), or a short answer in bold ("***2***", "**yes, no, yes**").
    """
    if (marked := final_answer(text)) is not None:
        return marked
    found = [
        (match.start(), next(group for group in match.groups() if group))
        for pattern in (_REPEATED, _OPTION, _EMPHASISED)
        for match in pattern.finditer(text)
    ]
    return max(found)[1].strip().casefold() if found else None


_SIMPLE = re.compile(r"[\w ,.:'/+-]{1,40}")


def differ(one: str, other: str) -> bool:
    """Whether two stated answers are surely not the same: formulas may be written in many ways, and numbers
    rounded."""
    if not (_SIMPLE.fullmatch(one) and _SIMPLE.fullmatch(other)):
        return False
    try:
        first, second = float(one), float(other)
    except ValueError:
        return one != other
    return abs(first - second) > 0.01 * max(abs(first), abs(second))


def own_answer(text: str) -> str | None:
    """The answer that a judge's free words state as its own, before they come to the responses."""
    return stated_answer("\n".join(_before_the_responses(text)))


def _before_the_responses(text: str) -> Iterator[str]:
    for line, small in zip(text.splitlines(), lowered(text).splitlines(), strict=True):
        slots = {_slot(match) for match in _SPEAKS_OF.finditer(small)} & {0, 1}
        if len(slots) == 1 and not _BOTH_LETTERS.search(line):
            return
        if not slots:
            yield line
