"""Cohorts: samples that arrive one by one are collected by group and judged together."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf
from typing import Generic, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.types import Case, Conversation, Record, Response, Status, response_text
from jurist.rewards.group import Reward

JudgeGroup = Callable[[Case, float | None], Awaitable[Sequence[Reward]]]
"""``judge(case, deadline)``: one reward per response, in order, ``deadline`` seconds from now at the latest;
``GroupJudge.rewards`` is one."""

Partial = Literal["refuse", "judge"]
"""What is done with a group that is incomplete when its time is over."""

K = TypeVar("K")
V = TypeVar("V")

GATHERING = 0.5
"""The share of a caller's time that is used to wait for siblings, if their number is not known."""

HELD_UP = 0.05
"""Seconds of delay from which the event loop counts as blocked: requests that arrived were not read."""

JUDGING = 0.95
"""The share of the remaining time that the judge has; the rest is for sending the reply."""


class CohortsClosed(JuristError):
    """No new sample is taken now: too many groups are open, or the cohorts are draining (HTTP: 503)."""


class CohortSample(Record, frozen=True):
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


class Incomplete(Reward, frozen=True):
    """No reward: only ``siblings`` of the ``size`` samples of the group came in time."""

    siblings: int = 0
    size: int = 0


class CohortCounts(Record, frozen=True):
    """Now: groups that are ``open`` (gathering) or ``judging``, samples ``waiting`` in both.

    Since the start: ``samples`` taken, ``retries`` of them, groups ``judged``, groups ``partial`` (fewer than
    their size when their time was over), judgings that ``failed`` (the judge raised), and ``late`` samples,
    which opened a group again that time had closed.
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
    """A sample with the reward to come; ``deadline``: when its judging must be over, in the loop's time."""

    sample: CohortSample
    identity: bytes | None
    answer: asyncio.Future[Reward]
    deadline: float = inf


@dataclass(slots=True, eq=False)
class _Group:
    """Siblings so far; ``latest``: when it is closed at the latest."""

    first: CohortSample
    opened: float
    latest: float
    size: int | None = None
    slots: list[_Slot] = field(default_factory=list[_Slot])
    timer: asyncio.TimerHandle | None = None


