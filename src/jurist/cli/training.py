"""What `jurist train` does, once its options are read."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from rich.table import Table

from jurist.cli.console import out as screen
from jurist.cli.console import say, write_json
from jurist.training import export as exporting
from jurist.training.config import TrainOptions
from jurist.training.distributed import destroy, rank
from jurist.training.evaluation import EvalResult
from jurist.training.export import Dtype
from jurist.training.presets import PRESETS
from jurist.training.session import MODEL, Result, Say

Options = TypeVar("Options", bound=TrainOptions)


def run(
    method: Callable[[Options, str, Path, Say], Result],
    options: Options,
    source: str,
    out: Path,
    *,
    as_json: bool,
) -> int:
    """Train, and show what it came to (on the first process)."""
    first = rank() == 0
    result = method(options, source, out, say if first else lambda _: None)
    destroy()
    if not first:
        return 0
    if as_json:
        write_json(result)
    else:
        _show(result)
    say(f"the model: {out / MODEL}")
    return 0


def _show(result: Result) -> None:
    if result.after:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("held-out pairs", "accuracy", "95% interval", "consistent", "unanswered", "tokens"):
            table.add_column(name, justify="left" if name == "held-out pairs" else "right")
        for name, standing in (("before", result.before), ("after", result.after)):
            if standing:
                table.add_row(name, *_cells(standing))
        screen.print(table)
        screen.print()
    minutes = result.seconds / 60
    screen.print(f"{result.method}: {result.steps:,} steps in {minutes:,.1f} minutes", style="bold")


def _cells(s: EvalResult) -> list[str]:
    consistent = "" if s.consistent is None else f"{s.consistent:.1%}"
    return [
        f"{s.accuracy:.1%}",
        f"[{s.low:.1%}, {s.high:.1%}]".replace("[", "\\["),
        consistent,
        f"{s.unanswered:.1%}",
        f"{s.tokens:,.0f}",
    ]


def export(run: Path, to: Path, *, dtype: Dtype, gguf: bool) -> int:
    """Write the model in another form."""
    for path in exporting.export(run, to, dtype=dtype, gguf=gguf):
        say(f"written: {path}")
    return 0


def show_presets(*, as_json: bool) -> int:
    """The presets as a table, then their notes."""
    if as_json:
        write_json({name: asdict(preset) for name, preset in PRESETS.items()})
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("preset", "train", "what", "rate", "batch", "group"):
        table.add_column(name)
    for name, p in PRESETS.items():
        v = p.values
        table.add_row(
            name, p.method, p.summary, f"{v['learning_rate']:g}", str(v["batch"]), str(v.get("group", ""))
        )
    screen.print(table)
    for note in dict.fromkeys(p.note for p in PRESETS.values()):
        names = ", ".join(name for name, p in PRESETS.items() if p.note == note)
        screen.print(f"\n{names}\n  {note}", style="dim")
    return 0
