"""What every engine shares: a check at the door, and failures as completions."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from jurist.core.types import Completion, Query


def _silent(_: str) -> None:
    """Nobody is told."""


class EngineBase(ABC):
    """One query in, one completion out, never an exception for a model's or a network's failure.

    ``concurrency`` is how many queries it likes to hold at once. ``caps_thinking``: it ends the thinking
    itself at ``Sampling.thinking_budget``; it may know so only after ``check``. ``say`` is told, in a
    line, what makes its user wait.
    """

    concurrency: int = 32
    caps_thinking: bool = False
    say: Callable[[str], None] = staticmethod(_silent)

    @abstractmethod
    async def __call__(self, query: Query) -> Completion:
        """Answer one query; a failure is a completion with ``finish="error"``."""

    def identity(self) -> str:
        """Which model answers, once ``check`` has found out."""
        return ""

    async def check(self) -> None:
        """Raise ``EngineError`` where no query could succeed (wrong address, key, model)."""
        return

    async def aclose(self) -> None:
        """Give back what the engine holds."""
        return


def failed(error: str, seconds: float = 0.0) -> Completion:
    """The completion of a call that failed."""
    return Completion(finish="error", error=error, seconds=seconds)
