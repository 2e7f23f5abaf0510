"""slime at 624b824: its own ``generate_and_rm_group`` with ``--group-rm`` and our function."""

import asyncio
import sys
import types
from argparse import Namespace
from contextlib import nullcontext
from typing import Any

import slime.rollout.sglang_rollout as rollout
from client import begin, read, tell
from slime.utils.types import Sample

from jurist.integrations.slime import group_reward

BY_NUMBER: dict[str, dict[str, Any]] = {}


async def generate(_: Namespace, sample: Sample, __: dict[str, Any]) -> Sample:
    """``--custom-generate-function-path``: the reply is there after its time."""
    reply = BY_NUMBER[sample.metadata["name"]]
    await asyncio.sleep(reply["seconds"])
    sample.response, sample.status = f"answer {reply['number']}", Sample.Status.COMPLETED
    return sample


class State:
    """slime's GenerateState without a tokenizer and without engines."""

    aborted = False

    def __init__(self, _: Namespace) -> None:
        self.semaphore = asyncio.Semaphore(10_000)

    def dp_rank_context(self) -> Any:
        return nullcontext()


async def main() -> None:
    """Roll out every group of this process at once."""
    work = read()
    module: Any = types.ModuleType("measured_reward")
    module.reward, module.generate = group_reward(work["url"]), generate
    sys.modules["measured_reward"] = module
    rollout.GenerateState = State
    args = Namespace(
        group_rm=True,
        custom_rm_path="measured_reward.reward",
        custom_generate_function_path="measured_reward.generate",
        partial_rollout=False,
        mask_offpolicy_in_partial_rollout=False,
        sglang_enable_deterministic_inference=False,
        rollout_sample_hook_paths=None,
        rollout_sample_hook_path=None,
    )
    groups: dict[int, list[dict[str, Any]]] = {}
    for reply in work["replies"]:
        if reply["seconds"] is not None:
            groups.setdefault(reply["group"], []).append(reply)
            BY_NUMBER[f"{reply['group']}.{reply['sibling']}"] = reply
    await begin(work)

    async def one(number: int, replies: list[dict[str, Any]]) -> None:
        samples = [
            Sample(number, i, prompt=f"question {number}", metadata={"name": f"{number}.{reply['sibling']}"})
            for i, reply in enumerate(replies)
        ]
        try:
            done = await rollout.generate_and_rm_group(args, samples, {})
            for reply, sample in zip(replies, done, strict=True):
                tell(reply, sample.reward)
        except Exception as error:
            for reply in replies:
                tell(reply, None, f"{type(error).__name__}: {error}")

    await asyncio.gather(*[one(*item) for item in groups.items()])


asyncio.run(main())
