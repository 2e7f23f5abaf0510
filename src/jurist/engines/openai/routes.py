"""Which kind of server answers, and the prompt of an assistant turn that begins with given words."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from jurist.core.types import Query
from jurist.engines.openai.wire import Refused, WireError, chat_messages, is_too_long, read_json

T = TypeVar("T")
Route = Literal["vllm", "llama.cpp", "chat"]
Request = Callable[[str, str, Mapping[str, Any] | None], Awaitable[bytes]]
"""``request(method, path, body)``; a path that begins with ``//`` starts at the server's root."""

Send = Callable[[Mapping[str, Any]], Awaitable[bytes]]
"""Sends a request with these further fields in its body."""

TEMPLATE = ("chat_template", "chat_template_kwargs")
"""What changes the text that a chat template makes, and so belongs to every route."""

_CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}


class _Version(msgspec.Struct):
    version: str


class _Props(msgspec.Struct):
    default_generation_settings: dict[str, Any]


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Template(msgspec.Struct):
    prompt: str


class Routes:
    """The ways to continue an assistant turn that one server has; finds out once which server it is.

    A chat template may strip or open the thinking of an assistant's turn. So vLLM and llama.cpp are asked
    for the prompt up to that turn, and the turn's words are put behind it as they are. Elsewhere the chat
    request ends with the turn.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._route: Route | None = None
        self._finding = asyncio.Lock()
        self._bare = False

    async def route(self) -> Route:
        """The first route whose mark is there; a server that is down raises, and is asked again later."""
        async with self._finding:
            if self._route is None:
                self._route = await self._find()
        return self._route

    async def _find(self) -> Route:
        marks: list[tuple[Route, str, type]] = [
            ("vllm", "//version", _Version),
            ("llama.cpp", "//props", _Props),
        ]
        for route, path, kind in marks:
            try:
                await self.ask("GET", path, None, kind)
            except (Refused, WireError):
                continue
            return route
        return "chat"

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None, kind: type[T]) -> T:
        """A request whose answer is ``kind``; raises ``WireError`` where it is not."""
        data = await self.request(method, path, body)
        where = path.removeprefix("/") if path.startswith("//") else path
        return read_json(data, kind, f"{where} answered with another shape than expected")

    async def vllm_prompt(self, query: Query, model: str, extra: Mapping[str, Any]) -> list[int]:
        """Ids of the chat with the assistant's turn so far."""
        turns = {"messages": chat_messages(query.messages), "add_generation_prompt": True, **_template(extra)}
        asked = await self.ask("POST", "//tokenize", {"model": model, **turns}, _Tokens)
        return asked.tokens + await self.vllm_ids(query.prefill or "", model)

    async def vllm_ids(self, text: str, model: str) -> list[int]:
        """Ids of a text by itself."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        return (await self.ask("POST", "//tokenize", body, _Tokens)).tokens

    async def llama_prompt(self, query: Query, extra: Mapping[str, Any]) -> str:
        """Text of the chat with the assistant's turn so far."""
        turns = {"messages": chat_messages(query.messages), **_template(extra)}
        return (await self.ask("POST", "//apply-template", turns, _Template)).prompt + (query.prefill or "")

    async def llama_ids(self, text: str) -> list[int]:
        """Ids of a text by itself."""
        body = {"content": text, "add_special": False}
        return (await self.ask("POST", "//tokenize", body, _Tokens)).tokens

    async def continued(self, send: Send) -> bytes:
        """The reply to a chat request whose last turn is the assistant's.

        It goes out with the fields by which vLLM and SGLang continue a turn. A server that takes it only
        without them gets it so from then on: the hosted ones continue the last turn unasked.
        """
        if self._bare:
            return await send({})
        try:
            return await send(_CONTINUE)
        except Refused as error:
            if not error.of_request or is_too_long(str(error)):
                raise
        data = await send({})
        self._bare = True
        return data


def native_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The user's own fields, as far as a raw continuation knows them."""
    chat_only = (*TEMPLATE, "max_tokens", "max_completion_tokens")
    return {name: value for name, value in extra.items() if name not in chat_only}


def _template(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name: extra[name] for name in TEMPLATE if extra.get(name) is not None}
