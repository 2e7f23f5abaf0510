"""Weighted mixtures of prepared files: how many rows of each, which ones, and in which order."""

from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from jurist.core.errors import ConfigError, InputError
from jurist.core.files import read_line
from jurist.core.hashing import seed_of
from jurist.core.types import Case
from jurist.data.filters import named
from jurist.data.rows import share
from jurist.data.sources import stem
from jurist.inputs.rows import case_of

Orders = Literal["given", "random", "both"]
"""What is written to ``meta.order``: nothing, one order by seed, or both orders, a row for each."""


class MixturePart(NamedTuple):
    """A file of the mixture; ``name`` is its data set's where a row has none."""

    path: Path
    weight: Fraction
    name: str


def part_of(text: str) -> MixturePart:
    """The part that ``FILE=WEIGHT`` names; raises ``ConfigError``."""
    path, _, weight = text.rpartition("=")
    try:
        ratio = Fraction(weight)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if not path or ratio <= 0:
        raise ConfigError(f"{text!r} is no FILE=WEIGHT", "for example skywork.jsonl=5")
    return MixturePart(Path(path), ratio, stem(path))


class IndexedRows:
    """The rows of a JSONL file by number, from 0; about 8 bytes a row are held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}", "mix takes JSONL files") from error
        self._begins, offset = array("Q"), 0
        for line in self._file:
            if line.strip():
                self._begins.append(offset)
            offset += len(line)

    def __len__(self) -> int:
        return len(self._begins)

    def case(self, number: int) -> Case:
        """The case of a row; raises ``InputError`` naming file, row and field."""
        line = read_line(self._file.fileno(), self._begins[number])
        try:
            return case_of(msgspec.json.decode(line, type=dict[str, Any]), str(number + 1))
        except (InputError, msgspec.DecodeError) as error:
            said, hint = (error.message, error.hint) if isinstance(error, InputError) else (str(error), "")
            raise InputError(f"{self.path}: row {number + 1}: {said}", hint) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def sizes(rows: Sequence[int], weights: Sequence[Fraction], total: int | None, *, repeat: bool) -> list[int]:
    """How many rows of each file make the mixture.

    Without ``total`` it is the largest in which no row comes twice; with ``repeat`` the smallest in which
    no row is missing. Rounded by largest remainder. Raises ``ConfigError`` where rows do not suffice.
    """
    whole = sum(weights)
    fitting = [n * whole / w for n, w in zip(rows, weights, strict=True)]
    if total is None:
        total = -int(-max(fitting) // 1) if repeat else int(min(fitting))
    if not repeat and total > min(fitting):
        scarce = fitting.index(min(fitting))
        raise ConfigError(
            f"--rows {total}: the rows of file {scarce + 1} suffice for {int(min(fitting))} at these weights",
            "fewer --rows, another weight, or --repeat",
        )
    exact = [total * w / whole for w in weights]
    counts = [int(x) for x in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_rest[: total - sum(counts)]:
        counts[i] += 1
    return counts


def drawn(rows: int, count: int, *seeds: object) -> Iterator[int]:
    """Which ``count`` of a file's rows, by seed; all of them come as often before one comes once more."""
    for turn in range(-(-count // rows) if count else 0):
        left = count - turn * rows
        if left >= rows:
            yield from range(rows)
        else:
            yield from sorted(range(rows), key=lambda i: seed_of(*seeds, i))[:left]


def mixed(
    parts: Sequence[MixturePart],
    files: Sequence[IndexedRows],
    counts: Sequence[int],
    seed: int,
    order: Orders,
) -> Iterator[Case]:
    """The rows of the mixture, shuffled by seed."""
    entries: list[tuple[int, int, int, int]] = []
    for at, (part, file, count) in enumerate(zip(parts, files, counts, strict=True)):
        for n, row in enumerate(drawn(len(file), count, seed, part.name)):
            for turned in _turned(order, seed, part.name, n):
                entries.append((seed_of(seed, "place", part.name, n, turned), at, row, turned))
    for _, at, row, turned in sorted(entries):
        yield _shown(named(files[at].case(row), parts[at].name), turned)


def _turned(order: Orders, seed: int, name: str, n: int) -> tuple[int, ...]:
    """The orders in which a row is written: 0 as in the file, 1 exchanged, -1 without ``meta.order``."""
    if order == "random":
        return (int(share(seed, "order", name, n) < 0.5),)
    return (0, 1) if order == "both" else (-1,)


def _shown(case: Case, turned: int) -> Case:
    """The case with the order in which its responses are to be shown (``order[slot]`` is a response)."""
    if turned < 0:
        return case
    order = list(range(len(case.responses)))
    return replace(case, meta={**case.meta, "order": order[::-1] if turned else order})
