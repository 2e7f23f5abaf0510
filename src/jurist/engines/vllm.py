"""vLLM in this process: continuous batching, shared prefixes, any label's log-probability."""

import asyncio
import itertools
import os
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from jurist.core.errors import EngineError, MissingExtraError
from jurist.core.types import Completion, Finish, Query, Usage
from jurist.engines.base import failed
from jurist.engines.chat_template import ChatError, ChatIds, overflow
from jurist.engines.in_process import InProcessEngine
from jurist.engines.secrets import refuse_secrets

_FINISH: dict[str | None, Finish] = {"stop": "stop", "length": "length"}


class VllmEngine(InProcessEngine["VllmModel"]):
    """Runs a model from the Hugging Face hub, or from a folder, with vLLM's asynchronous engine.

    ``options`` go to vLLM's engine arguments as they are: dtype, max_model_len, tensor_parallel_size,
    gpu_memory_utilization, enforce_eager ... Raises ``ConfigError`` where they hold a key, since they are
    written down. The engine lives on an event loop of its own, so that it may be used from any other one. It
    starts processes: a script needs ``if __name__ == "__main__":``.
    """

    def __init__(
        self, model: str, *, concurrency: int = 64, options: Mapping[str, Any] | None = None
    ) -> None:
        refuse_secrets(options or {}, "--extra")
        super().__init__(model, concurrency)
        self._options = dict(options or {})

    def _start(self) -> "VllmModel":
        loaded = VllmModel(self.model, self.concurrency, self._options)
        self.caps_thinking = loaded.caps_thinking
        return loaded


