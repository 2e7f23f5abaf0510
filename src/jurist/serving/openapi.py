"""The OpenAPI document, from the structs that bodies are decoded into, and a page that lists the routes."""

from collections.abc import Sequence
from html import escape
from typing import Any

import msgspec

from jurist.core.version import __version__
from jurist.serving.route import JSON, Page, Route
from jurist.serving.schema import BestReply, ErrorReply, Leading

_STREAM = "the JSON of Leading; at the end that of BestReply or ErrorReply, then [DONE]"
_ERRORS = {
    "400": "the body is no JSON",
    "401": "wrong or no token",
    "403": "a request of a web page, to a server without a token",
    "405": "another method than the path takes",
    "408": "the body did not come",
    "409": "fields contradict each other, or ask for what this server's judge cannot give",
    "413": "the body is too large",
    "422": "a field is missing or wrong",
    "429": "too many requests wait; see Retry-After",
    "503": "draining, or a sample without reward where the contract needs a number; see Retry-After",
}
_OF_PAGES = ("401", "403", "405")


def document(routes: Sequence[Route[Any]], pages: Sequence[Page], *, token: bool) -> dict[str, Any]:
    """The document of all routes, OpenAPI 3.1; ``token``: whether requests need one."""
    schemas, components = msgspec.json.schema_components(
        [
            *(kind for route in routes for kind in (route.body, route.reply)),
            *(page.schema for page in pages if page.schema),
            ErrorReply,
            Leading,
            BestReply,
        ],
        ref_template="#/components/schemas/{name}",
    )
    paths: dict[str, Any] = {}
    for i, route in enumerate(routes):
        body, reply = schemas[2 * i : 2 * i + 2]
        if route.path in paths:
            known = paths[route.path]["post"]
            _widen(known["requestBody"]["content"][JSON], body)
            _widen(known["responses"]["200"]["content"][JSON], reply)
        else:
            paths[route.path] = {"post": _posted(route, body, reply)}
    of_pages = iter(schemas[2 * len(routes) :])
    for page in pages:
        content = {"schema": next(of_pages) if page.schema else {"type": "string"}}
        paths[page.path] = {"get": _read(page, content)}
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Jurist reward server", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }
    if token:
        whole["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{"token": []}]
        paths["/healthz"]["get"]["security"] = []
    return whole


def documentation(routes: Sequence[Route[Any]], pages: Sequence[Page]) -> str:
    """A page of HTML without scripts: each route with what is sent and what comes back."""
    parts = [
        "<!doctype html><meta charset=utf-8><title>Jurist reward server</title>",
        "<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "code{background:#eee}td,th{text-align:left;vertical-align:top;padding:.2em 1em .2em 0}</style>",
        f"<h1>Jurist reward server {escape(__version__)}</h1>",
        "<p>The machine-readable form: <a href=/openapi.json>/openapi.json</a>.</p>",
    ]
    parts += [f"<p><code>GET {escape(p.path)}</code> {escape(p.summary)}" for p in pages]
    for route in routes:
        parts.append(f"<h2><code>POST {escape(route.path)}</code></h2><p>{escape(_summary(route))}</p>")
        parts.append(_table("sent", route.body))
        if isinstance(route.reply, type) and issubclass(route.reply, msgspec.Struct):
            parts.append(_table("comes back", route.reply))
    return "\n".join(parts)


def _table(title: str, kind: type[msgspec.Struct]) -> str:
    about = " ".join((kind.__doc__ or "").split())
    lines = [f"<table><caption>{title}: {escape(about)}</caption>"]
    for field in msgspec.structs.fields(kind):
        need = "required" if field.required else f"default {field.default!r}"
        kind_name = getattr(field.type, "__name__", None) or str(field.type)
        lines.append(
            f"<tr><th><code>{escape(field.encode_name)}</code><td>{escape(kind_name)}<td>{escape(need)}"
        )
    return "".join([*lines, "</table>"])


def _widen(content: dict[str, Any], other: dict[str, Any]) -> None:
    """Allow another schema; a path may have more than two."""
    options = content["schema"].get("anyOf", [content["schema"]])
    if other not in options:
        content["schema"] = {"anyOf": [*options, other]}


def _posted(route: Route[Any], body: Any, reply: Any) -> dict[str, Any]:
    content = {JSON: {"schema": reply}}
    if "stream" in route.body.__struct_fields__:
        data = {"type": "string", "description": _STREAM}
        event = {"type": "object", "properties": {"data": data}, "required": ["data"]}
        content["text/event-stream"] = {"schema": event}
    return {
        "summary": _summary(route),
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": {"200": {"description": "answered", "content": content}, **_errors(_ERRORS)},
    }


def _read(page: Page, content: Any) -> dict[str, Any]:
    reply = {"description": page.summary, "content": {page.media_type: content}}
    replies = {"200": reply, "503": reply} if page.path == "/healthz" else {"200": reply}
    return {"summary": page.summary, "responses": {**replies, **_errors(_OF_PAGES)}}


def _errors(statuses: Any) -> dict[str, Any]:
    schema = {"schema": {"$ref": "#/components/schemas/ErrorReply"}}
    return {status: {"description": _ERRORS[status], "content": {JSON: schema}} for status in statuses}


def _summary(route: Route[Any]) -> str:
    return (route.answer.__doc__ or "").split("\n")[0]
