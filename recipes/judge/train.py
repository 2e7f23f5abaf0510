"""Train low-rank updates of the judge on weighted rows: resumable, on two cores or a GPU.

    python recipes/judge/train.py ROWS.jsonl --out runs/judge/alone --minutes 100

The loss is computed at the completion's positions, over the tokens that occur in the rows: a sixth of the
vocabulary; the others are never a target, and their logits would be a tenth of a step. Rows of a step are
sorted by length. On a CPU each core works on its own micro-batches (a second thread in one product gains
less, and nothing where it is busy), with plain attention (1.1 times as fast at 150 tokens).
"""

import argparse
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from base import load
from lora import update
from torch.nn import functional

from jurist.core.types import Message
from jurist.engines.chat_template import ChatIds

HEAVY = 5.0
"""From this weight on a token is one that decides: the share of these that come out right is logged."""

Row = tuple[list[int], int, list[float]]
"""Token ids, where the completion begins, and the weight of each of its tokens."""


def tokens_of(row: dict[str, Any], chat: ChatIds, tokenizer: Any) -> Row:
    """One row as tokens and weights."""
    text = row["completion"][0]["content"]
    prompt = chat.prompt(tuple(Message(**m) for m in row["prompt"]), None)
    reply = chat.reply(text)
    weights = [1.0] * len(reply)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if list(offsets["input_ids"]) != reply[: len(offsets["input_ids"])]:
        raise SystemExit(f"tokens of a completion differ: {text!r}")
    for i, (start, end) in enumerate(offsets["offset_mapping"]):
        for first, last, factor in row["weights"]:
            if start < last and end > first:
                weights[i] = max(weights[i], factor)
    return prompt + reply, len(prompt), weights


class Trainer:
    """The model, its masters and the optimizer."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.device = "cuda" if torch.cuda.is_available() and chosen.device != "cpu" else "cpu"
        model, self.tokenizer = load(chosen.base, torch.bfloat16)
        self.model: Any = model.to(self.device)
        if self.device == "cpu":
            self.model.set_attn_implementation("eager")
        self.vocabulary = torch.arange(self.model.lm_head.weight.shape[0], device=self.device)
        self.column = self.vocabulary  # token id -> its place in the vocabulary
        self.head = self.model.lm_head.weight.detach()
        torch.manual_seed(chosen.seed)
        self.work = update(self.model, chosen.rank, chosen.scale, chosen.lowest)
        self.masters = {name: p.detach().float().clone() for name, p in self.work.items()}
        self.optimizer = torch.optim.AdamW(
            list(self.masters.values()), lr=chosen.learning_rate, weight_decay=0.0, betas=(0.9, 0.99)
        )
        self.step, self.rows_seen, self.seconds = 0, 0, 0.0
        self.threads = chosen.threads if self.device == "cpu" else 1
        self.pool = ThreadPoolExecutor(self.threads)

    def narrow(self, rows: list[Row]) -> None:
        """Let the loss choose among the tokens that occur in ``rows``."""
        self.vocabulary = torch.tensor(sorted({t for ids, _, _ in rows for t in ids}), device=self.device)
        self.column = torch.full((self.model.lm_head.weight.shape[0],), -1, device=self.device)
        self.column[self.vocabulary] = torch.arange(len(self.vocabulary), device=self.device)
        self.head = self.model.lm_head.weight.detach()[self.vocabulary].contiguous()

    def gradients(self, rows: list[Row], total: float) -> tuple[list[torch.Tensor], float, float, int]:
        """(gradients, loss, share of verdict tokens that are right, tokens) of a micro-batch."""
        if self.device == "cpu":
            torch.set_num_threads(1)
        length = max(len(ids) for ids, _, _ in rows)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        where, targets, weights = [], [], []
        for i, (tokens, start, weight) in enumerate(rows):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            where += [(i, at) for at in range(start - 1, len(tokens) - 1)]
            targets += tokens[start:]
            weights += weight
        row, column = torch.tensor(where, device=self.device).t()
        target = self.column[torch.tensor(targets, device=self.device)]
        weight = torch.tensor(weights, device=self.device)
        # Right padding and causal attention: no token sees what stands behind it, so no mask is needed.
        hidden = self.model.model(ids.to(self.device), use_cache=False).last_hidden_state[row, column]
        logits = functional.linear(hidden, self.head).float()  # (targets, vocabulary)
        losses = functional.cross_entropy(logits, target, reduction="none")
        loss = (losses * weight).sum() / total
        grads = torch.autograd.grad(loss, list(self.work.values()))
        heavy = weight >= HEAVY
        right = (logits.argmax(-1) == target)[heavy].float().mean().item() if bool(heavy.any()) else 1.0
        return list(grads), float(loss.detach()), right, int(ids.numel())

    def update(self, rows: list[Row], rate: float, total: float = 0.0) -> tuple[float, float, int]:
        """One step of the optimizer; the loss is divided by ``total`` (0: by the sum of the weights)."""
        rows = sorted(rows, key=lambda r: len(r[0]))
        size = self.chosen.micro
        parts = [rows[i : i + size] for i in range(0, len(rows), size)][::-1]
        total = total or sum(sum(w) for _, _, w in rows)
        results = list(self.pool.map(lambda part: self.gradients(part, total), parts))
        self.apply([r[0] for r in results], rate)
        self.rows_seen += len(rows)
        loss = sum(r[1] for r in results)
        right = sum(r[2] for r in results) / len(results)
        return loss, right, sum(r[3] for r in results)

    def apply(self, results: list[list[torch.Tensor]], rate: float) -> None:
        """One step of the optimizer by the sum of the micro-batches' gradients, their norm limited to 1."""
        norm = 0.0
        for i, master in enumerate(self.masters.values()):
            master.grad = sum((grads[i].float() for grads in results[1:]), results[0][i].float())
            norm += float(master.grad.square().sum())
        norm = math.sqrt(norm)
        if not math.isfinite(norm):
            raise SystemExit(f"the gradient is not finite in step {self.step}")
        for master in self.masters.values():
            if norm > 1.0 and master.grad is not None:
                master.grad /= norm
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        with torch.no_grad():
            for name, p in self.work.items():
                p.copy_(self.masters[name])
        self.step += 1

    def save(self, out: Path) -> None:
        """Everything that is needed to go on, written whole."""
        state = {
            "masters": self.masters,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "rows": self.rows_seen,
            "seconds": self.seconds,
            "scale": self.chosen.scale,
            "rank": self.chosen.rank,
            "heads": (self.model.config.num_attention_heads, self.model.config.num_key_value_heads),
        }
        draft = out / "state.tmp"
        torch.save(state, draft)
        draft.replace(out / "state.pt")

    def load(self, path: Path, *, fresh: bool = False) -> None:
        """Go on from a state; ``fresh``: with its weights alone."""
        state = torch.load(path, map_location=self.device)
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(state["masters"][name])
                self.work[name].copy_(master)
        if not fresh:
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.rows_seen, self.seconds = state["step"], state["rows"], state["seconds"]


