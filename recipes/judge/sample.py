"""What a training's judge writes, in batches, and how much is right: for a GPU, and for toy sizes on a CPU.

    python recipes/judge/sample.py DATA/held_out-alone.jsonl --state alone/state.pt --out held_out.jsonl

A pair counts as right where the better reply's expected rating is higher (alone) or where the right letter is
written in both orders (side by side).
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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
    """Writes judgments with a trainer's model."""

    def __init__(self, trainer: Trainer, batch: int = 256) -> None:
        self.trainer, self.batch = trainer, batch
        self.chat = ChatIds(trainer.tokenizer, "embedded")
        self.end = self.chat.reply("")[-1]
        self.labels = [self.chat.reply(d)[0] for d in "12345"]

    def prompt(self, row: dict[str, Any]) -> list[int]:
        """The row's prompt in tokens."""
        return self.chat.prompt(tuple(Message(**m) for m in row["prompt"]), None)

    @torch.no_grad()
    def write(self, rows: list[dict[str, Any]], temperature: float = 0.0, new: int = 160) -> list[Written]:
        """A chain for each row, greedy or sampled; in the order of the rows."""
        ids = [self.prompt(row) for row in rows]
        order = sorted(range(len(rows)), key=lambda i: len(ids[i]))
        texts: dict[int, str] = {}
        model, device = self.trainer.model, self.trainer.device
        sampling = (
            {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            if temperature
            else {"do_sample": False}
        )
        for at in range(0, len(order), self.batch):
            part = order[at : at + self.batch]
            longest = max(len(ids[i]) for i in part)
            padded = torch.full((len(part), longest), self.end)
            mask = torch.zeros_like(padded)
            for k, i in enumerate(part):
                padded[k, longest - len(ids[i]) :] = torch.tensor(ids[i])
                mask[k, longest - len(ids[i]) :] = 1
            output = model.generate(
                padded.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=new,
                eos_token_id=self.end,
                pad_token_id=self.end,
                **sampling,
            )
            for k, i in enumerate(part):
                texts[i] = self.chat.text(output[k, longest:].tolist())
        return [Written(row, texts[i]) for i, row in enumerate(rows)]

    @torch.no_grad()
    def expected(self, written: list[Written]) -> list[Written]:
        """The same with the rating's expectation: the label's probabilities where the rating stands."""
        found: list[Written] = []
        for at in range(0, len(written), self.batch):
            part = written[at : at + self.batch]
            rows = [
                self.prompt(w.row) + self.chat.reply(w.text[: w.text.rfind("<rating>") + 8])[:-1]
                for w in part
            ]
            ids = torch.full((len(rows), max(map(len, rows))), self.end)
            for k, tokens in enumerate(rows):
                ids[k, : len(tokens)] = torch.tensor(tokens)
            hidden = self.trainer.model.model(ids.to(self.trainer.device), use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(rows)), torch.tensor([len(r) - 1 for r in rows])]
            logits = torch.nn.functional.linear(last, self.trainer.model.lm_head.weight[self.labels]).float()
            means = (logits.softmax(-1) * torch.arange(1.0, 6.0, device=logits.device)).sum(-1).tolist()
            found += [
                Written(w.row, w.text, round(m, 1) if "<rating>" in w.text else 0.0)
                for w, m in zip(part, means, strict=True)
            ]
        return found


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
    chosen = parser.parse_args()
    trainer = Trainer(chosen)
    if chosen.state:
        trainer.load(chosen.state, fresh=True)
    rows = [json.loads(line) for line in chosen.rows.open()][: chosen.limit or None]
    writer = Writer(trainer, chosen.at_once)
    written = writer.write(rows)
    if "<rating>" in rows[0]["completion"][0]["content"]:
        written = writer.expected(written)
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
