"""A scripted server of chat completions: each path answers what a test told it to, and keeps who asked."""

import asyncio
import socket
import struct
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web


@dataclass(slots=True)
class Reply:
    """One answer. ``body`` goes out as JSON unless it is bytes; ``delay`` in seconds.

    ``cut``: only so many bytes are sent before the connection closes. ``reset``: it is reset at once.
    """

    body: Any = field(default_factory=dict[str, Any])
    status: int = 200
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay: float = 0.0
    cut: int | None = None
    reset: bool = False

    def data(self) -> bytes:
        """The body as sent."""
        return self.body if isinstance(self.body, bytes) else msgspec.json.encode(self.body)


@dataclass(slots=True)
class Seen:
    """One request that came in; ``at`` is the loop's clock."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    at: float
    query: str = ""


Answer = Reply | Callable[[Any], Reply]


class StubServer:
    """Answers from a queue per path; the last answer of a queue stays. Other paths are 404, as FastAPI's."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Seen] = []
        self.in_flight = 0
        self.most = 0
        self.busy = asyncio.Event()
        """Set by the first request."""
        self.dropped = 0
        """Requests whose client went away before the answer."""
        self._replies: defaultdict[str, deque[Answer]] = defaultdict(deque)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def say(self, path: str, *answers: Answer) -> None:
        """Answer the next requests for ``path`` so; an answer may be a function of the request's body."""
        self._replies[path] = deque(answers)

    def asked(self, path: str) -> list[Seen]:
        """The requests for a path, in the order in which they came."""
        return [r for r in self.requests if r.path == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        body = msgspec.json.decode(data) if data else None
        now = asyncio.get_running_loop().time()
        self.requests.append(
            Seen(request.method, request.path, request.headers, body, now, request.query_string)
        )
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        self.busy.set()
        try:
            return await self._answer(request, self._next(request.path, body))
        except asyncio.CancelledError:
            self.dropped += 1
            raise
        finally:
            self.in_flight -= 1

    def _next(self, path: str, body: Any) -> Reply:
        queue = self._replies[path]
        if not queue:
            return Reply({"detail": "Not Found"}, status=404)
        answer = queue.popleft() if len(queue) > 1 else queue[0]
        return answer if isinstance(answer, Reply) else answer(body)

    async def _answer(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        await asyncio.sleep(reply.delay)
        transport = request.transport
        if transport is None or reply.reset:
            _reset(transport)
            return web.Response()
        if reply.cut is None:
            headers = {"Content-Type": reply.kind, **reply.headers}
            return web.Response(body=reply.data(), status=reply.status, headers=headers)
        response = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.kind})
        response.content_length = len(reply.data())
        await response.prepare(request)
        await response.write(reply.data()[: reply.cut])
        transport.close()
        return response


@asynccontextmanager
async def stub_server() -> AsyncIterator[StubServer]:
    """A stub on a free port of 127.0.0.1 for as long as the block lasts."""
    stub = StubServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stub.port = runner.addresses[0][1]
    try:
        yield stub
    finally:
        await runner.cleanup()


def chat(text: str | None = "ok", finish: str | None = "stop", **message: Any) -> Reply:
    """A chat completion with one choice: 7 tokens read, 3 written."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
    }
    return Reply({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})


def message(content: Any, finish: Any = "stop", **fields: Any) -> Reply:
    """A chat completion whose message has these fields, and nothing else."""
    return Reply({"choices": [{"message": {"content": content, **fields}, "finish_reason": finish}]})


def problem(status: int, message: str, **more: Any) -> Reply:
    """An error as OpenAI's interface words it."""
    return Reply({"error": {"message": message, **more}}, status=status)


def models(*names: str, owned_by: str = "someone") -> Reply:
    """A list of models."""
    return Reply({"object": "list", "data": [{"id": n, "owned_by": owned_by} for n in names]})


def html(status: int = 200) -> Reply:
    """A page for people."""
    page = b"<!DOCTYPE html><html><body><h1>Welcome</h1></body></html>"
    return Reply(page, status=status, kind="text/html")


def _reset(transport: asyncio.BaseTransport | None) -> None:
    if isinstance(transport, asyncio.Transport):
        # Without lingering, closing sends a reset.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
