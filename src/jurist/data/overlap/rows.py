"""Training rows as cases with their places, also rows of prompts alone or with one answer."""

from collections.abc import Iterator
from difflib import get_close_matches
from os import PathLike
from typing import NamedTuple

from jurist.core.json_value import JsonValue
from jurist.core.types import Case
from jurist.inputs import OnBad, handler, read_rows
from jurist.inputs.lines import Fields, Row
from jurist.inputs.rows import PROMPTS, RESPONSES, case_of

ANSWERS = ("answer", "output", "completion", "solution", "ground_truth")
_PROMPTS = (*PROMPTS, "problem", "query")
_TALKS = ("messages", "conversation", "conversations")


class RowCase(NamedTuple):
    """A row of a source: its number (from 1, in order), its line, what was written, what it means."""

    number: int
    line: int
    fields: Fields
    case: Case


def read_cases(
    source: str | PathLike[str],
    *,
    skip_bad: bool = False,
    on_bad: OnBad | None = None,
) -> Iterator[RowCase]:
    """The rows of whatever ``load_cases`` reads, and of prompts alone or with an answer beside them.

    Those have a prompt (also ``problem``, ``query``) and perhaps an ``answer``, ``output``, ``completion``,
    ``solution`` or ``ground_truth``, or a list of ``messages`` whose last assistant turn is the response.
    Ids may come twice: lines tell rows apart. Raises and skips as ``load_cases`` does.
    """
    return read_rows(source, _row_case, handler(skip_bad=skip_bad, on_bad=on_bad))


def _row_case(row: Row) -> RowCase:
    case = case_of(_judgeable(row.fields), row.default_id)
    return RowCase(row.number, row.place.line, row.fields, case)


def _judgeable(fields: Fields) -> Fields:
    """The row itself if it has responses; else one with its prompt and answer as ``prompt``, ``response``."""
    present = [name for name, value in fields.items() if value is not None]
    known = {*RESPONSES, *_PROMPTS, *ANSWERS, *_TALKS}
    typo = any(get_close_matches(x.lower(), RESPONSES, 1, 0.85) for x in present if x not in known)
    talk = next((name for name in _TALKS if name in present), None)
    if typo or any(name in RESPONSES for name in present):
        return fields
    base = {name: fields[name] for name in ("id", "pair_id") if name in present}
    if talk is not None:
        return base | _split(fields[talk])
    asked = {"prompt" if x in ("problem", "query") else x: fields[x] for x in _PROMPTS if x in present}
    answer = next((fields[name] for name in ANSWERS if name in present), "")
    return {**base, **asked, "response": answer if isinstance(answer, str | list) else str(answer)}


def _split(turns: JsonValue) -> Fields:
    """A conversation as the prompt and the last turn, if that is the assistant's."""
    if isinstance(turns, list) and len(turns) > 1:
        last = turns[-1]
        if isinstance(last, dict) and last.get("role") == "assistant":
            return {"prompt": turns[:-1], "response": [last]}
    return {"prompt": turns, "response": ""}
