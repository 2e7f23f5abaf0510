"""Progress of a training: a live screen on a terminal, elsewhere a line every 30 seconds."""

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jurist.reports.views.style import Screen
from jurist.training.metrics import ENDING, Callback, Logs, numbers, unanswered
from jurist.training.types import Args, Control, State

EVERY = 30.0
"""Seconds between two lines where standard error is no terminal (a log file)."""

NARROW, WIDE = 12, 24
"""Characters of a sparkline, and of the bar, on a screen under 110 columns and on others."""

_BARS = "▁▂▃▄▅▆▇█"
_RECENT = 20


class Progress:
    """What was seen of a run so far, and when; the arithmetic of the view, without a screen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.step = self.total = 0
        self.latest: dict[str, float] = {}
        self.history: dict[str, list[float]] = {}
        self.measured: int | None = None
        self._began = clock()
        self._steps: deque[tuple[float, int]] = deque(maxlen=_RECENT)
        self._tokens: deque[tuple[float, float]] = deque(maxlen=_RECENT)

    def begin(self, step: int, total: int, log: Sequence[Logs] = ()) -> None:
        """A session begins at ``step``; ``log`` is what earlier ones logged."""
        self.step, self.total = step, total
        for logs in log:
            self._note(logs, _step_of(logs))
        self._began = self._clock()
        self._steps.append((self._began, step))

    def advance(self, step: int) -> None:
        """A step is done."""
        self.step = step
        self._steps.append((self._clock(), step))

    def log(self, logs: Logs, step: int) -> None:
        """What was logged at a step."""
        self._note(logs, step)
        tokens = numbers(logs).get("num_tokens")
        # The summary at the end counts once more what was counted.
        if tokens is not None and ENDING not in logs:
            self._tokens.append((self._clock(), tokens))

    @property
    def elapsed(self) -> float:
        """Seconds since this session began."""
        return self._clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at the pace of the last steps; None where none is known yet."""
        pace = _slope(self._steps)
        return (self.total - self.step) / pace if pace and self.total else None

    @property
    def step_seconds(self) -> float | None:
        """Seconds per step, over the last steps."""
        pace = _slope(self._steps)
        return 1 / pace if pace else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens per second, over the last logs."""
        return _slope(self._tokens)

    def _note(self, logs: Logs, step: int) -> None:
        if ENDING in logs:
            return
        values = {name: value for name, value in numbers(logs).items() if value is not None}
        self.latest.update(values)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        if "held_out/accuracy" in values:
            self.measured = step
        if "reward" in logs and (share := unanswered(numbers(logs))) is not None:
            self.latest["unanswered"] = share


class ProgressCallback(Callback):
    """Shows a trainer's progress on standard error; on its main process alone.

    As a ``with`` block around the training, so that the screen is given back when it ends by an error.
    Other output appears above it. ``console``: where to; it knows of NO_COLOR and of terminals.
    """

    def __init__(
        self,
        title: str,
        console: Console | None = None,
        *,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self.progress = Progress(clock)
        self._console = console or Screen(stderr=True)
        self._every, self._clock = every, clock
        self._last: float | None = None
        self._live: Live | None = None
        self._moved: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_train_begin(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Open the screen, on a terminal that can move its cursor."""
        del args, control
        if not state.is_world_process_zero:
            return
        self.progress.begin(state.global_step, state.max_steps, state.log_history)
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._open()

    def on_step_end(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Count the step."""
        del args, control
        self.progress.advance(state.global_step)

    def on_log(
        self, args: Args, state: State, control: Control, logs: Logs | None = None, **_: object
    ) -> None:
        """Take what was logged; where there is no terminal, a line of it now and then."""
        del args, control
        if not state.is_world_process_zero:
            return
        logs = logs or {}
        self.progress.log(logs, state.global_step)
        due = self._last is None or self._clock() - self._last >= self._every
        ends = state.max_steps and state.global_step >= state.max_steps
        if self._live is None and ENDING not in logs and (due or ends or "held_out/accuracy" in logs):
            self._last = self._clock()
            self._console.print(Text(line(self.progress), style="dim"), soft_wrap=True)

    def on_train_end(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Close the screen, leaving its last state."""
        del args, state, control
        self.close()

    def close(self) -> None:
        """Give the terminal back; the last state of the screen stays."""
        live, self._live = self._live, None
        if live is not None:
            for handler, stream in self._moved:
                handler.setStream(stream)
            self._moved.clear()
            live.stop()

    def _drawn(self) -> RenderableType:
        return screen(self.title, self.progress, NARROW if self._console.width < 110 else WIDE)

    def _open(self) -> None:
        before = (sys.stdout, sys.stderr)
        self._live = Live(
            get_renderable=self._drawn,
            console=self._console,
            refresh_per_second=2,
            # What goes into a file or a pipe must not come out on the terminal.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()
        # Handlers of logging keep the stream they were made with, and would write through the screen.
        for handler in _handlers():
            for old, new in zip(before, (sys.stdout, sys.stderr), strict=True):
                if handler.stream is old and old is not new:
                    handler.setStream(new)
                    self._moved.append((handler, old))


def screen(title: str, progress: Progress, bars: int = WIDE) -> RenderableType:
    """The whole screen, nine lines at most: only what was measured has a line. ``bars``: their width."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True, min_width=8)
    rows.add_column(no_wrap=True, min_width=bars)
    rows.add_column()
    total = progress.total or None
    bar = ProgressBar(total, progress.step, bars, pulse=not total, complete_style="cyan")
    rows.add_row("step", bar, _one_line(_steps(progress)))
    for name, value, course in _rows(progress):
        drawn = Text(sparkline(progress.history.get(course, ()), bars), style="cyan")
        rows.add_row(name, drawn, _one_line(value))
    return Group(Text(title, style="bold", no_wrap=True, overflow="ellipsis"), rows)


def line(progress: Progress) -> str:
    """The same in one line, for a log."""
    return ", ".join(
        [
            f"step {progress.step:,}{f'/{progress.total:,}' if progress.total else ''}",
            *(f"{name} {value.plain}" for name, value, _ in _rows(progress)),
            *([f"{_time(progress.left)} left"] if progress.left is not None else []),
        ]
    )


def sparkline(values: Sequence[float], width: int = WIDE) -> str:
    """The course of some values as bars between their least and greatest; means where they are too many."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    n = min(width, len(finite))
    cuts = [i * len(finite) // n for i in range(n + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, span = min(means), max(means) - min(means)
    return "".join(_BARS[round((m - low) / span * 7) if span else 0] for m in means)


def _step_of(logs: Logs) -> int:
    step = logs.get("step")
    return int(step) if isinstance(step, int | float) else 0


def _one_line(value: Text) -> Text:
    """The text in one line, however narrow the screen is."""
    value.no_wrap, value.overflow = True, "ellipsis"
    return value


def _steps(progress: Progress) -> Text:
    of = f"{progress.step:,} of {progress.total:,}" if progress.total else f"{progress.step:,}"
    left = f", {_time(progress.left)} left" if progress.left is not None else ""
    return Text.assemble(of, (f"  {_time(progress.elapsed)}{left}", "dim"))


def _rows(progress: Progress) -> list[tuple[str, Text, str]]:
    """(name, value, the metric whose course is drawn) of every line that there is something for."""
    now = progress.latest
    lines = [
        ("reward", _reward(now), "reward"),
        ("held-out", _held_out(progress), "held_out/accuracy"),
        ("answers", _answers(now), ""),
        ("groups", _groups(now), ""),
        ("pairs", _pairs(now), "accuracy"),
        ("loss", _loss(now), "loss"),
        ("speed", _speed(progress), ""),
    ]
    return [row for row in lines if row[1].plain]


def _reward(now: Mapping[str, float]) -> Text:
    if "reward" not in now:
        return Text()
    spread = now.get("reward_std")
    return Text(f"{now['reward']:.3f}" + (f" ± {spread:.2f}" if spread is not None else ""), style="bold")


def _held_out(progress: Progress) -> Text:
    now = progress.latest
    accuracy = now.get("held_out/accuracy")
    if accuracy is None:
        return Text()
    low, high = now.get("held_out/low"), now.get("held_out/high")
    between = f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
    parts = [
        Text.assemble((f"{accuracy:.1%}", "bold"), between),
        _share(now, "held_out/consistent", "consistent"),
        _share(now, "held_out/unanswered", "unanswered", bad=0.05),
        Text(f"at step {progress.measured:,}") if progress.measured is not None else Text(),
    ]
    return _joined(parts)


def _answers(now: Mapping[str, float]) -> Text:
    length = now.get("completions/mean_length")
    return _joined(
        [
            _share(now, "unanswered", "unanswered", bad=0.1),
            Text(f"{length:,.0f} tokens") if length is not None else Text(),
            _share(now, "completions/clipped_ratio", "cut", bad=0.1),
        ]
    )


def _groups(now: Mapping[str, float]) -> Text:
    name = "groups/zero_variance" if "groups/zero_variance" in now else "frac_reward_zero_std"
    replaced = now.get("groups/replaced")
    note = Text(f"{replaced:,.3g} replaced") if replaced is not None else Text()
    return _joined([_share(now, name, "without variance", bad=0.9), note])


def _pairs(now: Mapping[str, float]) -> Text:
    """What a scalar reward model's trainer logs of its pairs."""
    if "margin" not in now:
        return Text()
    return _joined([_share(now, "accuracy", "right"), Text(f"margin {now['margin']:.3f}")])


def _loss(now: Mapping[str, float]) -> Text:
    names = {"kl": "KL", "entropy": "entropy", "grad_norm": "gradient", "learning_rate": "rate"}
    parts = [Text(f"{now['loss']:.4f}" if "loss" in now else "")]
    parts += [_share(now, "mean_token_accuracy", "of tokens right")]
    parts += [Text(f"{word} {now[name]:.3g}") for name, word in names.items() if name in now]
    return _joined(parts)


def _speed(progress: Progress) -> Text:
    tokens, seconds = progress.tokens_per_second, progress.step_seconds
    pace = f"{tokens:,.0f} tokens/s" if tokens else ""
    return _joined([Text(pace), Text(f"{seconds:,.1f} s a step" if seconds else "")])


def _share(now: Mapping[str, float], name: str, word: str, bad: float | None = None) -> Text:
    """A share in words, in yellow from ``bad`` on."""
    if (value := now.get(name)) is None:
        return Text()
    return Text(f"{value:.1%} {word}", style="yellow" if bad is not None and value >= bad else "")


def _joined(parts: Sequence[Text]) -> Text:
    return Text("  ").join(part for part in parts if part.plain)


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Growth per second between the first and the last point."""
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return None
    return (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])


def _time(seconds: float | None) -> str:
    minutes, rest = divmod(round(seconds or 0.0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _handlers() -> list[logging.StreamHandler[TextIO]]:
    """Every handler of logging that writes to a stream."""
    known = [one for one in logging.Logger.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    loggers = [logging.getLogger(), *known]
    handlers = {id(h): h for logger in loggers for h in logger.handlers}
    return [h for h in handlers.values() if isinstance(h, logging.StreamHandler)]
