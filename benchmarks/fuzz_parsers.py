"""Mutated texts through every parser: no exception, no forged verdict, and every mark taken out again.

python benchmarks/fuzz_parsers.py [--texts 1000000] [--seed 1] [--processes 2]

Seeds are the golden texts of the tests, forgeries and markers; a mutation cuts, repeats, swaps, splices or
inserts pieces and invisible characters. Each text is read as a completion (finished, cut, with its thinking
parted or not) by all parsers and readers, then defused as a candidate's and copied by judges that keep, drop
or change characters: no parser may read a verdict in such a copy. Texts stay below 600 characters; that
parsers are linear in longer ones is held by ``tests/test_protocols_linear.py``.
"""

import argparse
import json
import random
import sys
import time
import traceback
import unicodedata
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from jurist.core.types import Completion, Finish
from jurist.protocols import injection, listwise, pairwise, pointwise, rm_r1, rrm
from jurist.protocols.base import Protocol
from jurist.protocols.chain import read_chain
from jurist.protocols.scalar import parse_score
from jurist.protocols.text import visible
from jurist.protocols.thinking_tags import without_thinking

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
PROTOCOLS: list[Protocol] = [
    pairwise.pairwise(),
    pointwise.pointwise(),
    listwise.listwise(),
    *(
        rm_r1.rm_r1({}, family, rule)
        for family in ("instruct", "reasoning")
        for rule in ("robust", "eval", "train")
    ),
    *(rrm.rrm({}, rule) for rule in ("robust", "eval", "train")),
]
FINISHES: tuple[Finish, ...] = ("stop", "length", "filter", "error")
INVISIBLE = ["\u200b", "\u2060", "\xad", "\u200e", "\ufe0f", "\x00", "\U000e0041", "\ud83d", "^", "\u0301"]


def seeds() -> list[str]:
    """Golden texts, forgeries and pieces."""
    from test_protocols_injection import CONTROL, FORGED, FRAMES, PIECES, THINKING

    golden = [
        json.loads(line)["text"][:400]
        for file in sorted((ROOT / "tests" / "golden").glob("*.jsonl"))
        for line in file.read_text("utf-8").splitlines()
    ]
    return [*golden, *((FORGED + THINKING) * 4), *CONTROL, *FRAMES, *PIECES]


def mutated(draw: random.Random, pool: list[str]) -> str:
    """A text of a few seeds, changed in a few places."""
    text = "".join(draw.choices(pool, k=draw.randint(1, 4)))[:600]
    for _ in range(draw.randint(0, 5)):
        at, to = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
        to = min(to, at + 30)
        change = draw.randrange(6)
        if change == 0:
            text = text[:at] + text[to:]
        elif change == 1:
            text = text[:to] + text[at:to] * draw.randint(1, 3) + text[to:]
        elif change == 2:
            text = text[:at] + draw.choice(pool)[:60] + text[at:]
        elif change == 3:
            text = text[:at] + draw.choice(INVISIBLE) + text[at:]
        elif change == 4:
            text = text[:at] + text[at:to].swapcase() + text[to:]
        else:
            text = text[:at] + text[at:to][::-1] + text[to:]
    return text[:600]


def check(text: str, draw: random.Random) -> tuple[str, int]:
    """("", verdicts read in the text itself), or what is wrong."""
    cut = draw.randint(0, len(text))
    completion = Completion(
        text[cut:] if draw.random() < 0.3 else text,
        thinking=draw.choice((None, None, "", text[:cut])),
        finish=draw.choice(FINISHES),
    )
    read = 0
    for protocol in PROTOCOLS:
        read += protocol.parse(completion).scores is not None
    draw.choice(PROTOCOLS).prefill(completion)
    read_chain(completion)
    parse_score(completion)
    without_thinking(text)
    defused = injection.defuse(text)
    if injection.restore(defused) != text:
        return "restore", 0
    for copy in {defused, visible(defused), unicodedata.normalize("NFKC", defused)}:
        forms = Completion(copy), Completion(copy, finish="length"), Completion("", thinking=copy)
        written = draw.choice(forms)
        for protocol in PROTOCOLS:
            if protocol.parse(written).scores is not None:
                return f"forged: {protocol.name}", 0
    return "", read


def fuzz(seed: int, n: int) -> tuple[Counter[str], int, list[str]]:
    """(kinds of faults, verdicts read, examples) of n texts."""
    draw = random.Random(seed)
    pool = seeds()
    faults: Counter[str] = Counter()
    examples: list[str] = []
    read = 0
    for _ in range(n):
        text = mutated(draw, pool)
        try:
            fault, verdicts = check(text, draw)
        except Exception:
            fault, verdicts = traceback.format_exc().splitlines()[-1], 0
        read += verdicts
        if fault:
            faults[fault] += 1
            if len(examples) < 5:
                examples.append(f"{fault}: {text!a}")
    return faults, read, examples


def main() -> None:
    """Print the faults and some examples; exit 1 where there is one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    start = time.perf_counter()
    parts = 100
    faults: Counter[str] = Counter()
    verdicts = 0
    with ProcessPoolExecutor(options.processes) as pool:
        jobs = [
            pool.submit(fuzz, options.seed * parts + part, options.texts // parts) for part in range(parts)
        ]
        for done, job in enumerate(jobs, 1):
            found, read, examples = job.result()
            faults += found
            verdicts += read
            print(*examples, sep="\n", end="\n" if examples else "", flush=True)
            if done % 10 == 0:
                print(
                    f"{done}% in {time.perf_counter() - start:.0f} s: {dict(faults)}",
                    file=sys.stderr,
                    flush=True,
                )
    print(f"{options.texts} texts, {len(PROTOCOLS)} parsers: {verdicts} verdicts read, faults {dict(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
