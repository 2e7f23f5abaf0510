"""What `jurist audit` does, once its options are read."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from rich.text import Text

from jurist.benchmarks.base import statuses
from jurist.benchmarks.fetch import place
from jurist.cli.console import out, say, watching, write_json
from jurist.cli.judging import describe
from jurist.core.errors import ConfigError, InputError
from jurist.core.store import read_config, read_decisions, read_digests
from jurist.core.types import Case, Decision
from jurist.inputs import load_cases
from jurist.judging.build import JudgeSetup, assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.judge import check_arity
from jurist.judging.pool import slim, spread
from jurist.judging.registry import BENCHMARKS, benchmark
from jurist.judging.run import run
from jurist.reports.audit.audit import Audit, Known, audit, known, read_items
from jurist.reports.audit.findings import Finding, best_of_two, one_or_many
from jurist.reports.audit.probes import FORGED, NAMES, WORTHLESS, probes, read_probes
from jurist.reports.views.audit import audit_view, findings_view
from jurist.reports.views.plotting import check_plot
from jurist.reports.views.reliability import plot


def audit_run(folder: Path, data: str | None, picture: Path | None, *, json: bool) -> int:
    """Audit a run folder."""
    if picture:
        check_plot(picture)
    items = read_items(read_decisions(folder), _cases(read_config(folder), data), read_digests(folder))
    found = audit(folder.resolve().name, items)
    if json:
        write_json(found)
    else:
        out.print(audit_view(found))
    if picture:
        _draw(found, picture)
    return 0


def probe_judge(
    source: str, data: str | None, folder: Path | None, limit: int | None, config: JudgeConfig, *, json: bool
) -> int:
    """Judge probes made from pairs, and say what they show; a folder keeps them."""
    cases = probes(_right_pairs(source, data, limit))
    setup = assemble(config, say)
    say(describe(setup.config))
    for case in () if setup.takes_many else cases:
        check_arity(setup.protocol, case, len(case.responses))
    decisions = asyncio.run(_judged(setup, cases, f"probes of {source}", folder))
    findings = read_probes(decisions)
    if json:
        write_json(findings)
    else:
        _show(f"{source}: {one_or_many(len(cases) // len(NAMES), 'pair')}", decisions, findings)
    if folder:
        say(f"kept in {folder}; read one with: jurist show {folder} '{cases[0].id}'")
    return 0


def _right_pairs(source: str, data: str | None, limit: int | None) -> Sequence[Case]:
    """The pairs of which gold says which response is right; of ``limit`` ones, evenly spread."""
    if source in BENCHMARKS:
        chosen = benchmark(source)
        cases = chosen.load(place(chosen, Path(data) if data else None))
    elif data:
        raise ConfigError("--data goes with the name of a benchmark", hint=f"{source!r} is read as it is")
    else:
        cases = load_cases(source)
    pairs = spread([case for case in cases if best_of_two(case.gold) is not None], limit)
    if not pairs:
        raise InputError(f"{source}: no pair of which gold says which response is right")
    return pairs


async def _judged(
    setup: JudgeSetup, cases: Sequence[Case], source: str, folder: Path | None
) -> list[Decision]:
    try:
        with watching(len(cases)) as watch:
            stream = run(setup, cases, out=folder, source=source, watch=watch, warn=say)
            async with aclosing(stream):
                return [slim(decision) async for decision in stream]
    finally:
        await setup.aclose()


def _show(title: str, decisions: Sequence[Decision], findings: Sequence[Finding]) -> None:
    """The findings, what was not answered, and which probes told nothing."""
    out.print(Text(title, style="bold"))
    out.print(findings_view(findings))
    counts = statuses(decisions)
    parts = ", ".join(f"{n:,} {status}" for status, n in counts.items())
    out.print(Text(f"{sum(counts.values()):,} judgments of {len(decisions):,} probes: {parts}.", style="dim"))
    absent = {*WORTHLESS, *FORGED} - {finding.name for finding in findings}
    if absent:
        why = "they need a judge of pairs, asked in both orders (--deliberation swapped)"
        out.print(Text(f"Left out: {', '.join(n for n in NAMES if n in absent)}: {why}.", style="yellow"))


def _draw(found: Audit, picture: Path) -> None:
    if found.calibration is None or not found.confidence:
        raise ConfigError("there is nothing to draw: the run does not say how sure its verdicts are")
    plot(found.calibration, found.name, picture)
    say(f"drawn into {picture}")


def _cases(config: dict[str, Any], data: str | None) -> dict[str, Known]:
    """The run's cases, from where it says they are; empty where that is gone and no other place is named."""
    name = config.get("benchmark")
    source = data or _own_source(config)
    if source is None:
        return {}
    say(f"responses: {source}")
    return known(_load(name if isinstance(name, str) else None, source))


def _load(name: str | None, source: str) -> Iterable[Case]:
    return benchmark(name).load(Path(source)) if name else load_cases(source, skip_bad=True)


def _own_source(config: dict[str, Any]) -> str | None:
    """Where a run read its cases: its input, or the outputs that were imported, which hold them too."""
    for key in ("input", "imported"):
        source = str(config.get(key) or "").partition("#")[0]
        if source and source != "-" and Path(source).exists():
            return source
    return None
