"""verl 0.9.1: its own ``RewardLoopWorker`` with our reward manager; siblings come to any of the workers."""

import asyncio
from typing import Any

import numpy as np
import torch
from client import each, read
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.trainer.ppo.reward import load_reward_manager


class Letters:
    """A tokenizer of single characters."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(map(chr, ids))


def row_of(reply: dict[str, Any]) -> DataProto:
    """One row of a batch, as verl's agent loop makes it."""
    text = [*map(ord, f"answer {reply['number']}")]
    question = f"question {reply['group']}"
    tensors = {
        "prompts": torch.tensor([[0, 7]]),
        "responses": torch.tensor([[*text, 0, 0]]),
        "attention_mask": torch.tensor([[0, 1, *[1] * len(text), 0, 0]]),
    }
    others: dict[str, Any] = {
        "raw_prompt": np.array([[{"role": "user", "content": question}]], dtype=object),
        "uid": np.array([str(reply["group"])], dtype=object),
        "data_source": np.array(["s"]),
        "reward_model": np.array([{"ground_truth": "", "style": "model"}]),
        "extra_info": np.array([{"question": question, "split": "train"}]),
    }
    return DataProto(batch=TensorDict(tensors, batch_size=1), non_tensor_batch=others)


async def main() -> None:
    """One reward worker."""
    work = read()
    manager = {
        "source": "importlib",
        "name": "GroupRewardManager",
        "module": {"path": "pkg://jurist.integrations.verl"},
    }
    function = {"path": None, "name": "compute_score", "reward_kwargs": {"server": work["url"]}}
    reward = {
        "custom_reward_function": function,
        "reward_manager": manager,
        "reward_model": {"enable": False},
        "num_workers": work["processes"],
    }
    rollout = {"rollout": {"n": work["size"], "val_kwargs": {"n": 1}}}
    config = OmegaConf.create({"reward": reward, "actor_rollout_ref": rollout})
    worker = RewardLoopWorker.__new__(RewardLoopWorker)  # its own constructor loads a model's tokenizer
    worker.config = config
    worker.reward_manager = load_reward_manager(config, Letters())

    async def score(reply: dict[str, Any]) -> float | None:
        await asyncio.sleep(reply["seconds"])
        return (await worker.compute_score(row_of(reply)))["reward_score"]

    await each(work, score)


asyncio.run(main())
