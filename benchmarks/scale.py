"""Runs on a Ray cluster against runs in one process: lost nodes, interruptions, speed, cost of a judgment.

    python benchmarks/scale.py cluster [--cases 100000] [--folder DIR]
    python benchmarks/scale.py speed [--cases 2000] [--seconds 0.5]
    python benchmarks/scale.py overhead [--cases 10000]

The judge is benchmarks/scale_stub.py, whose verdicts are a function of the request. ``cluster``: three nodes
of one CPU on this machine; at a third of the cases one is killed, at two thirds the command is interrupted
and run again; then what it decided is compared with an undisturbed run's, judgment by judgment.
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
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

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
            spent = time.monotonic() - started
            print(f"{spent:6.0f} s: interrupted (exit {code}) at {decided(disturbed):,}")
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
    """The same cases in one process and by two workers; a call takes ``seconds``, each has 32 in flight."""
    import ray

    source = cases(folder / "cases.jsonl", count)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    on = ["--on", "ray", "--address", ray.get_runtime_context().gcs_address, "--workers", "2"]
    wide = ["--concurrency", "32", "-d", "once"]
    with stub(port, seconds) as url:
        here = pace(judging(source, folder / "here", url, *wide), folder / "here", count)
        there = pace(judging(source, folder / "ray", url, *wide, *on), folder / "ray", count)
    ray.shutdown()
    same(folder / "here", folder / "ray")
    print(f"one process: {here.rate:.1f} judgments/s, {here.seconds:.1f} s with its start")
    print(f"two workers: {there.rate:.1f} judgments/s, {there.seconds:.1f} s with theirs")
    print(f"{there.rate / here.rate:.2f} times; whole commands {here.seconds / there.seconds:.2f} times")


def overhead(folder: Path, count: int, port: int) -> None:
    """Processor time of a judgment whose answer comes at once: the slope between two numbers of cases."""
    import ray

    sizes = (count // 5, count)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    on = ["--on", "ray", "--address", ray.get_runtime_context().gcs_address, "--workers", "2"]
    paid: dict[str, list[float]] = {"here": [], "command": [], "workers": []}
    with stub(port) as url:
        for size in sizes:
            source = cases(folder / f"cases-{size}.jsonl", size)
            run = judging(source, folder / f"here-{size}", url, "-d", "once")
            paid["here"].append(processor(run)[0])
            run = judging(source, folder / f"ray-{size}", url, "-d", "once", *on)
            command, workers = processor(run)
            paid["command"].append(command)
            paid["workers"].append(workers)
    ray.shutdown()
    slope = {name: 1e3 * (b - a) / (sizes[1] - sizes[0]) for name, (a, b) in paid.items()}
    print(f"one process: {slope['here']:.3f} ms of processor a judgment")
    print(f"on Ray: {slope['workers']:.3f} ms in the workers, {slope['command']:.3f} ms in the command")
    print(f"more by {slope['workers'] + slope['command'] - slope['here']:.3f} ms a judgment")


class Pace(NamedTuple):
    """Judgments a second between a tenth and nine tenths of the cases; seconds of the whole command."""

    rate: float
    seconds: float


def pace(run: "subprocess.Popen[bytes]", out: Path, count: int) -> Pace:
    """Watch a run from outside until it ends."""
    started, seen = time.monotonic(), dict[float, tuple[float, int]]()
    while run.poll() is None:
        n = decided(out)
        for share in (0.1, 0.9):
            if n >= share * count:
                seen.setdefault(share, (time.monotonic(), n))
        time.sleep(0.1)
    if run.returncode or len(seen) < 2:
        raise SystemExit(f"the command ended with {run.returncode}: see {out.with_suffix('.log')}")
    (begun, few), (ended, many) = seen[0.1], seen[0.9]
    return Pace((many - few) / (ended - begun), time.monotonic() - started)


def processor(run: "subprocess.Popen[bytes]") -> tuple[float, float]:
    """Processor seconds of a command and of the workers that it has on this machine."""
    workers: dict[int, float] = {}
    while True:
        pid, status, usage = os.wait4(run.pid, os.WNOHANG)
        if pid:
            run.returncode = os.waitstatus_to_exitcode(status)
            break
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError, IndexError):
                if entry.name.isdigit() and b"RayWorker" in (entry / "cmdline").read_bytes():
                    ticks = (entry / "stat").read_text().rpartition(")")[2].split()
                    workers[int(entry.name)] = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
        time.sleep(0.1)
    assert run.returncode == 0, "the command failed"
    return usage.ru_utime + usage.ru_stime, sum(workers.values())


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


if __name__ == "__main__":
    main()
