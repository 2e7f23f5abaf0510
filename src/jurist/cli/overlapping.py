"""What `jurist overlap` does, once its options are read."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.progress import track
from rich.table import Table
from rich.text import Text

from jurist.cli.console import err, say, write_json
from jurist.cli.console import out as screen
from jurist.core.errors import ConfigError, InputError
from jurist.core.files import file_hash
from jurist.core.version import __version__
from jurist.data.overlap import (
    SORTS,
    Hit,
    Index,
    Marks,
    Report,
    RowCase,
    Rule,
    Summary,
    check_target,
    match,
    read_cases,
    stamp,
    write_clean,
)
from jurist.data.sources import index_of, short_name
from jurist.inputs import BadRows
from jurist.inputs.files import count_lines

LEGEND = (
    "A row counts once, by its strongest hit. pair: the prompt and a response of one case; same: the prompt; "
    "near: a prompt nearly so; response: a response alone."
)


def check(
    source: str,
    against: list[str],
    data: Path | None,
    out: Path | None,
    report: Path | None,
    rule: Rule,
    *,
    json: bool,
    skip_bad: bool,
) -> int:
    """Compare a source with benchmarks, print and write what was found; returns how many rows overlap."""
    if out:
        check_target(source, out)
    for path in (out, report):
        if path and not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {str(path.parent)!r}", hint="make it first")
    of_benchmarks, unread = BadRows(skip=skip_bad), BadRows(skip=skip_bad)
    rows = read_cases(source, skip_bad=skip_bad, on_bad=unread.on_bad)
    started = time.monotonic()
    index = index_of(against, data, rule, of_benchmarks.on_bad)
    if index is None:
        raise ConfigError("--against names nothing", hint="--against judgebench,FILE")
    cases, seconds = sum(map(len, index.cases)), time.monotonic() - started
    say(f"{cases:,} cases, {len(index.texts):,} texts, {index.ngrams:,} sequences noted in {seconds:.1f} s")
    marks = Marks(source)
    with Report(index, report) as found:
        _compare(_watched(rows, source), index, found, marks)
        for line in (*of_benchmarks.lines(), *unread.lines()):
            say(line)
        if not found.rows:
            raise InputError(f"{source}: no row was compared: the source has no readable row")
        summary = Summary(
            jurist=__version__,
            source=short_name(source),
            sha256=file_hash(source),
            rows=found.rows,
            unread=unread.count,
            touched=found.touched,
            rule=rule,
            benchmarks=found.counts,
            clean=write_clean(marks, out) if out else None,
        )
        line = stamp(summary, found.finish(summary))
    if json:
        write_json({"stamp": line, "summary": summary})
    else:
        _show(summary, found, line)
    for path, what in ((out, "rows without overlap"), (report, "every hit")):
        if path:
            say(f"{what}: {path}")
    return summary.touched


def _compare(rows: Iterable[RowCase], index: Index, found: Report, marks: Marks) -> None:
    for row in rows:
        hits = match(row.case, row.line, index)
        found.add(hits)
        marks.mark(row, keep=not hits)


def _watched(rows: Iterator[RowCase], source: str) -> Iterable[RowCase]:
    total = None if source == "-" else count_lines(source)
    return track(rows, "comparing", total, console=err, transient=True, disable=not err.is_terminal)


def _show(summary: Summary, found: Report, line: str) -> None:
    """A table with a row for each benchmark, examples of each sort of hit, and the stamp."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("rows that overlap with", overflow="fold")
    for name in (*SORTS, "rows", "cases", "touched"):
        table.add_column(name, justify="right")
    for count in summary.benchmarks:
        numbers = (count.pair, count.same, count.near, count.response, count.rows, count.cases, count.touched)
        style = "yellow" if count.rows else ""
        table.add_row(Text(count.benchmark), *[f"{n:,}" for n in numbers], style=style)
    screen.print(table)
    screen.print(Text(LEGEND, style="dim"))
    for _, hits in sorted(found.examples.items(), key=lambda item: (item[0][0], SORTS.index(item[0][1]))):
        for hit in hits:
            screen.print(_example(hit))
    screen.print()
    screen.print(Text(f"{summary.touched:,} of {summary.rows:,} rows overlap; {summary.rule}.", style="bold"))
    screen.print(Text("for the model card:", style="dim"))
    screen.print(Text(line), soft_wrap=True)


def _example(hit: Hit) -> Text:
    """Which text of which row is what, and how it begins."""
    score = f"near ({hit.score:.0%})" if hit.kind == "near" else "the same as"
    more = f" and {hit.cases - 1:,} more" if hit.cases > 1 else ""
    return Text.assemble(
        ("\nrow ", "dim"),
        hit.row,
        (f", {hit.field}: {score} the {hit.part} of ", "dim"),
        f"{hit.benchmark} {hit.case}{more}",
        (f"\n    {hit.begins} ...", "cyan"),
    )
