"""What all routes share: the judge, the cohort before it, and the counters."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import msgspec

from jurist.core.types import Case, Judgment, Order, Record, Scores, Status
from jurist.rewards.cohort import Cohorts, CohortsClosed, Sample, group_name
from jurist.rewards.group import GroupJudge, GroupResult, Guards, Reward
from jurist.serving.errors import Refusal
from jurist.serving.metrics import Metrics
from jurist.serving.retries import Caller, Keys, sample_name
from jurist.serving.settings import Settings


class Trace(Record, frozen=True):
    """One judgment, for reading: ``order[slot]`` is the response shown there; scores in ascending order."""

    order: Order
    scores: Scores | None
    status: Status
    note: str
    thinking: str | None
    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class Told(Reward, frozen=True):
    """A reward with what is known beside it: its rating, the mean of the group's rewards, the group's size.

    ``index`` is the response's place in the group as it was judged; the orders in ``trace`` speak of these.
    """

    rating: float | None = None
    mean: float | None = None
    siblings: int = 0
    index: int | None = None
    trace: tuple[Trace, ...] = ()


class Service:
    """A judge that serves. ``draining``: it takes nothing new; ``active`` requests are being answered."""

    def __init__(self, judge: GroupJudge, settings: Settings) -> None:
        self.judge, self.settings = judge, settings
        # Whoever compares two texts wants a verdict on them as they are.
        self._pairs = replace(judge, guards=Guards("judge", "judge", judge.guards.thinking))
        # Answers to choose from are no samples of a trainer: nothing in them is set aside or mapped.
        self._options = replace(
            judge, rating="bradley-terry", reward="none", guards=Guards("judge", "judge", thinking=False)
        )
        self.cohorts = Cohorts(
            self._rewards, size=settings.group_size, wait=settings.wait, longest=settings.longest
        )
        self.metrics = Metrics(lambda: self.cohorts.counts)
        self.keys = Keys()
        self.active = 0
        self.draining = False
        self._traced = Counter[str]()

    async def pair(self, case: Case, deadline: float | None) -> GroupResult:
        """Two responses as they are, compared."""
        return self._counted(await self._pairs.judge(case, deadline or self.settings.deadline))

    async def options(self, case: Case, deadline: float | None) -> GroupResult:
        """Answers to choose from, as they are; ratings of compared pairs are strengths in logits."""
        return self._counted(await self._options.judge(case, deadline or self.settings.deadline))

    async def group(self, case: Case, deadline: float | None) -> GroupResult:
        """Responses that came together."""
        result = self._counted(await self.judge.judge(case, deadline or self.settings.deadline))
        for reward in result.rewards:
            self.metrics.reward(reward.status)
        return result

    async def sample(
        self, sample: Sample, caller: Caller, deadline: float | None, trace: bool = False
    ) -> Reward:
        """One response, through the cohort, with its trace where that is asked for."""
        groups = [group_name(sample)] if trace else []
        self._traced.update(groups)
        try:
            limit = deadline or self.settings.deadline
            return (await self._gathered([sample], caller, limit, whole=False))[0]
        finally:
            self._traced.subtract(groups)
            self._traced += Counter()

    async def numbers(
        self, samples: Sequence[Sample], caller: Caller, waits: float | None, asked: float | None = None
    ) -> list[tuple[Reward, float]]:
        """Rewards of samples, in order, each with the number for it; ``Refusal`` 503 where one has none.

        ``asked`` is the request's own deadline, ``waits`` how long clients of its contract wait (seconds).
        After a 503 the samples that have a reward keep it for the call's retry; the others are judged anew.
        """
        deadline = asked or self.settings.deadline or waits
        rewards = await self._gathered(samples, caller, deadline, whole=True)
        return [(reward, self.number(reward)) for reward in rewards]

    def numbers_of(self, result: GroupResult) -> list[float]:
        """The numbers for a group that came together; raises ``Refusal`` 503 where one has none."""
        mean = _mean(result.rewards)
        return [self.number(Told(r.value, r.status, r.note, mean=mean)) for r in result.rewards]

    def model(self, asked: str | None) -> str:
        """The model's name for a reply: as it was asked for, else the judge's."""
        return asked or self.judge.setup.config.model or "jurist"

    def number(self, reward: Reward) -> float:
        """The number for a reward; raises ``Refusal`` 503 where there is none."""
        number = self._stand_in(reward)
        if number is None:
            raise Refusal(
                503,
                f"a sample has no reward: {reward.status}, {reward.note}",
                "send it again; or start the server with --unanswered mean, or a number",
                retry=1,
            )
        return number

    async def _gathered(
        self, samples: Sequence[Sample], caller: Caller, deadline: float | None, *, whole: bool
    ) -> list[Reward]:
        """Rewards of samples, in order; raises what the first refused one raised.

        A sample without a key gets one: of equal samples from one address each new one has its own, and one
        that comes again after a lost connection, or before its group was judged, has its old one. ``whole``:
        where a sample has no reward the call fails, and will come again.
        """
        named = [self._named(sample, caller) for sample in samples]
        answers = await asyncio.gather(
            *(self.cohorts.submit(s, deadline) for s in named), return_exceptions=True
        )
        rewards = [a for a in answers if isinstance(a, Reward)]
        fails = len(rewards) < len(answers) or (whole and any(self._stand_in(r) is None for r in rewards))
        for sample, theirs, answer in zip(named, samples, answers, strict=True):
            kept = _pending(answer) or (fails and _known(answer))
            if theirs.key is None and sample.key and kept and not caller.gone:
                self.keys.give_back(_name(sample, caller), sample.key, monotonic())
        if error := next((a for a in answers if isinstance(a, BaseException)), None):
            raise self._closed(error)
        for reward in rewards:
            self.metrics.reward(reward.status)
        return rewards

    def _stand_in(self, reward: Reward) -> float | None:
        if reward.value is not None:
            return reward.value
        return self.settings.stand_in(reward.mean if isinstance(reward, Told) else None)

    def _named(self, sample: Sample, caller: Caller) -> Sample:
        if sample.key is not None:
            return sample
        name = _name(sample, caller)
        key = self.keys.take(name, monotonic())
        caller.on_leaving(lambda: self.keys.give_back(name, key, monotonic()))
        return msgspec.structs.replace(sample, key=key)

    def _closed(self, error: BaseException) -> BaseException:
        if isinstance(error, CohortsClosed) and self.draining:
            return Refusal(503, "the server is draining", "try another server, or later", retry=5)
        return error

    async def _rewards(self, case: Case, deadline: float | None) -> list[Reward]:
        """A gathered group, judged; the cohort's judge."""
        result = self._counted(await self.judge.judge(case, deadline))
        mean = _mean(result.rewards)
        traced = self._traced[case.id] > 0
        whole = traces(result) if traced else ()
        return [
            Told(
                reward.value,
                reward.status,
                reward.note,
                rating=result.ratings[i] if result.ratings else None,
                mean=mean,
                siblings=len(case.responses),
                index=i if traced else None,
                trace=tuple(t for t in whole if i in t.order),
            )
            for i, reward in enumerate(result.rewards)
        ]

    def _counted(self, result: GroupResult) -> GroupResult:
        self.metrics.judged(result)
        return result


