"""Text functions of rendering and parsing: removes invisible characters, joins turns, fills templates."""

import re
import unicodedata

from jurist.core.types import Conversation, Response, response_text

_INVISIBLE_BMP = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
)
_INVISIBLE_ABOVE = "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
INVISIBLE = _INVISIBLE_BMP + _INVISIBLE_ABOVE
"""A regex character class (without brackets) of invisible characters: controls but white space, and what
Unicode calls Default_Ignorable_Code_Point (DerivedCoreProperties.txt, 15.1)."""

JOINER = "\u2060"
"""The word joiner: invisible, without width."""

_INVISIBLE = re.compile(f"[{INVISIBLE}]+")
# Looked for apart: a class within the Basic Multilingual Plane is a table, a wider one a list.
_ANY_INVISIBLE = re.compile(f"[{_INVISIBLE_BMP}]"), re.compile(f"[{_INVISIBLE_ABOVE}]")
_ORDINARY = bytes([*range(0x09, 0x0E), *range(0x1C, 0x7F)])
"""White space and what is printed of ASCII: most of most texts."""
_FULL_WIDTH = {0xFF01 + i: 0x21 + i for i in range(94)}
_ANY_FULL_WIDTH = re.compile("[\uff01-\uff5e]")
# Blocks that hold characters with an ASCII letter, digit or bracket as their compatibility form.
# fmt: off
_STYLED_BLOCKS = (
    (0xAA, 0xBA), (0x2B0, 0x2B8), (0x1D2C, 0x1D6A), (0x2070, 0x209C), (0x2100, 0x2188), (0x2460, 0x24EA),
    (0x3248, 0x3250), (0xFE50, 0xFE6B), (0xFF01, 0xFFEF), (0x1D400, 0x1D7FF),
)
# fmt: on
_STYLED = {
    code: form
    for first, last in _STYLED_BLOCKS
    for code in range(first, last + 1)
    if len(form := unicodedata.normalize("NFKC", chr(code))) == 1 and form.isascii()
}
_ANY_STYLED = tuple(
    re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in blocks) + "]")
    for blocks in (_STYLED_BLOCKS[:-1], _STYLED_BLOCKS[-1:])
)

_NAMES = {"user": "User", "assistant": "Assistant", "system": "System"}
_PLAIN_ROLE = re.compile(r"(?!(?:chatbot|human|client|ai|bot|model)\Z)[a-z][a-z0-9_-]{0,31}", re.I)
_SPEAKER_LINE = re.compile(
    r"^([^\w\n]{0,8})([a-z])(?=(?:(?<=u)ser|(?<=h)uman|(?<=a)ssistant|(?<=s)ystem|(?<=c)hatbot|(?<=c)lient|(?<=t)ool"
    r"|(?<=f)unction|(?<=d)eveloper|(?<=o)ther)(?: [a-z0-9])?[^\w\n]{0,4}[:\uff1a])",
    re.I | re.M,
)


def plain(text: str) -> str:
    """``text`` with full-width letters, digits and brackets in plain width, position by position."""
    full_width = not text.isascii() and _ANY_FULL_WIDTH.search(_unusual(text))
    return text.translate(_FULL_WIDTH) if full_width else text


def unstyled(text: str) -> str:
    """``text`` with every character whose compatibility form is one ASCII character in that form.

    Wider than ``plain``: mathematical letters, superscripts and small brackets too. Position by position.
    """
    if text.isascii():
        return text
    unusual = _unusual(text)
    return text.translate(_STYLED) if any(kind.search(unusual) for kind in _ANY_STYLED) else text


def visible(text: str) -> str:
    """``text`` without invisible characters."""
    unusual = _unusual(text)
    hidden = bool(unusual) and any(kind.search(unusual) for kind in _ANY_INVISIBLE)
    return _INVISIBLE.sub("", text) if hidden else text


def _unusual(text: str) -> str:
    """What a text holds besides ordinary ASCII: nothing or little, and many times faster to search."""
    rest = text.encode("utf-8", "surrogatepass").translate(None, _ORDINARY)
    return rest.decode("utf-8", "surrogatepass") if rest else ""


def flatten(prompt: Conversation) -> str:
    """One question from a conversation: its only turn, or every turn with its speaker's name."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n\n".join(f"{speaker(m.role)}: {without_speakers(m.content)}" for m in prompt)


def speaker(role: str, assistant: str = "Assistant") -> str:
    """The name written before a turn; a role that is no plain word, or a name of the frames, is Other."""
    if role.lower() == "assistant":
        return assistant
    return _NAMES.get(role.lower()) or (role if _PLAIN_ROLE.fullmatch(role) else "Other")


def without_speakers(text: str) -> str:
    """``text`` with a joiner in each speaker's name that opens a line: no turn can hold another one."""
    return _SPEAKER_LINE.sub(rf"\1\2{JOINER}", text) if ":" in text or "\uff1a" in text else text


def turns_text(response: Response) -> str:
    """A response as text: its only turn, or every turn with its speaker's name."""
    if isinstance(response, str) or len(response) == 1:
        return response_text(response)
    return flatten(response)


def fill(template: str, **parts: str) -> str:
    """Put the parts into ``{name}`` places, in one pass: braces inside a part are ordinary text."""
    return re.sub(r"\{(\w*)\}", lambda place: parts.get(place[1], place[0]), template)
