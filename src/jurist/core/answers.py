"""Extracts the final answer of a worked solution and normalises it for comparison."""

import re

_MARK = re.compile(r"(?:####|^[ \t]*A:)(?=(?P<plain>.{0,200})$)|\\boxed\s*\{", re.MULTILINE)
_DRESS = re.compile(r"\\[$%!,]|[$%]")
"""What stands around a number and does not change it: currency, percent, LaTeX's thin spaces."""
_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.(?P<part>[0-9]*))?")
_NUMERAL = re.compile(r"(?<![\w.])[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?")
_FRACTION = re.compile(r"[+-]?[0-9]+\s*/\s*[0-9]+")


def final_answer(text: str) -> str | None:
    r"""The last answer marked as final: ``#### N``, a line ``A: N``, or ``\boxed{...}``; None without one.

    Numbers lose dollar and percent signs, commas between thousands, leading and trailing zeros and a full
    stop, so that equal numbers are equal strings. After ``####`` and ``A:`` only a number or a fraction of
    whole numbers counts (other texts have headings and dialogues there); a box may hold anything. A
    fraction is not reduced. The two plain marks are those of GSM8K (openai/grade-school-math @3101c7d).
    """
    closes = _closing_braces(text) if "\\boxed" in text else {}
    for mark in reversed(list(_MARK.finditer(text))):
        boxed = mark["plain"] is None
        stated = text[mark.end() : closes.get(mark.end() - 1, mark.end())] if boxed else mark["plain"]
        if (answer := _answer(stated, boxed)) is not None:
            return answer
    return None


def last_number(text: str) -> str | None:
    """The marked answer; where there is none, the last number of the text, a full stop behind it aside."""
    if (marked := final_answer(text)) is not None:
        return marked
    numerals = _NUMERAL.findall(text.replace("\N{MINUS SIGN}", "-"))
    return number(numerals[-1]) if numerals else None


def number(text: str) -> str | None:
    """A number in its shortest form: ``$1,250.00`` is ``1250``; None where the text is not one number."""
    plain = _DRESS.sub("", text.replace("\N{MINUS SIGN}", "-")).strip()
    match = _NUMBER.fullmatch(plain)
    if match is None or not (match["whole"] or match["part"]):
        return None
    whole = match["whole"].replace(",", "").lstrip("0") or "0"
    part = (match["part"] or "").rstrip("0")
    size = f"{whole}.{part}" if part else whole
    return f"-{size}" if match["sign"] == "-" and size != "0" else size


def _answer(text: str, boxed: bool) -> str | None:
    if (value := number(text)) is not None:
        return value
    plain = " ".join(text.split())
    if _FRACTION.fullmatch(plain):
        return plain.replace(" ", "")
    return (plain or None) if boxed else None


def _closing_braces(text: str) -> dict[int, int]:
    """For each opening brace that is closed, where."""
    closes: dict[int, int] = {}
    opened: list[int] = []
    for place, character in enumerate(text):
        if character == "{":
            opened.append(place)
        elif character == "}" and opened:
            closes[opened.pop()] = place
    return closes
