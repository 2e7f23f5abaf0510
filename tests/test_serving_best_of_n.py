"""Best of n as a stream: the choice comes as soon as it is certain, and is the one that waiting gives."""

import asyncio
import json
import time
from contextlib import aclosing
from dataclasses import replace
from random import Random

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import NUMBERS, Strength, judge_of, running
from stub_server import Reply, stub_server

from jurist import api
from jurist.core.types import Case, Completion, Message, Status
from jurist.engines.base import EngineBase
from jurist.engines.scripted import ScriptedEngine
from jurist.judging import registry
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.choice import Choice, Leading, choosing, chosen
from jurist.rewards.group import GroupJudge, exact_answer
from jurist.serving.client import AsyncClient, Client, ServerError
from jurist.serving.schema import BestReply

PROMPT = (Message("user", "p"),)
DELIBERATIONS = (
    "round_robin(swapped)",
    "round_robin(given)",
    "knockout(swapped)",
    "swiss(match=once)",
    "adaptive(match=swapped)",
    "random_opponents(2)",
    "pivot",
    "cascade(2, round_robin, knockout)",
)


def case_of(*responses, **more):
    return Case("1", PROMPT, tuple(responses), **more)


def answers(*numbers):
    return case_of(*(f"answer {n}" for n in numbers))


def judge(engine=None, deliberation=None, protocol="rubrics", **options):
    bench = assemble(JudgeConfig(engine="scripted:", protocol=protocol, deliberation=deliberation))
    return GroupJudge(replace(bench, engine=engine or Strength()), **options)


async def steps_of(judge, case, *more):
    steps = [step async for step in choosing(judge, case, *more)]
    assert [s.final for s in steps] == [False] * (len(steps) - 1) + [True]
    assert all(isinstance(s, Leading) for s in steps[:-1])
    assert [s.compared for s in steps] == sorted(s.compared for s in steps)
    return steps


class Table(EngineBase):
    """Verdicts of pairs as they were drawn; one query at a time, each after a turn of the loop."""

    def __init__(self, seed, n):
        random = Random(seed)
        self.wins = {(i, j): random.choice("AAABBC") for i in range(n) for j in range(n)}
        self.lock, self.asked = asyncio.Lock(), 0

    async def __call__(self, query):
        a, b = map(int, NUMBERS.findall(query.messages[-1].content))
        async with self.lock:
            await asyncio.sleep(0)
            self.asked += 1
        drawn = self.wins[a, b]
        return Completion("hm" if drawn == "C" else f"<answer>[[{drawn}]]</answer>")


# --- the choice -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 7),
    text=st.sampled_from(DELIBERATIONS),
)
def test_the_stream_ends_with_what_the_deliberation_decides(seed, n, text):
    async def both():
        case, table = answers(*range(n)), Table(seed, n)
        choice = (await steps_of(judge(table, text), case))[-1]
        asked, whole = table.asked, Table(seed, n)
        decision = await registry.deliberation(text)(judge(whole).setup.judge().ask, case)
        return choice, decision, asked, whole.asked

    choice, decision, asked, all_asked = asyncio.run(both())
    scores = decision.verdict.scores
    if scores is None:
        assert (choice.best, choice.status) == (None, decision.verdict.status)
        return
    tied = tuple(i for i, s in enumerate(scores) if s == max(scores))
    assert (choice.best, choice.tied, choice.status) == (tied[0], tied, Status.OK)
    assert asked == all_asked or "settled" in choice.note
    assert choice.result.decision.gold is None


async def test_a_round_robin_ends_when_the_first_cannot_be_caught():
    class Few(Table):
        """The lower number wins; what is in flight at the end is cancelled."""

        async def __call__(self, query):
            await super().__call__(query)
            a, b = map(int, NUMBERS.findall(query.messages[-1].content))
            return Completion(f"<answer>[[{'A' if a < b else 'B'}]]</answer>")

    engine = Few(0, 8)
    choice = (await steps_of(judge(engine, "round_robin(given)"), answers(*range(8))))[-1]
    # After seven matches the first has met and beaten all others; one more may be on its way.
    assert (choice.best, choice.compared) in [(0, 7), (0, 8)]
    assert choice.note == f"settled after {choice.compared} of 28 matches"
    assert len(choice.result.decision.judgments) == choice.compared
    asked = engine.asked
    await asyncio.sleep(0.05)
    assert engine.asked == asked < 10


