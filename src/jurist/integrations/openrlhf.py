"""A judge as OpenRLHF's reward function: a reward server compares each sample with its group.

The contract is that of OpenRLHF 0.11.2 (openrlhf/utils/agent.py, ``SingleTurnAgentExecutor``), which calls
the function with one sample at a time by ``asyncio.to_thread``.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from jurist.core.errors import InputError
from jurist.integrations.groups import Unanswered, check_options, client_of, number_of
from jurist.integrations.processes import LoopThread
from jurist.serving.client import AsyncClient
from jurist.serving.queries import QuerySample, query_sample
from jurist.serving.schema import ScoreReply

T = TypeVar("T")

LOG = logging.getLogger(__name__)


class OpenRlhfReward:
    """What ``group_reward`` returns. ``close`` gives its connections back; else the exit does."""

    def __init__(
        self, client: AsyncClient, size: int | None, unanswered: Unanswered, deadline: float | None
    ) -> None:
        self._client, self._size, self._deadline = client, size, deadline
        self._unanswered: Unanswered = unanswered
        self._loop = LoopThread(client.aclose)

    def __call__(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[object] | None = None
    ) -> dict[str, Any]:
        """Tensors of a number per query: ``rewards``, ``scores`` where all lie in [0, 1], ``extra_logs``.

        Raises ``InputError``, ``ServerError``, and ``JuristError`` where there is no verdict and no number
        for that.
        """
        return self._loop.run(lambda: self._tensors(queries, prompts, labels))

    def start(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[object] | None = None
    ) -> Future[dict[str, Any]]:
        """The same without a thread that waits."""
        return self._loop.start(lambda: self._tensors(queries, prompts, labels))

    def close(self) -> None:
        """Close the connections to the server."""
        self._loop.close()

    async def _tensors(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[object] | None
    ) -> dict[str, Any]:
        torch: Any = import_module("torch")
        samples = samples_of(queries, prompts, labels)
        scores = await asyncio.gather(*map(self._score, samples))
        fields = reward_fields(scores, samples, self._unanswered)
        logs = {name: torch.tensor(values) for name, values in fields.pop("extra_logs").items()}
        return {name: torch.tensor(values) for name, values in fields.items()} | {"extra_logs": logs}

    async def _score(self, sample: QuerySample) -> ScoreReply:
        return await self._client.score(
            sample.prompt,
            sample.response,
            reference=sample.reference,
            size=self._size,
            deadline=self._deadline,
        )


def group_reward(
    server: str,
    *,
    token: str | None = None,
    size: int | None = None,
    unanswered: Unanswered = "error",
    deadline: float | None = None,
    patience: float = 7200.0,
) -> OpenRlhfReward:
    """The ``reward_func`` of a file for ``--reward.remote_url``; it asks ``server``, a `jurist serve`.

    ``token``: else the environment's ``JURIST_SERVER_TOKEN``. ``size``: ``--rollout.n_samples_per_prompt``.
    ``unanswered``: what a sample without a verdict is worth, or "error". ``deadline``: seconds for a group.
    ``patience``: seconds that a sample waits for its reply. Raises ``ConfigError``.

    OpenRLHF calls the function in threads of its event loop, which has 32 at the most; were each sample that
    waits for its siblings to hold one, a group would wait for samples that have none. So where this is made
    in a running loop, as when OpenRLHF loads its file, the loop's threads hand calls of it to an event loop
    of its own, where they wait without a thread.
    """
    check_options(unanswered=unanswered, size=size, deadline=deadline, patience=patience)
    reward = OpenRlhfReward(client_of(server, token, patience), size, unanswered, deadline)
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return reward  # loaded outside a loop: whoever calls has threads of their own
    running.set_default_executor(_WaitsWithoutThreads(reward))
    return reward


class _WaitsWithoutThreads(ThreadPoolExecutor):
    """Threads for everything but calls of the reward, which wait in its event loop."""

    def __init__(self, reward: OpenRlhfReward) -> None:
        super().__init__()
        self._reward = reward

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start the call; ``asyncio.to_thread`` passes ``partial(context.run, function, *arguments)``."""
        call = partial(fn, *args, **kwargs)
        function, *arguments = call.args or (None,)
        if function is self._reward:
            return self._reward.start(*arguments, **call.keywords)
        return super().submit(fn, *args, **kwargs)


def samples_of(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[object] | None = None
) -> list[QuerySample]:
    """Queries are prompt and response as decoded, special tokens kept; a label is a reference.

    Where a prompt is not found in its query, the whole query is judged as the response, with a warning in
    the log. Raises ``InputError`` for other numbers of prompts or labels, and for an empty prompt.
    """
    labels = [None] * len(queries) if labels is None else labels
    if not len(queries) == len(prompts) == len(labels):
        raise InputError(
            f"{len(queries)} queries, {len(prompts)} prompts, {len(labels)} labels", hint="one per query"
        )
    samples = [query_sample(*row) for row in zip(queries, prompts, labels, strict=True)]
    for i, sample in enumerate(samples):
        if not prompts[i].strip():
            raise InputError(f"prompt {i} is empty", hint="a judge needs to see what was asked")
        if sample.split == "none":
            LOG.warning("the prompt is not in its query, so all of it is judged: %.80r", queries[i])
    return samples


def reward_fields(
    scores: Sequence[ScoreReply], samples: Sequence[QuerySample], unanswered: Unanswered
) -> dict[str, Any]:
    """Rewards, the shares that OpenRLHF filters by, and what its logs show beside them."""
    hint = "group_reward(unanswered=NUMBER) gives such samples that number"
    numbers = [number_of(score, unanswered, hint) for score in scores]
    shares = [
        value if score.rating is None or score.reward is None else score.rating
        for score, value in zip(scores, numbers, strict=True)
    ]
    logs = {
        "answered": [float(score.reward is not None) for score in scores],
        "siblings": [float(score.siblings) for score in scores],
        "prompt_found": [float(sample.split != "none") for sample in samples],
    }
    in_range = {"scores": shares} if all(0 <= share <= 1 for share in shares) else {}
    return {"rewards": numbers, **in_range, "extra_logs": logs}
