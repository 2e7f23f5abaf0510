"""What all routes share: the judge, the cohorts before it, and the counters."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import msgspec

from jurist.core.types import Case, Judgment, Status
from jurist.rewards.cohort import Cohorts, CohortSample, CohortsClosed, Incomplete, group_name
from jurist.rewards.group import GroupJudge, GroupResult, Reward
from jurist.rewards.policy import AS_THEY_ARE, ResponsePolicy
from jurist.serving.errors import HTTPError
from jurist.serving.metrics import Metrics
from jurist.serving.retries import Caller, HeldConnections, SampleKeys, sample_name
from jurist.serving.schema import JudgmentTrace
from jurist.serving.settings import Settings


class GroupReward(Reward, frozen=True):
    """A reward with what is known beside it: its rating, the mean of the group's rewards, the group's size.

    ``index`` is the response's place in the group as it was judged; the orders in ``trace`` speak of these.
    """

    rating: float | None = None
    mean: float | None = None
    siblings: int = 0
    index: int | None = None
    trace: tuple[JudgmentTrace, ...] = ()


class _LetGo(HTTPError):
    """The connection is given back while siblings are awaited; the sample keeps its place."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "the sample waits for its siblings, and its connection is needed by others",
            "send it again: it has kept its place. A trainer that sends whole groups needs no waiting "
            "(slime: --group-rm)",
            retry=1,
        )


