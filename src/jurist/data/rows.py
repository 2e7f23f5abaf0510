"""Training rows: read from any format, written in one, each under an id of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b, sha256
from pathlib import Path
from typing import IO, Self

import msgspec

from jurist.core.errors import ConfigError, InputError, StoreError
from jurist.core.types import Case
from jurist.inputs.files import open_source
from jurist.inputs.lines import Fields, Row, seen
from jurist.inputs.rows import case_of

Renames = Mapping[str, Sequence[str]]
"""For a field of ours the fields of the source whose texts, joined, it is."""

OnBad = Callable[[InputError], None]


def read(source: str, renames: Renames | None = None, on_bad: OnBad | None = None) -> Iterator[Case]:
    """The cases of whatever ``load_cases`` reads; ids may come twice, ``Writer`` tells them apart.

    Raises ``InputError`` naming file, line and field; with ``on_bad`` a bad row is handed there and left out.
    """
    return read_with(source, lambda row, name: case_of(renamed(row, renames or {}), name), on_bad)


def read_with(
    source: str, case_from: Callable[[Fields, str], Case], on_bad: OnBad | None = None
) -> Iterator[Case]:
    """As ``read``, with another way to make a case of (fields, id)."""
    return _cases(open_source(source), case_from, on_bad)


def _cases(
    rows: Iterator[Row], case_from: Callable[[Fields, str], Case], on_bad: OnBad | None
) -> Iterator[Case]:
    for row in rows:
        try:
            if isinstance(row.fields, InputError):
                raise row.fields
            case = case_from(row.fields, row.default_id)
        except InputError as error:
            placed = InputError(f"{row.place}: {error.message}", error.hint)
            if on_bad is None:
                raise placed from None
            on_bad(placed)
            continue
        yield case


def renamed(fields: Fields, renames: Renames) -> Fields:
    """The row with its fields under our names; texts of several fields are joined as they are."""
    if not renames:
        return fields
    used = {name for names in renames.values() for name in names}
    missing = next((name for name in used if name not in fields), None)
    if missing is not None:
        raise InputError(f"{missing}: is missing; fields of the row: {seen(list(fields))}", "see --field")
    rest = {name: value for name, value in fields.items() if name not in used}
    return rest | {ours: _joined([fields[name] for name in names]) for ours, names in renames.items()}


def _joined(values: list[object]) -> object:
    if len(values) == 1:
        return values[0]
    wrong = next((value for value in values if not isinstance(value, str)), None)
    if wrong is not None:
        raise InputError(f"only texts can be joined, saw {seen(wrong)}", "see --field")
    return "".join(map(str, values))


def row_of(case: Case) -> Fields:
    """The case as a row that every command reads; a prompt of one user turn is a text."""
    fields: Fields = msgspec.to_builtins(case)
    if len(case.prompt) == 1 and case.prompt[0].role == "user":
        fields["prompt"] = case.prompt[0].content
    return fields


def share(seed: int, *parts: object) -> float:
    """A number in [0, 1) that follows from the seed and the parts alone."""
    return key(seed, *parts) / 2**64


def key(*parts: object) -> int:
    """A hash of 64 bits."""
    text = repr(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


class Writer:
    """A JSONL file of rows, there under its name once the ``with`` block has ended well.

    An id that was taken gets ``~2``, ``~3``. Memory: about 100 bytes a row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._taken = sha256()
        self._ids: set[int] = set()
        self._draft = path.with_name(path.name + ".tmp")
        self._file: IO[bytes] | None = None

    @property
    def sha256(self) -> str:
        """Hash of what was written."""
        return self._taken.hexdigest()

    def __enter__(self) -> Self:
        try:
            self._file = self._draft.open("wb")
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file:
            self._file.close()
        if kind is None:
            self._draft.replace(self.path)
        else:
            self._draft.unlink(missing_ok=True)

    def write(self, case: Case) -> None:
        """Append a row."""
        assert self._file
        data = msgspec.json.encode(row_of(msgspec.structs.replace(case, id=self._own(case.id)))) + b"\n"
        try:
            self._file.write(data)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from error
        self._taken.update(data)
        self.rows += 1

    def _own(self, name: str) -> str:
        own, n = name, 1
        while key(own) in self._ids:
            n += 1
            own = f"{name}~{n}"
        self._ids.add(key(own))
        return own


def check_target(target: Path, *sources: str) -> None:
    """Raise where a file of rows could not be written, or would take the place of its source."""
    if target.suffix.lower() not in (".jsonl", ".ndjson"):
        raise ConfigError(f"{target}: rows are written as JSON lines", "let its name end in .jsonl")
    if not target.parent.is_dir():
        raise ConfigError(f"{target}: there is no folder {str(target.parent)!r}", "make it first")
    for source in sources:
        path = Path(source).expanduser()
        if target.exists() and path.exists() and target.samefile(path):
            raise ConfigError(f"{target} is a source itself", "name another file; sources stay as they are")
