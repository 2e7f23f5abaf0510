"""Several servers of one model: cases stay, sick servers are left out and come back, limits are kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from make import A_WINS, chat_reply, chat_server, jurist, write_pairs
from stub_server import Reply, StubServer, chat, html, models, problem, stub_server

from jurist.core.errors import ConfigError, EngineError
from jurist.core.types import Completion, Message, Query, Sampling
from jurist.engines.openai import endpoints as module
from jurist.engines.openai.address import is_address
from jurist.engines.openai.endpoints import EndpointsEngine
from jurist.engines.openai.limits import Bucket
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig, config_of

CHAT = "/v1/chat/completions"
Make = Callable[..., EndpointsEngine]


def ask(case: str, sample: int = 0, text: str = "Which?") -> Query:
    return Query(case, (0, 1), sample, (Message("user", text),), Sampling(max_tokens=8))


@pytest.fixture
async def stubs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[StubServer]]:
    """Three servers of the model m that answer with their number."""
    for name in ("JURIST_API_KEY", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_PROBES", (0.05, 0.2))
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(stub_server()) for _ in range(3)]
        for i, server in enumerate(servers):
            server.say("/v1/models", models("m"))
            server.say(CHAT, chat(str(i)))
        yield servers


@pytest.fixture
async def make(stubs: list[StubServer]) -> AsyncIterator[Make]:
    engines: list[EndpointsEngine] = []

    def build(model: str | None = "m", **options: Any) -> EndpointsEngine:
        urls = [server.url for server in stubs]
        engines.append(EndpointsEngine(urls, model, **{"timeout": 5.0, "retry_for": 5.0, **options}))
        engines[-1].lines = []  # pyright: ignore
        engines[-1].say = engines[-1].lines.append  # pyright: ignore
        return engines[-1]

    yield build
    for engine in engines:
        await engine.aclose()


async def texts(engine: EndpointsEngine, *queries: Query) -> list[str]:
    return [c.text for c in await asyncio.gather(*[engine(q) for q in queries])]


async def test_a_case_stays_on_its_server_and_cases_spread(make: Make) -> None:
    engine = make()
    await engine.check()
    homes = [(await texts(engine, ask(str(i))))[0] for i in range(60)]
    assert {homes.count(n) > 8 for n in "012"} == {True}
    again = make()
    await again.check()
    for i in range(60):
        assert set(await texts(again, *[ask(str(i), sample) for sample in range(3)])) == {homes[i]}


async def test_new_cases_leave_a_crowded_server(make: Make, stubs: list[StubServer]) -> None:
    for i, server in enumerate(stubs):
        server.say(CHAT, Reply(chat(str(i)).body, delay=0.2))
    engine = make()
    await engine.check()
    got = await texts(engine, *[ask(str(i)) for i in range(30)])
    assert max(got.count(n) for n in "012") <= 13


async def test_a_server_that_dies_is_left_out_and_taken_back(make: Make, stubs: list[StubServer]) -> None:
    engine = make()
    await engine.check()
    homes = dict(
        zip(map(str, range(30)), await texts(engine, *[ask(str(i)) for i in range(30)]), strict=True)
    )
    stubs[0].say(CHAT, Reply(reset=True))
    stubs[0].say("/v1/models", Reply(reset=True))
    got = await texts(engine, *[ask(name, 1) for name in homes])
    assert "0" not in got
    dead = len(stubs[0].asked(CHAT))
    assert [e.sick for e in engine.endpoints] == [True, False, False]
    await texts(engine, *[ask(name, 2) for name in homes])
    assert len(stubs[0].asked(CHAT)) == dead
    stubs[0].say(CHAT, chat("0"))
    stubs[0].say("/v1/models", models("m"))
    async with asyncio.timeout(3):
        while engine.endpoints[0].sick:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert set(await texts(engine, *[ask(f"new {i}") for i in range(30)])) == {"0", "1", "2"}
    told = " ".join(engine.lines)  # pyright: ignore
    assert "is left out until it answers" in told
    assert "is back" in told


@pytest.mark.parametrize(
    "garbage", [html(), Reply(b"[]"), problem(500, "boom"), problem(404, "no such model m")]
)
async def test_garbage_from_one_server_is_answered_by_another(
    garbage: Reply, make: Make, stubs: list[StubServer]
) -> None:
    engine = make()
    await engine.check()
    stubs[1].say(CHAT, garbage)
    got = [await engine(ask(str(i))) for i in range(20)]
    assert {c.text for c in got} == {"0", "2"}
    assert not any(c.error for c in got)
    # A probe finds the list of models well, so now and then another call is tried.
    assert len(stubs[1].asked(CHAT)) <= module.SICK_AFTER + 3


async def test_what_every_server_would_refuse_is_not_asked_around(
    make: Make, stubs: list[StubServer]
) -> None:
    for server in stubs:
        server.say(CHAT, problem(400, "maximum context length is 10 tokens"))
    engine = make()
    await engine.check()
    before = sum(len(s.asked(CHAT)) for s in stubs)
    completion = await engine(ask("1"))
    assert completion.finish == "length"
    assert sum(len(s.asked(CHAT)) for s in stubs) == before + 1


async def test_a_server_that_asks_for_a_long_pause_is_left_alone(make: Make, stubs: list[StubServer]) -> None:
    """429 with Retry-After; its cases are answered elsewhere, and nothing is sent to it meanwhile."""
    engine = make()
    await engine.check()
    stubs[0].say(CHAT, Reply(problem(429, "slow down").body, 429, headers={"Retry-After": "60"}))
    got = [await engine(ask(str(i))) for i in range(30)]
    assert {c.text for c in got} == {"1", "2"}
    assert len(stubs[0].asked(CHAT)) == 1
    assert not engine.endpoints[0].sick


async def test_a_short_pause_is_waited_for_at_home(make: Make, stubs: list[StubServer]) -> None:
    engine = make()
    await engine.check()
    homes = [(await texts(engine, ask(str(i))))[0] for i in range(12)]
    busy = Reply(problem(503, "restarting").body, 503, headers={"Retry-After": "0.3"})
    stubs[0].say(CHAT, busy, chat("0"))
    at_home = [str(i) for i in range(12) if homes[i] == "0"]
    first = await texts(engine, ask(at_home[0], 1))
    assert first[0] in "12"  # that call went elsewhere
    started = time.monotonic()
    assert await texts(engine, ask(at_home[1], 1)) == ["0"]
    assert time.monotonic() - started > 0.1


async def test_all_servers_restarting_are_waited_for(make: Make, stubs: list[StubServer]) -> None:
    engine = make()
    await engine.check()
    busy = Reply(problem(503, "restarting").body, 503, headers={"Retry-After": "0.2"})
    for i, server in enumerate(stubs):
        server.say(CHAT, busy, chat(str(i)))
    completion = await engine(ask("1"))
    assert completion.text in "012"
    assert completion.error is None


async def test_when_no_server_comes_back_the_call_fails_as_data(make: Make, stubs: list[StubServer]) -> None:
    engine = make(retry_for=0.5)
    await engine.check()
    for server in stubs:
        server.say(CHAT, problem(500, "boom"))
        server.say("/v1/models", problem(500, "boom"))
    got = await asyncio.gather(*[engine(ask(str(i))) for i in range(8)])
    assert {c.finish for c in got} == {"error"}
    assert all("boom" in (c.error or "") for c in got if "no server is well" not in (c.error or ""))


async def test_a_storm_of_429_is_damped(make: Make, stubs: list[StubServer]) -> None:
    """Without Retry-After: the pauses double, so that few requests go out."""
    for server in stubs:
        server.say(CHAT, *[problem(429, "too many")] * 40, chat("fine"))
    engine = make(retry_for=1.2)
    await engine.check()
    await asyncio.gather(*[engine(ask(str(i))) for i in range(20)])
    assert sum(len(s.asked(CHAT)) for s in stubs) <= 3 * 20 * 2


async def test_requests_in_a_minute_are_kept(make: Make, stubs: list[StubServer]) -> None:
    engine = make(requests_per_minute=60.0)
    await engine.check()
    tasks = [asyncio.ensure_future(engine(ask(str(i)))) for i in range(90)]
    await asyncio.sleep(1.0)
    for server in stubs:
        assert 8 <= len(server.asked(CHAT)) <= 13
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_bucket_never_gives_more_than_its_limit_in_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    bucket = Bucket(120)
    times: list[float] = []
    for _ in range(600):
        await bucket.take(1)
        times.append(now)
    assert all(sum(t <= other < t + 60 for other in times) <= 120 for t in times[::20])
    assert times[-1] < 60 * 600 / 95
    bucket.correct(50)
    before = now
    await bucket.take(1)
    assert now - before > 20


async def test_tokens_in_a_minute_are_kept(make: Make, stubs: list[StubServer]) -> None:
    """Booked before the call from the prompt's characters, corrected by what the server counted."""
    for i, server in enumerate(stubs):
        body = {**chat(str(i)).body, "usage": {"prompt_tokens": 100, "completion_tokens": 20}}
        server.say(CHAT, Reply(body))
    engine = make(tokens_per_minute=1200.0)
    await engine.check()
    tasks = [asyncio.ensure_future(engine(ask(str(i), text="x" * 400))) for i in range(30)]
    await asyncio.sleep(0.7)
    for server in stubs:
        assert 1 <= len(server.asked(CHAT)) <= 3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_server_that_is_down_at_first_joins_later(make: Make, stubs: list[StubServer]) -> None:
    stubs[2].say("/v1/models", problem(503, "loading"))
    stubs[2].say(CHAT, problem(503, "loading"))
    engine = make(model=None)
    await engine.check()
    assert engine.identity() == "m"
    assert set(await texts(engine, *[ask(str(i)) for i in range(20)])) == {"0", "1"}
    stubs[2].say("/v1/models", models("m"))
    stubs[2].say(CHAT, chat("2"))
    async with asyncio.timeout(3):
        while engine.endpoints[2].sick:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert "2" in await texts(engine, *[ask(f"n{i}") for i in range(30)])


