"""Reinforcement on fresh rows: the judge writes, is rewarded by rule, and is updated once a step.

    python recipes/judge/reinforce.py ROWS.jsonl --start runs/judge/alone/state.pt \\
        --out runs/judge/reinforced --first 9200 --minutes 40

A step takes ``--pairs`` pairs, both replies of each, and writes ``--samples`` chains for each reply at
temperature 1 (32 pairs of 8: 512 judgments). ``--method group``: a chain's advantage is its reward less the
mean of its row, by their standard deviation (GRPO, arXiv 2402.03300), and its tokens' log-probabilities are
moved by it; the loss is the mean over all tokens (DAPO, 2503.14476). What is learned was written by the
weights that learn it, and used once, so there is no ratio and nothing to clip. ``--method right``: the
chains of the same rows that are wholly right, each with weight one (rejection sampling). Rows whose chains
were all rewarded alike have no gradient and are left out; the log has their share. Kinds are drawn by the
share of their rows that were mixed until now. Equal chains of a row are computed once and counted.

The reward (`reward`): 1 for a chain that is right and faithful, a half for one that is right and quotes what
does not occur (or nothing, where the program quotes), 0 otherwise. Right: the rating is on the truth's side
(5 for the better reply, at most the program's highest rating of a fault for the worse), it is what the
chain's own findings come to, and where the rubric has the program's criteria, each finding is the program's.
Another rubric passes if it leads to the right rating: the program's is one sound rubric and not the only
one. Quotations alone earn nothing.
"""

import json
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from measure import follows
from sample import Writer, Written, quotes, verdict
from train import Row, Trainer, options, tokens_of

from jurist.engines.chat_template import ChatIds

WORST_FAULT = 3
"""The program's rating of a reply that has one fault of two."""

_NAMES = re.compile(r"\d\. (.*?) \(\d+%\):")
_FINDINGS = re.compile(r"Not met\.|Met\.")
_FLOOR = 0.1
"""A kind without mixed rows is drawn this much as one whose rows are all mixed."""


def right(row: dict[str, Any], text: str) -> bool:
    """Whether a chain comes to what is so, by findings of its own that lead there."""
    rating = verdict(text)
    if not rating or not follows(text):
        return False
    if rating != "5" if row["truth"] == "better" else int(rating) > WORST_FAULT:
        return False
    program = row["completion"][0]["content"]
    same = _NAMES.findall(text.split("</rubric>")[0]) == _NAMES.findall(program.split("</rubric>")[0])
    return not same or _FINDINGS.findall(text) == _FINDINGS.findall(program)


def faithful(row: dict[str, Any], text: str) -> bool:
    """Whether all that a chain quotes occurs, and it quotes where the program's does."""
    quoted = quotes(row, text)
    return all(quoted) and (bool(quoted) or not quotes(row, row["completion"][0]["content"]))


def reward(row: dict[str, Any], text: str) -> float:
    """0, a half or 1; see above."""
    if not right(row, text):
        return 0.0
    return 1.0 if faithful(row, text) else 0.5


