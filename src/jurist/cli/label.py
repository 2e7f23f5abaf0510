"""`jurist label`: responses to prompts become preference rows for DPO and KTO."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from jurist.cli import console
from jurist.cli.console import describe, err, exit_code, next_step, say, watching
from jurist.cli.options import CASES, OUTPUT, Flag, Judge, Limit, OnCluster, Out, SkipBad, Source
from jurist.cli.planning import NONE, KnownRates, Only, PlanJson, Reading, plan_labels
from jurist.core.errors import ConfigError, StoreError
from jurist.judging.config import DEFAULTS
from jurist.scale.config import HERE, Cluster

if TYPE_CHECKING:
    from jurist.benchmarks.base import PairsTally
    from jurist.data.labels import LabelPlan, LabelWriter
    from jurist.judging.build import JudgeSetup
    from jurist.judging.pool import RunProgress

Format = Literal["dpo", "kto", "both"]
ROWS = Group("Rows", sort_key=1)

MANY = "swapped | round_robin(swapped)"
"""How a judge of pairs deliberates unless told: both orders; of more responses, each two in both orders."""


def label(
    source: Source,
    /,
    *,
    out: Out,
    rows: Annotated[Path, Parameter(group=OUTPUT)],
    format: Annotated[Format, Parameter(group=ROWS)] = "dpo",
    pairs: Annotated[
        Literal["best-worst", "best-rest", "all", "adjacent"] | None, Parameter(group=ROWS)
    ] = None,
    marks: Annotated[Literal["best-worst", "mean"] | None, Parameter(group=ROWS)] = None,
    min_margin: Annotated[float, Parameter(group=ROWS)] = 0.0,
    min_agreement: Annotated[float, Parameter(group=ROWS)] = 0.0,
    consistent: Annotated[Flag, Parameter(group=ROWS)] = False,
    text: Annotated[Flag, Parameter(group=ROWS)] = False,
    sample: Annotated[int | None, Parameter(group=CASES)] = None,
    policy: Annotated[Path | None, Parameter(group=CASES)] = None,
    skip_bad: SkipBad = False,
    limit: Limit = None,
    plan: Only = False,
    rates: KnownRates = NONE,
    json: PlanJson = False,
    config: Judge = DEFAULTS,
    cluster: OnCluster = HERE,
) -> int:
    """Label responses by the judge: rows for DPO and KTO in TRL's format.

    A judge of pairs compares two responses in both orders, and of more each two in both orders, unless
    --deliberation says otherwise. Ties, cases without a verdict and what the options below leave out are
    counted by reason. Other labels from the same --out ask nothing again.

    Examples::

        jurist label candidates.jsonl -o runs/l --rows dpo.jsonl
        jurist label candidates.jsonl -o runs/l --rows dpo.jsonl --consistent --min-margin 0.2
        jurist label prompts.jsonl -o runs/l --rows dpo.jsonl --sample 4 --policy policy.toml

    Parameters
    ----------
    source
        Cases of two or more responses, as for `jurist judge`; with --sample prompts.
    out
        Run folder. What is judged and sampled is kept there, and the same command goes on where it stopped.
    rows
        The preference rows (.jsonl), in the order of the source, written whole at the end. With --format
        both two files beside each other: NAME.dpo.jsonl and NAME.kto.jsonl.
    format
        dpo: prompt, chosen, rejected. kto: prompt, completion, label.
    pairs
        Which responses become pairs (dpo): best-worst (the default), best-rest (the best with each other
        one), all (each two), adjacent (neighbours in the ranking).
    marks
        Which responses get a label (kto): best-worst (the default), or mean (above or below the case's mean).
    min_margin
        Leave out pairs whose scores differ by less (kto by the mean: responses that are nearer to it).
    min_agreement
        Leave out cases on which a smaller share of the judgments agree.
    consistent
        Only pairs on which both orders agree.
    text
        Texts in place of messages, where each prompt is one user turn.
    sample
        Draw so many responses to each prompt ...
    policy
        ... from the model in this TOML file: engine, model, temperature, max_tokens and the like.
    skip_bad
        Leave out rows that cannot be read or labelled, and list them, instead of stopping.
    limit
        The first so many cases only.
    plan
        Say what it will take (calls, tokens, hours, money, disk), and ask nobody.
    json
        With --plan: as JSON on standard output.
    """
    for flag, value, needed in (("--pairs", pairs, "dpo"), ("--marks", marks, "kto")):
        if value is not None and format not in (needed, "both"):
            raise ConfigError(
                f"{flag} is about {needed} rows, not {format}", hint=f"--format {needed} or both"
            )
    if (sample is None) != (policy is None):
        raise ConfigError(
            "--sample and --policy belong together", hint="--sample 4 --policy policy.toml, or neither"
        )
    if sample is not None and sample < 2:
        raise ConfigError(f"--sample {sample} makes no pair", hint="--sample 2 or more")
    from jurist.data.labels import LabelPlan, Rules
    from jurist.data.policy_sampling import policy_of

    rules = Rules(pairs or "best-worst", marks or "best-worst", min_margin, min_agreement, consistent)
    sampled_from = policy and policy_of(policy)
    if plan:
        drawn = (sampled_from, sample) if sampled_from and sample else None
        read = Reading(source, limit, skip_bad)
        return plan_labels(read, config, rates, MANY, drawn, out=out, json=json)
    targets = targets_of(rows, format, source, out)
    labelling = LabelPlan(source, out, targets, rules, text, sample, sampled_from, skip_bad, limit, config)
    return _label(labelling, cluster)


def targets_of(rows: Path, format: Format, source: str, out: Path) -> dict[str, Path]:
    """The file of each format; raises where it could not or should not be written."""
    from jurist.core.run_config import RUN
    from jurist.core.run_lines import DECISIONS, JUDGMENTS
    from jurist.core.store import SCORECARD
    from jurist.data.labels import LABELS
    from jurist.data.policy_sampling import DRAWN, POLICY

    folder = rows.parent
    if rows.suffix != ".jsonl":
        raise ConfigError(f"{rows}: the rows are JSON lines", hint="let its name end in .jsonl")
    if not folder.is_dir() and folder.resolve() != out.resolve():
        raise ConfigError(f"{rows}: there is no folder {str(folder)!r}", hint="make it first")
    targets = {format: rows}
    if format == "both":
        targets = {name: rows.with_suffix(f".{name}.jsonl") for name in ("dpo", "kto")}
    origin = Path(source).expanduser().resolve()
    taken = {out.resolve() / name for name in (JUDGMENTS, DECISIONS, RUN, SCORECARD, LABELS, DRAWN, POLICY)}
    for path in targets.values():
        if origin in (path.resolve(), path.resolve().parent):
            raise ConfigError(f"{path} stands in the source", hint="name another file for --rows")
        if path.resolve() in taken:
            raise ConfigError(f"{path} belongs to the run", hint="name another file for --rows")
    return targets


def _label(plan: "LabelPlan", cluster: Cluster) -> int:
    """Judge the cases of a plan and write their rows; raises ``InputError`` where there are none."""
    from jurist.benchmarks.base import PairsTally
    from jurist.core.store import write_scorecard
    from jurist.data.labels import LabelWriter
    from jurist.judging.build import assemble
    from jurist.judging.pool import RunProgress
    from jurist.reports.views.scorecard import scorecard_view

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
    writer, tally, progress, started = LabelWriter(plan, setup), PairsTally(), RunProgress(), time.monotonic()
    if cluster.on == "here":
        asyncio.run(_judged(plan, setup, writer, tally, progress))
    else:
        _judged_on(cluster, plan, setup, writer, tally, progress)
    # What is remembered took its time in an earlier run.
    seconds = 0.0 if progress.kept or progress.remembered else time.monotonic() - started
    card = tally.scorecard("standard input" if plan.source == "-" else Path(plan.source).name, seconds)
    err.print(scorecard_view(card))
    write_scorecard(plan.out, card)
    writer.finish(say)
    next_step("read the judgments", "jurist", "show", plan.out)
    return exit_code(card)


def _judged_on(
    cluster: Cluster,
    plan: "LabelPlan",
    setup: "JudgeSetup",
    writer: "LabelWriter",
    tally: "PairsTally",
    progress: "RunProgress",
) -> None:
    from jurist.inputs import load_cases
    from jurist.scale import decide_on, judging

    if plan.sample:
        raise ConfigError(
            "--sample draws responses in this process, not on a cluster",
            hint="draw them first, here or with the model's own server, and label the file",
        )
    say(describe(setup.config))
    rows = load_cases(plan.source, skip_bad=plan.skip_bad, on_bad=writer.bad.on_bad)
    stream = decide_on(
        cluster,
        judging(setup),
        writer.counted(islice(rows, plan.limit)),
        out=plan.out,
        source=plan.source,
        progress=progress,
        watching=watching,
        say=say,
        warn=say,
    )
    for place, (case, decision) in enumerate(stream, 1):
        tally.add(decision)
        writer.add_case(place, case, decision)


async def _judged(
    plan: "LabelPlan",
    setup: "JudgeSetup",
    writer: "LabelWriter",
    tally: "PairsTally",
    progress: "RunProgress",
) -> None:
    from jurist.data.policy_sampling import PolicySampler, prompts_of
    from jurist.inputs import load_cases
    from jurist.inputs.files import count_lines
    from jurist.judging.run import run

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


def _telling(prompts: int) -> "Callable[[RunProgress], None]":
    """A line on standard error now and then."""
    last = time.monotonic()

    def tell(now: "RunProgress") -> None:
        nonlocal last
        if time.monotonic() - last >= console.EVERY:
            last = time.monotonic()
            say(f"responses to {now.decisions:,}/{prompts:,} prompts, {now.tokens:,} tokens")

    return tell
