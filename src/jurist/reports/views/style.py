"""How everything is printed: foreign text made visible, tables without borders, shares, intervals, durations.

Responses, judges, ids, file names and servers are foreign: what they wrote must not move the cursor, set the
window's title or be read as Rich's markup. ``Screen`` is the one way to a terminal.
"""

import os
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from jurist.core.statistics import Interval

# Control characters but newline and tab, marks that change the direction of writing, half surrogates.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with control characters written as escapes, such as ``\\x1b`` and ``\\u202e``."""
    return _HIDDEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def label(text: str, most: int = 64) -> Text:
    """An id or a name on one line of a table: line breaks as escapes, what is longer cut behind ``...``."""
    line = visible(text).replace("\n", "\\n").replace("\t", "\\t")
    return Text(line if len(line) <= most else f"{line[: most - 3]}...")


class Screen(Console):
    """A console that reads no markup in what it prints, and shows control characters, obeying none."""

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        if os.environ.get("NO_COLOR"):
            # Rich alone would still print bold and dim.
            options.setdefault("color_system", None)
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as it is, what is hidden in it made visible (so that columns are wide enough for it)."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of something printed; Rich's own, which move the cursor, stay as they are."""
        if isinstance(renderable, Text) and _HIDDEN.search(renderable.plain):
            renderable = _visible(renderable)
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control or not _HIDDEN.search(text) else Segment(visible(text), style)


def _visible(text: Text) -> Text:
    """A text without its inner styles, which count characters that are longer now."""
    return Text(
        visible(text.plain),
        style=text.style,
        justify=text.justify,
        overflow=text.overflow,
        no_wrap=text.no_wrap,
        end=text.end,
    )


def borderless(
    first: str, *numbers: str, words: Iterable[str] = (), title: bool = False, header: bool = True
) -> Table:
    """A table without borders: ``first`` on the left, ``numbers`` on the right, then ``words`` on the left.

    With ``title`` the head of the first column is printed bold: it names the whole table.
    """
    table = Table(box=None, pad_edge=False, header_style="dim", show_header=header)
    table.add_column(Text(first, style="bold not dim" if title else ""), overflow="fold")
    for name in numbers:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for name in words:
        table.add_column(Text(name), overflow="fold")
    return table


def interval(bounds: Interval | None, unit: str = "%") -> str:
    """An interval of shares in percent: ``52.9% to 97.8%``; empty where there is none."""
    return f"{100 * bounds[0]:.1f}{unit} to {100 * bounds[1]:.1f}{unit}" if bounds else ""


def signed(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    number = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if number in ("+0.0", "−0.0") else number


def duration(seconds: float) -> str:
    """A time as a person says it: ``0.42 s``, ``32 s``, ``5.3 min``, ``2.1 h``."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
