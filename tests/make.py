"""Small cases, engines and texts that tests share."""

import asyncio
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest import mock

from jurist.core.types import Case, Completion, Decision, Deliberation, Message, Query, Usage
from jurist.engines.scripted import ScriptedEngine
from jurist.judging.judge import Judge

A_WINS = "<answer>[[A]]</answer>"
B_WINS = "<answer>[[B]]</answer>"


def case(name: str = "1", *responses: str, gold: tuple[float, ...] | None = (1.0, 0.0)) -> Case:
    """A case whose responses are 'good' and 'bad', unless named."""
    return Case(name, (Message("user", f"question {name}"),), responses or ("good", "bad"), gold=gold)


def prefers(word: str) -> ScriptedEngine:
    """An engine whose verdict names the slot in which ``word`` is shown."""

    def script(query: Query) -> Completion:
        text = query.messages[-1].content
        first = 0 <= text.find(word) < text.find("[End of reply A]")
        return Completion(A_WINS if first else B_WINS, usage=Usage(10, 5))

    return ScriptedEngine(script)


def decide(judge: Judge, deliberation: Deliberation, which: Case) -> Decision:
    """The decision of a judge about a case."""
    return asyncio.run(deliberation(judge.ask, which))


def write_pairs(path: Path, n: int) -> Path:
    """A JSONL file of n pairs, the first response right."""
    rows = [
        {"id": str(i), "prompt": f"question {i}", "responses": ["good", "bad"], "gold": 0} for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def jurist(
    *words: object, stdin: str | None = None, code: int = 0, width: int = 160
) -> CompletedProcess[str]:
    """Run a command in this process; its exit code must be ``code``."""
    from jurist.cli import console
    from jurist.cli.main import run

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO((stdin or "").encode()), "utf-8")
    with (
        mock.patch.object(console.out, "_width", width),
        mock.patch.object(console.err, "_width", width),
        mock.patch.object(sys, "stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        ended = run([*map(str, words)])
    text, errors = (stream.buffer.getvalue().decode() for stream in (out, err))  # pyright: ignore
    assert ended == code, errors
    return CompletedProcess([*map(str, words)], ended, text, errors)


@contextmanager
def chat_server(answer: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]) -> Iterator[str]:
    """The address of a server in a thread; ``answer`` gives status and body of a chat. Its model is m."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/v1/models"
            self._send(200 if found else 404, {"data": [{"id": "m"}]} if found else {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*answer(body) if self.path == "/v1/chat/completions" else (404, {}))

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def chat_reply(text: str) -> tuple[int, dict[str, Any]]:
    """Status and body of a chat completion that says ``text``."""
    return 200, {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }
