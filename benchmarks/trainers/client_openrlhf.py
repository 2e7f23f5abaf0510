"""OpenRLHF 0.11.2: its own ``SingleTurnAgentExecutor`` loads a file with ``reward_func`` and calls it."""

import asyncio
import logging
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from client import each, read
from openrlhf.utils.agent import SingleTurnAgentExecutor

FILE = """
from jurist.integrations.openrlhf import group_reward

reward_func = group_reward({url!r}, size={size})
"""


class Letters:
    """A tokenizer of single characters that, as some do, decodes blanks around its special tokens."""

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"input_ids": [SimpleNamespace(tolist=lambda: [*map(ord, text)])]}

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(map(chr, ids)).replace("<s>", "<s> ")


class Engine:
    """vLLM's place: the reply is there after its time."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self._reply = reply

    async def generate(self, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(self._reply["seconds"])
        text = [*map(ord, f" answer {self._reply['number']}</s>")]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=text, finish_reason="stop", logprobs=None)])


async def main() -> None:
    """Execute every sample of this process at once."""
    work = read()
    reasons: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reasons.append(record.getMessage())

    logging.getLogger("openrlhf.utils.agent").addHandler(Kept())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rewards.py"
        file.write_text(FILE.format(url=work["url"], size=work["size"]))
        executor = SingleTurnAgentExecutor([str(file)])

        async def reward(reply: dict[str, Any]) -> float | None:
            params = SimpleNamespace(max_tokens=64, logprobs=None)
            prompt = f"<s>[INST] question {reply['group']} [/INST]"
            output = await executor.execute(prompt, None, params, 256, Letters(), Engine(reply))
            if output["reward"] is None:
                raise RuntimeError(reasons[-1] if reasons else "no reward")
            return float(output["reward"])

        await each(work, reward)
        executor.reward_func.close()


asyncio.run(main())
