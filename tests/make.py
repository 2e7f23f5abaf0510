"""Small cases, engines and texts that tests share."""

import json
from pathlib import Path

from jurist.core.types import Case, Completion, Message, Query, Usage
from jurist.engines.scripted import ScriptedEngine

A_WINS = "<answer>[[A]]</answer>"
B_WINS = "<answer>[[B]]</answer>"


def case(name: str = "1", *responses: str, gold: tuple[float, ...] | None = (1.0, 0.0)) -> Case:
    """A case whose responses are 'good' and 'bad', unless named."""
    return Case(name, (Message("user", f"question {name}"),), responses or ("good", "bad"), gold=gold)


def prefers(word: str) -> ScriptedEngine:
    """An engine whose verdict names the slot in which ``word`` is shown."""

    def script(query: Query) -> Completion:
        text = query.messages[-1].content
        first = 0 <= text.find(word) < text.find("[End of reply A]")
        return Completion(A_WINS if first else B_WINS, usage=Usage(10, 5))

    return ScriptedEngine(script)


def write_pairs(path: Path, n: int) -> Path:
    """A JSONL file of n pairs, the first response right."""
    rows = [
        {"id": str(i), "prompt": f"question {i}", "responses": ["good", "bad"], "gold": 0} for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
