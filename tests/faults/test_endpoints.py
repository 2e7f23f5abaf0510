"""Servers that fail, disks that are full, clocks that jump: each case has a decision or a stated status.

And what is on disk is not asked again.
"""

import random
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from make import case, chat_reply, chat_server, write_pairs
from stub_server import Reply, StubServer, chat, html, models, problem

from jurist.core.errors import EngineError
from jurist.core.runs import open_run
from jurist.core.types import Case, Decision, Status
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.judging.run import run

CHAT = "/v1/chat/completions"
CASES = [case(f"c{i}", f"{i} good", f"{i} bad") for i in range(30)]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("JURIST_API_KEY", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


class Server:
    """A stub server whose verdict is a checksum of the prompt; ``answered`` counts what it answered."""

    def __init__(self, stub: StubServer) -> None:
        self.stub = stub
        self.answered: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        stub.say("/v1/models", models("m"))
        stub.say(CHAT, self.answer)

    def fault(self, _prompt: str, _times: int) -> Reply | None:
        """What goes wrong with a prompt that is asked for the so many-th time; None: nothing."""
        return None

    def answer(self, body) -> Reply:
        prompt = msgspec.json.encode(body["messages"]).decode()
        self.seen[prompt] += 1
        wrong = self.fault(prompt, self.seen[prompt])
        if wrong is not None:
            return wrong
        self.answered[prompt] += 1
        return chat(f"so <answer>[[{'AB'[_digit(prompt) & 1]}]]</answer>")


def _digit(text: str) -> int:
    return sha256(text.encode()).digest()[0]


@pytest.fixture
def up(server):
    """The stub server, and nothing wrong with it."""
    return Server(server)


async def judged(up: Server, out: Path, cases: list[Case] = CASES, **options) -> list[Decision]:
    config = {"engine": up.stub.url, "model": "m", "protocol": "rubrics", "concurrency": 8, "timeout": 5.0}
    setup = assemble(JudgeConfig(**{**config, "retry_for": 5.0, **options}))
    try:
        async with aclosing(run(setup, cases, out=out)) as stream:
            return [decision async for decision in stream]
    finally:
        await setup.aclose()


def by_id(decisions: list[Decision]) -> dict[str, Decision]:
    found = {decision.case_id: decision for decision in decisions}
    assert len(found) == len(decisions)
    return found


async def undisturbed(up: Server, folder: Path) -> dict[str, Decision]:
    fault, up.fault = up.fault, lambda _prompt, _times: None
    decisions = by_id(await judged(up, folder / "undisturbed"))
    up.fault = fault
    up.answered.clear()
    up.seen.clear()
    return decisions


def verdicts(decisions: dict[str, Decision]):
    return {name: decision.verdict for name, decision in decisions.items()}


async def test_an_endpoint_that_dies_ends_the_run_and_the_same_command_goes_on(up, tmp_path):
    wanted = await undisturbed(up, tmp_path)
    up.fault = lambda _prompt, _times: Reply(reset=True) if up.answered.total() >= 20 else None
    with pytest.raises(EngineError, match="calls in a row failed"):
        await judged(up, tmp_path / "run", retry_for=0.3, give_up_after=10)
    with open_run(tmp_path / "run") as kept:
        on_disk = sum(j.verdict.status is Status.OK for j in kept.judgments())
    assert on_disk == 20
    up.fault = lambda _prompt, _times: None
    decisions = by_id(await judged(up, tmp_path / "run"))
    assert verdicts(decisions) == verdicts(wanted)
    assert set(up.answered.values()) == {1}


async def test_an_endpoint_that_slows_down_is_waited_for_or_asked_again(up, tmp_path):
    wanted = await undisturbed(up, tmp_path)
    slow = chat("so <answer>[[A]]</answer>")
    slow.delay = 2.0
    # The first try of every third prompt outlasts its time limit.
    up.fault = lambda prompt, times: slow if times == 1 and _digit(prompt) % 3 == 0 else None
    decisions = by_id(await judged(up, tmp_path / "run", timeout=0.5))
    assert verdicts(decisions) == verdicts(wanted)


GARBAGE = [
    html(),
    Reply(b'{"choices": [{"mess'),
    Reply({"choices": []}),
    Reply({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}),
    Reply(b"\xff\xfe\x00\x00"),
    chat("I would rather talk about the weather."),
    problem(400, "the prompt is not to my liking"),
]


async def test_garbage_costs_the_cases_that_met_it_a_stated_status_and_no_other(up, tmp_path):
    wanted = await undisturbed(up, tmp_path)

    def fault(prompt: str, _times: int) -> Reply | None:
        digit = _digit(prompt)
        return GARBAGE[digit % len(GARBAGE)] if digit % 4 == 0 else None

    up.fault = fault
    decisions = by_id(await judged(up, tmp_path / "run", retry_for=0.2))
    assert decisions.keys() == wanted.keys()
    bad = 0
    for name, decision in decisions.items():
        assert len(decision.judgments) == 2
        for mine, right in zip(decision.judgments, wanted[name].judgments, strict=True):
            if mine.verdict.status is Status.OK:
                assert mine.verdict == right.verdict
            else:
                bad += 1
                assert mine.verdict.scores is None
                assert mine.verdict.note or mine.verdict.status is Status.UNPARSED
    assert bad > 5
    # What failed is asked again; what was read, if only as nonsense, is not.
    up.fault = lambda _prompt, _times: None
    up.answered.clear()
    failed = sum(j.verdict.status is Status.FAILED for d in decisions.values() for j in d.judgments)
    await judged(up, tmp_path / "run")
    assert up.answered.total() == failed


async def test_a_storm_of_429_is_sat_out(up, tmp_path):
    wanted = await undisturbed(up, tmp_path)
    busy = Reply({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.05"})
    up.fault = lambda prompt, times: busy if times <= 1 + _digit(prompt) % 2 else None
    decisions = by_id(await judged(up, tmp_path / "run", CASES[:10], retry_for=60.0))
    assert verdicts(decisions) == {case.id: wanted[case.id].verdict for case in CASES[:10]}
    assert set(up.answered.values()) == {1}


async def test_a_clock_that_jumps_changes_nothing(up, tmp_path, monkeypatch):
    wanted = await undisturbed(up, tmp_path)
    real, jumps = time.time, random.Random(7)
    busy = Reply({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.01"})
    up.fault = lambda prompt, times: busy if times == 1 and _digit(prompt) % 2 else None
    monkeypatch.setattr(time, "time", lambda: real() + jumps.choice((-86400.0 * 400, -3600, 0, 3600, 1e8)))
    started = time.monotonic()
    decisions = by_id(await judged(up, tmp_path / "run"))
    assert time.monotonic() - started < 30
    assert verdicts(decisions) == verdicts(wanted)


LIMITED = """
    import resource, sys
    from jurist.cli.main import main
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
    sys.argv = ["jurist", *sys.argv[1:]]
    main()
"""


def answering(asked: list[str]):
    def answer(body):
        prompt = msgspec.json.encode(body["messages"]).decode()
        asked.append(prompt)
        return chat_reply(f"{'because ' * 800}<answer>[[{'AB'[_digit(prompt) & 1]}]]</answer>")

    return chat_server(answer)


def test_a_full_disk_ends_the_run_in_words_and_what_was_written_is_kept(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 60)
    asked: list[str] = []
    with answering(asked) as url:
        words = ["judge", str(source), "-o", str(tmp_path / "run"), "-e", url, "-m", "m", "-p", "rubrics"]
        script = [sys.executable, "-c", textwrap.dedent(LIMITED), *words, "--concurrency", "4"]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "cannot write to" in done.stderr
        assert "make room" in done.stderr
        with open_run(tmp_path / "run") as kept:
            on_disk = sum(1 for _ in kept.judgments())
            assert not kept.damage
        assert on_disk > 10
        lost = len(asked) - on_disk
        done = subprocess.run(
            [sys.executable, "-m", "jurist", *words], capture_output=True, text=True, check=True
        )
    # The calls in flight when the disk was full, and nothing else, were paid for twice.
    assert lost <= 2 * 4
    assert len(asked) == 120 + lost
    with open_run(tmp_path / "run") as run_:
        assert len(run_) == 60


def test_a_worker_on_a_full_disk_says_so_and_another_goes_on_in_its_part(tmp_path):
    from jurist.core.store import Store
    from jurist.scale import Work
    from jurist.scale.worker import SESSION, Piece, Post, Worker

    asked: list[str] = []
    cases = [case(f"c{i}", f"{i} good", f"{i} bad") for i in range(30)]
    with Store(tmp_path, {}) as store:
        places = [store.begin(one) for one in cases]
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / SESSION).write_text("s")
    with answering(asked) as url:
        config = JudgeConfig(url, "m", "rubrics", deliberation="swapped", concurrency=4)
        script = f"""
            import resource
            from pathlib import Path
            from jurist.judging.config import JudgeConfig
            from jurist.scale.work import Work
            from jurist.scale.worker import Piece, Post, Worker
            resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
            folder = Path({str(tmp_path)!r})
            config = JudgeConfig({url!r}, "m", "rubrics", deliberation="swapped", concurrency=4)
            post = Post(Work(config), folder, folder / "parts", "s", 3, 60.0)
            print(Worker(post).work(Piece("p", {places!r})))
        """
        code = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(code, capture_output=True, text=True, check=True)
        assert "cannot write to" in done.stdout
        with open_run(tmp_path / "parts" / "p") as part:
            on_disk = sum(1 for _ in part.judgments())
        lost = len(asked) - on_disk
        post = Post(Work(config), tmp_path, tmp_path / "parts", "s", 3, 60.0)
        assert not Worker(post).work(Piece("p", places)).error
    assert 5 < on_disk < 60
    assert lost <= 2 * 4
    assert len(asked) == 60 + lost
    with open_run(tmp_path / "parts" / "p") as part:
        assert all(decision.verdict.scores for decision in part.decisions())
        assert len(part) == 30
