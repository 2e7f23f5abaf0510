"""The process: listen, serve, and on SIGTERM answer what is waiting before leaving."""

import asyncio
import logging
import socket
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any

import uvicorn

from jurist.core.errors import ConfigError
from jurist.core.garbage import fewer_collections
from jurist.judging.build import Say
from jurist.rewards.group import GroupJudge
from jurist.serving.app import App
from jurist.serving.connections import (
    BACKLOG,
    OWN_FILES,
    RateLimit,
    file_limit,
    protocol_class,
    requests_within,
)
from jurist.serving.service import Service
from jurist.serving.settings import Settings


class Server(uvicorn.Server):
    """uvicorn, but its first signal drains: new requests get 503, open groups are judged and answered.

    A second signal leaves at once.
    """

    def __init__(self, service: Service, say: Say = lambda _: None) -> None:
        self.service, self._say = service, say
        self._drain: asyncio.Task[None] | None = None
        settings = service.settings
        engine = service.judge.setup.engine.concurrency
        limit = file_limit(settings.queue + 2 * (OWN_FILES + engine))
        service.queue = requests_within(limit, settings.queue, engine)
        if service.queue < settings.queue:
            say(
                f"this process may open {limit} files, so {service.queue} requests at once are taken, not "
                f"{settings.queue}; more get HTTP 429 (ulimit -n raises the limit)"
            )
        spare = BACKLOG if limit is None else (limit - service.queue) // 4
        config = uvicorn.Config(
            App(service),
            http=protocol_class(settings.idle, service.queue + spare),
            ws="none",
            # All that wait to be accepted are accepted at once, and each takes a file.
            backlog=max(1, min(BACKLOG, spare)),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            # Trainers keep connections for the next step; closing them early costs a failed request each.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so: from now on a signal drains."""
        await super().startup(sockets)
        for listener in sockets or ():
            self._say(f"listening on {address(listener)}; SIGTERM or Ctrl-C drains")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one leaves."""
        _ = sig, frame
        if self.service.draining:
            self.force_exit = self.should_exit = True
        self.service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: start to drain when told so."""
        if self.service.draining and self._drain is None:
            self._drain = asyncio.create_task(self._drained())
        return await super().on_tick(counter)

    async def _drained(self) -> None:
        try:
            async with asyncio.timeout(self.service.settings.drain):
                await self.service.cohorts.drain()
                # Comparisons and rankings go through no cohort.
                while self.service.active:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            self.force_exit = True
        self.should_exit = True


async def serve(judge: GroupJudge, settings: Settings, say: Say) -> None:
    """Serve until a signal; raises ``EngineError`` or ``ConfigError`` before the first request."""
    try:
        listener = listening(settings)
        try:
            await judge.setup.check()
            _set_up_logs(settings)
            await Server(Service(judge, settings), say).serve(sockets=[listener])
        finally:
            listener.close()
    finally:
        await judge.setup.aclose()


def run(judge: GroupJudge, settings: Settings, say: Say) -> None:
    """``serve`` in an event loop of its own: uvloop's where it is installed."""
    with fewer_collections(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(judge, settings, say))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's maker of event loops; None where it is not installed."""
    try:
        uvloop: Any = import_module("uvloop")
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _set_up_logs(settings: Settings) -> None:
    """Troubles that repeat are logged now and then; requests, where that is asked for, to standard error."""
    for name in ("jurist.serving", "uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(RateLimit())
    if settings.access_log:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        access = logging.getLogger("jurist.serving.access")
        access.addHandler(handler)
        access.setLevel(logging.INFO)
        access.propagate = False


def listening(settings: Settings) -> socket.socket:
    """The socket to listen on; raises ``ConfigError`` where the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named: 40 ms a reply otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
        return listener
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}",
            hint="another --port (0: any free one)",
        ) from None


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