async def test_the_leader_changes_only_when_another_has_more():
    steps = await steps_of(judge(deliberation="knockout(given)"), answers(1, 2, 3, 4))
    assert steps[-1].best == 3
    assert steps[-1].compared == 3
    leaders = [s.leader for s in steps]
    assert leaders[-1] == 3
    assert None not in leaders


async def test_indices_are_those_of_the_request():
    case = case_of("", "answer 2", "answer 7", "answer 7", "<think>answer 9</think>answer 1")
    steps = await steps_of(judge(), case)
    assert steps[-1].best == 2
    assert {s.leader for s in steps} <= {None, 1, 2, 4}


@pytest.mark.parametrize(
    ("responses", "best", "tied", "status"),
    [
        (["answer 1"], 0, (0,), "ok"),
        (["answer 1"] * 3, 0, (0, 1, 2), "ok"),
        (["", "answer 1", " "], 1, (1,), "ok"),
        (["", " "], None, (), "refused"),
    ],
)
async def test_where_there_is_nothing_to_compare_nobody_is_asked(responses, best, tied, status):
    engine = Strength()
    choice = await chosen(judge(engine), case_of(*responses))
    assert (choice.best, choice.tied, choice.status, choice.compared) == (best, tied, status, 0)
    assert "nothing to" in choice.note
    assert not engine.queries


async def test_a_rule_decides_before_the_judge():
    engine = Strength()
    case = case_of(r"\boxed{5}", r"\boxed{7}", r"\boxed{3}", reference="7")
    choice = await chosen(judge(engine, verify=exact_answer), case)
    assert (choice.best, choice.note, engine.queries) == (1, "by rule", [])


async def test_single_ratings_tell_their_leader():
    engine = ScriptedEngine(lambda q: f"<rating>{NUMBERS.findall(q.messages[-1].content)[0]}</rating>", 1)
    steps = await steps_of(judge(engine, protocol="pointwise"), answers(4, 9, 2))
    assert (steps[-1].best, steps[-1].compared) == (1, 3)


async def test_without_a_choice_there_is_a_status_and_who_was_ahead():
    class Slow(Strength):
        async def __call__(self, query):
            if "answer 9" in query.messages[-1].content:
                await asyncio.sleep(60)
            return await super().__call__(query)

    steps = await steps_of(judge(Slow(), "round_robin(given)"), answers(1, 5, 9), 0.2)
    choice = steps[-1]
    assert (choice.best, choice.status, choice.leader) == (None, Status.TRUNCATED, 1)
    assert "deadline came after 1 judgment" in choice.note
    broken = Strength()
    broken.broken = True
    choice = await chosen(judge(broken), answers(1, 2, 3))
    assert (choice.best, choice.status, choice.leader) == (None, Status.UNPARSED, None)


async def test_a_stream_repeats_on_request_and_stops_when_closed():
    engine = Strength(0.3)
    async with aclosing(choosing(judge(engine), answers(1, 2, 3), every=0.05)) as steps:
        assert [await anext(steps) for _ in range(3)] == [Leading(None, 0)] * 3
    asked = len(engine.queries)
    await asyncio.sleep(0.5)
    assert len(engine.queries) == asked


# --- over HTTP, and for scripts -------------------------------------------------------------------

BODY = {"prompt": "p", "responses": [f"answer {n}" for n in (3, 8, 5, 1)]}


async def test_the_server_chooses_by_a_knockout_whatever_it_rewards_by():
    with running() as server:
        status, told, _ = await server.post("/best-of-n", {**BODY, "trace": True})
        assert (status, told["best"], told["tied"], told["status"]) == (200, 1, [1], "ok")
        assert (told["final"], told["compared"], told["judgments"], len(told["trace"])) == (True, 3, 6, 6)
        assert told["usage"] == {"prompt_tokens": 60, "completion_tokens": 30}
        text = (await server.get("/metrics"))[1]
        assert 'jurist_judgments_total{status="ok"} 6.0' in text


async def test_events_are_what_readers_of_streams_expect():
    async with aiohttp.ClientSession() as session:
        with running() as server:
            async with session.post(server.url + "/best-of-n", json={**BODY, "stream": True}) as reply:
                assert reply.headers["Content-Type"].startswith("text/event-stream")
                text = await reply.text()
    *events, last = text.removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    told = [json.loads(event.removeprefix("data: ")) for event in events]
    assert all(set(e) == {"leader", "compared", "final"} for e in told[:-1])
    assert (told[-1]["best"], told[-1]["final"], "trace" in told[-1]) == (1, True, False)


