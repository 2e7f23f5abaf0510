"""The report on the loopback address, made anew when its runs have grown."""

import os
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from jurist.core.errors import ConfigError
from jurist.core.run_lines import DECISIONS


def serve(
    folders: Sequence[Path], page: Callable[[], str], port: int, started: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C; ``started`` gets the address. Raises ``ConfigError`` for a port in use."""
    lock = Lock()
    kept: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        """The page, and a stamp that changes with the runs."""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            # Another site's page must not read this one by a name that it points to this address.
            host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
            if host not in ("127.0.0.1", "localhost"):
                self._answer(403, b"only for this machine", "text/plain")
            elif path == "/stamp":
                self._answer(200, stamp(folders).encode(), "text/plain")
            elif path in ("/", "/index.html"):
                with lock:
                    now = stamp(folders)
                    if now not in kept:
                        kept.clear()
                        kept[now] = page().encode("utf-8", "replace")
                self._answer(200, kept[now], "text/html; charset=utf-8")
            else:
                self._answer(404, b"not found", "text/plain")

        def log_message(self, format: str, *args: object) -> None:
            """No line for each request."""

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be used: {error.strerror or error}", hint="--port 0"
        ) from error
    with server:
        page()  # what is wrong with the runs is said before anything is served
        started(f"http://127.0.0.1:{server.server_address[1]}/")
        server.serve_forever()


def stamp(folders: Sequence[Path]) -> str:
    """Sizes of what grows in the runs."""
    return ",".join(str(_size(folder / name)) for folder in folders for name in (DECISIONS, "metrics.jsonl"))


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
