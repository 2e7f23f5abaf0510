"""Groups over HTTP whose samples come one by one: everyone is answered once, and by their own group.

    python benchmarks/cohorts.py [GROUPS] [PROCESSES] [SECONDS] [WAIT]

A `jurist serve` process, a judge that answers at once (an OpenAI-compatible stub in a process of its own)
and client processes. Groups of 8 begin at random times within SECONDS; siblings follow within a fifth of
WAIT, in random order, from random processes. One sample in twenty is never sent; of one in twenty the
connection is dropped after the request was written, and the request is sent again. Half of the samples
have keys of their own.

The judge prefers the stronger of two responses and repeats their names, so that in a round robin a reward
is the share of weaker siblings, exactly, and a trace names whom the judge saw. Checked: one answer for
each sample that was sent, its reward, its number of siblings, the names in its trace; and in the server's
own counts as many samples, groups and partial groups as there were, none late, none left waiting.
"""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from statistics import quantiles
from typing import Any

import aiohttp
from aiohttp import web

SIZE, LOST, DROPPED = 8, 0.05, 0.05
NAME = re.compile(r"g(\d+)\.(\d+) w(\d+)")
AGAIN = 0.5, 1.0
"""Seconds after which a dropped request comes again. Without a key it is known by the loss of its connection,
which a server whose loop is busy notices late; trainers wait a second."""

