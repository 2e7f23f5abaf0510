"""RUN/metrics.jsonl: what the trainer logs, one JSON line per log event; written and read."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import SupportsFloat

import msgspec

from jurist.core.errors import StoreError
from jurist.core.files import Lines, Warn, scan, write_whole
from jurist.core.types import Record
from jurist.training.types import Args, Control, State

Logs = Mapping[str, object]
"""What the trainer logs at a step: numbers, mostly, by name."""

ENDING = "train_loss"
"""A metric that the trainer logs once, in its summary when it ends."""


class Callback:
    """A callback of transformers' ``Trainer``; events that a subclass does not define do nothing.

    Not a subclass of ``transformers.TrainerCallback``, so that the callbacks can be imported and tested
    without transformers; its handler only calls methods by name
    (transformers 5.23, trainer_callback.py, ``CallbackHandler.call_event``).
    """

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("on_"):
            return _pass
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")


class Line(Record, frozen=True):
    """One log event. ``seconds``: of training until then, over all sessions; None: no finite number."""

    step: int
    epoch: float
    seconds: float
    metrics: dict[str, float | None] = {}


class Metrics:
    """metrics.jsonl: a line per log event, each written when ``add`` returns.

    The file is opened by ``begin``. A line is flat: ``step``, ``epoch``, ``seconds``, then every metric;
    what is not finite is null. Raises ``StoreError`` where the file cannot be written.
    """

    def __init__(
        self, path: Path, warn: Warn = lambda _: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._warn, self._clock = warn, clock
        self._lines: Lines | None = None
        self._zero = 0.0

    def begin(self, step: int) -> None:
        """Go on after ``step``: later lines are cut, and the summary of an ending that was not the last."""
        self.close()
        kept = _cut(self.path, step) if self.path.exists() else []
        self._lines = Lines(self.path, self._warn)
        self._zero = self._clock() - (kept[-1].seconds if kept else 0.0)

    def add(self, step: int, epoch: float | None, logs: Logs) -> None:
        """Write what was logged at a step; what is no number is left out."""
        if self._lines is None:
            raise StoreError(f"{self.path}: metrics are added before the training began")
        line = Line(step, epoch or 0.0, round(self._clock() - self._zero, 3), numbers(logs))
        self._lines.append(_encoded(line))

    def close(self) -> None:
        """Close the file."""
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.close()


class MetricsCallback(Callback):
    """Fills ``Metrics`` from a trainer; on its main process alone."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def on_train_begin(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Go on after the step that the trainer stands at: 0, or that of the checkpoint."""
        del args, control
        if state.is_world_process_zero:
            self.metrics.begin(state.global_step)

    def on_log(
        self, args: Args, state: State, control: Control, logs: Logs | None = None, **_: object
    ) -> None:
        """Write the line."""
        del args, control
        if state.is_world_process_zero:
            self.metrics.add(state.global_step, state.epoch, logs or {})

    def on_train_end(self, args: Args, state: State, control: Control, **_: object) -> None:
        """Close the file."""
        del args, state, control
        self.metrics.close()


def read_metrics(path: Path) -> list[Line]:
    """The lines in order, without a torn last one.

    Raises ``StoreError`` for a file that cannot be read or a line that is no log event, with its number.
    """
    try:
        return [_line(fields, f"{path}:{n}") for n, (_, fields) in enumerate(scan(path, _Fields), 1)]
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error


def numbers(logs: Logs) -> dict[str, float | None]:
    """What is a number (Python's, numpy's, a tensor of one element) or null; the step's own fields aside."""
    fixed = Line.__struct_fields__
    return {
        name: None if value is None else float(value)
        for name, value in logs.items()
        if name not in fixed and (value is None or isinstance(value, SupportsFloat))
    }


def unanswered(metrics: Mapping[str, float | None]) -> float | None:
    """Share of completions without a verdict: ``verdicts/unanswered``, or what ``.../answered`` leaves."""
    if (share := metrics.get("verdicts/unanswered")) is not None:
        return share
    answered = [value for name, value in metrics.items() if name.endswith("/answered") and value is not None]
    return 1.0 - answered[0] if answered else None


_Fields = dict[str, float | None]


def _line(fields: _Fields, where: str) -> Line:
    try:
        step, epoch, seconds = (fields.pop(name) for name in ("step", "epoch", "seconds"))
    except KeyError as error:
        raise StoreError(f"{where}: no field {error} in a line of metrics") from None
    return Line(int(step or 0), epoch or 0.0, seconds or 0.0, fields)


def _cut(path: Path, step: int) -> list[Line]:
    """Leave in the file what was logged up to ``step`` by a training that goes on; returns it."""
    lines = read_metrics(path)
    kept = [line for line in lines if step and line.step <= step and ENDING not in line.metrics]
    if len(kept) < len(lines):
        write_whole(path, b"".join(_encoded(line) + b"\n" for line in kept))
    return kept


def _encoded(line: Line) -> bytes:
    fixed = {"step": line.step, "epoch": line.epoch, "seconds": line.seconds}
    return msgspec.json.encode({**fixed, **line.metrics})


def _pass(*_: object, **__: object) -> None:
    """An event that is ignored."""
