"""What the commands share: two consoles, the progress bar, data on standard output, errors in words."""

import re
import shlex
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
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


def json_line(value: Any) -> bytes:
    """A value as one line of JSON, without characters that a terminal obeys."""
    data = _CONTROLS.sub(lambda match: b"\\u00%02x" % match[0][-1], msgspec.json.encode(value))
    return data + b"\n"


def write_json(value: Any) -> None:
    """One JSON line on standard output."""
    write_line(json_line(value))


def write_line(line: bytes) -> None:
    """A line that is encoded, on standard output, at once."""
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


EVERY = 30.0
"""Seconds between two lines of progress where standard error is no terminal (a log file)."""

FIRST = 2.0
"""Seconds until the first such line; the next ones come after twice as long each, up to ``EVERY``."""


@contextmanager
def watching(
    total: int | None, latest: Callable[[], RenderableType | None] = lambda: None, *, bar: bool = True
) -> Generator["Callable[[Counted], None]"]:
    """Progress on standard error: on a terminal a bar below what ``latest`` shows, else lines."""
    since = last = time.monotonic()
    pause = min(FIRST, EVERY)

    def begin(now: "Counted") -> None:
        nonlocal since
        # What a run remembers says nothing about its pace.
        if now.decisions == now.kept and now.judgments == now.remembered:
            since = time.monotonic()

    def line(now: "Counted") -> None:
        nonlocal last, pause
        begin(now)
        if time.monotonic() - last >= pause:
            last, pause = time.monotonic(), min(2 * pause, EVERY)
            of = f"/{total:,}" if total else ""
            facts = _pace(now, last - since, total)
            left = f"about {_clock(facts.left)} left" if facts.left is not None else ""
            words = (f"{now.decisions:,}{of} decided", facts.rate, facts.right, facts.unanswered, left)
            say(", ".join(filter(None, words)))

    if not err.is_terminal or not bar:
        yield line
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", style="dim", markup=False),
        TextColumn("{task.fields[right]}", style="green", markup=False),
        TextColumn("{task.fields[unanswered]}", style="yellow", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", style="cyan", markup=False),
    )
    progress = Progress(*columns, console=err)
    task = progress.add_task("", total=total, rate="", right="", unanswered="", left="")

    def shown() -> RenderableType:
        above = latest()
        return progress if above is None else Group(above, progress)

    with Live(get_renderable=shown, console=err, transient=True):

        def draw(now: "Counted") -> None:
            begin(now)
            facts = _pace(now, time.monotonic() - since, total)
            left = "" if facts.left is None else f"{_clock(facts.left)} left"
            progress.update(
                task,
                completed=now.decisions,
                rate=facts.rate,
                right=facts.right,
                unanswered=facts.unanswered,
                left=left,
            )

        yield draw


def watched(rows: Iterable[T], source: str, verb: str = "reading") -> Iterable[T]:
    """The rows of a source, with a bar on a terminal."""
    from jurist.inputs.files import count_lines

    total = None if source == "-" else count_lines(source)
    return track(rows, verb, total, console=err, transient=True, disable=not err.is_terminal)


class _Pace(NamedTuple):
    """What there is to say about a run's progress; empty where there is nothing."""

    rate: str
    right: str
    unanswered: str
    left: float | None
    """Seconds, by what was decided in this session: what the folder remembered took no time."""


def _pace(now: "Counted", seconds: float, total: int | None) -> _Pace:
    asked, decided = now.judgments - now.remembered, now.decisions - now.kept
    rate = f"{asked / seconds:.1f} judgments/s, {now.tokens / seconds:,.0f} tokens/s" if seconds > 1 else ""
    right = f"{now.right / now.graded:.0%} right of {now.graded:,}" if now.graded else ""
    unanswered = f"{now.unanswered} unanswered" if now.unanswered else ""
    left = seconds * max(0, total - now.decisions) / decided if total and decided > 0 else None
    return _Pace(rate, right, unanswered, left if seconds > 1 else None)


def _clock(seconds: float) -> str:
    """Seconds as H:MM:SS."""
    return str(timedelta(seconds=round(seconds)))
