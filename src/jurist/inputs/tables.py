"""Tables to rows: CSV and TSV cell by cell, parquet by record batches."""

import csv
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import IO, Any

import msgspec

from jurist.core.errors import InputError, MissingExtraError
from jurist.core.json_value import JsonValue
from jurist.inputs.lines import BOM, BrokenFile, Fields, Numbered, seen, utf8_error
from jurist.inputs.rows import ONE_HOT, PROMPTS, RESPONSES

_BATCH = 256  # rows decoded at once; responses are long, so small batches are what keeps memory flat

_NUMERIC = ("gold", "score", "meta", "preference", *ONE_HOT)
"""Columns whose cells are JSON."""


def comma_rows(stream: Iterable[bytes]) -> Iterator[Numbered]:
    """Rows of a CSV file with a header."""
    return _cell_rows(stream, ",")


def tab_rows(stream: Iterable[bytes]) -> Iterator[Numbered]:
    """Rows of a TSV file with a header."""
    return _cell_rows(stream, "\t")


def parquet_rows(stream: IO[bytes]) -> Iterator[Numbered]:
    """Rows of a parquet file; raises ``MissingExtraError`` without pyarrow."""
    parquet = pyarrow_parquet()
    number = 0
    try:
        # Without these two a whole row group is in memory, and small files are one row group.
        file = parquet.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 16)
        for batch in file.iter_batches(batch_size=_BATCH):
            for fields in _batch_rows(batch):
                number += 1
                yield number, fields
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        hint = "the file may be cut or damaged; copy it again"
        raise BrokenFile(number + 1, f"not parquet that can be read: {error}", hint) from error


@lru_cache(maxsize=1)
def pyarrow_parquet() -> Any:
    """``pyarrow.parquet``, untyped; raises ``MissingExtraError`` without it."""
    try:
        parquet = import_module("pyarrow.parquet")  # loaded by name: it has no types to offer
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", "reading parquet") from None
    return parquet


def plain(row: object) -> Fields | InputError:
    """A row of Python objects (dates, decimals, numpy's numbers) as plain JSON values.

    Bytes that are UTF-8 become a text; others are an error that names the column.
    """
    try:
        values = msgspec.to_builtins(row, str_keys=True, builtin_types=(bytes,), enc_hook=_unwrapped)
    except (TypeError, ValueError, RecursionError) as error:
        return InputError(f"a value that JSON cannot hold: {error}", "drop columns such as images or audio")
    try:
        return {name: _without_bytes(value, name) for name, value in values.items()}
    except InputError as error:
        return error


def _unwrapped(value: object) -> object:
    """A numpy or pandas value as Python's own; raises ``NotImplementedError`` for other types."""
    as_python = getattr(value, "tolist", None)
    if callable(as_python):
        return as_python()
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise NotImplementedError(f"the type {type(value).__name__}")


def _without_bytes(value: JsonValue | bytes, column: str) -> JsonValue:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InputError(
                f"{column}: holds {len(value):,} bytes that are no UTF-8 text",
                "drop the column where the texts say all of it; a judge reads text alone",
            ) from None
    if isinstance(value, list):
        return [_without_bytes(item, column) for item in value]
    if isinstance(value, dict):
        return {key: _without_bytes(item, column) for key, item in value.items()}
    return value


def _batch_rows(batch: Any) -> Iterator[Fields | InputError]:
    try:
        yield from [plain(row) for row in batch.to_pylist()]
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            yield InputError(f"not UTF-8: {error}", "write the column as UTF-8")
            return
        for i in range(batch.num_rows):  # which row it was
            yield from _batch_rows(batch.slice(i, 1))


