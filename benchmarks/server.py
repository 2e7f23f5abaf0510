"""What the reward server costs: one comparison over HTTP, beside the same comparison in process.

    python benchmarks/server.py [REQUESTS] [CLIENTS]

The engine answers at once, so all that is measured is ours: HTTP, decoding, rendering, parsing, counting.
Clients send one comparison after the other (prompt and responses of 4 KB in all); server and clients are
two processes. The server's CPU time a comparison says what one core can do; requests/s on a machine that
shares its cores with the clients, or with others, say less. The event loop is uvloop's where it is installed.
"""

import asyncio
import multiprocessing
import sys
import time
from dataclasses import replace
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from statistics import median, quantiles
from typing import Any

import aiohttp
import msgspec

from jurist.core.types import Case, Completion, Message, Query
from jurist.engines.base import EngineBase
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.group import GroupJudge
from jurist.serving.server import Server, address, listening, loop_factory
from jurist.serving.service import Service
from jurist.serving.settings import Settings

TEXT = "Which reply is better? " * 58
RESPONSES = (f"one {TEXT}", f"two {TEXT}")


class Instant(EngineBase):
    """Answers at once and keeps nothing."""

    async def __call__(self, query: Query) -> Completion:  # noqa: ARG002
        return Completion("<answer>[[A]]</answer>")


def judge() -> GroupJudge:
    """The default judge of pairs, on the instant engine."""
    bench = assemble(JudgeConfig(engine="scripted:", protocol="rubrics"))
    return GroupJudge(replace(bench, engine=Instant()))


def serve(listener: Any, stop: Event, cpu: "Synchronized[float]") -> None:
    """The server's process; ``cpu``: its CPU seconds while it served."""

    async def main() -> None:
        service = Service(judge(), Settings())
        server = asyncio.create_task(Server(service).serve(sockets=[listener]))
        begun = time.process_time()
        await asyncio.to_thread(stop.wait)
        cpu.value = time.process_time() - begun
        service.draining = True
        await server

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())


async def load(url: str, n: int, clients: int) -> tuple[list[float], float]:
    """Seconds of each request, and of all."""
    body = msgspec.json.encode({"prompt": TEXT, "responses": RESPONSES})
    seconds: list[float] = []
    numbers = iter(range(n))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for _ in numbers:
                started = time.perf_counter()
                async with session.post(f"{url}/compare", data=body) as reply:
                    answer = await reply.json()
                assert reply.status == 200, answer
                seconds.append(time.perf_counter() - started)

        started = time.perf_counter()
        await asyncio.gather(*[work() for _ in range(clients)])
        return seconds, time.perf_counter() - started


async def in_process(n: int) -> float:
    """CPU milliseconds of one comparison without a server."""
    alone = judge()
    case = Case("1", (Message("user", TEXT),), RESPONSES)
    started = time.process_time()
    for _ in range(n):
        await alone.judge(case)
    return 1000 * (time.process_time() - started) / n


def main(n: int, clients: int) -> None:
    """Three rounds after one to warm up; medians."""
    listener = listening(Settings(port=0))
    stop, cpu = multiprocessing.Event(), multiprocessing.Value("d")
    process = multiprocessing.Process(target=serve, args=(listener, stop, cpu))
    process.start()
    url = address(listener)
    rows: list[tuple[float, float, float]] = []
    asyncio.run(load(url, clients, clients))
    for _ in range(3):
        seconds, whole = asyncio.run(load(url, n, clients))
        rows.append((1000 * median(seconds), 1000 * quantiles(seconds, n=100)[98], n / whole))
    alone, _ = asyncio.run(load(url, n // 4, 1))
    stop.set()
    process.join()
    middle, tail, rate = (median(row[i] for row in rows) for i in range(3))
    each = 1000 * cpu.value / (clients + 3 * n + n // 4)
    print(f"{clients} clients: median {middle:.1f} ms, p99 {tail:.1f} ms, {rate:.0f} comparisons/s")
    print(f"1 client: median {1000 * median(alone):.2f} ms")
    print(f"CPU of the server: {each:.3f} ms a comparison, {1000 / each:.0f}/s on one core")
    print(f"CPU of the same comparison in process: {asyncio.run(in_process(n // 4)):.3f} ms")


if __name__ == "__main__":
    arguments = [int(x) for x in sys.argv[1:]]
    main(*(arguments + [2000, 64][len(arguments) :]))
