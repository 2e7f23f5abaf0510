"""One run: a bench of judge, cases, and a folder if there is one; the engine checked first, closed last."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

from jurist.assemble import Bench
from jurist.lines import Warn
from jurist.pool import Progress, Watch, decide_all
from jurist.store import Store
from jurist.types import Case, Decision


async def run(
    bench: Bench,
    cases: Iterable[Case],
    *,
    out: Path | None = None,
    source: str = "",
    benchmark: str | None = None,
    progress: Progress | None = None,
    watch: Watch = lambda _: None,
    warn: Warn = lambda _: None,
) -> AsyncGenerator[Decision]:
    """Decisions as they fall. With ``out`` they are kept there, and what is there is not asked again."""
    await bench.engine.check()
    config = {**bench.fingerprint(), "input": source, "benchmark": benchmark}
    store = Store(out, config, warn=warn) if out else None
    try:
        if store and any(store.kept):
            judgments, decisions = store.kept
            warn(f"resumed {out}: {decisions} decisions and {judgments} judgments are kept")
        stream = decide_all(
            cases,
            bench.judge(store).ask,
            bench.deliberate,
            concurrency=bench.concurrency,
            store=store,
            progress=progress,
            watch=watch,
            give_up_after=bench.config.give_up_after,
        )
        async with aclosing(stream):
            async for decision in stream:
                yield decision
    finally:
        if store:
            store.close()
