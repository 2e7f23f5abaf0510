"""Training and judging on a GPU: seconds, memory, tokens a second, share of the card's peak.

python benchmarks/gpu/measure.py --out FOLDER [--device cuda|cpu] [--shapes 135m,1.5b]
    [--prompts 350,1000,4000] [--groups 8,16] [--budget SECONDS]

Writes FOLDER/gpu.json and FOLDER/gpu.md after every figure, so that a run that is cut off leaves what it had.
Stock TRL and shared prompts are measured in turn in one process, the same rows, in bfloat16 (autocast over
float32 weights, as `jurist train` computes). What is compared:

update   log-probabilities, loss and backward of one group as one micro-batch
step     writing one group, then the update; stock writes by ``generate``, shared by
         ``jurist.training.generation``
judging  the transformers engine (and vLLM's, where it is installed) against a bare ``generate`` over the same
         prompts in one batch
grpo     `jurist train grpo` whole: 64 prompts, 8 judgments each, one optimizer step (random weights write up
         to the limit of tokens, so this is an upper bound)
"""

import argparse
import asyncio
import gc
import importlib.metadata
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from models import SHAPES, model, saved, tokenizer

WRITTEN = 256
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 operations a second, from NVIDIA's data sheets (SXM)."""
Row = dict[str, Any]


