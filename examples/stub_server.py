"""A stand-in for a server of RM-R1, to try commands without a GPU: `python examples/stub_server.py [PORT]`.

It speaks OpenAI's chat completions on port 8000, under the model's name, and writes judgments of RM-R1's form
whose verdict is drawn from a hash of the prompt. So every number that comes of it means nothing.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zlib import crc32

MODEL = "gaotang/RM-R1-Qwen2.5-Instruct-7B"
JUDGMENT = """\
<type>Chat</type>
<rubric>1. Correctness (70%): it is right. 2. Clarity (30%): it is easy to read.</rubric>
<justify>What is asked has a right answer.</justify>
<eval>This stand-in reads nothing: its verdict is a draw.</eval>
<answer>[[{}]]</answer>"""


class Stub(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """The list of models."""
        found = self.path == "/v1/models"
        self.reply(200 if found else 404, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        """A completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.reply(404, {"error": {"message": f"no {self.path} here"}})
            return
        choices: list[dict[str, Any]] = []
        for i in range(body.get("n") or 1):
            seed = json.dumps([body["messages"], body.get("seed"), i])
            text = JUDGMENT.format("AB"[crc32(seed.encode()) % 2])
            message = {"role": "assistant", "content": text}
            choices.append({"index": i, "message": message, "finish_reason": "stop"})
        words = sum(len(message["content"].split()) for message in body["messages"])
        usage = {"prompt_tokens": words, "completion_tokens": 60 * len(choices)}
        self.reply(200, {"object": "chat.completion", "model": MODEL, "choices": choices, "usage": usage})

    def reply(self, status: int, body: dict[str, Any]) -> None:
        """Send JSON."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Stub)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()
