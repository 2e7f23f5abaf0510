"""Write the judge's pairs and chains.

    python recipes/judge/build.py --data DATA --out runs/judge/data --pairs 8000 --held-out 40

``DATA`` holds just-eval, finegrained-rlhf and hh-rlhf as their repositories have them. Written are

    train.jsonl, held_out.jsonl     pairs as `jurist judge` reads them; group: the kind
    alone.jsonl                     rows for training: each reply of the training pairs alone
    pairs.jsonl                     the same pairs side by side, each in both orders
    evidence.jsonl                  each reply alone, without a rubric; the prompt asks for none
    bare.jsonl                      each reply alone with its rating and nothing before it
    held_out-alone.jsonl, ...       the held-out pairs in the same four forms, for `sample.py`

A row's `weights` are spans of its completion (start, end, factor) whose loss counts more; `pair` and `truth`
(better, worse; or the right letter) say what it belongs to.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import chains
from findings import Material, Pair
from kinds import KINDS

from jurist.core.types import Case, Message
from jurist.protocols.base import Protocol
from jurist.protocols.injection import guarded
from jurist.protocols.pairwise import pairwise_short
from jurist.protocols.pointwise_short import pointwise_short

_DECIDING = re.compile(
    r"(?<=\" )(?:fits|is not about|refuses|says nothing about|makes no sense|goes along|is not|is"
    r"|has (?:no|a) comma)\b|(?<=\", )(?:nothing twice|cut off|but|no capital|capital in|no small|small in)\b"
    r"|a number alone|has words|has no divisor|ends in \d|= \d+ x \d+(?: \+ \d+)?|\d+ [<>=] \d+"
    r"|No \w+ in it|has \w+(?=\. )|(?<=, )(?:no (?:closing brace|comma before|quotes|colon|braces)"
    r"|plain text|valid)\b"
)
"""The words in which a finding first says what is so: what stands before is alike for both replies."""

WEIGHTS = {"verdict": 6.0, "deciding": 6.0, "evidence": 2.0}
"""What a token's loss counts in the words that decide, in the findings, and (1) everywhere else."""

_VERDICT = re.compile(r"(?:Not met|Met)(?=\.)|(?<=<rating>)\d|(?<=\[\[)[AB](?=\]\])")
_EVIDENCE = re.compile(r"\d\. .*?[Mm]et\.(?=\n|<| B: )")


def pairs(m: Material, kinds: Sequence[str], number: int, seed: int) -> Iterator[Pair]:
    """Different pairs, the kinds in their shares and in a seeded order."""
    rng, seen = Random(seed), set[tuple[str, str, str]]()
    total = sum(KINDS[kind][1] for kind in kinds)
    wanted = [kind for kind in kinds for _ in range(round(number * KINDS[kind][1] / total))]
    rng.shuffle(wanted)
    for kind in wanted:
        for _ in range(20):
            pair = KINDS[kind][0](m, rng)
            if (key := (pair.prompt, pair.good, pair.bad)) not in seen:
                seen.add(key)
                yield pair
                break


def as_case(pair: Pair, number: int, better_first: bool) -> dict[str, Any]:
    """A pair as it is judged."""
    responses = [pair.good, pair.bad] if better_first else [pair.bad, pair.good]
    gold = [1, 0] if better_first else [0, 1]
    return {
        "id": f"{pair.kind.replace(' ', '-')}-{number}",
        "prompt": pair.prompt,
        "responses": responses,
        "gold": gold,
        "group": pair.kind,
    }


def without_rubric(protocol: Protocol) -> Protocol:
    """``pointwise-short`` with a prompt that asks for no rubric."""
    render = protocol.render

    def evidence_alone(case: Case) -> tuple[Message, ...]:
        return tuple(Message(m.role, m.content.replace("rubric, evidence", "evidence")) for m in render(case))

    return replace(protocol, name="pointwise-evidence", render=evidence_alone)


def row(
    protocol: Protocol, pair: Pair, number: int, responses: tuple[str, ...], completion: str, truth: str
) -> dict[str, Any]:
    """A row that is trained on: the prompt as the judge is asked later, and what it ought to write."""
    case = Case("", (Message("user", pair.prompt),), responses)
    prompt = [{"role": m.role, "content": m.content} for m in protocol.render(guarded(case))]
    verdicts = [[m.start(), m.end(), WEIGHTS["verdict"]] for m in _VERDICT.finditer(completion)]
    start = max(0, completion.find("<eval>"))
    evidence = [
        [m.start(), m.end(), WEIGHTS["evidence"]] for m in _EVIDENCE.finditer(completion) if m.start() > start
    ]
    verdicts += [
        [m.start(), m.end(), WEIGHTS["deciding"]] for m in _DECIDING.finditer(completion) if m.start() > start
    ]
    return {
        "prompt": prompt,
        "completion": [{"role": "assistant", "content": completion}],
        "kind": pair.kind,
        "pair": number,
        "truth": truth,
        "weights": evidence + verdicts,
    }


_FIRST = {"alone": "<rubric>", "evidence": "<eval>", "bare": "<rating>"}
"""With what a chain begins in each form of one reply alone."""


def rows_alone(made: Iterable[Pair], form: str = "alone") -> Iterator[dict[str, Any]]:
    """Each reply of each pair by itself; ``form``: all, what follows the rubric, or the rating."""
    protocol = without_rubric(pointwise_short()) if form == "evidence" else pointwise_short()
    for number, pair in enumerate(made):
        for better in (True, False):
            chain = chains.alone(pair, better)
            first = "<solution>" if form == "evidence" and pair.solution else _FIRST[form]
            completion = chain[chain.index(first) :]
            reply = pair.good if better else pair.bad
            yield row(protocol, pair, number, (reply,), completion, "better" if better else "worse")


def rows_side_by_side(made: Iterable[Pair]) -> Iterator[dict[str, Any]]:
    """Each pair in both orders."""
    protocol = pairwise_short()
    for number, pair in enumerate(made):
        for better_first in (True, False):
            replies = (pair.good, pair.bad) if better_first else (pair.bad, pair.good)
            completion = chains.side_by_side(pair, better_first)
            yield row(protocol, pair, number, replies, completion, "A" if better_first else "B")


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")


def main() -> None:
    """Read the options and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=8000)
    parser.add_argument("--held-out", type=int, default=40, help="pairs of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="names, with commas between")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    made = list(
        pairs(Material(chosen.data, held_out=False), chosen.kinds.split(","), chosen.pairs, chosen.seed)
    )
    print(len(made), "pairs:", ", ".join(f"{k} {n}" for k, n in Counter(p.kind for p in made).items()))
    trained = {(p.prompt, p.good, p.bad) for p in made}
    rng, kept, unseen = Random(chosen.seed + 1), list[Pair](), Material(chosen.data, held_out=True)
    for make, _ in KINDS.values():
        found: dict[tuple[str, str, str], Pair] = {}
        for _ in range(chosen.held_out * 6):
            pair = make(unseen, rng)
            if (pair.prompt, pair.good, pair.bad) not in trained:
                found.setdefault((pair.prompt, pair.good, pair.bad), pair)
        kept += list(found.values())[: chosen.held_out]
    print(len(kept), "held out:", ", ".join(f"{k} {n}" for k, n in Counter(p.kind for p in kept).items()))
    write(chosen.out / "train.jsonl", (as_case(p, i, i % 2 == 0) for i, p in enumerate(made)))
    write(chosen.out / "held_out.jsonl", (as_case(p, i, i % 2 == 0) for i, p in enumerate(kept)))
    for prefix, of in (("", made), ("held_out-", kept)):
        write(chosen.out / f"{prefix}alone.jsonl", rows_alone(of))
        write(chosen.out / f"{prefix}evidence.jsonl", rows_alone(of, "evidence"))
        write(chosen.out / f"{prefix}bare.jsonl", rows_alone(of, "bare"))
        write(chosen.out / f"{prefix}pairs.jsonl", rows_side_by_side(of))


if __name__ == "__main__":
    main()
