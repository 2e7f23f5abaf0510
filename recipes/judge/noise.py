"""How much of a step of reinforcement is signal, by the size of the step: what it would take to learn by it.

    python recipes/judge/noise.py ROWS.jsonl --start runs/judge/alone/state.pt --out noise.json --first 9200

One batch is written with one state and split into shards of 64 judgments (4 pairs, 8 chains for each reply).
With g the gradient of a shard, the mean of the products of different shards' gradients is |G|^2, the squared
length of the true gradient, without bias; the mean of |g|^2 is that and the noise of one shard. So two
independent steps of B judgments have the expected cosine |G|^2 / (|G|^2 + noise x 64 / B), and the noise
scale (McCandlish et al. 2018, arXiv 1812.06162), where half of a step's squared length is signal, is 64
noise / |G|^2. Its interval is a jackknife's over the shards. Beside it stands the same for the program's
chains of the same rows (a shard: 8 rows), which is what distillation learns by, and the cosine of both mean
gradients.
"""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from reinforce import Pairs, advantages, learned, reward
from sample import Writer
from torch import Tensor
from train import Row, Trainer, options, tokens_of

from jurist.engines.chat_template import ChatIds

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384)


def gradient(trainer: Trainer, rows: Sequence[Row]) -> Tensor:
    """The sum of the rows' gradients as one vector, float32."""
    rows = sorted(rows, key=lambda r: len(r[0]))
    whole = torch.zeros(sum(p.numel() for p in trainer.masters.values()), device=trainer.device)
    for at in range(0, len(rows), trainer.chosen.micro):
        parts = trainer.gradients(list(rows[at : at + trainer.chosen.micro]), 1.0)[0]
        whole += torch.cat([p.float().flatten() for p in parts])
    return whole


def scale(products: Tensor) -> tuple[float, float]:
    """(|G|^2, the noise of one shard) from the products of the shards' gradients."""
    n = len(products)
    own = float(products.diagonal().mean())
    other = float((products.sum() - products.diagonal().sum()) / (n * (n - 1)))
    return other, own - other


def cosine(signal: float, noise: float) -> float:
    """Of two independent steps, from the squared lengths; 0 where nothing is learned at all."""
    signal = max(0.0, signal)
    return signal / (signal + noise) if signal + noise > 0 else 0.0


def figures(products: Tensor, size: int) -> dict[str, Any]:
    """The noise scale in units of ``size`` a shard, the cosines, and the jackknife's error of |G|^2."""
    n = len(products)
    signal, noise = scale(products)
    left_out: list[float] = []
    for i in range(n):
        kept = [j for j in range(n) if j != i]
        left_out.append(scale(products[kept][:, kept])[0])
    mean = sum(left_out) / n
    error = ((n - 1) / n * sum((x - mean) ** 2 for x in left_out)) ** 0.5
    return {
        "shards": n,
        "signal": signal,
        "error": error,
        "noise": noise,
        "noise_scale": size * noise / signal if signal > 0 else None,
        "noise_scale_from": size * noise / bound if (bound := signal + 1.96 * error) > 0 else None,
        "cosines": {str(b): cosine(signal, noise * size / b) for b in SIZES if b >= size},
    }


def main() -> None:
    """Read the options, write the batch, print and write the figures."""
    parser = options(__doc__)
    parser.set_defaults(micro=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--shard-pairs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--method", choices=("group", "right"), default="group")
    parser.add_argument("--at-once", type=int, default=128)
    chosen = parser.parse_args()
    trainer = Trainer(chosen)
    trainer.load(chosen.start, fresh=True)
    lines = chosen.rows.read_text("utf-8").rstrip("\n").split("\n")
    lines = lines[chosen.first : chosen.first + chosen.max_rows if chosen.max_rows else None]
    rows = [json.loads(line) for line in lines]
    chat = ChatIds(trainer.tokenizer, "embedded")
    trainer.narrow([tokens_of(row, chat, trainer.tokenizer) for row in rows])
    writer = Writer(trainer, chosen.at_once, fast=True)
    asked = Pairs(rows).draw(chosen.shards * chosen.shard_pairs, Random(chosen.seed))
    groups = writer.groups(asked, chosen.samples, 1.0, seed=chosen.seed)
    counts = [
        advantages([reward(row, w.text) for w in group], chosen.method)
        for row, group in zip(asked, groups, strict=True)
    ]
    size = 2 * chosen.shard_pairs
    of_group: list[list[Row]] = []
    of_program: list[list[Row]] = []
    for at in range(0, len(asked), size):
        of_group.append(
            [
                r
                for i in range(at, at + size)
                if any(counts[i])
                for r in learned(writer.prompt(asked[i]), groups[i], counts[i])
            ]
        )
        of_program.append([tokens_of(row, chat, trainer.tokenizer) for row in asked[at : at + size]])
    found: dict[str, Any] = {
        "judgments": len(asked) * chosen.samples,
        "mixed": sum(any(c) for c in counts) / len(counts),
        "learned": sum(map(len, of_group)),
    }
    means: list[Tensor] = []
    for name, shards, unit in (
        ("reinforcement", of_group, size * chosen.samples),
        ("program", of_program, size),
    ):
        vectors = torch.stack(list(trainer.pool.map(lambda shard: gradient(trainer, shard), shards)))
        found[name] = figures(vectors @ vectors.t(), unit)
        means.append(vectors.mean(0))
    found["cosine"] = float(torch.nn.functional.cosine_similarity(-means[0], -means[1], dim=0))
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
