"""The cohort on a virtual clock: nobody unanswered, no group mixed, no reward for the missing, no hang."""

import asyncio
import gc
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.core.errors import ConfigError, InputError
from jurist.core.types import Completion, Message, Status
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.cohort import CohortCounts, Cohorts, CohortSample, CohortsClosed, Incomplete, group_name
from jurist.rewards.group import GroupJudge, Reward


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waiting takes no time; waiting for nothing at all is a hang, and raises."""

    def __init__(self):
        super().__init__()
        self._now, self.select = 0.0, self._selector.select
        self._selector.select = self._skipped

    def time(self):
        return self._now

    def _skipped(self, timeout):
        if timeout is None:
            raise RuntimeError("everyone waits, and nothing is left to wait for")
        self._now += timeout
        return self.select(0)


def play(coroutine):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def now():
    return asyncio.get_running_loop().time()


def sample(response, prompt="p", **more):
    return CohortSample((Message("user", prompt),), str(response), **more)


class Recorder:
    """A judge that takes its time and rewards a response with its own number; keeps every case."""

    def __init__(self, seconds=1.0):
        self.seconds, self.cases, self.deadlines, self.at = seconds, [], [], []

    async def __call__(self, case, deadline=None):
        self.cases.append(case)
        self.deadlines.append(deadline)
        self.at.append(now())
        await asyncio.sleep(self.seconds)
        return [Reward(float(r)) for r in case.responses]


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("held_up", [0.5, 3.0, 4.5, 1000.0])
def test_a_sibling_that_came_while_the_loop_was_blocked_counts(size, held_up):
    async def main():
        loop = asyncio.get_running_loop()
        judge = Recorder()
        cohorts = Cohorts(judge, size=size, wait=5, partial="judge")
        later: list[asyncio.Task[Reward]] = []

        def hold_up():
            loop._now += held_up
            # As a request does: read in the next round of the loop, handed over in the one after it.
            loop.call_soon(lambda: later.append(loop.create_task(cohorts.submit(sample(2)))))

        loop.call_at(4, hold_up)
        await cohorts.submit(sample(1))
        await asyncio.gather(*later)
        return [len(case.responses) for case in judge.cases]

    assert play(main()) == [2]


async def submit_all(cohorts, *samples, gap=0.0, deadline=None):
    async def one(place, item):
        await asyncio.sleep(place * gap)
        return await cohorts.submit(item, deadline)

    return await asyncio.gather(*(one(i, s) for i, s in enumerate(samples)))


# --- when a group is judged -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sizes", "gap", "deadline", "at", "groups"),
    [
        ({"size": 3}, [None] * 3, 1, None, [2], [3]),
        ({"size": 2}, [None] * 4, 1, None, [1, 3], [2, 2]),
        ({}, [None] * 3, 1, None, [7], [3]),  # 5 seconds after the last
        ({}, [3] * 3, 1, None, [2], [3]),
        ({"size": 3}, [None] * 3, 100, None, [200], [3]),  # a known size is waited for
        ({"size": 3}, [None] * 3, 10, 25, [20], [3]),
        ({}, [None] * 3, 1, 10, [5], [3]),  # half of the first one's time
        ({"longest": 4.5}, [None] * 3, 2, None, [4.5], [3]),
        ({"longest": 3.5}, [None] * 3, 2, None, [3.5, 7.5], [2, 1]),
        ({"size": 8, "partial": "judge"}, [2, None], 1, None, [6], [2]),  # the largest size counts
        ({"size": 9, "longest": 3.5, "partial": "judge"}, [None] * 3, 2, None, [3.5, 7.5], [2, 1]),
        ({"size": 9, "wait": 30, "partial": "judge"}, [None] * 3, 1, 10, [5], [3]),
        ({"largest": 2}, [None] * 3, 1, None, [1, 7], [2, 1]),
        ({}, [1, 1], 1, None, [0, 1], [1, 1]),
    ],
)
def test_when_a_group_is_judged_and_who_is_in_it(options, sizes, gap, deadline, at, groups):
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, **options)
        samples = [sample(i, size=s) for i, s in enumerate(sizes)]
        rewards = await submit_all(cohorts, *samples, gap=gap, deadline=deadline)
        assert judge.at == pytest.approx(at)
        assert [len(c.responses) for c in judge.cases] == groups
        assert [r.value for r in rewards] == list(range(len(sizes)))

    play(scenario())


def test_of_a_group_that_is_not_whole_nobody_has_a_reward():
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, size=3, longest=60)
        for reward in await submit_all(cohorts, sample(1, key="1"), sample(2, key="2"), gap=50):
            assert isinstance(reward, Incomplete)
            assert (reward.value, reward.status) == (None, Status.TRUNCATED)
            assert (reward.siblings, reward.size) == (2, 3)
            assert "2 of 3 siblings came within 60 s" in reward.note
        assert now() == 60
        assert not judge.cases
        # They come again, with the third: a whole group, and the right reward for each.
        again = await submit_all(cohorts, sample(1, key="1"), sample(3, key="3"), sample(2, key="2"), gap=9)
        assert [r.value for r in again] == [1, 3, 2]
        assert cohorts.counts == CohortCounts(samples=5, judged=1, partial=1, late=1)

    play(scenario())


def test_a_part_of_a_group_is_judged_where_that_was_chosen():
    async def scenario():
        cohorts = Cohorts(Recorder(), size=3, partial="judge")
        rewards = await submit_all(cohorts, sample(1), sample(2))
        assert [(r.value, r.note) for r in rewards] == [(1, "2 of 3 siblings"), (2, "2 of 3 siblings")]
        assert cohorts.counts.partial == 1

    play(scenario())


def test_an_impatient_caller_leaves_its_sample_in_the_group():
    """A client that comes again every 10 seconds, as slime's does, gets the reward of the whole group."""

    async def scenario():
        judge = Recorder(seconds=15)
        cohorts = Cohorts(judge, size=2)
        first = sample(1, key="1")
        waiting = await cohorts.submit(first, patience=10)
        assert (waiting.value, waiting.status, type(waiting)) == (None, Status.TRUNCATED, Reward)
        assert cohorts.gathers(first)
        sibling = asyncio.create_task(cohorts.submit(sample(2)))
        assert (await cohorts.submit(first, patience=10)).value is None
        assert not cohorts.gathers(first)
        assert (await cohorts.submit(first, patience=10)).value == 1
        assert judge.deadlines == [None]  # patience is no deadline of the judging
        assert (await sibling).value == 2

    play(scenario())


