"""How many of a server's slots a run keeps busy: 256 slots, 1 s a call, both orders of each case.

python benchmarks/slots.py [CASES]
"""

import asyncio
import json
import sys
import time
import urllib.request

from serving import stub

from jurist.core.types import Case, Message
from jurist.engines.openai.client import HttpEngine
from jurist.judging.judge import Judge
from jurist.judging.pool import decide_all
from jurist.judging.registry import deliberation
from jurist.protocols.rubrics import rubrics

SLOTS = 256


async def run(url: str, n: int) -> float:
    """Decide n cases; returns the seconds it took."""
    engine = HttpEngine(f"{url}/v1", "stub", concurrency=SLOTS)
    await engine.check()
    cases = (Case(str(i), (Message("user", f"question {i}"),), ("a", "b")) for i in range(n))
    width = SLOTS + SLOTS // 4
    started = time.perf_counter()
    async for _ in decide_all(
        cases, Judge(rubrics(), engine).ask, deliberation("swapped"), concurrency=width
    ):
        pass
    seconds = time.perf_counter() - started
    await engine.aclose()
    return seconds


def main(n: int) -> None:
    """Busy slot-seconds over all slot-seconds."""
    with stub(seconds=1.0, slots=SLOTS) as url:
        wall = asyncio.run(run(url, n))
        busy = json.loads(urllib.request.urlopen(f"{url}/busy").read())["seconds"]
    share = busy / wall / SLOTS
    print(f"{2 * n} calls in {wall:.1f} s (at best {2 * n / SLOTS:.1f}): {share:.3f} of the slots busy")


if __name__ == "__main__":
    main(int((*sys.argv[1:], "2560")[0]))
