"""What `jurist label` does, once its options are read: responses sampled, cases judged, rows written."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from itertools import islice
from pathlib import Path

from jurist.benchmarks.base import Tally
from jurist.cli.console import EVERY, err, say, watching
from jurist.cli.judging import describe
from jurist.core.errors import ConfigError, StoreError
from jurist.core.store import write_scorecard
from jurist.data.labels import LabelPlan, LabelWriter
from jurist.data.policy_sampling import PolicySampler, prompts_of
from jurist.inputs import load_cases
from jurist.inputs.files import count_lines
from jurist.judging.build import JudgeSetup, assemble
from jurist.judging.pool import Progress
from jurist.judging.run import run
from jurist.reports.views.scorecard import scorecard_view

MANY = "swapped | round_robin(swapped)"
"""How a judge of pairs deliberates unless told: both orders; of more responses, each two in both orders."""


def label(plan: LabelPlan) -> int:
    """Judge the cases of a plan and write their rows; raises ``InputError`` where there are none."""
    setup = assemble(plan.config, say, MANY)
    if setup.protocol.arity == 1 and (plan.rules.consistent or plan.rules.min_agreement):
        raise ConfigError(
            f"the protocol {setup.protocol.name!r} rates single responses: nothing can agree",
            hint="leave out --consistent and --min-agreement, or choose a judge of pairs",
        )
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the run folder {plan.out}: {error.strerror or error}") from error
    writer, tally, progress, started = LabelWriter(plan, setup), Tally(), Progress(), time.monotonic()
    asyncio.run(_judged(plan, setup, writer, tally, progress))
    # What is remembered took its time in an earlier run.
    seconds = 0.0 if progress.remembered else time.monotonic() - started
    card = tally.scorecard("standard input" if plan.source == "-" else Path(plan.source).name, seconds)
    err.print(scorecard_view(card))
    write_scorecard(plan.out, card)
    writer.finish(say)
    return 0


async def _judged(
    plan: LabelPlan, setup: JudgeSetup, writer: LabelWriter, tally: Tally, progress: Progress
) -> None:
    try:
        if plan.policy and plan.sample:
            sampler = PolicySampler(plan.out, plan.policy, plan.sample)
            prompts = list(islice(prompts_of(plan.source, writer.bad.on_bad), plan.limit))
            await sampler.draw(prompts, say, _telling(len(prompts)))
            cases, total = sampler.cases(prompts, writer.sampled), len(prompts)
        else:
            rows = load_cases(plan.source, skip_bad=plan.skip_bad, on_bad=writer.bad.on_bad)
            cases, total = islice(rows, plan.limit), count_lines(plan.source, plan.limit)
        say(describe(setup.config))
        with watching(total) as watch:
            taken = writer.taken(cases)
            stream = run(
                setup, taken, out=plan.out, source=plan.source, progress=progress, watch=watch, warn=say
            )
            async with aclosing(stream):
                async for decision in stream:
                    tally.add(decision)
                    writer.add(decision)
    finally:
        await setup.aclose()


def _telling(prompts: int) -> Callable[[Progress], None]:
    """A line on standard error now and then."""
    last = time.monotonic()

    def tell(now: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            say(f"responses to {now.decisions:,}/{prompts:,} prompts, {now.tokens:,} tokens")

    return tell
