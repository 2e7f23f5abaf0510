"""`jurist judge`: cases in, decisions out. What it shares with `rank` and `best-of-n` stands here too."""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from jurist.cli.console import (
    describe,
    err,
    exit_code,
    json_line,
    list_bad,
    next_step,
    say,
    watching,
    write_line,
)
from jurist.cli.console import out as screen
from jurist.cli.options import (
    AsCompleted,
    Json,
    Judge,
    Limit,
    MaybeOut,
    OnCluster,
    Prompt,
    Responses,
    SkipBad,
    Source,
)
from jurist.cli.planning import NONE, KnownRates, Only, Reading, plan_source
from jurist.core.errors import ConfigError, InputError, ProtocolError
from jurist.core.types import Case, Decision, conversation
from jurist.judging.config import DEFAULTS, JudgeConfig
from jurist.scale.config import HERE, Cluster

if TYPE_CHECKING:
    from jurist.benchmarks.base import PairsTally
    from jurist.inputs import BadRows
    from jurist.judging.build import JudgeSetup
    from jurist.judging.pool import RunProgress
    from jurist.protocols.base import Protocol

Decided = tuple[Decision, Case]

LATEST = 6
"""How many of the decisions that fell last are on the screen while it goes on."""

PASSING = 1024
"""How many cases in work are held for that; more are in work at no engine."""


def judge(
    source: Source | None = None,
    /,
    *,
    prompt: Prompt = None,
    response: Responses = None,
    out: MaybeOut = None,
    json: Json = False,
    as_completed: AsCompleted = False,
    skip_bad: SkipBad = False,
    limit: Limit = None,
    plan: Only = False,
    rates: KnownRates = NONE,
    config: Judge = DEFAULTS,
    cluster: OnCluster = HERE,
) -> int:
    """Judge pairs (or rate single responses), and say why.

    Examples::

        jurist judge pairs.jsonl -o runs/mine
        jurist judge pairs.jsonl -e http://localhost:8000/v1 -m gaotang/RM-R1-Qwen2.5-Instruct-7B -p rm-r1
        jurist judge --prompt "Name a prime." --response 7 --response 8

    Parameters
    ----------
    source
        Cases: a file (.jsonl, .json, .csv, .parquet, also .gz), a folder, - for standard input, or
        hf:ORG/NAME. Rows: prompt and responses, or prompt, chosen and rejected.
    prompt
        One case from the command line: its prompt ...
    response
        ... and its responses; give the flag once for each.
    out
        Run folder. Everything judged is kept there, and the same command goes on where it stopped.
    json
        Decisions as JSON lines on standard output (without --out the default where that is no terminal).
    as_completed
        Write these lines as cases are decided, not in the order of the source.
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    limit
        Judge the first so many cases only.
    plan
        Say what it will take (calls, tokens, hours, money, disk), and ask nobody.
    """
    if plan:
        if source is None or prompt is not None:
            raise ConfigError("a plan is about a source of cases", hint="jurist judge pairs.jsonl --plan")
        return plan_source(Reading(source, limit, skip_bad), config, rates, out=out, json=json)
    from jurist.reports.views.json_rows import decision_row
    from jurist.reports.views.scorecard import decisions_view

    form = OutputFormat(
        row=lambda decision, _: decision_row(decision),
        table=lambda decided, more: decisions_view([decision for decision, _ in decided], more),
        example="jurist judge pairs.jsonl",
    )
    flags = OutputFlags(json, as_completed, skip_bad)
    return judge_in(form, source, prompt, response, out, limit, config, flags, cluster)


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """How decisions are shown, as a row of data and as a table; how pairs are deliberated by default.

    ``example`` is a command to show where neither a source nor a prompt was given; with ``ends_with_table``
    one case from the command line is followed by its table.
    """

    row: Callable[[Decision, Case], dict[str, Any]]
    table: Callable[[Sequence[Decided], int], RenderableType]
    example: str
    pairs: str = "swapped"
    ends_with_table: bool = False


@dataclass(frozen=True, slots=True)
class OutputFlags:
    """JSON lines in place of a table; in the order in which cases are decided; without bad rows."""

    json: bool
    as_completed: bool
    skip_bad: bool


