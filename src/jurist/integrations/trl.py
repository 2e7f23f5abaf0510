"""A judge as TRL's reward function: groups made whole over all processes, and each judged once.

The contract is that of trl 1.16 (trl/trainer/grpo_trainer.py, ``_calculate_rewards``).
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from jurist.core.errors import ConfigError
from jurist.core.types import Case
from jurist.integrations.groups import Group, groups_of, rows_of, scattered
from jurist.integrations.processes import Exchange, Loop, Processes, together
from jurist.judging.build import Say, assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.cohort import JudgeGroup
from jurist.rewards.group import GroupJudge, Reward, Verify, exact_answer
from jurist.rewards.policy import ResponsePolicy
from jurist.rewards.ranking import Rating, RewardMapping
from jurist.serving.client import AsyncClient

TOKEN = "JURIST_SERVER_TOKEN"
"""The environment variable with the server's bearer token, where none is given."""

GROUPS_AT_ONCE = 64
"""Groups that one process has in work at a reward server."""


class GroupReward:
    """What ``group_reward`` returns. ``close`` gives back what the judge holds; else the exit does."""

    def __init__(
        self,
        judge: JudgeGroup,
        *,
        size: int | None,
        columns: tuple[str, str],
        deadline: float | None,
        name: str,
        exchange: Callable[[], Exchange],
        at_once: int,
        opened: Callable[[], Coroutine[Any, Any, None]] | None = None,
        closed: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.__name__ = name
        self._judge, self._size, self._columns, self._deadline = judge, size, columns, deadline
        self._exchange, self._at_once, self._opened = exchange, at_once, opened
        self._loop = Loop(closed)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """A reward per completion, in order; None where there is no verdict.

        With several processes, all of them must call at once, as TRL does. An error in one of them is
        raised in all. ``completion_ids`` are not read.
        """
        del completion_ids
        exchange = self._exchange()
        slices = together(exchange, lambda: rows_of(prompts, completions, columns, *self._columns))
        groups = groups_of(slices, self._size)
        own = [group for group in groups if group.owner == exchange.rank]
        told = together(exchange, lambda: self._loop.run(self._judged(own)))
        rewards = scattered(groups, told, [len(rows) for rows in slices])[exchange.rank]
        _log(self.__name__, rewards, columns)
        return [reward.value for reward in rewards]

    def close(self) -> None:
        """Close the engine, or the connections to the server; the next call opens them again."""
        self._loop.close()

    async def _judged(self, groups: Sequence[Group]) -> list[tuple[Reward, ...]]:
        if self._opened and groups:
            await self._opened()
            self._opened = None
        limit = asyncio.Semaphore(self._at_once)

        async def one(group: Group) -> tuple[Reward, ...]:
            async with limit:
                return tuple(await self._judge(group.case, self._deadline))

        return list(await asyncio.gather(*map(one, groups)))


def group_reward(
    judge: GroupJudge | JudgeConfig | None = None,
    *,
    server: str | None = None,
    token: str | None = None,
    num_generations: int | None = 8,
    reference: str = "reference",
    rubric: str = "rubric",
    rating: Rating = "win-rate",
    reward: RewardMapping = "none",
    policy: ResponsePolicy | None = None,
    verify: Verify | None = exact_answer,
    deadline: float | None = None,
    patience: float = 7200.0,
    name: str = "jurist",
    say: Say = lambda _: None,
    **options: Any,
) -> GroupReward:
    """A reward function for ``GRPOTrainer(reward_funcs=...)``: each completion among its siblings.

    The judge is a ``GroupJudge``, or is made of a config or of ``options`` (the fields of ``JudgeConfig``)
    with ``rating``, ``reward``, ``policy`` and ``verify``; or it is behind ``server``, the address of a
    `jurist serve` (``token``: else the environment's ``JURIST_SERVER_TOKEN``).

    ``num_generations``: the trainer's; a longer run of one prompt is several groups (None: one).
    ``reference``, ``rubric``: columns of the data set, where it has them; what has a reference goes to
    ``verify`` first. ``deadline``: seconds for a group. ``patience``: seconds that processes wait for one
    another, and for the server. ``name`` stands in the trainer's logs. Raises ``ConfigError``.
    """
    if num_generations is not None and num_generations < 1:
        raise ConfigError(f"num_generations {num_generations} is out of range", hint="1 or more, or None")
    if not patience > 0 or not (deadline is None or deadline > 0):
        raise ConfigError(f"patience {patience} or deadline {deadline} is out of range", hint="more than 0")
    shared: dict[str, Any] = {
        "size": num_generations,
        "columns": (reference, rubric),
        "deadline": deadline,
        "name": name,
        "exchange": Processes(patience).exchange,
    }
    if server is not None:
        if judge is not None or options:
            raise ConfigError("a server and options of a judge", hint="the server has its own judge")
        remote = _Remote(server, token or os.environ.get(TOKEN), patience)
        return GroupReward(remote.rewards, closed=remote.close, at_once=GROUPS_AT_ONCE, **shared)
    if not isinstance(judge, GroupJudge):
        setup = assemble(judge or _config(options), say)
        judge = GroupJudge(setup, rating, reward, policy or ResponsePolicy(), verify)
    elif options:
        raise ConfigError(f"a whole judge and the options {', '.join(options)}", hint="one of the two")
    setup = judge.setup
    opened, closed = setup.check, setup.aclose
    return GroupReward(judge.rewards, opened=opened, closed=closed, at_once=setup.concurrency, **shared)


def _config(options: dict[str, Any]) -> JudgeConfig:
    try:
        return JudgeConfig(**options)
    except TypeError as error:
        hint = "options are the fields of jurist.JudgeConfig"
        raise ConfigError(f"unknown option: {error}", hint=hint) from None


def _log(name: str, rewards: Sequence[Reward], columns: Mapping[str, Any]) -> None:
    """The share of completions with a reward as a metric, and why one has none as a column."""
    if rewards and (metric := columns.get("log_metric")):
        metric(f"{name}/answered", sum(r.value is not None for r in rewards) / len(rewards))
    if extra := columns.get("log_extra"):
        extra(f"{name}_status", [r.status.value for r in rewards])


class _Remote:
    """A reward server as a judge of groups; its client belongs to the loop that uses it."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        self._options: tuple[Any, ...] = (url, token)
        self._timeout = timeout
        self._client: AsyncClient | None = None

    async def rewards(self, case: Case, deadline: float | None) -> list[Reward]:
        """One reward per response; each is a sample of a group that is named."""
        client = self._client = self._client or AsyncClient(*self._options, timeout=self._timeout)
        shared = {
            "group": case.id,
            "size": len(case.responses),
            "reference": case.reference,
            "rubric": case.rubric,
            "deadline": deadline,
        }
        asks = [client.score(case.prompt, r, key=f"{i:04}", **shared) for i, r in enumerate(case.responses)]
        scores = await asyncio.gather(*asks)
        return [Reward(score.reward, score.status, score.note) for score in scores]

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client:
            await client.aclose()
