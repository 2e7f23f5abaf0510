"""`jurist plan`: what judging, distilling and training will take, before anything starts."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from jurist.cli.console import describe, say, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import CASES, Data, Flag, Json, Judge, Limit, MaybeOut, SkipBad, Source
from jurist.cli.planning import NONE, KnownRates, Reading, check, plan_benchmarks, plan_source, show
from jurist.core.errors import JuristError
from jurist.judging.config import DEFAULTS
from jurist.judging.rates import Rates
from jurist.training.config import GrpoOptions, ScalarOptions, SftOptions, TrainOptions

if TYPE_CHECKING:
    from jurist.judging.plan import Plan
    from jurist.training.plan import TrainPlan

plan = App(name="plan", help="What judging, distilling and training will take: calls, tokens, hours, money.")

COMPARED = (
    "once", "swapped", "vote(5)", "swapped(vote(3))", "exact(5)", "confident(16)", "escalate(512)",
    "cascade(0.5)", "knockout(swapped)", "adaptive(match=swapped)", "swiss(match=swapped)", "balanced(4)",
    "round_robin(swapped)", "each",
)  # fmt: skip
"""What `plan deliberations` compares, as far as it fits the cases."""


@plan.command
def judge(
    source: Source,
    /,
    *,
    skip_bad: SkipBad = False,
    limit: Limit = None,
    json: Json = False,
    out: MaybeOut = None,
    rates: KnownRates = NONE,
    config: Judge = DEFAULTS,
) -> int:
    """What `jurist judge` will take; the same as `jurist judge --plan`.

    Examples::

        jurist plan judge pairs.jsonl -d 'swapped(vote(5))' -e http://localhost:8000/v1 -m MODEL
        jurist plan judge pairs.jsonl --like runs/first-hundred --price-hour 2.5
        jurist plan judge pairs.jsonl -p rm-r1 --json

    Parameters
    ----------
    source
        Cases, as for `jurist judge`.
    """
    return plan_source(Reading(source, limit, skip_bad), config, rates, out=out, json=json)


@plan.command(name="eval")
def evaluate(
    benchmarks: Annotated[str, Parameter(group=CASES)],
    /,
    *,
    data: Data = None,
    limit: Limit = None,
    json: Json = False,
    out: MaybeOut = None,
    rates: KnownRates = NONE,
    config: Judge = DEFAULTS,
) -> int:
    """What `jurist eval` will take; the same as `jurist eval --plan`. Benchmarks are fetched for it.

    Examples::

        jurist plan eval rewardbench,rm-bench -e http://localhost:8000/v1 -m gaotang/RM-R1-Qwen2.5-Instruct-7B
        jurist plan eval judgebench --like runs/embedded
        jurist plan eval rewardbench -p rrm -d 'vote(16)' --json

    Parameters
    ----------
    benchmarks
        Names, with commas between them.
    """
    return plan_benchmarks(benchmarks, config, rates, data=data, limit=limit, out=out, json=json)


@plan.command
def deliberations(
    source: Source,
    /,
    *,
    limit: Limit = None,
    skip_bad: SkipBad = False,
    json: Json = False,
    rates: KnownRates = NONE,
    config: Judge = DEFAULTS,
) -> int:
    """What the same cases take in several deliberations, side by side.

    Examples::

        jurist plan deliberations pairs.jsonl -p rubrics
        jurist plan deliberations candidates.jsonl -p rubrics --written 400 --rate 2000
        jurist plan deliberations pairs.jsonl -p rubrics --json

    Parameters
    ----------
    source
        Cases, as for `jurist judge`.
    """
    from jurist.judging.build import assemble
    from jurist.judging.dry_run import dry_run
    from jurist.judging.plan import judging_plan, offline, thinned
    from jurist.reports.views.plan import plans_table

    cases, total = thinned(Reading(source, limit, skip_bad).cases())
    config = offline(config, say)
    texts = [config.deliberation] if config.deliberation else COMPARED
    plans: list[tuple[str, Plan | str]] = []
    for text in texts:
        try:
            setup = assemble(replace(config, deliberation=text))
            check(setup, cases)
            run = asyncio.run(dry_run(setup, cases, of=total))
            plans.append((text, judging_plan(text, setup, run, cases, rates)))
        except JuristError as error:
            plans.append((text, error.message.partition(";")[0]))
    if json:
        for text, one in plans:
            write_json({"deliberation": text, "refused": one} if isinstance(one, str) else one)
    else:
        screen.print(plans_table(plans))
        for text, one in plans:
            if isinstance(one, str):
                say(f"{text}: {one}")
    return 0


@plan.command
def distill(
    source: Source,
    /,
    *,
    samples: int = 1,
    both_orders: Flag = False,
    keep: Literal["first", "shortest", "longest", "all"] = "first",
    repair: Flag = False,
    limit: Limit = None,
    skip_bad: SkipBad = False,
    json: Json = False,
    out: MaybeOut = None,
    rates: KnownRates = NONE,
    config: Judge = DEFAULTS,
) -> int:
    """What `jurist distill` will take.

    Examples::

        jurist plan distill pairs.jsonl -e https://HOST/v1 -m TEACHER --price-read 3 --price-written 15
        jurist plan distill pairs.jsonl -p rubrics --samples 8 --keep longest --written 700
        jurist plan distill pairs.jsonl -p rubrics --json

    Parameters
    ----------
    source
        Pairs with gold. The options are those of `jurist distill`.
    """
    from jurist.judging.plan import judging_plan, offline
    from jurist.training.distillation.distill import teacher_of
    from jurist.training.distillation.passes import Method
    from jurist.training.plan import distillation_dry_run, with_distillation_notes

    method = Method(samples, both_orders, repair, keep)
    teacher = teacher_of(offline(config, say), method, say)
    cases = list(Reading(source, limit, skip_bad).cases())
    run = asyncio.run(distillation_dry_run(teacher, cases, method))
    what = describe(teacher.config, f"distil {Path(source).name}")
    one = judging_plan(what, teacher, run, cases, rates, out=out)
    return show([with_distillation_notes(one, method)], json=json)


@plan.command
def sft(
    source: Source,
    /,
    *,
    json: Json = False,
    rates: KnownRates = NONE,
    options: Annotated[SftOptions, Parameter(name="*")] = SftOptions(),  # noqa: B008
) -> int:
    """What `jurist train sft` will take. Of --like the seconds of a step are taken: a training's folder.

    Examples::

        jurist plan sft rows.jsonl --model Qwen/Qwen2.5-7B-Instruct --preset rm-r1-sft-7b
        jurist plan sft rows.jsonl --model embedded --rate 270
        jurist plan sft rows.jsonl --model embedded --json
    """
    return _training(options, source, rates, json=json)


@plan.command
def grpo(
    source: Source,
    /,
    *,
    json: Json = False,
    rates: KnownRates = NONE,
    options: Annotated[GrpoOptions, Parameter(name="*")] = GrpoOptions(),  # noqa: B008
) -> int:
    """What `jurist train grpo` will take. --rate: tokens in a second, written and trained together.

    Examples::

        jurist plan grpo pairs.jsonl --model Qwen/Qwen2.5-7B-Instruct --preset rm-r1-instruct-7b
        jurist plan grpo pairs.jsonl --model embedded --written 150 --rate 250 --price-hour 0.4
        jurist plan grpo pairs.jsonl --model embedded --json
    """
    return _training(options, source, rates, json=json)


@plan.command
def scalar(
    source: Source,
    /,
    *,
    json: Json = False,
    rates: KnownRates = NONE,
    options: Annotated[ScalarOptions, Parameter(name="*")] = ScalarOptions(),  # noqa: B008
) -> int:
    """What `jurist train scalar` will take.

    Examples::

        jurist plan scalar pairs.jsonl --model Qwen/Qwen2.5-7B-Instruct --rate 20000
        jurist plan scalar pairs.jsonl --model embedded --like runs/scalar
        jurist plan scalar pairs.jsonl --model embedded --json
    """
    return _training(options, source, rates, json=json)


def _training(options: TrainOptions, source: str, rates: Rates, *, json: bool) -> int:
    from jurist.training.plan import training_plan

    one = training_plan(options, source, rates)
    if json:
        write_json(one)
    else:
        _show_training(one)
    return 0


def _show_training(one: "TrainPlan") -> None:
    from rich.text import Text

    from jurist.judging.plan import Range
    from jurist.reports.views.plan import hours, short, span
    from jurist.reports.views.style import borderless

    lines: list[tuple[str, str | None]] = [
        ("rows", f"{one.rows:,}"),
        ("steps", f"{one.steps:,}"),
        ("tokens trained", f"{short(one.trained)} (by {one.counted_by})"),
        ("rollouts", f"{one.calls:,}" if one.calls else None),
        ("tokens written", one.written and short(one.written)),
        ("parameters", f"{one.parameters:,}" if one.parameters else None),
        ("operations", one.flops and short(one.flops, "FLOP")),
        ("time", one.hours and hours(one.hours)),
        ("money", one.money and span(one.money, ",.2f")),
        ("disk", short(Range(one.disk, one.disk), "B") if one.disk else None),
    ]
    table = borderless("", words=[""], header=False)
    for name, words in lines:
        if words:
            table.add_row(Text(name, style="dim"), words)
    screen.print(Text(one.what, style="bold"))
    screen.print(table)
    for note in one.notes:
        screen.print(Text(f"{note[:1].upper()}{note[1:]}.", style="dim"), soft_wrap=True)