def test_groups_hold_so_many_bytes_and_no_more():
    async def scenario():
        cohorts = Cohorts(Recorder(), size=2, most_bytes=5000)
        waiting = asyncio.create_task(cohorts.submit(sample("a" * 4000)))
        await asyncio.sleep(0)
        with pytest.raises(CohortsClosed, match="5,000 bytes"):
            await cohorts.submit(sample("b" * 4000))
        await cohorts.submit(sample("b"))
        await waiting
        assert (await cohorts.submit(sample("c" * 4000, size=1))) is not None

    play(scenario())


def test_siblings_are_named_or_share_prompt_and_reference():
    same = sample(1, "p", reference="r")
    assert group_name(same) == group_name(sample(2, "p", reference="r", key="k", caller="c", size=3))
    others = [sample(1, "q", reference="r"), sample(1, "p"), sample(1, "p", reference="")]
    assert len({group_name(s) for s in [same, *others]}) == 4
    assert group_name(sample(1, group="step 3, row 7")) == "step 3, row 7"


def test_what_is_asked_does_not_depend_on_who_came_first():
    async def digest(order):
        judge = Recorder()
        await submit_all(Cohorts(judge, size=4), *[sample(i) for i in order])
        return judge.cases[0].digest

    assert play(digest([3, 1, 0, 2])) == play(digest([0, 1, 2, 3]))


def test_the_first_sample_brings_rubric_reference_and_anchors():
    async def scenario():
        judge = Recorder()
        rich = sample(1, reference="7", rubric="be brief", anchors=("2",), group="g")
        await submit_all(Cohorts(judge, size=2), rich, sample(2, reference="7", group="g"))
        (only,) = judge.cases
        assert (only.id, only.reference, only.rubric, only.anchors) == ("g", "7", "be brief", ("2",))

    play(scenario())


