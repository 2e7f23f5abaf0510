"""A scorecard and a list of decisions as tables for a terminal."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from jurist.core.types import Decision, Scorecard, Status, winner
from jurist.reports.views.style import borderless, interval, label

SHOWN = 24
"""How many decisions a table lists before it says how many more there are."""

_NUMBERS = (2, 3, 4)
"""Columns of a list of decisions that are printed on the right: scores, agreement, tokens."""

_BETWEEN = 2
"""Characters between two columns."""

_ROOMY = 100
"""Characters of a screen that has room for the column of groups."""

_SHORTEST = 8
"""Characters of an id on a line; on a screen too narrow for them the columns are as rich makes them."""

_REASONS = 3
"""The number of reasons that are printed."""

_MANY = 0.1
"""What may mend a status is said where it befalls a greater share of the judgments."""

_MENDS = {
    Status.UNPARSED: "--forced missing reads the verdict from the labels' probabilities; --protocol "
    "rubrics-short or pairwise is easier to follow; a published judge needs its others protocol (rm-r1, rrm)",
    Status.TRUNCATED: "--max-tokens gives more room; --thinking-budget closes the thinking before the end",
    Status.REFUSED: "the server's content filter refuses these cases: another engine may judge them",
    Status.FAILED: "once the engine is mended, the same command with --out asks again for what failed",
}

_ALWAYS = ("consistency", "first_shown_wins")
_WORDS = {
    "consistency": "both orders agree on {:.1%} of the pairs",
    "first_shown_wins": "the response shown first wins {:.1%} of the time",
    "ties": "ties: {:.0f}",
    "identical": "cases of identical responses, a tie each and not judged: {:.0f}",
    "unresolved": "cases without a verdict: {:.0f}",
    "if_wrong": "had every missing verdict been wrong: {:.2%}",
    "if_dropped": "with those cases left out: {:.2%}",
    "without_gold": "cases without gold, not graded: {:.0f}",
}


def scorecard_view(card: Scorecard) -> Group:
    """The headline with its interval, the groups, what was not answered, and why.

    There is no headline where no judgment has a verdict: then the number would say nothing of the judge.
    """
    lines = [*_reasons(card), Text(_statuses(card), style="dim"), Text(_lost(card), style="yellow")]
    if _answered(card):
        others = (_statistics(card), _others(card), _cost(card))
        lines += [Text(line, style="dim") for line in others if line]
    return Group(_head(card), *[line for line in lines if line])


def _head(card: Scorecard) -> RenderableType:
    if not _answered(card):
        total = sum(card.statuses.values())
        what = f"no score: none of {total:,} judgments has a verdict"
        return Text.assemble((card.name, "bold"), "  ", (what, "bold red"))
    if card.headline is None:
        return Text(card.name, style="bold")
    table = borderless(card.name, "score", "95% interval", "n", title=True)
    for row in (card.headline, *card.groups):
        style = "bold" if row is card.headline else ""
        table.add_row(label(row.name), f"{row.value:.2%}", interval(row.interval), f"{row.n:,}", style=style)
    return table


def _answered(card: Scorecard) -> bool:
    """Whether any judgment has a verdict; imported results have no judgments, and a score all the same."""
    return not card.statuses or bool(card.statuses.get(Status.OK))


def _reasons(card: Scorecard) -> list[Text]:
    """The most frequent reasons for which there is no verdict, and what may mend most of them."""
    total = sum(card.statuses.values())
    missing = total - card.statuses.get(Status.OK, 0)
    reasons = [*card.reasons.items()][:_REASONS]
    lines = [Text(f"{n:,} x {reason}", style="yellow") for reason, n in reasons]
    rest = missing - sum(n for _, n in reasons)
    if lines and rest > 0:
        lines.append(Text(f"{rest:,} x other reasons", style="yellow"))
    for status, mend in _MENDS.items():
        named = any("mend: " in reason for reason, _ in reasons if reason.startswith(status))
        if card.statuses.get(status, 0) > _MANY * total and not named:
            lines.append(Text.assemble(("mend: ", "bold cyan"), mend))
    return lines


def decisions_view(decisions: Sequence[Decision], more: int = 0) -> RenderableType:
    """One line per decision: what it prefers, how sure, whether gold says the same."""
    table = DecisionTables(decisions).next(decisions)
    return Group(table, more_line(more)) if more > 0 else table


def more_line(more: int, how: str = "") -> Text:
    """How many rows a table leaves out, and what shows them."""
    return Text(f"... and {more:,} more{f': {how}' if how else ''}", style="dim")


class DecisionTables:
    """A list of decisions as tables below each other, which look like one: for lists too long to hold.

    Which columns there are follows from the decisions that are given; ``width`` is that of the screen.
    """

    def __init__(self, first: Sequence[Decision], width: int = 0) -> None:
        self._graded = any(d.gold for d in first)
        self._grouped = width >= _ROOMY and any(d.group for d in first)
        self._width = width
        self._widths = [0] * (5 + self._grouped + self._graded)
        self._header = True

    def next(self, decisions: Sequence[Decision]) -> RenderableType:
        """The table of the next decisions; only the first one has a header."""
        rows = [self._cells(decision) for decision in decisions]
        self._widen(rows)
        if not self._header and self._rest() >= max(_SHORTEST, self._widths[0]):
            return _Lines(rows, list(self._widths))
        return self._table(rows)

    def _widen(self, rows: Sequence[Sequence[Text]]) -> None:
        for place, column in enumerate(zip(*rows, strict=True)):
            self._widths[place] = max([self._widths[place], *(cell.cell_len for cell in column)])

    def _rest(self) -> int:
        """Characters that the other columns leave to the ids."""
        return self._width - sum(self._widths[1:]) - _BETWEEN * (len(self._widths) - 1)

    def _table(self, rows: Sequence[Sequence[Text]]) -> Table:
        words = ["group"] * self._grouped + ["gold"] * self._graded
        names = ("verdict", "scores", "agreement", "tokens")
        table = borderless("case", *names, words=words, header=self._header)
        table.columns[1].justify = "left"
        self._widen([[c.header if isinstance(c.header, Text) else Text() for c in table.columns]])
        for row in rows:
            table.add_row(*row)
        # Ids are folded where the screen is narrow; every other column keeps its place from table to table.
        rest = self._rest()
        for column, width in zip(table.columns, [min(self._widths[0], rest), *self._widths[1:]], strict=True):
            if rest >= _SHORTEST:
                column.width = width
        self._header = False
        return table

    def _cells(self, decision: Decision) -> list[Text]:
        scores = decision.verdict.scores or ()
        cells = [
            label(decision.case_id),
            verdict_text(decision),
            Text(" ".join(f"{s:.3f}" for s in scores)),
            Text("" if decision.agreement is None else f"{decision.agreement:.0%}"),
            Text(f"{decision.usage.completion_tokens:,}"),
        ]
        cells += [label(decision.group or "", 32)] * self._grouped
        return cells + [grade(decision)] * self._graded


class _Lines:
    """Rows as a table of columns of these widths prints them, in a tenth of the time: nothing is laid out."""

    def __init__(self, rows: Sequence[Sequence[Text]], widths: Sequence[int]) -> None:
        self._rows, self._widths = rows, widths

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The segments, line by line."""
        for row in self._rows:
            for place, (cell, width) in enumerate(zip(row, self._widths, strict=True)):
                space = " " * (width - cell.cell_len)
                text = space + cell.plain if place in _NUMBERS else cell.plain + space
                if place:
                    yield Segment(" " * _BETWEEN)
                yield Segment(text, console.get_style(cell.style))
            yield Segment.line()


