"""A comparison of judges for a terminal: who is right more often, by how much, where, and on which cases."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jurist.core.types import Decision, Status, winner
from jurist.reports.comparison import Against, Comparison, Difference, Flip, Judged
from jurist.reports.views.scorecard import verdict_text
from jurist.reports.views.style import borderless, interval, label, signed

ALPHA = 0.05
"""Below this p-value a difference is called shown."""

_WIDEST = 8
"""Letters of a name that still heads a column."""


def comparison_view(comparison: Comparison, flips: int = 10) -> Group:
    """The comparison, with the first ``flips`` cases on which each judge and the baseline part."""
    parts: list[RenderableType] = [_accuracies(comparison)]
    parts += [Text(""), *[_sentence(a) for a in comparison.against]]
    if comparison.all_pairs:
        parts += [Text(""), _all_pairs(comparison)]
    for against in comparison.against:
        parts += [Text(""), *_groups(against), *_flips(against, flips)]
    parts += [Text(""), _cost(comparison.judges), Text(""), *_notes(comparison)]
    return Group(*parts)


def _accuracies(comparison: Comparison) -> Table:
    table = borderless(
        f"{comparison.n:,} cases",
        "right",
        "accuracy",
        "95% interval",
        "difference",
        "95% interval",
        "p",
        title=True,
    )
    base, *others = comparison.judges
    table.add_row(Text(f"{base.name}  (baseline)"), *_accuracy(base))
    for judge, against in zip(others, comparison.against, strict=True):
        table.add_row(Text(judge.name), *_accuracy(judge), *_difference(against.overall))
    return table


def _accuracy(judge: Judged) -> tuple[str, str, str]:
    return f"{judge.right:,}", f"{judge.accuracy:.2%}", interval(judge.interval, unit="")


def _difference(d: Difference) -> tuple[str, str, Text]:
    low, high = d.interval
    return f"{signed(d.value)}", f"{signed(low)} to {signed(high)}", p_text(d.p)


def _sentence(against: Against) -> Text:
    """What the numbers mean, in words."""
    d = against.overall
    judge, baseline = (against.judge, "bold"), against.baseline
    if not d.gained + d.lost:
        return Text.assemble(judge, f" is right and wrong on the same cases as {baseline}.")
    more = "more" if d.value > 0 else "fewer"
    net = f"{abs(d.gained - d.lost):,} {more} of {d.n:,} cases than" if d.value else "as many cases as"
    shown = "The difference is more than chance explains" if d.p < ALPHA else "No difference is shown"
    return Text.assemble(
        judge,
        f" is right in {net} {baseline}: it gains {d.gained:,} and loses {d.lost:,}. {shown}: "
        f"between equals, a split at least as uneven comes up {_chance(d.p)} of the time.",
    )


def _chance(p: float) -> str:
    return "all" if p >= 1 else f"{p:.0%}" if p >= 0.01 else "less than 1%"


def _all_pairs(comparison: Comparison) -> Table:
    table = borderless("all pairs", "", "difference", "p", "p, corrected", title=True)
    for pair in comparison.all_pairs:
        cells = signed(pair.value), p_text(pair.p), p_text(pair.holm)
        table.add_row(Text(pair.judge), Text(f"against {pair.baseline}"), *cells)
    table.columns[1].justify = "left"
    return table


def _groups(against: Against) -> Iterator[RenderableType]:
    yield Text(f"{against.judge} against {against.baseline}", style="bold")
    if not against.groups:
        return
    names = _headings(against)
    table = borderless("group", "n", *names, "difference", "95% interval", "p", "gained", "lost", title=True)
    for d in against.groups:
        shares = f"{d.baseline_right / d.n:.1%}", f"{d.right / d.n:.1%}"
        table.add_row(label(d.group), f"{d.n:,}", *shares, *_difference(d), f"{d.gained:,}", f"{d.lost:,}")
    yield table


def _flips(against: Against, shown: int) -> Iterator[RenderableType]:
    """Some flipped cases, gained and lost ones in turn."""
    sides = [[f for f in against.flips if f.gained is gained] for gained in (True, False)]
    some = [flip for pair in zip_longest(*sides) for flip in pair if flip][:shown]
    if not some:
        return
    yield Text("")
    table = borderless("flipped case", words=("group", "gold", *_headings(against)), title=True)
    for flip in some:
        table.add_row(label(flip.case_id), label(flip.group or ""), *_said(flip))
    yield table
    if len(against.flips) > shown:
        yield Text(
            f"... and {len(against.flips) - shown:,} more; --flips {len(against.flips)} lists all",
            style="dim",
        )


def _headings(against: Against) -> tuple[str, str]:
    """The names of both, where they fit into a column."""
    names = against.baseline, against.judge
    return names if max(map(len, names)) <= _WIDEST else ("baseline", "judge")


def _said(flip: Flip) -> tuple[Text, Text, Text]:
    """Gold and the two verdicts; the one that is right is named so, not only coloured."""
    right, wrong = (flip.judge, flip.baseline) if flip.gained else (flip.baseline, flip.judge)
    marked = {
        id(verdict): Text(f"{verdict_text(Decision(flip.case_id, verdict)).plain}, {word}", style=style)
        for verdict, word, style in ((right, "right", "green"), (wrong, "wrong", "red"))
    }
    best = winner(flip.gold)
    gold = Text("tie" if best is None else f"response {best + 1}")
    return gold, marked[id(flip.baseline)], marked[id(flip.judge)]


def _cost(judges: Sequence[Judged]) -> Table:
    columns: dict[str, list[str]] = {
        "judgments": [f"{sum(j.statuses.values()):,}" for j in judges],
        "unanswered": [f"{sum(j.statuses.values()) - j.statuses.get(Status.OK, 0):,}" for j in judges],
        "ties": [f"{j.ties:,}" for j in judges],
        "no verdict": [f"{j.unresolved:,}" for j in judges],
        "tokens each": ["" if j.tokens is None else f"{j.tokens:,.0f}" for j in judges],
        "seconds each": ["" if j.seconds is None else f"{j.seconds:,.2f}" for j in judges],
    }
    recorded = {name: cells for name, cells in columns.items() if any(cells)}
    table = borderless("answers", *recorded, title=True)
    for judge, *cells in zip(judges, *recorded.values(), strict=True):
        table.add_row(Text(judge.name), *cells)
    return table


def _notes(comparison: Comparison) -> Iterator[Text]:
    """How it was counted, and what was left out."""
    yield Text(comparison.rule, style="dim")
    yield Text(
        "Differences are percentage points over the same cases, with Tango's interval; p is McNemar's exact "
        "test" + (", in groups not corrected for their number." if comparison.against[0].groups else "."),
        style="dim",
    )
    if not any(j.tokens or j.seconds for j in comparison.judges):
        yield Text("The runs recorded neither tokens nor seconds.", style="dim")
    if comparison.all_pairs:
        yield Text("Over all pairs p is corrected by Holm's method.", style="dim")
    for reason in comparison.left_out:
        yield Text(f"Left out: {reason}.", style="yellow")


def p_text(p: float) -> Text:
    """A p-value; bold where it is small."""
    return Text("<0.001" if p < 0.001 else f"{p:.3f}", style="bold" if p < ALPHA else "")
