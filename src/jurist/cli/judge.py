"""`jurist judge`: cases in, decisions out."""

import asyncio
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jurist.config import DEFAULTS, JudgeConfig
from jurist.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jurist.types import Case, Decision

Text = Annotated[str, Parameter(allow_leading_hyphen=True)]


def judge(
    source: Annotated[Text | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    prompt: Text | None = None,
    response: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True, negative="")] = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    skip_bad: Annotated[bool, Parameter(negative="")] = False,
    limit: int | None = None,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Judge pairs (or rate single responses), and say why.

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
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    limit
        Judge the first so many cases only.
    """
    if (source is None) == (prompt is None):
        raise ConfigError(
            "give a source of cases, or --prompt with --response", hint="jurist judge pairs.jsonl"
        )
    if prompt is not None:
        return _one(prompt, response or [], config, json=json)
    return asyncio.run(_many(source or "", out, limit, config, json=json, skip_bad=skip_bad))


def _one(prompt: str, responses: list[str], config: JudgeConfig, *, json: bool) -> int:
    from jurist.api import judge as ask
    from jurist.cli.screen import out, say, write_json
    from jurist.reports.reading import decision_view

    decision = ask(prompt, responses, config=config, say=say)
    if json:
        write_json(decision)
    else:
        out.print(decision_view(decision))
    return 0


async def _many(
    source: str, folder: Path | None, limit: int | None, config: JudgeConfig, *, json: bool, skip_bad: bool
) -> int:
    from jurist.assemble import assemble
    from jurist.benchmarks.base import Tally
    from jurist.cli.screen import err, out, say, watching, write_json
    from jurist.evaluate import Progress
    from jurist.inputs import load_cases
    from jurist.inputs.files import count_lines
    from jurist.reports.table import SHOWN, decisions_view, scorecard_view
    from jurist.run import run
    from jurist.store import write_scorecard

    bad: list[InputError] = []
    cases: Iterable[Case] = load_cases(source, skip_bad=skip_bad, on_bad=bad.append)
    bench = assemble(config, say)
    say(describe(bench.config))
    as_data = json or (folder is None and not sys.stdout.isatty())
    first: list[Decision] = []
    tally, progress, started = Tally(), Progress(), time.monotonic()
    total = count_lines(source, limit)
    try:
        with watching(total) as watch:
            stream = run(
                bench,
                islice(cases, limit),
                out=folder,
                source=source,
                progress=progress,
                watch=watch,
                warn=say,
            )
            async for decision in stream:
                tally.add(decision)
                if len(first) < SHOWN:
                    first.append(decision)
                if as_data:
                    write_json(decision)
    finally:
        await bench.engine.aclose()
    _tell_bad(bad, progress.decisions)
    card = tally.scorecard(
        Path(source).name if source != "-" else "standard input", time.monotonic() - started
    )
    screen = err if as_data else out
    if not as_data:
        screen.print(decisions_view(first, more=progress.decisions - len(first)))
        screen.print()
    screen.print(scorecard_view(card))
    if folder:
        write_scorecard(folder, card)
        say(f"kept in {folder}; read one with: jurist show {folder} {first[0].case_id if first else 'CASE'}")
    return 0


def describe(config: JudgeConfig) -> str:
    """Which judge it is, in one line."""
    who = f"{config.engine} {config.model}" if config.model else config.engine
    forced = "" if config.forced == "never" else f", forced verdict: {config.forced}"
    return f"judge: {who}, protocol {config.protocol}, deliberation {config.deliberation}{forced}"


def _tell_bad(bad: list[InputError], judged: int) -> None:
    from jurist.cli.screen import say

    if bad:
        say(f"{len(bad)} bad rows were left out:")
        for error in bad[:10]:
            say(f"  {error.message}")
    if not judged:
        raise InputError("no case was judged: the source has no readable row")
