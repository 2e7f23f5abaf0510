"""The loop over rows: makes a case or another value of each row; errors name the place of the row."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike, fspath
from os.path import expanduser, isfile, join
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import replace

from jurist.core.errors import InputError, JuristError
from jurist.core.run_config import RUN
from jurist.core.runs import open_run
from jurist.core.types import Case
from jurist.inputs.files import open_source
from jurist.inputs.lines import BadRow, Fields, Place, Row, seen
from jurist.inputs.messages import text_of
from jurist.inputs.remote import is_remote, remote_rows
from jurist.inputs.rows import case_of
from jurist.inputs.tables import plain
from jurist.inputs.turns import prompt_of, response_of, responses_of
from jurist.inputs.values import gold_of, text_or_json

T = TypeVar("T")
R = TypeVar("R", bound="_Placed")
OnBad = Callable[[InputError], None]
"""Takes the error of a row that is passed over."""

SHOWN = 10
"""How many of the errors of bad rows are kept for showing."""


class _Placed(Protocol):
    @property
    def place(self) -> Place: ...


class _Given(NamedTuple):
    """A case or a row from Python."""

    place: Place
    value: object


class BadRows:
    """Rows that could not be read: the first raises, or with ``skip`` they are counted and passed over."""

    def __init__(self, *, skip: bool) -> None:
        self.count = 0
        self.errors: list[JuristError] = []
        """The first ten."""
        self.on_bad: OnBad | None = self.add if skip else None

    def add(self, error: JuristError) -> None:
        """Count a row and keep its error, if it is among the first."""
        self.count += 1
        if len(self.errors) < SHOWN:
            self.errors.append(error)

    def lines(self) -> Iterator[str]:
        """What a person should know, a line each; nothing where no row was bad."""
        if self.count:
            yield f"{self.count:,} bad rows were left out:"
            for error in self.errors:
                yield f"  {error.message}"


def read_rows(
    source: str | PathLike[str], make: Callable[[Row], T], on_bad: OnBad | None = None, filesystem: Any = None
) -> Iterator[T]:
    """What ``make`` makes of each row of a source (as for ``load_cases``), in order.

    A source that cannot be read raises here. ``InputError`` from ``make``, and of a row that cannot be
    decoded, gets the place in front, and is raised, or with ``on_bad`` handed there and the row passed over.
    """
    place = fspath(source)
    if filesystem is not None or is_remote(place):
        return _made(remote_rows(place, filesystem), make, on_bad)
    return _made(open_source(place), make, on_bad)


def _made(rows: Iterable[R | BadRow], make: Callable[[R], T], on_bad: OnBad | None) -> Iterator[T]:
    for row in rows:
        try:
            if isinstance(row, BadRow):
                raise row.error
            result = make(row)
        except InputError as error:
            placed = InputError(f"{row.place}: {error.message}", error.hint)
            if on_bad is None:
                raise placed from None
            on_bad(placed)
        else:
            yield result


def load_cases(
    source: str | PathLike[str],
    *,
    skip_bad: bool = False,
    on_bad: OnBad | None = None,
    filesystem: Any = None,
) -> Iterator[Case]:
    """The cases of ``source``, one at a time; raises ``InputError`` naming file, line and field.

    ``source`` is a file (.jsonl, .ndjson, .json, .csv, .tsv, each also with .gz; .parquet), a folder of
    them, ``-`` for JSONL on standard input, ``hf:org/name[:split][@revision][#config]``, or an address on a
    filesystem that pyarrow or fsspec knows (``s3://bucket/folder``); ``filesystem``, an object of theirs,
    takes the place of the one that the address names. A source that cannot be read raises here, a bad row
    when the iterator comes to it. With ``skip_bad`` a bad row is handed to ``on_bad`` and passed over; damage
    to a whole file raises all the same. A run folder gives the cases that it decided, in the order of its
    input.
    """
    if isfile(join(expanduser(source), RUN)):
        return _cases_of_run(Path(source).expanduser())
    ids = _Ids()

    def case_from_row(row: Row) -> Case:
        return ids.claimed(case_of(row.fields, row.default_id), row.place, in_subset="subset" in row.fields)

    return read_rows(source, case_from_row, handler(skip_bad=skip_bad, on_bad=on_bad), filesystem)


def _cases_of_run(folder: Path) -> Iterator[Case]:
    with open_run(folder) as run:
        cases = (case for name in run.ids() if (case := run.case(name)) is not None)
        first = next(cases, None)
        if first is None:
            raise InputError(
                f"{folder} is a run folder that holds no case", "name the file that its cases came from"
            )
        yield first
        yield from cases


def cases_of(values: object, *, skip_bad: bool = False, on_bad: OnBad | None = None) -> Iterator[Case]:
    """Cases from Python: ``Case`` objects, rows as in files (dictionaries), or a table of a data frame.

    The same checks as ``load_cases``: an id that comes twice, a text in place of a list of responses, half
    a surrogate pair and a missing prompt raise ``InputError`` naming the row ("row 3") and the field.
    """
    ids = _Ids()

    def case_from_value(given: _Given) -> Case:
        if isinstance(given.value, Case):
            return ids.claimed(_checked(given.value), given.place, in_subset=False)
        fields = _fields(given.value)
        case = case_of(fields, str(given.place.line))
        return ids.claimed(case, given.place, in_subset="subset" in fields)

    rows = (_Given(Place("", number, "row "), value) for number, value in enumerate(_records(values), 1))
    return _made(rows, case_from_value, handler(skip_bad=skip_bad, on_bad=on_bad))


def case_from(
    prompt: object,
    responses: object,
    *,
    id: str = "1",
    reference: object = None,
    rubric: str | None = None,
) -> Case:
    """One case from arguments in Python; raises ``InputError`` naming the argument.

    ``prompt``: a text, or messages as objects or dictionaries; ``responses``: a list of texts or messages.
    """
    return Case(
        id,
        prompt_of(prompt, "prompt"),
        responses_of(responses, "responses"),
        reference=text_or_json(reference, "reference"),
        rubric=None if rubric is None else text_of(rubric, "rubric"),
    )


def handler(*, skip_bad: bool, on_bad: OnBad | None) -> OnBad | None:
    """``on_bad`` for ``read_rows``, where None raises: skipping in silence needs one that does nothing."""
    return (on_bad or (lambda _error: None)) if skip_bad else None


class _Ids:
    """Where each id was seen first, and in which subset."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[Place, str | None]] = {}

    def claimed(self, case: Case, place: Place, *, in_subset: bool) -> Case:
        """The case under an id that no other has; raises where its id was taken.

        RewardBench numbers the rows of each subset anew, so there the subset joins the id.
        """
        subset = case.group if in_subset else None
        if case.id in self._first and subset is not None and self._first[case.id][1] not in (None, subset):
            case = replace(case, id=f"{subset}/{case.id}")
        if case.id in self._first:
            raise InputError(
                f"id: {case.id!r} was taken by {self._first[case.id][0]}",
                "give each row its own id, or leave the field out: rows without one are numbered",
            )
        self._first[case.id] = (place, subset)
        return case


def _checked(case: Case) -> Case:
    """A case that was made in Python; its texts can be written and its gold fits its responses."""
    checked = replace(
        case,
        prompt=prompt_of(case.prompt, "prompt"),
        responses=responses_of(case.responses, "responses"),
        gold=None if case.gold is None else gold_of(list(case.gold), len(case.responses)),
        reference=text_or_json(case.reference, "reference"),
        rubric=None if case.rubric is None else text_of(case.rubric, "rubric"),
        anchors=tuple(response_of(anchor, f"anchors[{i}]") for i, anchor in enumerate(case.anchors)),
    )
    check_writable(checked)
    return checked


def check_writable(value: object) -> None:
    """Raise ``InputError`` for what a run could not keep: half a surrogate pair, or no JSON."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise InputError(
            f"half of a surrogate pair (U+{ord(error.object[error.start]):04X}) is no character, "
            f"saw {error.object[max(0, error.start - 20) : error.start + 1]!a}",
            'remove it: text.encode("utf-8", "ignore").decode()',
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"a value that JSON cannot hold: {error}", "texts, numbers, lists and objects"
        ) from None


def _records(values: Any) -> Iterable[object]:
    """The rows of a data frame (pandas, polars), else the items of an iterable; raises for anything else."""
    if hasattr(values, "columns"):
        if hasattr(values, "to_dicts"):
            return values.to_dicts()
        if hasattr(values, "to_dict"):
            return values.to_dict("records")
    if isinstance(values, str | bytes | Mapping | Case) or not isinstance(values, Iterable):
        raise InputError(
            f"cases: must be a list of cases or rows, saw {seen(cast('object', values))}",
            'for example [{"prompt": "Name a prime.", "responses": ["7", "8"]}]',
        )
    return cast("Iterable[object]", values)


def _fields(value: object) -> Fields:
    """A row as it would stand in a file; missing values of a data frame are null."""
    if not isinstance(value, Mapping):
        hint = 'a row looks like {"prompt": "...", "responses": ["...", "..."]}'
        raise InputError(f"expected a case or a row, saw {seen(value)}", hint)
    fields = plain(dict(cast("Mapping[str, object]", value)))
    if isinstance(fields, InputError):
        raise fields
    check_writable(fields)
    return {name: None if cell != cell else cell for name, cell in fields.items()}  # NaN
