"""Which model a server is asked for: its list of models in any shape, or one token where it has none."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jurist.core.errors import EngineError, JuristError, unknown
from jurist.core.types import Message, Query, Sampling
from jurist.engines.openai.access import api_key, network_mend
from jurist.engines.openai.connection import NETWORK_ERRORS, Connection
from jurist.engines.openai.errors import Refused, Retried, WireError
from jurist.engines.openai.json_values import list_of, object_of, text_of
from jurist.engines.openai.replies import loads
from jurist.engines.openai.wire import chat_body
from jurist.engines.secrets import KEY_VARIABLES

_PROBE = Query("check", (), 0, (Message("user", "Hi"),), Sampling(max_tokens=1))
_SECONDS = 30.0
_USUAL = "the address of an OpenAI-compatible server usually ends in /v1"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model to ask for, and who owns it, as the server says (vLLM and others put their own name)."""

    name: str
    owner: str = ""


async def find_model(connection: Connection, name: str, seconds: float, *, probe: bool = True) -> ServedModel:
    """The model ``name`` of a server, or the only one where no name was given.

    Settles below which address the routes are. A name that the list of models does not hold, or that no list
    can be had for, is asked for one token (unless not ``probe``). Raises ``EngineError``.
    """
    try:
        return await _found(connection, name, min(seconds, _SECONDS), probe)
    except (Refused, WireError, Retried, *NETWORK_ERRORS) as error:
        raise explained(error, connection) from None


async def control_tokens(connection: Connection) -> tuple[str, ...]:
    """The special tokens of the model that vLLM serves, where it was started to show its tokenizer.

    (``--enable-tokenizer-info-endpoint``.) Empty where it was not.
    """
    try:
        info = object_of(loads(await connection.request("GET", "//tokenizer_info", None)))
    except (Refused, WireError, Retried, ValueError, RecursionError, *NETWORK_ERRORS):
        return ()
    added = object_of(info.get("added_tokens_decoder")).values()
    return tuple(text for token in added if (text := text_of(object_of(token).get("content"))))


async def _found(connection: Connection, name: str, seconds: float, probe: bool) -> ServedModel:
    bases = connection.address.bases
    problems: list[Exception] = []
    for base in bases:
        connection.address = replace(connection.address, base=base)
        try:
            async with asyncio.timeout(seconds):
                models = _models(await connection.request("GET", "/models", None))
        except (Refused, WireError, Retried, TimeoutError) as error:
            problems.append(error)
            continue
        names = [m.name for m in models]
        if not name:
            return _only(models, connection)
        if not names or name in names:
            return next((m for m in models if m.name == name), ServedModel(name))
        unlisted = _unlisted(connection, name, names)
        if not probe:
            raise unlisted
        await _probe(connection, name, lambda _, error=unlisted: error)
        owners = {m.owner for m in models}
        return ServedModel(name, owners.pop() if len(owners) == 1 else "")
    worst = next((p for p in problems if not (isinstance(p, Refused) and p.no_route)), problems[0])
    if not name or not probe:
        raise worst
    for base in bases:
        connection.address = replace(connection.address, base=base)
        try:
            await _probe(connection, name, lambda refused: worst if _tells_more(worst) else refused)
        except (Refused, WireError) as error:
            if base == bases[-1] or (isinstance(error, Refused) and not error.no_route):
                raise
        else:
            break
    return ServedModel(name)


async def _probe(connection: Connection, name: str, instead: Callable[[Exception], Exception]) -> None:
    """Ask for one token; raises what ``instead`` makes of a refusal (a refused key is raised as it is)."""
    try:
        async with asyncio.timeout(_SECONDS):
            data = await connection.request("POST", "/chat/completions", chat_body(_PROBE, name, {}))
        loads(data)
    except Refused as error:
        if error.of_key:
            raise
        # It may not like this request, as long as it takes requests.
        if not error.of_request or error.no_model:
            raise instead(error) from None
    except Retried as error:
        # Too many requests are requests that it takes.
        if error.status != 429 and error.most is None:
            raise
    except (ValueError, RecursionError):
        raise WireError("the server's JSON is not a chat completion") from None
    except TimeoutError:
        return  # it is at work


def _tells_more(error: Exception) -> bool:
    """Whether the error of the list of models says more than that a chat request was refused."""
    return not isinstance(error, Refused) or error.of_key or isinstance(error, Retried)


def _only(models: list[ServedModel], connection: Connection) -> ServedModel:
    if len(models) == 1:
        return models[0]
    names = ", ".join(m.name for m in models[:20])
    words = f"serves several models: {names}" if models else "lists no models"
    raise EngineError(f"{connection.address.base} {words}", hint="choose one with --model")


def _unlisted(connection: Connection, name: str, names: list[str]) -> JuristError:
    error = unknown(f"model at {connection.address.base}", name, names)
    if "did you mean" not in error.hint:
        error.hint = "choose one of these with --model"
    return error


def _models(data: bytes) -> list[ServedModel]:
    """The models of a list: under ``data`` or ``models``, or bare; objects with an id or a name, or names."""
    complaint = "did not answer with a list of models"
    try:
        value = loads(data)
    except (ValueError, RecursionError):
        raise WireError(complaint) from None
    if isinstance(value, dict):
        fields = object_of(value)
        lists = (fields[k] for k in ("data", "models") if isinstance(fields.get(k), list))
        value = next(lists, fields.get("data", 0))
    if value is None:
        return []
    if not isinstance(value, list):
        raise WireError(complaint)
    items = list_of(value)
    models = [m for item in items if (m := _model(item))]
    if items and not models:
        raise WireError(complaint)
    return models


def _model(item: Any) -> ServedModel | None:
    if isinstance(item, str):
        return ServedModel(item)
    fields = object_of(item)
    name = next((fields[k] for k in ("id", "model", "name") if text_of(fields.get(k))), "")
    return ServedModel(name, text_of(fields.get("owned_by"))) if name else None


def explained(error: Exception, connection: Connection) -> EngineError:
    """Why no query could succeed, with what to do about it."""
    where, words = connection.address.base, connection.words(error)
    if isinstance(error, WireError):
        place = f"{where}/models" if words.startswith("did not") else f"{where}:"
        return EngineError(f"{place} {words}", _USUAL)
    if isinstance(error, Refused):
        if not error.status and not words.startswith("an error"):  # TLS, size: nothing that the server said
            return EngineError(f"{where}: {words}", error.mend or _USUAL)
        return EngineError(f"{where} refused: {words}", _key_hint() if error.of_key else error.mend or _USUAL)
    if isinstance(error, Retried):
        return EngineError(f"{where} is not ready: {words}", "wait until the server has loaded its model")
    return EngineError(f"no server answers at {where} ({words})", network_mend(error, where))


def _key_hint() -> str:
    name = api_key()[0]
    given = f"the server does not accept the key in {name}; " if name else ""
    return f"{given}put the key into the environment: export {name or KEY_VARIABLES[0]}=..."
