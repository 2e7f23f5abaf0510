"""100,000 training rows against all benchmark texts at hand: rows per second, peak memory, what is found.

    python benchmarks/overlap.py DATA [ROWS] [CASES]

DATA holds the published files in folders of their names. The rows are sentences of real training data
(HH-RLHF, GSM8K) in new orders; one in a hundred is a benchmark prompt in disguise. CASES more benchmark
cases are texts of the benchmarks with their words shuffled, for the memory that a large benchmark takes.
"""

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from jurist.core.types import Case, response_text
from jurist.data.overlap import read_cases
from jurist.data.overlap.words import words

TRAIN = ("hh-rlhf/harmless-base", "gsm8k/train.jsonl")
BENCHMARKS = (
    "rm-bench/data",
    "judgebench/data",
    "gsm8k/test.jsonl",
    "ifbench/data/IFBench",
    "ifbench/data/IFEval",
    "pandalm/testset-v1.json",
)
EVERY = 100
"""One row in so many is planted."""

RUN = """
import sys
from pathlib import Path
from jurist.cli.overlap import overlap
train, hits, clean, *against = sys.argv[1:]
overlap(train, against=against, report=Path(hits), out=Path(clean), json=True, skip_bad=True)
"""


def cases(data: Path, names: Sequence[str]) -> list[Case]:
    """The cases of some files."""
    return [row.case for name in names for row in read_cases(data / name, skip_bad=True)]


def sentences(some: Sequence[Case]) -> list[str]:
    """Every sentence of the prompts and responses."""
    texts = [t for case in some for t in (prompt(case), *map(response_text, case.responses))]
    return [sentence for text in texts for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence]


def prompt(case: Case) -> str:
    """The turns of a prompt as one text."""
    return "\n".join(turn.content for turn in case.prompt)


def disguised(case: Case, random: Random) -> str:
    """A prompt in upper case without punctuation, or with a sentence before, behind, or one word changed."""
    text = prompt(case)
    at = random.randrange(len(text.split()))
    return random.choice(
        (
            re.sub(r"[.,;:!?]", " ", text).upper(),
            f"{text} Think before you answer, and give your reasons.",
            f"Here is something that I was asked yesterday. {text}",
            " ".join("pineapple" if i == at else word for i, word in enumerate(text.split())),
        )
    )


def rows(n: int, pool: list[str], planted: Sequence[Case], random: Random) -> Iterator[dict[str, str]]:
    """Pairs of about 160 words, the planted ones with ids that say so."""
    for i in range(n):
        says = lambda least, most: " ".join(random.choices(pool, k=random.randint(least, most)))
        copy = i % EVERY == 0
        asked = disguised(random.choice(planted), random) if copy else says(1, 4)
        yield {
            "id": f"{'planted' if copy else 'row'} {i}",
            "prompt": asked,
            "chosen": says(2, 8),
            "rejected": says(2, 8),
        }


def shuffled(n: int, real: Sequence[Case], random: Random) -> Iterator[dict[str, str]]:
    """Benchmark cases of real lengths and words that nobody has seen."""

    def mixed(text: str) -> str:
        listed = text.split()
        random.shuffle(listed)
        return " ".join(listed)

    for i in range(n):
        case = random.choice(real)
        good, bad = map(response_text, (case.responses * 2)[:2])
        yield {"id": str(i), "prompt": mixed(prompt(case)), "chosen": mixed(good), "rejected": mixed(bad)}


def write(path: Path, lines: Iterator[dict[str, str]]) -> None:
    """JSON lines."""
    with path.open("w") as out:
        out.writelines(json.dumps(line) + "\n" for line in lines)


def main(data: Path, n: int, more: int) -> None:
    """Make the files, run the command in a process of its own, and see what it found."""
    random = Random(0)
    real = cases(data, BENCHMARKS)
    long = [case for case in real if len(words(prompt(case))) >= 17]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "train.jsonl", rows(n, sentences(cases(data, TRAIN)), long, random))
        files = [str(data / benchmark) for benchmark in BENCHMARKS]
        if more:
            write(folder / "shuffled.jsonl", shuffled(more, real, random))
            files.append(str(folder / "shuffled.jsonl"))
        quiet, started = subprocess.DEVNULL, time.perf_counter()
        places = [str(folder / x) for x in ("train.jsonl", "hits.jsonl", "clean.jsonl")]
        subprocess.run([sys.executable, "-c", RUN, *places, *files], check=True, stdout=quiet, stderr=quiet)
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        size = (folder / "train.jsonl").stat().st_size / 1e6
        hits = [json.loads(line) for line in (folder / "hits.jsonl").read_text().splitlines()[:-1]]
    found = {hit["row"] for hit in hits}
    planted = sum(name.startswith("planted") for name in found)
    print(f"{n:,} rows ({size:.0f} MB) against {len(real) + more:,} cases, shuffled ones {more:,}:")
    print(f"  {seconds:.0f} s ({used.ru_utime:.0f} s of one core), {n / seconds:,.0f} rows/s, all included")
    print(f"  peak memory {used.ru_maxrss / 1024:.0f} MB")
    print(
        f"  planted found: {planted:,} of {-(-n // EVERY):,}; other rows with a hit: {len(found) - planted:,}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, (*sys.argv[2:], *("100000", "0")[len(sys.argv) - 2 :])))