# --- retries, disconnects, late siblings ----------------------------------------------------------


@pytest.mark.parametrize("name", [{"key": "k1"}, {"caller": "trainer 3"}])
@pytest.mark.parametrize("when", [0.5, 1.5, 60])  # while gathering, while judging, long after the answer
def test_a_retry_is_the_same_sample_whenever_it_comes(name, when):
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, size=2)
        first = asyncio.create_task(cohorts.submit(sample(1, **name)))
        await asyncio.sleep(0)
        other = asyncio.create_task(submit_all(cohorts, sample(2), sample(2), gap=1))
        del other  # a sibling at once would leave nothing to gather
        await asyncio.sleep(when)
        again = await cohorts.submit(sample(1, **name))
        assert await first == again == Reward(1.0)
        assert cohorts.counts.retries == 1

    play(scenario())


def test_only_a_name_makes_a_retry():
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, size=4, partial="judge")
        twins = [sample(1), sample(1), sample(1, caller="a"), sample(1, key="k")]
        await submit_all(cohorts, *twins)
        assert judge.cases[0].responses == ("1",) * 4
        # A key is a name within its group, and may come again with another response.
        others = (sample(2, "p", key="k"), sample(2, "q", key="k"), sample(3, "p", key="k"))
        assert [r.value for r in await submit_all(cohorts, *others)] == [2, 2, 3]
        assert cohorts.counts.retries == 0

    play(scenario())


async def disconnected(cohorts):
    """A caller sends a sample, and is gone after a second."""
    caller = asyncio.create_task(cohorts.submit(sample(1, key="k")))
    await asyncio.sleep(1)
    caller.cancel()


def test_a_retry_after_its_time_is_a_new_sample():
    async def scenario():
        cohorts = Cohorts(Recorder(), size=1, keep_for=10)
        await cohorts.submit(sample(1, key="k"))
        await asyncio.sleep(11)
        assert (await cohorts.submit(sample(1, key="k"))).value == 1
        assert cohorts.counts == CohortCounts(samples=2, judged=2)

    play(scenario())


def test_who_disconnects_stops_nobody_and_may_come_back():
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, size=2)
        await disconnected(cohorts)
        assert (await cohorts.submit(sample(2))).value == 2
        assert (await cohorts.submit(sample(1, key="k"))).value == 1
        assert len(judge.cases) == 1

    play(scenario())


def test_a_late_sibling_opens_a_new_group():
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, size=3, partial="judge")
        await submit_all(cohorts, sample(1), sample(2))
        assert (await cohorts.submit(sample(3))).value == 3
        assert [c.responses for c in judge.cases] == [("1", "2"), ("3",)]
        assert cohorts.counts == CohortCounts(samples=3, judged=2, partial=2, late=1)
        await submit_all(cohorts, *[sample(i) for i in range(6)])
        assert cohorts.counts == CohortCounts(samples=9, judged=4, partial=2, late=2)

    play(scenario())


def test_the_same_prompt_again_is_no_late_sibling():
    async def scenario():
        cohorts = Cohorts(Recorder(), size=2)
        await submit_all(cohorts, *[sample(i) for i in range(6)])
        assert cohorts.counts == CohortCounts(samples=6, judged=3)

    play(scenario())


# --- deadlines and failures -----------------------------------------------------------------------


def test_the_judge_has_the_first_deadline_of_the_callers():
    async def scenario():
        judge = Recorder(seconds=1000)
        cohorts = Cohorts(judge, size=2)
        patient = asyncio.create_task(cohorts.submit(sample(1)))
        begun = now()
        hurried = await cohorts.submit(sample(2), deadline=20)
        assert now() - begun == pytest.approx(20)
        assert (hurried.value, hurried.status) == (None, Status.TRUNCATED)
        assert judge.deadlines == [pytest.approx(19)]
        assert (await patient).value == 1

    play(scenario())