def judge_in(
    form: OutputFormat,
    source: str | None,
    prompt: str | None,
    responses: list[str] | None,
    folder: Path | None,
    limit: int | None,
    config: JudgeConfig,
    flags: OutputFlags,
    cluster: Cluster = HERE,
) -> int:
    """Judge a source of cases, or one case from the command line, and show the decisions in a form.

    They stand on standard output, in the run folder, or both. Raises ``ConfigError`` for both or neither
    source and prompt, ``InputError`` where no case was judged.
    """
    from jurist.benchmarks.base import PairsTally
    from jurist.core.store import write_scorecard
    from jurist.inputs import BadRows, load_cases
    from jurist.inputs.files import count_lines
    from jurist.judging.pool import RunProgress
    from jurist.reports.views.scorecard import scorecard_view

    bad = BadRows(skip=flags.skip_bad)
    if source is not None and prompt is not None:
        raise ConfigError(
            f"give a source of cases, or --prompt with --response, not both; saw the source {source!r}",
            hint="leave one of them out",
        )
    if source is None and prompt is None:
        raise ConfigError("give a source of cases, or --prompt with --response", hint=form.example)
    if source is None:
        cases, total, name = iter([_typed(prompt or "", responses or [])]), 1, "one case"
    else:
        cases = load_cases(source, skip_bad=flags.skip_bad, on_bad=bad.on_bad)
        total, name = count_lines(source, limit), "standard input" if source == "-" else Path(source).name
    piped = source is not None and folder is None and not sys.stdout.isatty()
    listing = _Listing(form, PairsTally(), as_data=flags.json or piped, as_completed=flags.as_completed)
    progress, started = RunProgress(), time.monotonic()
    cases = islice(cases, limit)
    try:
        if cluster.on == "here":
            asyncio.run(_judged(config, cases, source or "", folder, total, listing, progress, bad))
        else:
            _judged_on(cluster, config, cases, source or "", folder, listing, progress, bad)
    finally:
        listing.flush()
    list_bad(bad)
    if not progress.decisions:
        raise InputError("no case was judged: the source has no readable row")
    # What is remembered took its time in an earlier run.
    card = listing.tally.scorecard(
        name, 0.0 if progress.kept or progress.remembered else time.monotonic() - started
    )
    if source is None:
        listing.print_one()
    else:
        listing.print(progress.decisions)
        (err if listing.as_data else screen).print(scorecard_view(card))
    if folder:
        write_scorecard(folder, card)
        say(f"kept in {folder}")
        next_step("read one", "jurist", "show", folder, case=listing.example)
    return exit_code(card)


def _typed(prompt: str, responses: list[str]) -> Case:
    if not responses:
        raise ConfigError("no response to judge", hint="--response TEXT, once for each response")
    return Case("1", conversation(prompt), tuple(responses))


async def _judged(
    config: JudgeConfig,
    cases: Iterable[Case],
    source: str,
    folder: Path | None,
    total: int | None,
    listing: "_Listing",
    progress: "RunProgress",
    bad: "BadRows",
) -> None:
    from jurist.judging.run import run

    setup, cases = _set_up(config, cases, source, listing, bad)
    try:
        with watching(total, listing.latest, bar=not (listing.as_data and sys.stdout.isatty())) as watch:
            stream = run(
                setup,
                listing.numbered(cases),
                out=folder,
                source=source,
                progress=progress,
                watch=watch,
                warn=say,
                slim=not listing.as_data,
            )
            async with aclosing(stream):
                async for decision in stream:
                    listing.add(decision)
    finally:
        await setup.aclose()


def _judged_on(
    cluster: Cluster,
    config: JudgeConfig,
    cases: Iterable[Case],
    source: str,
    folder: Path | None,
    listing: "_Listing",
    progress: "RunProgress",
    bad: "BadRows",
) -> None:
    from jurist.scale import decide_on, judging

    if folder is None:
        raise ConfigError(
            "a run on a cluster needs a run folder", hint="--out on a disk that all nodes share"
        )
    setup, cases = _set_up(config, cases, source, listing, bad)
    stream = decide_on(
        cluster,
        judging(setup),
        cases,
        out=folder,
        source=source,
        progress=progress,
        watching=watching,
        say=say,
        warn=say,
        slim=not listing.as_data,
    )
    for place, (case, decision) in enumerate(stream):
        listing.note(place, case)
        listing.add(decision)


