"""Training rows: read from any format, written in one, each under an id of its own."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal, Self, TypedDict

import msgspec

from jurist.core.errors import ConfigError, InputError, StoreError
from jurist.core.hashing import seed_of
from jurist.core.json_value import JsonValue
from jurist.core.types import Case, Conversation, Message, Response, winner
from jurist.inputs import OnBad, read_rows
from jurist.inputs.lines import Fields, seen
from jurist.inputs.rows import case_of

Renames = Mapping[str, Sequence[str]]
"""New field name -> names of the source's fields; the texts of several fields are joined."""


def read(source: str, renames: Renames | None = None, on_bad: OnBad | None = None) -> Iterator[Case]:
    """The cases of whatever ``load_cases`` reads; ids may come twice, ``Writer`` tells them apart.

    Raises ``InputError`` naming file, line and field; with ``on_bad`` a bad row is handed there and left out.
    """
    return read_rows(source, lambda row: case_of(renamed(row.fields, renames or {}), row.default_id), on_bad)


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


def _joined(values: list[JsonValue]) -> JsonValue:
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


class TrlRow(TypedDict):
    """A pair in TRL's preference format; ``source`` is where the pair is from."""

    id: str
    prompt: list[dict[str, str]]
    chosen: list[dict[str, str]]
    rejected: list[dict[str, str]]
    source: str


def trl_row(case: Case) -> TrlRow:
    """A pair in TRL's preference format, as its `RewardTrainer` and `DPOTrainer` read it.

    ``prompt``, ``chosen`` and ``rejected`` are lists of messages; ``id`` and ``source`` say where the pair is
    from. Raises ``InputError`` for what is no pair with a better response.
    """
    best = winner(case.gold)
    if best is None or len(case.responses) != 2:
        raise InputError(
            f"case {case.id!r} is no pair with a better response", "the format trl has pairs alone"
        )
    return {
        "id": case.id,
        "prompt": as_messages(case.prompt),
        "chosen": as_messages(turns_of(case.responses[best])),
        "rejected": as_messages(turns_of(case.responses[1 - best])),
        "source": str(case.meta.get("from", "")),
    }


def turns_of(response: Response) -> Conversation:
    """A response as the turns that it is; a text is one turn of the assistant."""
    return (Message("assistant", response),) if isinstance(response, str) else response


def as_messages(turns: Conversation) -> list[dict[str, str]]:
    """Turns as the dictionaries that chat templates take."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def share(seed: int, *parts: object) -> float:
    """A number in [0, 1) that follows from the seed and the parts alone."""
    return seed_of(seed, *parts) / 2**64


Format = Literal["jurist", "trl"]
"""How a case is written: as every command reads it, or as TRL's trainers do."""


class Writer:
    """A JSONL file of rows, there under its name once the ``with`` block has ended well.

    An id that was taken gets ``~2``, ``~3``. Memory: about 100 bytes a row.
    """

    def __init__(self, path: Path, format: Format = "jurist") -> None:
        self.path = path
        self._row = trl_row if format == "trl" else row_of
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
        data = msgspec.json.encode(self._row(msgspec.structs.replace(case, id=self._own(case.id)))) + b"\n"
        try:
            self._file.write(data)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from error
        self._taken.update(data)
        self.rows += 1

    def _own(self, name: str) -> str:
        free_name, n = name, 1
        while seed_of(free_name) in self._ids:
            n += 1
            free_name = f"{name}~{n}"
        self._ids.add(seed_of(free_name))
        return free_name


class RowsInOrder:
    """Rows of cases that come in any order, written in the order of their cases, whole, by ``finish``.

    Until then they lie in a file without a name beside ``path``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        try:
            self._spool = TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed on exit
        except OSError as error:
            raise StoreError(f"cannot write beside {path}: {error.strerror or error}") from error
        self._blocks: dict[int, tuple[int, int]] = {}

    @property
    def cases(self) -> int:
        """Cases that gave a row."""
        return len(self._blocks)

    def add(self, place: int, rows: Sequence[object]) -> None:
        """Keep the rows of the case at a place of the source; none is legal."""
        if rows:
            block = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
            self._blocks[place] = self._spool.tell(), len(block)
            self._spool.write(block)
            self.rows += len(rows)

    def finish(self) -> None:
        """Write the file in one step: readers see the old one or the new one."""
        draft = self.path.with_name(self.path.name + ".tmp")
        try:
            with draft.open("wb") as file:
                for _, (offset, size) in sorted(self._blocks.items()):
                    self._spool.seek(offset)
                    file.write(self._spool.read(size))
            draft.replace(self.path)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()


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
