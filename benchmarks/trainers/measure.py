"""Rewards of groups through a trainer's own client: who got the right one, who none and why, and the time.

    python benchmarks/trainers/measure.py TRAINER [groups=32] [size=8] [processes=3] [missing=0.05]
        [restart=30] [longest=60] [judge=1.0] [--python PYTHON] [--source FOLDER]

TRAINER is one of ``CLIENTS``: its client_TRAINER.py runs in so many processes of PYTHON, which has the
trainer's packages (FOLDER is put on its path). Without ``--python`` an environment is made in
build/trainers/.

Replies are written for a lognormal time (median 3 s, sigma 1, 30 s at most); a share of ``missing`` is
never written. The server is judge_server.py: of two replies "answer N" the higher N wins, after ``judge``
seconds. Ten seconds after the start it is asked to stop (SIGTERM), and ``restart`` seconds after it has
ended another one starts at its address (0: none). Groups have ``longest`` seconds to become whole.

Right is a reward that is the share of weaker siblings, where the whole group came; where it did not, no
reward, with the reason. "silent" are numbers for groups that are not whole.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
CLIENTS: dict[str, tuple[str, ...]] = {
    "openrlhf": ("torch", "pylatexenc", "ray", "transformers", "--no-deps openrlhf==0.11.2"),
    "slime": ("torch", "httpx", "pylatexenc", "ray", "transformers", "pillow", "sympy"),
    "trl": ("trl==1.16.*", "torch"),
    "verl": ("verl==0.9.1", "tensordict==0.10.0"),
    "verifiers": ("verifiers==0.4.0",),
}
WHOLE = ("trl", "slime")
"""Trainers that pass whole groups: a reply that is never written is no row of theirs, so none is left out."""

ENDS = 10.0
"""Seconds after which the server is asked to stop."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One reply: in which process it is written, how strong it is, and for how long; None: never."""

    group: int
    sibling: int
    number: int
    process: int
    seconds: float | None


def planned(trainer: str, groups: int, size: int, processes: int, missing: float) -> list[Plan]:
    """The replies; where a trainer keeps a group in one process, so does this."""
    random = Random(0)
    replies: list[Plan] = []
    for group in range(groups):
        home = group % processes
        for sibling, number in enumerate(random.sample(range(1000), size)):
            seconds = min(30.0, 3 * random.lognormvariate(0, 1))
            lost = random.random() < missing and trainer not in WHOLE
            # verl deals the rows of a batch to its workers as it likes; TRL cuts the batch into slices.
            scattered = random.randrange(processes) if trainer == "verl" else home
            place = (group * size + sibling) * processes // (groups * size)
            process = place if trainer == "trl" else scattered
            replies.append(Plan(group, sibling, number, process, None if lost else seconds))
    return replies


class Server:
    """judge_server.py on one port, stopped and started again."""

    def __init__(self, options: dict[str, Any]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._options = [f"{name}={value}" for name, value in options.items()]
        self.cpu_seconds = 0.0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, str(HERE / "judge_server.py"), str(self.port), *self._options]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        line = next((line for line in self._process.stderr if "listening" in line), "")
        assert line, "the server did not start"

    def stop(self) -> None:
        """Ask it to stop, wait until it has ended, and add the CPU time that it took."""
        self._process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds += usage.ru_utime + usage.ru_stime


def environment(trainer: str) -> Path:
    """The interpreter of the trainer's environment, which is made where it is not there."""
    folder = Path("build/trainers") / trainer
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        root = str(HERE.parent.parent)
        for package in (root, *CLIENTS[trainer]):
            subprocess.run([python, "-m", "pip", "install", "-q", *package.split()], check=True)
    return python


