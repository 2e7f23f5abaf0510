"""What `jurist plan` and the `--plan` of other commands share: their options, and how plans are shown."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from jurist.cli.console import describe, list_bad, say, write_json
from jurist.cli.console import out as screen
from jurist.core.errors import InputError
from jurist.judging.config import JudgeConfig
from jurist.judging.rates import Rates

if TYPE_CHECKING:
    from jurist.core.types import Case
    from jurist.judging.build import JudgeSetup
    from jurist.judging.plan import Plan

PLAN = Group("Plan", sort_key=7)
KnownRates = Annotated[Rates, Parameter(name="*", group=PLAN)]
Only = Annotated[bool, Parameter(negative="", group=PLAN, show_default=False)]
PlanJson = Annotated[bool, Parameter(negative="", group=PLAN, show_default=False)]
NONE = Rates()


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of a source: the first ``limit`` cases, bad rows left out or refused."""

    source: str
    limit: int | None
    skip_bad: bool

    @property
    def name(self) -> str:
        """The last part of the source's name."""
        return "standard input" if self.source == "-" else Path(self.source).name

    def cases(self) -> "Iterator[Case]":
        """The cases; bad rows are listed at the end."""
        from jurist.inputs import BadRows, load_cases

        bad = BadRows(skip=self.skip_bad)
        yield from islice(load_cases(self.source, skip_bad=self.skip_bad, on_bad=bad.on_bad), self.limit)
        list_bad(bad)


def plan_source(reading: Reading, config: JudgeConfig, rates: Rates, *, out: Path | None, json: bool) -> int:
    """Show the plan of judging a source."""
    from jurist.judging.build import assemble
    from jurist.judging.plan import offline

    setup = assemble(offline(config, say), say)
    return show([planned(f"judge {reading.name}", setup, reading.cases(), rates, out)], json=json)


def plan_benchmarks(
    benchmarks: str,
    config: JudgeConfig,
    rates: Rates,
    *,
    data: Path | None,
    limit: int | None,
    out: Path | None,
    json: bool,
) -> int:
    """Show the plans of measuring a judge on benchmarks."""
    from jurist.benchmarks.fetch import place
    from jurist.judging.build import assemble
    from jurist.judging.plan import offline
    from jurist.judging.registry import benchmark
    from jurist.judging.run import chosen_cases

    setup = assemble(offline(config, say), say)
    plans: list[Plan] = []
    for name in benchmarks.split(","):
        chosen = benchmark(name.strip())
        fitting, _, cases = chosen_cases(setup, chosen, place(chosen, data), limit)
        plans.append(planned(f"eval {chosen.name}", fitting, cases, rates, out))
    return show(plans, json=json)


def plan_labels(
    reading: Reading,
    config: JudgeConfig,
    rates: Rates,
    pairs: str,
    drawn: tuple[JudgeConfig, int] | None,
    *,
    out: Path,
    json: bool,
) -> int:
    """Show the plan of labelling; ``drawn``: the policy of which so many responses are drawn first."""
    from jurist.data.labels import different
    from jurist.judging.build import assemble
    from jurist.judging.plan import offline

    setup = assemble(offline(config, say), say, pairs)
    name = f"label {reading.name}"
    if drawn is None:
        cases = (case for case in reading.cases() if len(different(case)) > 1)
        return show([planned(name, setup, cases, rates, out)], json=json)
    from jurist.data.policy_sampling import drawing_plan, undrawn

    policy, samples = drawn
    prompts = list(undrawn(reading.source, policy, samples, reading.limit))
    first = drawing_plan(
        f"draw responses from {policy.engine} {policy.model or ''}".rstrip(), prompts, policy, samples
    )
    return show([first, planned(name, setup, prompts, rates, out)], json=json)


def planned(
    what: str, setup: "JudgeSetup", cases: "Iterable[Case]", rates: Rates, out: Path | None
) -> "Plan":
    """The plan of judging these cases."""
    from jurist.judging.dry_run import dry_run
    from jurist.judging.plan import judging_plan, thinned

    kept, total = thinned(cases)
    if not kept:
        raise InputError("no case to plan for: the source has no readable row")
    check(setup, kept)
    run = asyncio.run(dry_run(setup, kept, of=total, kept=out is not None))
    return judging_plan(describe(setup.config, what), setup, run, kept, rates, out=out)


def check(setup: "JudgeSetup", cases: "Sequence[Case]") -> None:
    """Raise ``ProtocolError`` where the judge takes another number of responses."""
    from jurist.judging.judge import check_arity

    for case in () if setup.takes_many else cases:
        check_arity(setup.protocol, case, len(case.responses))


def show(plans: "Sequence[Plan]", *, json: bool) -> int:
    """Print plans as JSON lines, or for reading."""
    from jurist.reports.views.plan import plan_view

    for one in plans:
        if json:
            write_json(one)
        else:
            screen.print(plan_view(one))
    return 0
