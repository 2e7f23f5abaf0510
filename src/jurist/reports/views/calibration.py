"""A cascade's threshold as a table: what each threshold would reach and cost."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from jurist.deliberation.calibration import CascadeCalibration, Threshold
from jurist.reports.views.style import borderless, interval


def calibration_view(calibration: CascadeCalibration) -> Group:
    """The two judges alone, cascades between them, the chosen one, and what it does on held-out cases."""
    table = borderless("threshold", "score", "95% interval", "asked", "tokens/case", words=[""])
    table.columns[0].justify = "right"
    _row(table, "0", calibration.cheap.value, calibration.cheap.interval, 0.0, 0.0, "the cheap judge alone")
    for step in calibration.steps:
        _step(table, f"{step.value:.3g}", step, "")
    _step(table, f"{calibration.chosen.value:.4g}", calibration.chosen, "chosen", "bold green")
    _step(table, "chosen", calibration.held_out, "on cases it was not chosen on", "bold")
    row = (calibration.thorough.value, calibration.thorough.interval, 1.0, calibration.tokens)
    _row(table, "all", *row, "the thorough judge alone")
    words = f"Chosen: fewest cases asked at no more than {calibration.loss:.1%} below the thorough judge."
    return Group(table, Text(words, style="dim"))


def _step(table: Table, name: str, step: Threshold, note: str, style: str = "") -> None:
    _row(table, name, step.score.value, step.score.interval, step.asked, step.tokens, note, style)


def _row(
    table: Table,
    name: str,
    value: float,
    bounds: tuple[float, float] | None,
    asked: float,
    tokens: float,
    note: str,
    style: str = "",
) -> None:
    cells = f"{value:.2%}", interval(bounds), f"{asked:.0%}", f"{tokens:,.0f}"
    table.add_row(name, *cells, note, style=style)
