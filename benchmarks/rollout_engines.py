"""Writing GRPO completions on a CPU, by each engine of `--rollouts`, the new weights brought to it first.

python benchmarks/rollout_engines.py [MODEL] [REPEATS] [ENGINE ...]

MODEL is a folder or hub id (the embedded SmolLM2-135M without one). Two prompts of 350 tokens, eight
completions of at most 128 tokens each, as in a step of `jurist train grpo`. Each engine runs in a process of
its own, in turn; one that is not installed is passed over. Told per engine: seconds until it is there (once),
until it has the trainer's new weights (each step), until the completions are written, tokens per second, and
by how much its log-probabilities differ from those of the trainer's model in float32 (mean, nats).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

PROMPTS, COPIES, PROMPT, WRITTEN = 2, 8, 350, 128
ENGINES = {  # --rollouts, --precision
    "stock": ("stock", "fp32"),
    "stock bf16": ("stock", "bf16"),
    "shared": ("auto", "fp32"),
    "shared bf16": ("auto", "bf16"),
    "paged": ("paged", "fp32"),
    "embedded": ("embedded", "fp32"),
    "vllm bf16": ("vllm", "bf16"),
}
Rows = Sequence[tuple[Sequence[int], Sequence[float]]]


@contextmanager
def _stock(trainer: Any):
    """The trainer's own way, without any of ours."""

    def write(prompts: list[list[int]], copies: int, seed: int) -> Any:
        del seed
        with trainer.accelerator.autocast():
            ids, _ = trainer._generate_single_turn(
                [p for p in prompts for _ in range(copies)], None, {}, copies
            )
        rows = [(row, ()) for row in ids]
        return [rows[at : at + copies] for at in range(0, len(rows), copies)]

    yield write


def _trainer(policy: Any, folder: Path, rollouts: str, bf16: bool) -> Any:
    import trl
    from datasets import Dataset

    from jurist.training.rollout_backends import reload_on_cpu

    colocated: dict[str, Any] = {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": 1024}
    trainer = trl.GRPOTrainer(
        model=policy.model,
        args=trl.GRPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=bf16, report_to="none", num_generations=COPIES,
            per_device_train_batch_size=COPIES, max_completion_length=WRITTEN,
            **(colocated if rollouts == "vllm" else {}),
        ),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_dict({"prompt": ["a"] * COPIES}),
        processing_class=policy.tokenizer,
    )  # fmt: skip
    if rollouts == "vllm":
        reload_on_cpu(trainer)
    return trainer


def child(name: str, model: str) -> None:
    """Measure once; prints JSON."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    import torch

    from jurist.core.types import Sampling
    from jurist.training.config import GrpoOptions
    from jurist.training.model import load
    from jurist.training.rollout_backends import rollout_backend

    rollouts, precision = ENGINES[name]
    options: Any = GrpoOptions(model=model, precision=precision)  # pyright: ignore[reportArgumentType]
    place = torch.Generator().manual_seed(0)
    prompts = torch.randint(100, 40000, (PROMPTS, PROMPT), generator=place).tolist()
    with tempfile.TemporaryDirectory() as room:
        started = time.perf_counter()
        policy = load(options)
        trainer = _trainer(policy, Path(room), rollouts, precision == "bf16")
        sampling = Sampling(1.0, 1.0, WRITTEN)
        writer = (
            _stock
            if rollouts == "stock"
            else rollout_backend(replace(options, rollouts=rollouts), policy, sampling)
        )
        ready = time.perf_counter() - started
        with torch.no_grad():  # As a step of the optimizer would: an engine with old weights is found out.
            for weight in policy.model.parameters():
                weight.mul_(1 + 0.02 * torch.randn(weight.shape, generator=place))
        started = time.perf_counter()
        if rollouts == "vllm":
            trainer.vllm_generation.sync_weights()
        with writer(trainer) as write:
            synced = time.perf_counter()
            rows = [row for group in write(prompts, COPIES, 0) for row in group]
            written = time.perf_counter()
    tokens = sum(len(ids) for ids, _ in rows)
    far = _far(policy.model, [p for p in prompts for _ in range(COPIES)], rows)
    told = {"ready": ready, "sync": synced - started, "write": written - synced, "tokens": tokens, "far": far}
    print(json.dumps(told))


def _far(model: Any, prompts: list[list[int]], rows: Rows) -> float:
    """Mean distance between the engine's log-probabilities and the model's; -1 if it tells none."""
    import torch

    found: list[float] = []
    model.eval()
    for prompt, (ids, logprobs) in zip(prompts, rows, strict=True):
        if not logprobs:
            return -1.0
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        ours = logits.float().log_softmax(-1).gather(1, torch.tensor(list(ids))[:, None])[:, 0]
        found.append(fmean(abs(a - b) for a, b in zip(ours.tolist(), logprobs, strict=True)))
    return fmean(found)


def measured(name: str, model: str) -> dict[str, float] | None:
    """What a child process says; nothing where its engine is not installed."""
    command = [sys.executable, __file__, "--child", name, model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
        print(f"{name}: {reason[:300]}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main(model: str, repeats: int, names: Sequence[str]) -> None:
    """Print a row per engine: medians."""
    told: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in list(told):
            found = measured(name, model)
            if found is None:
                del told[name]
            else:
                told[name].append(found)
    print("engine | ready s, once | sync s | write s | tokens/s | with sync | log-probabilities off by")
    for name, runs in told.items():
        ready, sync, write, far = (median(run[k] for run in runs) for k in ("ready", "sync", "write", "far"))
        off = "not told" if far < 0 else f"{far:.4f}"
        rates = [median(r["tokens"] / (r["write"] + extra * r["sync"]) for r in runs) for extra in (0, 1)]
        print(
            f"{name} | {ready:.1f} | {sync:.2f} | {write:.1f} | {rates[0]:.0f} | {rates[1]:.0f} | {off}",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:4])
    else:
        given = sys.argv[1:]
        main((given[:1] or ["embedded"])[0], int((given[1:2] or ["1"])[0]), given[2:] or tuple(ENGINES))
