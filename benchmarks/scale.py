"""Runs on a Ray cluster against runs in one process: a lost node, an interruption, speed, cost of a judgment.

    python benchmarks/scale.py cluster [--cases 100000] [--folder DIR]
    python benchmarks/scale.py speed [--cases 2000] [--seconds 0.5]
    python benchmarks/scale.py overhead [--cases 10000]

The judge is benchmarks/scale_stub.py, whose verdicts are a function of the request. ``cluster``: three nodes of
one CPU on this machine; at a third of the cases one is killed, at two thirds the command is interrupted and
run again; then what it decided is compared with an undisturbed run's, judgment by judgment.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

from jurist.core.runs import open_run

HERE = Path(__file__).parent
WORDS = (
    "one answer names the rule and shows how it follows while the other repeats the question in other words"
)
JUDGE = ["-m", "stub", "-p", "rubrics"]


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cluster", "speed", "overhead"])
    parser.add_argument("--cases", type=int)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--port", type=int, default=8970)
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.what == "cluster":
            cluster(folder, options.cases or 100_000, options.port)
        elif options.what == "speed":
            speed(folder, options.cases or 2000, options.port, options.seconds)
        else:
            overhead(folder, options.cases or 10_000, options.port)


def cluster(folder: Path, count: int, port: int) -> None:
    """Three nodes; one is lost, the command is interrupted and goes on."""
    from ray.cluster_utils import Cluster

    source = cases(folder / "cases.jsonl", count)
    disturbed, still = folder / "disturbed", folder / "still"
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    more = [nodes.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(2)]
    on = ["--on", "ray", "--address", nodes.address, "--workers", "3", "-d", "once"]
    try:
        with stub(port) as url:
            started = time.monotonic()
            run = judging(source, disturbed, url, *on)
            until(run, disturbed, count // 3)
            nodes.remove_node(more[0], allow_graceful=False)
            print(
                f"{time.monotonic() - started:6.0f} s: a node was killed at {decided(disturbed):,}",
                flush=True,
            )
            until(run, disturbed, 2 * count // 3)
            run.send_signal(signal.SIGINT)
            code = run.wait(180)
            print(f"{time.monotonic() - started:6.0f} s: interrupted (exit {code}) at {decided(disturbed):,}")
            again = judging(source, disturbed, url, *on)
            assert again.wait(3600) == 0, "the second command failed"
            asked = json.loads(urllib.request.urlopen(f"{url[:-3]}/asked").read())
            print(
                f"{time.monotonic() - started:6.0f} s: done; requests {asked['asked']:,}, repeated "
                f"{asked['repeated']:,}",
                flush=True,
            )
        with stub(port + 1) as url:
            started = time.monotonic()
            assert judging(source, still, url, "-d", "once").wait(3600) == 0
            print(f"{time.monotonic() - started:6.0f} s: undisturbed, in one process", flush=True)
    finally:
        nodes.shutdown()
    same(disturbed, still)
    for path in (disturbed, still):
        size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        print(f"{path.name}: {size / count:,.0f} bytes a judgment")


def speed(folder: Path, count: int, port: int, seconds: float) -> None:
    """The same cases in one process and by two workers; a call takes ``seconds``, 32 are in flight in each."""
    import ray

    source = cases(folder / "cases.jsonl", count)
    with stub(port, seconds) as url:
        wide = ["--concurrency", "32", "-d", "once"]
        started = time.monotonic()
        assert judging(source, folder / "here", url, *wide).wait(3600) == 0
        here = time.monotonic() - started
        ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        address = ray.get_runtime_context().gcs_address
        started = time.monotonic()
        on = ["--on", "ray", "--address", address, "--workers", "2"]
        assert judging(source, folder / "ray", url, *wide, *on).wait(3600) == 0
        there = time.monotonic() - started
        first, last = span(folder / "ray")
        ray.shutdown()
    same(folder / "here", folder / "ray")
    begun, ended = span(folder / "here")
    print(f"one process: {here:.1f} s, of which judging {ended - begun:.1f} s")
    print(f"two workers: {there:.1f} s, of which judging {last - first:.1f} s")
    print(f"whole command {here / there:.2f} times, judging {(ended - begun) / (last - first):.2f} times")


def overhead(folder: Path, count: int, port: int) -> None:
    """CPU of a judgment by a server that answers at once: what a run on Ray adds to one in one process."""
    raise SystemExit(f"see tests: {folder} {count} {port}")


def cases(path: Path, count: int) -> Path:
    """Pairs of about 600 characters, with gold."""
    with path.open("w") as file:
        for i in range(count):
            pair = [f"{WORDS} {i * 7919 % 1000}. {WORDS}", f"{WORDS} {i * 104729 % 1000}. {WORDS}"]
            row = {"id": f"c{i}", "prompt": f"question {i}: {WORDS}?", "responses": pair, "gold": i % 2}
            file.write(json.dumps(row) + "\n")
    return path


@contextmanager
def stub(port: int, seconds: float = 0.0) -> Iterator[str]:
    """The scripted server, as long as the block lasts."""
    process = subprocess.Popen([sys.executable, str(HERE / "scale_stub.py"), str(port), str(seconds)])
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/asked").read()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def judging(source: Path, out: Path, url: str, *more: str) -> "subprocess.Popen[bytes]":
    """`jurist judge` in a process of its own; what it says goes to a file beside the run."""
    command = [sys.executable, "-m", "jurist", "judge", str(source), "-o", str(out), "-e", url, *JUDGE, *more]
    log = out.with_suffix(".log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "NO_COLOR": "1"})


def decided(out: Path) -> int:
    """Decisions in the run folder and in its parts."""
    files = [out / "decisions.jsonl", *out.glob("parts/*/decisions.jsonl")]
    total = 0
    for file in files:
        try:
            with file.open("rb") as lines:
                total += sum(block.count(b"\n") for block in iter(lambda: lines.read(1 << 20), b""))
        except OSError:
            continue
    return total


def until(run: "subprocess.Popen[bytes]", out: Path, count: int) -> None:
    """Wait until so many are decided."""
    while decided(out) < count:
        if run.poll() is not None:
            raise SystemExit(f"the command ended with {run.returncode}: see {out.with_suffix('.log')}")
        time.sleep(2)


def same(one: Path, other: Path) -> None:
    """Compare two runs: every case, verdict, key and text, in order."""
    count = 0
    with open_run(one) as first, open_run(other) as second:
        for a, b in zip_longest(first.decisions(), second.decisions()):
            count += 1
            told = [
                d
                and (
                    d.case_id,
                    d.verdict,
                    d.gold,
                    d.agreement,
                    d.meta,
                    [(j.query.key, j.completion.text, j.verdict) for j in d.judgments],
                )
                for d in (a, b)
            ]
            if told[0] != told[1]:
                raise SystemExit(f"they differ: {told}")
    print(f"equal: {count:,} decisions with their judgments")


def span(out: Path) -> tuple[float, float]:
    """When the first and the last judgment were written, as the files of a run tell."""
    raise NotImplementedError


if __name__ == "__main__":
    main()