async def test_other_models_and_no_server_are_refused(make: Make, stubs: list[StubServer]) -> None:
    stubs[1].say("/v1/models", models("other"))
    with pytest.raises(ConfigError, match="serve different models"):
        await make(model=None).check()
    for server in stubs:
        server.say("/v1/models", problem(401, "who are you"))
        server.say(CHAT, problem(401, "who are you"))
    with pytest.raises(EngineError):
        await make().check()


async def test_a_server_that_comes_back_with_another_model_stays_out(
    make: Make, stubs: list[StubServer]
) -> None:
    engine = make()
    await engine.check()
    stubs[0].say(CHAT, problem(404, "no such model m"))
    stubs[0].say("/v1/models", models("other"))
    assert "0" not in await texts(engine, *[ask(str(i)) for i in range(20)])
    await asyncio.sleep(0.4)
    assert engine.endpoints[0].sick


async def test_votes_in_one_request_move_together(make: Make, stubs: list[StubServer]) -> None:
    engine = make(samples_per_request=4)
    await engine.check()

    def several(body: Any) -> Reply:
        choices = [
            {"index": i, "message": {"content": "v"}, "finish_reason": "stop"}
            for i in range(body.get("n", 1))  # a vote that comes late is asked alone
        ]
        return Reply({"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 9}})

    for server in stubs[1:]:
        server.say(CHAT, several)
    stubs[0].say(CHAT, problem(500, "boom"))
    queries = [
        Query(str(c), (0, 1), s, (Message("user", f"q{c}"),), Sampling(temperature=1.0, seed=s))
        for c in range(6)
        for s in range(4)
    ]
    assert set(await texts(engine, *queries)) == {"v"}


def test_the_ways_to_name_several_servers(tmp_path: Any) -> None:
    two = "http://a:1/v1,http://b:2/v1"
    assert is_address(two)
    assert is_address("a:1, b:2")
    assert not is_address("http://a:1/v1,embedded")
    assert isinstance(assemble(JudgeConfig(engine=two, protocol="rubrics")).engine, EndpointsEngine)
    assert JudgeConfig(engine=["http://a:1/v1", "http://b:2/v1"]).engine == two  # pyright: ignore
    path = tmp_path / "judge.toml"
    path.write_text('engine = ["http://a:1/v1", "http://b:2/v1"]\n')
    assert config_of(path, ("engine",)).engine == two
    with pytest.raises(ConfigError, match="named twice"):
        assemble(JudgeConfig(engine="http://a:1/v1,http://a:1/v1/", protocol="rubrics"))


def test_the_flag_may_come_twice_and_a_moved_server_resumes(tmp_path: Any) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", 12)
    seen: list[list[Any]] = [[], []]
    with (
        chat_server(lambda body: (seen[0].append(body), chat_reply(A_WINS))[1]) as a,
        chat_server(lambda body: (seen[1].append(body), chat_reply(A_WINS))[1]) as b,
    ):
        words = ("judge", pairs, "-p", "rubrics", "-m", "m", "-o", tmp_path / "run")
        jurist(*words, "-e", a, "-e", b)
        assert len(seen[0]) + len(seen[1]) == 24
        assert min(map(len, seen)) > 0
        jurist(*words, "-e", b)
        assert len(seen[0]) + len(seen[1]) == 24


async def test_a_single_server_keeps_limits_too(stubs: list[StubServer]) -> None:
    config = JudgeConfig(engine=stubs[0].url, model="m", protocol="rubrics", requests_per_minute=600.0)
    engine = assemble(config).engine
    assert isinstance(engine, EndpointsEngine)
    await engine.check()
    got: list[Completion] = [await engine(ask("1"))]
    assert got[0].text == "0"
    await engine.aclose()
