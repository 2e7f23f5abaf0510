"""The report: every hit as a line of a file, counts for each benchmark, one line for a model card."""

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, Literal, Self

import msgspec

from jurist.core.errors import StoreError
from jurist.core.types import Record
from jurist.data.overlap.index import Index
from jurist.data.overlap.match import Hit, OverlapMatch
from jurist.data.overlap.rule import Rule

EXAMPLES = 3
"""How many hits of each sort and benchmark are kept for showing."""


class BenchmarkOverlap(Record, frozen=True, omit_defaults=False):
    """Rows that touch a benchmark, each counted once, by its strongest hit.

    ``pair``: the same prompt and a same response of one case; ``same``: the same prompt (or last turn);
    ``near``: a near one; ``response``: a response alone. ``touched``: how many of its ``cases`` are in the
    data. ``digest``: hash of the texts that were compared.
    """

    benchmark: str
    cases: int
    digest: str
    pair: int = 0
    same: int = 0
    near: int = 0
    response: int = 0
    touched: int = 0

    @property
    def rows(self) -> int:
        """All rows that touch the benchmark."""
        return self.pair + self.same + self.near + self.response


class Clean(Record, frozen=True, omit_defaults=False):
    """The filtered file: its name, rows and hash."""

    name: str
    rows: int
    sha256: str


class OverlapSummary(Record, frozen=True, omit_defaults=False):
    """The last line of a report. ``unread`` rows could not be read; ``touched`` ones have a hit."""

    jurist: str
    source: str
    sha256: str | None
    rows: int
    unread: int
    touched: int
    rule: Rule
    benchmarks: tuple[BenchmarkOverlap, ...]
    clean: Clean | None = None


Sort = Literal["pair", "same", "near", "response"]
SORTS: tuple[Sort, ...] = ("pair", "same", "near", "response")
"""The columns of ``BenchmarkOverlap``, the strongest first."""


class OverlapReport:
    """Takes the hits of row after row; with a ``path`` every hit is written, one JSON line each.

    The file appears under its name with ``finish``; leaving the ``with`` block before that leaves nothing.
    """

    def __init__(self, index: Index, path: Path | None = None) -> None:
        self.rows = self.touched = 0
        self.examples: dict[tuple[int, Sort], list[Hit]] = {}
        self._index, self._path = index, path
        self._counts = [Counter[Sort]() for _ in index.names]
        self._cases: list[set[int]] = [set() for _ in index.names]
        self._hash = sha256()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)

    def add(self, matches: Sequence[OverlapMatch]) -> None:
        """Count a row and its hits."""
        self.rows += 1
        self.touched += bool(matches)
        self._write(match.hit for match in matches)
        for benchmark in dict.fromkeys(match.benchmark for match in matches):
            of_it = [match for match in matches if match.benchmark == benchmark]
            strongest = min(of_it, key=lambda match: SORTS.index(_sort(match.hit)))
            sort = _sort(strongest.hit)
            self._counts[benchmark][sort] += 1
            self._cases[benchmark].update(*(match.cases for match in of_it))
            examples = self.examples.setdefault((benchmark, sort), [])
            if len(examples) < EXAMPLES:
                examples.append(strongest.hit)

    @property
    def counts(self) -> tuple[BenchmarkOverlap, ...]:
        """What was counted so far, in the order of the benchmarks."""
        return tuple(
            BenchmarkOverlap(name, len(cases), self._index.digest(i), touched=len(touched), **counts)
            for i, (name, cases, touched, counts) in enumerate(
                zip(self._index.names, self._index.cases, self._cases, self._counts, strict=True)
            )
        )

    def finish(self, summary: OverlapSummary) -> str:
        """Write the summary, put the file under its name; returns the sha256 that it has, or would have."""
        self._write([summary])
        if self._file and self._path:
            self._file.close()
            Path(self._file.name).replace(self._path)
        return self._hash.hexdigest()

    def _write(self, lines: Iterable[Record]) -> None:
        for line in lines:
            data = msgspec.json.encode(line) + b"\n"
            self._hash.update(data)
            if self._path:
                try:
                    self._file = self._file or self._path.with_name(self._path.name + ".tmp").open("wb")
                    self._file.write(data)
                except OSError as error:
                    raise StoreError(f"cannot write {self._path}: {error.strerror or error}") from error


def stamp(summary: OverlapSummary, report: str) -> str:
    """One line for a model card: what was compared with what, how, and what came of it.

    ``report`` is the sha256 of the report.
    """
    counts = summary.benchmarks
    named = ", ".join(f"{c.benchmark} ({c.cases:,} cases, {c.digest})" for c in counts)
    details = "; ".join(f"{c.benchmark}: {_counted(c)}" for c in counts if c.rows)
    clean = summary.clean
    parts = [
        f"{summary.touched:,} of {summary.rows:,} rows of {summary.source}{_hashed(summary.sha256)} overlap "
        f"with {named}",
        details,
        str(summary.rule),
        f"{summary.unread:,} rows could not be read" if summary.unread else "",
        f"without them: {clean.rows:,} rows{_hashed(clean.sha256)}" if clean else "",
        f"report sha256 {report}",
        f"jurist {summary.jurist}",
    ]
    return "; ".join(part for part in parts if part)


def _sort(hit: Hit) -> Sort:
    """The column in which a row with nothing but this hit counts."""
    return "response" if hit.part == "response" and hit.kind != "pair" else hit.kind


def _counted(count: BenchmarkOverlap) -> str:
    words = {
        "pair": "with prompt and response",
        "same": "with the prompt",
        "near": "near",
        "response": "by a response alone",
    }
    return ", ".join(f"{n:,} {words[sort]}" for sort in SORTS if (n := getattr(count, sort)))


def _hashed(digest: str | None) -> str:
    return f" (sha256 {digest[:16]})" if digest else ""