def test_a_retry_has_a_deadline_of_its_own_and_is_judged_once():
    async def scenario():
        judge = Recorder(seconds=8)
        cohorts = Cohorts(judge, size=1)
        tries = [await cohorts.submit(sample(1, key="k"), deadline=7) for _ in range(3)]
        assert [t.value for t in tries] == [None, 1, 1]
        assert len(judge.cases) == 1

    play(scenario())


def test_a_retry_while_gathering_moves_the_judges_deadline():
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, size=2)
        gone = asyncio.create_task(cohorts.submit(sample(1, key="k"), deadline=8))
        await asyncio.sleep(2)
        gone.cancel()
        again = asyncio.create_task(cohorts.submit(sample(1, key="k"), deadline=20))
        await asyncio.sleep(1)
        await cohorts.submit(sample(2), deadline=30)
        assert (await again).value == 1
        assert judge.deadlines == [pytest.approx(0.95 * 19)]

    play(scenario())


def test_who_has_given_up_hurries_nobody():
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, size=2)
        await disconnected(cohorts)
        assert (await cohorts.submit(sample(1, key="k"), deadline=1)).status is Status.TRUNCATED
        await cohorts.submit(sample(2))
        assert judge.deadlines == [None]

    play(scenario())


def test_what_is_kept_is_bounded():
    async def scenario():
        cohorts = Cohorts(Recorder(), wait=1, keep=10)
        for i in range(40):
            await cohorts.submit(sample(i, f"p{i}", key="k"))
        bounded(cohorts, 10)
        assert (await cohorts.submit(sample(35, "p35", key="k"))).value == 35
        assert cohorts.counts.retries == 1

    play(scenario())


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (lambda _: 1 / 0, "ZeroDivisionError"),
        (lambda _: [Reward(1.0)], "1 rewards for 2 responses"),
        (lambda _: (_ for _ in ()).throw(InputError("no such field")), "no such field"),
    ],
)
def test_what_the_judge_raises_is_no_reward(fault, note):
    async def judge(case, _deadline):
        return fault(case)

    async def scenario():
        cohorts = Cohorts(judge, size=2)
        for reward in await submit_all(cohorts, sample(1), sample(2)):
            assert (reward.value, reward.status) == (None, Status.FAILED)
            assert note in reward.note
        assert cohorts.counts == CohortCounts(samples=2, judged=1, failed=1)

    play(scenario())


def test_a_cancelled_judging_answers_its_callers():
    async def scenario():
        cohorts = Cohorts(Recorder(1000), size=1)
        task = asyncio.create_task(cohorts.submit(sample(1)))
        await asyncio.sleep(1)
        (judging,) = (t for t in asyncio.all_tasks() if "_judged" in repr(t))
        judging.cancel()
        assert (await task).status is Status.FAILED

    play(scenario())


# --- the door -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"wait": 0}, {"longest": -1}, {"most_groups": 0}, {"largest": 0}, {"wait": float("nan")}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="out of range"):
        Cohorts(Recorder(), **options)


def test_bad_samples_are_refused_and_disturb_nobody():
    async def scenario():
        cohorts = Cohorts(Recorder(), size=2)
        waiting = asyncio.create_task(cohorts.submit(sample(1, group="g")))
        await asyncio.sleep(0)
        for bad in (sample(2, "other prompt", group="g"), sample(2, reference="other", group="g")):
            with pytest.raises(InputError, match="another prompt or reference"):
                await cohorts.submit(bad)
        for bad, deadline in ((sample(2, size=0), None), (sample(2), 0), (sample(2), float("nan"))):
            with pytest.raises(InputError, match="out of range"):
                await cohorts.submit(bad, deadline)
        assert (await cohorts.submit(sample(2, group="g"))).value == 2
        assert (await waiting).value == 1

    play(scenario())


