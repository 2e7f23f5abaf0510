"""Rounds of rejection sampling: the judge writes, what is right is learned (FARE, arXiv 2510.17793).

    python recipes/judge/rounds.py MORE.jsonl --start runs/judge/alone/state.pt --out runs/judge/rounds

In each round the next rows are asked ``--samples`` times at ``--temperature``. Rows that came out both right
and wrong give their right chains (at most two different ones); rows that were never right give the program's
chain; rows that were always right give nothing. A chain is right if each finding and the verdict are what the
rule says and every quotation occurs.
"""

import json
import time
from random import Random
from typing import Any

from sample import Writer, right
from train import Row, Trainer, options, tokens_of

from jurist.engines.chat_template import ChatIds


def chosen_rows(
    rows: list[dict[str, Any]], texts: list[list[str]], rng: Random
) -> tuple[list[dict[str, Any]], list[int]]:
    """(rows to learn, how many were never, sometimes, always right)."""
    kept: list[dict[str, Any]] = []
    counts = [0, 0, 0]
    for row, written in zip(rows, texts, strict=True):
        good = [text for text in written if right(row, text)]
        counts[0 if not good else 2 if len(good) == len(written) else 1] += 1
        if len(good) == len(written):
            continue
        if not good:
            kept.append(row)
        for text in rng.sample(sorted(set(good)), min(2, len(set(good)))):
            # Spans of the program's chain do not fit another text: all that it found counts as evidence.
            kept.append(
                {
                    **row,
                    "completion": [{"role": "assistant", "content": text}],
                    "weights": [[text.find("<eval>"), len(text), 2.0]],
                }
            )
    rng.shuffle(kept)
    return kept, counts


def main() -> None:
    """Read the options; each round asks, keeps and learns."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--asked", type=int, default=2048, help="rows of a round")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--at-once", type=int, default=512)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(chosen)
    state = chosen.out / "state.pt"
    if state.exists():
        trainer.load(state)
    elif chosen.start:
        trainer.load(chosen.start, fresh=True)
    rows = [json.loads(line) for line in chosen.rows.open()]
    writer, chat = Writer(trainer, chosen.at_once), ChatIds(trainer.tokenizer, "embedded")
    log = chosen.out / "rounds.jsonl"
    begun = len(log.read_text().splitlines()) if log.exists() else 0
    for number in range(begun, chosen.rounds):
        began = time.monotonic()
        asked = rows[number * chosen.asked : (number + 1) * chosen.asked]
        if not asked:
            break
        groups = writer.groups(asked, chosen.samples, chosen.temperature, seed=number)
        texts = [[w.text for w in group] for group in groups]
        kept, counts = chosen_rows(asked, texts, Random(number))
        learned: list[Row] = [tokens_of(r, chat, trainer.tokenizer) for r in kept]
        losses = [
            trainer.update(learned[i : i + chosen.batch], chosen.learning_rate)[0]
            for i in range(0, len(learned), chosen.batch)
        ]
        trainer.save(chosen.out)
        line = {
            "round": number,
            "never": counts[0],
            "sometimes": counts[1],
            "always": counts[2],
            "learned": len(learned),
            "loss": sum(losses) / max(1, len(losses)),
            "seconds": round(time.monotonic() - began),
        }
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


if __name__ == "__main__":
    main()
