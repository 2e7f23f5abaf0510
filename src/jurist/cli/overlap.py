"""`jurist overlap`: which training rows hold texts of a benchmark."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from rich.text import Text

from jurist.cli.console import list_bad, next_step, say, watched, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import CASES, OUTPUT, Data, Flag, Json, MaybeOut, SkipBad, Source
from jurist.core.errors import ConfigError, InputError
from jurist.core.version import __version__
from jurist.reports.views.style import borderless

if TYPE_CHECKING:
    from jurist.data.overlap import Hit, Index, Marks, OverlapReport, OverlapSummary, RowCase

RULE = Group("When texts overlap", sort_key=2)

LEGEND = (
    "A row counts once, by its strongest hit. pair: the prompt and a response of one case; same: the prompt; "
    "near: a prompt nearly so; response: a response alone."
)


def overlap(
    source: Source,
    /,
    *,
    against: Annotated[list[str], Parameter(negative="", group=CASES)],
    data: Data = None,
    out: MaybeOut = None,
    report: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    json: Json = False,
    check: Annotated[Flag, Parameter(group=OUTPUT)] = False,
    skip_bad: SkipBad = False,
    prompts_only: Annotated[Flag, Parameter(group=RULE)] = False,
    ngram: Annotated[int, Parameter(group=RULE)] = 5,
    threshold: Annotated[float, Parameter(group=RULE)] = 0.6,
    words: Annotated[int, Parameter(group=RULE)] = 13,
) -> int:
    """Find training rows that overlap with benchmarks, the same or nearly so, and leave them out.

    Texts are compared by their words, without case and punctuation: prompts (all turns, and the last of the
    user's) with prompts, responses with responses. Near is a text most of whose word sequences stand in the
    other one; the measure is the share of the shorter text. What stands in more than 10 texts of a
    benchmark is its boilerplate and not counted.

    Examples::

        jurist overlap train.jsonl --against judgebench,llmbar
        jurist overlap train.jsonl --against judgebench -o clean.jsonl --report hits.jsonl
        jurist overlap hf:ORG/NAME --against my_test_set.jsonl --check

    Parameters
    ----------
    source
        Training rows: pairs, ratings, prompts alone or with an answer, in every format that judge reads.
    against
        Benchmarks and files of rows, with commas between them, or the flag once for each.
    data
        Folder with the benchmarks' published files.
    out
        The training rows without those that overlap (.jsonl); lines of JSONL stay as they are, byte by byte.
    report
        Every hit, one JSON line each, and a summary as the last line.
    json
        The summary as JSON on standard output, in place of the table.
    check
        End with exit code 1 where a row overlaps.
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping; they are not in --out either.
    prompts_only
        Do not compare responses.
    ngram
        Words in a sequence.
    threshold
        Share of the shorter text's sequences from which two texts are near. 0 with --ngram 13: the rule of
        GPT-3, any 13 words in a row.
    words
        Shorter texts are never near. They can be the same: a prompt from 3 words on.
    """
    from jurist.core.files import file_hash
    from jurist.data.overlap import (
        Marks,
        OverlapReport,
        OverlapSummary,
        Rule,
        check_target,
        read_cases,
        stamp,
        write_clean,
    )
    from jurist.data.sources import index_of, short_name
    from jurist.inputs import BadRows

    rule = Rule(ngram, threshold, words, responses=not prompts_only)
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
    with OverlapReport(index, report) as hits:
        _compare(watched(rows, source, "comparing"), index, hits, marks)
        list_bad(of_benchmarks)
        list_bad(unread)
        if not hits.rows:
            raise InputError(f"{source}: no row was compared: the source has no readable row")
        summary = OverlapSummary(
            jurist=__version__,
            source=short_name(source),
            sha256=file_hash(source),
            rows=hits.rows,
            unread=unread.count,
            touched=hits.touched,
            rule=rule,
            benchmarks=hits.counts,
            clean=write_clean(marks, out) if out else None,
        )
        line = stamp(summary, hits.finish(summary))
    if json:
        write_json({"stamp": line, "summary": summary})
    else:
        _show(summary, hits, line)
    for path, what in ((out, "rows without overlap"), (report, "every hit")):
        if path:
            say(f"{what}: {path}")
    if not out and summary.touched:
        next_step(
            "leave them out", "jurist", "overlap", source, "--against", ",".join(against), "--out", "FILE"
        )
    elif not summary.touched:
        next_step("train on them", "jurist", "train", "grpo", source, "--out", "RUN")
    return int(check and summary.touched > 0)


def _compare(rows: Iterable["RowCase"], index: "Index", report: "OverlapReport", marks: "Marks") -> None:
    from jurist.data.overlap import match

    for row in rows:
        hits = match(row.case, row.line, index)
        report.add(hits)
        marks.mark(row, keep=not hits)


def _show(summary: "OverlapSummary", report: "OverlapReport", line: str) -> None:
    """A table with a row for each benchmark, examples of each sort of hit, and the stamp."""
    from jurist.data.overlap import SORTS

    table = borderless("rows that overlap with", *SORTS, "rows", "cases", "touched")
    for count in summary.benchmarks:
        numbers = (count.pair, count.same, count.near, count.response, count.rows, count.cases, count.touched)
        style = "yellow" if count.rows else ""
        table.add_row(Text(count.benchmark), *[f"{n:,}" for n in numbers], style=style)
    screen.print(table)
    screen.print(Text(LEGEND, style="dim"))
    for _, hits in sorted(report.examples.items(), key=lambda item: (item[0][0], SORTS.index(item[0][1]))):
        for hit in hits:
            screen.print(_example(hit))
    screen.print()
    screen.print(Text(f"{summary.touched:,} of {summary.rows:,} rows overlap; {summary.rule}.", style="bold"))
    screen.print(Text("for the model card:", style="dim"))
    screen.print(Text(line), soft_wrap=True)


def _example(hit: "Hit") -> Text:
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
