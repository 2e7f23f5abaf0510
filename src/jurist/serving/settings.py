"""What the server is told at its start, checked before it listens."""

import os
from dataclasses import dataclass
from ipaddress import ip_address
from math import isfinite

from jurist.core.errors import ConfigError

TOKEN = "JURIST_SERVER_TOKEN"
"""The environment variable with the bearer token."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, how samples are gathered, and what is refused.

    ``deadline`` (seconds) holds where neither the request nor its contract has one. ``unanswered`` is what
    a contract that needs a number gets for a sample without reward: "error" (HTTP 503), "mean" (of its
    group's rewards) or a number. Raises ``ConfigError`` for values out of range, and for an address that
    others can reach without a ``token``.
    """

    host: str = "127.0.0.1"
    port: int = 8300
    token: str | None = None
    group_size: int | None = None
    wait: float = 5.0
    longest: float = 60.0
    deadline: float | None = None
    unanswered: str = "error"
    max_body: int = 8 * 2**20
    queue: int = 4096
    drain: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what means nothing, and an open door."""
        for name in ("wait", "longest", "deadline", "max_body", "queue", "drain"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} {value} is out of range", hint="more than 0")
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port {self.port} is out of range", hint="0 (any free one) to 65535")
        self.stand_in(None)
        if not self.token and not is_loopback(self.host):
            raise ConfigError(
                f"listening on {self.host} lets others in, and there is no token",
                hint=f"set {TOKEN} in the environment, or stay on 127.0.0.1",
            )

    def stand_in(self, mean: float | None) -> float | None:
        """The number for a sample without reward in a group with this mean; None: there is none."""
        if self.unanswered in ("error", "mean"):
            return mean if self.unanswered == "mean" else None
        try:
            value = float(self.unanswered)
        except ValueError:
            value = float("nan")
        if not isfinite(value):
            raise ConfigError(
                f"unanswered {self.unanswered!r} is none of error, mean or a number",
                hint="--unanswered error",
            )
        return value


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_from_environment() -> str | None:
    """The bearer token, if one is set."""
    return os.environ.get(TOKEN) or None
