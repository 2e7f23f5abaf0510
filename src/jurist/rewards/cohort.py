"""The cohort: samples that arrive one by one are gathered by group and judged together."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf
from typing import Generic, TypeVar

import msgspec

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.types import Case, Conversation, Record, Response, Status, response_text
from jurist.rewards.group import Reward

JudgeGroup = Callable[[Case, float | None], Awaitable[Sequence[Reward]]]
"""``judge(case, deadline)``: one reward per response, in order, ``deadline`` seconds from now at the latest;
``GroupJudge.rewards`` is one."""

K = TypeVar("K")
V = TypeVar("V")

GATHERING = 0.5
"""The share of a caller's deadline that may go into waiting for siblings."""

JUDGING = 0.95
"""The share of what is then left that the judge has; the rest is for the answer."""


class CohortsClosed(JuristError):
    """No new sample is taken now: too many groups are open, or the cohorts are draining (HTTP: 503)."""


class Sample(Record, frozen=True):
    """One response that waits for its siblings.

    ``group`` names its group; without a name, samples with the same prompt and reference are siblings.
    ``key`` is its own name within the group: another request with that key and the same response is a
    retry (a key may come again in the next epoch, with another response), and so is, without a key, the
    same response from the same ``caller``; without both every request is a new sample. ``size``: how
    many siblings there will be, itself included. ``rubric`` and ``anchors`` of the sample that opens the
    group hold for all of it.
    """

    prompt: Conversation
    response: Response
    group: str | None = None
    key: str | None = None
    reference: str | None = None
    size: int | None = None
    caller: str | None = None
    rubric: str | None = None
    anchors: tuple[Response, ...] = ()


class Counts(Record, frozen=True):
    """Now: groups that are ``open`` (gathering) or ``judging``, samples ``waiting`` in both.

    Since the start: ``samples`` taken, ``retries`` of them, groups ``judged``, of these ``partial`` (fewer
    than their size) and ``failed`` (the judge raised), and ``late`` samples, which opened a group again
    that time had closed.
    """

    open: int = 0
    judging: int = 0
    waiting: int = 0
    samples: int = 0
    retries: int = 0
    judged: int = 0
    partial: int = 0
    failed: int = 0
    late: int = 0


@dataclass(slots=True, eq=False)
class _Slot:
    """A sample with the reward to come; ``until``: when who asked last gives up, in the loop's time."""

    sample: Sample
    identity: bytes | None
    answer: asyncio.Future[Reward]
    until: float = inf


@dataclass(slots=True, eq=False)
class _Group:
    """Siblings so far; ``latest``: when it is judged at the latest."""

    name: str
    first: Sample
    latest: float
    size: int | None = None
    slots: list[_Slot] = field(default_factory=list[_Slot])
    timer: asyncio.TimerHandle | None = None


