"""`jurist audit`: the habits of a judge, from what a run has recorded or from probes."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from jurist.cli.console import describe, exit_code, next_step, say, tell_damage, watching, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import CASES, OUTPUT, Json, Judge, Limit, MaybeOut
from jurist.core.errors import ConfigError, InputError
from jurist.core.types import Case, Decision, Scorecard
from jurist.judging.config import DEFAULTS, JudgeConfig

if TYPE_CHECKING:
    from jurist.judging.build import JudgeSetup
    from jurist.reports.audit.audit import Audit, Known
    from jurist.reports.audit.findings import Finding


def audit(
    run: Annotated[Path | None, Parameter(group=CASES)] = None,
    /,
    *,
    probe: Annotated[str | None, Parameter(group=CASES)] = None,
    data: Annotated[str | None, Parameter(group=CASES)] = None,
    plot: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    out: MaybeOut = None,
    limit: Limit = None,
    json: Json = False,
    config: Judge = DEFAULTS,
) -> int:
    """Audit a judge for bias.

    Of a recorded run: position, length, markup, calibration, whether the reasons hold, what was not answered;
    nobody is asked. With --probe the judge is asked: do worthless answers win, do verdicts forged in an
    answer sway it.

    Examples::

        jurist audit runs/mine
        jurist audit runs/mine --plot reliability.svg
        jurist audit --probe pairs.jsonl -e http://localhost:8000/v1 -o runs/probes

    Parameters
    ----------
    run
        Run folder.
    probe
        Judge probes made from these pairs with gold instead: a source of cases as for `jurist judge`, or a
        benchmark. Each pair is asked eight times, in both orders: as it is, with three worthless answers and
        with four forged verdicts in place of the worse response.
    data
        Where the run's cases come from, if not from the run itself: length and markup need the responses.
        With --probe BENCHMARK: folder with its published files.
    plot
        Draw the reliability diagram into this file (.svg, .png or .pdf; extra: plot).
    out
        Run folder that keeps the judged probes; the same command goes on where it stopped.
    limit
        Probe so many pairs, evenly spread.
    json
        The audit, or the findings on the probes, as JSON on standard output.
    """
    if (run is None) == (probe is None):
        raise ConfigError("give a run folder, or --probe with a source of pairs", hint="jurist audit RUN")
    if probe is not None:
        if plot:
            raise ConfigError("probes have no diagram", hint="leave out --plot")
        return _probe(probe, data, out, limit, config, json=json)
    if out or limit is not None or config != DEFAULTS:
        raise ConfigError(
            "options of a judge go with --probe: of a run nobody is asked", hint="jurist audit RUN"
        )
    return _audit(run or Path(), data, plot, json=json)


def _audit(run: Path, data: str | None, picture: Path | None, *, json: bool) -> int:
    """Audit a run folder."""
    from jurist.core.runs import open_run
    from jurist.reports.audit.audit import audit, read_run
    from jurist.reports.audit.faithfulness import Reasons
    from jurist.reports.views.audit import audit_view
    from jurist.reports.views.plotting import check_plot

    if picture:
        check_plot(picture)
    reasons = Reasons()
    with open_run(run) as opened:
        first = next(opened.ids(), "")
        held = data is None and opened.case(first) is not None
        items = list(read_run(opened, {} if held else _cases(opened.config, data), reasons))
        tell_damage(opened)
    result = audit(run.resolve().name, items, reasons)
    if json:
        write_json(result)
    else:
        screen.print(audit_view(result))
    if picture:
        _draw(result, picture)
    next_step("compare it with another judge's run", "jurist", "compare", run, "RUN")
    return 0


def _draw(result: "Audit", picture: Path) -> None:
    from jurist.reports.views.reliability import plot

    if result.calibration is None or not result.confidence:
        raise ConfigError("there is nothing to draw: the run does not say how sure its verdicts are")
    plot(result.calibration, result.name, picture)
    say(f"drawn into {picture}")


def _cases(config: dict[str, Any], data: str | None) -> dict[str, "Known"]:
    """The run's cases, from where it says they are; empty where that is gone and no other place is named."""
    from jurist.inputs import load_cases
    from jurist.judging.registry import benchmark
    from jurist.reports.audit.audit import known

    name, source = config.get("benchmark"), data or _recorded_source(config)
    if source is None:
        return {}
    say(f"responses: {source}")
    return known(
        benchmark(name).load(Path(source)) if isinstance(name, str) else load_cases(source, skip_bad=True)
    )


def _recorded_source(config: dict[str, Any]) -> str | None:
    """Where a run read its cases: its input, or the outputs that were imported, which hold them too."""
    for key in ("input", "imported"):
        source = str(config.get(key) or "").partition("#")[0]
        if source and source != "-" and Path(source).exists():
            return source
    return None


def _probe(
    source: str, data: str | None, folder: Path | None, limit: int | None, config: JudgeConfig, *, json: bool
) -> int:
    """Judge probes made from pairs, and say what they show; a folder keeps them."""
    from jurist.judging.build import assemble
    from jurist.judging.judge import check_arity
    from jurist.reports.audit.findings import one_or_many
    from jurist.reports.audit.probes import NAMES, probes, read_probes

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
        _show_probes(f"{source}: {one_or_many(len(cases) // len(NAMES), 'pair')}", decisions, findings)
    if folder:
        say(f"kept in {folder}")
        next_step("read one", "jurist", "show", folder, case=cases[0].id)
    return exit_code(Scorecard(source, statuses=_statuses(decisions)))


def _right_pairs(source: str, data: str | None, limit: int | None) -> Sequence[Case]:
    """The pairs of which gold says which response is right; of ``limit`` ones, evenly spread."""
    from jurist.benchmarks.fetch import place
    from jurist.inputs import load_cases
    from jurist.judging.pool import spread
    from jurist.judging.registry import BENCHMARKS, benchmark
    from jurist.reports.audit.findings import best_of_two

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
    setup: "JudgeSetup", cases: Sequence[Case], source: str, folder: Path | None
) -> list[Decision]:
    from jurist.judging.pool import slim
    from jurist.judging.run import run

    try:
        with watching(len(cases)) as watch:
            stream = run(setup, cases, out=folder, source=source, watch=watch, warn=say)
            async with aclosing(stream):
                return [slim(decision) async for decision in stream]
    finally:
        await setup.aclose()


def _statuses(decisions: Sequence[Decision]) -> dict[str, int]:
    from jurist.benchmarks.base import statuses

    return {str(status): n for status, n in statuses(decisions).items()}


def _show_probes(title: str, decisions: Sequence[Decision], findings: Sequence["Finding"]) -> None:
    """The findings, what was not answered, and which probes told nothing."""
    from jurist.reports.audit.probes import FORGED, NAMES, WORTHLESS
    from jurist.reports.views.audit import findings_view

    screen.print(Text(title, style="bold"))
    screen.print(findings_view(findings))
    counts = _statuses(decisions)
    parts = ", ".join(f"{n:,} {status}" for status, n in counts.items())
    total = sum(counts.values())
    screen.print(Text(f"{total:,} judgments of {len(decisions):,} probes: {parts}.", style="dim"))
    absent = {*WORTHLESS, *FORGED} - {finding.name for finding in findings}
    if absent:
        why = "they need a judge of pairs, asked in both orders (--deliberation swapped)"
        screen.print(Text(f"Left out: {', '.join(n for n in NAMES if n in absent)}: {why}.", style="yellow"))
