"""What the clients of this folder share: the replies that they write, and the rows that they print."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any


def read() -> dict[str, Any]:
    """The client's share of the work, from standard input, once everything is imported."""
    print("ready", flush=True)
    return json.loads(sys.stdin.readline())


def tell(reply: dict[str, Any], reward: float | None, error: object = "") -> None:
    """One row for measure.py."""
    row = {"group": reply["group"], "sibling": reply["sibling"], "reward": reward, "error": str(error)}
    print(json.dumps(row), flush=True)


async def begin(work: dict[str, Any]) -> None:
    """Wait for the common start."""
    await asyncio.sleep(max(0.0, work["start"] - time.time()))


async def each(work: dict[str, Any], reward: Callable[[dict[str, Any]], Awaitable[float | None]]) -> None:
    """Write each reply in its time, ask for its reward, print what came; those never written are left out."""
    await begin(work)

    async def one(reply: dict[str, Any]) -> None:
        try:
            value = await reward(reply)
            tell(reply, value, "" if value is not None else "the trainer has no reward")
        except Exception as error:
            tell(reply, None, f"{type(error).__name__}: {error}")

    await asyncio.gather(*[one(reply) for reply in work["replies"] if reply["seconds"] is not None])
