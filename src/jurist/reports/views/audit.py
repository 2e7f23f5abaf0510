"""An audit for a terminal: sentences with their numbers, and a mark where a habit is shown."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jurist.reports.audit.audit import Audit
from jurist.reports.audit.calibration import Reliability
from jurist.reports.audit.cells import STYLES, Matrix
from jurist.reports.audit.findings import Finding, percent, points
from jurist.reports.audit.leanings import Leaning
from jurist.reports.views.style import borderless, interval

_NOTE = (
    "[x, y] are 95% intervals. “shown”: the interval leaves out what a judge without the habit would show; "
    "by chance one such mark in twenty is wrong."
)
_WIDTH = 24
"""Characters of a bar."""


def audit_view(audit: Audit) -> Group:
    """The whole audit, in the order in which a person asks."""
    parts: list[RenderableType] = [Text(f"{audit.name}: {audit.n:,} decisions", style="bold")]
    parts += _section("position", _sentences(audit.position))
    if audit.leanings:
        parts += _section(
            "length and markup", [_leanings(audit.leanings), _leaning_sentences(audit.leanings)]
        )
    if audit.matrix:
        parts += _section("style", [_matrix(audit.matrix), *_sentences(audit.style)])
    if audit.calibration and audit.confidence:
        parts += _section("calibration", [_bins(audit.calibration), *_sentences(audit.confidence)])
    parts += _section("do the reasons hold", _sentences(audit.reasons))
    parts += _section("unanswered", _sentences(audit.unanswered))
    parts += [Text(""), Text(_NOTE, style="dim")]
    parts += [Text(f"Left out: {reason}.", style="yellow") for reason in audit.left_out]
    return Group(*parts)


def findings_view(findings: Iterable[Finding]) -> Table:
    """Findings as sentences, each with its mark."""
    return _marked((f.shown, f.sentence) for f in findings)


def _sentences(findings: Sequence[Finding]) -> list[RenderableType]:
    return [findings_view(findings)] if findings else []


def _section(title: str, parts: Sequence[RenderableType]) -> list[RenderableType]:
    return [Text(""), Text(title, style="bold"), *parts] if parts else []


def _marked(lines: Iterable[tuple[bool | None, str]]) -> Table:
    """Lines with a mark: shown, not shown, or nothing to tell."""
    table = borderless("", words=[""], header=False)
    table.columns[0].width = 9
    marks = {True: Text("shown", style="yellow"), False: Text("not shown", style="green"), None: Text("")}
    for shown, sentence in lines:
        table.add_row(marks[shown], Text(sentence))
    return table


def _leanings(leanings: Iterable[Leaning]) -> Table:
    table = borderless("more of", "pairs", "preferred", "by gold", "right if so", "if not", "gap", title=True)
    for leaning in leanings:
        cells = [f"{leaning.n:,}", percent(leaning.prefers, leaning.interval, leaning.n)]
        cells += ["" if leaning.gold is None else percent(leaning.gold)]
        if g := leaning.right:
            gap = points(g.value, g.interval).replace(" points", "")
            cells += [percent(g.k1 / g.n1), percent(g.k2 / g.n2), gap]
        table.add_row(leaning.trait, *cells, style="yellow" if leaning.shown else "")
    return table


def _leaning_sentences(leanings: Iterable[Leaning]) -> Table:
    """Sentences on length and on all markup together."""
    return _marked(
        (leaning.shown, leaning.sentence) for leaning in leanings if leaning.trait in ("length", "markup")
    )


def _matrix(matrix: Matrix) -> Table:
    table = borderless("right when", *[f"wrong is {style}" for style in STYLES], title=True)
    for style, row in zip(STYLES, matrix.accuracy, strict=True):
        table.add_row(f"right is {style}", *[f"{share:.1%}" for share in row])
    return table


def _bins(reliability: Reliability) -> Table:
    """Reliability as bars: how far accuracy reaches, and a mark where the confidence stands."""
    table = borderless("confidence", "cases", "right", "accuracy", "95% interval", words=[""], title=True)
    for b in reliability.bins:
        cells = f"{b.n:,}", f"{b.right:,}", f"{b.accuracy:.1%}", interval(b.interval)
        table.add_row(f"{b.confidence:.1%}", *cells, _bar(b.accuracy, b.confidence))
    if reliability.ties:
        table.caption = Text(f"ties, in no bin: {reliability.ties:,}", style="dim")
        table.caption_justify = "left"
    return table


def _bar(accuracy: float, confidence: float) -> Text:
    cells = ["█" if i < round(accuracy * _WIDTH) else "·" for i in range(_WIDTH)]
    cells[min(_WIDTH - 1, round(confidence * _WIDTH))] = "│"
    return Text("".join(cells))
