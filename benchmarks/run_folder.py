"""How a run folder grows: seconds, peak memory and bytes a judgment, of judging, resuming and reading it.

    python benchmarks/run_folder.py 1000 10000 100000 [--deliberation swapped] [--compare OTHER/src]

Each step is a process of its own, so that its peak memory is its own. The judge answers at once with about
700 characters; a case has about 1,300. ``--compare`` runs the same with another version of the program.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from inspect import signature
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

WORDS = (
    "the judge reads both answers and weighs each claim against the question before it says which is better"
)
REASONS = " ".join([WORDS] * 6)
STEPS = ("judge", "resume", "show", "score")


def main() -> None:
    """Run every step of every size in its own process and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--deliberation", default="swapped")
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    sources = [Path(__file__).parents[1] / "src", *filter(None, [arguments.compare])]
    print(f"{'version':12}{'cases':>10}{'step':>9}{'seconds':>10}{'CPU':>9}{'peak MB':>10}  what")
    with TemporaryDirectory(dir=arguments.folder) as work:
        for size in arguments.sizes:
            for source in sources:
                name = "this" if source == sources[0] else "other"
                for step in STEPS:
                    print(f"{name:12}{size:>10,}", _step(step, size, arguments.deliberation, work, source))


def _step(step: str, size: int, deliberation: str, work: str, source: Path) -> str:
    run = Path(work) / f"{source.parts[-2]}-{size}"
    command = [sys.executable, __file__, "--step", step, str(size), deliberation, str(run)]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def _cases(n: int) -> "Iterator[object]":
    from jurist.core.types import Case, Message

    for i in range(n):
        question = (Message("user", f"Question {i}: {WORDS}?"),)
        responses = tuple(f"Answer {side} to question {i}: {WORDS * 5}." for side in "pq")
        yield Case(f"case-{i}", question, responses, gold=(1.0, 0.0), group=f"group {i % 7}")


async def _judge(n: int, text: str, run: Path) -> int:
    from jurist.core.store import Store
    from jurist.core.types import Completion, Query, Usage
    from jurist.judging.judge import Judge
    from jurist.judging.pool import decide_all
    from jurist.judging.registry import deliberation
    from jurist.protocols.rubrics import rubrics

    asked = 0

    async def engine(_: Query) -> Completion:
        nonlocal asked
        asked += 1
        return Completion(f"{REASONS}\n<answer>[[A]]</answer>", usage=Usage(400, 160))

    with Store(run, {"benchmark": None}) as store:
        judge = Judge(rubrics(), engine, memory=store)
        # Earlier versions have no such options.
        known = signature(decide_all).parameters
        options = {"slim": True} if "slim" in known else {}
        if "settled" in known:
            options["settled"] = store.settled()
        stream = decide_all(_cases(n), judge.ask, deliberation(text), concurrency=32, store=store, **options)
        async with aclosing(stream):
            async for _ in stream:
                pass
    return asked


def step(name: str, size: int, text: str, run: Path) -> None:
    """One measurement, printed as one line."""
    from jurist.benchmarks.base import score_pairs
    from jurist.core.runs import open_run

    started = time.monotonic()
    if name in ("judge", "resume"):
        asked = asyncio.run(_judge(size, text, run))
        used = sum(f.stat().st_size for f in run.iterdir())
        what = f"{asked:,} asked" + (f", {used / asked:,.0f} bytes a judgment on disk" if asked else "")
    else:
        with open_run(run) as opened:
            if name == "show":
                rows = list(islice(opened.decisions(), 24))
                what = f"{len(rows)} of {len(opened):,} cases"
            else:
                what = str(score_pairs(opened.decisions(slim=True)).headline)
    seconds = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{name:>8}{seconds:>10.2f}{cpu:>9.2f}{usage.ru_maxrss / 1024:>10.0f}  {what}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step(sys.argv[2], int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
    else:
        main()
