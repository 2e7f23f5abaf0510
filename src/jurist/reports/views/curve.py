"""A curve of accuracy against compute as a table, and as a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from jurist.judging.curve import CurvePoint
from jurist.reports.views.plotting import COLOURS, INK, figure, plain, save
from jurist.reports.views.style import borderless, interval


def curve_view(points: Sequence[CurvePoint], name: str) -> Group:
    """A line per policy: its score with the interval, what it cost per case; efficient ones are marked."""
    table = borderless(name, "score", "95% interval", "asks", "written", "read", "no verdict", title=True)
    for p in points:
        costs = (f"{p.judgments:.1f}", f"{p.tokens:,.0f}", f"{p.read:,.0f}")
        missing = f"{p.unresolved:.1%}" if p.unresolved else ""
        style = "bold green" if p.efficient else ""
        policy = Text.assemble(("• " if p.efficient else "  ", "green"), p.policy)
        table.add_row(
            policy, Text(f"{p.score.value:.1%}", style=style), interval(p.score.interval), *costs, missing
        )
    words = "Per case: judgments, tokens written and read. •: no other policy reached as much and wrote less."
    return Group(table, Text(words, style="dim"))


def draw_curve(points: Sequence[CurvePoint], name: str, path: Path) -> None:
    """The curve as SVG, PNG or PDF by the path's suffix: score (%) against tokens per case, log scale."""
    drawn = figure(7.2, 4.6)
    axes = drawn.subplots()
    lines: dict[str, list[CurvePoint]] = {}
    for point in sorted(points, key=lambda p: p.tokens):
        lines.setdefault(point.line, []).append(point)
    for i, (line, members) in enumerate(lines.items()):
        _draw_line(axes, line, members, COLOURS[i % len(COLOURS)])
    if min(p.tokens for p in points) > 0:
        axes.set_xscale("log")
        # Plain numbers where people read them, not powers of ten.
        axes.xaxis.set_major_formatter(_number)
        axes.xaxis.set_minor_formatter(_some_numbers)
    axes.tick_params(which="minor", labelsize=8, colors=INK)
    axes.set_xlabel("tokens written per case", color=INK)
    axes.set_ylabel("score, % (95% interval)", color=INK)
    axes.set_title(name, loc="left", color=INK, fontsize=11)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    plain(axes)
    save(drawn, path)


def _number(x: float, _: int) -> str:
    return f"{x:,.0f}"


def _some_numbers(x: float, _: int) -> str:
    return f"{x:,.0f}" if f"{x:.0e}"[0] in "25" else ""


def _draw_line(axes: Any, line: str, members: Sequence[CurvePoint], colour: str) -> None:
    values = [100 * p.score.value for p in members]
    between = [p.score.interval or (p.score.value, p.score.value) for p in members]
    bars = [
        [v - 100 * low for v, (low, _) in zip(values, between, strict=True)],
        [100 * high - v for v, (_, high) in zip(values, between, strict=True)],
    ]
    axes.errorbar(
        [p.tokens for p in members],
        values,
        bars,
        color=colour,
        marker="o",
        markersize=5,
        linewidth=1.6 if len(members) > 1 else 0,
        elinewidth=0.9,
        capsize=2.5,
        label=line,
    )
