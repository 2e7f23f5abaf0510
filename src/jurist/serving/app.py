"""The application: a plain ASGI callable that admits a request, reads its body, answers it and counts it.

No framework stands between the server and the routes: bodies are decoded by msgspec into one struct a route,
and all that is left is a table of paths (docs/dependencies.md has the comparison).
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterable, Sequence
from hmac import compare_digest
from time import monotonic
from typing import Any

import msgspec

from jurist.serving import (
    routes_best_of_n,
    routes_decisions,
    routes_gym,
    routes_native,
    routes_pooling,
    routes_rerank,
    routes_trainers,
)
from jurist.serving.errors import HTTPError, decoded, http_error
from jurist.serving.metrics import TYPE as METRICS_TYPE
from jurist.serving.openapi import document, documentation
from jurist.serving.retries import Caller
from jurist.serving.route import JSON, EventStream, Page, Receive, Route, Scope, Send
from jurist.serving.service import Service

ROUTES: tuple[Route[Any], ...] = (
    *routes_native.ROUTES,
    *routes_best_of_n.ROUTES,
    *routes_trainers.ROUTES,
    *routes_rerank.ROUTES,
    *routes_gym.ROUTES,
    *routes_pooling.ROUTES,
    *routes_decisions.ROUTES,
)
OPEN = "/healthz"
"""The one path that needs no token."""

SKIPPED = 8
"""So many times its limit is read of a body that is too large, so that its sender is told why."""

_ROLLOUT = re.compile(r"/ng-rollout/[A-Za-z0-9][A-Za-z0-9._-]*(/.*)\Z")
"""The prefix that NeMo Gym puts before any path of a resources server (nemo_gym/rollout_correlation.py)."""

_EVENT_HEADERS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
_LOG = logging.getLogger("jurist.serving")
_ACCESS = logging.getLogger("jurist.serving.access")

Headers = Iterable[tuple[bytes, bytes]]


class Health(msgspec.Struct, frozen=True):
    """ "ok" or "draining", and the state of the cohorts."""

    status: str
    groups: Any


class ClientLeft(Exception):
    """The connection was lost while the body was read."""


class App:
    """The ASGI application of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._token = f"Bearer {service.settings.token}".encode() if service.settings.token else None
        self._routes: dict[str, list[Route[Any]]] = {}
        for route in ROUTES:
            self._routes.setdefault(route.path, []).append(route)
        pages = [*_pages(), *routes_gym.PAGES, *routes_pooling.PAGES]
        openapi = msgspec.json.encode(document(ROUTES, pages, token=bool(self._token)))
        docs = documentation(ROUTES, pages).encode()
        pages.append(Page("/openapi.json", "this document", lambda _: (200, openapi)))
        pages.append(
            Page("/docs", "the routes, for reading", lambda _: (200, docs), "text/html; charset=utf-8")
        )
        self._pages = {page.path: page for page in pages}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = m[1] if (m := _ROLLOUT.match(scope["path"])) else scope["path"]
        reply = _Reply(send, head=scope["method"] == "HEAD")
        started = monotonic()
        try:
            self._admit(path, scope)
            if path in self._pages:
                status, content = self._pages[path].content(self._service)
                await reply.send(status, content, kind=self._pages[path].media_type)
            else:
                await self._answer(self._routes[path], scope, receive, reply)
        except ClientLeft:
            reply.status = 499
        except Exception as error:
            refusal = http_error(error)
            if refusal.status == 500:
                _LOG.exception("a request failed")
            await reply.send(refusal.status, msgspec.json.encode(refusal.body), refusal.headers)
        finally:
            known = path in self._routes or path in self._pages
            self._service.metrics.request(path if known else "other", reply.status, started)
            if self._service.settings.access_log:
                _access(scope, reply.status, started)

    def _admit(self, path: str, scope: Scope) -> None:
        """Raise ``HTTPError`` for a request that is not let in."""
        service = self._service
        if path != OPEN:
            headers = dict(scope["headers"])
            if self._token:
                if not compare_digest(headers.get(b"authorization", b""), self._token):
                    raise HTTPError(401, "wrong or no token", "send the header Authorization: Bearer TOKEN")
            elif b"origin" in headers:
                raise HTTPError(403, "requests of web pages need a token", "start the server with a token")
        judging = path in self._routes
        if not judging and path not in self._pages:
            raise HTTPError(
                404, f"no route {path}", f"there are {', '.join(sorted((*self._routes, *self._pages)))}"
            )
        allowed = ("POST",) if judging else ("GET", "HEAD")
        if scope["method"] not in allowed:
            raise MethodNotAllowed(scope["method"], allowed)
        if judging and service.draining:
            raise HTTPError(503, "the server is draining", "try another server, or later", retry=5)
        if judging and service.active >= service.queue:
            raise HTTPError(429, f"{service.active} requests are waiting", "try again later", retry=5)

    async def _answer(
        self, routes: Sequence[Route[Any]], scope: Scope, receive: Receive, reply: "_Reply"
    ) -> None:
        service = self._service
        body = _Body(service)
        caller = Caller(client[0] if (client := scope.get("client")) else "", receive)
        service.active += 1
        try:
            raw = await body.read(receive)
            route = _chosen(raw, routes)
            answer = await route.answer(service, decoded(raw, route.body), caller)
            if isinstance(answer, EventStream):
                await reply.stream(answer, receive)
            else:
                await reply.send(200, msgspec.json.encode(answer))
        finally:
            service.active -= 1
            body.release()
            caller.close()


