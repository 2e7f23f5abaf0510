"""What a training's judge writes, in batches, and how much is right: for a GPU, and for toy sizes on a CPU.

    python recipes/judge/sample.py DATA/held_out-alone.jsonl --state alone/state.pt --out held_out.jsonl

A pair counts as right where the better reply's expected rating is higher (alone) or where the right letter is
written in both orders (side by side).
"""

import json
import re
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from decode import Decoder, Text
from lora import merged
from train import Trainer, options

from jurist.core.statistics import wilson
from jurist.core.types import Message
from jurist.engines.chat_template import ChatIds

_QUOTE = re.compile(r'"([^"]+)"')
_FINDINGS = re.compile(r"Not met\.|Met\.")
_RATING = re.compile(r"<rating>(\d)</rating>\s*$")
_ANSWER = re.compile(r"<answer>\[\[([AB])\]\]</answer>\s*$")


@dataclass(frozen=True)
class Written:
    """A chain that was written for a row; ``expected``: the rating's expectation (0 without a rating)."""

    row: dict[str, Any]
    text: str
    expected: float = 0.0
    tokens: list[int] = field(default_factory=list[int])


def reply_of(row: dict[str, Any]) -> str:
    """What may be quoted: the user turn, with the reply or both replies in it."""
    return " ".join(row["prompt"][-1]["content"].split()).lower()


def quotes(row: dict[str, Any], text: str) -> list[bool]:
    """Whether each quotation of a chain occurs in what it quotes."""
    evaluation = text[text.find("<eval>") :]
    return [" ".join(q.split()).lower() in reply_of(row) for q in _QUOTE.findall(evaluation)]


def verdict(text: str) -> str:
    """The rating or the letter at a chain's end; empty without one."""
    found = _RATING.search(text) or _ANSWER.search(text)
    return found[1] if found else ""


def right(row: dict[str, Any], text: str) -> bool:
    """Whether a chain found what is so (each finding and the verdict), and quotes what is there."""
    truth = row["completion"][0]["content"]
    same = verdict(text) == verdict(truth) and _FINDINGS.findall(text) == _FINDINGS.findall(truth)
    return same and all(quotes(row, text))


class Writer:
    """Writes judgments with a trainer's model: on a CPU each core a batch of its own.

    ``batch``: how many are written at once. ``fast``: only with the tokens that the trainer's loss knows,
    and with the updates merged into their layers.
    """

    def __init__(self, trainer: Trainer, batch: int = 256, *, fast: bool = False) -> None:
        self.trainer, self.batch, self.fast = trainer, batch, fast
        self.chat = ChatIds(trainer.tokenizer, "embedded")
        self.end = self.chat.reply("")[-1]
        self.labels = [self.chat.reply(d)[0] for d in "12345"]
        self.opening = self.chat.reply("<rating>")[:-1]

    def prompt(self, row: dict[str, Any]) -> list[int]:
        """The row's prompt in tokens."""
        return self.chat.prompt(tuple(Message(**m) for m in row["prompt"]), None)

    def write(self, rows: list[dict[str, Any]], temperature: float = 0.0, new: int = 160) -> list[Written]:
        """A chain for each row, greedy or sampled; in the order of the rows."""
        return [group[0] for group in self.groups(rows, 1, temperature, new)]

    def groups(
        self, rows: list[dict[str, Any]], samples: int, temperature: float, new: int = 160, seed: int = 0
    ) -> list[list[Written]]:
        """``samples`` chains for each row, in the order of the rows."""
        trainer = self.trainer
        vocabulary, head = trainer.vocabulary, trainer.head
        if not self.fast:
            head = trainer.model.lm_head.weight.detach()
            vocabulary = torch.arange(head.shape[0], device=trainer.device)
        decoder = Decoder(trainer.model, vocabulary, head, self.end, self.labels, new)
        # Rows whose chains are about as long end about together; the longest first: no core waits long.
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]["completion"][0]["content"]))
        size = max(1, self.batch // samples)
        size = min(size, -(-len(rows) // trainer.threads))
        parts = [order[at : at + size] for at in range(0, len(order), size)]

        def one(part: list[int]) -> list[list[Text]]:
            if trainer.device == "cpu":
                torch.set_num_threads(1)
            generator = torch.Generator(trainer.device).manual_seed(seed * 1_000_003 + part[0])
            return decoder.write([self.prompt(rows[i]) for i in part], samples, temperature, generator)

        found: list[list[Written]] = [[] for _ in rows]
        with merged(trainer.model) if self.fast else nullcontext():
            written = list(trainer.pool.map(one, parts))
        for part, texts in zip(parts, written, strict=True):
            for i, group in zip(part, texts, strict=True):
                found[i] = [self._written(rows[i], t) for t in group]
        return found

    def _written(self, row: dict[str, Any], text: Text) -> Written:
        """With the rating's expectation: the labels' probabilities where the rating stands."""
        expected, before = 0.0, len(self.opening)
        for at in range(len(text.tokens) - 1, before - 1, -1):
            if text.tokens[at] in self.labels and text.tokens[at - before : at] == self.opening:
                shares = text.labels[at].softmax(-1)
                expected = round(float((shares * torch.arange(1.0, 6.0)).sum()), 1)
                break
        return Written(row, self.chat.text(text.tokens), expected, text.tokens)


def table(written: list[Written]) -> list[str]:
    """A line per kind: pairs right in both orders, with its interval; unanswered; quotations that occur."""
    pairs: dict[tuple[str, int], dict[str, Written]] = defaultdict(dict)
    for w in written:
        pairs[w.row["kind"], w.row["pair"]][w.row["truth"]] = w
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for (kind, _), of in pairs.items():
        if "better" in of:
            good = of["better"].expected > of["worse"].expected
        else:
            good = all(verdict(w.text) == letter for letter, w in of.items())
        counts[kind][0] += good
        counts[kind][1] += 1
    counts["all"] = [sum(k for k, _ in counts.values()), sum(n for _, n in counts.values())]
    lines = [
        f"{kind:16} {n:5} {k / n:6.1%} [{wilson(k, n)[0]:.0%}, {wilson(k, n)[1]:.0%}]"
        for kind, (k, n) in counts.items()
    ]
    quoted = [q for w in written for q in quotes(w.row, w.text)]
    silent = sum(not verdict(w.text) for w in written) / len(written)
    return [*lines, f"unanswered {silent:.1%}; quotations that occur {sum(quoted) / max(1, len(quoted)):.1%}"]


def main() -> None:
    """Read the options, write the judgments, print the table."""
    parser = options(__doc__)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.0)
    chosen = parser.parse_args()
    trainer = Trainer(chosen)
    if chosen.state:
        trainer.load(chosen.state, fresh=True)
    rows = [json.loads(line) for line in chosen.rows.open()][: chosen.limit or None]
    written = Writer(trainer, chosen.at_once).write(rows, chosen.temperature)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(
        "".join(
            json.dumps(
                {
                    "kind": w.row["kind"],
                    "pair": w.row["pair"],
                    "truth": w.row["truth"],
                    "text": w.text,
                    "expected": w.expected,
                }
            )
            + "\n"
            for w in written
        )
    )
    print("\n".join(table(written)))


if __name__ == "__main__":
    main()
