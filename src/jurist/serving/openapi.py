"""The OpenAPI document, from the structs that bodies are decoded into."""

from collections.abc import Iterable
from typing import Any

import msgspec

from jurist.core.version import __version__
from jurist.serving.contract import Contract

_JSON = "application/json"
_STREAM = "with stream: lines `data: JSON`; the last JSON is the reply, and `data: [DONE]` ends the stream"
_REFUSALS = {
    "400": "the body is no JSON",
    "401": "wrong or no token",
    "413": "the body is too large",
    "422": "a field is missing or wrong",
    "429": "too many requests wait; see Retry-After",
    "503": "draining, or a sample without reward where the contract needs a number; see Retry-After",
}


def document(contracts: Iterable[Contract[Any]]) -> dict[str, Any]:
    """The document of the judging routes, OpenAPI 3.1."""
    listed = list(contracts)
    kinds = [kind for contract in listed for kind in (contract.body, contract.reply)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {}
    for i, contract in enumerate(listed):
        sent, got = schemas[2 * i : 2 * i + 2]
        if contract.path in paths:
            body = paths[contract.path]["post"]["requestBody"]["content"][_JSON]
            body["schema"] = _either(body["schema"], sent)
            reply = paths[contract.path]["post"]["responses"]["200"]["content"][_JSON]
            reply["schema"] = _either(reply["schema"], got)
        else:
            paths[contract.path] = {"post": _operation(contract, sent, got)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Jurist reward server", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _either(known: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """One schema or another; a path may have more than two."""
    options = known.get("anyOf", [known])
    return known if other in options else {"anyOf": [*options, other]}


def _operation(contract: Contract[Any], sent: Any, got: Any) -> dict[str, Any]:
    refusals = {status: {"description": text} for status, text in _REFUSALS.items()}
    content = {_JSON: {"schema": got}}
    if "stream" in contract.body.__struct_fields__:
        content["text/event-stream"] = {"schema": {"type": "string", "description": _STREAM}}
    answered = {"description": "answered", "content": content}
    return {
        "summary": (contract.answer.__doc__ or "").split("\n")[0],
        "requestBody": {"required": True, "content": {_JSON: {"schema": sent}}},
        "responses": {"200": answered, **refusals},
    }
