"""What is refused, as an HTTP status and a JSON body that names the field and the mend.

Replies in JSON.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import fields
from starlette.responses import Response

from jurist.core.errors import InputError, JuristError, ProtocolError
from jurist.rewards.cohort import CohortsClosed

T = TypeVar("T")
_PLACE = re.compile(r"^(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?$", re.S)
_FIELD = re.compile(r"field `([^`]*)`")


class Refusal(Exception):
    """A request that gets no reward; ``field`` is the place in its body, ``retry`` seconds to wait."""

    def __init__(
        self, status: int, message: str, hint: str = "", *, field: str = "", retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.hint, self.field, self.retry = status, message, hint, field, retry

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the reply."""
        return {"error": {"message": self.message, "field": self.field or None, "hint": self.hint or None}}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the reply."""
        found = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return found if self.retry is None else {**found, "Retry-After": str(self.retry)}


def decoded(raw: bytes, kind: type[T]) -> T:
    """A body as its struct; raises ``Refusal`` 400 for what is no JSON, 422 for JSON of another shape."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error), kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"the body is no JSON: {error}", "send one JSON object in UTF-8") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply", "send one JSON object in UTF-8") from None


def refused(error: Exception) -> Refusal:
    """The refusal that stands for an error."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, CohortsClosed):
        return Refusal(429, error.message, error.hint, retry=5)
    if isinstance(error, (InputError, ProtocolError)):
        return Refusal(422, error.message, error.hint)
    if isinstance(error, JuristError):
        return Refusal(503, error.message, error.hint, retry=5)
    return Refusal(500, f"{type(error).__name__}: {error}", "this is a bug of the server; please report it")


def _misshapen(text: str, kind: type) -> Refusal:
    what, place = m.groups() if (m := _PLACE.match(text)) else (text, None)
    named = _FIELD.search(what)
    field = ".".join(filter(None, (place, named and named.group(1))))
    names = [f.encode_name for f in fields(kind)] if issubclass(kind, msgspec.Struct) else []
    return Refusal(422, what, f"fields: {', '.join(names)}; see /openapi.json", field=field)


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as a JSON reply."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")
