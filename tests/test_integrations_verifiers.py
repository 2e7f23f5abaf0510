"""verifiers: traces of a task among each other, through a server or as one episode."""

import asyncio
from types import SimpleNamespace

import pytest
import served

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.integrations.verifiers import group_reward, row_of


@pytest.fixture(scope="module")
def server():
    with served.running(longest=4) as running:
        yield running


def task_of(prompt="sum?", **more):
    return SimpleNamespace(**{"prompt": prompt, "system_prompt": None, **more})


class Trace:
    """What of a trace is read and written here."""

    def __init__(self, number, key="t"):
        self.last_reply, self.transcript = f"answer {number}", f"long answer {9 - number}"
        self.task, self.info, self.rewards = SimpleNamespace(key=key), {}, {}

    def record_reward(self, name, value, weight=1.0):
        self.rewards[name] = (value, weight)


async def test_rollouts_of_a_task_are_judged_among_each_other(server):
    reward = group_reward(server.url, size=3)
    traces = [Trace(n, key) for n, key in [(3, "a"), (5, "b"), (9, "a"), (2, "b"), (1, "a"), (7, "b")]]
    found = await asyncio.gather(*(reward(task_of(t.task.key), t) for t in traces))
    assert found == [0.5, 0.5, 1, 0, 0, 1]
    assert all(t.info["jurist"] == {"status": "ok", "note": "", "siblings": 3} for t in traces)


async def test_an_episode_is_judged_as_one_group(server):
    traces = [Trace(n) for n in (3, 9, 1)]
    await group_reward(server.url).record(task_of(), traces, "win", weight=0.5)
    assert [t.rewards for t in traces] == [{"win": (v, 0.5)} for v in (0.5, 1, 0)]
    await group_reward(server.url, response=lambda t: t.transcript).record(task_of(), traces)
    assert [t.rewards["jurist"][0] for t in traces] == [0.5, 0, 1]


async def test_no_verdict_is_an_error_and_nothing_is_recorded(server):
    lone = Trace(1)
    for ask in (
        group_reward(server.url, size=1)(task_of(), lone),
        group_reward(server.url).record(task_of(), [lone]),
    ):
        with pytest.raises(JuristError, match="a sample has no reward: refused"):
            await ask
    assert lone.rewards == {}
    assert lone.info["jurist"]["status"] == "refused"
    with pytest.raises(InputError, match="without traces"):
        await group_reward(server.url).record(task_of(), [])


@pytest.mark.parametrize(
    ("task", "reference", "expected"),
    [
        (task_of(), "answer", ([("user", "sum?")], None)),
        (task_of(answer=5), "answer", ([("user", "sum?")], "5")),
        (task_of(answer=""), "answer", ([("user", "sum?")], None)),
        (task_of(answer="5"), None, ([("user", "sum?")], None)),
        (task_of(system_prompt="be brief"), "answer", ([("system", "be brief"), ("user", "sum?")], None)),
        (
            task_of([{"role": "user", "content": [{"type": "text", "text": "sum?"}]}], solution="6"),
            "solution",
            ([("user", "sum?")], "6"),
        ),
    ],
)
def test_prompts_and_references_are_read_from_the_task(task, reference, expected):
    row = row_of(task, "r", reference)
    assert ([(m.role, m.content) for m in row.prompt], row.reference) == expected


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (task_of(None), "the task has no prompt"),
        (task_of(answer=["5", "6"]), "reference: list"),
        (task_of([{"role": "user", "content": [{"type": "image_url"}]}]), 'type "image_url" is no text'),
    ],
)
def test_what_a_judge_cannot_read_is_an_error(task, told):
    with pytest.raises(InputError, match=told):
        row_of(task, "r", "answer")


@pytest.mark.parametrize("options", [{"size": 0}, {"deadline": 0.0}, {"patience": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} .* is out of range"):
        group_reward("http://127.0.0.1:1", **options)


# --- verifiers itself ------------------------------------------------------------------------------

PLUGGED = """
from jurist.integrations.verifiers import group_reward

win_rate = group_reward({url!r}, size=3)
"""


def traces_of(vf, task, numbers):
    """Finished traces of a task, made by hand."""
    from verifiers.v1.trace import AgentInfo, TraceTask

    said = {"type": type(task).__name__, "data": task.data, "key": task.key}
    agent = AgentInfo(config=vf.AgentConfig(model="m"), name="agent")
    return [vf.Trace(task=TraceTask(**said), agent=agent, root_reply=f"answer {n}") for n in numbers]


async def test_a_task_of_verifiers_scores_by_a_plugged_reward(server, tmp_path):
    vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed")
    from verifiers.v1.configs.task import TaskConfig

    file = tmp_path / "judged.py"
    file.write_text(PLUGGED.format(url=server.url))
    config = TaskConfig(rewards={"jurist": {"fn": f"{file}:win_rate", "weight": 2}})
    task = vf.Task(vf.TaskData(prompt=[vf.UserMessage(content="sum?")], system_prompt="be brief"), config)
    traces = traces_of(vf, task, [3, 9, 1])
    await asyncio.gather(*(task.score(trace) for trace in traces))
    assert [trace.rewards["jurist"].score for trace in traces] == [0.5, 1, 0]
    assert [trace.reward for trace in traces] == [1, 2, 0]
    assert traces[0].info["jurist"]["siblings"] == 3


async def test_a_rollout_without_a_verdict_is_a_failed_one(server, tmp_path):
    vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed")
    from verifiers.v1.configs.task import TaskConfig

    file = tmp_path / "lone.py"
    file.write_text(PLUGGED.format(url=server.url).replace("size=3", "size=1"))
    task = vf.Task(vf.TaskData(prompt="sum?"), TaskConfig(rewards={"jurist": {"fn": f"{file}:win_rate"}}))
    [trace] = traces_of(vf, task, [3])
    with pytest.raises(Exception, match="a sample has no reward: refused"):
        await task.score(trace)
    assert trace.rewards == {"jurist": None}


async def test_an_environment_of_verifiers_records_an_episode(server):
    vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed")
    task = vf.Task(vf.TaskData(prompt="sum?"))
    traces = traces_of(vf, task, [3, 9, 1])
    episode = vf.Episode(task=traces[0].task, traces=traces)
    await group_reward(server.url).record(task.data, episode.traces)
    assert [trace.reward for trace in episode.traces] == [0.5, 1, 0]
