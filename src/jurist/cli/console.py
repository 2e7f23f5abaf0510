"""What the commands share: two consoles, the progress bar, errors in words."""

import sys
import time
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

from jurist.core.errors import JuristError
from jurist.judging.pool import Progress as Counted

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


EVERY = 30.0
"""Seconds between two lines of progress where standard error is no terminal (a log file)."""


@contextmanager
def watching(total: int | None) -> Generator[Callable[[Counted], None]]:
    """Progress on standard error: a bar on a terminal, a line now and then elsewhere."""
    started = time.monotonic()
    last = started

    def line(now: Counted) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            rate, unanswered = _pace(now, last - started)
            of = f"/{total:,}" if total else ""
            say(", ".join(filter(None, [f"{now.decisions:,}{of} decided", rate, unanswered])))

    if not err.is_terminal:
        yield line
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", style="dim"),
        TextColumn("{task.fields[unanswered]}", style="yellow"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=total, rate="", unanswered="")

        def draw(now: Counted) -> None:
            rate, unanswered = _pace(now, time.monotonic() - started)
            bar.update(task, completed=now.decisions, rate=rate, unanswered=unanswered)

        yield draw


def _pace(now: Counted, seconds: float) -> tuple[str, str]:
    """(judgments and tokens per second, what was not answered), each empty where there is nothing to say."""
    asked = now.judgments - now.remembered
    rate = f"{asked / seconds:.1f} judgments/s, {now.tokens / seconds:,.0f} tokens/s" if seconds > 1 else ""
    return rate, f"{now.unanswered} unanswered" if now.unanswered else ""
