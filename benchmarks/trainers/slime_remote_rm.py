"""slime's own `remote_rm` (64 connections, ten attempts) against `/slime`, one sample a call.

    python benchmarks/trainers/run.py slime_remote_rm
    python benchmarks/trainers/slime_remote_rm.py URL [groups=32] [size=8] [spread=20] [missing=0]

Samples come as they are generated: times with a heavy tail, ``spread`` seconds in the middle of it. Of the
groups, a share of ``missing`` lacks a sample. What is right is what `/rank` says of the whole group. Lone
samples (``size=1``, as slime's evaluation sends them) have no right reward: they are only ``answered``.
"""

import asyncio
import random
import sys
import time
from types import SimpleNamespace
from typing import Any

import aiohttp
from slime.rollout.rm_hub import remote_rm


async def measure(url: str, groups: int, size: int, spread: float, missing: float) -> dict[str, Any]:
    """Counts of groups and samples, and seconds."""
    draw = random.Random(0)
    args = SimpleNamespace(rm_url=f"{url}/slime")
    gaps = {g for g in range(groups) if draw.random() < missing}
    started = time.monotonic()

    async def sample(group: int, sibling: int) -> float | str:
        await asyncio.sleep(min(4 * spread, spread * draw.paretovariate(1.5) - spread))
        text = f"answer {sibling + 1}<|im_end|>"
        made = SimpleNamespace(prompt=f"prompt {group}", response=text, label=None)
        try:
            return await remote_rm(args, made)
        except Exception as error:
            return f"{type(error).__name__}: {getattr(error, 'status', '')}"

    asks = [sample(group, sibling) for group in range(groups) for sibling in range(size - (group in gaps))]
    answers = await asyncio.gather(*asks)
    seconds = time.monotonic() - started
    right = wrong = refused = 0
    at = 0
    async with aiohttp.ClientSession() as session:
        for group in range(groups):
            n = size - (group in gaps)
            rewards = answers[at : at + n]
            at += n
            body = {"prompt": f"prompt {group}", "responses": [f"answer {i + 1}" for i in range(n)]}
            async with session.post(f"{url}/rank", json=body) as reply:
                whole = [response["reward"] for response in (await reply.json())["responses"]]
            if any(isinstance(reward, str) for reward in rewards):
                refused += 1
                wrong += not (all(isinstance(reward, str) for reward in rewards) and group in gaps)
            elif rewards == whole and group not in gaps:
                right += 1
            else:
                wrong += 1
    errors = [answer for answer in answers if isinstance(answer, str)]
    return {
        "groups": groups,
        "answered": sum(not isinstance(answer, str) for answer in answers),
        "right": right,
        "refused": refused,
        "wrong": wrong,
        "errors": sorted(set(errors)),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    options = {"groups": 32, "size": 8, "spread": 20.0, "missing": 0.0}
    for argument in sys.argv[2:]:
        name, _, value = argument.partition("=")
        options[name] = type(options[name])(value)
    print(asyncio.run(measure(sys.argv[1].rstrip("/"), **options)))
