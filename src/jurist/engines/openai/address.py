"""Where a server is: its address in any usual spelling."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from jurist.core.errors import ConfigError
from jurist.engines.secrets import HINT, refuse_secrets

_SCHEME = re.compile(r"(https?)://", re.I)
# host:port or localhost, a path or nothing: an address without its scheme.
_BARE = re.compile(r"(?:localhost(?::\d+)?|\[[0-9a-f:]+\](?::\d+)?|[\w.-]+:\d+)(?:[/?].*)?", re.I)
_ROUTES = re.compile(r"(?:/(?:chat/completions|completions|models|responses|embeddings))+\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """A base address, such as ``http://localhost:8000/v1``, and the query that every request carries."""

    base: str
    query: str = ""

    @property
    def root(self) -> str:
        """The address above ``/v1``."""
        return self.base.removesuffix("/v1")

    @property
    def bases(self) -> tuple[str, ...]:
        """Where the routes may be, the likeliest first: of a bare host, below ``/v1``."""
        bare = "/" not in self.base.partition("://")[2]
        return (f"{self.base}/v1", self.base) if bare else (self.base,)

    def url(self, path: str) -> str:
        """The address of a route; ``path`` goes below the base, or with ``//`` before it below the root."""
        url = self.root + path[1:] if path.startswith("//") else self.base + path
        return f"{url}{'&' if '?' in path else '?'}{self.query}" if self.query else url


def addresses_of(text: str) -> tuple[str, ...]:
    """The addresses in a text, which stand with commas between them."""
    return tuple(part for address in text.split(",") if (part := address.strip()))


def is_address(text: str) -> bool:
    """Whether a text names a server: with ``http://`` or ``https://`` in any case, or as ``host:port``.

    Several servers stand with commas between them.
    """
    bare = [address.removeprefix("scalar+") for address in addresses_of(text)]
    return bool(bare) and all(_SCHEME.match(address) or _BARE.fullmatch(address) for address in bare)


def read_address(text: str) -> Address:
    """The address that a user wrote; raises ``ConfigError`` where it holds a secret."""
    text = text.strip().partition("#")[0]
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    rest, _, query = rest.partition("?")
    host, slash, path = rest.partition("/")
    if "@" in host:
        raise ConfigError("the server's address holds a name or password", hint=HINT)
    refuse_secrets(dict(parse_qsl(query, keep_blank_values=True)), "the server's address")
    path = _ROUTES.sub("", re.sub(r"/{2,}", "/", slash + path).rstrip("/"))
    return Address(f"{scheme[1].lower() if scheme else 'http'}://{host}{path}", query)
