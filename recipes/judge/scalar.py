"""The scalar rival: one number for each reply, learned from the same pairs by Bradley and Terry's model.

    python recipes/judge/scalar.py DATA/alone.jsonl --out runs/judge/scalar --max-rows 4816
    python recipes/judge/scalar.py DATA/held_out-alone.jsonl --out held_out.jsonl \\
        --state runs/judge/scalar/state.pt

The same model, updates and prompts as the judge's; the score is a linear function of the last hidden state
where the judge would begin to write, and the loss of a pair is -log sigmoid(better - worse). Nothing of the
chains is learned. Rows stand in pairs, as `build.py` writes them; a pair's replies are in one micro-batch.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.nn import Parameter, functional
from train import Trainer, options

from jurist.core.statistics import wilson
from jurist.core.types import Message
from jurist.engines.chat_template import ChatIds

Scored = tuple[list[int], list[int]]
"""The prompts of the better and the worse reply in tokens."""


class Scalar(Trainer):
    """The model with a score."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        super().__init__(chosen)
        score = torch.zeros(self.model.config.hidden_size, dtype=torch.bfloat16, device=self.device)
        self.work["score"] = Parameter(score)
        self.masters["score"] = score.float()
        self.optimizer.add_param_group({"params": [self.masters["score"]]})

    def scores(self, prompts: list[list[int]]) -> torch.Tensor:
        """(prompts,), float32."""
        if self.device == "cpu":
            torch.set_num_threads(1)
        ids = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
        for i, p in enumerate(prompts):
            ids[i, : len(p)] = torch.tensor(p)
        # Right padding and causal attention: the last token of a prompt sees nothing behind it.
        hidden = self.model.model(ids.to(self.device), use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(prompts)), torch.tensor([len(p) - 1 for p in prompts])]
        return last.float() @ self.work["score"].float()

    def pair_gradients(self, pairs: list[Scored], total: int) -> tuple[list[torch.Tensor], float, int]:
        """(gradients, loss, pairs that are right) of a micro-batch."""
        better, worse = self.scores([p for pair in pairs for p in pair]).unflatten(0, (-1, 2)).unbind(1)
        loss = -functional.logsigmoid(better - worse).sum() / total
        grads = torch.autograd.grad(loss, list(self.work.values()))
        return list(grads), float(loss.detach()), int((better > worse).sum())

    def learn(self, pairs: list[Scored], rate: float) -> tuple[float, float]:
        """One step: (loss, share of pairs that were right before it)."""
        ordered = sorted(pairs, key=lambda pair: -max(map(len, pair)))
        size = max(1, self.chosen.micro // 2)
        parts = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        results = list(self.pool.map(lambda part: self.pair_gradients(part, len(pairs)), parts))
        self.apply([r[0] for r in results], rate)
        self.rows_seen += 2 * len(pairs)
        return sum(r[1] for r in results), sum(r[2] for r in results) / len(pairs)


def train(trainer: Scalar, pairs: list[Scored], chosen: argparse.Namespace) -> None:
    """Learn the pairs once, the rate falling as in `train.py`; resumable."""
    chosen.out.mkdir(parents=True, exist_ok=True)
    if (chosen.out / "state.pt").exists():
        trainer.load(chosen.out / "state.pt")
    began, spent = time.monotonic(), trainer.seconds
    with (chosen.out / "metrics.jsonl").open("a") as metrics:
        while trainer.rows_seen < 2 * len(pairs):
            at = trainer.rows_seen // 2
            rate = chosen.learning_rate * min(1, (trainer.step + 1) / chosen.warmup)
            rate *= max(0.05, min(1.0, (1 - at / len(pairs)) / chosen.decay)) if chosen.decay else 1.0
            loss, right = trainer.learn(pairs[at : at + chosen.batch // 2], rate)
            trainer.seconds = spent + time.monotonic() - began
            line = {
                "step": trainer.step,
                "rows": trainer.rows_seen,
                "loss": loss,
                "right": right,
                "rate": rate,
            }
            metrics.write(json.dumps({**line, "seconds": round(trainer.seconds)}) + "\n")
            metrics.flush()
            if trainer.step % chosen.save_every == 0:
                trainer.save(chosen.out)
                print(line, flush=True)
    trainer.save(chosen.out)


@torch.no_grad()
def measure(trainer: Scalar, rows: list[dict[str, Any]], pairs: list[Scored], out: Path) -> None:
    """Score the pairs, write both scores of each, print the table."""
    parts = [pairs[i : i + 16] for i in range(0, len(pairs), 16)]

    def one(part: list[Scored]) -> list[float]:
        with torch.no_grad():
            return trainer.scores([p for pair in part for p in pair]).tolist()

    flat = [s for part in trainer.pool.map(one, parts) for s in part]
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    lines: list[str] = []
    for row, better, worse in zip(rows[::2], flat[::2], flat[1::2], strict=True):
        for kind in (row["kind"], "all"):
            counts[kind][0] += better > worse
            counts[kind][1] += 1
        lines.append(
            json.dumps({"kind": row["kind"], "pair": row["pair"], "better": better, "worse": worse}) + "\n"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(lines))
    for kind, (k, n) in sorted(counts.items(), key=lambda item: item[0] == "all"):
        print(f"{kind:16} {n:5} {k / n:6.1%} [{wilson(k, n)[0]:.0%}, {wilson(k, n)[1]:.0%}]")


def main() -> None:
    """Read the options; train, or with ``--state`` measure."""
    parser = options(__doc__)
    parser.add_argument("--state", type=Path, help="measure this training on the rows")
    parser.add_argument("--limit", type=int, default=0)
    chosen = parser.parse_args()
    trainer = Scalar(chosen)
    limit = chosen.limit if chosen.state else chosen.max_rows
    rows = [json.loads(line) for line in chosen.rows.open()][: limit or None]
    chat = ChatIds(trainer.tokenizer, "embedded")
    prompts = [chat.prompt(tuple(Message(**m) for m in row["prompt"]), None) for row in rows]
    pairs = list(zip(prompts[::2], prompts[1::2], strict=True))
    if chosen.state:
        trainer.load(chosen.state, fresh=True)
        measure(trainer, rows, pairs, chosen.out)
    else:
        train(trainer, pairs, chosen)


if __name__ == "__main__":
    main()
