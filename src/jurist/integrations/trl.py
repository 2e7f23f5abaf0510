"""A judge as TRL's reward function: groups are completed over all processes, and each is judged once.

The contract is that of trl 1.16 (trl/trainer/grpo_trainer.py, ``_calculate_rewards``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from jurist.core.errors import ConfigError
from jurist.integrations.groups import RowGroup, ServerJudge, check_options, groups_of, rows_of, scattered
from jurist.integrations.processes import LoopThread, Processes, ProcessGroup, gathered
from jurist.judging.build import Say, assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.cohort import JudgeGroup
from jurist.rewards.group import GroupJudge, Reward, Verify, exact_answer
from jurist.rewards.policy import ResponsePolicy
from jurist.rewards.ranking import Rating, RewardMapping

GROUPS_AT_ONCE = 64
"""Groups that one process sends to a reward server at the same time."""


class TrlReward:
    """What ``group_reward`` returns. ``close`` gives back what the judge holds; else the exit does."""

    def __init__(
        self,
        judge: JudgeGroup,
        *,
        size: int | None,
        columns: tuple[str, str],
        deadline: float | None,
        name: str,
        processes: Callable[[], ProcessGroup],
        at_once: int,
        check: Callable[[], Awaitable[None]] | None = None,
        aclose: Callable[[], Awaitable[None]],
    ) -> None:
        self.__name__ = name
        self._judge, self._size, self._columns, self._deadline = judge, size, columns, deadline
        self._processes, self._at_once, self._check = processes, at_once, check
        self._loop = LoopThread(aclose)

    def __call__(
        self,
        prompts: Sequence[object],
        completions: Sequence[object],
        completion_ids: object = None,
        **columns: Any,
    ) -> list[float | None]:
        """A reward per completion, in order; None where there is no verdict.

        With several processes, all of them must call at once, as TRL does. An error in one of them is
        raised in all. ``completion_ids`` are not read.
        """
        del completion_ids
        processes = self._processes()
        slices = gathered(processes, lambda: rows_of(prompts, completions, columns, *self._columns))
        groups = groups_of(slices, self._size)
        ours = [group for group in groups if group.owner == processes.rank]
        by_rank = gathered(processes, lambda: self._loop.run(lambda: self._judged(ours)))
        rewards = scattered(groups, by_rank, [len(rows) for rows in slices])[processes.rank]
        _log(self.__name__, rewards, columns)
        return [reward.value for reward in rewards]

    def close(self) -> None:
        """Close the engine, or the connections to the server; the next call opens them again."""
        self._loop.close()

    async def _judged(self, groups: Sequence[RowGroup]) -> list[tuple[Reward, ...]]:
        if self._check and groups:
            await self._check()
            self._check = None
        limit = asyncio.Semaphore(self._at_once)

        async def one(group: RowGroup) -> tuple[Reward, ...]:
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
) -> TrlReward:
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
    check_options(patience=patience, deadline=deadline)
    shared: dict[str, Any] = {
        "size": num_generations,
        "columns": (reference, rubric),
        "deadline": deadline,
        "name": name,
        "processes": Processes(patience).group,
    }
    if server is not None:
        if judge is not None or options:
            raise ConfigError("a server and options of a judge", hint="the server has its own judge")
        remote = ServerJudge(server, token, patience)
        return TrlReward(remote.rewards, aclose=remote.aclose, at_once=GROUPS_AT_ONCE, **shared)
    if not isinstance(judge, GroupJudge):
        setup = assemble(judge or _config(options), say)
        judge = GroupJudge(setup, rating, reward, policy or ResponsePolicy(), verify)
    elif options:
        raise ConfigError(f"a whole judge and the options {', '.join(options)}", hint="one of the two")
    setup = judge.setup
    return TrlReward(
        judge.rewards, check=setup.check, aclose=setup.aclose, at_once=setup.concurrency, **shared
    )


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
