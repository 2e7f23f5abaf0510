"""A teacher for the laptop recipes: an OpenAI-compatible server that judges sums by working them out.

    python recipes/laptop/teacher.py --port 8123 --wrong 0.1

It reads the prompt of the protocol `pairwise-short`, adds digit by digit, says what each reply says, and
gives its verdict. A program stands here for a large model: what it writes is right, short and cheap, so that
distillation can be tried on a laptop. With --wrong it errs in so many of its judgments, for the filters of
`jurist distill` to find.
"""

import argparse
import random
import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from jurist.core.answers import last_number

NAME = "sums-teacher"
PROMPT = re.compile(
    r"(?P<question>.*)\[Reply A\]\n(?P<a>.*)\[Reply B\]\n(?P<b>.*)\[End of reply B\]", re.DOTALL
)
TERMS = re.compile(r"(\d+)\s*\+\s*(\d+)")
WRONG = web.AppKey("wrong", float)


@dataclass(frozen=True)
class Task:
    """Two numbers to add, and the totals that reply A and reply B state (None: no total)."""

    terms: tuple[int, int]
    said: tuple[int | None, int | None]


def task(prompt: str) -> Task | None:
    """What a prompt of `pairwise-short` asks; None where it is no sum."""
    parts = PROMPT.search(prompt)
    terms = TERMS.search(parts["question"]) if parts else None
    if parts is None or terms is None:
        return None
    return Task((int(terms[1]), int(terms[2])), (stated(parts["a"]), stated(parts["b"])))


def stated(reply: str) -> int | None:
    """The total that a reply states: its last number, as `jurist data verifiable --answer last-number`."""
    found = last_number(reply)
    return int(found) if found and found.isdigit() else None


def columns(one: int, two: int) -> str:
    """The sum digit by digit, from the right: `7 + 8 = 15, carry 1. 4 + 3 + 1 = 8.`"""
    steps: list[str] = []
    carry = 0
    while one or two or not steps:
        one, x = divmod(one, 10)
        two, y = divmod(two, 10)
        held = f" + {carry}" if carry else ""
        total = x + y + carry
        carry = total // 10
        onward = f", carry {carry}" if carry and (one or two) else ""
        steps.append(f"{x} + {y}{held} = {total}{onward}.")
    return " ".join(steps)


def chain(asked: Task, draw: random.Random, wrong: float) -> str:
    """A judgment; in a share ``wrong`` of the draws one that errs: a false total, or no verdict."""
    one, two = asked.terms
    total = one + two
    errs = draw.random() < wrong
    false = [said for said in asked.said if said is not None and said != total]
    if errs and false:
        total = false[0]
    better = "B" if asked.said[1] == total and asked.said[0] != total else "A"
    says = [
        f"{name} says {'nothing' if said is None else said}, {'right' if said == total else 'wrong'}."
        for name, said in zip("AB", asked.said, strict=True)
    ]
    verdict = f" <answer>[[{better}]]</answer>"
    unfinished = errs and (not false or draw.random() < 0.3)
    return " ".join([columns(one, two), f"{one} + {two} = {total}.", *says]) + verdict * (not unfinished)


async def models(_: web.Request) -> web.Response:
    """The list of models: one."""
    return web.json_response({"object": "list", "data": [{"id": NAME, "object": "model"}]})


async def completions(request: web.Request) -> web.Response:
    """One judgment for each of the n that are asked for; the same request has the same answer."""
    body: dict[str, Any] = await request.json()
    prompt = str(body["messages"][-1]["content"])
    asked = task(prompt)
    if asked is None:
        message = f"{NAME} judges sums: what is 47 + 38?, in the prompt of the protocol pairwise-short"
        return web.json_response({"error": {"message": message}}, status=400)
    texts = [
        chain(asked, random.Random(f"{prompt} {body.get('seed')} {i}"), request.app[WRONG])
        for i in range(body.get("n") or 1)
    ]
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for i, text in enumerate(texts)
    ]
    written = sum(tokens(text) for text in texts)
    usage = {"prompt_tokens": tokens(prompt), "completion_tokens": written}
    return web.json_response({"object": "chat.completion", "model": NAME, "choices": choices, "usage": usage})


def tokens(text: str) -> int:
    """Words, digits and marks: about what a tokenizer counts."""
    return len(re.findall(r"\d|[^\W\d]+|[^\w\s]", text))


def server(wrong: float) -> web.Application:
    """The application that serves the teacher."""
    app = web.Application()
    app[WRONG] = wrong
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", completions)])
    return app


def main() -> None:
    """Read the options and serve, until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--wrong", type=float, default=0.0, help="share of the judgments that err")
    chosen = parser.parse_args()
    web.run_app(server(chosen.wrong), host=chosen.host, port=chosen.port, print=None)


if __name__ == "__main__":
    main()