class Service:
    """A judge that serves.

    ``draining``: it takes nothing new; ``active`` requests (``queue`` at most) are being answered, with
    ``held_bytes`` of bodies.
    """

    def __init__(self, judge: GroupJudge, settings: Settings) -> None:
        self.judge, self.settings = judge, settings
        # Whoever compares two texts wants a verdict on them as they are.
        self._pairs = replace(judge, policy=ResponsePolicy("judge", "judge", judge.policy.thinking))
        # Answers to choose from are no samples of a trainer: nothing in them is set aside or mapped.
        self._options = replace(judge, rating="bradley-terry", reward="none", policy=AS_THEY_ARE)
        self.cohorts = Cohorts(
            self._rewards,
            size=settings.group_size,
            wait=settings.wait,
            longest=settings.longest,
            partial=settings.partial,
            most_bytes=settings.max_bytes,
        )
        self.metrics = Metrics(lambda: self.cohorts.counts)
        self.keys = SampleKeys()
        self.held = HeldConnections()
        self.active = 0
        self.queue = settings.queue
        self.held_bytes = 0
        self.draining = False
        self._traced = Counter[str]()

    @property
    def model(self) -> str:
        """The judge's name in replies, where the request names no model."""
        return self.judge.setup.config.model or "jurist"

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
        self, sample: CohortSample, caller: Caller, deadline: float | None, trace: bool = False
    ) -> Reward:
        """One response, through the cohort, with its trace where that is asked for."""
        groups = [group_name(sample)] if trace else []
        self._traced.update(groups)
        try:
            limit = deadline or self.settings.deadline
            return (await self._gathered([sample], caller, limit, None, whole=False))[0]
        finally:
            self._traced.subtract(groups)
            self._traced += Counter()

    async def numbers(
        self,
        samples: Sequence[CohortSample],
        caller: Caller,
        patience: float | None,
        deadline: float | None = None,
        *,
        gives_back: bool = False,
    ) -> list[tuple[Reward, float]]:
        """Rewards of samples, in order, each with its number; raises ``HTTPError`` where one has none.

        ``deadline`` (seconds): of the judging, ``patience``: how long clients of the route's contract wait.
        ``gives_back``: the clients have few connections and come again after a 503, so a sample that only
        waits for siblings gives its connection back when others need one (``HeldConnections``).
        After an error samples that have a reward keep it for the call's retry, the others are judged anew.
        """
        limits = deadline or self.settings.deadline, patience
        rewards = await self._gathered(samples, caller, *limits, whole=True, gives_back=gives_back)
        return [(reward, self.number(reward)) for reward in rewards]

    def numbers_of(self, result: GroupResult) -> list[float]:
        """The numbers for a group that came together; raises ``HTTPError`` where one has none."""
        return [self.number(reward) for reward in self.with_mean(result)]

    def with_mean(self, result: GroupResult) -> list[GroupReward]:
        """The rewards of a group that came together, each with their mean."""
        mean = _mean(result.rewards)
        return [GroupReward(r.value, r.status, r.note, mean=mean) for r in result.rewards]

    def number(self, reward: Reward) -> float:
        """The number for a reward; raises ``HTTPError`` where there is none."""
        number = self.stand_in(reward)
        if number is None:
            raise no_reward("a sample has no reward", reward, "--unanswered mean, or a number")
        return number

    def stand_in(self, reward: Reward) -> float | None:
        """The reward's value, else what the settings give a sample without one; None: nothing."""
        if reward.value is not None:
            return reward.value
        return self.settings.stand_in(reward.mean if isinstance(reward, GroupReward) else None)

    async def _gathered(
        self,
        samples: Sequence[CohortSample],
        caller: Caller,
        deadline: float | None,
        patience: float | None,
        *,
        whole: bool,
        gives_back: bool = False,
    ) -> list[Reward]:
        """Rewards of samples, in order; raises what the first refused one raised.

        A sample without a key gets one: of equal samples from one address each new one has its own, and one
        that comes again after a lost connection, or before its group was judged, has its old one. ``whole``:
        where a sample has no reward the call fails, and will come again.
        """
        if any(sample.key is None for sample in samples):
            await caller.settled()
        keyed = [self._keyed(sample, caller) for sample in samples]
        submit = self._held if gives_back else self._submitted
        asks = (submit(s, deadline, patience, caller) for s in keyed)
        answers = await asyncio.gather(*asks, return_exceptions=True)
        rewards = [a for a in answers if isinstance(a, Reward)]
        fails = len(rewards) < len(answers) or (whole and any(self.stand_in(r) is None for r in rewards))
        for sample, original, answer in zip(keyed, samples, answers, strict=True):
            again = _pending(answer) or (fails and _known(answer))
            if original.key is None and sample.key and again and not caller.gone:
                self.keys.give_back(_name(sample, caller), sample.key, monotonic())
        if error := next((a for a in answers if isinstance(a, BaseException)), None):
            raise self._closed(error)
        for reward in rewards:
            self.metrics.reward(reward.status)
        return rewards

    async def _submitted(
        self, sample: CohortSample, deadline: float | None, patience: float | None, _: Caller
    ) -> Reward:
        return await self.cohorts.submit(sample, deadline, patience)

    async def _held(
        self, sample: CohortSample, deadline: float | None, patience: float | None, caller: Caller
    ) -> Reward:
        """The sample's reward; raises ``_LetGo`` where its client is to come again for it."""
        name = _name(sample, caller)
        answer = asyncio.ensure_future(self.cohorts.submit(sample, deadline, patience))
        await asyncio.sleep(0)  # it joins its group, and so may be let go from now on
        released = self.held.hold(caller.address, name, lambda: self.cohorts.gathers(sample))
        try:
            await asyncio.wait((answer, released), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or (
                _pending(answer.result()) and not isinstance(answer.result(), Incomplete)
            ):
                raise _LetGo
            self.held.answered(name)
            return answer.result()
        finally:
            answer.cancel()  # the sample's place in its group stays
            self.held.end(caller.address, released)

    def _keyed(self, sample: CohortSample, caller: Caller) -> CohortSample:
        if sample.key is not None:
            return sample
        name = _name(sample, caller)
        key = self.keys.take(name, monotonic())
        caller.on_leaving(lambda: self.keys.give_back(name, key, monotonic()))
        return msgspec.structs.replace(sample, key=key)

    def _closed(self, error: BaseException) -> BaseException:
        if isinstance(error, CohortsClosed) and self.draining:
            return HTTPError(503, "the server is draining", "try another server, or later", retry=5)
        return error

    async def _rewards(self, case: Case, deadline: float | None) -> list[Reward]:
        """A gathered group, judged; the cohorts' judge."""
        result = self._counted(await self.judge.judge(case, deadline))
        mean = _mean(result.rewards)
        traced = self._traced[case.id] > 0
        whole = traces(result) if traced else ()
        return [
            GroupReward(
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


def no_reward(what: str, reward: Reward, option: str, field: str = "") -> HTTPError:
    """The error of a request that needs a number and has none: 409 where it would have none again, else 503.

    ``option`` is what of the server's options would answer it.
    """
    stands_in = f"start the server with {option}"
    if reward.status is Status.REFUSED:
        hint, status, retry = f"the same request has none again; {stands_in}", 409, None
    elif reward.status is Status.UNPARSED:
        hint, status, retry = f"a judge that samples may answer when asked again; or {stands_in}", 503, 1
    else:
        hint, status, retry = f"send it again; or {stands_in}", 503, 1
    return HTTPError(status, f"{what}: {reward.status}, {reward.note}", hint, field=field, retry=retry)


def traces(result: GroupResult) -> tuple[JudgmentTrace, ...]:
    """The judgments of a result for reading, in terms of all its responses."""
    judgments = result.decision.judgments if result.decision else ()
    return tuple(_trace(judgment, result.judged) for judgment in judgments)


def _trace(judgment: Judgment, judged: tuple[int, ...]) -> JudgmentTrace:
    done, verdict = judgment.completion, judgment.verdict
    return JudgmentTrace(
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
    """The group is not judged yet: the deadline came first, or the connection was given back."""
    if isinstance(answer, Reward) and not isinstance(answer, GroupReward):
        return answer.status is Status.TRUNCATED
    return isinstance(answer, _LetGo)


def _known(answer: object) -> bool:
    return isinstance(answer, Reward) and answer.value is not None


def _name(sample: CohortSample, caller: Caller) -> bytes:
    return sample_name(caller.address, sample.prompt, sample.response, sample.group, sample.reference)
