"""Questions whose answer is known, and what a policy answers: the raw material of the laptop recipes.

    python recipes/laptop/sums.py --out runs/sums/questions.jsonl --questions 1800 --samples 6

Each row has a question (a sum of two numbers), its reference, and responses drawn from a policy: by default the
embedded model, a small one that gets about a quarter of the sums right. Run again, it goes on where it stopped.
"""

import argparse
import asyncio
import json
import random
from pathlib import Path

from jurist.catalog import engine
from jurist.config import JudgeConfig
from jurist.types import Message, Query, Sampling

SHOTS = (("23 + 45", 68), ("58 + 21", 79), ("64 + 19", 83))
AT_ONCE = 32


def messages(question: str) -> tuple[Message, ...]:
    """The question after three answered ones: a small model follows what it sees."""
    shown: list[Message] = []
    for terms, total in SHOTS:
        shown += [Message("user", f"What is {terms}?"), Message("assistant", f"{terms} = {total}.")]
    return (*shown, Message("user", question))


def questions(n: int, seed: int) -> list[tuple[str, str]]:
    """Different sums of two numbers of two digits, with their answers."""
    terms = [(a, b) for a in range(10, 100) for b in range(10, 100)]
    chosen = random.Random(seed).sample(terms, n)
    return [(f"What is {a} + {b}?", str(a + b)) for a, b in chosen]


async def answered(out: Path, wanted: list[tuple[str, str]], samples: int, config: JudgeConfig) -> None:
    """Append a row for each question that has none yet."""
    done = {json.loads(line)["question"] for line in out.read_text().splitlines()} if out.exists() else set()
    policy = engine(config)
    await policy.check()
    slots = asyncio.Semaphore(AT_ONCE // samples + 1)

    async def one(question: str, reference: str) -> None:
        async with slots:
            drawn = await asyncio.gather(*(policy(query(question, i)) for i in range(samples)))
        texts = [c.text.strip().splitlines()[0] for c in drawn if c.text.strip()]
        row = {"question": question, "reference": reference, "responses": texts}
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def query(question: str, i: int) -> Query:
        sampling = Sampling(temperature=1.0, max_tokens=16, seed=config.seed * 1000 + i)
        return Query(question, (0,), i, messages(question), sampling)

    try:
        await asyncio.gather(*(one(q, r) for q, r in wanted if q not in done))
    finally:
        await policy.aclose()


def main() -> None:
    """Read the options and sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=1800)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--engine", default="embedded")
    parser.add_argument("--model")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    config = JudgeConfig(engine=chosen.engine, model=chosen.model, seed=chosen.seed)
    asyncio.run(answered(chosen.out, questions(chosen.questions, chosen.seed), chosen.samples, config))


if __name__ == "__main__":
    main()
