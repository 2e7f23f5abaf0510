"""Runs in pieces: what workers do, how their parts become one run, what is asked; without a cluster."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from array import array
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from make import case, chat_reply, chat_server, jurist, write_pairs

from jurist.core.errors import ConfigError, EngineError, StoreError
from jurist.core.runs import open_run, read_scorecard
from jurist.core.store import Store, claim
from jurist.inputs import load_cases
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.scale import Cluster, decide_on, judge_all, judging
from jurist.scale.part import BEGUN, Part, deaths, take_in
from jurist.scale.pool import Size, _piece_of, _row_of, size_of
from jurist.scale.work import Work
from jurist.scale.worker import SESSION, STARTS, Gate, Outcome, Piece, Post, Worker

JUDGE = JudgeConfig(engine="scripted:<answer>[[A]]</answer>", protocol="rubrics", deliberation="swapped")
CHAIN = """\
<type>Chat</type>
<rubric>
1. Correct (100%): it is right
<justify>Nothing else matters here.</justify>
</rubric>
<eval>One of them is right, the other is not.</eval>
<answer>[[{letter}]]</answer>"""
RAY = Cluster(on="ray", piece=3)


class InProcess(AbstractContextManager["InProcess"]):
    """Hands pieces to one worker in this process, in the place of Ray."""

    lost: int = 0
    """After so many pieces the rest is left to another call, as where nodes were lost."""
    fails_at: int = -1

    def __init__(self, cluster, config, say):
        say(f"a worker for {config.engine}")
        self.size = Size(cluster.workers or 2, 1.0, 0.0)
        self.stopped = False

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopped = True

    def run(self, post, pieces, idle):
        worker = Worker(post)
        for number, piece in enumerate(pieces):
            if number == self.fails_at:
                raise EngineError("the cluster is gone")
            if self.lost and number == self.lost:
                return
            yield worker.work(piece)
            assert idle([piece.name])


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    class Fresh(InProcess):
        pass

    monkeypatch.setattr("jurist.scale.run.Pool", Fresh)
    return Fresh


def answering(asked: list[str], fails=lambda _text: False):
    """A server whose verdict is a checksum of the prompt; what it was asked is noted."""

    def answer(body):
        text = body["messages"][-1]["content"]
        asked.append(json.dumps(body["messages"]))
        if fails(text):
            return 400, {"error": {"message": "no"}}
        return chat_reply(CHAIN.format(letter="AB"[sha256(text.encode()).digest()[0] & 1]))

    return chat_server(answer)


def rows(folder: Path):
    with open_run(folder) as run:
        return [
            (d.case_id, d.verdict, [(j.query.key, j.completion.text, j.verdict) for j in d.judgments])
            for d in run.decisions()
        ]


def posted(folder: Path, config: JudgeConfig = JUDGE, tries: int = 3) -> Post:
    """A run folder with a session, and what its workers are told."""
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    (parts / SESSION).write_text("s")
    return Post(Work(config), folder, parts, "s", tries, 60.0)


def noted(folder: Path, *cases) -> Piece:
    with Store(folder, {}) as store:
        return Piece("p", [store.begin(one) for one in cases])


def test_a_run_in_pieces_equals_a_run_in_one_process(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 25)
    asked: list[str] = []
    with answering(asked) as url:
        more = ("-e", url, "-m", "m", "-p", "rubrics")
        jurist("judge", source, "-o", tmp_path / "here", *more)
        n = len(asked)
        shown = jurist("judge", source, "-o", tmp_path / "there", *more, "--on", "ray", "--piece", "4")
    assert len(asked) == 2 * n
    assert rows(tmp_path / "here") == rows(tmp_path / "there")
    for name in ("run.json", "cases.jsonl"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert "50 judgments: 50 ok" in shown.stdout
    assert not (tmp_path / "there" / "parts").exists()


@pytest.mark.parametrize("more", [(), ("--repair",), ("--both-orders", "--keep", "all")])
def test_a_distillation_in_pieces_gives_the_same_rows_and_counts(tmp_path, more):
    source = write_pairs(tmp_path / "pairs.jsonl", 12)
    asked: list[str] = []
    with answering(asked) as url:
        options = ("-e", url, "-m", "m", "-p", "rubrics", "--temperature", "0.5", *more)
        for samples in ("2", "4"):
            words = ("distill", source, *options, "--samples", samples)
            before = len(asked)
            jurist(*words, "-o", tmp_path / "here")
            here = len(asked) - before
            jurist(*words, "-o", tmp_path / "there", "--on", "ray", "--piece", "5")
            # The second time only what is new is asked for.
            assert len(asked) - before == 2 * here > 0
            jurist(*words, "-o", tmp_path / "there", "--on", "ray")
            assert len(asked) - before == 2 * here
    assert (tmp_path / "there" / "rows.jsonl").stat().st_size
    for name in ("rows.jsonl", "distillation.json"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_labels_in_pieces_give_the_same_rows_and_counts(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 12)
    same = {"id": "same", "prompt": "q", "responses": ["x", "x"]}
    source.write_text(json.dumps(same) + "\n" + source.read_text())
    with answering([]) as url:
        for where, more in (("here", ()), ("there", ("--on", "ray", "--piece", "5"))):
            words = ("-e", url, "-m", "m", "-p", "rubrics", "--rows", tmp_path / f"{where}.jsonl")
            jurist("label", source, "-o", tmp_path / where, *words, *more)
    one, other = ((tmp_path / f"{where}.jsonl").read_text() for where in ("here", "there"))
    assert one.replace("here", "there") == other
    reports = [
        json.loads((tmp_path / where / "labels.json").read_text())["dpo"] for where in ("here", "there")
    ]
    assert all(report.pop("file") for report in reports)
    assert reports[0] == reports[1]


def test_decisions_of_one_process_are_not_asked_again_in_pieces(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 20)
    asked: list[str] = []
    with answering(asked) as url:
        more = ("-e", url, "-m", "m", "-p", "rubrics", "-o", tmp_path / "run")
        jurist("judge", source, *more, "--limit", "7")
        shown = jurist("judge", source, *more, "--on", "ray")
    assert len(asked) == 40
    assert "7 of 20 cases are decided" in shown.stderr
    assert len(rows(tmp_path / "run")) == 20


def test_only_failed_calls_are_asked_again(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 9)
    asked: list[str] = []
    broken = {"yes": True}

    def fails(text: str) -> bool:
        # One order of every case fails at first.
        return broken["yes"] and text.find("good") < text.find("bad")

    with answering(asked, fails) as url:
        more = ("-e", url, "-m", "m", "-p", "rubrics", "-o", tmp_path / "run", "--on", "ray", "--piece", "2")
        jurist("judge", source, *more, code=1)
        assert len(asked) == 18
        broken["yes"] = False
        jurist("judge", source, *more)
    assert len(asked) == 18 + 9
    assert all(decision[1].scores for decision in rows(tmp_path / "run"))


def test_where_the_cluster_is_lost_what_was_done_is_kept(tmp_path, pool):
    source = write_pairs(tmp_path / "pairs.jsonl", 12)
    asked: list[str] = []
    pool.fails_at = 2
    with answering(asked) as url:
        more = ("-e", url, "-m", "m", "-p", "rubrics", "-o", tmp_path / "run", "--on", "ray", "--piece", "3")
        shown = jurist("judge", source, *more, code=2)
        assert "the cluster is gone" in shown.stderr
        assert len(rows(tmp_path / "run")) == 6
        pool.fails_at = -1
        jurist("judge", source, *more)
    assert len(asked) == 24
    assert len(rows(tmp_path / "run")) == 12


def test_pieces_of_lost_workers_are_handed_out_again(tmp_path, pool):
    pool.lost = 2
    cases = [case(str(i)) for i in range(20)]
    found = list(decide_on(RAY, judging(assemble(JUDGE)), cases, out=tmp_path / "run"))
    assert [one.id for one, _ in found] == [str(i) for i in range(20)]
    assert {decision.verdict.scores for _, decision in found} == {(0.5, 0.5)}


def test_the_next_command_takes_in_what_workers_left(tmp_path):
    cases = [case(str(i)) for i in range(6)]
    folder = tmp_path / "run"
    post = posted(folder)
    facts = judging(assemble(JUDGE)).facts("")
    with Store(folder, facts) as store:
        piece = Piece("p", [store.begin(one) for one in cases[:3]])
    # A worker has ended a piece, and its command was killed before it took it in.
    assert Worker(post).work(piece) == Outcome("p")
    assert not rows(folder)
    said: list[str] = []
    list(decide_on(RAY, judging(assemble(JUDGE)), cases, out=folder, say=said.append, warn=said.append))
    assert "taken in: 3 decisions of workers that were interrupted" in said
    assert "3 of 6 cases are decided" in said
    assert len(rows(folder)) == 6


def test_calls_of_interrupted_workers_are_not_made_again(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 6)
    asked: list[str] = []
    broken = {"yes": True}
    with answering(asked, lambda text: broken["yes"] and text.find("good") < text.find("bad")) as url:
        config = JudgeConfig(url, "m", "rubrics", deliberation="swapped")
        post = posted(tmp_path / "run", config)
        with Store(tmp_path / "run", judging(assemble(config)).facts(str(source))) as store:
            piece = Piece("p", [store.begin(one) for one in load_cases(source)])
        assert not Worker(post).work(piece).error
        assert len(asked) == 12
        broken["yes"] = False
        more = ("-e", url, "-m", "m", "-p", "rubrics", "-o", tmp_path / "run", "--on", "ray")
        jurist("judge", source, *more)
    assert len(asked) == 12 + 6


def test_a_run_that_is_decided_asks_nobody_and_shows_all(tmp_path, pool):
    source = write_pairs(tmp_path / "pairs.jsonl", 5)
    words = ("judge", source, "-e", JUDGE.engine, "-p", "rubrics", "-o", tmp_path / "run", "--on", "ray")
    first = jurist(*words)
    assert read_scorecard(tmp_path / "run").seconds > 0
    pool.fails_at = 0
    again = jurist(*words)
    assert "5 of 5 cases are decided" in again.stderr
    assert [line for line in first.stdout.splitlines() if "tokens written" not in line] == [
        line for line in again.stdout.splitlines() if "tokens written" not in line
    ]
    # What is remembered took its time in an earlier command.
    assert read_scorecard(tmp_path / "run").seconds == 0


async def test_it_works_where_an_event_loop_runs(tmp_path):
    with answering([]) as url:
        config = JudgeConfig(url, "m", "rubrics")
        card = judge_all([case("1"), case("2")], config, out=tmp_path / "run", cluster=RAY)
    assert card.statuses == {"ok": 4}


def test_workers_of_an_earlier_command_stop(tmp_path):
    piece = noted(tmp_path, case("1"))
    worker = Worker(posted(tmp_path))
    (tmp_path / "parts" / SESSION).write_text("another")
    assert "another command goes on with" in worker.work(piece).error


def test_a_worker_that_does_not_see_the_run_folder_says_so(tmp_path):
    post = posted(tmp_path)
    (tmp_path / "parts" / SESSION).unlink()
    outcome = Worker(post).work(Piece("p", []))
    assert "cannot read" in outcome.error
    assert "all nodes of the cluster share" in outcome.hint


def test_a_piece_that_was_taken_in_is_not_begun_again(tmp_path):
    piece = noted(tmp_path, case("1"))
    post = posted(tmp_path)
    (post.parts / "p.done").touch()
    assert Worker(post).work(piece) == Outcome("p")
    assert not (post.parts / "p").exists()


def test_failures_in_a_row_end_a_run_of_small_pieces(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 12)
    with answering([], lambda _text: True) as url:
        more = ("-e", url, "-m", "m", "-p", "rubrics", "-o", tmp_path / "run", "--on", "ray", "--piece", "2")
        shown = jurist("judge", source, *more, "--give-up-after", "10", "--concurrency", "1", code=2)
    assert "10 calls in a row failed" in shown.stderr


def test_a_part_is_taken_in_once(tmp_path):
    cases = [case(str(i)) for i in range(3)]
    piece = noted(tmp_path, *cases)
    assert not Worker(posted(tmp_path)).work(piece).error
    with Store(tmp_path, {}) as store:
        assert len(take_in(tmp_path / "parts" / "p", store, again=True)) == 3
    sizes = [(tmp_path / name).stat().st_size for name in ("judgments.jsonl", "decisions.jsonl")]
    with Store(tmp_path, {}) as store:
        assert len(take_in(tmp_path / "parts" / "p", store, again=True)) == 3
    assert sizes == [(tmp_path / name).stat().st_size for name in ("judgments.jsonl", "decisions.jsonl")]


def test_deaths_are_counted_by_what_was_in_work(tmp_path):
    (tmp_path / BEGUN).write_bytes(b"=\n+ a\n+ b\n- a\n=\n+ b\n- b\n+ c\n=\n+ b\n+ d")
    assert deaths(tmp_path) == Counter({"b": 2, "c": 1})


def test_a_case_that_kills_workers_is_given_up(tmp_path):
    """Processes that are really killed: five cases in work at the first death, the poison alone after it."""
    cases = [case(name, f"{name} good", f"{name} bad") for name in ("1", "2", "POISON", "4", "5")]
    piece = noted(tmp_path, *cases)
    posted(tmp_path)
    script = textwrap.dedent(f"""
        import asyncio, os, signal
        from pathlib import Path
        from jurist.engines.scripted import ScriptedEngine
        from jurist.judging.config import JudgeConfig
        from jurist.scale.work import Work
        from jurist.scale.worker import Piece, Post, Worker
        real = ScriptedEngine.__call__
        async def call(self, query):
            await asyncio.sleep(0.05)
            if "POISON" in query.messages[-1].content:
                os.kill(os.getpid(), signal.SIGKILL)
            return await real(self, query)
        ScriptedEngine.__call__ = call
        config = JudgeConfig(engine="scripted:<answer>[[A]]</answer>", protocol="rubrics")
        folder = Path({str(tmp_path)!r})
        post = Post(Work(config), folder, folder / "parts", "s", 3, 60.0)
        print(Worker(post).work(Piece("p", {list(piece.places)!r})))
    """)
    codes = []
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
        codes.append(done.returncode)
    assert codes == [-signal.SIGKILL] * 3 + [0], done.stderr
    with open_run(tmp_path / "parts" / "p") as part:
        verdicts = {decision.case_id: decision.verdict for decision in part.decisions()}
        judgments = Counter(j.query.case_id for j in part.judgments())
    assert verdicts["POISON"].status == "failed"
    assert "3 workers in a row died" in verdicts["POISON"].note
    assert all(verdicts[name].scores for name in ("1", "2", "4", "5"))
    assert set(judgments.values()) == {2}  # nothing on disk was asked twice


def test_a_worker_that_gets_no_answer_ends_itself(tmp_path):
    piece = noted(tmp_path, case("1"))
    posted(tmp_path)
    script = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from jurist.engines.scripted import ScriptedEngine
        from jurist.judging.config import JudgeConfig
        from jurist.scale.work import Work
        from jurist.scale.worker import Piece, Post, Worker
        async def call(self, query):
            await asyncio.sleep(3600)
        ScriptedEngine.__call__ = call
        config = JudgeConfig(engine="scripted:x", protocol="rubrics", deliberation="once")
        folder = Path({str(tmp_path)!r})
        post = Post(Work(config), folder, folder / "parts", "s", 3, 1.0)
        print(Worker(post).work(Piece("p", {list(piece.places)!r})))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 86
    assert "no answer for 1 s" in done.stderr
    assert deaths(tmp_path / "parts" / "p") == Counter({case("1").digest: 1})


def test_an_engine_that_is_never_ready_ends_the_run(tmp_path, monkeypatch):
    async def hang(_self):
        await asyncio.sleep(3600)

    monkeypatch.setattr("jurist.engines.scripted.ScriptedEngine.check", hang)
    piece = noted(tmp_path, case("1"))
    outcome = Worker(replace(posted(tmp_path), stall=0.5)).work(piece)
    assert "was not ready after" in outcome.error
    assert "--stall" in outcome.hint


def test_an_engine_that_kills_its_workers_ends_the_run(tmp_path):
    piece, post = noted(tmp_path, case("1")), replace(posted(tmp_path), workers=2)
    node = os.uname().nodename
    (post.parts / STARTS).write_text(f"+ {node}\n* {node}\n" + f"+ {node}\n+ another\n" * 5)
    assert not Worker(post).work(piece).error  # the sixth start since one was ready
    (post.parts / STARTS).write_text(f"+ {node}\n" * 6)
    assert f"workers on {node} died 6 times while their engine was loaded" in Worker(post).work(piece).error


def test_a_part_in_other_hands_is_waited_for_and_then_refused(tmp_path):
    (tmp_path / "p").mkdir()
    with claim(tmp_path / "p"), pytest.raises(StoreError, match="another process is writing"):
        Part(tmp_path / "p", {}, wait=0.6)
    Part(tmp_path / "p", {}, wait=0.0).close()


async def test_one_case_is_alone_in_work_and_others_wait():
    gate, log = Gate(), []

    async def shared(name):
        async with gate.shared():
            log.append(f"+{name}")
            await asyncio.sleep(0.02)
            log.append(f"-{name}")

    async def alone():
        await asyncio.sleep(0.01)
        async with gate.alone():
            log.append("(")
            await asyncio.sleep(0.02)
            log.append(")")

    async def late():
        await asyncio.sleep(0.015)
        await shared("c")

    await asyncio.gather(shared("a"), shared("b"), alone(), late())
    assert log == ["+a", "+b", "-a", "-b", "(", ")", "+c", "-c"]


@pytest.mark.parametrize(
    ("cluster", "engine", "resources", "nodes", "size"),
    [
        (Cluster("ray"), "http://h/v1", {"CPU": 8.0}, 3, Size(3, 0.1, 0.0)),
        (Cluster("ray", workers=5), "http://h/v1", {"CPU": 8.0}, 3, Size(5, 0.1, 0.0)),
        (Cluster("ray"), "vllm", {"CPU": 64.0, "GPU": 8.0}, 1, Size(8, 1.0, 1.0)),
        (Cluster("ray", worker_gpus=4), "vllm", {"CPU": 64.0, "GPU": 8.0}, 2, Size(2, 1.0, 4.0)),
        (Cluster("ray"), "embedded", {"CPU": 4.0, "GPU": 8.0}, 2, Size(2, 1.0, 0.0)),
        (Cluster("ray"), "transformers", {"CPU": 4.0}, 2, Size(2, 1.0, 0.0)),
    ],
)
def test_how_many_workers_there_are(cluster, engine, resources, nodes, size):
    assert size_of(cluster, JudgeConfig(engine=engine, model="m"), resources, nodes) == size


def test_a_model_over_several_gpus_takes_them_all():
    config = JudgeConfig(engine="vllm", model="m", extra='{"tensor_parallel_size": 4}')
    assert size_of(Cluster("ray"), config, {"CPU": 64.0, "GPU": 8.0}, 1) == Size(2, 1.0, 4.0)
    with pytest.raises(ConfigError, match="a worker needs 4 GPUs, and the cluster has 2"):
        size_of(Cluster("ray"), config, {"CPU": 64.0, "GPU": 2.0}, 1)


def test_workers_share_what_a_server_takes_in_a_minute():
    work = Work(
        JudgeConfig("http://h/v1", "m", requests_per_minute=500, tokens_per_minute=20), repairer=JUDGE
    )
    shared = work.shared_by(4)
    assert (shared.config.requests_per_minute, shared.config.tokens_per_minute) == (125, 10)
    assert shared.repairer == JUDGE


def test_a_piece_travels_as_a_row():
    piece = Piece("p", array("q", [0, 1 << 40]).tolist(), [7])
    assert _piece_of(_row_of(piece)) == piece


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 2}, "--workers is about a cluster"),
        ({"on": "ray", "tries": 0}, "tries = 0 is out of range"),
        ({"on": "ray", "piece": 5000}, "piece = 5000 is out of range"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Cluster(**options)


def test_a_cluster_needs_a_run_folder_and_ray(tmp_path):
    source = write_pairs(tmp_path / "pairs.jsonl", 2)
    words = ("judge", source, "-e", JUDGE.engine, "-p", "rubrics", "--on", "ray")
    assert "needs a run folder" in jurist(*words, code=2).stderr
    code = "import sys; sys.modules['ray'] = None\nfrom jurist.cli.main import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words), "-o", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=False,
    )
    assert done.returncode == 2
    assert "jurist[ray]" in done.stderr
