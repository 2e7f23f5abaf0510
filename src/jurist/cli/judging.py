"""What `jurist judge` does, once its options are read."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from jurist.api import judge_case
from jurist.benchmarks.base import Tally
from jurist.cli.console import err, out, say, watching, write_json
from jurist.core.errors import InputError, JuristError, ProtocolError
from jurist.core.store import write_scorecard
from jurist.core.types import Case, Decision, conversation
from jurist.inputs import load_cases
from jurist.inputs.files import count_lines
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import check_arity
from jurist.judging.pool import Progress
from jurist.judging.run import run
from jurist.protocols.base import Protocol
from jurist.reports.views.json_rows import decision_row
from jurist.reports.views.judgment import decision_view
from jurist.reports.views.scorecard import SHOWN, decisions_view, scorecard_view

Decided = tuple[Decision, Case]


def _row(decision: Decision, _case: Case) -> dict[str, Any]:
    return decision_row(decision)


def _table(decided: Sequence[Decided], more: int) -> RenderableType:
    return decisions_view([decision for decision, _ in decided], more)


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """How decisions are shown, as a row of data and as a table, and how pairs are deliberated by default."""

    row: Callable[[Decision, Case], dict[str, Any]] = _row
    table: Callable[[Sequence[Decided], int], RenderableType] = _table
    pairs: str = "swapped"


def one(
    prompt: str, responses: list[str], config: JudgeConfig, *, json: bool, face: OutputFormat | None = None
) -> int:
    """Judge one case from the command line and print it for reading."""
    case = Case("1", conversation(prompt), tuple(responses))
    decision = judge_case(case, config, say=say, pairs=(face or OutputFormat()).pairs)
    if json:
        write_json((face or OutputFormat()).row(decision, case))
        return 0
    out.print(decision_view(decision))
    if face:
        out.print()
        out.print(face.table([(decision, case)], 0))
    return 0


def many(
    source: str,
    folder: Path | None,
    limit: int | None,
    config: JudgeConfig,
    *,
    json: bool,
    skip_bad: bool,
    face: OutputFormat | None = None,
) -> int:
    """Judge a source of cases; what was judged stands on standard output, in the folder, or both."""
    face = face or OutputFormat()
    bad: list[JuristError] = []
    cases = load_cases(source, skip_bad=skip_bad, on_bad=bad.append)
    listing = _Listing(face, as_data=json or (folder is None and not sys.stdout.isatty()))
    tally, progress, started = Tally(), Progress(), time.monotonic()
    asyncio.run(_stream(cases, source, folder, limit, config, listing, tally, progress, bad, skip_bad))
    _tell_bad(bad, progress.decisions)
    # What is remembered took its time in an earlier run.
    seconds = 0.0 if progress.remembered else time.monotonic() - started
    card = tally.scorecard("standard input" if source == "-" else Path(source).name, seconds)
    listing.print(progress.decisions)
    (err if listing.as_data else out).print(scorecard_view(card))
    if folder:
        write_scorecard(folder, card)
        say(f"kept in {folder}; read one with: jurist show {folder} {listing.example}")
    return 0


async def _stream(
    cases: Iterable[Case],
    source: str,
    folder: Path | None,
    limit: int | None,
    config: JudgeConfig,
    listing: "_Listing",
    tally: Tally,
    progress: Progress,
    bad: list[JuristError],
    skip_bad: bool,
) -> None:
    setup = assemble(config, say, listing.face.pairs)
    say(describe(setup.config))
    some = islice(cases, limit)
    if not setup.takes_many:
        some = _fitting(some, setup.protocol, bad if skip_bad else None)
    some = listing.numbered(some)
    try:
        with watching(count_lines(source, limit)) as watch:
            stream = run(setup, some, out=folder, source=source, progress=progress, watch=watch, warn=say)
            async with aclosing(stream):
                async for decision in stream:
                    tally.add(decision)
                    listing.add(decision)
    finally:
        await setup.aclose()


def describe(config: JudgeConfig) -> str:
    """Which judge it is, in one line."""
    who = f"{config.engine} {config.model}" if config.model else config.engine
    forced = "" if config.forced == "never" else f", forced verdict {config.forced}"
    return f"judge: {who}, protocol {config.protocol}, deliberation {config.deliberation}{forced}"


class _Listing:
    """Decisions as they come: JSON lines at once, or the first of them in a table at the end."""

    def __init__(self, face: OutputFormat, *, as_data: bool) -> None:
        self.face = face
        self.as_data = as_data
        self._first: list[Decided] = []
        self._place: dict[str, int] = {}
        self._cases: dict[str, Case] = {}

    @property
    def example(self) -> str:
        """A case that can be read."""
        return self._first[0][1].id if self._first else "CASE"

    def numbered(self, cases: Iterable[Case]) -> Iterator[Case]:
        """The cases, the places of the first ones noted: decisions come as they fall."""
        for i, case in enumerate(cases):
            if i < SHOWN:
                self._place[case.id] = i
            self._cases[case.id] = case
            yield case

    def add(self, decision: Decision) -> None:
        case = self._cases.pop(decision.case_id)
        if self.as_data:
            write_json(self.face.row(decision, case))
        if decision.case_id in self._place:
            self._first.append((decision, case))

    def print(self, total: int) -> None:
        """The table, in the order of the source."""
        self._first.sort(key=lambda decided: self._place[decided[1].id])
        if not self.as_data:
            out.print(self.face.table(self._first, total - len(self._first)))
            out.print()


def _fitting(cases: Iterable[Case], protocol: Protocol, bad: list[JuristError] | None) -> Iterator[Case]:
    """The cases whose number of responses the protocol takes; others are listed in ``bad``, or raise."""
    for case in cases:
        try:
            check_arity(protocol, case, len(case.responses))
        except ProtocolError as error:
            if bad is None:
                raise
            bad.append(error)
        else:
            yield case


def _tell_bad(bad: list[JuristError], judged: int) -> None:
    if bad:
        say(f"{len(bad)} bad rows were left out:")
        for error in bad[:10]:
            say(f"  {error.message}")
    if not judged:
        raise InputError("no case was judged: the source has no readable row")
