"""One server's session: one attempt of a request, and the tries of a call until it succeeds or time is up."""

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp
import msgspec
import stamina

from jurist.engines.openai.access import api_key, headers_of, proxy_of, tls_refusal
from jurist.engines.openai.address import Address
from jurist.engines.openai.errors import Refused, Retried, refusal

T = TypeVar("T")
NETWORK_ERRORS = (aiohttp.ClientError, asyncio.TimeoutError, OSError)

# A retry is worth a line only in a program that asked for logs; without this it is printed.
logging.getLogger("stamina").addHandler(logging.NullHandler())

_FIRST_WAIT = 0.5
_TELL_EVERY = 30.0
_LARGEST_REPLY = 64 << 20
# A server that asks for a wait of more than this says nothing that can be meant.
_LONGEST_WAIT = 30 * 86400.0


class Connection:
    """The session with one server. ``timeout``: seconds for one attempt."""

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._proxy: dict[str, Any] = {}
        self._key = ""

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        """One attempt; ``path`` goes below the base address, or with ``//`` before it below the root.

        Raises ``Refused``, ``Retried`` or an error of ``NETWORK_ERRORS``.
        """
        url = self.address.url(path)
        data = None if body is None else msgspec.json.encode(body)
        session = self._open()
        try:
            async with session.request(method, url, data=data, **self._proxy) as response:
                content = await _content(response)
                if response.method != method:
                    raise _redirected(response)
                kind = response.content_type
                if response.status == 200 and kind != "text/html":
                    return content
                raise refusal(response.status, content, kind, _wait(response.headers))
        except aiohttp.ClientError as error:
            if refused := tls_refusal(error):
                raise refused from error
            raise

    def words(self, error: BaseException) -> str:
        """An error in one line, without the key, should the server have put that into its answer."""
        nameless = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        text = str(error) or nameless
        return self.without_key(" ".join(text.split()))

    def without_key(self, text: str) -> str:
        """A text without the key; a key like "none" is no secret."""
        return text.replace(self._key, "***") if len(self._key) >= 8 else text

    async def aclose(self) -> None:
        """Close the session; another request opens a new one."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._key = api_key()[1]
            # Not trust_env: it would look into .netrc for each request and refuse our key beside it.
            self._proxy = proxy_of(self.address.base)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=30),
                headers=headers_of(self.address.base, self._key),
                auto_decompress=False,
            )
        return self._session


class Tries:
    """Calls again, with growing waits, what may succeed later: for ``retry_for`` seconds at most.

    ``say`` is told in a line that somebody waits, at most every half minute however many calls there are.
    """

    def __init__(self, retry_for: float, name: str, words: Callable[[BaseException], str]) -> None:
        self._retry_for = retry_for
        self._name = name
        self._words = words
        self._last_told = -_TELL_EVERY

    async def run(self, call: Callable[[], Awaitable[T]], say: Callable[[str], None]) -> T:
        """What ``call`` returns; raises what its last try raised."""
        # Most calls succeed at once and need none of this: the first try stands outside, and its error
        # enters the loop as the first one of the loop.
        try:
            return await call()
        except (Retried, *NETWORK_ERRORS) as error:
            first: list[Exception] = [error]
        patience = _Patience(self._retry_for)
        if self._retry_for and patience.lasts(first[0]):
            self._tell(first[0], say)
        tries = stamina.retry_context(
            on=patience.wait,
            attempts=None if self._retry_for else 1,
            timeout=self._retry_for or None,
            wait_initial=_FIRST_WAIT,
            wait_max=30.0,
        )
        async for attempt in tries:
            with attempt:
                if first:
                    raise first.pop()
                return await call()
        raise AssertionError("retry_context returns or raises")

    def _tell(self, error: Exception, say: Callable[[str], None]) -> None:
        now = time.monotonic()
        if now - self._last_told >= _TELL_EVERY:
            self._last_told = now
            say(f"{self._name}: {self._words(error)}; trying again, for {self._retry_for:g} s at most")


class _Patience:
    """Whether one call is worth another try."""

    def __init__(self, retry_for: float) -> None:
        self._deadline = time.monotonic() + retry_for
        self._odd = 0

    def lasts(self, error: Exception) -> bool:
        """Whether there will be another try after this error."""
        after = error.after if isinstance(error, Retried) else None
        return after is None or time.monotonic() + after < self._deadline

    def wait(self, error: Exception) -> bool | float:
        """Whether to try again, and after how many seconds where the server said so."""
        if not isinstance(error, Retried):
            return isinstance(error, NETWORK_ERRORS)
        if error.most is not None:
            self._odd += 1
            if self._odd > error.most:
                return False
        # A server that asks for no wait gets ours: it is busy all the same.
        if error.after is None or error.after <= _FIRST_WAIT:
            return True
        return error.after if self.lasts(error) else False


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """The body, unpacked, of at most ``_LARGEST_REPLY`` bytes."""
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    # 31 takes gzip's header, 47 that of gzip or zlib.
    unpack = zlib.decompressobj(47) if coding in ("gzip", "x-gzip", "deflate") else None
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        if unpack is not None:
            try:
                part = unpack.decompress(part, _LARGEST_REPLY + 1)
            except zlib.error as error:
                raise Refused(f"the reply is not the {coding} data that it says it is ({error})") from None
        parts.append(part)
        size += len(part)
        if size > _LARGEST_REPLY:
            response.close()
            raise Refused(f"the reply is larger than {_LARGEST_REPLY >> 20} MiB")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _redirected(response: aiohttp.ClientResponse) -> Refused:
    """A redirect after which aiohttp, as browsers do, asked by GET and without a body."""
    status = response.history[0].status if response.history else response.status
    to = response.url.with_query(None).with_fragment(None)
    return Refused(
        f"the server redirects to {to}, which would turn the request into a GET without its body",
        status,
        mend=f"--engine with the address behind the redirect, {to}",
    )


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until another try, by Retry-After (a number or a date); None where it says nothing of use."""
    value = headers.get("Retry-After")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if seconds < _LONGEST_WAIT else None
