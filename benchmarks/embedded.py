"""The embedded engine beside its bare runtime: tokens per second, verdict margins, shared prefixes.

python benchmarks/embedded.py [PAIRS.jsonl] [ROUNDS]

Seconds are those of the clock, and those of the process's CPU, in which other work does not count.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


class Speed(NamedTuple):
    """What was written, and in how many seconds of the clock and of the CPU."""

    tokens: int
    seconds: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.tokens / self.seconds:6.1f} tokens/s, {self.tokens / self.cpu:5.1f} per CPU second"


class Timer:
    """Starts both clocks."""

    def __init__(self) -> None:
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def speed(self, tokens: int) -> Speed:
        """Tokens over the time since the start."""
        return Speed(tokens, time.perf_counter() - self._clock, time.process_time() - self._cpu)


class Bare:
    """The runtime alone; ``options`` are its precisions."""

    def __init__(self, options: dict[str, str]) -> None:
        file = str(prepared(None).file)
        scheduler: Any = og.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.cache_size = 2
        scheduler.max_num_batched_tokens = 1024
        self._pipeline: Any = og.ContinuousBatchingPipeline(
            file, og.Tokenizer(file), scheduler, "CPU", **options
        )
        self._count = 0

    def add(self, ids: Sequence[int], **settings: Any) -> Any:
        """A request's handle."""
        config: Any = self._pipeline.get_config()
        config.do_sample = False
        for name, value in settings.items():
            setattr(config, name, value)
        self._count += 1
        return self._pipeline.add_request(self._count, ov.Tensor(np.array([ids], dtype=np.int64)), config)

    def finish(self) -> None:
        """Step to the end of all requests."""
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()

    def write(self, prompts: Sequence[list[int]], *, one_first: bool) -> Speed:
        """``NEW`` tokens for each prompt; with ``one_first`` the others come after a step of it."""
        timer = Timer()
        handles = [self.add(prompts[0], max_new_tokens=NEW)] if one_first else []
        if one_first:
            self._pipeline.step()
        handles += [self.add(ids, max_new_tokens=NEW) for ids in prompts[len(handles) :]]
        self.finish()
        return timer.speed(sum(len(h.read_all()[0].generated_ids) for h in handles))

    def margin(self, ids: Sequence[int]) -> float:
        """Log-probability of A minus that of B after a prompt (nats)."""
        values: list[float] = []
        for label in "AB":
            grammar = og.StructuredOutputConfig(regex=label)
            handle = self.add(ids, max_new_tokens=1, logprobs=1, structured_output_config=grammar)
            self.finish()
            values.append(handle.read_all()[0].generated_log_probs[0])
        return values[0] - values[1]


async def engine(queries: Sequence[Query]) -> Speed:
    """Jurist's engine on a fresh runtime."""
    embedded = EmbeddedEngine("base", concurrency=16)
    await embedded.check()
    timer = Timer()
    completions = await asyncio.gather(*[embedded(q) for q in queries])
    speed = timer.speed(sum(c.usage.completion_tokens for c in completions))
    await embedded.aclose()
    return speed


async def ids_of(queries: Sequence[Query]) -> list[list[int]]:
    """The prompts as token ids."""
    embedded = EmbeddedEngine("base")
    await embedded.check()
    assert embedded._runtime is not None
    ids = [embedded._runtime.chat_ids(q.messages, q.prefill) for q in queries]
    await embedded.aclose()
    return ids


async def shared(queries: Sequence[Query]) -> None:
    """What the second order and the votes of a case cost after its first call."""
    embedded = EmbeddedEngine("base")
    await embedded.check()
    names = ("first order", "second order", "a vote on the first", "another vote")
    for name, query in zip(names, queries, strict=True):
        timer = Timer()
        completion = await embedded(query)
        _, seconds, cpu = timer.speed(1)
        read = completion.usage.prompt_tokens
        print(f"  {name:20s} {read} prompt tokens, 1 new: {1000 * seconds:5.0f} ms, CPU {1000 * cpu:5.0f} ms")
    await embedded.aclose()


def margins(prompts: Sequence[list[int]]) -> None:
    """How far the default precision's verdict margins are from those of float32, and from themselves."""
    exact, fast = Bare(EXACT), Bare({})
    reference = [exact.margin(ids) for ids in prompts]
    again = [exact.margin(ids) for ids in prompts]
    values = [fast.margin(ids) for ids in prompts]
    repeated = [fast.margin(ids) for ids in prompts]
    print(f"verdict margins of {len(prompts)} prompts, nats")
    for name, left, right in (
        ("float32, asked again", again, reference),
        ("default precision, from float32", values, reference),
        ("default precision, asked again", repeated, values),
    ):
        away = [abs(x - y) for x, y in zip(left, right, strict=True)]
        turned = sum((x > 0) != (y > 0) for x, y in zip(left, right, strict=True))
        print(
            f"  {name:34s} mean {sum(away) / len(away):.4f}, most {max(away):.4f}, verdicts turned: {turned}"
        )


def main(file: str, rounds: int) -> None:
    """Rounds of each in turn, then margins, then one case's orders and votes."""
    judge = Judge(rubrics_short(), EmbeddedEngine("base"), Sampling(max_tokens=NEW))
    cases = list(load_cases(file))[:8]
    queries = [judge.query(case, (0, 1), 0) for case in cases]
    prompts = asyncio.run(ids_of(queries))
    print(f"{len(cases)} cases at once, {sum(map(len, prompts)) // len(cases)} prompt tokens each, {NEW} new")
    for _ in range(rounds):
        print("  bare runtime, all at once      ", Bare(EXACT).write(prompts, one_first=False), flush=True)
        print(
            "  bare runtime, one first        ",
            floor := Bare(EXACT).write(prompts, one_first=True),
            flush=True,
        )
        print("  its default precision, one first", Bare({}).write(prompts, one_first=True), flush=True)
        own = asyncio.run(engine(queries))
        share = own.tokens / own.cpu / (floor.tokens / floor.cpu)
        print(f"  jurist                          {own}: {share:.2f} of the bare one, one first", flush=True)
    slot = judge.protocol.slot.before
    asked = [judge.query(case, order, 0) for case in cases for order in ((0, 1), (1, 0))]
    forced = [Query(q.case_id, q.order, 0, q.messages, q.sampling, slot) for q in asked]
    margins(asyncio.run(ids_of(forced)))
    one = Judge(rubrics_short(), EmbeddedEngine("base"), Sampling(max_tokens=1, temperature=1.0))
    longest = max(cases, key=lambda c: sum(len(str(r)) for r in c.responses))
    orders = (((0, 1), 0), ((1, 0), 0), ((0, 1), 1), ((0, 1), 2))
    asyncio.run(shared([one.query(longest, order, sample) for order, sample in orders]))


if __name__ == "__main__":
    pairs = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parents[1] / "examples" / "pairs.jsonl")
    main(pairs, int((*sys.argv[2:], "2")[0]))
