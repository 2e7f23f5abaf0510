"""A judge as OpenRLHF's reward function: each sample goes to a reward server, where it meets its siblings.

The contract is that of OpenRLHF 0.11.2 (openrlhf/utils/agent.py, ``SingleTurnAgentExecutor``), which calls
the function with one sample at a time, in threads.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from jurist.core.errors import ConfigError, InputError
from jurist.core.types import Message
from jurist.integrations.groups import Row, Unanswered, check_unanswered, number
from jurist.integrations.processes import Loop
from jurist.integrations.trl import TOKEN
from jurist.serving.client import AsyncClient
from jurist.serving.schema import ScoreReply
from jurist.serving.templates import turns_of, without_ends


class GroupReward:
    """What ``group_reward`` returns. ``close`` gives its connections back; else the exit does."""

    def __init__(
        self, client: AsyncClient, size: int | None, unanswered: Unanswered, deadline: float | None
    ) -> None:
        self._client = client
        self._unanswered: Unanswered = unanswered
        self._shared: dict[str, Any] = {"size": size, "deadline": deadline}
        self._loop = Loop(client.aclose)
        self._loop.run(asyncio.sleep(0))  # it stands before the first of many threads asks

    def __call__(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """Tensors of a number per query: ``rewards``, ``scores`` where all lie in [0, 1], ``extra_logs``."""
        torch: Any = import_module("torch")
        told = self.numbers(queries, prompts, labels)
        logs = {name: torch.tensor(values) for name, values in told.pop("extra_logs").items()}
        return {name: torch.tensor(values) for name, values in told.items()} | {"extra_logs": logs}

    def numbers(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """The same as lists. Raises ``InputError``, ``ServerError``, and ``JuristError`` for no verdict."""
        rows = rows_of_queries(queries, prompts, labels)
        return told(self._loop.run(self._scores(rows)), self._unanswered)

    def close(self) -> None:
        """Close the connections to the server."""
        self._loop.close()

    async def _scores(self, rows: Sequence[Row]) -> list[ScoreReply]:
        score = self._client.score
        asks = [score(row.prompt, row.response, reference=row.reference, **self._shared) for row in rows]
        return list(await asyncio.gather(*asks))


def group_reward(
    server: str,
    *,
    token: str | None = None,
    size: int | None = None,
    unanswered: Unanswered = "error",
    deadline: float | None = None,
    patience: float = 7200.0,
    threads: int = 256,
) -> GroupReward:
    """The ``reward_func`` of a file for ``--reward.remote_url``; it asks ``server``, a `jurist serve`.

    ``token``: else the environment's ``JURIST_SERVER_TOKEN``. ``size``: ``--rollout.n_samples_per_prompt``.
    ``unanswered``: what a sample without a verdict is worth, or "error". ``deadline``: seconds for a group.
    ``patience``: seconds that a sample waits for its reply. Raises ``ConfigError``.

    Every sample that waits for its siblings holds a thread of the actor's event loop, which has 32 at the
    most: with more samples in flight, those that a group waits for have none. Made in a running loop, as
    OpenRLHF loads its file, this gives the loop ``threads``.
    """
    limits = {"size": 1 if size is None else size, "patience": patience, "threads": threads}
    for name, value in (limits | {"deadline": 1 if deadline is None else deadline}).items():
        if not value > 0:
            raise ConfigError(f"{name} {value} is out of range", hint="more than 0")
    check_unanswered(unanswered)
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        pass  # loaded outside a loop: whoever calls has threads of their own
    else:
        running.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="reward"))
    client = AsyncClient(server, token or os.environ.get(TOKEN), timeout=patience)
    return GroupReward(client, size, unanswered, deadline)


def rows_of_queries(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any] | None = None
) -> list[Row]:
    """Queries are prompt and response as decoded, special tokens kept; a label is a reference.

    Prompts in ChatML or Llama 3's template are taken apart into turns; any other is one user turn. Raises
    ``InputError`` for a query that does not contain its prompt.
    """
    known = [None] * len(queries) if labels is None else labels
    if not len(queries) == len(prompts) == len(known):
        raise InputError(
            f"{len(queries)} queries, {len(prompts)} prompts, {len(known)} labels", hint="one per query"
        )
    return [_row(i, *row) for i, row in enumerate(zip(queries, prompts, known, strict=True))]


def told(scores: Sequence[ScoreReply], unanswered: Unanswered) -> dict[str, Any]:
    """Rewards, the shares that OpenRLHF filters by, and what its logs show beside them."""
    numbers = [number(score, unanswered, "group_reward(unanswered=NUMBER)") for score in scores]
    shares = [
        value if score.rating is None or score.reward is None else score.rating
        for score, value in zip(scores, numbers, strict=True)
    ]
    logs = {
        "answered": [float(score.reward is not None) for score in scores],
        "siblings": [float(score.siblings) for score in scores],
    }
    found = {"scores": shares} if all(0 <= share <= 1 for share in shares) else {}
    return {"rewards": numbers, **found, "extra_logs": logs}


def _row(i: int, query: str, prompt: str, label: Any) -> Row:
    at = query.find(prompt)
    if at < 0 or not prompt:
        raise InputError(
            f"query {i} does not contain its prompt, so its response cannot be told",
            hint="prompts that are cut (--data.max_len) or decoded otherwise; leave them whole",
        )
    turns = turns_of(prompt) or (Message("user", prompt),)
    reference = None if label is None or label == "" else str(label)
    return Row(turns, without_ends(query[at + len(prompt) :]), reference)
