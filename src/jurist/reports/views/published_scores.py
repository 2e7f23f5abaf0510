"""Known scores: what was published of other judges, beside a scorecard."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jurist.core.types import Record, Scorecard
from jurist.reports.views.style import borderless

_MARKS = "¹²³⁴⁵⁶⁷⁸⁹"


class Source(Record, frozen=True):
    """Where rows were published: paper or repository. A row is the headline, then groups, in percent."""

    name: str
    rows: dict[str, tuple[float, ...]]
    note: str = ""


class KnownScores(Record, frozen=True):
    """The published scores on a benchmark; ``groups`` names the columns behind the headline."""

    benchmarks: tuple[str, ...]
    groups: tuple[str, ...]
    sources: tuple[Source, ...]


class _File(Record, frozen=True):
    tables: tuple[KnownScores, ...]


@cache
def known_scores() -> dict[str, KnownScores]:
    """The published scores by benchmark, from ``known_scores.toml`` beside this file."""
    text = files("jurist.reports").joinpath("known_scores.toml").read_bytes()
    tables = msgspec.toml.decode(text, type=_File).tables
    return {benchmark: table for table in tables for benchmark in table.benchmarks}


def known_view(card: Scorecard) -> RenderableType | None:
    """The run's headline and groups, then those of known judges, best first, all in percent.

    None where nobody's scores on the benchmark are known. A scorecard of a part of it, or without some of
    its groups, is shown all the same, and that is said.
    """
    benchmark, _, part = card.name.partition(": ")
    known = known_scores().get(benchmark)
    if known is None or card.headline is None:
        return None
    shares = {row.name: 100 * row.value for row in card.groups}
    table = _table(known.groups)
    table.add_row("this run", *_cells([100 * card.headline.value, *map(shares.get, known.groups)]))
    table.rows[0].style = "bold"
    for judge, mark, row in _rows(known.sources):
        table.add_row(Text.assemble(judge, (mark, "dim")), *_cells(row))
    lines = [Text(_part(part, card.headline.name), style="yellow"), Text(_said(known.sources), style="dim")]
    return Group(table, *[line for line in lines if line])


def _table(groups: Sequence[str]) -> Table:
    table = borderless("known judges, percent", title=True)
    for name in ("overall", *groups):
        table.add_column(name.replace(" ", "\n"), justify="right")
    return table


def _rows(sources: Sequence[Source]) -> list[tuple[str, str, tuple[float, ...]]]:
    """(judge, mark of its source, scores), best headline first."""
    marks = [_MARKS[i] if len(sources) > 1 else "" for i in range(len(sources))]
    rows = [
        (judge, mark, row)
        for source, mark in zip(sources, marks, strict=True)
        for judge, row in source.rows.items()
    ]
    return sorted(rows, key=lambda row: -row[2][0])


def _cells(values: Sequence[float | None]) -> list[str]:
    # 83.35 is a little less in binary, and is 83.4 to everybody who reads it.
    return ["" if value is None else f"{value + 1e-9:.1f}" for value in values]


def _part(part: str, headline: str) -> str:
    """What this run leaves out, in words; empty where it is the whole benchmark."""
    only = headline if headline.startswith("mean of ") else ""
    limits = "; ".join(filter(None, (part, only)))
    return f"This run: {limits}. The others are of the whole benchmark." if limits else ""


def _said(sources: Sequence[Source]) -> str:
    """The sources in one line."""
    marks = [f"{_MARKS[i]} " if len(sources) > 1 else "" for i in range(len(sources))]
    named = [f"{m}{s.name}{f' ({s.note})' if s.note else ''}" for m, s in zip(marks, sources, strict=True)]
    return f"As published: {'; '.join(named)}."
