"""A judge as slime's reward: with ``--group-rm`` whole groups, each ranked by a reward server in one request.

The contracts are those of slime at 624b824 (slime/rollout/rm_hub, ``batched_async_rm`` and ``async_rm``;
slime/rollout/sglang_rollout.py, ``generate_rollout``).
"""

from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, cast

from jurist.core.errors import ConfigError, InputError
from jurist.core.types import Case, Conversation, Message
from jurist.integrations.groups import ServerJudge, Unanswered, check_options, number_of, rows_of
from jurist.serving.queries import reference_of
from jurist.serving.templates import turns_of, without_ends

Lone = float | Literal["error", "anchors", "judge"]
"""What a sample without siblings, as evaluation has them, is worth."""


class SlimeReward:
    """What ``group_reward`` returns: a coroutine function for ``--custom-rm-path``."""

    def __init__(
        self, judge: ServerJudge, unanswered: Unanswered, lone: Lone, deadline: float | None
    ) -> None:
        self._judge, self._deadline = judge, deadline
        self._unanswered: Unanswered = unanswered
        self._lone: Lone = lone

    async def __call__(self, args: Namespace, sample_or_group: Any, **kwargs: object) -> float | list[float]:
        """The rewards of a group, in order; of one sample the reward by the rule for lone samples.

        Raises ``ConfigError`` for single samples in training, ``InputError`` for prompts that are no text,
        ``ServerError``, and ``JuristError`` where there is no verdict and no number for that.
        """
        del kwargs
        if not isinstance(sample_or_group, list):
            return await self._lone_reward(sample_or_group)
        group = cast("list[Any]", sample_or_group)
        if not args.group_rm or any(isinstance(sample, list) for sample in group):
            raise ConfigError(
                "parts of one rollout are no siblings",
                hint="--group-rm, and a generate function that returns one sample for each rollout",
            )
        return await self._rewards(case_of(group))

    async def _lone_reward(self, sample: Any) -> float:
        if isinstance(self._lone, (int, float)):
            return self._lone
        if self._lone == "error":
            raise ConfigError(
                "a sample without its siblings has nothing to be compared with",
                hint="training: --group-rm; evaluation: group_reward(lone=NUMBER), or lone='anchors'",
            )
        case = case_of([sample])
        if self._lone == "anchors" and not case.anchors:
            raise InputError(
                "the sample has no anchors", hint="metadata['anchors']: a list of responses to compare with"
            )
        return (await self._rewards(case))[0]

    async def _rewards(self, case: Case) -> list[float]:
        rewards = await self._judge.rewards(case, self._deadline)
        hint = "group_reward(unanswered=NUMBER) gives such samples that number"
        return [number_of(reward, self._unanswered, hint) for reward in rewards]


def group_reward(
    server: str,
    *,
    token: str | None = None,
    unanswered: Unanswered = "error",
    lone: Lone = "error",
    deadline: float | None = None,
    patience: float = 7200.0,
) -> SlimeReward:
    """A reward for ``--group-rm --custom-rm-path MODULE.NAME``; it asks ``server``, a `jurist serve`.

    ``token``: else the environment's ``JURIST_SERVER_TOKEN``. ``unanswered``: what a sample without a verdict
    is worth, or "error". ``deadline``: seconds for a group. ``patience``: seconds that a group waits for its
    reply, and for a server that is away. Raises ``ConfigError``.

    ``lone``: what a sample of evaluation is worth, which comes alone: a number; "anchors", its chance to beat
    the responses in its ``metadata["anchors"]``; "judge", the rating of a server whose judge rates single
    responses (``--protocol pointwise``); or "error".
    """
    rules = ("error", "anchors", "judge")
    if isinstance(lone, str) and lone not in rules:
        raise ConfigError(f"lone {lone!r} is no rule", hint=f"a number, {', '.join(rules)}")
    check_options(unanswered=unanswered, deadline=deadline, patience=patience)
    check_options(unanswered=lone if isinstance(lone, (int, float)) else "error")
    return SlimeReward(ServerJudge(server, token, patience), unanswered, lone, deadline)


def evaluate(args: Namespace, rollout_id: int, data_source: object, evaluation: bool = True) -> object:
    """slime's own rollout for ``--eval-function-path``, where training has ``--group-rm``, which it refuses.

    Each sample comes alone then: what it is worth is ``group_reward``'s ``lone``, unless the data set names
    another reward.
    """
    rollout: Any = import_module("slime.rollout.sglang_rollout")
    alone = Namespace(**{**vars(args), "group_rm": False})
    return rollout.generate_rollout(alone, rollout_id, data_source, evaluation=evaluation)


def case_of(group: Sequence[Any]) -> Case:
    """Samples of one prompt as a case.

    A prompt in a known chat template becomes turns. Label, ``metadata["rubric"]`` and
    ``metadata["anchors"]`` are those of the first sample. Raises ``InputError``.
    """
    first = group[0]
    metadata: dict[str, Any] = first.metadata or {}
    return Case(
        "group",
        _turns(first.prompt),
        tuple(without_ends(sample.response) for sample in group),
        reference=reference_of(first.label),
        rubric=reference_of(metadata.get("rubric")),
        anchors=tuple(map(str, metadata.get("anchors") or ())),
    )


def _turns(prompt: object) -> Conversation:
    if isinstance(prompt, str):
        return turns_of(prompt) or (Message("user", prompt),)
    return rows_of([prompt], [""], {})[0].prompt
