"""How many sums policies get right, by the rule, on questions that no training has seen.

    python recipes/dpo/measure.py embedded runs/dpo/policy --seen runs/sums/questions.jsonl

Each policy answers every question once greedily and several times at the temperature of the samples. Shares
have their 95% interval (Wilson); policies after the first are tested against it, question by question
(McNemar, on the greedy answers).
"""

import argparse
import json
import sys
from pathlib import Path

from jurist.core.answers import last_number
from jurist.core.statistics import mcnemar, wilson
from jurist.training.config import TrainOptions
from jurist.training.model import load

sys.path.append(str(Path(__file__).parents[1] / "laptop"))
from sums import answered, questions


def unseen(n: int, seed: int, seen: Path) -> list[tuple[str, str]]:
    """Questions that are not in a file of them."""
    rows = [json.loads(line) for line in seen.read_text().splitlines()]
    taken = {row.get("prompt") or row["question"] for row in rows}
    return [(q, r) for q, r in questions(n + len(taken), seed) if q not in taken][:n]


def right(model: str, asked: list[tuple[str, str]], samples: int, temperature: float) -> list[list[bool]]:
    """For each question, which of the policy's answers are right."""
    policy = load(TrainOptions(model=model))
    policy.model.eval()
    said = answered(policy, [q for q, _ in asked], samples, temperature, seed=1)
    return [[last_number(text) == r for text in texts] for (_, r), texts in zip(asked, said, strict=True)]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--seen", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    asked = unseen(chosen.questions, chosen.seed, chosen.seen)
    first: list[bool] = []
    for model in chosen.models:
        greedy = [one[0] for one in right(model, asked, 1, 0.0)]
        drawn = [ok for some in right(model, asked, chosen.samples, chosen.temperature) for ok in some]
        first = first or greedy
        low, high = wilson(sum(greedy), len(greedy))
        gained = sum(b and not a for a, b in zip(first, greedy, strict=True))
        lost = sum(a and not b for a, b in zip(first, greedy, strict=True))
        print(
            f"{model}: greedy {sum(greedy) / len(greedy):.1%} [{low:.1%}, {high:.1%}], "
            f"sampled {sum(drawn) / len(drawn):.1%}; against {chosen.models[0]}: "
            f"+{gained} -{lost}, p = {mcnemar(gained, lost):.2g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
