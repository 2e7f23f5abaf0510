"""`jurist distill`: judging chains that are right and whole, as rows of training data."""

import asyncio
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from rich.text import Text

from jurist.cli.console import list_bad, next_step, say, watching, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import CASES, OUTPUT, Flag, Json, Judge, Limit, OnCluster, Out, SkipBad
from jurist.core.errors import ConfigError, InputError
from jurist.judging.config import DEFAULTS, JudgeConfig
from jurist.reports.views.style import borderless
from jurist.scale.config import HERE, Cluster

if TYPE_CHECKING:
    from jurist.inputs import BadRows
    from jurist.judging.build import JudgeSetup
    from jurist.training.distillation.passes import Method
    from jurist.training.distillation.tally import Pass, Summary

CHAINS = Group("Chains", sort_key=1)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is read, and where things go."""

    source: str
    out: Path
    rows: Path
    limit: int | None
    skip_bad: bool


def distill(
    source: Annotated[str, Parameter(group=CASES)],
    /,
    *,
    out: Out,
    rows: Annotated[Path | None, Parameter(group=OUTPUT, show_default=lambda _: "OUT/rows.jsonl")] = None,
    samples: Annotated[int, Parameter(group=CHAINS)] = 1,
    both_orders: Annotated[Flag, Parameter(group=CHAINS)] = False,
    keep: Annotated[Literal["first", "shortest", "longest", "all"], Parameter(group=CHAINS)] = "first",
    repair: Annotated[Flag, Parameter(group=CHAINS)] = False,
    repairer: Annotated[Path | None, Parameter(group=CHAINS)] = None,
    thinking: Annotated[Literal["keep", "drop"], Parameter(group=CHAINS)] = "keep",
    longest: Annotated[int, Parameter(group=CHAINS)] = 8192,
    limit: Limit = None,
    skip_bad: SkipBad = False,
    json: Json = False,
    config: Judge = DEFAULTS,
    cluster: OnCluster = HERE,
) -> int:
    """Have a teacher judge preference pairs, and keep the chains that are right and whole as training rows.

    The judge options name the teacher. With the student itself as teacher and --samples above 1 this is
    rejection sampling.

    Examples::

        jurist distill pairs.jsonl -o runs/traces -e http://localhost:8000/v1 -m TEACHER
        jurist distill pairs.jsonl -o runs/traces -e http://localhost:8000/v1 --samples 8 --keep longest
        jurist distill pairs.jsonl -o runs/traces -e http://localhost:8000/v1 --repair

    Parameters
    ----------
    source
        Pairs with gold, as for `jurist judge`. Ties are left out.
    out
        Run folder. Everything written is kept there, and the same command goes on where it stopped.
    rows
        File for the rows, in TRL's prompt-completion format.
    samples
        Most chains asked for each pair, the order of the responses alternating.
    both_orders
        Ask each sample in both orders, and keep it only if it is right in both.
    keep
        Which of a pair's good chains become rows. With `first` no more are asked for once there is one.
    repair
        Have the chains of pairs without a good one written anew by somebody who sees the label.
    repairer
        TOML file with the judge options of who does that (the teacher, if not given).
    thinking
        What a teacher thinks before its answer: kept as the student's thinking, or left out.
    longest
        Most tokens of a row.
    limit
        The first so many pairs only.
    skip_bad
        Leave out rows that cannot be read or have no gold, and list them, instead of stopping.
    json
        The counts as JSON on standard output.
    """
    from jurist.inputs import BadRows
    from jurist.training.distillation.distill import DISTILLATION, repairer_of, teacher_of
    from jurist.training.distillation.passes import Method

    plan = _Plan(source, out, rows or out / "rows.jsonl", limit, skip_bad)
    _check_target(plan)
    method = Method(
        samples=samples,
        both_orders=both_orders,
        repair=repair or repairer is not None,
        keep=keep,
        keep_thinking=thinking == "keep",
        longest=longest,
    )
    teacher = teacher_of(config, method, say)
    say(_describe("teacher", teacher.config))
    mender = repairer_of(repairer, teacher.config, say) if repairer else None
    if mender:
        say(_describe("repairer", mender.config))
    bad = BadRows(skip=skip_bad)
    if cluster.on == "ray":
        teacher, mender = _asked_on(cluster, plan, method, teacher, mender)
    summary = asyncio.run(_distilled(plan, method, teacher, mender, bad))
    list_bad(bad)
    if not summary.pairs:
        raise InputError("nothing to distil: the source has no pair with a preferred response")
    if json:
        write_json(summary)
    else:
        _show(summary)
    say(f"{summary.rows:,} rows: {plan.rows}; counts: {plan.out / DISTILLATION}")
    next_step("train on them", "jurist", "train", "sft", plan.rows, "--model", "MODEL", "--out", "FOLDER")
    return 0


def _check_target(plan: _Plan) -> None:
    if plan.rows.exists() and Path(plan.source).exists() and plan.rows.samefile(plan.source):
        raise ConfigError(f"--rows {plan.rows} would overwrite the pairs", hint="name another file")
    if not plan.rows.parent.is_dir() and plan.rows.parent != plan.out:
        raise ConfigError(f"--rows {plan.rows}: there is no folder {plan.rows.parent}", hint="make it first")


def _describe(role: str, config: JudgeConfig) -> str:
    who = f"{config.engine} {config.model}" if config.model else config.engine
    return f"{role}: {who}, protocol {config.protocol}"


def _asked_on(
    cluster: Cluster, plan: _Plan, method: "Method", teacher: "JudgeSetup", repairer: "JudgeSetup | None"
) -> "tuple[JudgeSetup, JudgeSetup | None]":
    """Have the chains written on a cluster; returns the judges that the run folder stands for from now on."""
    from jurist.inputs import load_cases
    from jurist.scale import distilling, fill, remembered_only
    from jurist.training.distillation.distill import usable_pairs

    if cluster.shards is not None:
        raise ConfigError("--shards are decisions, and a distillation makes rows", hint="--rows FILE")
    # Rows that are left out are counted when the rows are made.
    cases = load_cases(plan.source, skip_bad=plan.skip_bad)
    fill(
        cluster,
        distilling(teacher, method, repairer),
        usable_pairs(islice(cases, plan.limit), teacher.protocol, [] if plan.skip_bad else None),
        out=plan.out,
        source=plan.source,
        watching=watching,
        say=say,
        warn=say,
    )
    return remembered_only(teacher), repairer and remembered_only(repairer)


async def _distilled(
    plan: _Plan,
    method: "Method",
    teacher: "JudgeSetup",
    repairer: "JudgeSetup | None",
    bad: "BadRows",
) -> "Summary":
    from jurist.inputs import load_cases
    from jurist.inputs.files import count_lines
    from jurist.training.distillation.distill import distil

    cases = load_cases(plan.source, skip_bad=plan.skip_bad, on_bad=bad.on_bad)
    try:
        with watching(count_lines(plan.source, plan.limit)) as watch:
            return await distil(
                teacher,
                islice(cases, plan.limit),
                method,
                out=plan.out,
                rows=plan.rows,
                source=plan.source,
                repairer=repairer,
                bad=bad.errors if plan.skip_bad else None,
                watch=watch,
                warn=say,
            )
    finally:
        await teacher.aclose()
        if repairer:
            await repairer.aclose()


def _show(summary: "Summary") -> None:
    """The counts as a table, and the pairs, rows and tokens in three lines."""
    passes = [("first pass", summary.first)] + [("repair", summary.repair)] * bool(summary.repair.asked)
    table = borderless("chains", *[name for name, _ in passes])
    for label, count in _lines([one for _, one in passes]):
        table.add_row(label, *count)
    screen.print(table)
    screen.print()
    left = f"; {summary.ties:,} ties left out" if summary.ties else ""
    repaired = f", {summary.pairs_repaired:,} after repair" if summary.repair.asked else ""
    kept = f"{summary.pairs_first:,} kept at first{repaired}; {summary.rows:,} rows"
    screen.print(Text(f"{summary.pairs:,} pairs{left}: {kept}", style="bold"))
    if summary.tokens_per_row:
        mean = summary.row_tokens / summary.rows
        screen.print(f"{mean:,.0f} tokens in a row, {summary.tokens_per_row:,.0f} written for each")
    if summary.shown_first is not None:
        screen.print(f"the better response stands first in {summary.shown_first:.0%} of the rows")


def _lines(passes: list["Pass"]) -> list[tuple[str, list[str]]]:
    """Rows of the table: asked, accepted, every reason that occurred, tokens."""
    from jurist.training.distillation.acceptance import Reason

    reasons = [reason.value for reason in Reason if any(reason in one.rejected for one in passes)]
    return [
        ("asked", [f"{one.asked:,}" for one in passes]),
        ("accepted", [f"{one.accepted:,}" for one in passes]),
        *((f"  {reason}", [f"{one.rejected.get(reason, 0):,}" for one in passes]) for reason in reasons),
        ("tokens written", [f"{one.tokens:,}" for one in passes]),
    ]
