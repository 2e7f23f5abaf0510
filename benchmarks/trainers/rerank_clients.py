"""Cohere's clients (v1, v2), litellm's `rerank` and OpenAI's client against the routes that they call.

    python benchmarks/trainers/run.py rerank_clients
    python benchmarks/trainers/rerank_clients.py URL

Prints one line a check, and ends with 1 where one fails.
"""

import sys
from collections.abc import Callable
from typing import Any

import cohere
import litellm
from openai import OpenAI

TEXTS = ["answer 3", "answer 9", "answer 5"]
ORDER = [1, 2, 0]


def ranks(results: Any) -> list[int]:
    """The indices in a reply's results."""
    return [r["index"] if isinstance(r, dict) else r.index for r in results]


def checks(url: str) -> dict[str, Callable[[], bool]]:
    """Name and check."""
    v1, v2 = cohere.Client("token", base_url=url), cohere.ClientV2("token", base_url=url)
    openai = OpenAI(base_url=f"{url}/v1", api_key="token")
    objects: Any = [{"title": "t", "body": text} for text in TEXTS]

    def lite(provider: str, **more: Any) -> Any:
        given: dict[str, Any] = {
            "query": "q",
            "documents": TEXTS,
            "api_base": url,
            "api_key": "token",
            **more,
        }
        return litellm.rerank(model=f"{provider}/judge", **given).results

    def probability() -> float:
        statement: Any = {"type": "predicate", "instructions": "Is it?"}
        answer: Any = openai.decisions.create(model="judge", input="x", questions=[statement]).answers[0]
        return answer.probability

    return {
        "cohere v1": lambda: ranks(v1.rerank(query="q", documents=TEXTS, model="m").results) == ORDER,
        "cohere v1, top_n": lambda: ranks(v1.rerank(query="q", documents=TEXTS, top_n=1).results) == [1],
        "cohere v1, documents returned": lambda: (
            v1.rerank(query="q", documents=TEXTS, return_documents=True).results[0].document.text == TEXTS[1]
        ),
        "cohere v1, rank_fields": lambda: (
            ranks(v1.rerank(query="q", documents=objects, rank_fields=["body"]).results) == ORDER
        ),
        "cohere v2": lambda: ranks(v2.rerank(query="q", documents=TEXTS, model="m").results) == ORDER,
        "cohere v2, one document": lambda: (
            ranks(v2.rerank(query="q", documents=TEXTS[:1], model="m").results) == [0]
        ),
        "cohere v2, equal documents": lambda: (
            len({r.relevance_score for r in v2.rerank(query="q", documents=["a"] * 3, model="m").results})
            == 1
        ),
        "litellm, cohere": lambda: ranks(lite("cohere")) == ORDER,
        "litellm, jina": lambda: ranks(lite("jina_ai")) == ORDER,
        "litellm, vllm": lambda: ranks(lite("hosted_vllm")) == ORDER,
        "litellm, one document, top_n null": lambda: (
            ranks(lite("hosted_vllm", documents=TEXTS[:1], top_n=None)) == [0]
        ),
        "openai, models": lambda: [model.id for model in openai.models.list()] != [],
        "openai, decisions": lambda: 0 <= probability() <= 1,
    }


def main(url: str) -> int:
    """How many checks failed."""
    failed = 0
    for name, check in checks(url).items():
        try:
            outcome = "right" if check() else "wrong"
        except Exception as error:
            outcome = f"{type(error).__name__}: {str(error)[:200]}"
        failed += outcome != "right"
        print(f"{name}: {outcome}")
    return failed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1].rstrip("/")) > 0)
