"""Thinking capped by the server: which servers can, by which field of a request, and whether they do."""

from collections.abc import Mapping
from typing import Any

import msgspec

from jurist.core.types import Sampling
from jurist.engines.openai.errors import Refused, Retried, WireError
from jurist.engines.openai.replies import read_json
from jurist.engines.openai.routes import Request, Send

_VLLM = "thinking_token_budget"
_SGLANG = "custom_params"
_PROCESSOR = "custom_logit_processor"

# SGLang keeps to a budget only under --enable-strict-thinking, and there only with a reasoning parser that
# forbids tokens while it thinks; otherwise it drops the budget without a word. These parsers do forbid some
# (sgl-project/sglang, srt/constrained/reasoner_grammar_backend.py, srt/parser/reasoning_parser.py).
_STRICT_PARSERS = ("qwen3", "qwen3-thinking")


class _Strict(msgspec.Struct):
    enable_strict_thinking: bool = False
    reasoning_parser: str | None = None


class _ServerInfo(_Strict):
    """SGLang's settings: by themselves, or in newer releases in groups."""

    serving: _Strict | None = None

    def caps(self) -> bool:
        """Whether a thinking budget is kept to."""
        settings = self.serving or self
        return settings.enable_strict_thinking and settings.reasoning_parser in _STRICT_PARSERS


class ThinkingBudget:
    """What one server does with a thinking budget.

    Nothing is sent before ``find_out`` has seen that the server keeps to it: one that does not know the
    field refuses the request or, worse, thinks on without a word.
    """

    def __init__(self, request: Request, extra: Mapping[str, Any]) -> None:
        self._request = request
        self._extra = extra
        self._field = ""

    @property
    def active(self) -> bool:
        """Whether budgets are sent, and the server has not refused one."""
        return bool(self._field)

    async def find_out(self, owner: str, model: str) -> None:
        """Ask the server that lists ``model`` as ``owner``'s; a server that is down raises."""
        self._field = ""
        if owner == "vllm" and _VLLM not in self._extra and await self._vllm(model):
            self._field = _VLLM
        if owner == "sglang" and _SGLANG not in self._extra and await self._sglang():
            self._field = _SGLANG

    async def sent(self, sampling: Sampling, send: Send) -> bytes:
        """The reply to a request with its budget, or without it where the server refuses the field."""
        fields = self._fields(sampling.thinking_budget)
        try:
            return await send(fields)
        except Refused as error:
            if not fields or not error.of_request or "thinking" not in str(error):
                raise
        self._field = ""
        return await send({})

    def _fields(self, budget: int | None) -> dict[str, Any]:
        if budget is None or budget < 0 or not self._field:
            return {}
        return {_VLLM: budget} if self._field == _VLLM else {_SGLANG: {"thinking_budget": budget}}

    async def _vllm(self, model: str) -> bool:
        """Whether the field is known (no number is refused) and enabled (a number is not).

        Releases before the field ignore it; without a reasoning parser a budget is refused.
        """
        try:
            await self._probe(model, "none")
        except Refused as error:
            if not error.of_request or _VLLM not in str(error):
                return False
        else:
            return False
        try:
            await self._probe(model, 1)
        except Refused:
            return False
        return True

    async def _probe(self, model: str, budget: int | str) -> None:
        turns = [{"role": "user", "content": "Hi"}]
        body = {"model": model, "messages": turns, "max_tokens": 1, _VLLM: budget}
        await self._request("POST", "/chat/completions", body)

    async def _sglang(self) -> bool:
        if self._extra.get(_PROCESSOR) is not None:
            return True  # the user's own logit processor reads the budget
        for path in ("//server_info", "//get_server_info"):
            try:
                return read_json(await self._request("GET", path, None), _ServerInfo, "no settings").caps()
            except (Refused, WireError):
                continue
            except Retried as error:
                if error.most is None:
                    raise
        return False
