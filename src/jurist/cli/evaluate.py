"""`jurist eval`: public benchmarks, counted as their official code counts."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from jurist.cli.console import describe, exit_code, next_step, say, watching, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import CASES, OUTPUT, Data, Json, Judge, Limit, MaybeOut
from jurist.cli.planning import NONE, KnownRates, Only, plan_benchmarks
from jurist.core.types import Scorecard
from jurist.judging.config import DEFAULTS


def evaluate(
    benchmarks: Annotated[str, Parameter(group=CASES)],
    /,
    *,
    data: Data = None,
    out: MaybeOut = None,
    limit: Limit = None,
    known: Annotated[bool, Parameter(group=OUTPUT)] = True,
    json: Json = False,
    plan: Only = False,
    rates: KnownRates = NONE,
    config: Judge = DEFAULTS,
) -> int:
    """Measure a judge on benchmarks: official scores, intervals, and what was not answered.

    Examples::

        jurist eval judgebench -o runs/embedded --limit 20
        jurist eval rewardbench,rm-bench -e http://localhost:8000/v1 -o runs/x
        jurist eval llmbar --data ~/LLMBar -e http://localhost:8000/v1 --json

    Parameters
    ----------
    benchmarks
        Names, with commas between them. See `jurist list benchmarks`.
    data
        Folder with the benchmarks' published files, or with a folder of each one's name. Without it they
        are fetched from where they are published, and verified.
    out
        Run folder; with several benchmarks one folder for each below it.
    limit
        Judge so many cases of each, evenly spread over it: not the official score.
    known
        Below each scorecard, the published scores of known judges.
    json
        Scorecards as JSON lines on standard output.
    plan
        Say what it will take (calls, tokens, hours, money, disk), and ask nobody.
    """
    if plan:
        return plan_benchmarks(benchmarks, config, rates, data=data, limit=limit, out=out, json=json)
    from jurist.judging.build import JudgeSetup, assemble
    from jurist.judging.registry import benchmark
    from jurist.judging.run import measure

    chosen = [benchmark(name.strip()) for name in benchmarks.split(",")]
    setup = assemble(config, say)
    say(describe(setup.config))

    async def measured(setup: JudgeSetup) -> list[Scorecard]:
        try:
            return await measure(setup, chosen, data, out=out, limit=limit, watching=watching, warn=say)
        finally:
            await setup.aclose()

    cards = asyncio.run(measured(setup))
    for card in cards:
        if json:
            write_json(card)
        else:
            _show(card, known=known)
    if out:
        run = out / chosen[0].name if len(chosen) > 1 else out
        next_step("read it", "jurist", "show", run)
        next_step("compare it with another judge's run", "jurist", "compare", run, "RUN")
    return exit_code(*cards)


def _show(card: Scorecard, *, known: bool) -> None:
    from jurist.reports.views.published_scores import known_view
    from jurist.reports.views.scorecard import scorecard_view

    screen.print(scorecard_view(card))
    if known and (others := known_view(card)):
        screen.print("", others, "", sep="\n")