def _cell_rows(stream: Iterable[bytes], delimiter: str) -> Iterator[Numbered]:
    undecoded: dict[int, InputError] = {}
    # The limit is the interpreter's; it is only ever raised, since a response may be longer than 128 KiB.
    csv.field_size_limit(max(csv.field_size_limit(), min(sys.maxsize, 2**31 - 1)))
    # Strict, since otherwise a forgotten quote mark would quietly swallow all rows after it.
    reader = csv.reader(_texts(stream, undecoded), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "quote a cell that holds quote marks or line breaks, and double the quote marks in it"
            if "new-line character" in str(error):
                hint = "lines that end in a carriage return alone: save the table with line feeds"
            yield begins, InputError(f"not a table row: {error}", hint)
            continue
        if header is None and undecoded:
            raise BrokenFile(begins, f"the header is {undecoded.popitem()[1].message}", "save it as UTF-8")
        broken = undecoded and [
            undecoded.pop(n) for n in range(begins, reader.line_num + 1) if n in undecoded
        ]
        if broken:
            yield begins, broken[0]
        elif not cells:
            continue
        elif header is None:
            header = _header(cells, begins)
        else:
            yield begins, _cell_fields(header, cells)


def _texts(stream: Iterable[bytes], undecoded: dict[int, InputError]) -> Iterator[str]:
    """Lines as text. A bad one still goes to the reader, which would lose count of quotes without it."""
    for number, line in enumerate(stream, 1):
        if number == 1:
            line = line.removeprefix(BOM)
        error = utf8_error(line)
        if error:
            undecoded[number] = error
        yield line.decode(errors="replace")


def _header(cells: list[str], line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = next((name for i, name in enumerate(names) if name and name in names[:i]), None)
    if twice is not None:
        raise BrokenFile(line, f"the header names the column {twice!r} twice", "rename one of them")
    if len(names) == 1 and (separator := next((x for x in ";\t|" if x in names[0]), None)):
        raise BrokenFile(
            line,
            f"the header is one column, saw {seen(names[0])}",
            f"the columns seem to be separated by {seen(separator)}: save the table with commas, or as .tsv",
        )
    return names


def _cell_fields(header: list[str], cells: list[str]) -> Fields | InputError:
    if len(cells) != len(header):
        hint = "quote a cell that holds the separator or a line break"
        return InputError(f"{len(cells)} cells for {len(header)} columns, saw {seen(cells)}", hint)
    # A column without a name is the row number that data frames write.
    fields = {name: _cell(name, cell) for name, cell in zip(header, cells, strict=True) if name}
    return _conversations(fields) or fields


def _conversations(fields: Fields) -> Fields | None:
    """LMSYS's table, whose three cells are lists of as many texts: turns of the user and of two models.

    The first turn becomes the prompt, each response goes on from its first answer to its last.
    """
    names = ("prompt", "response_a", "response_b")
    cells = [fields.get(name) for name in names]
    if not all(isinstance(cell, str) and cell.startswith("[") for cell in cells):
        return None
    lists = [_json(str(cell)) for cell in cells]
    asked, first, second = (_texts_of(items) for items in lists)
    if not asked or not len(asked) == len(first) == len(second):
        return None
    return fields | {"prompt": asked[0], names[1]: _turns(asked, first), names[2]: _turns(asked, second)}


def _texts_of(items: JsonValue) -> list[str]:
    """The texts of a list, null as an empty one; no texts where the value is no list of these."""
    if not isinstance(items, list):
        return []
    texts = [text for item in items if isinstance(text := item or "", str)]
    return texts if len(texts) == len(items) else []


def _turns(asked: list[str], answers: list[str]) -> JsonValue:
    if len(asked) == 1:
        return answers[0]
    turns: list[JsonValue] = [{"role": "assistant", "content": answers[0]}]
    for question, answer in zip(asked[1:], answers[1:], strict=True):
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": answer})
    return turns


def _cell(name: str, cell: str) -> JsonValue:
    """A cell as the value it stands for; an empty one is null, except that a response may be empty."""
    if name in PROMPTS or name in RESPONSES:
        return _conversation(name, cell) if cell.lstrip()[:1] in ("[", "{") else cell
    if not cell:
        return None
    return _json(cell) if name in _NUMERIC else cell


def _conversation(name: str, cell: str) -> JsonValue:
    """Messages or a list of responses out of a cell; an answer that only looks like JSON stays a text."""
    value = _json(cell)
    if name == "responses":
        return value
    items = value if isinstance(value, list) else []
    messages = bool(items) and all(isinstance(x, dict) and "role" in x for x in items)
    texts = name.endswith(("chosen", "rejected")) and bool(items) and all(isinstance(x, str) for x in items)
    return items if messages or texts else cell


def _json(cell: str) -> JsonValue:
    try:
        return msgspec.json.decode(cell)
    except (ValueError, RecursionError):
        return cell
