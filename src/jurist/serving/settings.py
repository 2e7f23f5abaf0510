"""The settings of a server, checked before it listens."""

import os
from dataclasses import dataclass
from ipaddress import ip_address
from math import isfinite
from typing import Literal

from jurist.core.errors import ConfigError

TOKEN = "JURIST_SERVER_TOKEN"
"""The environment variable with the bearer token."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, how samples are gathered, and what is refused.

    ``partial``: what becomes of a group whose size is known and that is not whole ``longest`` seconds after
    its first sample: "refuse" (no reward, and the status says so) or "judge" (those that came, after
    ``wait`` seconds without a new one). ``deadline`` (seconds) holds where neither the request nor its
    contract has one. ``unanswered`` is what a contract that needs a number gets for a sample without
    reward: "error" (an HTTP status), "mean" (of its group's rewards) or a number. ``idle``: seconds without
    a byte after which a connection that has begun a request is closed. ``max_bytes``: of all requests that
    are being answered. Raises ``ConfigError`` for values out of range, and for an address that others can
    reach without a ``token``.
    """

    host: str = "127.0.0.1"
    port: int = 8300
    token: str | None = None
    group_size: int | None = None
    wait: float = 5.0
    longest: float = 600.0
    partial: Literal["refuse", "judge"] = "refuse"
    deadline: float | None = None
    unanswered: str = "error"
    max_body: int = 8 * 2**20
    max_bytes: int = 2**30
    queue: int = 4096
    idle: float = 30.0
    drain: float = 120.0
    access_log: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range, and an address that others reach without a token."""
        for name in ("wait", "longest", "deadline", "max_body", "max_bytes", "queue", "idle", "drain"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} {value} is out of range", hint="more than 0")
        if self.group_size is not None and self.group_size < 1:
            raise ConfigError(f"group_size {self.group_size} is out of range", hint="1 or more")
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port {self.port} is out of range", hint="0 (any free one) to 65535")
        if self.token is not None and not self.token.strip():
            raise ConfigError("the token is blank", hint=f"set {TOKEN} to a secret, or unset it")
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
    """The bearer token, None where the variable is not set or empty; raises ``ConfigError`` for a blank one.

    Leading and trailing blanks and line breaks (of a file that was read into the variable) are no part of it.
    """
    token = os.environ.get(TOKEN)
    if not token:
        return None
    if not token.strip():
        raise ConfigError(f"{TOKEN} is blank", hint="set it to a secret, or unset it")
    return token.strip()
