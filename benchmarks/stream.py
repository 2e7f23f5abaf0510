"""100,000 cases through a scripted engine: judgments per second written, peak memory, time to resume.

python benchmarks/stream.py [CASES]
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from jurist.benchmarks.base import PairsTally
from jurist.inputs import load_cases
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.run import run

TEXT = "word " * 100 + "<answer>[[A]]</answer>"


async def once(file: Path, out: Path) -> tuple[int, float]:
    """Judge the file in both orders into ``out``; (decisions, seconds)."""
    bench = assemble(JudgeConfig(engine=f"scripted:{TEXT}"))
    tally, n, started = PairsTally(), 0, time.perf_counter()
    async for decision in run(bench, load_cases(str(file)), out=out):
        tally.add(decision)
        n += 1
    return n, time.perf_counter() - started


def main(n: int) -> None:
    """Write, then run again over what is there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        with file.open("w") as out:
            for i in range(n):
                row = {
                    "id": str(i),
                    "prompt": f"question {i} " * 20,
                    "responses": ["good " * 60, "bad " * 60],
                }
                out.write(json.dumps({**row, "gold": 0}) + "\n")
        _, first = asyncio.run(once(file, Path(folder) / "run"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{2 * n:,} judgments in {first:.1f} s: {2 * n / first:,.0f}/s, peak memory {peak:.0f} MB")
        decided, again = asyncio.run(once(file, Path(folder) / "run"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"resumed: {decided:,} decisions in {again:.1f} s, nothing asked, peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main(int((*sys.argv[1:], "100000")[0]))
