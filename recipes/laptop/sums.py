"""Questions whose answer is known, and what a policy answers: the raw material of the laptop recipes.

    python recipes/laptop/sums.py --out runs/sums/questions.jsonl --questions 1024 --samples 8

Each row has a prompt (a sum of two numbers), its reference, and responses drawn from a policy: by default
the embedded model, a small one that is right in two of five samples. Run again, it goes on where it
stopped.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jurist.core.types import Message
from jurist.training.config import TrainOptions
from jurist.training.distributed import package
from jurist.training.generation import generate
from jurist.training.model import PolicyModel, load

SHOTS = (("23 + 45", 68), ("58 + 21", 79), ("64 + 19", 83))
AT_ONCE = 8


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


def answered(
    policy: PolicyModel, asked: list[str], samples: int, temperature: float, seed: int
) -> Iterator[list[str]]:
    """For each question what the policy says, up to the first line's end."""
    torch = package("torch")
    for at in range(0, len(asked), AT_ONCE):
        some = asked[at : at + AT_ONCE]
        prompts = [policy.chat.prompt(messages(question), None) for question in some]
        settings: dict[str, Any] = {"max_new_tokens": 16, "temperature": temperature, "seed": seed + at}
        with torch.no_grad(), torch.autocast(policy.device.type, torch.bfloat16, enabled=policy.bf16):
            rows = generate(
                policy.model, prompts, samples, eos=policy.eos, pad=policy.tokenizer.pad_token_id, **settings
            )
        texts = [(policy.chat.text(ids).strip().splitlines() or [""])[0] for ids, _ in rows]
        yield from (texts[i : i + samples] for i in range(0, len(texts), samples))


def main() -> None:
    """Read the options, and append a row for each question that has none yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    lines = chosen.out.read_text().splitlines() if chosen.out.exists() else []
    done = {json.loads(line)["prompt"] for line in lines}
    left = [(q, r) for q, r in questions(chosen.questions, chosen.seed) if q not in done]
    policy = load(TrainOptions(model=chosen.model))
    policy.model.eval()
    said = answered(policy, [q for q, _ in left], chosen.samples, chosen.temperature, chosen.seed + len(done))
    with chosen.out.open("a") as file:
        for (question, reference), texts in zip(left, said, strict=True):
            row = {"prompt": question, "reference": reference, "responses": [t for t in texts if t]}
            file.write(json.dumps(row) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
