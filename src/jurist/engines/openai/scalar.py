"""A scalar reward model behind a server: the raw score, by the route that vLLM or SGLang has for it."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from jurist.core.errors import EngineError, JuristError, MissingExtraError
from jurist.core.types import Completion, Conversation, Message, Query, Usage
from jurist.engines.base import failed
from jurist.engines.chat_template import ChatError
from jurist.engines.openai.client import HttpEngine
from jurist.engines.openai.connection import NETWORK_ERRORS
from jurist.engines.openai.errors import Refused, Retried, WireError
from jurist.engines.openai.models import explained, find_model
from jurist.engines.openai.replies import read_json, usage_of
from jurist.engines.openai.wire import chat_messages, present
from jurist.engines.scalar import WRITES_NOTHING, WholeChat

T = TypeVar("T")
Score = Callable[[Conversation], Awaitable[Completion]]
"""One way to ask a server for the score of a conversation."""

_PROBE = (Message("user", "Hi"), Message("assistant", "Hello."))


# The parts of each server's reply that are read; msgspec checks their shape.
class _Class(msgspec.Struct):
    probs: list[float]


class _Pooled(msgspec.Struct):
    data: list[float | list[float]]


class _Embedded(msgspec.Struct):
    embedding: list[float]


class _Reply(msgspec.Struct, Generic[T]):
    data: Annotated[list[T], msgspec.Meta(min_length=1)]
    usage: Any = None


class _ModelInfo(msgspec.Struct):
    model_path: str
    tokenizer_path: str = ""


class ScalarHttpEngine(HttpEngine):
    """Scores whole conversations with a reward model that vLLM or SGLang serves.

    ``url`` is the server's address, with or without ``scalar+`` before it and ``/v1`` behind it. Asked
    first are vLLM's ``/classify`` and ``/pooling``, with the activation switched off; then SGLang's
    ``/v1/embeddings``, which applies no chat template: there the token ids are made here, with the
    model's tokenizer (extra: transformers). SGLang's own ``/v1/classify`` is of no use, since the softmax
    of one number is 1. Slots, retries and time limits are those of ``HttpEngine``, as are the options;
    ``extra`` goes into the body of each request; a None in it takes a field out.
    """

    def __init__(self, url: str, model: str | None = None, **options: Any) -> None:
        super().__init__(url.strip().removeprefix("scalar+"), model, **options)
        if not self._connection.address.base.endswith("/v1"):
            address = self._connection.address
            self._connection.address = dataclasses.replace(address, base=f"{address.base}/v1")
        self._score: Score | None = None
        self._finding = asyncio.Lock()
        self._whole: WholeChat | None = None

    @property
    def caps_thinking(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """It thinks nothing, so it keeps to any budget."""
        return True

    async def __call__(self, query: Query) -> Completion:
        if query.choices or query.prefill is not None:
            return failed(WRITES_NOTHING)
        return (await self._attempts(lambda: self._scored(query)))[0]

    async def check(self) -> None:
        """Find the model, and the route by which the server scores a conversation. Raises ``EngineError``."""
        self._adopt(await find_model(self._connection, self.model, self._timeout, probe=False))
        try:
            await self._found()
        except (Refused, WireError, Retried, *NETWORK_ERRORS) as error:
            raise explained(error, self._connection) from None

    async def _scored(self, query: Query) -> list[Completion]:
        try:
            score = await self._found()
            return [await score(query.messages)]
        except (ChatError, JuristError) as error:
            raise Refused(getattr(error, "message", str(error))) from error

    async def _found(self) -> Score:
        """The first route that gives one number; a server that is down raises, and is asked again later."""
        async with self._finding:
            if self._score is None:
                self._score = await self._find()
        return self._score

    async def _find(self) -> Score:
        complaints: list[str] = []
        routes = {"/classify": self._classify, "/pooling": self._pooling, "/v1/embeddings": self._embeddings}
        for name, score in routes.items():
            try:
                await score(_PROBE)
            except (Refused, WireError) as error:
                if isinstance(error, Refused) and error.of_key:
                    raise
                complaints.append(f"{name}: {error}")
            else:
                return score
        raise EngineError(
            f"{self.url} gives no reward for a conversation ({'; '.join(complaints)})",
            hint="serve a model with one output: vllm serve MODEL --runner pooling, "
            "or sglang.launch_server --model-path MODEL --is-embedding",
        )

    async def _classify(self, messages: Conversation) -> Completion:
        reply = await self._ask("//classify", self._body(messages), _Reply[_Class])
        return _completion(reply.data[0].probs, reply.usage)

    async def _pooling(self, messages: Conversation) -> Completion:
        reply = await self._ask("//pooling", self._body(messages), _Reply[_Pooled])
        # Either the conversation's numbers, or those of each token: the last one has read it all.
        numbers = reply.data[0].data
        last = numbers[-1] if numbers else 0.0
        return _completion(last if isinstance(last, list) else numbers, reply.usage)

    async def _embeddings(self, messages: Conversation) -> Completion:
        if self._whole is None:
            self._whole = await self._tokenizer()
        body = {"model": self.model, "input": self._whole.ids(messages), **self._extra}
        reply = await self._ask("/embeddings", body, _Reply[_Embedded])
        return _completion(reply.data[0].embedding, reply.usage)

    def _body(self, messages: Conversation) -> dict[str, Any]:
        turns = {"messages": chat_messages(messages), "add_generation_prompt": False}
        return {"model": self.model, **turns, "use_activation": False, **self._extra}

    async def _tokenizer(self) -> WholeChat:
        """The chat template and the vocabulary of the model that SGLang says it serves."""
        try:
            info = await self._ask("//get_model_info", None, _ModelInfo)
        except (Refused, WireError):
            info = await self._ask("//model_info", None, _ModelInfo)
        name = info.tokenizer_path or info.model_path
        try:
            library: Any = import_module("transformers")
        except ImportError as error:
            package = error.name or "transformers"
            raise MissingExtraError(package, "transformers", "a reward model behind SGLang") from error
        try:
            tokenizer = await asyncio.to_thread(library.AutoTokenizer.from_pretrained, name)
        except Exception as error:  # whatever a missing folder or a missing network raises
            raise EngineError(
                f"the tokenizer of {name!r}, which {self.url} serves, cannot be loaded here",
                hint="serve the model by its Hugging Face id, or by a folder that this machine has too",
            ) from error
        return WholeChat(tokenizer, name)

    async def _ask(self, path: str, body: Mapping[str, Any] | None, kind: type[T]) -> T:
        sent = body and present(body)
        data = await self._connection.request("POST" if sent else "GET", path, sent)
        return read_json(data, kind, f"{path.removeprefix('/')} answered with another shape than expected")


def _completion(numbers: Sequence[float | list[float]], usage: Any) -> Completion:
    if len(numbers) != 1 or isinstance(numbers[0], list):
        raise WireError(f"the model gives {len(numbers)} numbers; a scalar reward model gives one")
    return Completion(repr(numbers[0]), usage=Usage(usage_of(usage).prompt_tokens, 0))
