"""Reads rows from JSON: one object per line, or a list of objects."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, NamedTuple

import msgspec

from jurist.core.errors import InputError
from jurist.core.json_value import JsonObject

Fields = JsonObject
"""One row as it was written: plain JSON values under their names."""

Numbered = tuple[int, Fields | InputError]
"""A line number and the row that begins there; a row that cannot be decoded is its error, without a place."""

BOM = b"\xef\xbb\xbf"
_BYTE = re.compile(r"\(byte (\d+)\)")
_decode = msgspec.json.Decoder().decode


class Place(NamedTuple):
    """The place of a row. ``unit`` is "row " in formats that have no lines."""

    file: str
    line: int
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.unit}{self.line}" if self.file else f"{self.unit}{self.line}"


class NoDataError(InputError):
    """The data are not here; another folder may have them."""


class BrokenFile(InputError):
    """A file that cannot be read from ``line`` on; the caller adds the name of the file."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.line = line


class Row(NamedTuple):
    """One row on its way to a case; ``default_id`` is its id unless it brings one.

    ``number`` counts the rows of the whole source from 1, over all its files.
    """

    place: Place
    number: int
    default_id: str
    fields: Fields


class BadRow(NamedTuple):
    """A row that could not be decoded; ``error`` does not name the place."""

    place: Place
    number: int
    error: InputError


def seen(value: object, width: int = 60) -> str:
    """What was seen, as JSON (as Python writes it where JSON cannot), cut to about ``width`` characters."""
    if isinstance(value, str):
        value = value[: width + 1]  # a response may have megabytes
    try:
        text = repr(value) if isinstance(value, float) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = ascii(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def json_lines(stream: Iterable[bytes]) -> Iterator[Numbered]:
    """Rows of JSONL; blank lines count as lines and are passed over."""
    for number, line in enumerate(stream, 1):
        if number == 1:
            line = line.removeprefix(BOM)
        if line and not line.isspace():
            yield number, _fields(line)


def json_any(stream: IO[bytes]) -> Iterator[Numbered]:
    """Rows of a ``.json`` file: a list of objects, one object over many lines, or one object per line."""
    head: list[bytes] = []
    for line in stream:
        head.append(line)
        if line.removeprefix(BOM).strip():
            break
    first = head[-1].removeprefix(BOM).lstrip() if head else b""
    if first.startswith(b"["):
        yield from _json_list(b"".join(head) + stream.read())
    elif first.startswith(b"{") and not _complete(first):
        yield from _json_list(b"".join(head) + stream.read(), one=True)
    else:
        yield from json_lines(chain(head, stream))


def utf8_error(line: bytes) -> InputError | None:
    """The error of a line that is not UTF-8, with the offset of its first bad byte."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return InputError(
            f"not UTF-8 at byte {error.start} of the line, saw 0x{line[error.start]:02x}",
            "save the file as UTF-8, for example: iconv -f LATIN1 -t UTF-8",
        )
    return None


def _fields(line: bytes | memoryview) -> Fields | InputError:
    try:
        value = _decode(line)
    except (ValueError, RecursionError) as error:
        return _undecoded(bytes(line).rstrip(b"\r\n"), error)
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType]
    kind = {list: "a list", str: "a text", type(None): "null", bool: "a truth value"}.get(
        type(value),  # pyright: ignore[reportUnknownArgumentType]
        "a number",
    )
    listed = "name the file .json if it is one list of rows; otherwise write one object per line"
    return InputError(
        f"a row must be an object with named fields, but this is {kind}, saw {seen(value)}",
        listed
        if isinstance(value, list)
        else 'a row looks like {"prompt": "...", "responses": ["...", "..."]}',
    )


def _undecoded(line: bytes, error: ValueError | RecursionError) -> InputError:
    if isinstance(error, UnicodeDecodeError):
        return utf8_error(line) or InputError(str(error))
    said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    hint = "each line must be one whole JSON object"
    if re.search(rb"\b(NaN|Infinity)\b", line):
        hint = "NaN and Infinity are not JSON; write null or leave the field out"
    elif re.search(rb"\\u[dD][89a-fA-F]", line):
        hint = "half of a surrogate pair (\\ud800 to \\udfff) is no character; remove it"
    return InputError(f"not JSON: {said}, saw {seen(line.decode(errors='replace'))}", hint)


def _complete(line: bytes) -> bool:
    """Whether a line is more than the beginning of an object."""
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return "truncated" not in str(error)
    return True


def _json_list(data: bytes, *, one: bool = False) -> Iterator[Numbered]:
    """Rows of one JSON value. They stay bytes until their turn, so a list costs its size on disk once."""
    data = data.removeprefix(BOM)
    try:
        rows = [msgspec.Raw(data.strip())] if one else msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        at = _BYTE.search(str(error))
        where = int(at[1]) if at else len(data.rstrip())
        near = data[max(0, where - 30) : where + 30].decode(errors="replace")
        hint = "the file must be one JSON list of objects, or one object per line"
        line = data.count(b"\n", 0, where) + 1
        raise BrokenFile(line, f"not JSON: {error}, saw {seen(near)}", hint) from None
    line, position = 1, 0
    for raw in rows:
        view = memoryview(raw)
        begins = data.find(view, position)
        line += data.count(b"\n", position, begins)
        position = begins
        yield line, _fields(view)
