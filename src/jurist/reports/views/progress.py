"""Progress of a call from Python: a bar in a notebook and on a terminal, nothing elsewhere."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import Any, Protocol

PATIENCE = 2.0
"""Seconds after which a bar appears."""
EVERY = 0.3
"""Seconds between two pictures of it."""


_FRAME = (
    "display:inline-block;width:16em;height:.8em;border:1px solid currentColor;border-radius:.2em;"
    "vertical-align:middle"
)
_FILL = "height:100%;background:currentColor;opacity:.55"


class Counted(Protocol):
    """What a bar needs to know of a run."""

    @property
    def decisions(self) -> int: ...

    @property
    def unanswered(self) -> int: ...


@contextmanager
def shown_progress(total: int | None, *, show: bool = True) -> Generator[Callable[[Counted], None]]:
    """A function that is told how far a run is; it may be called from any thread."""
    draw, close = _drawing() if show else (None, None)
    if draw is None or close is None:
        yield lambda _: None
        return
    started = last = time.monotonic()
    seen: Counted | None = None

    def watch(now: Counted) -> None:
        nonlocal last, seen
        seen = now
        moment = time.monotonic()
        if moment - started >= PATIENCE and moment - last >= EVERY:
            last = moment
            draw(*_facts(now, total, moment - started))

    try:
        yield watch
    finally:
        if last > started and seen is not None:
            draw(*_facts(seen, total, time.monotonic() - started))
            close()


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    if "IPython" not in sys.modules:
        return False
    shell = import_module("IPython").get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def _facts(now: Counted, total: int | None, seconds: float) -> tuple[float, str]:
    """(share that is done, words)."""
    share = min(1.0, now.decisions / total) if total else 0.0
    words = f"{now.decisions:,}{f' of {total:,}' if total else ''} decided"
    if now.unanswered:
        words += f", {now.unanswered:,} unanswered"
    if 0 < share < 1:
        left = seconds * (1 - share) / share
        words += f", about {left:.0f} s left" if left < 90 else f", about {left / 60:.0f} min left"
    return share, words


def _drawing() -> tuple[Callable[[float, str], None] | None, Callable[[], None] | None]:
    if in_notebook():
        return _notebook()
    return _terminal() if sys.stderr.isatty() else (None, None)


def _terminal() -> tuple[Callable[[float, str], None], Callable[[], None]]:
    def draw(share: float, words: str) -> None:
        full = round(24 * share)
        sys.stderr.write(f"\r\033[K{'█' * full}{'·' * (24 - full)} {words}")
        sys.stderr.flush()

    def close() -> None:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()

    return draw, close


def _notebook() -> tuple[Callable[[float, str], None], Callable[[], None]]:
    """An output of the cell that is drawn anew: no widget, so it works wherever HTML is shown."""
    display: Any = import_module("IPython.display")
    handle: Any = None

    def draw(share: float, words: str) -> None:
        nonlocal handle
        bounds = f'aria-valuenow="{100 * share:.0f}" aria-valuemin="0" aria-valuemax="100"'
        fill = f'<div style="width:{100 * share:.1f}%;{_FILL}"></div>'
        page = f'<div role="progressbar" {bounds} style="{_FRAME}">{fill}</div> {escape(words)}'
        if handle is None:
            handle = display.display(display.HTML(page), display_id=True)
        else:
            handle.update(display.HTML(page))

    return draw, lambda: None
