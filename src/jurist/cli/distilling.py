"""What `jurist distill` does, once its options are read."""

import asyncio
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path

from rich.table import Table
from rich.text import Text

from jurist.cli.console import out as screen
from jurist.cli.console import say, watching, write_json
from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.inputs import load_cases
from jurist.inputs.files import count_lines
from jurist.judging.build import JudgeSetup, assemble
from jurist.judging.config import JudgeConfig, config_of
from jurist.training.distillation.acceptance import Reason
from jurist.training.distillation.distill import DISTILLATION, distil
from jurist.training.distillation.passes import Method
from jurist.training.distillation.tally import Pass, Summary

# What a chain is has to be the same for the teacher, the repairer and the student.
_SHARED = ("protocol", "family", "rule", "system", "protocol_file")
_OTHERS = ("deliberation", "forced", "thinking_budget", "first")


@dataclass(frozen=True, slots=True)
class Choices:
    """What is read, and where things go."""

    source: str
    out: Path
    rows: Path
    repairer: Path | None = None
    limit: int | None = None
    skip_bad: bool = False
    json: bool = False


def run(choices: Choices, method: Method, config: JudgeConfig) -> int:
    """Distil, show the counts and say where things are."""
    _check(choices, method, config)
    votes = f"vote({method.samples})" if method.samples > 1 else "once"
    teacher = assemble(replace(config, deliberation=votes, forced="never"), say)
    if teacher.protocol.arity != 2:
        raise ConfigError(
            f"the protocol {teacher.protocol.name!r} does not judge pairs",
            hint="distil with a protocol of pairs, such as --protocol rubrics",
        )
    if teacher.protocol.opens_thinking and not method.keep_thinking:
        raise ConfigError(
            f"students of {teacher.protocol.name} think before they answer: their thinking cannot be dropped",
            hint="leave --thinking out",
        )
    say(_describe("teacher", teacher.config))
    repairer = _repairer(choices.repairer, teacher.config) if choices.repairer else None
    bad: list[JuristError] = []
    summary = asyncio.run(_distilled(choices, method, teacher, repairer, bad))
    _tell_bad(bad, summary)
    if choices.json:
        write_json(summary)
    else:
        _show(summary)
    say(f"{summary.rows:,} rows: {choices.rows}; counts: {choices.out / DISTILLATION}")
    return 0


async def _distilled(
    choices: Choices, method: Method, teacher: JudgeSetup, repairer: JudgeSetup | None, bad: list[JuristError]
) -> Summary:
    skipped = bad if choices.skip_bad else None
    cases = load_cases(choices.source, skip_bad=choices.skip_bad, on_bad=bad.append)
    try:
        with watching(count_lines(choices.source, choices.limit)) as watch:
            return await distil(
                teacher,
                islice(cases, choices.limit),
                method,
                out=choices.out,
                rows=choices.rows,
                source=choices.source,
                repairer=repairer,
                bad=skipped,
                watch=watch,
                warn=say,
            )
    finally:
        await teacher.aclose()
        if repairer:
            await repairer.aclose()


def _check(choices: Choices, method: Method, config: JudgeConfig) -> None:
    """Refuse options that mean nothing here, before anything is asked."""
    if method.samples < 1 or method.longest < 1:
        raise ConfigError(f"--samples {method.samples} and --longest {method.longest} have to be 1 or more")
    if choices.rows.exists() and Path(choices.source).exists() and choices.rows.samefile(choices.source):
        raise ConfigError(f"--rows {choices.rows} would overwrite the pairs", hint="name another file")
    if not choices.rows.parent.is_dir() and choices.rows.parent != choices.out:
        raise ConfigError(f"--rows {choices.rows}: there is no folder {choices.rows.parent}")
    reasons = {
        "deliberation": "chains are asked for one by one; --samples and --both-orders say how many",
        "forced": "a chain has to write its own verdict",
        "thinking_budget": "a chain that was cut teaches cutting; --longest leaves long ones out",
        "first": "there is one teacher",
    }
    for name, reason in reasons.items():
        if getattr(config, name) not in (None, "never"):
            raise ConfigError(f"--{name.replace('_', '-')} does not go with distill", hint=reason)


def _repairer(path: Path, teacher: JudgeConfig) -> JudgeSetup:
    """Who writes flawed chains anew, from a file of options; it writes in the teacher's protocol."""
    legal = {f.name for f in fields(JudgeConfig)} - {*_SHARED, *_OTHERS}
    chosen = config_of(path, legal)
    shared = {name: getattr(teacher, name) for name in _SHARED}
    config = replace(chosen, **shared, deliberation="once", forced="never")
    setup = assemble(config, lambda line: say(f"repairer: {line}"))
    say(_describe("repairer", setup.config))
    return setup


def _describe(role: str, config: JudgeConfig) -> str:
    """Who writes, in one line."""
    who = f"{config.engine} {config.model}" if config.model else config.engine
    return f"{role}: {who}, protocol {config.protocol}"


def _tell_bad(bad: list[JuristError], summary: Summary) -> None:
    if bad:
        say(f"{len(bad)} bad rows were left out:")
        for error in bad[:10]:
            say(f"  {error.message}")
    if not summary.pairs:
        raise InputError("nothing to distil: the source has no pair with a preferred response")


def _show(summary: Summary) -> None:
    """The counts as a table, and what they amount to in two lines."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("chains")
    passes = [("first pass", summary.first)] + [("repair", summary.repair)] * bool(summary.repair.asked)
    for name, _ in passes:
        table.add_column(name, justify="right")
    for label, count in _lines([found for _, found in passes]):
        table.add_row(label, *count)
    screen.print(table)
    screen.print()
    left = f"; {summary.ties:,} ties left out" if summary.ties else ""
    repaired = f", {summary.pairs_repaired:,} after repair" if summary.repair.asked else ""
    screen.print(
        Text(
            f"{summary.pairs:,} pairs{left}: {summary.pairs_first:,} kept at first{repaired}; "
            f"{summary.rows:,} rows",
            style="bold",
        )
    )
    if summary.tokens_per_row:
        mean = summary.row_tokens / summary.rows
        screen.print(f"{mean:,.0f} tokens in a row, {summary.tokens_per_row:,.0f} written for each")
    if summary.shown_first is not None:
        screen.print(f"the better response stands first in {summary.shown_first:.0%} of the rows")


def _lines(passes: list[Pass]) -> list[tuple[str, list[str]]]:
    """Rows of the table: asked, accepted, every reason that occurred, tokens."""
    reasons = [reason.value for reason in Reason if any(reason in found.rejected for found in passes)]
    return [
        ("asked", [f"{found.asked:,}" for found in passes]),
        ("accepted", [f"{found.accepted:,}" for found in passes]),
        *((f"  {reason}", [f"{found.rejected.get(reason, 0):,}" for found in passes]) for reason in reasons),
        ("tokens written", [f"{found.tokens:,}" for found in passes]),
    ]