class MethodNotAllowed(HTTPError):
    """405, with the methods that are allowed."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(405, f"Method {method} Not Allowed", f"this path takes {' and '.join(allowed)}")
        self._allowed = ", ".join(allowed).encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """``Allow``, which HTTP requires here."""
        return [(b"allow", self._allowed)]


class _Reply:
    """What is sent to one request; ``status`` is 500 until something was."""

    def __init__(self, send: Send, *, head: bool) -> None:
        self._send, self._head = send, head
        self.status = 500

    async def send(self, status: int, content: bytes, headers: Headers = (), kind: str = JSON) -> None:
        """A whole reply."""
        length = (b"content-length", str(len(content)).encode())
        await self._start(status, [(b"content-type", kind.encode()), length, *headers])
        body = b"" if self._head else content
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def stream(self, stream: EventStream, receive: Receive) -> None:
        """Server-sent events; the generator is closed as soon as the caller leaves."""
        await self._start(200, [(b"content-type", b"text/event-stream; charset=utf-8"), *_EVENT_HEADERS])
        sending = asyncio.ensure_future(self._events(stream))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    async def _events(self, stream: EventStream) -> None:
        async with contextlib.aclosing(stream.events) as events:
            async for event in events:
                await self._send({"type": "http.response.body", "body": event, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        await self._send(
            {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}
        )


class _Body:
    """The body of one request, counted among the bytes that the service holds."""

    def __init__(self, service: Service) -> None:
        self._service, self._held = service, 0

    async def read(self, receive: Receive) -> bytes:
        """The whole body.

        Raises ``HTTPError`` 413 where it has too many bytes, 429 where all requests together have, 408 where
        no byte comes for ``idle`` seconds, and ``ClientLeft``.
        """
        settings = self._service.settings
        parts: list[bytes] = []
        size = 0
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(settings.idle) as limit:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientLeft
                    part = message["body"]
                    size += len(part)
                    if size > settings.max_body:
                        parts.clear()
                        self.release()
                    else:
                        parts.append(part)
                        self._hold(len(part))
                    if not message["more_body"] or size > SKIPPED * settings.max_body:
                        break
                    limit.reschedule(loop.time() + settings.idle)
        except TimeoutError:
            raise HTTPError(
                408, f"no byte of the body came for {settings.idle:g} s", "send it whole"
            ) from None
        if size > settings.max_body:
            raise HTTPError(
                413,
                f"the body has more than {settings.max_body:,} bytes",
                "the server's --max-body sets the limit",
            )
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def release(self) -> None:
        """The request is answered, or its body dropped."""
        self._service.held_bytes -= self._held
        self._held = 0

    def _hold(self, size: int) -> None:
        self._held += size
        self._service.held_bytes += size
        if self._service.held_bytes > self._service.settings.max_bytes:
            raise HTTPError(
                429,
                f"the requests that wait hold more than {self._service.settings.max_bytes:,} bytes",
                "try again later; the server's --max-bytes sets the limit",
                retry=5,
            )


def _pages() -> list[Page]:
    return [
        Page(OPEN, "whether the server takes requests, and its groups", _health, schema=Health),
        Page("/metrics", "counters for Prometheus", lambda s: (200, s.metrics.text()), METRICS_TYPE),
    ]


def _health(service: Service) -> tuple[int, bytes]:
    health = Health("draining" if service.draining else "ok", service.cohorts.counts)
    return 503 if service.draining else 200, msgspec.json.encode(health)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _chosen(raw: bytes, routes: Sequence[Route[Any]]) -> Route[Any]:
    """Of several routes on one path, the one whose mark the body has; else the one without a mark.

    Where all have marks and the body has none, the first says what is missing.
    """
    if len(routes) == 1:
        return routes[0]
    marked = [route for route in routes if route.mark and f'"{route.mark}"'.encode() in raw]
    if marked:  # the words may also stand in a text
        fields = decoded(raw, dict[str, msgspec.Raw])
        marked = [route for route in marked if route.mark in fields]
    return marked[0] if marked else next((route for route in routes if not route.mark), routes[0])


def _access(scope: Scope, status: int, started: float) -> None:
    client = scope.get("client")
    where = f"{client[0]}:{client[1]}" if client else "-"
    milliseconds = 1000 * (monotonic() - started)
    _ACCESS.info("%s %s %r %d %.0f ms", where, scope["method"], scope["path"], status, milliseconds)
