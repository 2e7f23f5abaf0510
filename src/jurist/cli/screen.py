"""What the commands share: two consoles, the progress bar, errors in words."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jurist.errors import JuristError
from jurist.pool import Progress as Counted

err = Console(stderr=True, highlight=False)
out = Console(highlight=False)


def say(line: str) -> None:
    """A line about what is being done, on standard error."""
    err.print(Text(line, style="dim"))


def complain(error: JuristError) -> None:
    """An error in words: what was wrong, then the hint."""
    err.print(Text.assemble(("error: ", "bold red"), error.message))
    if error.hint:
        err.print(Text.assemble(("hint:  ", "bold cyan"), error.hint))


def write_json(value: Any) -> None:
    """One JSON line on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def watching(total: int | None) -> Generator[Callable[[Counted], None]]:
    """A progress bar on standard error (nothing where that is no terminal); yields the watch to call."""
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", style="dim"),
        TextColumn("{task.fields[unanswered]}", style="yellow"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=total, rate="", unanswered="")

        def watch(now: Counted) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            asked = now.judgments - now.remembered
            rate = (
                f"{asked / seconds:.1f} judgments/s {now.tokens / seconds:,.0f} tokens/s"
                if seconds > 1
                else ""
            )
            unanswered = f"{now.unanswered} unanswered" if now.unanswered else ""
            bar.update(task, completed=now.decisions, rate=rate, unanswered=unanswered)

        yield watch