SPREAD = 0.2
"""Siblings come within this share of the time after which a group is judged without the missing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample to be sent: when (seconds after the start), from which process, how strong it is.

    ``held``: the first connection is dropped so long after the request was written; ``again``: seconds
    from then until it is sent again. None: it is sent once.
    """

    group: int
    sibling: int
    strength: int
    process: int
    at: float
    keyed: bool
    held: float | None = None
    again: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; latencies in seconds after the last sibling, of samples in complete groups."""

    groups: int
    sent: int
    lost: int
    dropped: int
    retries: int
    partial: int
    traces: int
    seconds: float
    median: float
    tail: float
    partial_median: float
    partial_tail: float


def plan(groups: int, processes: int, seconds: float, wait: float, seed: int = 0) -> list[Sample]:
    """What is sent; who is lost is left out."""
    random = Random(seed)
    samples: list[Sample] = []
    for group in range(groups):
        begin = random.uniform(0, seconds)
        for sibling, strength in enumerate(random.sample(range(100), SIZE)):
            if random.random() < LOST:
                continue
            at, keyed = begin + random.uniform(0, SPREAD * wait), random.random() < 0.5
            sample = Sample(group, sibling, strength, random.randrange(processes), at, keyed)
            if random.random() < DROPPED:
                # An answer that was sent already is lost for good without a key, so those drop at once.
                held, again = random.uniform(0, 0.2) if keyed else 0.0, random.uniform(*AGAIN)
                sample = Sample(group, sibling, strength, sample.process, at, keyed, held, again)
            samples.append(sample)
    return samples


# --- the processes --------------------------------------------------------------------------------


def stub() -> None:
    """The judge: prints its port, then answers until it is killed."""

    async def chat(request: web.Request) -> web.Response:
        text = (await request.json())["messages"][-1]["content"]
        (a, i, v), (b, j, w) = NAME.findall(text)
        said = f"g{a}.{i} against g{b}.{j} <answer>[[{'A' if int(v) > int(w) else 'B'}]]</answer>"
        message = {"role": "assistant", "content": said}
        return web.json_response({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]})

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "stub"}]})

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        app.router.add_get("/v1/models", models)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def client() -> None:
    """One client process: reads its samples, sends each in its time, prints what came back."""
    print("ready", flush=True)
    told = json.loads(sys.stdin.readline())
    samples = [Sample(**fields) for fields in told["samples"]]

    async def main() -> list[dict[str, Any]]:
        limits = aiohttp.ClientTimeout(total=told["patience"])
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=limits, connector=connector) as session:
            return await asyncio.gather(*[_sent(session, told["url"], told["start"], s) for s in samples])

    print(json.dumps(asyncio.run(main())), flush=True)


async def _sent(session: aiohttp.ClientSession, url: str, start: float, sample: Sample) -> dict[str, Any]:
    """One sample with its answer; a dropped one is sent twice."""
    body = json.dumps(_body(sample)).encode()
    await asyncio.sleep(max(0.0, start + sample.at - time.time()))
    first = time.time()
    if sample.held is not None:
        await _dropped(url, body, sample.held)
        await asyncio.sleep(sample.again)
    last = time.time()
    async with session.post(f"{url}/score", data=body) as reply:
        answer = await reply.json()
    return {
        "group": sample.group,
        "sibling": sample.sibling,
        "first": first,
        "last": last,
        "answered": time.time(),
        "answer": answer,
    }


def _body(sample: Sample) -> dict[str, Any]:
    key = {"key": str(sample.sibling)} if sample.keyed else {}
    response = f"g{sample.group}.{sample.sibling} w{sample.strength}"
    return {"prompt": f"question {sample.group}", "response": response, "trace": True, **key}


async def _dropped(url: str, body: bytes, held: float) -> None:
    """The request, whole, on a connection that is reset."""
    host, _, port = url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /score HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    await asyncio.sleep(held)
    writer.transport.abort()


@contextmanager
def running(*command: str, stderr: bool = False) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A process and its first line that tells something."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=pipe,
        stdout=None if stderr else pipe,
        stderr=pipe if stderr else None,
        text=True,
    )
    out = process.stderr if stderr else process.stdout
    assert out
    try:
        line = next((line for line in out if not stderr or "listening on" in line), "")
        yield process, line
    finally:
        process.terminate()
        process.wait(30)


# --- the measurement ------------------------------------------------------------------------------


def measure(groups: int, processes: int, seconds: float, wait: float, paused: float = 0.0) -> Figures:
    """All of it; raises ``AssertionError`` where a sample was not answered as it must be.

    ``paused``: seconds for which the server is stopped, one second after the start; what it missed waits in
    its sockets.
    """
    samples = plan(groups, processes, seconds, wait)
    with ExitStack() as stack:
        _, port = stack.enter_context(running(__file__, "stub"))
        serve = [
            "-m",
            "jurist",
            "serve",
            "--engine",
            f"http://127.0.0.1:{port.strip()}/v1",
            "--model",
            "stub",
        ]
        serve += ["--protocol", "rubrics", "--deliberation", "swapped | round_robin(given)", "--port", "0"]
        serve += ["--group-size", str(SIZE), "--partial", "judge", "--wait", str(wait), "--queue", "100000"]
        server, line = stack.enter_context(running(*serve, stderr=True))
        url = line.partition("listening on ")[2].split(";")[0]
        clients = [stack.enter_context(running(__file__, "client"))[0] for _ in range(processes)]
        began = time.time() + 0.5
        for number, process in enumerate(clients):
            own = [
                {name: getattr(s, name) for name in Sample.__slots__} for s in samples if s.process == number
            ]
            patience = seconds + 10 * wait + 60
            told = {"url": url, "start": began, "patience": patience, "samples": own}
            assert process.stdin
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()
        if paused:
            time.sleep(max(0.0, began + 1 - time.time()))
            server.send_signal(signal.SIGSTOP)
            time.sleep(paused)
            server.send_signal(signal.SIGCONT)
        rows = [row for process in clients for row in json.loads(process.communicate(timeout=600)[0])]
        whole = time.time() - began
        counts = json.load(urllib.request.urlopen(f"{url}/healthz"))["groups"]
    return checked(samples, rows, counts, whole, groups)


def checked(
    samples: Sequence[Sample], rows: Sequence[dict[str, Any]], counts: dict[str, int], seconds: float, n: int
) -> Figures:
    """The figures, once every answer is found to be right."""
    groups: dict[int, dict[int, Sample]] = defaultdict(dict)
    for sample in samples:
        groups[sample.group][sample.sibling] = sample
    answered = sorted((row["group"], row["sibling"]) for row in rows)
    assert answered == sorted((s.group, s.sibling) for s in samples), "one answer for each that was sent"
    for row in rows:
        _check(groups[row["group"]], row)
    got = {name: counts.get(name, 0) for name in ("samples", "judged", "partial", "failed", "late")}
    partial = sum(len(siblings) < SIZE for siblings in groups.values())
    wanted = {"samples": len(samples), "judged": len(groups), "partial": partial, "failed": 0, "late": 0}
    assert got == wanted, f"the server counted {got}, there were {wanted}"
    assert not any(counts.get(name, 0) for name in ("open", "judging", "waiting")), counts
    sent: dict[int, float] = defaultdict(float)
    for row in rows:
        sent[row["group"]] = max(sent[row["group"]], row["first"])
    late: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        complete = len(groups[row["group"]]) == SIZE
        late[complete].append(row["answered"] - max(sent[row["group"]], row["last"]))
    dropped = sum(s.held is not None for s in samples)
    lost = n * SIZE - len(samples)
    names = sum(len(row["answer"]["trace"]) for row in rows)
    tails = [share for whole in (True, False) for share in _shares(late[whole])]
    return Figures(
        len(groups), len(samples), lost, dropped, counts.get("retries", 0), partial, names, seconds, *tails
    )


def _check(siblings: dict[int, Sample], row: dict[str, Any]) -> None:
    """One answer: the reward of this sample, among its own siblings."""
    own, answer = siblings[row["sibling"]], row["answer"]
    n = len(siblings)
    assert (answer["status"], answer["siblings"]) == ("ok" if n > 1 else "refused", n), answer
    if n > 1:
        weaker = sum(s.strength < own.strength for s in siblings.values())
        assert abs(answer["reward"] - weaker / (n - 1)) < 1e-9, (own, answer)
    assert len(answer["trace"]) == n - 1, answer
    met: set[int] = set()
    for trace in answer["trace"]:
        names = re.findall(r"g(\d+)\.(\d+)", trace["text"])
        assert {int(group) for group, _ in names} == {own.group}, (own, trace)
        assert answer["index"] in trace["order"], (own, trace)
        met |= {int(sibling) for _, sibling in names}
    assert met == (set(siblings) if n > 1 else set()), (own, met)


def _shares(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    if len(seconds) < 2:
        return (seconds[0], seconds[0]) if seconds else (0.0, 0.0)
    cuts = quantiles(seconds, n=100)
    return cuts[49], min(cuts[98], max(seconds))


def main(groups: float = 1000, processes: float = 16, seconds: float = 60, wait: float = 5) -> None:
    """Measure and print."""
    f = measure(int(groups), int(processes), seconds, wait)
    tail = f"median {1000 * f.median:.0f} ms, p99 {1000 * f.tail:.0f} ms"
    print(f"{f.groups} groups of {SIZE}, {f.sent} samples sent and answered once, in {f.seconds:.1f} s")
    print(f"{f.lost} never sent ({f.partial} groups), {f.dropped} dropped, {f.retries} known again")
    print(f"{f.traces} traces name their own group alone; every reward is the one of its sample")
    print(f"complete groups, after the last sibling: {tail}")
    print(f"others (wait {wait:g} s): median {f.partial_median:.2f} s, p99 {f.partial_tail:.2f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["stub"]:
        stub()
    elif sys.argv[1:2] == ["client"]:
        client()
    else:
        main(*map(float, sys.argv[1:]))
