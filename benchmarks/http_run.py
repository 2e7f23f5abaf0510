"""What a judging run over HTTP costs the client: CPU a judgment, beside a loop of only what must be done.

    python benchmarks/http_run.py [JUDGMENTS] [CLIENT...]

Clients: loop, jurist, openai, litellm, inspect_ai, distilabel; without names loop and jurist. Each runs in a
process of its own, under the Python of ``$CLIENT_PYTHON`` where it is set (OPENAI_PYTHON=...), else this one,
against the same stub, which answers at once with 4 KB, with 64 calls in flight. Every client judges the same
pairs (two replies of 2 KB) in both orders by the same prompt, and keeps every answer on disk; what more it
keeps is its own. CPU is that of the process from the first call on: starting it is not counted.

``loop``: renders the prompt, hashes it, sends it by aiohttp and writes the answer as a line of JSON.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

WIDTH = 64
QUESTION = "Which planet has the most moons, and how do we know? "
REPLY = "The reply explains what is known about the moons and how they were counted. " * 27
PROMPT = (
    "You judge two replies to a question. Say which is better, reply [[A]] or [[B]] within <answer> tags.\n\n"
    "[Question]\n{question}\n\n[Reply A]\n{a}\n\n[Reply B]\n{b}"
)


def texts(i: int) -> tuple[str, tuple[str, str]]:
    """The question and the replies of pair i."""
    return f"{i}: {QUESTION}", (f"first {i} {REPLY}", f"second {i} {REPLY}")


def prompt(i: int, order: tuple[int, int]) -> str:
    """The prompt of pair i in an order."""
    question, replies = texts(i)
    return PROMPT.format(question=question, a=replies[order[0]], b=replies[order[1]])


async def both_orders(n: int, ask: Callable[[int, tuple[int, int]], Awaitable[None]]) -> None:
    """n judgments, ``WIDTH`` at a time."""
    work = iter([(i, order) for i in range(n // 2) for order in ((0, 1), (1, 0))])

    async def worker() -> None:
        for i, order in work:
            await ask(i, order)

    await asyncio.gather(*[worker() for _ in range(WIDTH)])


def loop(url: str, n: int, folder: Path) -> float:
    """The floor: render, hash, send, write."""
    import aiohttp

    async def main() -> None:
        with (folder / "lines.jsonl").open("wb", buffering=0) as file:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

                async def ask(i: int, order: tuple[int, int]) -> None:
                    messages = [{"role": "user", "content": prompt(i, order)}]
                    body = json.dumps({"model": "stub", "messages": messages, "max_tokens": 2048}).encode()
                    key = blake2b(body, digest_size=12).hexdigest()
                    headers = {"content-type": "application/json"}
                    path = f"{url}/v1/chat/completions"
                    async with session.post(path, data=body, headers=headers) as reply:
                        text = json.loads(await reply.read())["choices"][0]["message"]["content"]
                    file.write(json.dumps({"key": key, "text": text}).encode() + b"\n")

                await both_orders(n, ask)

    return _timed(lambda: asyncio.run(main()))


def jurist(url: str, n: int, folder: Path) -> float:
    """A whole run of ours: orders, parsed verdicts, decisions, a resumable folder."""
    from importlib import import_module

    from jurist.core.types import Case, Message
    from jurist.judging.build import assemble
    from jurist.judging.config import JudgeConfig
    from jurist.judging.run import run

    import_module("jurist.engines.openai.client")  # imports are not measured
    options = JudgeConfig(engine=f"{url}/v1", model="stub", protocol="rubrics", concurrency=WIDTH)
    cases = (
        Case(str(i), (Message("user", texts(i)[0]),), texts(i)[1], gold=(1.0, 0.0)) for i in range(n // 2)
    )

    async def main() -> None:
        setup = assemble(options)
        try:
            async for _ in run(setup, cases, out=folder / "run"):
                pass
        finally:
            await setup.aclose()

    return _timed(lambda: asyncio.run(main()))


def openai(url: str, n: int, folder: Path) -> float:
    """The official client, and a line of JSON an answer."""
    from openai import AsyncOpenAI

    async def main() -> None:
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
        with (folder / "lines.jsonl").open("wb", buffering=0) as file:

            async def ask(i: int, order: tuple[int, int]) -> None:
                messages: Any = [{"role": "user", "content": prompt(i, order)}]
                done = await client.chat.completions.create(model="stub", messages=messages, max_tokens=2048)
                text = done.choices[0].message.content
                file.write(json.dumps({"id": [i, order], "text": text}).encode() + b"\n")

            await both_orders(n, ask)
        await client.close()

    return _timed(lambda: asyncio.run(main()))


def litellm(url: str, n: int, folder: Path) -> float:
    """litellm's asynchronous completion, and a line of JSON an answer."""
    from litellm import acompletion

    async def main() -> None:
        with (folder / "lines.jsonl").open("wb", buffering=0) as file:

            async def ask(i: int, order: tuple[int, int]) -> None:
                messages = [{"role": "user", "content": prompt(i, order)}]
                done: Any = await acompletion(
                    "openai/stub", messages, api_base=f"{url}/v1", api_key="none", max_tokens=2048
                )
                text = done.choices[0].message.content
                file.write(json.dumps({"id": [i, order], "text": text}).encode() + b"\n")

            await both_orders(n, ask)

    return _timed(lambda: asyncio.run(main()))


