"""What all pictures share: matplotlib loaded when one is drawn, quiet axes, clear errors (extra: plot)."""

from importlib import import_module
from pathlib import Path
from typing import Any

from jurist.core.errors import ConfigError, MissingExtraError

FORMATS = (".svg", ".png", ".pdf")
INK, FAINT, GRID = "#1f2933", "#9aa5b1", "#e4e7eb"
COLOURS = ("#2f6fb0", "#d9822b", "#3a8f5c", "#a23b72", "#6b5ca5", "#8a6d3b", "#c0392b", "#4f6d7a")


def check_plot(path: Path) -> None:
    """Raise ``ConfigError`` where no picture of this kind can be drawn there, before anything is paid for."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--plot {path}: a picture ends in {', '.join(FORMATS)}")
    figure(1, 1)


def figure(width: float, height: float) -> Any:
    """An empty figure (inches); raises ``MissingExtraError`` without matplotlib."""
    try:
        return import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot", "--plot") from error


def plain(axes: Any) -> None:
    """Quiet axes: no box, faint ink, a grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def save(drawn: Any, path: Path) -> None:
    """Write the picture; raises ``ConfigError`` where the file cannot be written."""
    try:
        drawn.savefig(path, dpi=160)
    except OSError as error:
        raise ConfigError(f"--plot {path} cannot be written: {error.strerror or error}") from error
