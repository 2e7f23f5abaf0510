"""How many of a server's slots a run keeps busy, both orders of each case.

python benchmarks/slots.py [CASES] [SLOTS] [SECONDS]: 2560 cases, 256 slots, 1 s a call.
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


async def run(url: str, n: int, slots: int) -> float:
    """Decide n cases; returns the seconds it took."""
    engine = HttpEngine(f"{url}/v1", "stub", concurrency=slots)
    await engine.check()
    cases = (Case(str(i), (Message("user", f"question {i}"),), ("a", "b")) for i in range(n))
    width = slots + slots // 4
    started = time.perf_counter()
    async for _ in decide_all(
        cases, Judge(rubrics(), engine).ask, deliberation("swapped"), concurrency=width
    ):
        pass
    seconds = time.perf_counter() - started
    await engine.aclose()
    return seconds


def main(n: int, slots: int, each: float) -> None:
    """Busy slot-seconds over all slot-seconds."""
    with stub(seconds=each, slots=slots) as url:
        cpu = time.process_time()
        wall = asyncio.run(run(url, n, slots))
        cpu = time.process_time() - cpu
        busy = json.loads(urllib.request.urlopen(f"{url}/busy").read())["seconds"]
    share, best = busy / wall / slots, 2 * n * each / slots
    print(f"{2 * n} calls in {wall:.1f} s (at best {best:.1f}): {share:.3f} of the slots busy")
    print(f"the client's CPU: {cpu:.1f} s, {500 * cpu / n:.2f} ms a call")


if __name__ == "__main__":
    given = sys.argv[1:]
    count, width, seconds = (*given, *("2560", "256", "1")[len(given) :])
    main(int(count), int(width), float(seconds))