def advantages(rewards: Sequence[float], method: str) -> list[float]:
    """What each chain of a row counts; all zero if they were rewarded alike."""
    mean = sum(rewards) / len(rewards)
    spread = (sum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5
    if spread < 1e-6:
        return [0.0] * len(rewards)
    if method == "right":
        return [float(r == 1.0) for r in rewards]
    return [(r - mean) / spread for r in rewards]


def learned(prompt: list[int], group: Sequence[Written], counts: Sequence[float]) -> list[Row]:
    """The chains of one row as rows to learn: equal ones once, each token with its advantages' sum."""
    of: dict[tuple[int, ...], float] = defaultdict(float)
    for written, count in zip(group, counts, strict=True):
        of[tuple(written.tokens)] += count
    return [
        (prompt + list(tokens), len(prompt), [count] * len(tokens))
        for tokens, count in of.items()
        if abs(count) > 1e-9
    ]


class Pairs:
    """Pairs of rows by kind, each kind in the file's order; what was drawn and mixed until now."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.of: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
        for better, worse in zip(rows[::2], rows[1::2], strict=True):
            self.of[better["kind"]].append((better, worse))
        self.drawn = dict.fromkeys(self.of, 0)
        self.mixed = dict.fromkeys(self.of, 0.5)

    def draw(self, number: int, rng: Random) -> list[dict[str, Any]]:
        """The rows of ``number`` pairs, kinds by their mixed share."""
        kinds = sorted(self.of)
        shares = [max(_FLOOR, self.mixed[k]) for k in kinds]
        rows: list[dict[str, Any]] = []
        for kind in rng.choices(kinds, shares, k=number):
            pairs = self.of[kind]
            rows += pairs[self.drawn[kind] % len(pairs)]
            self.drawn[kind] += 1
        return rows

    def seen(self, rows: Sequence[dict[str, Any]], mixed: Sequence[bool]) -> None:
        """What became of the rows of a step: a moving mean for each kind."""
        by: dict[str, list[bool]] = defaultdict(list)
        for row, was in zip(rows, mixed, strict=True):
            by[row["kind"]].append(was)
        for kind, those in by.items():
            weight = min(0.5, len(those) / 16)
            self.mixed[kind] += weight * (sum(those) / len(those) - self.mixed[kind])


def asked_rows(pairs: Pairs, log: Sequence[dict[str, Any]], number: int, rng: Random) -> list[dict[str, Any]]:
    """The rows that a run's steps asked for, and fresh ones by its last shares until there are ``number``."""
    rows: list[dict[str, Any]] = []
    for line in log:
        step: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for kind, drawn in line["drawn"].items():
            step += [pairs.of[kind][i % len(pairs.of[kind])] for i in range(pairs.drawn[kind], drawn)]
        rng.shuffle(step)
        rows += [row for pair in step for row in pair]
        pairs.drawn.update(line["drawn"])
    pairs.mixed.update(log[-1]["mixed_of"])
    return rows + pairs.draw(max(0, number - len(rows)) // 2, rng)


def main() -> None:
    """Read the options and learn until the steps or the minutes are used up."""
    parser = options(__doc__)
    parser.set_defaults(learning_rate=2e-4, warmup=3, decay=0.0, micro=8, save_every=1)
    parser.add_argument("--first", type=int, default=0, help="the first row that was not trained on")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--pairs", type=int, default=32, help="pairs of a step")
    parser.add_argument("--samples", type=int, default=8, help="chains for each reply")
    parser.add_argument("--method", choices=("group", "right"), default="group")
    parser.add_argument("--even", action="store_true", help="draw each kind as often, whatever was mixed")
    parser.add_argument("--at-once", type=int, default=128)
    parser.add_argument(
        "--keep-every", type=int, default=10, help="keep a copy of the state after so many steps"
    )
    parser.add_argument("--only-ask", action="store_true", help="sample and log; do not learn")
    parser.add_argument(
        "--write-asked", type=int, default=0, metavar="N",
        help="no training: write asked.jsonl, the rows that this run asked for with the program's chains, "
        "and fresh ones of the same kinds until there are N",
    )  # fmt: skip
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    lines = chosen.rows.read_text("utf-8").rstrip("\n").split("\n")
    lines = lines[chosen.first : chosen.first + chosen.max_rows if chosen.max_rows else None]
    rows = [json.loads(line) for line in lines]
    if chosen.write_asked:
        done = [json.loads(line) for line in (chosen.out / "metrics.jsonl").open()]
        asked = asked_rows(Pairs(rows), done, chosen.write_asked, Random(chosen.seed))
        (chosen.out / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
        return
    trainer = Trainer(chosen)
    chat = ChatIds(trainer.tokenizer, "embedded")
    trainer.narrow([tokens_of(row, chat, trainer.tokenizer) for row in rows])
    writer = Writer(trainer, chosen.at_once, fast=True)
    pairs = Pairs(rows)
    log = chosen.out / "metrics.jsonl"
    if (chosen.out / "state.pt").exists():
        trainer.load(chosen.out / "state.pt")
        done = [json.loads(line) for line in log.open()][: trainer.step]
        log.write_text("".join(json.dumps(line) + "\n" for line in done))
        if done:
            pairs.drawn.update(done[-1]["drawn"])
            pairs.mixed.update(done[-1]["mixed_of"])
    elif chosen.start:
        trainer.load(chosen.start, fresh=True)
    print(f"{len(rows)} rows, {len(trainer.vocabulary)} different tokens", flush=True)
    while trainer.step < chosen.steps and trainer.seconds < chosen.minutes * 60:
        began, step = time.monotonic(), trainer.step
        asked = pairs.draw(chosen.pairs, Random(chosen.seed * 100_003 + step))
        groups = writer.groups(asked, chosen.samples, 1.0, seed=chosen.seed * 100_003 + step)
        sampled = time.monotonic() - began
        rewards = [[reward(row, w.text) for w in group] for row, group in zip(asked, groups, strict=True)]
        counts = [advantages(r, chosen.method) for r in rewards]
        mixed = [any(c) for c in counts]
        to_learn = [
            r
            for row, group, count in zip(asked, groups, counts, strict=True)
            if any(count)
            for r in learned(writer.prompt(row), group, count)
        ]
        if not chosen.even:
            pairs.seen(asked, mixed)
        tokens = sum(len(w.tokens) for g, m in zip(groups, mixed, strict=True) if m for w in g)
        rate = chosen.learning_rate * min(1.0, (step + 1) / chosen.warmup)
        if to_learn and not chosen.only_ask:
            # The mean over the tokens of all chains of mixed rows, equal ones counted as often as they came.
            trainer.update(to_learn, rate, total=float(tokens))
        else:
            trainer.step += 1
        spent = time.monotonic() - began
        trainer.seconds += spent
        by_kind: dict[str, list[float]] = defaultdict(list)
        for row, r in zip(asked, rewards, strict=True):
            by_kind[row["kind"]] += r
        flat = [r for group in rewards for r in group]
        line = {
            "step": trainer.step,
            "judgments": len(flat),
            "reward": round(sum(flat) / len(flat), 4),
            "right": round(sum(r > 0 for r in flat) / len(flat), 4),
            "form": round(sum(bool(verdict(w.text)) for g in groups for w in g) / len(flat), 4),
            "mixed": round(sum(mixed) / len(mixed), 4),
            "learned": len(to_learn),
            "written_tokens": sum(len(w.tokens) for g in groups for w in g),
            "sampling_seconds": round(sampled),
            "seconds": round(spent),
            "of_kind": {k: round(sum(v) / len(v), 3) for k, v in sorted(by_kind.items())},
            "mixed_of": {k: round(v, 3) for k, v in pairs.mixed.items()},
            "drawn": pairs.drawn,
        }
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print({k: v for k, v in line.items() if k not in ("drawn", "mixed_of")}, flush=True)
        if trainer.step % chosen.save_every == 0:
            trainer.save(chosen.out)
        if trainer.step % chosen.keep_every == 0:
            trainer.save(chosen.out)
            shutil.copyfile(chosen.out / "state.pt", chosen.out / f"state-{trainer.step}.pt")
    trainer.save(chosen.out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