def options(description: str | None) -> argparse.ArgumentParser:
    """The options of every training."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="state.pt of another training whose weights are taken")
    parser.add_argument("--base", help="folder or GGUF file of the model (default: the embedded one)")
    parser.add_argument("--rank", type=int, default=48)
    parser.add_argument("--lowest", type=int, default=10, help="first decoder layer that is trained")
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument(
        "--decay", type=float, default=0.25, help="share of the rows over which the rate falls to 5%%"
    )
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max-rows", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--save-every", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    """Read the options and train until the rows or the minutes are used up."""
    chosen = options(__doc__).parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(chosen)
    lines = chosen.rows.read_text("utf-8").rstrip("\n").split("\n")
    chat = ChatIds(trainer.tokenizer, "embedded")
    rows = [tokens_of(json.loads(line), chat, trainer.tokenizer) for line in lines[: chosen.max_rows or None]]
    trainer.narrow(rows)
    rows *= chosen.epochs

    print(
        f"{len(rows)} rows, {len(trainer.vocabulary)} different tokens, "
        f"{sum(p.numel() for p in trainer.masters.values()):,} parameters",
        flush=True,
    )
    if (chosen.out / "state.pt").exists():
        trainer.load(chosen.out / "state.pt")
        print(f"resumed at step {trainer.step}", flush=True)
    elif chosen.start:
        trainer.load(chosen.start, fresh=True)
    began, spent = time.monotonic(), trainer.seconds
    with (chosen.out / "metrics.jsonl").open("a") as metrics:
        while trainer.rows_seen < len(rows):
            done = trainer.rows_seen / len(rows)
            # With a limit of time the rate falls towards the end of whatever ends first.
            done = max(done, trainer.seconds / 60 / chosen.minutes)
            if done >= 1:
                break
            rate = chosen.learning_rate * min(1, (trainer.step + 1) / chosen.warmup)
            rate *= max(0.05, min(1.0, (1 - done) / chosen.decay)) if chosen.decay else 1.0
            t = time.monotonic()
            batch = rows[trainer.rows_seen : trainer.rows_seen + chosen.batch]
            loss, right, tokens = trainer.update(batch, rate)
            trainer.seconds = spent + time.monotonic() - began
            figures = {
                "step": trainer.step,
                "rows": trainer.rows_seen,
                "loss": round(loss, 4),
                "verdicts": round(right, 3),
                "rate": rate,
                "tokens_per_second": round(tokens / (time.monotonic() - t)),
                "seconds": round(trainer.seconds),
            }
            metrics.write(json.dumps(figures) + "\n")
            metrics.flush()
            if trainer.step % chosen.save_every == 0:
                trainer.save(chosen.out)
                print(figures, flush=True)
    trainer.save(chosen.out)


if __name__ == "__main__":
    main()
