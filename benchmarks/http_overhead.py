"""What the HTTP engine costs: requests per second and CPU per request, beside a bare aiohttp loop.

    python benchmarks/http_overhead.py [REQUESTS]

The stub answers at once with 4 KB; 128 requests in flight; bodies of 4 KB. The openai SDK joins in
where it is installed.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import aiohttp
from serving import stub

from jurist.core.types import Message, Query, Sampling
from jurist.engines.openai.client import HttpEngine

WIDTH = 128
TEXT = "Which reply is better? " * 170


async def bare(url: str, n: int) -> None:
    """The floor: post, read, decode."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(i: int) -> None:
            body = {
                "model": "stub",
                "messages": [{"role": "user", "content": TEXT}],
                "seed": i,
                "max_tokens": 9,
            }
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                json.loads(await response.read())

        await _pool(one, n)


async def engine(url: str, n: int) -> None:
    """Jurist's engine: the same, with slots, retries, time limits and completions."""
    http = HttpEngine(f"{url}/v1", "stub", concurrency=WIDTH)
    await http.check()

    async def one(i: int) -> None:
        query = Query("1", (0, 1), i, (Message("user", TEXT),), Sampling(seed=i, max_tokens=9))
        assert (await http(query)).finish == "stop"

    await _pool(one, n)
    await http.aclose()


async def openai_sdk(url: str, n: int) -> None:
    """The official client."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")

    async def one(i: int) -> None:
        await client.chat.completions.create(
            model="stub", messages=[{"role": "user", "content": TEXT}], seed=i, max_tokens=9
        )

    await _pool(one, n)
    await client.close()


async def _pool(one: Callable[[int], Awaitable[None]], n: int) -> None:
    numbers = iter(range(n))

    async def work() -> None:
        for i in numbers:
            await one(i)

    await asyncio.gather(*[work() for _ in range(WIDTH)])


def main(n: int) -> None:
    """Three rounds of each, in turn; medians."""
    clients: dict[str, tuple[Callable[[str, int], Awaitable[None]], int]] = {
        "bare aiohttp": (bare, n),
        "jurist HttpEngine": (engine, n),
    }
    try:
        import openai  # noqa: F401

        clients["openai SDK"] = (openai_sdk, n // 4)
    except ImportError:
        print("openai is not installed: left out")
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    with stub() as url:
        for _ in range(3):
            for name, (client, count) in clients.items():
                wall, cpu = time.perf_counter(), time.process_time()
                asyncio.run(client(url, count))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                rows[name].append((count / wall, 1000 * cpu / count))
    floor = median(r[0] for r in rows["bare aiohttp"])
    for name, measured in rows.items():
        rate, cpu = median(r[0] for r in measured), median(r[1] for r in measured)
        low, high = min(r[0] for r in measured), max(r[0] for r in measured)
        share = f"{rate / floor:.2f} of bare, {cpu:.2f} ms CPU"
        print(f"{name:18s} {rate:6.0f} requests/s ({low:.0f} to {high:.0f}), {share}")


if __name__ == "__main__":
    main(int((*sys.argv[1:], "6000")[0]))
