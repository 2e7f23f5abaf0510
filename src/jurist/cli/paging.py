"""A pager for what is longer than the screen: the reader's own, fed while it is read."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress

from rich.console import Console, RenderableType

_COLOURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\")
_SHOW_COLOURS = ("less", "more", "most", "bat", "batcat")


def print_paged(parts: Iterable[RenderableType], console: Console) -> None:
    """Print parts as they come; on a terminal, what is longer than the screen is handed to a pager.

    The pager is ``$PAGER``, else less or more; none where that is empty, ``cat`` or not installed. It gets
    the parts while they are made, and when the reader leaves it no more are made (Rich's own pager begins
    only when everything has been printed).
    """
    command = _command() if console.is_terminal and not console.is_dumb_terminal else ""
    if not command:
        for part in parts:
            console.print(part)
        return
    texts = _rendered(parts, console)
    held = ""
    for text in texts:
        held += text
        if held.count("\n") >= console.height:
            _feed(command, held, texts)
            return
    _write(console, held)


def _command() -> str:
    """The pager's command line for a shell; empty for none."""
    command = os.environ.get("PAGER")
    if command is None:
        command = next((name for name in ("less", "more") if shutil.which(name)), "")
    words = command.split()
    usable = bool(words) and words[0] != "cat" and shutil.which(words[0]) is not None
    return command if usable and os.environ.get("TERM") != "dumb" else ""


def _rendered(parts: Iterable[RenderableType], console: Console) -> Iterator[str]:
    for part in parts:
        with console.capture() as capture:
            console.print(part)
        yield capture.get()


def _feed(command: str, first: str, texts: Iterator[str]) -> None:
    """Write to the pager until the texts end or the reader leaves, then wait for the reader."""
    plain = os.path.basename(command.split()[0]) not in _SHOW_COLOURS
    # As git does it: colours, no pause where all fits, the text stays on the screen.
    environment = {"LESS": "FRX", **os.environ}
    pager = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment)
    stream = pager.stdin
    assert stream is not None
    try:
        with suppress(BrokenPipeError):
            for text in _chain(first, texts):
                shown = _COLOURS.sub("", text) if plain else text
                stream.write(shown.encode("utf-8", "backslashreplace"))
                stream.flush()
    finally:
        with suppress(BrokenPipeError):
            stream.close()
        while True:
            # Ctrl-C is the pager's: it may end a search there.
            with suppress(KeyboardInterrupt):
                pager.wait()
                break


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _write(console: Console, text: str) -> None:
    console.file.write(text)
    console.file.flush()