def main() -> None:
    """Measure what fits into the budget."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", default="135m,1.5b")
    parser.add_argument("--prompts", default="1000,350,4000")
    parser.add_argument("--groups", default="8,16")
    parser.add_argument("--written", type=int, default=WRITTEN)
    parser.add_argument("--budget", type=float, default=330.0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.device, options.written, options.out, time.monotonic() + options.budget)
    shapes = options.shapes.split(",")
    bench.try_("judging", shapes[0], lambda: bench.judging(shapes[0]))
    bench.try_("grpo", shapes[0], lambda: bench.grpo(shapes[0]))
    for shape in shapes:
        trainers = {way: bench.trainer(way, shape) for way in ("stock", "shared")}
        for tokens in map(int, options.prompts.split(",")):
            for group in map(int, options.groups.split(",")):
                for what in ("update", "step"):
                    for way, trainer in trainers.items():
                        bench.case(what, way, trainer, shape, tokens, group)
        if shape == shapes[0]:
            bench.try_("profile", shape, lambda trainers=trainers: bench.profile(trainers["shared"]))
        del trainers
        bench.free()


class Bench:
    """The device, what was measured on it, and the time that is left."""

    def __init__(self, device: str, written: int, out: Path, until: float) -> None:
        import torch

        self.torch, self.device, self.written, self.out, self.until = torch, device, written, out, until
        self.rows: list[Row] = []
        self.facts = {
            "device": torch.cuda.get_device_name(0) if device == "cuda" else platform.processor() or "CPU",
            "cuda": torch.version.cuda if device == "cuda" else None,
            "packages": {n: importlib.metadata.version(n) for n in ("torch", "transformers", "trl", "peft")},
            "python": platform.python_version(),
            "written": written,
            "not run": [] if find_spec("vllm") else ["judging by vLLM: it is not installed"],
        }
        self.peak = next((v for k, v in PEAKS.items() if k in self.facts["device"]), None)

    def try_(self, what: str, shape: str, work: Callable[[], None]) -> None:
        """Do one part; what it raises becomes a row."""
        if time.monotonic() > self.until:
            self.keep({"what": what, "shape": shape, "status": "not run: no time was left"})
            return
        try:
            work()
        except Exception as error:  # a part that fails must not cost the others
            self.keep({"what": what, "shape": shape, "status": f"{type(error).__name__}: {error}"[:300]})
        self.free()

    def trainer(self, way: str, shape: str) -> Any:
        """TRL's trainer over a random model, stock or with shared prompts."""
        import trl
        from datasets import Dataset

        from jurist.training.shared_prefix import SharedPrefix

        class Shared(SharedPrefix, trl.GRPOTrainer):
            """The trainer that `jurist train grpo` makes."""

        words = tokenizer(SHAPES[shape]["vocab_size"])
        maker: Any = Shared if way == "shared" else trl.GRPOTrainer
        one = maker(
            model=model(shape, words, self.device, self.torch.float32),
            args=trl.GRPOConfig(
                output_dir=tempfile.mkdtemp(), use_cpu=self.device == "cpu", bf16=self.device == "cuda",
                report_to="none", per_device_train_batch_size=8, num_generations=8,
            ),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            train_dataset=Dataset.from_dict({"prompt": ["a"] * 8}),
            processing_class=words,
        )  # fmt: skip
        one.current_gradient_accumulation_steps = 1
        one.model.train()
        return one

    def case(self, what: str, way: str, trainer: Any, shape: str, tokens: int, group: int) -> None:
        """One figure: median of three after one that is not counted."""
        row = {"what": what, "way": way, "shape": shape, "prompt": tokens, "group": group}
        if time.monotonic() > self.until:
            self.keep(row | {"status": "not run: no time was left"})
            return
        work = self.update if what == "update" else self.step
        try:
            work(trainer, way, tokens, group)
            self.reset()
            seconds = []
            for _ in range(3):
                started = self.now()
                work(trainer, way, tokens, group)
                seconds.append(self.now() - started)
        except (self.torch.OutOfMemoryError, RuntimeError) as error:
            if "memory" not in str(error):
                raise
            self.keep(row | {"status": "out of memory"})
            trainer.model.zero_grad()
            self.free()
            return
        whole = group * (tokens + self.written)
        computed = whole if way == "stock" else tokens + group * self.written
        row |= {"status": "ok", "seconds": median(seconds), "memory": self.memory(), "tokens": whole}
        row["tokens a second"] = whole / row["seconds"]
        if self.peak and what == "update":
            # Forward and backward are about six operations a weight and token.
            weights = sum(p.numel() for p in trainer.model.parameters())
            row["share of peak"] = 6 * weights * computed / row["seconds"] / self.peak
        self.keep(row)

    def update(self, trainer: Any, way: str, tokens: int, group: int, ids: Any = None) -> None:
        """Log-probabilities, loss and backward of one group, as one micro-batch."""
        del way
        torch = self.torch
        if ids is None:
            ids = torch.stack([self.ids(self.written, 10 + row) for row in range(group)])
        prompts = self.ids(tokens, 0).expand(group, -1).contiguous()
        rows = {
            "prompt_ids": prompts,
            "prompt_mask": torch.ones_like(prompts),
            "completion_ids": ids,
            "completion_mask": torch.ones_like(ids),
            "advantages": torch.linspace(-1, 1, group, device=self.device),
            "num_items_in_batch": torch.tensor(ids.numel(), device=self.device),
        }
        trainer.model.zero_grad()
        with trainer.accelerator.autocast():
            loss = trainer._compute_loss(trainer.model, rows)
        loss.backward()

    def step(self, trainer: Any, way: str, tokens: int, group: int) -> None:
        """Write a group, then update on it."""
        from jurist.training.generation import generate

        prompt = self.ids(tokens, 0)
        with trainer.accelerator.autocast(), self.torch.no_grad():
            if way == "shared":
                drawn = generate(
                    trainer.model, [prompt.tolist()], group, max_new_tokens=self.written, pad=0, seed=0
                )
                ids = self.torch.tensor([row[0] for row in drawn], device=self.device)
            else:
                trainer.model.eval()
                ids = trainer.model.generate(
                    prompt.expand(group, -1), do_sample=True, top_k=0, max_new_tokens=self.written,
                    min_new_tokens=self.written, pad_token_id=0,
                )[:, tokens:]  # fmt: skip
                trainer.model.train()
        self.update(trainer, way, tokens, group, ids)

    def judging(self, shape: str) -> None:
        """Tokens a second of the engines and of ``generate`` alone: 64 prompts as one batch."""
        from jurist.core.types import Message, Query, Sampling
        from jurist.engines.transformers import TransformersEngine
        from jurist.engines.vllm import VllmEngine

        count, text = 64, "Which reply is better, A or B? " * 12
        sampling = Sampling(1.0, 1.0, self.written, seed=0)
        asked = [(Message("user", f"{i} {text}"),) for i in range(count)]
        queries = [Query(str(i), (0, 1), 0, messages, sampling) for i, messages in enumerate(asked)]
        with tempfile.TemporaryDirectory() as room:
            folder = str(saved(shape, Path(room), self.device))
            self.engine("engine", shape, TransformersEngine(folder, concurrency=count), queries)
            if find_spec("vllm"):
                self.engine("vllm engine", shape, VllmEngine(folder), queries)
        words = tokenizer(SHAPES[shape]["vocab_size"])
        bare = model(shape, words, self.device, self.torch.float32).eval()
        prompts = [
            words.apply_chat_template(
                [{"role": "user", "content": turns[0].content}], tokenize=False, add_generation_prompt=True
            )
            for turns in asked
        ]
        words.padding_side = "left"
        batch = words(prompts, return_tensors="pt", padding=True).to(self.device)
        batch.pop("token_type_ids", None)
        with self.torch.no_grad():
            for _ in range(2):
                self.reset()
                started = self.now()
                ids = bare.generate(**batch, do_sample=True, top_k=0, max_new_tokens=self.written)
                seconds = self.now() - started
        ends = ids[:, batch["input_ids"].shape[1] :] == words.eos_token_id
        # A row ends with its first token that ends a turn.
        tokens = int((ends.cumsum(1) == 0).sum()) + int(ends.any(1).sum())
        self.judged("bare generate", shape, seconds, tokens)

    def engine(self, way: str, shape: str, engine: Any, queries: list[Any]) -> None:
        """Ask all queries at once, the second time with the clock."""

        async def ask() -> tuple[float, int]:
            await engine.check()
            await asyncio.gather(*(engine(q) for q in queries))
            started = self.now()
            answers = await asyncio.gather(*(engine(q) for q in queries))
            seconds = self.now() - started
            await engine.aclose()
            return seconds, sum(a.usage.completion_tokens for a in answers if a.usage)

        self.reset()
        self.judged(way, shape, *asyncio.run(ask()))

    def judged(self, way: str, shape: str, seconds: float, tokens: int) -> None:
        """Keep one figure of judging."""
        row = {"what": "judging", "way": way, "shape": shape, "status": "ok", "seconds": seconds}
        self.keep(row | {"tokens": tokens, "tokens a second": tokens / seconds, "memory": self.memory()})

    def grpo(self, shape: str) -> None:
        """Seconds of a step of 512 judgments, by `jurist train grpo` as users run it."""
        from jurist.training.config import GrpoOptions
        from jurist.training.grpo import train_grpo
        from jurist.training.metrics import read_metrics

        prompts = 64 if self.device == "cuda" else 4
        with tempfile.TemporaryDirectory() as room:
            folder, data = saved(shape, Path(room) / "model", self.device), Path(room) / "pairs.jsonl"
            rows = [{"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": f"{i + 1}"} for i in range(prompts)]
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
            options = GrpoOptions(
                model=str(folder), protocol="pairwise-short", batch=prompts, group=8, steps=3, micro_batch=64,
                max_completion=self.written, resample=0, beta=0.0, save_every=100, trace_every=0,
            )  # fmt: skip
            self.reset()
            train_grpo(options, str(data), Path(room) / "run", lambda line: print(line, file=sys.stderr))
            lines = [m for m in read_metrics(Path(room) / "run" / "metrics.jsonl") if "reward" in m.metrics]
        steps = [b.seconds - a.seconds for a, b in pairwise(lines)]
        row = {"what": "grpo", "way": f"{8 * prompts} judgments a step", "shape": shape, "status": "ok"}
        self.keep(row | {"seconds": median(steps), "memory": self.memory()})

    def profile(self, trainer: Any) -> None:
        """The operations that cost most in a step with shared prompts, 1,000 tokens, a group of 8."""
        from torch.profiler import ProfilerActivity, profile

        kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if self.device == "cuda" else [])
        with profile(activities=kinds) as seen:
            self.step(trainer, "shared", 1000 if self.device == "cuda" else 50, 8)
        key = "self_cuda_time_total" if self.device == "cuda" else "self_cpu_time_total"
        (self.out / "profile.txt").write_text(seen.key_averages().table(sort_by=key, row_limit=25))

    def ids(self, count: int, seed: int) -> Any:
        """Random tokens (count,)."""
        torch = self.torch
        return torch.randint(10, 250, (count,), generator=torch.Generator().manual_seed(seed)).to(self.device)

    def now(self) -> float:
        """The clock, once the device is done."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def reset(self) -> None:
        """Forget the peak of memory."""
        if self.device == "cuda":
            self.torch.cuda.reset_peak_memory_stats()

    def memory(self) -> float | None:
        """Gigabytes at most since ``reset``; None on a CPU."""
        return self.torch.cuda.max_memory_allocated() / 1e9 if self.device == "cuda" else None

    def free(self) -> None:
        """Give memory back."""
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()

    def keep(self, row: Row) -> None:
        """Write both files anew."""
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        (self.out / "gpu.json").write_text(json.dumps({**self.facts, "rows": self.rows}, indent=1) + "\n")
        (self.out / "gpu.md").write_text(table(self.facts, self.rows))


HEAD = (
    "model", "what", "prompt", "group", "stock s", "shared s", "faster", "stock GB", "shared GB",
    "shared tokens/s", "share of peak",
)  # fmt: skip


def table(facts: Row, rows: list[Row]) -> str:
    """The Markdown table: a line for each pair of stock and shared, then the rest."""
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    written = f"{facts['written']} tokens written a row"
    lines = [f"{facts['device']}, CUDA {facts['cuda']}, {packages}; {written}.", "", _line(HEAD)]
    lines.append("|---" * len(HEAD) + "|")
    pairs: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        if row.get("way") in ("stock", "shared"):
            pairs.setdefault((row["shape"], row["what"], row["prompt"], row["group"]), {})[row["way"]] = row
    for key, both in pairs.items():
        stock, shared = both.get("stock", {}), both.get("shared", {})
        timed = "seconds" in stock and "seconds" in shared
        faster = f"{stock['seconds'] / shared['seconds']:.2f}" if timed else ""
        lines.append(_line([
            *map(str, key), _cell(stock, "seconds"), _cell(shared, "seconds"), faster,
            _cell(stock, "memory", ".1f"), _cell(shared, "memory", ".1f"),
            _cell(shared, "tokens a second", ",.0f"), _cell(shared, "share of peak", ".0%"),
        ]))  # fmt: skip
    lines += ["", _line(("what", "model", "how", "s", "tokens/s", "GB")), "|---" * 6 + "|"]
    for row in rows:
        if row.get("way") not in ("stock", "shared"):
            lines.append(_line([
                row["what"], row["shape"], row.get("way", row["status"]), _cell(row, "seconds"),
                _cell(row, "tokens a second", ",.0f"), _cell(row, "memory", ".1f"),
            ]))  # fmt: skip
    return "\n".join([*lines, "", *(f"Not run: {what}" for what in facts["not run"])]) + "\n"


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(row: Row, name: str, form: str = ".3f") -> str:
    if row.get("status", "ok") != "ok":
        return row["status"]
    value = row.get(name)
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    main()