def _set_up(
    config: JudgeConfig, cases: Iterable[Case], source: str, listing: "_Listing", bad: "BadRows"
) -> tuple["JudgeSetup", Iterable[Case]]:
    """The judge, which is said, and the cases that it can judge."""
    from jurist.judging.build import assemble

    setup = assemble(config, say, listing.form.pairs)
    say(describe(setup.config))
    return setup, cases if setup.takes_many else _fitting(cases, setup.protocol, bad, source)


class _Listing:
    """Decisions as they come: JSON lines in the order of the source, or a table of the first ones at the end.

    A line waits for those before it, unless they are wanted ``as_completed``.
    """

    def __init__(
        self, form: OutputFormat, tally: "PairsTally", *, as_data: bool, as_completed: bool = False
    ) -> None:
        from jurist.reports.views.scorecard import SHOWN

        self.form, self.tally, self.as_data = form, tally, as_data
        self._as_completed = as_completed
        self._most = SHOWN
        self._first: dict[int, Decided] = {}
        self._latest: deque[Decided] = deque(maxlen=LATEST)
        self._cases: dict[str, tuple[int, Case]] = {}
        self._passing: dict[str, tuple[int, Case]] = {}
        self._waiting: dict[int, bytes] = {}
        self._next = 0

    @property
    def example(self) -> str:
        """A case that can be read."""
        return self._first[min(self._first)][1].id if self._first else "CASE"

    def numbered(self, cases: Iterable[Case]) -> Iterator[Case]:
        """The cases; the place of each is kept, since decisions do not come in their order."""
        for place, case in enumerate(cases):
            self.note(place, case)
            yield case

    def note(self, place: int, case: Case) -> None:
        """Keep a case and its place until its decision comes, where a line or the table needs it."""
        if place < self._most or self.as_data:
            self._cases[case.id] = place, case
        else:
            self._passing[case.id] = place, case
            if len(self._passing) > PASSING:
                del self._passing[next(iter(self._passing))]

    def add(self, decision: Decision) -> None:
        """Count a decision, and write it where data is written."""
        self.tally.add(decision)
        noted = self._cases.pop(decision.case_id, None) or self._passing.pop(decision.case_id, None)
        if noted is None:
            return
        place, case = noted
        if self.as_data:
            self._write(place, json_line(self.form.row(decision, case)))
        else:
            self._latest.append((decision, case))
        if place < self._most:
            self._first[place] = decision, case

    def latest(self) -> RenderableType | None:
        """The table of what was decided last, for the screen while it goes on; None where data is written."""
        return None if self.as_data or not self._latest else self.form.table([*self._latest], 0)

    def flush(self) -> None:
        """Write what still waits for a case that never came: the run was stopped."""
        for place in sorted(self._waiting):
            write_line(self._waiting.pop(place))

    def _write(self, place: int, line: bytes) -> None:
        if self._as_completed:
            write_line(line)
            return
        self._waiting[place] = line
        while (ready := self._waiting.pop(self._next, None)) is not None:
            write_line(ready)
            self._next += 1

    def print(self, total: int) -> None:
        """The table, in the order of the source."""
        if not self.as_data:
            first = [self._first[place] for place in sorted(self._first)]
            screen.print(self.form.table(first, total - len(first)))
            screen.print()

    def print_one(self) -> None:
        """The only decision, for reading."""
        from jurist.reports.views.judgment import decision_view

        if not self.as_data:
            screen.print(decision_view(self._first[0][0], more="--json"))
            if self.form.ends_with_table:
                screen.print()
                screen.print(self.form.table([self._first[0]], 0))


def _fitting(cases: Iterable[Case], protocol: "Protocol", bad: "BadRows", source: str) -> Iterator[Case]:
    """The cases whose number of responses the protocol takes; others are bad rows."""
    from jurist.judging.judge import check_arity

    for case in cases:
        try:
            check_arity(protocol, case, len(case.responses))
        except ProtocolError as error:
            where = f"{source}: " if source else ""
            told = ProtocolError(f"{where}{error.message}", error.hint)
            if bad.on_bad is None:
                raise told from None
            bad.add(told)
        else:
            yield case
