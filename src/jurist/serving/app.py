"""The application: routes, from a body to a reply."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from jurist.serving import (
    routes_best_of_n,
    routes_decisions,
    routes_gym,
    routes_native,
    routes_pooling,
    routes_trainers,
)
from jurist.serving.contract import Contract
from jurist.serving.errors import Refusal, decoded, json_reply, refused
from jurist.serving.metrics import TYPE
from jurist.serving.middleware import Guard, body_of, no_route
from jurist.serving.openapi import document
from jurist.serving.retries import Caller
from jurist.serving.service import Service

CONTRACTS: tuple[Contract[Any], ...] = (
    *routes_native.CONTRACTS,
    *routes_best_of_n.CONTRACTS,
    *routes_trainers.CONTRACTS,
    *routes_gym.CONTRACTS,
    *routes_pooling.CONTRACTS,
    *routes_decisions.CONTRACTS,
)
_LOG = logging.getLogger("jurist.serving")


def application(service: Service) -> ASGIApp:
    """The ASGI application of a service, behind its guard."""
    described = msgspec.json.encode(document(CONTRACTS))
    by_path: dict[str, list[Contract[Any]]] = {}
    for contract in CONTRACTS:
        by_path.setdefault(contract.path, []).append(contract)

    async def health(_: Request) -> Response:
        counts = service.cohorts.counts
        state = {"status": "draining" if service.draining else "ok", "groups": counts}
        return json_reply(state, 503 if service.draining else 200)

    async def metrics(_: Request) -> Response:
        return Response(service.metrics.text(), media_type=TYPE)

    async def openapi(_: Request) -> Response:
        return Response(described, media_type="application/json")

    looks = {"/healthz": health, "/metrics": metrics, "/openapi.json": openapi}
    judging = frozenset(by_path)
    known = judging | frozenset(looks)

    async def strayed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return no_route(request.url.path, known)
        refusal = Refusal(error.status_code, error.detail, "judging routes take POST, the others GET")
        return json_reply(refusal.body, refusal.status, error.headers)

    routes = [Route(path, look, methods=["GET"]) for path, look in looks.items()]
    routes += [Route(path, _endpoint(service, found), methods=["POST"]) for path, found in by_path.items()]
    app = Starlette(routes=routes, exception_handlers={HTTPException: strayed})
    return Guard(app, service, judging, known)


def _endpoint(
    service: Service, contracts: Sequence[Contract[Any]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        caller = Caller(request.client.host if request.client else "")
        try:
            raw = await body_of(request, service.settings.max_body)
            contract = _chosen(raw, contracts)
            body = decoded(raw, contract.body)
            told = await _answered(contract.answer(service, body, caller), request, caller)
            return told if isinstance(told, Response) else json_reply(told)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            refusal = refused(error)
            if refusal.status == 500:
                _LOG.exception("a request failed")
            return json_reply(refusal.body, refusal.status, refusal.headers)

    return endpoint


async def _answered(answer: Awaitable[Any], request: Request, caller: Caller) -> Any:
    """The answer; the caller's leaving is noted at once, and stops nothing."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        caller.leave()

    watching = asyncio.create_task(watch())
    try:
        return await answer
    finally:
        watching.cancel()


def _chosen(raw: bytes, contracts: Sequence[Contract[Any]]) -> Contract[Any]:
    """Of several contracts on one path, the one whose mark the body has; else the one without a mark.

    Where all have marks and the body has none, the first says what is missing.
    """
    if len(contracts) == 1:
        return contracts[0]
    fields = decoded(raw, dict[str, msgspec.Raw])
    marked = [c for c in contracts if c.mark and c.mark in fields]
    return marked[0] if marked else next((c for c in contracts if not c.mark), contracts[0])
