"""The life of an engine whose model runs in this process: loaded once, asked from any event loop, closed."""

import asyncio
import threading
import time
from abc import abstractmethod
from typing import Generic, Protocol, TypeVar

from msgspec.structs import replace

from jurist.core.types import Completion, Query
from jurist.engines.base import EngineBase, failed
from jurist.engines.chat_template import ChatError


class Runtime(Protocol):
    """A loaded model."""

    async def answer(self, query: Query) -> Completion:
        """The completion of a query; cancelling the awaiting task ends its work.

        Raises ``ChatError`` where the query cannot be rendered, ``RuntimeError`` where the model fails.
        """
        ...

    def close(self) -> None:
        """End what runs and free the model; called from a thread."""
        ...


R = TypeVar("R", bound=Runtime)


class InProcessEngine(EngineBase, Generic[R]):
    """An engine that owns a runtime: it is loaded by ``check`` or the first query, given back by ``aclose``.

    A query after ``aclose`` loads the model again.
    """

    def __init__(self, model: str, concurrency: int) -> None:
        self.model = model
        self.concurrency = concurrency
        self._loading = threading.Lock()
        self._runtime: R | None = None

    @abstractmethod
    def _start(self) -> R:
        """Load the model; called in a thread, once. Raises ``EngineError``, ``MissingExtraError``."""

    def identity(self) -> str:
        """The model's id or folder."""
        return self.model

    async def check(self) -> None:
        """Load the model."""
        await asyncio.to_thread(self._load)

    async def __call__(self, query: Query) -> Completion:
        runtime = self._runtime or await asyncio.to_thread(self._load)
        started = time.monotonic()
        try:
            answer = await runtime.answer(query)
        except ChatError as error:
            answer = failed(str(error))
        except RuntimeError as error:
            answer = failed(f"the model {self.model!r} failed: {error}")
        return answer if answer.seconds else replace(answer, seconds=time.monotonic() - started)

    async def aclose(self) -> None:
        """Give back the model."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await asyncio.to_thread(self._give_back, runtime)

    def _give_back(self, runtime: R) -> None:
        """Free the model; called in a thread."""
        runtime.close()

    def _load(self) -> R:
        # A thread's lock, since the first queries may come from several event loops.
        with self._loading:
            if self._runtime is None:
                self._runtime = self._start()
            return self._runtime
