"""What a worker does with a case: judge it, or distil it; the same code as in a run on one machine."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jurist.core.run_config import input_facts
from jurist.core.types import Ask, Case, Completion, Decide, Decision, Query
from jurist.engines.base import EngineBase, failed
from jurist.judging.build import JudgeSetup, Say, assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import Memory
from jurist.judging.pool import unless_identical

if TYPE_CHECKING:
    from jurist.training.distillation.passes import Method

NOT_HERE = "its call failed on the cluster; the same command tries it again"


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked about each case, as data that travels to the workers.

    ``config`` is resolved, so that no worker guesses anything. With ``method`` cases are pairs that are
    distilled, repaired by the judge of ``repairer`` (None: by the teacher).
    """

    config: JudgeConfig
    method: "Method | None" = None
    repairer: JudgeConfig | None = None

    def shared_by(self, workers: int) -> "Work":
        """What one of so many workers is told: its share of what a server takes in a minute."""
        repairer = self.repairer and _share(self.repairer, workers)
        return replace(self, config=_share(self.config, workers), repairer=repairer)


@dataclass(frozen=True, slots=True)
class Asking:
    """The judges of a work, assembled in one process."""

    setup: JudgeSetup
    work: Work
    repairer: JudgeSetup | None = None

    @classmethod
    def of(cls, work: Work, say: Say = lambda _: None) -> "Asking":
        """Assemble them; nothing is loaded or called before ``check``."""
        repairer = assemble(work.repairer, say) if work.repairer else None
        return cls(assemble(work.config, say), work, repairer)

    def facts(self, source: str) -> dict[str, Any]:
        """What run.json keeps: the same as for a run on one machine."""
        if self.work.method is None:
            return {**self.setup.fingerprint(), **input_facts(source), "benchmark": None}
        from jurist.training.distillation.distill import facts_of

        return facts_of(self.setup, self.repairer, source)

    async def check(self) -> None:
        """Raise ``EngineError`` where no query could succeed."""
        await self.setup.check()
        if self.repairer:
            await self.repairer.check()

    async def aclose(self) -> None:
        """Give back what the engines hold."""
        await self.setup.aclose()
        if self.repairer:
            await self.repairer.aclose()

    def remembering(self, memory: Memory) -> tuple[Ask, Decide]:
        """How a case is asked about and decided, remembering in a run folder."""
        method = self.work.method
        if method is None:
            decide = unless_identical(self.setup.deliberate, self.setup.protocol.arity)
            return self.setup.judge(memory).ask, decide
        from jurist.training.distillation.distill import decision_of, passes_of

        passes = passes_of(self.setup, method, self.repairer, memory)

        async def pair(ask: Ask, case: Case) -> Decision:
            _, judgments = await passes.outcome(ask, case)
            return decision_of(case, judgments)

        return passes.teacher.ask, pair

    def answering(self, wrap: Callable[[EngineBase], EngineBase]) -> "Asking":
        """The same judges with other engines in the place of their own."""
        repairer = self.repairer and _with_engine(self.repairer, wrap)
        return replace(self, setup=_with_engine(self.setup, wrap), repairer=repairer)


def _share(config: JudgeConfig, workers: int) -> JudgeConfig:
    limits = {
        "requests_per_minute": config.requests_per_minute,
        "tokens_per_minute": config.tokens_per_minute,
    }
    least = {"requests_per_minute": 0.1, "tokens_per_minute": 10.0}
    return replace(
        config,
        **{name: max(least[name], most / workers) for name, most in limits.items() if most is not None},
    )


def judging(setup: JudgeSetup) -> Asking:
    """A judge as a work for workers."""
    return Asking(setup, Work(setup.config))


def distilling(teacher: JudgeSetup, method: "Method", repairer: JudgeSetup | None = None) -> Asking:
    """A distillation as a work for workers."""
    return Asking(teacher, Work(teacher.config, method, repairer and repairer.config), repairer)


class NotHere(EngineBase):
    """An engine that is known and never called: what the run folder does not hold counts as failed."""

    def __init__(self, engine: EngineBase) -> None:
        self._engine = engine
        self.concurrency = engine.concurrency
        self.caps_thinking = engine.caps_thinking
        self.control_tokens = tuple(getattr(engine, "control_tokens", ()))
        self.calls = 0

    def identity(self) -> str:
        """Which model would answer."""
        return self._engine.identity()

    async def __call__(self, query: Query) -> Completion:  # noqa: ARG002 - the engine's contract
        self.calls += 1
        return failed(NOT_HERE)


def remembered_only(setup: JudgeSetup) -> JudgeSetup:
    """A judge that answers from its run folder alone."""
    return _with_engine(setup, NotHere)


def _with_engine(setup: JudgeSetup, wrap: Callable[[EngineBase], EngineBase]) -> JudgeSetup:
    first = setup.first and _with_engine(setup.first, wrap)
    return replace(setup, engine=wrap(setup.engine), first=first)
