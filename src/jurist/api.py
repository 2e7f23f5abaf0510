"""The synchronous door: one call each, for scripts and notebooks."""

import asyncio
import dataclasses
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, Unpack

from jurist.benchmarks.base import Benchmark
from jurist.core.errors import ConfigError, JuristError
from jurist.core.types import Case, Decision, Message, Response, Scorecard
from jurist.inputs import case_from, cases_of, load_cases
from jurist.judging import registry
from jurist.judging.build import JudgeSetup, Say, assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.pool import Watch
from jurist.judging.run import measure, run
from jurist.reports.views.progress import shown_progress
from jurist.rewards.choice import Choice, Leading
from jurist.rewards.choice import choosing as _choosing
from jurist.rewards.group import GroupJudge
from jurist.rewards.policy import AS_THEY_ARE
from jurist.rewards.ranking import Best, Ranking, Rating, best_of, ranking_of

T = TypeVar("T")


class JudgeOptions(TypedDict, total=False):
    """The options of a judge as keywords: the fields of ``JudgeConfig``, which the flags are named after."""

    engine: str | list[str]
    model: str | None
    protocol: str | None
    family: Literal["instruct", "reasoning"] | None
    rule: Literal["robust", "eval", "train"]
    system: Literal["send", "merge", "drop"]
    protocol_file: str | Path | None
    deliberation: str | None
    forced: Literal["never", "missing", "always"] | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    thinking_budget: int | None
    answer_tokens: int
    first: str | Path | None
    seed: int
    concurrency: int | None
    timeout: float
    retry_for: float
    requests_per_minute: float | None
    tokens_per_minute: float | None
    samples_per_request: int
    extra: str | None
    cache: str | Path | None
    give_up_after: int


def judge(
    prompt: str | Sequence[Message] | Sequence[dict[str, str]],
    responses: Sequence[Response],
    *,
    reference: str | None = None,
    rubric: str | None = None,
    config: JudgeConfig | None = None,
    say: Say = lambda _: None,
    **options: Unpack[JudgeOptions],
) -> Decision:
    """Judge one case: which response is better (one response: its rating), and why.

    ``options`` are the fields of ``JudgeConfig``. The reasons are in
    ``decision.judgments[i].completion.text``.
    """
    case = case_from(prompt, responses, reference=reference, rubric=rubric)
    return judge_case(case, _config(config, options), say=say)


def rank(
    prompt: str | Sequence[Message] | Sequence[dict[str, str]],
    responses: Sequence[Response],
    *,
    rating: Rating = "bradley-terry",
    config: JudgeConfig | None = None,
    say: Say = lambda _: None,
    **options: Unpack[JudgeOptions],
) -> Ranking:
    """Rank any number of responses, best first; by default each meets each, in both orders."""
    case = case_from(prompt, responses)
    decision = judge_case(case, _config(config, options), say=say, pairs="round_robin(swapped)")
    return ranking_of(decision, len(case.responses), rating)


def best_of_n(
    prompt: str | Sequence[Message] | Sequence[dict[str, str]],
    responses: Sequence[Response],
    *,
    config: JudgeConfig | None = None,
    say: Say = lambda _: None,
    **options: Unpack[JudgeOptions],
) -> Best:
    """The best response with the reasons for it, by default by a knockout in both orders."""
    case = case_from(prompt, responses)
    decision = judge_case(case, _config(config, options), say=say, pairs="knockout(swapped)")
    return best_of(decision, case)


def choosing(
    prompt: str | Sequence[Message] | Sequence[dict[str, str]],
    responses: Sequence[Response],
    *,
    deadline: float | None = None,
    config: JudgeConfig | None = None,
    say: Say = lambda _: None,
    **options: Unpack[JudgeOptions],
) -> Generator[Leading | Choice]:
    """``best_of_n`` as it comes about: who is ahead, as comparisons finish, and at the end the ``Choice``.

    ``for step in choosing(...)``; leaving the loop stops the judging. ``deadline``: seconds from now. For
    event loops there is ``jurist.rewards.choice.choosing``.
    """
    case = case_from(prompt, responses)
    if not case.responses:
        raise ConfigError("no response to judge", hint="responses=[...] with one, two or more texts")
    # As they are: best_of_n sets nothing aside either.
    judge = GroupJudge(assemble(_config(config, options), say), policy=AS_THEY_ARE)
    return _stepped(_chosen(judge, case, deadline))


def judge_case(
    case: Case, config: JudgeConfig, *, say: Say = lambda _: None, pairs: str = "swapped"
) -> Decision:
    """The decision on one case; ``pairs`` is the default deliberation of a judge of pairs."""
    if not case.responses:
        raise ConfigError("no response to judge", hint="responses=[...] with one, two or more texts")
    return _wait(_collect(assemble(config, say, pairs), [case], None, ""))[0]


