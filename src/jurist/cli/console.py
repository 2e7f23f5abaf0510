"""What the commands share: two consoles, the progress bar, data on standard output, errors in words."""

import re
import shlex
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    track,
)
from rich.text import Text

from jurist.core.errors import JuristError
from jurist.reports.views.style import Screen

if TYPE_CHECKING:
    from jurist.core.runs import Run
    from jurist.core.types import Scorecard
    from jurist.inputs import BadRows
    from jurist.judging.config import JudgeConfig
    from jurist.judging.pool import RunProgress as Counted

T = TypeVar("T")

MOST_FAILED = 0.1
"""A command ends with exit code 1 where a greater share of the judgments failed."""

err = Screen(stderr=True)
out = Screen()

# What JSON leaves as it is and a terminal obeys: DEL and the C1 control characters, in UTF-8.
_CONTROLS = re.compile(rb"\x7f|\xc2[\x80-\x9f]")


def say(line: str) -> None:
    """A line about what is being done, on standard error."""
    err.print(Text(line, style="dim"), soft_wrap=True)


def next_step(what: str, *words: object, case: str | None = None) -> None:
    """The command that a person may want to type next, on standard error, quoted for a shell.

    ``case`` is the id at its end; one that looks like an option has ``--`` before it.
    """
    last = [] if case is None else ["--", case] if case.startswith("-") else [case]
    line = shlex.join([*map(str, words), *last])
    err.print(Text.assemble((f"{what}: ", "dim"), line), soft_wrap=True)


def describe(config: "JudgeConfig", role: str = "judge") -> str:
    """Which judge it is, in one line."""
    who = f"{config.engine} {config.model}" if config.model else config.engine
    forced = "" if config.forced == "never" else f", forced verdict {config.forced}"
    return f"{role}: {who}, protocol {config.protocol}, deliberation {config.deliberation}{forced}"


def exit_code(*cards: "Scorecard") -> int:
    """0, or 1 where so many judgments failed, or did not fit, that the numbers say little about the judge.

    The reason is said on standard error. Texts without a verdict are the judge's own: they end with 0.
    """
    total = sum(sum(card.statuses.values()) for card in cards)
    failed = sum(card.statuses.get("failed", 0) for card in cards)
    read = sum(card.statuses.get(status, 0) for card in cards for status in ("ok", "unparsed"))
    written = sum(card.usage.completion_tokens for card in cards)
    if failed > MOST_FAILED * total:
        what = f"{failed:,} of {total:,} judgments failed, more than {MOST_FAILED:.0%}"
    elif total and not read and not written:
        what = f"none of {total:,} judgments was answered"
    else:
        return 0
    err.print(Text.assemble(("error: ", "bold red"), f"{what}: exit code 1"), soft_wrap=True)
    return 1


def complain(error: JuristError) -> None:
    """An error in words: what was wrong, then the hint."""
    err.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
    if error.hint:
        err.print(Text.assemble(("hint:  ", "bold cyan"), error.hint), soft_wrap=True)


def list_bad(bad: "BadRows") -> None:
    """Say which rows were left out."""
    for line in bad.lines():
        say(line)


def tell_damage(run: "Run") -> None:
    """Say what of a run could not be read, and what that left out."""
    for damage in run.damage:
        say(f"damaged: {damage}")
    if run.lost:
        say(f"{run.lost:,} judgments or decisions are lost; the command that judged them asks for them again")


def write_json(value: Any) -> None:
    """One JSON line on standard output."""
    data = _CONTROLS.sub(lambda match: b"\\u00%02x" % match[0][-1], msgspec.json.encode(value))
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


EVERY = 30.0
"""Seconds between two lines of progress where standard error is no terminal (a log file)."""


@contextmanager
def watching(total: int | None) -> Generator["Callable[[Counted], None]"]:
    """Progress on standard error: a bar on a terminal, a line now and then elsewhere."""
    started = time.monotonic()
    last = started
    first: tuple[float, int] | None = None

    def line(now: "Counted") -> None:
        nonlocal last, first
        # What a run remembers comes at once, and says nothing about its pace.
        if first is None or now.judgments == now.remembered:
            first = time.monotonic(), now.decisions
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            rate, unanswered = _pace(now, last - started)
            of = f"/{total:,}" if total else ""
            left = _left(total, now.decisions, *first)
            say(", ".join(filter(None, [f"{now.decisions:,}{of} decided", rate, unanswered, left])))

    if not err.is_terminal:
        yield line
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", style="dim", markup=False),
        TextColumn("{task.fields[unanswered]}", style="yellow", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Decisions may come in bursts of minutes.
    with Progress(*columns, console=err, transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task("", total=total, rate="", unanswered="")

        def draw(now: "Counted") -> None:
            rate, unanswered = _pace(now, time.monotonic() - started)
            bar.update(task, completed=now.decisions, rate=rate, unanswered=unanswered)

        yield draw


def watched(rows: Iterable[T], source: str, verb: str = "reading") -> Iterable[T]:
    """The rows of a source, with a bar on a terminal."""
    from jurist.inputs.files import count_lines

    total = None if source == "-" else count_lines(source)
    return track(rows, verb, total, console=err, transient=True, disable=not err.is_terminal)


def _left(total: int | None, decided: int, since: float, before: int) -> str:
    """How long the rest takes at the pace since ``since``, when ``before`` were decided."""
    if not total or decided <= before:
        return ""
    seconds = (total - decided) * (time.monotonic() - since) / (decided - before)
    return f"about {seconds / 60:,.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


def _pace(now: "Counted", seconds: float) -> tuple[str, str]:
    """(judgments and tokens per second, what was not answered), each empty where there is nothing to say."""
    asked = now.judgments - now.remembered
    rate = f"{asked / seconds:.1f} judgments/s, {now.tokens / seconds:,.0f} tokens/s" if seconds > 1 else ""
    return rate, f"{now.unanswered} unanswered" if now.unanswered else ""
