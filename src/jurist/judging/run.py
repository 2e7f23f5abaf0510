"""One run: a judge, its cases, and a folder if there is one; or several benchmarks that share one pool."""

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from jurist.benchmarks.base import Benchmark, scored
from jurist.benchmarks.fetch import place
from jurist.core.files import Warn
from jurist.core.hashing import seed_of
from jurist.core.run_config import input_facts
from jurist.core.runs import Kept
from jurist.core.store import Store, write_scorecard
from jurist.core.types import Case, Decision, Scorecard, Usage
from jurist.judging.build import JudgeSetup
from jurist.judging.judge import check_arity
from jurist.judging.pool import (
    RunProgress,
    Task,
    Watch,
    decide_all,
    decide_tasks,
    slim,
    spread,
    unless_identical,
)


async def run(
    setup: JudgeSetup,
    cases: Iterable[Case],
    *,
    out: Path | None = None,
    source: str = "",
    benchmark: str | None = None,
    progress: RunProgress | None = None,
    watch: Watch = lambda _: None,
    warn: Warn = lambda _: None,
    slim: bool = False,
) -> AsyncGenerator[Decision]:
    """Decisions as they fall. With ``out`` they are kept there, and what is there is not asked again.

    A case whose responses are all the same is a tie that nobody is asked about.

    ``slim``: what is there comes without prompts and completions, and after all others: what is left to ask
    is asked at once.
    """
    await setup.check()
    config = {**setup.fingerprint(), **input_facts(source), "benchmark": benchmark}
    progress = progress or RunProgress()
    store = Store(out, config, warn=warn) if out else None
    try:
        kept = Kept(store) if store and slim else None
        stream = decide_all(
            cases,
            setup.judge(store).ask,
            unless_identical(setup.deliberate, setup.protocol.arity),
            concurrency=setup.concurrency,
            store=store,
            progress=progress,
            watch=watch,
            give_up_after=setup.config.give_up_after,
            slim=slim,
            settled=kept.left if kept else None,
        )
        async with aclosing(stream):
            async for decision in stream:
                yield decision
    finally:
        if store:
            store.close()
    for decision in kept.decisions() if kept else ():
        progress.recall(decision)
        yield decision


@dataclass(slots=True)
class _Measured:
    """One benchmark on its way: what is asked, where it is kept, what was decided."""

    benchmark: Benchmark
    cases: Sequence[Case]
    of: int
    task: Task
    decisions: list[Decision] = field(default_factory=list[Decision])
    seconds: float = 0.0
    """When its last decision fell, since the beginning."""


async def measure(
    setup: JudgeSetup,
    benchmarks: Sequence[Benchmark],
    data: Path | None,
    *,
    out: Path | None = None,
    limit: int | None = None,
    watching: Callable[[int], AbstractContextManager[Watch]] = lambda _: nullcontext(_unwatched),
    warn: Warn = lambda _: None,
) -> list[Scorecard]:
    """The scorecards of a judge on benchmarks, which share one pool of cases.

    With several benchmarks ``out`` has a folder for each. Of ``limit`` evenly spread cases the scorecard
    says so in its name. A judge of pairs for which no deliberation was chosen decides larger cases by the
    benchmark's own (``Benchmark.many``).
    """
    await setup.check()
    progress, started = RunProgress(), time.monotonic()
    running: list[_Measured] = []
    try:
        for chosen in benchmarks:
            folder = out / chosen.name if out and len(benchmarks) > 1 else out
            running.append(_begun(setup, chosen, place(chosen, data), folder, limit, warn))
        work = [(one.task, case) for one in running for case in one.cases]
        by_task = {id(one.task): one for one in running}
        with watching(len(work)) as watch:
            stream = decide_tasks(
                work,
                concurrency=setup.concurrency,
                progress=progress,
                watch=watch,
                give_up_after=setup.config.give_up_after,
            )
            async with aclosing(stream):
                async for task, decision in stream:
                    one = by_task[id(task)]
                    one.decisions.append(slim(decision))
                    one.seconds = time.monotonic() - started
        # What is remembered took its time in an earlier run.
        return [_card(one, timed=not progress.remembered) for one in running]
    finally:
        for one in running:
            if one.task.store:
                one.task.store.close()


def chosen_cases(
    setup: JudgeSetup, chosen: Benchmark, data: Path, limit: int | None
) -> tuple[JudgeSetup, Sequence[Case], Sequence[Case]]:
    """The judge as it decides a benchmark, all of its cases, and those of them that are judged."""
    everything = list(chosen.load(data))
    cases = spread(everything, limit, chosen.unit)
    setup = setup.for_many(chosen.many) if chosen.many else setup
    for case in () if setup.takes_many else cases:
        check_arity(setup.protocol, case, len(case.responses))
    return setup, everything, cases


def _begun(
    setup: JudgeSetup, chosen: Benchmark, data: Path, out: Path | None, limit: int | None, warn: Warn
) -> _Measured:
    setup, everything, cases = chosen_cases(setup, chosen, data, limit)
    config = {**setup.fingerprint(), "input": str(data), "benchmark": chosen.name}
    config["cases_hash"] = f"{seed_of(*(case.digest for case in everything)):016x}" if out else None
    store = Store(out, config, warn=warn) if out else None
    task = Task(setup.judge(store).ask, setup.deliberate, store, slim=True)
    return _Measured(chosen, cases, len(everything), task)


def _card(one: _Measured, *, timed: bool) -> Scorecard:
    card = scored(one.benchmark.score, one.decisions)
    if len(one.cases) < one.of:
        part = f"{len(one.cases)} of {one.of} cases, not the official score"
        card = replace(card, name=f"{card.name}: {part}")
    reused = sum((decision.reused for decision in one.decisions), Usage())
    card = replace(card, seconds=one.seconds if timed else 0.0, reused=reused)
    if one.task.store:
        write_scorecard(one.task.store.folder, card)
    return card


def _unwatched(_: RunProgress) -> None:
    """The watch that shows nothing."""
