"""What every engine shares: a check at the door, and failures as completions."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from jurist.core.reasons import MEND
from jurist.core.types import Completion, Query


def _silent(_: str) -> None:
    """Drop a line."""


class EngineBase(ABC):
    """One query in, one completion out, never an exception for a model's or a network's failure.

    ``concurrency`` is how many queries it likes to hold at once. ``caps_thinking``: it ends the thinking
    itself at ``Sampling.thinking_budget``; it may know so only after ``check``. ``say`` gets, in a line,
    what makes its user wait. ``control_tokens``: the tokens, as texts, that the model's template gives a
    meaning and that a message must not hold, as far as the engine knows them after ``check``; engines in
    this process have none, since they tokenise messages so that no control token can arise.
    """

    concurrency: int = 32
    caps_thinking: bool = False
    control_tokens: tuple[str, ...] = ()
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


def with_mend(error: str, mend: str) -> str:
    """An error's text with what the user can do about it, where that is known."""
    return f"{error}{MEND}{mend}" if mend else error