def traces(result: GroupResult) -> tuple[Trace, ...]:
    """The judgments of a result for reading, in terms of all its responses."""
    judgments = result.decision.judgments if result.decision else ()
    return tuple(_trace(judgment, result.judged) for judgment in judgments)


def _trace(judgment: Judgment, judged: tuple[int, ...]) -> Trace:
    done, verdict = judgment.completion, judgment.verdict
    return Trace(
        tuple(judged[i] for i in judgment.query.order),
        verdict.scores,
        verdict.status,
        verdict.note,
        done.thinking,
        done.text,
        judgment.usage.prompt_tokens,
        judgment.usage.completion_tokens,
        done.seconds,
    )


def _mean(rewards: Sequence[Reward]) -> float | None:
    known = [r.value for r in rewards if r.value is not None]
    return sum(known) / len(known) if known else None


def _pending(answer: object) -> bool:
    """The deadline came first: the group is still to be judged, or being judged."""
    return isinstance(answer, Reward) and not isinstance(answer, Told) and answer.status is Status.TRUNCATED


def _known(answer: object) -> bool:
    return isinstance(answer, Reward) and answer.value is not None


def _name(sample: Sample, caller: Caller) -> bytes:
    return sample_name(caller.address, sample.prompt, sample.response, sample.group, sample.reference)
