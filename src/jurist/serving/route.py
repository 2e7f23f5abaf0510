"""A route: a path, what is sent, what comes back, and the function that answers."""

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from jurist.serving.retries import Caller
from jurist.serving.service import Service

Body = TypeVar("Body", bound=msgspec.Struct)
JSON = "application/json"

WHOLE: dict[str, Any] = {"multiple_of": 1, "extra_json_schema": {"type": "integer"}}
"""Of ``msgspec.Meta`` for whole numbers: 8.0 is one in JSON, and msgspec's int is stricter."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
"""ASGI's (asgi.readthedocs.io/en/stable/specs/www.html)."""


@dataclass(frozen=True, slots=True)
class Route(Generic[Body]):
    """One way to ask by POST. Where a path has several, ``mark`` is the body's field that tells this one."""

    path: str
    body: type[Body]
    reply: Any
    answer: Callable[[Service, Body, Caller], Awaitable[Any]]
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One way to look by GET: the status and the bytes of the reply, and the schema of JSON replies."""

    path: str
    summary: str
    content: Callable[[Service], tuple[int, bytes]]
    media_type: str = JSON
    schema: Any = None


@dataclass(frozen=True, slots=True)
class EventStream:
    """A reply that is sent as server-sent events; the generator is closed when the caller leaves."""

    events: AsyncGenerator[bytes]
