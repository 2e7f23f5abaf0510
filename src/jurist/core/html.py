"""HTML for notebooks: tables and folded texts, everything foreign escaped; no script, no link, no picture."""

from collections.abc import Iterable, Sequence
from html import escape

MOST_ROWS = 20
"""Rows of a table in a notebook; how many more there are is said."""
MOST_LETTERS = 4000
"""Characters of a folded text in a notebook; how many more there are is said."""

_CELL = "text-align:left;vertical-align:top"
_TEXT = "white-space:pre-wrap;text-align:left;margin:.3em 0 .8em 1em"


def escaped(text: object) -> str:
    """A foreign text: no markup, its direction of writing its own, half surrogates as question marks."""
    whole = str(text).encode("utf-8", "replace").decode()
    return f"<bdi>{escape(whole)}</bdi>"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of foreign cells, at most ``MOST_ROWS`` rows."""
    lines = [_row("th", head), *(_row("td", row) for row in rows[:MOST_ROWS])]
    more = f"<div>... and {len(rows) - MOST_ROWS:,} more</div>" if len(rows) > MOST_ROWS else ""
    return f"<table>{''.join(lines)}</table>{more}"


def folded(title: str, text: str) -> str:
    """A foreign text that a click on its title shows, at most ``MOST_LETTERS`` characters."""
    more = len(text) - MOST_LETTERS
    cut = f"<div>... and {more:,} more characters</div>" if more > 0 else ""
    body = f'<pre style="{_TEXT}">{escaped(text[:MOST_LETTERS])}</pre>{cut}'
    return f"<details><summary>{escaped(title)}</summary>{body}</details>"


def block(title: str, parts: Iterable[str]) -> str:
    """Parts below a foreign title; formulas in them are not typeset."""
    inside = "".join(parts)
    return f'<div class="tex2jax_ignore mathjax_ignore"><strong>{escaped(title)}</strong>{inside}</div>'


def _row(tag: str, cells: Iterable[object]) -> str:
    inside = "".join(f'<{tag} style="{_CELL}">{escaped(cell)}</{tag}>' for cell in cells)
    return f"<tr>{inside}</tr>"
