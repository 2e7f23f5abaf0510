"""A plan for the terminal: what it takes, from the least to the most."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jurist.judging.plan import Plan, Range
from jurist.reports.views.style import borderless, duration


def plan_view(plan: Plan) -> RenderableType:
    """One plan, a line for each thing that it takes."""
    table = borderless("", words=[""], header=False)
    for name, words in _lines(plan):
        table.add_row(Text(name, style="dim"), words)
    notes = [Text(f"{note[:1].upper()}{note[1:]}.", style="dim") for note in plan.notes]
    return Group(Text(plan.what, style="bold"), table, *notes)


def plans_table(plans: Sequence[tuple[str, Plan | str]]) -> Table:
    """Plans of several deliberations side by side; a text where one cannot decide these cases."""
    whole = [plan for _, plan in plans if not isinstance(plan, str)]
    timed, priced = any(plan.hours for plan in whole), any(plan.money for plan in whole)
    more = ["time"] * timed + ["money"] * priced
    table = borderless("deliberation", "calls", "tokens read", "written", *more)
    table.columns[0].no_wrap = True
    for name, plan in plans:
        if isinstance(plan, str):
            continue
        most = "≤ " if plan.at_most else ""
        cells = [span(plan.calls), short(plan.read), most + short(plan.written, top=plan.at_most)]
        if timed:
            cells.append("" if plan.hours is None else most + hours(plan.hours, top=plan.at_most))
        if priced:
            cells.append("" if plan.money is None else most + span(plan.money, ",.2f", top=plan.at_most))
        table.add_row(name, *cells)
    return table


def _lines(plan: Plan) -> list[tuple[str, str]]:
    most = "at most " if plan.at_most else ""
    longest = f"; the longest prompt that was counted: {plan.longest_prompt:,}" if plan.longest_prompt else ""
    lines = [
        ("cases", f"{plan.cases:,}"),
        ("calls", span(plan.calls)),
        ("tokens read", f"{short(plan.read)} (by {plan.counted_by}{longest})"),
        ("tokens written", most + short(plan.written, top=plan.at_most)),
    ]
    if plan.hours is not None:
        lines.append(("time", most + hours(plan.hours, top=plan.at_most)))
    if plan.money is not None:
        lines.append(("money", most + span(plan.money, ",.2f", top=plan.at_most)))
    if plan.disk is not None:
        lines.append(("disk", most + short(plan.disk, "B", top=plan.at_most)))
    return lines


def span(value: Range, form: str = ",.0f", *, top: bool = False) -> str:
    """``12``, or ``9 to 16``; ``top``: the upper end alone."""
    low, high = format(value.low, form), format(value.high, form)
    return high if top or low == high else f"{low} to {high}"


def short(value: Range, unit: str = "", *, top: bool = False) -> str:
    """Large numbers in three digits: ``1.24 M``."""
    low, high = _short(value.low, unit), _short(value.high, unit)
    return high if top or low == high else f"{low} to {high}"


def hours(value: Range, *, top: bool = False) -> str:
    """A time in the unit that fits."""
    low, high = duration(3600 * value.low), duration(3600 * value.high)
    return high if top or low == high else f"{low} to {high}"


def _short(number: float, unit: str = "") -> str:
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number / 1e3:.3g} k{unit}" if number >= 1e4 else f"{number:,.0f} {unit}".strip()
