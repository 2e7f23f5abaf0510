"""GRPO, stock TRL beside shared prompts: seconds and peak memory of an update, of rollouts, of a step.

python benchmarks/shared_prefix.py FOLDER [REPEATS] [CASE ...]

FOLDER has a Hugging Face causal model (SmolLM2-135M in the README). Every figure is taken in a process of its
own, stock and shared in turn. A case is WHAT:PROMPT TOKENS:DTYPE[:checkpointing]. On a busy machine the
processor's seconds under OMP_NUM_THREADS=1 tell more than the clock's.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median
from typing import Any

ROWS, WRITTEN = 8, 128
CASES = (
    "update:350:float32",
    "update:350:bfloat16",
    "update:350:float32:checkpointing",
    "update:1000:float32",
    "update:1000:bfloat16",
    "rollouts:350:float32",
    "rollouts:350:bfloat16",
    "step:350:float32",
)


def child(way: str, case: str, folder: str) -> None:
    """Measure once; prints JSON: seconds, the processor's too, gigabytes at most and before the work."""
    what, tokens, dtype, *more = case.split(":")
    trainer = _trainer(way, folder, dtype)
    if more:
        trainer.model.gradient_checkpointing_enable()
    work: dict[str, Callable[[Any, int, int], None]] = {
        "update": _update,
        "rollouts": _rollouts,
        "step": _step,
    }
    trainer.max_completion_length = trainer.generation_config.max_new_tokens = 4
    work[what](trainer, 8, 4)
    trainer.max_completion_length = trainer.generation_config.max_new_tokens = WRITTEN
    resting = _peak()
    started, busy = time.perf_counter(), time.process_time()
    work[what](trainer, int(tokens), WRITTEN)
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": _peak(), "resting": resting}))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _trainer(way: str, folder: str, dtype: str) -> Any:
    import trl
    from datasets import Dataset

    from jurist.training.generation import generate
    from jurist.training.shared_prefix import SharedPrefix

    class Shared(SharedPrefix, trl.GRPOTrainer):
        """Shared prompts, in the update and in writing."""

        def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> Any:
            prompts = [list(ids) for ids in dict.fromkeys(map(tuple, prompt_ids))]
            return [
                r.ids for r in generate(self.model, prompts, ROWS, max_new_tokens=self.max_completion_length)
            ], None

    maker: Any = Shared if way == "shared" else trl.GRPOTrainer
    trainer = maker(
        model=folder,
        args=trl.GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=False,
            report_to="none",
            per_device_train_batch_size=ROWS,
            num_generations=ROWS,
            model_init_kwargs={"dtype": dtype},
        ),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_dict({"prompt": ["a"] * ROWS}),
    )
    trainer.current_gradient_accumulation_steps = 1
    # Every row writes all its tokens.
    trainer.eos_token_ids, trainer.generation_config.eos_token_id = [], None
    trainer.model.train()
    return trainer


def _prompt(tokens: int, seed: int) -> list[int]:
    import torch

    return torch.randint(100, 40000, (tokens,), generator=torch.Generator().manual_seed(seed)).tolist()


def _update(trainer: Any, tokens: int, written: int, seed: int = 0, ids: Any = None) -> None:
    """Log-probabilities, loss and backward of one group, as one micro-batch."""
    import torch

    if ids is None:
        ids = torch.tensor([_prompt(written, 10 + row) for row in range(ROWS)])
    rows = {
        "prompt_ids": torch.tensor([_prompt(tokens, seed)] * ROWS),
        "prompt_mask": torch.ones(ROWS, tokens, dtype=torch.long),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "advantages": torch.linspace(-1, 1, ROWS),
        "num_items_in_batch": torch.tensor(ids.numel()),
    }
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, rows).backward()


def _rollouts(trainer: Any, tokens: int, written: int) -> list[list[int]]:
    """Two prompts, eight completions each."""
    prompts = [_prompt(tokens, seed) for seed in (0, 1) for _ in range(ROWS)]
    rows, _ = trainer._generate_single_turn(prompts, None, {}, ROWS)
    assert [len(row) for row in rows] == [written] * len(prompts)
    return rows


def _step(trainer: Any, tokens: int, written: int) -> None:
    """Rollouts of two groups, then an update of two micro-batches, each of a whole group."""
    import torch

    ids = torch.tensor(_rollouts(trainer, tokens, written))
    for seed, part in enumerate(ids.split(ROWS)):
        _update(trainer, tokens, written, seed, part)


def measured(way: str, case: str, folder: str) -> dict[str, float]:
    """What a child process says."""
    command = [sys.executable, __file__, "--child", way, case, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way} {case}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(folder: str, repeats: int = 3, cases: tuple[str, ...] = CASES) -> None:
    """Print a row per case: medians."""
    print(
        "case | stock s, cpu s | shared s, cpu s | times faster, in cpu s | stock GB | shared GB | model GB"
    )
    for case in cases:
        told: dict[str, list[dict[str, float]]] = {"stock": [], "shared": []}
        for turn in range(repeats):
            for way in sorted(told, reverse=bool(turn % 2)):
                told[way].append(measured(way, case, folder))
        stock, shared = ({k: median(t[k] for t in told[w]) for k in told[w][0]} for w in ("stock", "shared"))
        figures = [
            f"{stock['seconds']:.1f}, {stock['cpu']:.1f}",
            f"{shared['seconds']:.1f}, {shared['cpu']:.1f}",
            f"{stock['seconds'] / shared['seconds']:.2f}, {stock['cpu'] / shared['cpu']:.2f}",
            *(f"{gigabytes:.2f}" for gigabytes in (stock["peak"], shared["peak"], shared["resting"])),
        ]
        print(" | ".join([case, *figures]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        child(*sys.argv[2:5])
    else:
        main(sys.argv[1], int((sys.argv[2:3] or ["3"])[0]), tuple(sys.argv[3:]) or CASES)
