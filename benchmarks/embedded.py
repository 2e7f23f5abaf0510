"""The embedded engine beside its bare runtime: tokens per second with 8 cases at once, shared prefixes.

python benchmarks/embedded.py [PAIRS.jsonl]
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as og

from jurist.core.types import Query, Sampling
from jurist.engines.embedded import EmbeddedEngine
from jurist.engines.gguf import prepared
from jurist.inputs import load_cases
from jurist.judging.judge import Judge
from jurist.protocols.rubrics import rubrics_short

NEW = 100


def bare(prompts: Sequence[list[int]]) -> tuple[int, float]:
    """The runtime alone: all prompts in, step to the end; (tokens, seconds)."""
    file = str(prepared(None).file)
    scheduler: Any = og.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.cache_size = 2
    scheduler.max_num_batched_tokens = 1024
    options = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    pipeline = og.ContinuousBatchingPipeline(file, og.Tokenizer(file), scheduler, "CPU", **options)
    started = time.perf_counter()
    handles: list[Any] = []
    for i, ids in enumerate(prompts):
        config: Any = pipeline.get_config()
        config.max_new_tokens, config.do_sample = NEW, False
        handles.append(pipeline.add_request(i, ov.Tensor(np.array([ids], dtype=np.int64)), config))
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return sum(len(h.read_all()[0].generated_ids) for h in handles), time.perf_counter() - started


async def engine(queries: Sequence[Query]) -> tuple[int, float]:
    """Jurist's engine on a fresh runtime; (tokens, seconds)."""
    embedded = EmbeddedEngine("base", concurrency=16)
    await embedded.check()
    started = time.perf_counter()
    completions = await asyncio.gather(*[embedded(q) for q in queries])
    seconds = time.perf_counter() - started
    await embedded.aclose()
    return sum(c.usage.completion_tokens for c in completions), seconds


async def ids_of(queries: Sequence[Query]) -> list[list[int]]:
    """The same prompts as token ids."""
    embedded = EmbeddedEngine("base")
    await embedded.check()
    assert embedded._runtime is not None
    ids = [embedded._runtime.chat_ids(q.messages, None) for q in queries]
    await embedded.aclose()
    return ids


async def shared(queries: Sequence[Query]) -> None:
    """What the second order and the votes of a case cost after its first call."""
    embedded = EmbeddedEngine("base")
    await embedded.check()
    for name, query in zip(
        ("first order", "second order", "a vote on the first", "another vote"), queries, strict=True
    ):
        started = time.perf_counter()
        completion = await embedded(query)
        seconds = time.perf_counter() - started
        print(f"  {name:20s} {completion.usage.prompt_tokens} prompt tokens, 1 new: {1000 * seconds:5.0f} ms")
    await embedded.aclose()


def main(file: str) -> None:
    """Two rounds of each in turn, then one case's orders and votes."""
    judge = Judge(rubrics_short(), EmbeddedEngine("base"), Sampling(max_tokens=NEW))
    cases = list(load_cases(file))[:8]
    queries = [judge.query(case, (0, 1), 0) for case in cases]
    prompts = asyncio.run(ids_of(queries))
    print(f"8 cases at once, {sum(map(len, prompts)) // 8} prompt tokens each, {NEW} new")
    for _ in range(2):
        tokens, seconds = bare(prompts)
        floor = tokens / seconds
        print(f"  bare runtime {floor:6.1f} tokens/s ({tokens} in {seconds:.1f} s)")
        tokens, seconds = asyncio.run(engine(queries))
        print(f"  jurist       {tokens / seconds:6.1f} tokens/s: {tokens / seconds / floor:.2f} of bare")
    one = Judge(rubrics_short(), EmbeddedEngine("base"), Sampling(max_tokens=1, temperature=1.0))
    longest = max(cases, key=lambda c: sum(len(str(r)) for r in c.responses))
    asyncio.run(
        shared([one.query(longest, o, i) for o, i in (((0, 1), 0), ((1, 0), 0), ((0, 1), 1), ((0, 1), 2))])
    )


if __name__ == "__main__":
    main((*sys.argv[1:], str(Path(__file__).parents[1] / "examples" / "pairs.jsonl"))[0])
