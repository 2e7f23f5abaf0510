"""Refused requests: an HTTP status and a JSON body that names the field and the mend."""

import re
from typing import Any, TypeVar

import msgspec
from msgspec.structs import fields

from jurist.core.errors import InputError, JuristError, ProtocolError
from jurist.rewards.cohort import CohortsClosed
from jurist.serving.schema import ErrorDetail, ErrorReply

T = TypeVar("T")
_PLACE = re.compile(r"^(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?$", re.S)
_FIELD = re.compile(r"field `([^`]*)`")


class HTTPError(Exception):
    """A request that gets no answer.

    ``field`` is the place in its body. ``retry``: seconds after which the same request may succeed, None
    where it will fail again.
    """

    def __init__(
        self, status: int, message: str, hint: str = "", *, field: str = "", retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.hint, self.field, self.retry = status, message, hint, field, retry

    @property
    def body(self) -> ErrorReply:
        """The JSON of the reply."""
        return ErrorReply(ErrorDetail(self.message, self.field or None, self.hint or None))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the reply, beside its type and length."""
        headers = [(b"www-authenticate", b"Bearer")] if self.status == 401 else []
        if self.status in (408, 413):  # the rest of the body would be taken for the next request
            headers.append((b"connection", b"close"))
        return headers if self.retry is None else [*headers, (b"retry-after", str(self.retry).encode())]


def decoded(raw: bytes, kind: type[T]) -> T:
    """A body as its struct; raises ``HTTPError`` 400 for what is no JSON, 422 for JSON of another shape."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error), kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPError(400, f"the body is no JSON: {error}", "send one JSON object in UTF-8") from None
    except RecursionError:
        raise HTTPError(400, "the body is nested too deeply", "send one JSON object in UTF-8") from None


def http_error(error: Exception) -> HTTPError:
    """The reply that stands for an error."""
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, CohortsClosed):
        return HTTPError(429, error.message, error.hint, retry=5)
    if isinstance(error, (InputError, ProtocolError)):
        return HTTPError(409, error.message, error.hint)
    if isinstance(error, JuristError):
        return HTTPError(503, error.message, error.hint, retry=5)
    return HTTPError(500, f"{type(error).__name__}: {error}", "this is a bug of the server; please report it")


def _misshapen(text: str, kind: type[Any]) -> HTTPError:
    what, place = m.groups() if (m := _PLACE.match(text)) else (text, None)
    name = _FIELD.search(what)
    field = ".".join(filter(None, (place, name and name.group(1))))
    names = [f.encode_name for f in fields(kind)] if issubclass(kind, msgspec.Struct) else []
    return HTTPError(422, what, f"fields: {', '.join(names)}; see /openapi.json", field=field)
