"""Files, folders and Hub datasets in; cases out: ``load_cases`` is the one door for what users bring."""

from collections.abc import Callable, Iterator
from os import PathLike, fspath

from msgspec.structs import replace

from jurist.core.errors import InputError
from jurist.core.types import Case
from jurist.inputs.files import open_source
from jurist.inputs.lines import Place, Row
from jurist.inputs.rows import case_of

__all__ = ["load_cases"]

Ids = dict[str, tuple[Place, str | None]]
"""Where each id was seen first, and in which subset."""


def load_cases(
    source: str | PathLike[str],
    *,
    skip_bad: bool = False,
    on_bad: Callable[[InputError], None] | None = None,
) -> Iterator[Case]:
    """The cases of ``source``, one at a time; raises ``InputError`` naming file, line and field.

    ``source`` is a file (.jsonl, .ndjson, .json, .csv, .tsv, each also with .gz; .parquet), a folder of
    them, ``-`` for JSONL on standard input, or ``hf:org/name[:split][@revision][#config]``. A source that
    cannot be read raises here, a bad row when the iterator comes to it. With ``skip_bad`` a bad row is
    handed to ``on_bad`` and passed over; damage to a whole file raises all the same.
    """
    return _cases(open_source(fspath(source)), skip_bad, on_bad)


def _cases(
    rows: Iterator[Row], skip_bad: bool, on_bad: Callable[[InputError], None] | None
) -> Iterator[Case]:
    ids: Ids = {}
    for row in rows:
        try:
            if isinstance(row.fields, InputError):
                raise row.fields
            case = case_of(row.fields, row.default_id)
            case = _with_own_id(case, row.place, "subset" in row.fields, ids)
        except InputError as error:
            placed = InputError(f"{row.place}: {error.message}", error.hint)
            if not skip_bad:
                raise placed from None
            if on_bad:
                on_bad(placed)
            continue
        yield case


def _with_own_id(case: Case, place: Place, has_subset: bool, ids: Ids) -> Case:
    """The case, its id written down; RewardBench numbers each subset anew, so there the subset joins it."""
    subset = case.group if has_subset else None
    if case.id in ids and subset is not None and ids[case.id][1] not in (None, subset):
        case = replace(case, id=f"{subset}/{case.id}")
    if case.id in ids:
        first = ids[case.id][0]
        raise InputError(
            f"id: {case.id!r} was taken by {first}",
            "give each row its own id, or leave the field out: rows without one are numbered",
        )
    ids[case.id] = (place, subset)
    return case
