"""A judge as a reward of verifiers: a trace among the rollouts of its task, or an episode's traces at once.

The contract is that of verifiers 0.4 (verifiers/v1/task.py, ``Task.score``; verifiers/v1/env.py,
``Env.finalize``): a reward sees one trace, an environment all traces of an episode.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

from jurist.core.errors import InputError
from jurist.integrations.groups import RewardRow, check_options, client_of, number_of, rows_of
from jurist.serving.client import AsyncClient

NO_REWARD = "verifiers keeps such a rollout as failed; a judge of pairs cannot judge a lone reply"


def last_reply(trace: Any) -> str:
    """The last thing that the model said in a trace."""
    return str(trace.last_reply)


class VerifiersReward:
    """What ``group_reward`` returns: a function of ``task`` and ``trace``, to be plugged or called."""

    def __init__(
        self,
        server: tuple[str, str | None, float],
        size: int | None,
        reference: str | None,
        response: Callable[[Any], str],
        deadline: float | None,
    ) -> None:
        self._server, self._size, self._deadline = server, size, deadline
        self._reference, self._response = reference, response

    async def __call__(self, task: Any, trace: Any) -> float:
        """The reward of a trace among the other rollouts of its task: those that are under way.

        ``task`` is the task's data. The number of siblings and the judge's status stand in ``trace.info``.
        Raises ``JuristError`` where there is no verdict: a rollout is not scored by a guess.
        """
        row = row_of(task, self._response(trace), self._reference)
        async with self._client() as client:
            score = await client.score(
                row.prompt,
                row.response,
                group=trace.task.key,
                size=self._size,
                reference=row.reference,
                deadline=self._deadline,
            )
        trace.info["jurist"] = {"status": score.status.value, "note": score.note, "siblings": score.siblings}
        return number_of(score, "error", NO_REWARD)

    async def record(self, task: Any, traces: Sequence[Any], name: str = "jurist", weight: float = 1) -> None:
        """Rank the traces of an episode among themselves, and record each one's reward.

        For ``Env.finalize(task, episode)``: ``await reward.record(task.data, episode.traces)``. Nothing is
        recorded, and ``JuristError`` raised, where one of them has no verdict.
        """
        rows = [row_of(task, self._response(trace), self._reference) for trace in traces]
        if not rows:
            raise InputError("an episode without traces", hint="one trace or more")
        more: dict[str, Any] = {"reference": rows[0].reference, "deadline": self._deadline}
        async with self._client() as client:
            ranks = await client.rank(rows[0].prompt, [row.response for row in rows], **more)
        rewards = [number_of(ranked, "error", NO_REWARD) for ranked in ranks.responses]
        for trace, value in zip(traces, rewards, strict=True):
            trace.record_reward(name, value, weight)

    def _client(self) -> AsyncClient:
        # One for each call: a client belongs to the event loop of its caller, and callers may have several.
        return client_of(*self._server)


def group_reward(
    server: str,
    *,
    token: str | None = None,
    size: int | None = None,
    reference: str | None = "answer",
    response: Callable[[Any], str] = last_reply,
    deadline: float | None = None,
    patience: float = 7200.0,
) -> VerifiersReward:
    """A reward for ``[env.taskset.task.rewards]``, for a ``@vf.reward``, or for ``Env.finalize``.

    ``server``: the address of a `jurist serve`; ``token``: else the environment's ``JURIST_SERVER_TOKEN``.
    ``size``: how many rollouts a task has at a time (``-r``). ``reference``: the field of the task's data
    with the answer, where it has one (None: it stays out). ``response``: what of a trace is judged; its
    ``transcript`` is the other choice. ``deadline``: seconds for a group. ``patience``: seconds that a trace
    waits for its reply. Raises ``ConfigError``.
    """
    check_options(size=size, deadline=deadline, patience=patience)
    return VerifiersReward((server, token, patience), size, reference, response, deadline)


def row_of(task: Any, response: str, reference: str | None) -> RewardRow:
    """The prompt of a task's data, its system prompt before it, with a response and the reference.

    Raises ``InputError`` where the user opens the conversation, for there is no prompt to judge by.
    """
    if task.prompt is None:
        raise InputError(
            "the task has no prompt", hint="a judge needs to see what was asked: TaskData.prompt"
        )
    asked = _user(task.prompt) if isinstance(task.prompt, str) else [_plain(m) for m in task.prompt]
    system = [{"role": "system", "content": task.system_prompt}] if task.system_prompt else []
    answer = getattr(task, reference, None) if reference else None
    return rows_of([[*system, *asked]], [response], {"reference": [None if answer == "" else answer]})[0]


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _plain(message: Any) -> dict[str, Any]:
    """A message of theirs, which is a pydantic model, as a dictionary."""
    return cast("dict[str, Any]", message) if isinstance(message, dict) else message.model_dump()