def test_at_the_group_limit_only_siblings_and_retries_are_taken():
    async def scenario():
        cohorts = Cohorts(Recorder(), size=2, most_groups=2, partial="judge")
        two = [asyncio.create_task(cohorts.submit(sample(1, p, key="k"))) for p in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(CohortsClosed, match="2 groups are open"):
            await cohorts.submit(sample(1, "c"))
        more = await asyncio.gather(*(cohorts.submit(s) for s in (sample(1, "a", key="k"), sample(2, "a"))))
        assert [r.value for r in more] == [1, 2]
        # One was answered; another that is still being judged counts as well.
        lone = asyncio.create_task(cohorts.submit(sample(1, "c", size=1)))
        await asyncio.sleep(0)
        with pytest.raises(CohortsClosed):
            await cohorts.submit(sample(1, "d"))
        assert [r.value for r in await asyncio.gather(lone, *two)] == [1, 1, 1]

    play(scenario())


@pytest.mark.parametrize("at", [0.5, 5.5])  # in the middle of gathering, and of judging
def test_draining_judges_what_is_there_and_answers_everyone(at):
    async def scenario():
        judge = Recorder(seconds=2)
        cohorts = Cohorts(judge, partial="judge")
        samples = [sample(i, p, key=str(i)) for p in "abc" for i in range(2)]
        callers = asyncio.create_task(submit_all(cohorts, *samples))
        await asyncio.sleep(at)
        drain = asyncio.create_task(cohorts.drain())
        await asyncio.sleep(0)
        with pytest.raises(CohortsClosed, match="draining"):
            await cohorts.submit(sample(9, "a"))
        await drain
        assert (cohorts.counts.open, cohorts.counts.judging, cohorts.counts.waiting) == (0, 0, 0)
        assert now() == pytest.approx(min(at, 5) + 2)
        assert [r.value for r in await callers] == [0, 1] * 3
        assert (await cohorts.submit(samples[0])).value == 0  # a retry is answered still
        await cohorts.drain()

    play(scenario())


@pytest.mark.parametrize("size", [3, None])
def test_draining_sends_away_who_waits_for_siblings(size):
    async def scenario():
        judge = Recorder()
        cohorts = Cohorts(judge, size=size)
        waiting = [asyncio.create_task(cohorts.submit(sample(i, key=str(i)))) for i in range(2)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        await cohorts.drain()
        assert not judge.cases
        with pytest.raises(CohortsClosed, match="draining"):
            await waiting[1]
        assert cohorts.counts.waiting == 0

    play(scenario())


# --- many at once ---------------------------------------------------------------------------------


def by_word_order(query):
    """A judge of pairs that prefers the response that comes later in the alphabet."""
    text = query.messages[-1].content
    a, b = (part.split("[End")[0].split()[-1] for part in text.split("[Reply ")[1:])
    return Completion(f"<answer>[[{'A' if a > b else 'B'}]]</answer>")


def checked_judge(seen):
    """The group judge on a scripted engine, which notes every case, and takes a second or so."""
    bench = assemble(JudgeConfig(engine="scripted:", protocol="rubrics-short", deliberation="knockout"))
    group = GroupJudge(replace(bench, engine=ScriptedEngine(by_word_order)))

    async def judge(case, deadline):
        seen.append(case)
        await asyncio.sleep(random.Random(case.id).random())
        return await group.rewards(case, deadline)

    return judge


def test_many_groups_with_retries_and_losses():
    """300 groups of 8 in any order; 5% are retried, 5% are lost, a third have names of their own."""
    groups, draw = 300, random.Random(7)
    seen: list = []
    answers: dict[tuple, list[Reward]] = {}
    lost = {(g, i) for g in range(groups) for i in range(8) if draw.random() < 0.05}
    present = [(g, i) for g in range(groups) for i in range(8) if (g, i) not in lost]
    draw.shuffle(present)

    def made(g, i):
        named = {"group": f"group {g}"} if g % 3 == 0 else {}
        # Two in eight are identical.
        return sample(f"r{g:04}x{max(i, 1)}", f"prompt {g}", key=str(i), size=8, **named)

    async def task(cohorts, one):
        await asyncio.sleep(draw.random() * 10)
        if draw.random() < 0.05:
            early = asyncio.create_task(cohorts.submit(made(*one)))
            await asyncio.sleep(draw.random() * 20)
            if draw.random() < 0.5:
                early.cancel()  # may be answered already
            answers.setdefault(one, []).extend(
                r for r in await asyncio.gather(early, return_exceptions=True) if isinstance(r, Reward)
            )
        answers.setdefault(one, []).append(await cohorts.submit(made(*one)))

    async def scenario():
        cohorts = Cohorts(checked_judge(seen), wait=12, keep=2400, partial="judge")
        await asyncio.gather(*(task(cohorts, one) for one in present))
        return cohorts

    cohorts = play(scenario())
    assert set(answers) == set(present)
    assert all(len({str(r) for r in got}) == 1 for got in answers.values())
    sizes = Counter(g for g, _ in present)
    assert Counter(c.prompt[0].content for c in seen) == Counter(f"prompt {g}" for g in sizes)
    for case in seen:
        g = int(case.prompt[0].content.split()[1])
        assert sorted(case.responses) == sorted(made(*one).response for one in present if one[0] == g)
    for (g, i), got in answers.items():
        assert (got[0].value is None) == (sizes[g] == 1)
        if (g, 0) in answers and i == 1:
            assert got[0].value == answers[g, 0][0].value  # identical responses
    partial = sum(n < 8 for n in sizes.values())
    assert cohorts.counts == CohortCounts(
        samples=len(present), retries=cohorts.counts.retries, judged=groups, partial=partial
    )
    assert cohorts.counts.retries > 90
    assert 90 < len(lost) < 150
    bounded(cohorts, 2400)


def bounded(cohorts, keep):
    """Nothing is left but the answers that are kept, and these are few."""
    assert len(cohorts._answers._entries) <= keep
    assert len(cohorts._timed_out._entries) <= keep
    assert not cohorts._slots
    assert not cohorts._open
    assert not cohorts._tasks
    gc.collect()
    assert not [
        o for o in gc.get_objects() if type(o).__module__ == "jurist.rewards.cohort" and hasattr(o, "slots")
    ]


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),  # prompt
            st.integers(0, 3),  # response, and key
            st.floats(0, 12),  # arrival
            st.sampled_from([None, 1.0, 4.0, 30.0]),  # deadline
            st.one_of(st.none(), st.floats(0.1, 8)),  # disconnects after
        ),
        max_size=10,
    ),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from(["refuse", "judge"]),
    st.one_of(st.none(), st.floats(0, 15)),  # drained
)
def test_whatever_comes_everyone_is_answered_by_their_own_group(arrivals, size, partial, drained):
    judge = Recorder(seconds=1.5)
    taken = Counter()

    async def one(cohorts, prompt, number, arrival, deadline, leaves):
        await asyncio.sleep(arrival)
        begun = now()
        value = number + (10 if prompt == "b" else 0)
        try:
            item = sample(value, prompt, key=str(number))
            limit = asyncio.timeout(leaves)
            async with limit:
                reward = await cohorts.submit(item, deadline)
        except TimeoutError:
            return limit.expired()
        except CohortsClosed:
            return drained is not None
        assert deadline is None or now() <= begun + deadline + 1e-9
        taken[value] += 1
        if isinstance(reward, Incomplete):
            return partial == "refuse" and reward.siblings < reward.size == size
        return reward.value == value or (reward.status is Status.TRUNCATED and deadline is not None)

    async def scenario():
        cohorts = Cohorts(judge, size=size, wait=2, longest=5, partial=partial)

        async def drain():
            if drained is not None:
                await asyncio.sleep(drained)
                await cohorts.drain()

        *answered, _ = await asyncio.gather(*(one(cohorts, *a) for a in arrivals), drain())
        assert all(answered)
        await cohorts.drain()
        judged = sum(len(c.responses) for c in judge.cases)
        assert cohorts.counts.samples == judged or partial == "refuse"
        assert cohorts.counts.judged == len(judge.cases)
        assert cohorts.counts.waiting == 0

    play(scenario())
    for case in judge.cases:
        assert {float(r) >= 10 for r in case.responses} == {case.prompt[0].content == "b"}
        assert len(case.responses) <= (size or 4)
        assert partial == "judge" or size in (None, len(case.responses))
        assert len(set(case.responses)) == len(case.responses)  # no retry is a sibling of itself
    if partial == "judge":
        assert max(Counter(r for c in judge.cases for r in c.responses).values(), default=1) == 1
