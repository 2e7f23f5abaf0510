"""Who asks and which way: the API key, the environment's proxy, and what errors of TLS and network mean."""

import os
import re
from typing import Any

import aiohttp
from aiohttp.helpers import get_env_proxy_for_url
from yarl import URL

from jurist.core.errors import ConfigError
from jurist.engines.openai.errors import Refused
from jurist.engines.secrets import KEY_VARIABLES


def api_key() -> tuple[str, str]:
    """The variable that holds the API key, and the key; twice nothing where there is none.

    Raises ``ConfigError`` where no request could carry the key.
    """
    values = ((name, os.environ.get(name, "").strip()) for name in KEY_VARIABLES)
    name, key = next(((name, key) for name, key in values if key), ("", ""))
    if any(not "!" <= character <= "~" for character in key):
        raise ConfigError(
            f"the key in {name} holds a line break, a space or a character that no key has",
            hint=f"set it again, in one line: export {name}=...",
        )
    return name, key


def headers_of(url: str, key: str) -> dict[str, str]:
    """What each request to this address says beside its body."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
        if re.search(r"\.azure\.com(?=[:/]|\Z)", url):
            headers["api-key"] = key  # Azure's older routes read no other
    return headers


def proxy_of(url: str) -> dict[str, Any]:
    """What a request needs for the proxy that the environment names for this address."""
    try:
        proxy, auth = get_env_proxy_for_url(URL(url))
    except (LookupError, ValueError):
        return {}
    return {"proxy": proxy, "proxy_auth": auth}


def tls_refusal(error: aiohttp.ClientError) -> Refused | None:
    """The exception for an error of TLS that every further try would meet again; None for any other."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = str(getattr(error.certificate_error, "verify_message", "") or error.certificate_error)
        mend = "if you trust the server: export SSL_CERT_FILE=FILE_WITH_ITS_CERTIFICATE.pem"
        if "mismatch" in reason.lower() or "not valid for" in reason:
            mend = "ask it by the name that its certificate is for"
        elif "expired" in reason or "not yet valid" in reason:
            mend = "the server needs a new certificate, or this machine the right date"
        return Refused(f"the server's TLS certificate is not accepted: {reason}", mend=mend)
    no_tls = re.search("WRONG_VERSION|RECORD_LAYER|HTTP_REQUEST", str(error))
    if isinstance(error, aiohttp.ClientSSLError) and no_tls:
        return Refused(
            "the server does not speak TLS at this port", mend="an address that begins with http://"
        )
    return None


def network_mend(error: BaseException, url: str) -> str:
    """What to do where no connection came about."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "the environment's proxy does not answer: unset http_proxy, or add the host to no_proxy"
    start = "start the server, or mend the address: --engine http://HOST:PORT/v1"
    no_connection = isinstance(error, aiohttp.ClientConnectorError)
    if url.startswith("http:") and isinstance(error, aiohttp.ClientConnectionError) and not no_connection:
        return f"{start}; or https:// if it speaks TLS"
    return start
