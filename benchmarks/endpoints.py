"""Two real servers: a case that stays on one against a random choice, in cached prompt tokens and time.

    python benchmarks/endpoints.py --servers PYTHON [--cases 12] [--votes 6]

PYTHON is an interpreter that has xllamacpp (llama.cpp's server in one wheel); it serves the packaged
SmolLM2-135M twice. Votes at temperature 0.8 on long pairs, as a deliberation asks them: a few cases in work
at once, each vote after the one before. Each way has fresh servers.
"""

import argparse
import asyncio
import random
import subprocess
import time
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from jurist.core.types import Message, Query, Sampling, Usage
from jurist.engines.gguf import packaged
from jurist.engines.openai.endpoints import EndpointsEngine

SERVER = """
import sys, time, xllamacpp as x
p = x.CommonParams()
p.model.path, p.n_parallel, p.n_ctx, p.port = sys.argv[1], 2, 2 * 4096, int(sys.argv[2])
p.cpuparams.n_threads = 1
server = x.Server(p)
print(server.listening_address, flush=True)
time.sleep(3600)
"""


class RandomChoice(EndpointsEngine):
    """The same engine, but each call goes to any server."""

    def _chosen(self, case_id, failed_at):
        return random.Random(f"{case_id} {time.monotonic_ns()}").choice(
            [e for e in self.endpoints if not e.sick and e not in failed_at]
        )


@asynccontextmanager
async def serving(python, port):
    process = subprocess.Popen(  # noqa: ASYNC220 - a moment, before anything is measured
        [python, "-c", SERVER, str(packaged()), str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}/v1"
    try:
        async with aiohttp.ClientSession() as session:
            for _ in range(300):
                await asyncio.sleep(0.2)
                try:
                    async with session.get(f"http://127.0.0.1:{port}/health") as reply:
                        if reply.status == 200:
                            break
                except aiohttp.ClientError:
                    continue
        yield url
    finally:
        process.kill()
        process.wait()


def votes(case, n, words):
    rng = random.Random(case)
    text = " ".join(f"{rng.choice('abcdefgh')}{rng.randrange(10**4)}" for _ in range(words))
    question = Message("user", f"Case {case}: {text}\nWhich is better?")
    turns = (Message("system", "You compare two replies."), question)
    return [Query(case, (0, 1), i, turns, Sampling(0.8, max_tokens=4, seed=i)) for i in range(n)]


async def measured(kind, urls, cases, n, words, at_once):
    engine = kind(urls, None, concurrency=2, timeout=300.0)
    await engine.check()
    slots, total = asyncio.Semaphore(at_once), Usage()

    async def one(case):
        nonlocal total
        async with slots:
            for query in votes(case, n, words):
                completion = await engine(query)
                assert not completion.error, completion.error
                total += completion.usage

    started = time.monotonic()
    await asyncio.gather(*[one(f"case {i}") for i in range(cases)])
    seconds = time.monotonic() - started
    await engine.aclose()
    return total, seconds


async def main():
    options = argparse.ArgumentParser()
    options.add_argument("--servers", required=True)
    options.add_argument("--cases", type=int, default=12)
    options.add_argument("--votes", type=int, default=6)
    options.add_argument("--words", type=int, default=150)
    chosen = options.parse_args()
    for port, kind in ((18100, EndpointsEngine), (18110, RandomChoice)):
        async with AsyncExitStack() as stack:
            urls = [await stack.enter_async_context(serving(chosen.servers, port + i)) for i in range(2)]
            usage, seconds = await measured(kind, urls, chosen.cases, chosen.votes, chosen.words, 4)
        share = usage.cached / usage.prompt_tokens
        read = f"{usage.prompt_tokens:,} tokens read, {share:.1%} cached"
        print(f"{kind.__name__}: {read}, {seconds:.1f} s", flush=True)


asyncio.run(main())