def measure(trainer: str, python: Path, source: str, options: dict[str, float]) -> dict[str, Any]:
    """The figures of one run."""
    groups, size, processes = (int(options[name]) for name in ("groups", "size", "processes"))
    replies = planned(trainer, groups, size, processes, options["missing"])
    settings = {"seconds": options["judge"], "longest": options["longest"], "queue": 100_000, "drain": 120}
    server = Server(settings)
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    environ = {**os.environ, "PYTHONPATH": path}
    command = [str(python), str(HERE / f"client_{trainer}.py")]
    pipe = subprocess.PIPE
    clients = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ) for _ in range(processes)
    ]
    for client in clients:  # they import torch, ray and what not
        assert client.stdout
        assert any(line.startswith("ready") for line in client.stdout), f"{trainer}: a client does not start"
    start = time.time() + 1
    for process, client in enumerate(clients):
        own = [asdict(reply) for reply in replies if reply.process == process]
        work = {"url": f"http://127.0.0.1:{server.port}", "size": size, "start": start, "replies": own}
        work |= {"process": process, "processes": processes}
        assert client.stdin
        client.stdin.write(json.dumps(work) + "\n")
        client.stdin.close()
    if options["restart"]:
        time.sleep(max(0.0, start + ENDS - time.time()))
        server.stop()
        time.sleep(options["restart"])
        server.start()
    rows: list[dict[str, Any]] = []
    for client in clients:
        assert client.stdout
        rows += [json.loads(line) for line in client.stdout if line.startswith('{"group"')]
        assert client.wait() == 0, f"{trainer}: a client failed"
    seconds = time.time() - start
    server.stop()
    written = [reply for reply in replies if reply.seconds is not None]
    figures = checked(replies, rows) | {
        "seconds": round(seconds, 1),
        "last reply": round(max(reply.seconds or 0 for reply in written), 1),
        "server cpu ms a sample": round(1000 * server.cpu_seconds / len(written), 1),
    }
    return {"trainer": trainer, **options} | figures


def checked(replies: list[Plan], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of groups and samples by what became of them."""
    by_group: dict[int, list[Plan]] = {}
    for reply in replies:
        by_group.setdefault(reply.group, []).append(reply)
    answers = {(row["group"], row["sibling"]): row for row in rows}
    kinds, groups, reasons = Counter[str](), Counter[str](), Counter[str]()
    for group, siblings in by_group.items():
        written = [reply for reply in siblings if reply.seconds is not None]
        whole = len(written) == len(siblings)
        kinds_here = {_kind(reply, siblings, answers, whole=whole) for reply in written}
        for reply in written:
            kinds[_kind(reply, siblings, answers, whole=whole)] += 1
            row = answers.get((group, reply.sibling)) or {"error": "no row", "reward": None}
            if row["reward"] is None:
                reasons[str(row["error"])[:90]] += 1
        name = "whole" if whole else "not whole"
        groups[f"{name}, all {kinds_here.pop()}" if len(kinds_here) == 1 else f"{name}, mixed"] += 1
    return {"groups": dict(groups), "samples": dict(kinds), "reasons": dict(reasons.most_common(4))}


def _kind(reply: Plan, siblings: list[Plan], answers: dict[tuple[int, int], Any], *, whole: bool) -> str:
    row = answers.get((reply.group, reply.sibling))
    if row is None or row["reward"] is None:
        return "without" if whole else "refused"
    if not whole:
        return "silent"
    share = sum(other.number < reply.number for other in siblings) / (len(siblings) - 1)
    return "right" if abs(row["reward"] - share) < 1e-6 else "wrong"


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trainer", choices=sorted(CLIENTS))
    parser.add_argument("--python", type=Path)
    parser.add_argument("--source", default="")
    parser.add_argument("options", nargs="*")
    asked = parser.parse_intermixed_args()
    options = {"groups": 32.0, "size": 8.0, "processes": 3.0, "missing": 0.05, "restart": 30.0}
    options |= {"longest": 60.0, "judge": 1.0}
    options |= {name: float(value) for name, _, value in (text.partition("=") for text in asked.options)}
    python = asked.python or environment(asked.trainer)
    print(json.dumps(measure(asked.trainer, python, asked.source, options)), flush=True)


if __name__ == "__main__":
    main()
