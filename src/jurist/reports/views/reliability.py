"""The reliability diagram as a picture (extra: plot)."""

from pathlib import Path
from typing import Any

from jurist.reports.audit.calibration import Reliability
from jurist.reports.views.plotting import COLOURS, FAINT, INK, check_plot, figure, plain, save


def plot(reliability: Reliability, name: str, path: Path) -> None:
    """Draw accuracy over confidence with 95% intervals, and below it how many cases stand where.

    Raises ``MissingExtraError`` without matplotlib, ``ConfigError`` where the file cannot be written.
    """
    check_plot(path)
    drawn = figure(5.2, 5.6)
    upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _reliability(upper, reliability, name)
    _counts(lower, reliability)
    save(drawn, path)


def _reliability(axes: Any, reliability: Reliability, name: str) -> None:
    x = [100 * b.confidence for b in reliability.bins]
    y = [100 * b.accuracy for b in reliability.bins]
    bars = [
        [100 * (b.accuracy - b.interval[0]) for b in reliability.bins],
        [100 * (b.interval[1] - b.accuracy) for b in reliability.bins],
    ]
    axes.plot([50, 100], [50, 100], color=FAINT, linestyle="--", linewidth=1.2, label="as sure as right")
    axes.errorbar(
        x, y, bars, color=COLOURS[0], marker="o", markersize=6, capsize=3, linewidth=1.6, label=name
    )
    low = min(40.0, *(100 * b.interval[0] for b in reliability.bins))
    axes.set(xlim=(48, 102), ylim=(max(0.0, low - 4), 103), ylabel="right, % of cases (95% interval)")
    axes.legend(frameon=True, framealpha=1, edgecolor="none", loc="upper left", labelcolor=INK)
    plain(axes)


def _counts(axes: Any, reliability: Reliability) -> None:
    x, n = [100 * b.confidence for b in reliability.bins], [b.n for b in reliability.bins]
    axes.bar(x, n, width=2.4, color=COLOURS[0])
    for at, count in zip(x, n, strict=True):
        axes.annotate(
            f"{count:,}", (at, count), (0, 2), textcoords="offset points", ha="center", fontsize=8, color=INK
        )
    axes.set(xlabel="confidence of the judge, %", ylabel="cases", ylim=(0, 1.25 * max(n)))
    axes.locator_params(axis="y", nbins=3, integer=True)
    plain(axes)