class VllmModel:
    """vLLM's engine with at most ``width`` sequences at once, on an event loop in a thread."""

    def __init__(self, model: str, width: int, options: Mapping[str, Any]) -> None:
        # Standard output is for data; vLLM reads this when it is imported.
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
        try:
            self._vllm: Any = import_module("vllm")
            self._params: Any = import_module("vllm.sampling_params")
        except ImportError as error:
            raise MissingExtraError(error.name or "vllm", "vllm", "the vllm engine") from error
        self._numbers = itertools.count()
        self._closed = False
        self._answering: set[asyncio.Task[Any]] = set()
        self._thread = ExitStack()
        portal: Any = import_module("anyio.from_thread")
        self._portal: Any = self._thread.enter_context(portal.start_blocking_portal(name="jurist-vllm"))
        self._engine: Any = None
        try:
            self._portal.call(self._start, model, width, options)
        except EngineError:
            self.close()
            raise
        except Exception as error:  # whatever vLLM, its worker process or the hub raises
            self.close()
            reason = " ".join(str(error).split())[:400]
            raise EngineError(
                f"vLLM cannot start with {model!r}: {type(error).__name__}: {reason}",
                hint="--model takes a folder or a Hugging Face id; vLLM's log above says more",
            ) from error

    async def _start(self, model: str, width: int, options: Mapping[str, Any]) -> None:
        settings: dict[str, Any] = {
            "model": model,
            "enable_prefix_caching": True,
            "max_num_seqs": width,
            "disable_log_stats": True,
            **_precision(),
            **_thinking(),
            **options,
        }
        self._engine = self._vllm.AsyncLLMEngine.from_engine_args(self._vllm.AsyncEngineArgs(**settings))
        tokenizer: Any = self._engine.get_tokenizer()
        if asyncio.iscoroutine(tokenizer):  # in older releases
            tokenizer = await tokenizer
        self.chat = ChatIds(tokenizer, model)
        self.context: int = self._engine.model_config.max_model_len
        reasoning: Any = getattr(self._engine.vllm_config, "reasoning_config", None)
        enabled = getattr(reasoning, "enabled", reasoning is not None)
        self.caps_thinking = bool(enabled) and self._knows("thinking_token_budget")

    async def answer(self, query: Query) -> Completion:
        """The completion of a query; cancelling the awaiting task aborts the request."""
        if self._closed:
            return failed("the engine is closed")
        return await asyncio.wrap_future(self._portal.start_task_soon(self._answered, query))

    def close(self) -> None:
        """End what runs, vLLM's processes and the event loop."""
        self._closed = True
        self._portal.call(self._stop)
        self._thread.close()

    async def _stop(self) -> None:
        tasks = set(self._answering)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None

    async def _answered(self, query: Query) -> Completion:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            return await (self._labels(query) if query.choices else self._sampled(query))
        except ChatError as error:
            return failed(str(error))
        except asyncio.CancelledError:
            if not self._closed:
                raise
            return failed("the engine was closed")
        except Exception as error:  # vLLM has no root of its errors
            return failed(f"vLLM: {type(error).__name__}: {error}")
        finally:
            self._answering.discard(task)

    async def _sampled(self, query: Query) -> Completion:
        ids = self.chat.prompt(query.messages, query.prefill)
        room = self.context - len(ids)
        if room < 1:
            return overflow(len(ids), self.context)
        sampling = query.sampling
        settings: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": min(sampling.max_tokens, room),
            "seed": sampling.seed,
            "stop": list(sampling.stop),
        }
        if sampling.thinking_budget is not None and self.caps_thinking:
            settings["thinking_token_budget"] = sampling.thinking_budget
        output, usage = await self._output(ids, settings)
        reason: str | None = output.finish_reason
        if reason not in _FINISH:
            return failed(f"vLLM ended the request: {reason}")
        return Completion(output.text, finish=_FINISH[reason], usage=usage)

    async def _labels(self, query: Query) -> Completion:
        """Which of the choices comes next: one token, and the log-probabilities of the labels' tokens."""
        ids = self.chat.prompt(query.messages, query.prefill)
        if len(ids) >= self.context:
            return overflow(len(ids), self.context)
        tokens = {c: self.chat.label(query.prefill, c) for c in query.choices}
        settings: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1}
        if self._knows("logprob_token_ids"):
            settings["logprob_token_ids"] = list(tokens.values())
        else:
            # The grammar leaves the labels only, with their ratios: their probabilities then sum to one.
            choice = self._params.StructuredOutputsParams(choice=list(query.choices))
            settings |= {"logprobs": 20, "structured_outputs": choice}
        output, usage = await self._output(ids, settings)
        tops: Mapping[int, Any] = output.logprobs[0]
        logprobs = {c: float(tops[t].logprob) for c, t in tokens.items() if t in tops}
        if not logprobs:
            return failed("vLLM shows no probability of the verdict's labels")
        best = max(logprobs, key=lambda c: logprobs[c])
        return Completion(best, usage=usage, logprobs=logprobs if len(logprobs) == len(tokens) else None)

    async def _output(self, ids: list[int], settings: dict[str, Any]) -> tuple[Any, Usage]:
        """The one output of a prompt; nothing is drawn otherwise than ``settings`` say."""
        neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        final = self._params.RequestOutputKind.FINAL_ONLY
        params = self._params.SamplingParams(**neutral, **settings, output_kind=final)
        number = f"jurist-{next(self._numbers)}"
        stream: Any = self._engine.generate({"prompt_token_ids": ids}, params, number)
        result = [r async for r in stream][-1]
        output = result.outputs[0]
        return output, Usage(len(ids), len(output.token_ids), result.num_cached_tokens or 0)

    def _knows(self, name: str) -> bool:
        return hasattr(self._params.SamplingParams, name)


def _precision() -> dict[str, Any]:
    """Settings under which labels do not tie: in bfloat16 their logits are often the same number.

    On a GPU the output layer alone is in float32, which costs next to nothing; on the CPU the whole model
    is. There, compiling takes minutes and gains little, and the memory is shared with everybody else's.
    """
    platform: Any = import_module("vllm.platforms").current_platform
    if platform.is_cpu():
        return {"dtype": "float32", "enforce_eager": True, "gpu_memory_utilization": 0.5}
    return {"hf_overrides": {"head_dtype": "float32"}}


def _thinking() -> dict[str, Any]:
    """The tags between which vLLM counts a thinking budget, in releases that can."""
    config: Any = getattr(import_module("vllm.config"), "ReasoningConfig", None)
    if config is None:
        return {}
    return {"reasoning_config": config(reasoning_start_str="<think>", reasoning_end_str="</think>")}
