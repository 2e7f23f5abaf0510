"""The event loop and the life of the vLLM engine, with a stand-in for the package."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from jurist.core.errors import ConfigError, EngineError, MissingExtraError
from jurist.core.types import Message, Query, Sampling
from jurist.engines import vllm as module
from jurist.engines.vllm import VllmEngine

ASKED = Query("c", (0, 1), 0, (Message("user", "Which?"),), Sampling())


class StandIn:
    """What of vLLM's asynchronous engine is used: a request waits until it is aborted, or is answered."""

    def __init__(self, arguments: Any) -> None:
        if arguments.options["model"] == "broken":
            raise RuntimeError("no such model")
        self.aborted, self.running, self.over = 0, asyncio.Event(), False
        self.model_config = SimpleNamespace(max_model_len=100)
        self.vllm_config = SimpleNamespace()
        self.options = arguments.options

    def get_tokenizer(self) -> Any:
        return SimpleNamespace()

    async def generate(self, _prompt: Any, params: Any, _number: str) -> Any:
        if params.options["max_tokens"] > 90:
            self.running.set()
            try:
                await asyncio.sleep(60)
            finally:
                self.aborted += 1
        output = SimpleNamespace(text="[[A]]", token_ids=[1, 2], finish_reason="stop")
        yield SimpleNamespace(outputs=[output], num_cached_tokens=None)

    def shutdown(self) -> None:
        self.over = True


class _Options:
    """A class of arguments that keeps what it is given."""

    def __init__(self, **options: Any) -> None:
        self.options = options


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm: Any = ModuleType("vllm")
    vllm.AsyncEngineArgs = _Options
    vllm.AsyncLLMEngine = SimpleNamespace(from_engine_args=StandIn)
    params: Any = ModuleType("vllm.sampling_params")
    params.SamplingParams = _Options
    params.RequestOutputKind = SimpleNamespace(FINAL_ONLY=2)
    platforms: Any = ModuleType("vllm.platforms")
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: True)
    names = {
        "vllm": vllm,
        "vllm.sampling_params": params,
        "vllm.platforms": platforms,
        "vllm.config": ModuleType("c"),
    }
    for name, stand_in in names.items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    chat = SimpleNamespace(prompt=lambda *_: [1, 2, 3])
    monkeypatch.setattr(module, "ChatIds", lambda *_: chat)


@pytest.mark.usefixtures("package")
async def test_it_answers_from_any_loop_and_starts_again() -> None:
    engine = VllmEngine("m", options={"dtype": "float32"})
    got = await engine(Query("c", (0, 1), 0, ASKED.messages, Sampling(max_tokens=5)))
    assert (got.text, got.usage.prompt_tokens, got.usage.completion_tokens) == ("[[A]]", 3, 2)
    other = await asyncio.to_thread(asyncio.run, engine(Query("c", (0, 1), 0, (), Sampling(max_tokens=5))))
    assert other.text == "[[A]]"
    runtime: Any = engine._runtime
    assert runtime._engine.options["dtype"] == "float32"
    await engine.aclose()
    assert (await runtime.answer(ASKED)).error == "the engine is closed"
    await engine.check()
    assert engine._runtime is not runtime
    await engine.aclose()


@pytest.mark.usefixtures("package")
async def test_cancelling_aborts_a_request_and_closing_fails_the_rest() -> None:
    engine = VllmEngine("m")
    await engine.check()
    runtime: Any = engine._runtime
    stand_in: StandIn = runtime._engine
    task = asyncio.ensure_future(engine(ASKED))
    await asyncio.to_thread(runtime._portal.call, stand_in.running.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)
    assert stand_in.aborted == 1
    waiting = asyncio.ensure_future(engine(ASKED))
    await asyncio.sleep(0.05)
    await engine.aclose()
    assert (await waiting).error == "the engine was closed"
    assert (stand_in.aborted, stand_in.over) == (2, True)


@pytest.mark.usefixtures("package")
async def test_a_model_that_does_not_start_is_an_error() -> None:
    with pytest.raises(EngineError, match="vLLM cannot start with 'broken': RuntimeError: no such model"):
        await VllmEngine("broken").check()
    with pytest.raises(ConfigError, match="looks like a key"):
        VllmEngine("m", options={"hf_token": "hf_abc"})


async def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match="the vllm engine"):
        await VllmEngine("m").check()
