"""What `jurist overlap` does, once its options are read."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.progress import track
from rich.table import Table
from rich.text import Text

from jurist.cli.console import err, say, write_json
from jurist.cli.console import out as screen
from jurist.core.errors import ConfigError, InputError, JuristError, unknown
from jurist.core.types import Case
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
    file_hash,
    match,
    read_cases,
    stamp,
    write_clean,
)
from jurist.inputs.files import READERS, count_lines
from jurist.judging import registry

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
    bad: list[JuristError] = []
    unread: list[JuristError] = []
    rows = read_cases(source, skip_bad=skip_bad, on_bad=unread.append)
    index = _index([part for text in against for part in _parts(text)], data, rule, bad if skip_bad else None)
    marks = Marks(source)
    with Report(index, report) as found:
        _compare(_watched(rows, source), index, found, marks)
        _tell_bad([*bad, *unread])
        if not found.rows:
            raise InputError(f"{source}: no row was compared: the source has no readable row")
        summary = Summary(
            jurist=__version__,
            source=_name(source),
            sha256=file_hash(source),
            rows=found.rows,
            unread=len(unread),
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


def _index(parts: list[str], data: Path | None, rule: Rule, bad: list[JuristError] | None) -> Index:
    if not parts:
        raise ConfigError("--against names nothing", hint="--against judgebench,FILE")
    named = [(_name(part), _cases(part, data, bad)) for part in dict.fromkeys(parts)]
    index, started = Index(rule), time.monotonic()
    for name, cases in named:
        index.add(name, cases)
        if not index.cases[-1]:
            raise InputError(f"{name} holds no cases")
    index.freeze()
    cases = sum(map(len, index.cases))
    seconds = time.monotonic() - started
    say(f"{cases:,} cases, {len(index.texts):,} texts, {index.ngrams:,} sequences noted in {seconds:.1f} s")
    return index


def _parts(text: str) -> list[str]:
    """The names in ``--against``; a file whose name has commas is one."""
    if Path(text).exists():
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def _name(part: str) -> str:
    """What a source is called in reports: the end of its path, since many files are train.jsonl."""
    if part == "-":
        return "standard input"
    return part if part in registry.BENCHMARKS or part.startswith("hf:") else "/".join(Path(part).parts[-2:])


def _cases(part: str, data: Path | None, bad: list[JuristError] | None) -> Iterable[Case]:
    """The cases of a benchmark by name, or the rows of a file; raises where there is no such thing."""
    if part in registry.BENCHMARKS:
        if data is None:
            raise ConfigError(f"the files of {part} are needed", hint="--data FOLDER")
        return registry.benchmark(part).load(data)
    named = "/" not in part and not any(part.lower().removesuffix(".gz").endswith(x) for x in READERS)
    if named and not part.startswith("hf:") and not Path(part).exists():
        raise unknown("benchmark", part, registry.BENCHMARKS)
    rows = read_cases(part, skip_bad=bad is not None, on_bad=None if bad is None else bad.append)
    return (row.case for row in rows)


def _compare(rows: Iterable[RowCase], index: Index, found: Report, marks: Marks) -> None:
    for row in rows:
        hits = match(row.case, row.line, index)
        found.add(hits)
        marks.mark(row, keep=not hits)


def _watched(rows: Iterator[RowCase], source: str) -> Iterable[RowCase]:
    total = None if source == "-" else count_lines(source)
    return track(rows, "comparing", total, console=err, transient=True, disable=not err.is_terminal)


def _tell_bad(bad: list[JuristError]) -> None:
    if bad:
        say(f"{len(bad)} bad rows were left out:")
        for error in bad[:10]:
            say(f"  {error.message}")


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
