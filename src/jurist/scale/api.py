"""A run on a cluster in one call, for scripts and notebooks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from jurist.benchmarks.base import PairsTally
from jurist.core.errors import ConfigError, JuristError
from jurist.core.store import write_scorecard
from jurist.core.types import Scorecard
from jurist.inputs import cases_of, load_cases
from jurist.judging.build import Say, assemble
from jurist.judging.config import JudgeConfig
from jurist.scale.config import Cluster
from jurist.scale.run import decide_on
from jurist.scale.work import judging


def judge_all(
    cases: str | Path | Any,
    config: JudgeConfig,
    *,
    out: str | Path,
    cluster: Cluster | None = None,
    filesystem: Any = None,
    limit: int | None = None,
    skip_bad: bool = False,
    on_bad: Callable[[JuristError], None] | None = None,
    say: Say = lambda _: None,
) -> Scorecard:
    """Judge many cases on a Ray cluster; decisions and judgments are in the run folder ``out``.

    ``cases`` as for ``jurist.judge_all``, or an address (``s3://bucket/folder``); ``filesystem`` is one of
    pyarrow or fsspec that is read from, and that ``cluster.shards`` is written to. A Ray that this process is
    connected to is used, else ``cluster.address``. The same call goes on where it stopped. Raises as
    ``decide_on``.
    """
    call = partial(
        _judged, cases, config, out, cluster or Cluster("ray"), filesystem, limit, skip_bad, on_bad, say
    )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    # A notebook's loop is running in this thread, and the engines' check needs one of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


def _judged(
    cases: Any,
    config: JudgeConfig,
    out: str | Path,
    cluster: Cluster,
    filesystem: Any,
    limit: int | None,
    skip_bad: bool,
    on_bad: Callable[[JuristError], None] | None,
    say: Say,
) -> Scorecard:
    if cluster.on != "ray":
        raise ConfigError(f"on={cluster.on!r} is no cluster", hint="Cluster('ray', ...), or jurist.judge_all")
    source = str(cases) if isinstance(cases, (str, Path)) else ""
    if source:
        rows = load_cases(source, skip_bad=skip_bad, on_bad=on_bad, filesystem=filesystem)
    else:
        rows = cases_of(cases, skip_bad=skip_bad, on_bad=on_bad)
    folder, tally = Path(out).expanduser(), PairsTally()
    setup = assemble(config, say)
    for _, decision in decide_on(
        cluster,
        judging(setup),
        islice(rows, limit),
        out=folder,
        source=source,
        say=say,
        warn=say,
        slim=True,
        filesystem=filesystem,
    ):
        tally.add(decision)
    card = tally.scorecard(Path(source).name if source else "cases")
    write_scorecard(folder, card)
    return card
