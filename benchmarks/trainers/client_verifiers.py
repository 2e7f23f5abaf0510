"""verifiers 0.4.0: its own ``Task.score`` with a plugged reward."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import verifiers.v1 as vf
from client import each, read
from verifiers.v1.configs.task import TaskConfig
from verifiers.v1.trace import AgentInfo, TraceTask

FILE = """
from jurist.integrations.verifiers import group_reward

win_rate = group_reward({url!r}, size={size})
"""


async def main() -> None:
    """Score every rollout of this process, each when it has ended."""
    work = read()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "judged.py"
        file.write_text(FILE.format(url=work["url"], size=work["size"]))
        config = TaskConfig(rewards={"jurist": {"fn": f"{file}:win_rate", "weight": 1}})

        async def reward(reply: dict[str, Any]) -> float | None:
            await asyncio.sleep(reply["seconds"])
            task = vf.Task(vf.TaskData(prompt=f"question {reply['group']}"), config)
            told = TraceTask(type=type(task).__name__, data=task.data, key=task.key)
            agent = AgentInfo(config=vf.AgentConfig(model="m"), name="agent")
            trace = vf.Trace(task=told, agent=agent, root_reply=f"answer {reply['number']}")
            await task.score(trace)
            return trace.rewards["jurist"].score

        await each(work, reward)


asyncio.run(main())
