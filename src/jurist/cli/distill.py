"""`jurist distill`: judging chains that are right and whole, as rows of training data."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from jurist.judging.config import DEFAULTS, JudgeConfig

Flag = Annotated[bool, Parameter(negative="")]


def distill(
    source: str,
    /,
    *,
    out: Path,
    rows: Path | None = None,
    samples: int = 1,
    both_orders: Flag = False,
    keep: Literal["first", "shortest", "longest", "all"] = "first",
    repair: Flag = False,
    repairer: Path | None = None,
    thinking: Literal["keep", "drop"] = "keep",
    longest: int = 8192,
    limit: int | None = None,
    skip_bad: Flag = False,
    json: Flag = False,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Have a teacher judge preference pairs, and keep the chains that are right and whole as training rows.

    The judge options name the teacher. With the student itself as teacher and --samples above 1 this is
    rejection sampling.

    Parameters
    ----------
    source
        Pairs with gold, as for `jurist judge`. Ties are left out.
    out
        Run folder. Everything written is kept there, and the same command goes on where it stopped.
    rows
        File for the rows, in TRL's prompt-completion format (RUN/rows.jsonl).
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
    from jurist.cli import distilling

    choices = distilling.Choices(
        source=source,
        out=out,
        rows=rows or out / "rows.jsonl",
        repairer=repairer,
        limit=limit,
        skip_bad=skip_bad,
        json=json,
    )
    method = distilling.Method(
        samples=samples,
        both_orders=both_orders,
        repair=repair or repairer is not None,
        keep=keep,
        keep_thinking=thinking == "keep",
        longest=longest,
    )
    return distilling.run(choices, method, config)
