"""The door: who may come in, how much, and how many at once."""

from hmac import compare_digest
from time import monotonic

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jurist.serving.errors import Refusal, json_reply
from jurist.serving.service import Service

OPEN = "/healthz"
SKIPPED = 8
"""So many times its limit is read of a body that is too large, so that its sender hears why."""


class Guard:
    """Stands before the app: token, draining, queue; counts every reply by its route."""

    def __init__(
        self, app: ASGIApp, service: Service, judging: frozenset[str], known: frozenset[str]
    ) -> None:
        self._app, self._service, self._judging, self._known = app, service, judging, known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        started, status = monotonic(), 500

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = self._refusal(path, Request(scope))
            if refusal:
                await json_reply(refusal.body, refusal.status, refusal.headers)(scope, receive, counting)
            elif path in self._judging:
                await self._counted(scope, receive, counting)
            else:
                await self._app(scope, receive, counting)
        finally:
            self._service.metrics.request(path if path in self._known else "other", status, started)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._service.active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._service.active -= 1

    def _refusal(self, path: str, request: Request) -> Refusal | None:
        service = self._service
        if path == OPEN:
            return None
        if token := service.settings.token:
            given = request.headers.get("authorization", "").encode("latin-1")
            if not compare_digest(given, f"Bearer {token}".encode()):
                return Refusal(401, "wrong or no token", "send the header Authorization: Bearer TOKEN")
        elif "origin" in request.headers:
            return Refusal(403, "requests of web pages need a token", "start the server with a token")
        if path not in self._judging:
            return None
        if service.draining:
            return Refusal(503, "the server is draining", "try another server, or later", retry=5)
        if service.active >= service.settings.queue:
            return Refusal(429, f"{service.active} requests are waiting", "try again later", retry=5)
        return None


async def body_of(request: Request, limit: int) -> bytes:
    """The body; raises ``Refusal`` 413 where it has more than ``limit`` bytes."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
        if size > SKIPPED * limit:
            break
    if size > limit:
        raise Refusal(
            413, f"the body has more than {limit:,} bytes", "the server's --max-body sets the limit"
        )
    return b"".join(parts)


def no_route(path: str, known: frozenset[str]) -> Response:
    """The reply for a path that does not exist."""
    refusal = Refusal(404, f"no route {path}", f"there are {', '.join(sorted(known))}")
    return json_reply(refusal.body, 404, {})