def judge_all(
    cases: str | Path | Iterable[Case | Mapping[str, Any]] | Any,
    *,
    out: str | Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    on_bad: Callable[[JuristError], None] | None = None,
    progress: bool = True,
    config: JudgeConfig | None = None,
    say: Say = lambda _: None,
    **options: Unpack[JudgeOptions],
) -> list[Decision]:
    """Judge many cases; decisions in the order of the cases.

    ``cases``: a file, folder or ``hf:`` name as for `jurist judge`, ``Case`` objects, rows as dictionaries
    with the same fields as in files, a DataFrame or a Hugging Face dataset. The first ``limit`` only. A row
    that cannot be read raises ``InputError``, or with ``skip_bad`` is handed to ``on_bad`` and passed over.
    With ``out`` everything is kept in that run folder, and the same call goes on where it stopped.
    ``progress``: a bar in a notebook or on a terminal, where it takes longer than two seconds. The call
    waits; in a running event loop ``await asyncio.to_thread(jurist.judge_all, ...)`` leaves the loop free.
    """
    source = str(cases) if isinstance(cases, (str, Path)) else ""
    read = load_cases(source, skip_bad=skip_bad, on_bad=on_bad) if source else None
    rows = read or cases_of(cases, skip_bad=skip_bad, on_bad=on_bad)
    listed = list(islice(rows, limit))
    setup = assemble(_config(config, options), say)
    with shown_progress(len(listed), show=progress) as watch:
        decisions = _wait(_collect(setup, listed, _folder(out), source, watch))
    place = {case.id: i for i, case in enumerate(listed)}
    return sorted(decisions, key=lambda d: place[d.case_id])


def evaluate(
    benchmark: str,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    limit: int | None = None,
    progress: bool = True,
    config: JudgeConfig | None = None,
    say: Say = lambda _: None,
    **options: Unpack[JudgeOptions],
) -> Scorecard:
    """The official score of a judge on a benchmark; its published files are in ``data``, or are fetched.

    ``progress``: see ``judge_all``.
    """
    setup = assemble(_config(config, options), say)
    folder, files = _folder(out), Path(data) if data else None
    return _wait(_measure(setup, registry.benchmark(benchmark), files, folder, limit, progress))


def _config(config: JudgeConfig | None, options: JudgeOptions) -> JudgeConfig:
    """The options of a judge; raises ``ConfigError`` for one that does not exist, with the nearest name."""
    legal = [f.name for f in fields(JudgeConfig)]
    for name in options:
        if name not in legal:
            near = get_close_matches(name, legal, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(legal)}"
            raise ConfigError(f"there is no option {name!r}", hint)
    given: dict[str, Any] = dict(options)
    return dataclasses.replace(config or JudgeConfig(), **given)


def _folder(out: str | Path | None) -> Path | None:
    if out is None or str(out).strip():
        return None if out is None else Path(out).expanduser()
    raise ConfigError("out is empty, and would stand for the current folder", hint="out='runs/mine'")


async def _collect(
    setup: JudgeSetup,
    cases: Sequence[Case],
    out: Path | None,
    source: str,
    watch: Watch = lambda _: None,
) -> list[Decision]:
    try:
        stream = run(setup, cases, out=out, source=source, watch=watch)
        async with aclosing(stream):
            return [d async for d in stream]
    finally:
        await setup.aclose()


async def _measure(
    setup: JudgeSetup,
    chosen: Benchmark,
    data: Path | None,
    out: Path | None,
    limit: int | None,
    progress: bool,
) -> Scorecard:
    watching = partial(shown_progress, show=progress)
    try:
        return (await measure(setup, [chosen], data, out=out, limit=limit, watching=watching))[0]
    finally:
        await setup.aclose()


async def _chosen(judge: GroupJudge, case: Case, deadline: float | None) -> AsyncGenerator[Leading | Choice]:
    try:
        await judge.setup.check()
        async with aclosing(_choosing(judge, case, deadline)) as steps:
            async for step in steps:
                yield step
    finally:
        await judge.setup.aclose()


def _stepped(stream: AsyncGenerator[T]) -> Generator[T]:
    """What a stream yields; it runs in a thread (so in notebooks too), and ends when this is closed."""
    loop = asyncio.new_event_loop()
    found: SimpleQueue[T | _End] = SimpleQueue()

    async def pump() -> None:
        async with aclosing(stream):
            async for step in stream:
                found.put(step)

    task = loop.create_task(pump())

    def work() -> None:
        error: BaseException | None = None
        try:
            loop.run_until_complete(task)
        except BaseException as raised:
            error = raised
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            found.put(_End(error))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while not isinstance(step := found.get(), _End):
            yield step
        if step.error:
            raise step.error
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


class _End(NamedTuple):
    error: BaseException | None


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, also where an event loop is already running (notebooks); an interrupt ends it too."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    outcome: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(loop.run_until_complete(task))
        except BaseException as error:
            errors.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        thread.join()
    except BaseException:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise
    finally:
        loop.close()
    if errors:
        raise errors[0]
    return outcome[0]
