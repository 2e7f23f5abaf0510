"""Near-duplicates and contamination: ours against datasketch, on the same rows.

    python benchmarks/near_duplicates.py DATA [ROWS]     (needs `pip install datasketch`)

DATA is as for benchmarks/overlap.py. Half of the ROWS are pairs of new texts, the others repeat an earlier
pair with one word changed (a near copy: of the 5-word sequences of 80 words 94% stay) or with every third
word changed (no copy). Printed: CPU seconds, copies found, new rows wrongly left out, peak memory.
Then benchmark prompts inside longer training prompts, by containment: our index and MinHashLSHEnsemble.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

from overlap import BENCHMARKS, TRAIN, cases, prompt, sentences

from jurist.core.types import Case, Message
from jurist.data.dedup import NGRAM, Seen
from jurist.data.overlap import Index, Rule, match
from jurist.data.overlap.words import grams, words

THRESHOLD = 0.8
PERMUTATIONS = 128


def rows(n: int, pool: list[str], draw: random.Random) -> Iterator[tuple[Case, bool]]:
    """Pairs, and whether each is a near copy of an earlier one."""
    earlier: list[tuple[str, str, str]] = []
    for i in range(n):
        copied, every = i % 2 and i > 50, (0, 3)[i % 4 == 3]
        if copied:
            texts = draw.choice(earlier)
            texts = tuple(changed(text, every, f"new{i}", draw) for text in texts)
        else:
            texts = tuple(" ".join(draw.choices(pool, k=6)) for _ in range(3))
            earlier.append(texts)
        asked, best, worst = texts
        yield Case(str(i), (Message("user", asked),), (best, worst), (1.0, 0.0)), bool(copied and not every)


def changed(text: str, every: int, word: str, draw: random.Random) -> str:
    """One word replaced, or each ``every``-th one."""
    listed = text.split()
    at = draw.randrange(len(listed))
    return " ".join(word if (i % every == 0 if every else i == at) else old for i, old in enumerate(listed))


def ours() -> Callable[[Case], bool]:
    seen = Seen("near", THRESHOLD)
    return lambda case: seen.again(case) is not None


def datasketch() -> Callable[[Case], bool]:
    """MinHash and its index over the 5-word sequences of prompt and responses together."""
    from datasketch import MinHash, MinHashLSH

    lsh: Any = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)

    def again(case: Case) -> bool:
        sketch = MinHash(num_perm=PERMUTATIONS)
        text = " ".join([prompt(case), *map(str, case.responses)])
        sketch.update_batch([str(gram).encode() for gram in grams(words(text), NGRAM)])
        if lsh.query(sketch):
            return True
        lsh.insert(case.id, sketch)
        return False

    return again


def duplicates(name: str, listed: list[tuple[Case, bool]], again: Callable[[Case], bool]) -> None:
    started = time.process_time()
    answers = [(again(case), copy) for case, copy in listed]
    seconds = time.process_time() - started
    copies, new = sum(copy for _, copy in answers), sum(not copy for _, copy in answers)
    found, wrong = sum(a and c for a, c in answers), sum(a and not c for a, c in answers)
    memory = getrusage(RUSAGE_SELF).ru_maxrss // 1024
    counts = f"{found:,}/{copies:,} copies found, {wrong}/{new:,} wrong"
    print(f"{name}: {seconds:.1f} s of CPU, {counts}, {memory} MB")


def contamination(data: Path, n: int, pool: list[str], draw: random.Random) -> None:
    """Benchmark prompts inside longer texts: found by each, and texts without one that are named."""
    from datasketch import MinHash, MinHashLSHEnsemble

    benchmark = [case for case in cases(data, BENCHMARKS) if len(words(prompt(case))) >= 20]
    asked = [" ".join(draw.choices(pool, k=8)) for _ in range(n)]
    planted = {i: draw.choice(benchmark) for i in range(0, n, 5)}
    texts = [f"{text} {prompt(planted[i])}" if i in planted else text for i, text in enumerate(asked)]
    rows = [Case(str(i), (Message("user", text),), ("",)) for i, text in enumerate(texts)]

    started = time.process_time()
    index = Index(Rule(responses=False))
    index.add("benchmark", benchmark)
    index.freeze()
    named = {i for i, row in enumerate(rows) if match(row, i, index)}
    tell("ours, the share of the shorter text", time.process_time() - started, named, planted, n)

    started = time.process_time()
    sketched = [(case, grams(words(prompt(case)), NGRAM)) for case in benchmark]
    ensemble: Any = MinHashLSHEnsemble(threshold=0.6, num_perm=PERMUTATIONS, num_part=16)

    def sketch(grams_of_text: set[int]) -> Any:
        made = MinHash(num_perm=PERMUTATIONS)
        made.update_batch([str(gram).encode() for gram in grams_of_text])
        return made

    # The ensemble finds sets that contain the query, so the rows are indexed and the benchmark asks.
    held = [(i, grams(words(text), NGRAM)) for i, text in enumerate(texts)]
    ensemble.index([(i, sketch(some), len(some)) for i, some in held if some])
    named = {i for _, some in sketched if some for i in ensemble.query(sketch(some), len(some))}
    tell("datasketch, MinHashLSHEnsemble", time.process_time() - started, named, planted, n)


def tell(name: str, seconds: float, named: set[int], planted: dict[int, Case], n: int) -> None:
    found, wrong = len(named & planted.keys()), len(named - planted.keys())
    counts = f"{found:,}/{len(planted):,} found, {wrong}/{n - len(planted):,} wrong"
    print(f"{name}: {seconds:.1f} s of CPU, {counts}")


def main(data: str, n: str = "20000") -> None:
    draw = random.Random(0)
    pool = sentences(cases(Path(data), TRAIN))
    listed = list(rows(int(n), pool, draw))
    duplicates("ours", listed, ours())
    duplicates("datasketch, MinHashLSH", listed, datasketch())
    contamination(Path(data), int(n) // 4, pool, draw)


if __name__ == "__main__":
    main(*sys.argv[1:])
