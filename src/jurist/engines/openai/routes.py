"""Which kind of server answers, and the prompt of an assistant turn that begins with given words."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import msgspec

from jurist.core.types import Query
from jurist.engines.openai.errors import Refused, Retried, WireError
from jurist.engines.openai.replies import read_json
from jurist.engines.openai.wire import chat_messages

T = TypeVar("T")
Route = Literal["vllm", "llama.cpp", "chat"]
Request = Callable[[str, str, Mapping[str, Any] | None], Awaitable[bytes]]
"""``request(method, path, body)``; a path that begins with ``//`` starts at the server's root."""

Send = Callable[[Mapping[str, Any]], Awaitable[bytes]]
"""Sends a request with these further fields in its body."""

TEMPLATE = ("chat_template", "chat_template_kwargs")
"""What changes the text that a chat template makes, and so belongs to every route."""

_CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}
_NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


class _Version(msgspec.Struct):
    version: str


class _Props(msgspec.Struct):
    default_generation_settings: dict[str, Any] | None = None
    role: str = ""

    def is_llama_cpp(self) -> bool:
        """Whether these are llama.cpp's: of a server with one model, or of one that routes to several."""
        return self.default_generation_settings is not None or self.role == "router"


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Template(msgspec.Struct):
    prompt: str


class Routes:
    """The ways to continue an assistant turn that one server has; finds out once which server it is.

    A chat template may strip or open the thinking of an assistant's turn. So vLLM and llama.cpp are asked
    for the prompt up to that turn, and the turn's words are put behind it as they are. Elsewhere, and where
    a server's own route fails, the chat request ends with the turn.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._route: Route | None = None
        self._finding = asyncio.Lock()
        self._fields: Mapping[str, Any] = _CONTINUE

    async def route(self, model: str) -> Route:
        """The first route whose mark is there; a server that is down raises, and is asked again later."""
        async with self._finding:
            if self._route is None:
                self._route = await self._find(model)
        return self._route

    def only_chat(self) -> None:
        """The server's own route failed where its chat route did not: from now on only that is used."""
        self._route = "chat"

    async def _find(self, model: str) -> Route:
        if await self._answers("//version", _Version):
            return "vllm"
        # A llama.cpp that routes to several models wants to be told which.
        for path in ("//props", f"//props?model={quote(model, safe='')}"):
            props = await self._answers(path, _Props)
            if props and props.is_llama_cpp():
                return "llama.cpp"
        return "chat"

    async def _answers(self, path: str, kind: type[T]) -> T | None:
        try:
            return await self.ask("GET", path, None, kind)
        except (Refused, WireError):
            return None
        except Retried as error:
            if error.most is None:
                raise
            return None  # it answers nothing at all there

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None, kind: type[T]) -> T:
        """A request whose answer is ``kind``; raises ``WireError`` where it is not."""
        data = await self.request(method, path, body)
        where = (path.removeprefix("/") if path.startswith("//") else path).partition("?")[0]
        return read_json(data, kind, f"{where} answered with another shape than expected")

    async def vllm_prompt(self, query: Query, model: str, extra: Mapping[str, Any]) -> list[int]:
        """Ids of the chat with the assistant's turn so far."""
        turns = {"messages": chat_messages(query.messages), "add_generation_prompt": True, **_template(extra)}
        chat = await self.ask("POST", "//tokenize", {"model": model, **turns}, _Tokens)
        return chat.tokens + await self.vllm_ids(query.prefill or "", model)

    async def vllm_ids(self, text: str, model: str) -> list[int]:
        """Ids of a text by itself."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        return (await self.ask("POST", "//tokenize", body, _Tokens)).tokens

    async def llama_prompt(self, query: Query, model: str, extra: Mapping[str, Any]) -> str:
        """Text of the chat with the assistant's turn so far."""
        turns = {"model": model, "messages": chat_messages(query.messages), **_template(extra)}
        return (await self.ask("POST", "//apply-template", turns, _Template)).prompt + (query.prefill or "")

    async def llama_ids(self, text: str, model: str) -> list[int]:
        """Ids of a text by itself."""
        body = {"model": model, "content": text, "add_special": False}
        return (await self.ask("POST", "//tokenize", body, _Tokens)).tokens

    async def continued(self, send: Send) -> bytes:
        """The reply to a chat request whose last turn is the assistant's.

        It goes out with the fields by which vLLM and SGLang continue a turn. A server that takes it only
        without them gets it so from then on: the hosted ones continue the last turn unasked. So does one that
        continues a turn only where its template does not think.
        """
        try:
            return await send(self._fields)
        except Refused as error:
            if not self._fields or not error.of_request or error.too_long or "logprob" in str(error):
                raise
            fields: Mapping[str, Any] = _NO_THINKING if "enable_thinking" in str(error) else {}
        data = await send(fields)
        self._fields = fields
        return data


def native_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The user's own fields, as far as a raw continuation knows them."""
    chat_only = (*TEMPLATE, "max_tokens", "max_completion_tokens")
    return {name: value for name, value in extra.items() if name not in chat_only}


def _template(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {name: extra[name] for name in TEMPLATE if extra.get(name) is not None}