class Cohorts:
    """Gathers samples by group, has each group judged once, and answers every caller.

    A group is judged when ``size`` siblings are there (a sample's own ``size`` goes before; of several the
    largest), when no sibling came for ``wait`` seconds, ``longest`` seconds after it was opened, or when
    half of the time is gone that its most impatient caller has; and at ``largest`` siblings in any case.
    A sibling that never comes blocks nobody and has no reward. One that comes later opens a new group of
    the same name: so the same prompt can come again, and no reward is given twice for one comparison.

    A retry gets the reward of the sample it repeats, whether that is still to be judged or was judged in
    the last ``keep_for`` seconds (the last ``keep`` samples at most). Who disconnects cancels nothing.
    Beyond ``most_groups`` open and judging at once new ones are refused. One event loop at a time.
    """

    def __init__(
        self,
        judge: JudgeGroup,
        *,
        size: int | None = None,
        wait: float = 5.0,
        longest: float = 60.0,
        most_groups: int = 10_000,
        largest: int = 128,
        keep: int = 100_000,
        keep_for: float = 900.0,
    ) -> None:
        _positive(size=1 if size is None else size, most_groups=most_groups, largest=largest)
        _positive(wait=wait, longest=longest)
        self._judge, self._size, self._wait, self._longest = judge, size, wait, longest
        self._most, self._largest = most_groups, largest
        self._open: dict[str, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots: dict[bytes, _Slot] = {}
        self._answers = _Recent[bytes, Reward](keep, keep_for)
        self._timed_out = _Recent[str, bool](keep, keep_for)
        self._tally = dict.fromkeys(
            ("waiting", "samples", "retries", "judged", "partial", "failed", "late"), 0
        )
        self._draining = False

    @property
    def counts(self) -> Counts:
        """What goes on and what went on, for metrics."""
        return Counts(len(self._open), len(self._tasks), **self._tally)

    async def submit(self, sample: Sample, deadline: float | None = None) -> Reward:
        """The sample's reward, as soon as its group is judged; None ("truncated") at the ``deadline``.

        ``deadline``: seconds from now in which the caller needs an answer. Raises ``InputError`` for a sample
        whose group is open with another prompt or reference, or with a size or deadline out of range;
        ``CohortsClosed`` where no new sample is taken. What the judge raises is a reward of None, "failed".
        """
        if (sample.size is not None and sample.size < 1) or not (deadline is None or deadline > 0):
            raise InputError(
                f"size {sample.size} or deadline {deadline} is out of range",
                hint="at least one sibling; more than 0 seconds",
            )
        now = asyncio.get_running_loop().time()
        until = inf if deadline is None else now + deadline
        identity = _identity(sample)
        if identity and (known := self._answers.get(identity, now)):
            self._tally["retries"] += 1
            return known
        slot = self._slots.get(identity) if identity else None
        if slot is None:
            slot = self._joined(sample, identity, now, until)
        else:
            self._tally["retries"] += 1
            slot.until = until
        return await _answer(slot, until)

    async def drain(self) -> None:
        """Judge what is gathered, take nothing new from now on, and return when everyone is answered."""
        self._draining = True
        for group in list(self._open.values()):
            self._close(group)
        while self._tasks:
            # Unlike gather, this leaves the judging alone where the drain itself is cancelled.
            await asyncio.wait(self._tasks)

    def _joined(self, sample: Sample, identity: bytes | None, now: float, until: float) -> _Slot:
        """A new slot in the sample's group, which is opened, or judged, as need be."""
        loop = asyncio.get_running_loop()
        group = self._group(sample, now)
        slot = _Slot(sample, identity, loop.create_future(), until)
        group.slots.append(slot)
        if identity:
            self._slots[identity] = slot
        self._tally["samples"] += 1
        self._tally["waiting"] += 1
        group.size = max(filter(None, (group.size, sample.size or self._size)), default=None)
        group.latest = min(group.latest, now + GATHERING * (until - now))
        if group.timer:
            group.timer.cancel()
        if len(group.slots) >= min(group.size or inf, self._largest):
            self._close(group)
        else:
            group.timer = loop.call_at(min(now + self._wait, group.latest), self._close, group, True)
        return slot

    def _group(self, sample: Sample, now: float) -> _Group:
        """The open group of a sample, or a new one."""
        name = group_name(sample)
        group = self._open.get(name)
        if self._draining or (group is None and len(self._open) + len(self._tasks) >= self._most):
            why = "the cohorts are draining" if self._draining else f"{self._most} groups are open"
            raise CohortsClosed(f"no new sample is taken: {why}", hint="try again later")
        if group is None:
            self._tally["late"] += self._timed_out.pop(name, now) is not None
            group = self._open[name] = _Group(name, sample, now + self._longest)
        elif (group.first.prompt, group.first.reference) != (sample.prompt, sample.reference):
            raise InputError(
                f"the group {name!r} is open with another prompt or reference",
                hint="siblings share both; give every group a name of its own",
            )
        return group

    def _close(self, group: _Group, timed_out: bool = False) -> None:
        """No more siblings: the group goes to the judge."""
        loop = asyncio.get_running_loop()
        del self._open[group.name]
        if group.timer:
            group.timer.cancel()
        if timed_out:
            self._timed_out.put(group.name, True, loop.time())
        self._tally["partial"] += len(group.slots) < (group.size or 0)
        task = loop.create_task(self._judged(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judged(self, group: _Group) -> None:
        """The group judged and its callers answered, whatever the judge does."""
        # In an order of their own: what is asked must not depend on who came first.
        slots = sorted(group.slots, key=lambda s: (response_text(s.sample.response), s.sample.key or ""))
        rewards: Sequence[Reward] = [Reward(None, Status.FAILED, "the judging was cancelled")] * len(slots)
        try:
            rewards = await self._rewards(group, slots)
        except Exception as error:
            self._tally["failed"] += 1
            rewards = [Reward(None, Status.FAILED, f"{type(error).__name__}: {error}")] * len(slots)
        finally:
            self._tally["judged"] += 1
            for slot, reward in zip(slots, rewards, strict=True):
                self._answered(slot, reward)

    async def _rewards(self, group: _Group, slots: Sequence[_Slot]) -> Sequence[Reward]:
        first, now = group.first, asyncio.get_running_loop().time()
        responses = tuple(slot.sample.response for slot in slots)
        case = Case(
            group.name,
            first.prompt,
            responses,
            reference=first.reference,
            rubric=first.rubric,
            anchors=first.anchors,
        )
        # Who has given up already hurries nobody.
        until = min((slot.until for slot in slots if slot.until > now), default=inf)
        rewards = await self._judge(case, None if until == inf else JUDGING * (until - now))
        if len(rewards) != len(slots):
            raise JuristError(f"the judge gave {len(rewards)} rewards for {len(slots)} responses")
        return rewards

    def _answered(self, slot: _Slot, reward: Reward) -> None:
        self._tally["waiting"] -= 1
        if slot.identity:
            del self._slots[slot.identity]
            self._answers.put(slot.identity, reward, asyncio.get_running_loop().time())
        if not slot.answer.done():
            slot.answer.set_result(reward)


def group_name(sample: Sample) -> str:
    """The name of a sample's group: its own, or BLAKE2 of prompt and reference (24 hex digits)."""
    if sample.group is not None:
        return sample.group
    both = msgspec.json.encode((sample.prompt, sample.reference))
    return blake2b(both, digest_size=12).hexdigest()


def _identity(sample: Sample) -> bytes | None:
    """What a sample shares with its retries; None where it has no such thing."""
    if sample.key is None and sample.caller is None:
        return None
    own = ("key", sample.key) if sample.key is not None else ("caller", sample.caller)
    both = msgspec.json.encode((group_name(sample), own, sample.response))
    return blake2b(both, digest_size=16).digest()


async def _answer(slot: _Slot, until: float) -> Reward:
    """The slot's reward; none at the deadline."""
    try:
        async with asyncio.timeout_at(None if until == inf else until):
            # The future is the group's: neither this deadline nor a lost connection may cancel it.
            return await asyncio.shield(slot.answer)
    except TimeoutError:
        if slot.answer.done():
            return slot.answer.result()
    return Reward(None, Status.TRUNCATED, "the deadline came before the group was judged")


class _Recent(Generic[K, V]):
    """What was put in of late: the last ``most`` entries, each for ``seconds``."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def put(self, key: K, value: V, now: float) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (now + self._seconds, value)
        while len(self._entries) > self._most or next(iter(self._entries.values()), (inf,))[0] <= now:
            self._entries.popitem(last=False)

    def get(self, key: K, now: float) -> V | None:
        until, value = self._entries.get(key, (now, None))
        return value if until > now else None

    def pop(self, key: K, now: float) -> V | None:
        value = self.get(key, now)
        self._entries.pop(key, None)
        return value


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{name} {value} is out of range", hint="more than 0")
