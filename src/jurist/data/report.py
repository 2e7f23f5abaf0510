"""Counts of a data command: a file beside its output, and lines to read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from jurist.core.files import write_whole
from jurist.core.types import Record
from jurist.core.version import __version__


@dataclass(slots=True)
class SourceCounts:
    """Rows of one source: how many were read, could not be read, were written; why others were not."""

    name: str
    source: str = ""
    sha256: str | None = None
    read: int = 0
    unread: int = 0
    written: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])


class OutputFile(Record, frozen=True, omit_defaults=False):
    """A file that was written."""

    name: str
    rows: int
    sha256: str


class DataReport(Record, frozen=True, omit_defaults=False):
    """``counts`` are counts of this command alone, ``options`` its options.

    ``benchmarks``: number of cases and hash of the texts of each that rows were compared with.
    """

    command: str
    options: dict[str, object]
    sources: tuple[SourceCounts, ...]
    outputs: tuple[OutputFile, ...]
    counts: dict[str, int] = {}
    benchmarks: dict[str, tuple[int, str]] = {}
    jurist: str = __version__

    def lines(self) -> Iterator[str]:
        """What was done, for reading: sources, reasons, counts, files."""
        for tally in self.sources:
            unread = f", {tally.unread:,} could not be read" if tally.unread else ""
            yield f"{tally.name}: {tally.read:,} rows read{unread}, {tally.written:,} written"
            width = max(map(len, tally.dropped), default=0)
            for reason, n in tally.dropped.most_common():
                yield f"  {reason:<{width}}  {n:>9,}"
        for name, value in self.counts.items():
            yield f"{name}: {value:,}"
        for output in self.outputs:
            yield f"{output.name}: {output.rows:,} rows, sha256 {output.sha256[:16]}"


def write_report(report: DataReport, beside: Path) -> Path:
    """Write ``FILE.report.json`` for ``FILE.jsonl`` (for a folder: ``report.json`` in it)."""
    path = beside / "report.json" if beside.is_dir() else beside.with_suffix(".report.json")
    write_whole(path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return path
