"""An assistant turn that begins with given words is continued, by the route that a server has."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from jurist.core.types import Completion, Message, Query
from jurist.engines.openai.errors import Refused, WireError
from jurist.engines.openai.replies import read_native, read_raw, read_reply
from jurist.engines.openai.routes import Routes, native_extra
from jurist.engines.openai.thinking_budget import ThinkingBudget
from jurist.engines.openai.wire import NEUTRAL, chat_body, present, sampling_body

_THINK_TAGS = ["<think>", "</think>"]


class Prefill:
    """Continues the prefill of a query; the completion's text is what was newly written."""

    def __init__(self, routes: Routes, budget: ThinkingBudget) -> None:
        self._routes = routes
        self._budget = budget

    async def read(
        self, query: Query, model: str, neutral: Mapping[str, Any], extra: Mapping[str, Any]
    ) -> Completion:
        """What comes after ``query.prefill``. ``neutral`` and ``extra`` are fields of chat requests."""
        route = await self._routes.route(model)
        if route == "chat":
            return await self._chat(query, model, neutral, extra)
        native = self._vllm if route == "vllm" else self._llama_cpp
        try:
            return await native(query, model, extra)
        except (Refused, WireError) as error:
            if isinstance(error, Refused) and not error.no_route:
                raise
            # Not every server with vLLM's or llama.cpp's mark has its routes.
            try:
                completion = await self._chat(query, model, neutral, extra)
            except (Refused, WireError):
                raise error from None
            self._routes.only_chat()
            return completion

    async def _vllm(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        prompt = await self._routes.vllm_prompt(query, model, extra)
        body = {"model": model, "prompt": prompt, **sampling_body(query.sampling)}

        async def send(more: Mapping[str, Any]) -> bytes:
            whole = present({**body, **NEUTRAL["vllm"], **more, **native_extra(extra)})
            return await self._routes.request("POST", "/completions", whole)

        return read_raw(await self._budget.sent(query.sampling, send))

    async def _llama_cpp(self, query: Query, model: str, extra: Mapping[str, Any]) -> Completion:
        sampling = sampling_body(query.sampling)
        sampling["n_predict"] = sampling.pop("max_tokens")
        body: dict[str, Any] = {
            "model": model,
            "prompt": await self._routes.llama_prompt(query, model, extra),
            **sampling,
            # Some vocabularies hold these as control tokens, which are left out of a text.
            "preserved_tokens": _THINK_TAGS,
        }
        whole = present({**body, **NEUTRAL["llamacpp"], **native_extra(extra)})
        return read_native(await self._routes.request("POST", "//completion", whole))

    async def _chat(
        self, query: Query, model: str, neutral: Mapping[str, Any], extra: Mapping[str, Any]
    ) -> Completion:
        prefill = query.prefill or ""
        turns = replace(query, messages=(*query.messages, Message("assistant", prefill)))

        async def send(more: Mapping[str, Any]) -> bytes:
            body = chat_body(turns, model, {**neutral, **more, **extra})
            return await self._routes.request("POST", "/chat/completions", body)

        data = await self._budget.sent(
            query.sampling, lambda cap: self._routes.continued(lambda fields: send({**cap, **fields}))
        )
        return _new(read_reply(data)[0], prefill)


def _new(completion: Completion, prefill: str) -> Completion:
    """All that a chat request's completion has beyond the turn that it continued, in its text.

    Some servers repeat the turn. Those that part the thinking from the answer may take all that comes for
    thinking, for want of the closing tag that stands in the turn.
    """
    text, thought = completion.text, completion.thinking or ""
    text = text.removeprefix(prefill) if prefill.strip() else text
    closed = prefill.rfind("</think>") > prefill.rfind("<think>")
    tag = "\n</think>\n\n" if thought and text and not closed else ""
    return replace(completion, text=thought + tag + text, thinking=None)
