"""A Ray cluster of three nodes on this machine, parts of which are killed while cases are judged.

After each fault the same command goes on, the decisions equal a run's that nothing happened to, and only the
calls that were in flight were asked twice.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from make import chat_reply, chat_server

from jurist.core.runs import open_run

pytest.importorskip("ray.cluster_utils", reason="the extra 'ray' is not installed")
pytestmark = pytest.mark.cluster

CASES = 400
WIDTH = 4
WORKERS = 3
IN_FLIGHT = WORKERS * WIDTH
"""Calls that are in flight at most: the only ones that a fault may cost."""

POISON = """
import asyncio, os, signal
from jurist.engines import scripted

async def call(self, query):
    await asyncio.sleep(0.02)
    if "POISON" in query.messages[-1].content:
        os.kill(os.getpid(), signal.SIGKILL)
    return await real(self, query)

real, scripted.ScriptedEngine.__call__ = scripted.ScriptedEngine.__call__, call
"""


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """A folder whose code every Python process of the cluster runs first: a prompt kills its process."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(POISON)
    return folder


def started(nodes):
    """Add a node; on a busy machine one may miss the 30 seconds that Ray gives it."""
    for left in (2, 1, 0):
        try:
            return nodes.add_node(num_cpus=1, object_store_memory=80 << 20)
        except Exception:
            if not left:
                raise
    raise AssertionError


@pytest.fixture(scope="module")
def cluster(poisoned):
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH", "")
    source = Path(__file__).parents[2] / "src"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(poisoned), str(source), before])
    nodes = Cluster()
    for _ in range(3):
        started(nodes)
    yield nodes
    nodes.shutdown()
    os.environ["PYTHONPATH"] = before


class Judged:
    """A server that takes its time, what it was asked, and the command that asks it."""

    def __init__(self, folder: Path, address: str, url: str, asked: list[str]) -> None:
        self.folder, self.address, self.url, self.asked = folder, address, url, asked
        self.source = pairs(folder / "pairs.jsonl", CASES)

    def command(self, out: str, *more: str) -> "subprocess.Popen[bytes]":
        words = ["judge", str(self.source), "-o", str(self.folder / out), "-e", self.url, "-m", "m"]
        words += ["-p", "rubrics", "-d", "once", "--concurrency", str(WIDTH), "--retry-for", "5", *more]
        log = (self.folder / f"{out}.log").open("ab")
        return subprocess.Popen([sys.executable, "-m", "jurist", *words], stdout=log, stderr=log)

    def on_cluster(self, *more: str) -> "subprocess.Popen[bytes]":
        return self.command("ray", "--on", "ray", "--address", self.address, "--workers", "3", *more)

    def until(self, process: "subprocess.Popen[bytes]", n: int) -> None:
        ends = time.monotonic() + 240
        while len(self.asked) < n:
            assert process.poll() is None, (self.folder / "ray.log").read_text()
            assert time.monotonic() < ends, (self.folder / "ray.log").read_text()
            time.sleep(0.05)

    def ended(self, process: "subprocess.Popen[bytes]", code: int = 0) -> None:
        assert process.wait(300) == code, (self.folder / "ray.log").read_text()

    def repeated(self) -> int:
        return len(self.asked) - len(set(self.asked))

    def equal(self) -> None:
        """The run equals one in a single process, which nothing happened to."""
        before = len(self.asked)
        assert self.command("here").wait(300) == 0
        del self.asked[before:]
        assert rows(self.folder / "ray") == rows(self.folder / "here")
        assert len(rows(self.folder / "ray")) == CASES


@pytest.fixture
def judged(cluster, tmp_path):
    asked: list[str] = []

    def answer(body):
        prompt = json.dumps(body["messages"])
        asked.append(prompt)
        time.sleep(0.05)
        return chat_reply(f"so <answer>[[{'AB'[sha256(prompt.encode()).digest()[0] & 1]}]]</answer>")

    with chat_server(answer) as url:
        yield Judged(tmp_path, cluster.address, url, asked)