def verdict_text(decision: Decision) -> Text:
    """What a decision says, in words; responses are counted from 1, as people do."""
    scores = decision.verdict.scores
    if scores is None:
        return Text(f"no verdict: {decision.verdict.status}", style="yellow")
    if len(scores) == 1:
        errors = decision.verdict.errors
        return Text(f"rating {scores[0]:.2f}" + (f" ± {errors[0]:.2f}" if errors else ""))
    best = winner(scores)
    return Text("tie", style="yellow") if best is None else Text(f"response {best + 1}")


def grade(decision: Decision) -> Text:
    """Whether gold says the same; empty where nobody knows, and where there is no verdict."""
    if decision.right is None:
        return Text("")
    return Text("right", style="green") if decision.right else Text("wrong", style="red")


def _statuses(card: Scorecard) -> str:
    """Every judgment by its status: nothing that was not answered is left unsaid."""
    total = sum(card.statuses.values())
    if not total:
        return card.unresolved
    parts = [f"{card.statuses[s]:,} {s}" for s in Status if card.statuses.get(s)]
    return f"{total:,} judgments: {', '.join(parts)}. {card.unresolved}".rstrip()


def _lost(card: Scorecard) -> str:
    """What of the run is damaged, and is missing from the numbers."""
    return f"Damaged records of the run, not counted: {card.lost:,}." if card.lost else ""


def _statistics(card: Scorecard) -> str:
    """The statistics that every scorecard has, in words."""
    shown = {k: v for k, v in card.statistics.items() if k in _WORDS and (v or k in _ALWAYS)}
    text = "; ".join(words.format(shown[name]) for name, words in _WORDS.items() if name in shown)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _others(card: Scorecard) -> str:
    """The benchmark's own statistics; those of its parts (named with a stroke) stand in the JSON alone."""
    others = {k: v for k, v in card.statistics.items() if k not in _WORDS and "/" not in k}
    parts = [f"{name.replace('_', ' ')} {_figure(name, value)}" for name, value in others.items()]
    return f"Also: {', '.join(parts)}." if parts else ""


def _figure(name: str, value: float) -> str:
    share = -1 <= value <= 1 and "_per_" not in name and not name.endswith("judgments")
    return f"{value:.1%}" if share else f"{value:,.1f}".removesuffix(".0")


def _cost(card: Scorecard) -> str:
    judgments = sum(card.statuses.values())
    if not card.usage.completion_tokens or not judgments:
        return ""
    written, reused = card.usage.completion_tokens, card.reused.completion_tokens
    share = "all" if reused == written else f"{reused:,}"
    cached = f" {share} of them reused from a cache." if reused else ""
    if not card.seconds or reused:
        return f"{written:,} tokens written, {written / judgments:,.0f} per judgment.{cached}"
    each = f"{written / judgments:,.0f} and {card.seconds / judgments:.2g} s per judgment"
    return f"{written:,} tokens written in {card.seconds:,.0f} s, {each}."