class Cohorts:
    """Collects samples by group, has each group judged once, and answers every caller.

    If the ``size`` of a group is known (a sample's own size first; of several the largest), it is judged as
    soon as it is complete. If it is incomplete ``longest`` seconds after it was opened, it is not judged, and
    every caller is answered ``Incomplete``: a reward among half of the siblings is not the number that the
    trainer asked for. With ``partial="judge"`` the samples that arrived are judged, and the notes say so.

    If the size is not known, or with ``partial="judge"``, a group is also judged when no sibling came for
    ``wait`` seconds, or when half of the time of the caller with the shortest deadline is gone. A group of
    unknown size is judged at ``largest`` siblings. A later sibling opens a new group of the same name, so a
    prompt can be used again, and no reward is given twice for one comparison.

    A retry gets the reward of the sample that it repeats, if that is not judged yet or was judged in the last
    ``keep_for`` seconds (of the last ``keep`` samples); after ``Incomplete`` it is collected again. A caller
    that disconnects cancels nothing. Beyond ``most_groups`` open or judging, or ``most_bytes`` of texts in
    them, new samples are refused. For one event loop at a time.
    """

    def __init__(
        self,
        judge: JudgeGroup,
        *,
        size: int | None = None,
        wait: float = 5.0,
        longest: float = 600.0,
        partial: Partial = "refuse",
        most_groups: int = 10_000,
        most_bytes: int = 2**30,
        largest: int = 128,
        keep: int = 100_000,
        keep_for: float = 900.0,
    ) -> None:
        _positive(size=1 if size is None else size, most_groups=most_groups, largest=largest)
        _positive(wait=wait, longest=longest, most_bytes=most_bytes)
        self._judge, self._size, self._wait, self._longest = judge, size, wait, longest
        self._partial: Partial = partial
        self._most, self._most_bytes, self._largest = most_groups, most_bytes, largest
        self._bytes = 0
        # Keyed by digests of the groups' names, which may be long.
        self._open: dict[bytes, _Group] = {}
        self._timed_out = _Recent[bytes, bool](keep, keep_for)
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots: dict[bytes, _Slot] = {}
        self._answers = _Recent[bytes, Reward](keep, keep_for)
        self._numbers = dict.fromkeys(
            ("waiting", "samples", "retries", "judged", "partial", "failed", "late"), 0
        )
        self._draining = False

    @property
    def counts(self) -> CohortCounts:
        """What goes on and what went on, for metrics."""
        return CohortCounts(len(self._open), len(self._tasks), **self._numbers)

    async def submit(
        self, sample: CohortSample, deadline: float | None = None, patience: float | None = None
    ) -> Reward:
        """The sample's reward, as soon as its group is judged.

        ``deadline``: seconds from now in which its group is to be judged; the earliest of a group bounds the
        judging, and what was judged by then counts. ``patience``: seconds that this caller waits. When
        either is over it is answered None ("truncated") and its sample stays: a retry meets it again.

        Raises ``InputError`` for a sample whose group is open with another prompt or reference, or with a
        size, deadline or patience out of range; ``CohortsClosed`` where no new sample is taken. What the
        judge raises is a reward of None, "failed".
        """
        self._check(sample, deadline=deadline, patience=patience)
        now = asyncio.get_running_loop().time()
        times = [inf if seconds is None else now + seconds for seconds in (deadline, patience)]
        identity = _identity(sample)
        if identity and (known := self._answers.get(identity, now)):
            self._numbers["retries"] += 1
            return known
        slot = self._slots.get(identity) if identity else None
        if slot is None:
            slot = self._joined(sample, identity, now, times)
        else:
            self._numbers["retries"] += 1
            slot.deadline = times[0]
        return await _answer(slot, min(times))

    def gathers(self, sample: CohortSample) -> bool:
        """Whether the sample's group still waits for siblings."""
        return _digest(group_name(sample)) in self._open

    async def drain(self) -> None:
        """Take nothing new from now on, and return when everyone is answered.

        What is being judged is judged to its end. Who waits for siblings is refused (``CohortsClosed``), for
        they will not come here; with ``partial="judge"`` those that came are judged.
        """
        self._draining = True
        for name in list(self._open):
            self._close(name)
        while self._tasks:
            # Unlike gather, this leaves the judging alone where the drain itself is cancelled.
            await asyncio.wait(self._tasks)

    def _check(self, sample: CohortSample, **seconds: float | None) -> None:
        if sample.size is not None and not 1 <= sample.size <= self._largest:
            hint = f"a group has 1 to {self._largest} samples"
            raise InputError(f"size {sample.size} is out of range", hint=hint)
        for name, value in seconds.items():
            if value is not None and not value > 0:
                raise InputError(f"{name} {value} is out of range", hint="more than 0 seconds")

    def _joined(
        self, sample: CohortSample, identity: bytes | None, now: float, times: Sequence[float]
    ) -> _Slot:
        """A new slot in the sample's group, which is opened, or closed, as need be."""
        loop = asyncio.get_running_loop()
        name = _digest(group_name(sample))
        group = self._group(name, sample, now)
        slot = _Slot(sample, identity, loop.create_future(), times[0])
        group.slots.append(slot)
        if identity:
            self._slots[identity] = slot
        self._bytes += _length(sample)
        self._numbers["samples"] += 1
        self._numbers["waiting"] += 1
        group.size = max(filter(None, (group.size, sample.size or self._size)), default=None)
        group.latest = min(group.latest, now + GATHERING * (min(times) - now))
        if group.timer:
            group.timer.cancel()
        if len(group.slots) >= min(group.size or inf, self._largest):
            self._close(name)
        else:
            whole_only = group.size and self._partial == "refuse"
            until = group.opened + self._longest
            until = until if whole_only else min(until, group.latest, now + self._wait)
            group.timer = loop.call_at(until, self._timed, name, until)
        return slot

    def _timed(self, name: bytes, until: float) -> None:
        """A group's time is over, unless the event loop was held up meanwhile.

        Then siblings that came in time wait in their sockets: as much time as was lost is given to read them,
        ``wait`` seconds at most, and none once the group is ``longest`` seconds old and as much again.
        """
        loop, group = asyncio.get_running_loop(), self._open[name]
        now = loop.time()
        late = min(now - until, self._wait)
        if late > HELD_UP and until < group.opened + 2 * self._longest:
            group.timer = loop.call_at(now + late, self._timed, name, now + late)
        else:
            self._close(name, True)

    def _group(self, name: bytes, sample: CohortSample, now: float) -> _Group:
        """The open group of that name, or a new one."""
        group = self._open.get(name)
        full = group is None and len(self._open) + len(self._tasks) >= self._most
        heavy = self._bytes + _length(sample) > self._most_bytes
        if self._draining or full or heavy:
            many = f"{self._most} groups are open" if full else f"they hold {self._most_bytes:,} bytes"
            raise self._closed("the cohorts are draining" if self._draining else many)
        if group is None:
            self._numbers["late"] += self._timed_out.pop(name, now) is not None
            group = self._open[name] = _Group(sample, now, inf)
        elif (group.first.prompt, group.first.reference) != (sample.prompt, sample.reference):
            raise InputError(
                f"the group {group_name(sample)[:80]!r} is open with another prompt or reference",
                hint="siblings share both; give every group a name of its own",
            )
        return group

    def _closed(self, why: str) -> CohortsClosed:
        return CohortsClosed(f"no new sample is taken: {why}", hint="try again later")

    def _close(self, name: bytes, timed_out: bool = False) -> None:
        """No more siblings: the group is judged, or its samples are refused since it is incomplete."""
        loop = asyncio.get_running_loop()
        group = self._open.pop(name)
        if group.timer:
            group.timer.cancel()
        if timed_out:
            self._timed_out.put(name, True, loop.time())
        siblings, size = len(group.slots), group.size or 0
        if siblings < size:
            self._numbers["partial"] += 1
        if self._partial == "refuse" and self._draining and siblings != size:
            for slot in group.slots:
                self._answered(slot, self._closed("the cohorts are draining"))
            return
        if self._partial == "refuse" and siblings < size:
            seconds = loop.time() - group.opened
            note = f"{siblings} of {size} siblings came within {seconds:.0f} s, so the group is not whole"
            for slot in group.slots:
                self._answered(slot, Incomplete(None, Status.TRUNCATED, note, siblings, size))
            return
        task = loop.create_task(self._judged(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judged(self, group: _Group) -> None:
        """The group judged and its callers answered, whatever the judge does."""
        # In a fixed order: the questions must not depend on the order of arrival.
        slots = sorted(group.slots, key=lambda s: (response_text(s.sample.response), s.sample.key or ""))
        rewards: Sequence[Reward] = [Reward(None, Status.FAILED, "the judging was cancelled")] * len(slots)
        try:
            rewards = await self._rewards(group, slots)
        except Exception as error:
            self._numbers["failed"] += 1
            rewards = [Reward(None, Status.FAILED, f"{type(error).__name__}: {error}")] * len(slots)
        finally:
            self._numbers["judged"] += 1
            for slot, reward in zip(slots, rewards, strict=True):
                self._answered(slot, reward)

    async def _rewards(self, group: _Group, slots: Sequence[_Slot]) -> Sequence[Reward]:
        first, now = group.first, asyncio.get_running_loop().time()
        case = Case(
            group_name(first),
            first.prompt,
            tuple(slot.sample.response for slot in slots),
            reference=first.reference,
            rubric=first.rubric,
            anchors=first.anchors,
        )
        # A caller that has given up does not shorten the time of the others.
        until = min((slot.deadline for slot in slots if slot.deadline > now), default=inf)
        rewards = await self._judge(case, None if until == inf else JUDGING * (until - now))
        if len(rewards) != len(slots):
            raise JuristError(f"the judge gave {len(rewards)} rewards for {len(slots)} responses")
        if len(slots) < (group.size or 0):
            partial = f"{len(slots)} of {group.size} siblings"
            return [
                replace(reward, note="; ".join(filter(None, (partial, reward.note)))) for reward in rewards
            ]
        return rewards

    def _answered(self, slot: _Slot, answer: Reward | CohortsClosed) -> None:
        self._numbers["waiting"] -= 1
        self._bytes -= _length(slot.sample)
        if slot.identity:
            del self._slots[slot.identity]
            if not isinstance(answer, (Incomplete, CohortsClosed)):
                self._answers.put(slot.identity, answer, asyncio.get_running_loop().time())
        if slot.answer.done():
            return
        if isinstance(answer, Reward):
            slot.answer.set_result(answer)
        else:
            slot.answer.set_exception(answer)
            slot.answer.exception()  # there may be no caller left to read it


def group_name(sample: CohortSample) -> str:
    """The name of a sample's group: its own, or BLAKE2 of prompt and reference (24 hex digits)."""
    if sample.group is not None:
        return sample.group
    both = msgspec.json.encode((sample.prompt, sample.reference))
    return blake2b(both, digest_size=12).hexdigest()


def _digest(name: str) -> bytes:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest()


def _length(sample: CohortSample) -> int:
    """Roughly the memory of a sample's texts, in bytes."""
    turns = [turn.content for turn in sample.prompt]
    response = [sample.response] if isinstance(sample.response, str) else [m.content for m in sample.response]
    return sum(map(len, [*turns, *response])) + len(sample.reference or "") + len(sample.group or "")


def _identity(sample: CohortSample) -> bytes | None:
    """What a sample shares with its retries; None where it has no such thing."""
    if sample.key is None and sample.caller is None:
        return None
    name = ("key", sample.key) if sample.key is not None else ("caller", sample.caller)
    whole = msgspec.json.encode((group_name(sample), name, sample.response))
    return blake2b(whole, digest_size=16).digest()


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