def pairs(path: Path, n: int, *poison: int) -> Path:
    with path.open("w") as file:
        for i in range(n):
            word = "POISON" if i in poison else "question"
            row = {"id": f"c{i}", "prompt": f"{word} {i}", "responses": [f"{i} good", f"{i} bad"], "gold": 0}
            file.write(json.dumps(row) + "\n")
    return path


def rows(folder: Path):
    with open_run(folder) as run:
        assert not run.damage
        return [
            (d.case_id, d.verdict, d.gold, [(j.query.key, j.completion.text) for j in d.judgments])
            for d in run.decisions()
        ]


def workers() -> list[int]:
    """The processes of the workers on this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and b"RayWorker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_a_killed_worker_costs_its_calls_in_flight(judged):
    process = judged.on_cluster()
    judged.until(process, 100)
    os.kill(workers()[0], signal.SIGKILL)
    judged.ended(process)
    assert judged.repeated() <= WIDTH
    judged.equal()


def test_a_lost_node_costs_its_calls_in_flight(judged, cluster):
    process = judged.on_cluster()
    judged.until(process, 100)
    lost = next(node for node in cluster.worker_nodes)
    cluster.remove_node(lost, allow_graceful=False)
    judged.ended(process)
    started(cluster)
    assert judged.repeated() <= IN_FLIGHT
    judged.equal()


def test_a_killed_driver_goes_on_where_it_stopped(judged):
    process = judged.on_cluster()
    judged.until(process, 150)
    process.kill()
    process.wait()
    process = judged.on_cluster()
    judged.ended(process)
    # Workers of the first command may have gone on for a moment, and their calls were on disk or in flight.
    assert judged.repeated() <= 2 * IN_FLIGHT
    judged.equal()


def test_an_interrupted_driver_goes_on_where_it_stopped(judged):
    process = judged.on_cluster()
    judged.until(process, 150)
    process.send_signal(signal.SIGINT)
    judged.ended(process, 130)
    process = judged.on_cluster()
    judged.ended(process)
    assert judged.repeated() <= 2 * IN_FLIGHT
    judged.equal()


def test_a_poison_case_is_given_up_and_the_rest_is_decided(cluster, tmp_path):
    source = pairs(tmp_path / "pairs.jsonl", 60, 17)
    words = ["judge", str(source), "-o", str(tmp_path / "run"), "-e", "scripted:<answer>[[A]]</answer>"]
    words += ["-p", "rubrics", "-d", "once", "--on", "ray", "--address", cluster.address, "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "jurist", *words], capture_output=True, text=True, check=True
    )
    with open_run(tmp_path / "run") as run:
        verdicts = {decision.case_id: decision.verdict for decision in run.decisions()}
        asked = Counter(judgment.query.case_id for judgment in run.judgments())
    assert len(verdicts) == 60, done.stderr
    assert verdicts["c17"].status == "failed"
    assert "3 workers in a row died while this case was in work" in verdicts["c17"].note
    assert all(verdict.scores for name, verdict in verdicts.items() if name != "c17")
    assert set(asked.values()) == {1}


def test_decisions_as_sharded_parquet(cluster, tmp_path):
    from pyarrow import parquet

    pairs(tmp_path / "pairs.jsonl", 30)
    script = f"""
        from jurist import JudgeConfig
        from jurist.scale import Cluster, judge_all
        config = JudgeConfig(engine="scripted:<answer>[[A]]</answer>", protocol="rubrics")
        for limit in (20, 30):
            card = judge_all(
                "file://{tmp_path}/pairs.jsonl", config, out="{tmp_path}/run", limit=limit,
                cluster=Cluster("ray", {cluster.address!r}, shards="file://{tmp_path}/shards"),
            )
            print(card)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    table = parquet.read_table(tmp_path / "shards")
    assert sorted(table.column("case_id").to_pylist()) == sorted(f"c{i}" for i in range(30))
    assert set(table.column("status").to_pylist()) == {"ok"}
    assert "60 ok" in done.stdout