async def test_the_document_tells_of_the_stream():
    with running() as server:
        content = json.loads((await server.get("/openapi.json"))[1])["paths"]["/best-of-n"]["post"]
    assert set(content["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "p"}, "responses"),
        ({"prompt": "p", "responses": []}, "responses"),
        ({**BODY, "k": 1}, "k"),
    ],
)
async def test_a_wrong_body_is_refused_before_the_stream(body, field):
    with running() as server:
        status, told, _ = await server.post("/best-of-n", {**body, "stream": True})
        assert (status, told["error"]["field"]) == (422, field)


async def test_the_client_streams_and_who_leaves_stops_the_judging():
    with running(Strength(0.05)) as server:
        async with AsyncClient(server.url) as client:
            timed = [(s, time.monotonic()) async for s in client.choosing("p", BODY["responses"], trace=True)]
            steps = [s for s, _ in timed]
            # The first round is told while the final is still being played.
            assert timed[-1][1] - timed[0][1] > 0.03
            assert isinstance(steps[-1], BestReply)
            assert (steps[-1].best, len(steps[-1].trace)) == (1, 6)
            assert [s.final for s in steps] == [False] * (len(steps) - 1) + [True]
            assert (await client.best_of_n("p", BODY["responses"])).best == 1
            server.engine.seconds = 0.5
            async with aclosing(client.choosing("p", [f"answer {n}" for n in range(40)])) as stream:
                waiting = asyncio.ensure_future(anext(stream))
                await asyncio.sleep(0.2)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await server.until(lambda: server.service.active == 0)
            asked = len(server.engine.queries)
            await asyncio.sleep(0.7)
            assert len(server.engine.queries) == asked


@pytest.mark.parametrize(
    ("cut", "message"), [(None, "the stream ended before the choice"), (60, "no reply of")]
)
async def test_a_stream_that_breaks_is_said_and_not_taken_up_again(cut, message):
    event = b'data: {"leader":2,"compared":1,"final":false}\n\n'
    async with stub_server() as stub, AsyncClient(stub.root) as client:
        stub.say("/best-of-n", Reply(event * 2, kind="text/event-stream", cut=cut))
        steps = client.choosing("p", ["a", "b"])
        assert (await anext(steps)).leader == 2
        with pytest.raises(ServerError, match=message):
            _ = [s async for s in steps]
        assert len(stub.asked("/best-of-n")) == 1


async def test_an_error_in_a_stream_is_raised():
    engine = Strength()
    with running(engine, judge_of(engine)) as server:
        async with AsyncClient(server.url, patience=0.5) as client:
            many = [f"answer {n}" for n in range(120)]
            stubborn = judge(engine, "round_robin(swapped, 10)")
            server.service.judge = stubborn
            with pytest.raises(ServerError, match="a round robin of 120 responses is 7140 matches"):
                _ = [s async for s in client.choosing("p", many)]


def test_scripts_and_notebooks_iterate_too():
    with running() as server, Client(server.url) as client:
        *_, choice = client.choosing("p", BODY["responses"])
        assert choice.best == 1
        for step in client.choosing("p", BODY["responses"]):
            assert step is not None
            break
        assert client.best_of_n("p", BODY["responses"]).best == 1
    options = {"engine": "scripted:<answer>[[A]]</answer>", "protocol": "rubrics"}
    *first, choice = api.choosing("p", ["a", "b", "c"], deliberation="round_robin(given)", **options)
    assert isinstance(choice, Choice)
    assert choice.best == 0
    assert first
    whole = api.best_of_n("p", ["a", "b", "c"], deliberation="round_robin(given)", **options)
    assert choice.best == whole.index
    for _ in api.choosing("p", ["a", "b", "c"], **options):
        break


async def test_a_running_loop_is_no_hindrance_and_errors_come_through():
    options = {"engine": "scripted:<answer>[[A]]</answer>", "protocol": "rubrics"}
    assert [s.final for s in api.choosing("p", ["a"], **options)] == [True]
    with pytest.raises(Exception, match="a round robin of 6 responses is 15 matches"):
        list(api.choosing("p", list("abcdef"), deliberation="round_robin(given, 10)", **options))
    with pytest.raises(Exception, match="one or more responses"):
        api.choosing("p", [], **options)
