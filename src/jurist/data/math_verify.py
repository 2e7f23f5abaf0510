"""Compares answers as mathematics, by math-verify in a process that is replaced if it hangs or dies."""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Self

from jurist.core.errors import ConfigError, MissingExtraError

MEMORY = 2 << 30
"""Most memory of the process in bytes: an answer like 9^9^9^9 would take all there is."""


def installed() -> bool:
    """Whether math-verify is there."""
    return find_spec("math_verify") is not None


class MathVerify:
    """Whether two answers are the same by math-verify; None where it cannot read one, or not in time.

    It runs in a process of its own, without math-verify's own time limit (signals, which only work in a main
    thread, and which count a stopped run as a difference). An answer can make it run without end or take all
    memory: a process that takes longer than ``seconds``, or dies, is replaced.
    """

    def __init__(self, seconds: float = 5.0, serve: "Callable[[Connection], None] | None" = None) -> None:
        if serve is None and not installed():
            raise MissingExtraError("math-verify", "math", "comparing answers as mathematics")
        self.name = f"math-verify {version('math-verify')}" if serve is None else "other"
        self._seconds, self._serve = seconds, serve or _serve
        self._process: Any = None
        self._pipe: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, reference: str, answer: str) -> bool | None:
        """As ``same_plainly``, for any two answers."""
        if self._process is None:
            self._start()
        try:
            self._pipe.send((reference, answer))
            if self._pipe.poll(self._seconds):
                return self._pipe.recv()
        except (EOFError, OSError):
            pass
        self._stop()
        return None

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=self._serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        # Loading takes seconds, and is no part of the first answer's time.
        try:
            ready = self._pipe.poll(120) and self._pipe.recv() == "ready"
        except EOFError:
            ready = False
        if not ready:
            self._stop()
            raise ConfigError("math-verify is installed but does not start", "--math off compares plainly")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(pipe: Connection) -> None:
    """The process: pairs of answers in, verdicts out."""
    math: Any = import_module("math_verify")
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    pipe.send("ready")
    while True:
        reference, answer = pipe.recv()
        try:
            one, two = (_parsed(math, text) for text in (reference, answer))
            same = math.verify(one, two, timeout_seconds=None, raise_on_error=True) if one and two else None
        except Exception:  # a parser of LaTeX, a computer algebra: anything can come out of it
            same = None
        pipe.send(same)


def _parsed(math: Any, text: str) -> Any:
    return math.parse(f"\\boxed{{{text}}}", parsing_timeout=None, raise_on_error=True)
