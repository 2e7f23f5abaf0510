"""What the trainer calls for completions: judgments of its pairs, with dull groups replaced."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from jurist.learning.groups import Asking, Group, Write, counted, draw
from jurist.learning.processes import rank
from jurist.learning.questions import Question
from jurist.learning.traces import Traces
from jurist.learning.writers import Writing


class Rollouts:
    """For trl's ``rollout_func``: the prompts it is given are numbers of pairs.

    Draws depend on the seed, the step and the process alone, so that a resumed training goes on as it would
    have. Replacing goes on up to ``resample`` times: each time the groups whose rewards are all equal are
    replaced by groups of other pairs that are not. What is dull in the end stays, without an advantage.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Question, ...]],
        asking: Asking,
        writing: Writing,
        *,
        resample: int,
        updates: int,
        traces: Traces | None,
    ) -> None:
        self._pairs, self._asking, self._writing = pairs, asking, writing
        self._resample, self._updates, self._traces = resample, updates, traces
        self.shares: dict[str, float] = {}
        """What ``counted`` says of the last groups, for the reward function to log."""

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        """Judgments for each prompt, which stands there once for each member of its group."""
        numbers = [int(prompt) for prompt in prompts[:: self._asking.size]]
        step = trainer.state.global_step // self._updates
        with self._writing(trainer) as write:
            drawn = self._groups(numbers, step, 0, write)
            groups, replaced = self._varied(drawn, step, write)
        # Of the verdicts as they were drawn: what replaces a dull group is chosen for not being right.
        self.shares = counted(drawn) | {
            "groups/zero_variance": fmean(group.dull for group in groups),
            "groups/replaced": replaced / len(groups),
        }
        if self._traces:
            self._traces.keep(step, groups)
        members = [m for group in groups for m in group.members]
        return {
            "prompt_ids": [m.question.ids for m in members],
            "completion_ids": [m.written[0] for m in members],
            "logprobs": [m.written[1] for m in members],
            "rewarded": [m.reward for m in members],
        }

    def _varied(self, drawn: Sequence[Group], step: int, write: Write) -> tuple[list[Group], int]:
        groups, replaced = list(drawn), 0
        for attempt in range(1, self._resample + 1):
            dull = [place for place, group in enumerate(groups) if group.dull]
            if not dull:
                break
            others = [
                draw(self._asking.seed, "pair", step, attempt, rank(), place) % len(self._pairs)
                for place in dull
            ]
            fresh = [g for g in self._groups(others, step, attempt, write) if not g.dull]
            for place, group in zip(dull, fresh, strict=False):
                groups[place] = group
                replaced += 1
        return groups, replaced

    def _groups(self, numbers: Sequence[int], step: int, attempt: int, write: Write) -> list[Group]:
        return self._asking.groups([self._pairs[n] for n in numbers], step, attempt, write)


def pass_on(
    rollouts: Rollouts,
) -> Callable[..., list[float | None]]:
    """The trainer's reward function: the rewards that came with the rollouts; it logs their shares."""

    def verdict(
        prompts: Sequence[Any], rewarded: Sequence[float | None], log_metric: Any = None, **_: Any
    ) -> list[float | None]:
        del prompts
        if log_metric:
            for name, value in rollouts.shares.items():
                log_metric(name, value)
        return list(rewarded)

    return verdict