def inspect_ai(url: str, n: int, folder: Path) -> float:
    """An evaluation of inspect_ai: a sample for each order, a match scorer, its log."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import get_model
    from inspect_ai.scorer import includes
    from inspect_ai.solver import generate

    samples = [Sample(prompt(i, order), target="[[A]]") for i in range(n // 2) for order in ((0, 1), (1, 0))]
    model = get_model("openai/stub", base_url=f"{url}/v1", api_key="none", responses_api=False)
    task = Task(dataset=MemoryDataset(samples), solver=generate(max_tokens=2048), scorer=includes())

    def run() -> None:
        (log,) = eval(task, model, max_connections=WIDTH, log_dir=str(folder), display="none")
        assert log.status == "success", log.error

    return _timed(run)


def distilabel(url: str, n: int, folder: Path) -> float:
    """A pipeline of distilabel with one text generation step; its distiset is written to disk."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    rows = [{"instruction": prompt(i, order)} for i in range(n // 2) for order in ((0, 1), (1, 0))]
    with Pipeline(name="judge", cache_dir=folder / "cache") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=WIDTH)
        llm = OpenAILLM(
            model="stub", base_url=f"{url}/v1", api_key="none", generation_kwargs={"max_new_tokens": 2048}
        )
        load >> TextGeneration(llm=llm, input_batch_size=WIDTH)

    def run() -> None:
        pipeline.run(use_cache=False).save_to_disk(str(folder / "distiset"))

    # Its steps are processes.
    return _timed(run, children=True)


CLIENTS = {f.__name__: f for f in (loop, jurist, openai, litellm, inspect_ai, distilabel)}


def _timed(run: Callable[[], None], *, children: bool = False) -> float:
    before, begun = os.times(), time.process_time()
    run()
    after = os.times()
    more = after.children_user + after.children_system - before.children_user - before.children_system
    return time.process_time() - begun + (more if children else 0.0)


def main(n: int, names: list[str]) -> None:
    """Three rounds of each, in turn; medians."""
    from serving import stub

    rows: dict[str, list[float]] = {name: [] for name in names}
    with stub() as url:
        for _ in range(3):
            for name in names:
                # Slow ones are given less to do.
                few = n if name in ("loop", "jurist") else max(512, n // 8)
                python = os.environ.get(f"{name.upper()}_PYTHON", sys.executable)
                with TemporaryDirectory() as folder:
                    words = [python, __file__, "--client", name, url, str(few), folder]
                    done = subprocess.run(words, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{name}: {done.stderr.strip().splitlines()[-1]}")
                    continue
                rows[name].append(float(done.stdout.split()[-1]))
    for name, measured in rows.items():
        if measured:
            low, middle, high = min(measured), median(measured), max(measured)
            share = f", {middle / median(rows['loop']):.2f} of the loop" if rows.get("loop") else ""
            print(f"{name:12s} {middle:.3f} ms of CPU a judgment ({low:.3f} to {high:.3f}){share}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        name, url, count, where = sys.argv[2:]
        print(1000 * CLIENTS[name](url, int(count), Path(where)) / int(count))
    else:
        main(int((*sys.argv[1:], "6000")[0]), sys.argv[2:] or ["loop", "jurist"])
