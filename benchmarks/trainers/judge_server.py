"""A reward server for the clients of this folder: of two replies "answer N" the one with the higher N wins.

    python benchmarks/trainers/judge_server.py PORT [seconds=0.05] [group_size=8] [SETTING=VALUE ...]

Every judgment takes ``seconds``; the settings are those of ``jurist.serving.settings.Settings``.
"""

import ast
import asyncio
import re
import sys
from dataclasses import replace
from typing import Any

from jurist.core.types import Completion, Query, Usage
from jurist.engines.base import EngineBase
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.group import GroupJudge
from jurist.serving.server import run
from jurist.serving.settings import Settings


class Strongest(EngineBase):
    """Prefers the higher number."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __call__(self, query: Query) -> Completion:
        await asyncio.sleep(self._seconds)
        numbers = re.findall(r"answer (\d+)", query.messages[-1].content)[-2:]
        first, second = map(int, numbers) if len(numbers) == 2 else (0, 0)
        label = "A" if first > second else "B"
        return Completion(f"<answer>[[{label}]]</answer>", usage=Usage(10, 5))


def main(port: int, options: dict[str, Any]) -> None:
    """Serve until a signal."""
    engine = Strongest(options.pop("seconds", 0.05))
    setup = assemble(JudgeConfig(engine="scripted:", protocol="rubrics"))
    judge = GroupJudge(replace(setup, engine=engine))
    run(judge, Settings(port=port, **options), lambda text: print(text, file=sys.stderr, flush=True))


def value_of(text: str) -> Any:
    """A number where it is one, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    pairs = [argument.partition("=") for argument in sys.argv[2:]]
    main(int(sys.argv[1]), {name: value_of(value) for name, _, value in pairs})
