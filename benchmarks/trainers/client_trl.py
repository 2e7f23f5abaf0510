"""TRL 1.16: the reward function as ``GRPOTrainer._calculate_rewards`` calls it, over torch.distributed."""

import os
import time

import torch.distributed as dist
from client import read, tell
from trl import GRPOTrainer

from jurist.integrations.trl import group_reward


def main() -> None:
    """One process of a run: its slice of the rows, when the last of them is written."""
    work = read()
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": work["url"].rpartition(":")[2][:-1] + "7"}
    dist.init_process_group("gloo", rank=work["process"], world_size=work["processes"])
    reward = group_reward(server=work["url"], num_generations=work["size"])
    assert callable(GRPOTrainer._calculate_rewards)
    replies = work["replies"]
    time.sleep(max(0.0, work["start"] + max(reply["seconds"] for reply in replies) - time.time()))
    prompts = [f"question {reply['group']}" for reply in replies]
    for reply, value in zip(
        replies, reward(prompts, [f"answer {reply['number']}" for reply in replies]), strict=True
    ):
        tell(reply, value, "" if value is not None else "None")
    reward.close()
    dist.destroy_process_group()


main()
