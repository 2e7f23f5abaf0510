"""A Hugging Face causal model in this process: queries that arrive together are generated as one batch."""

import asyncio
import gc
import inspect
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from msgspec.structs import replace

from jurist.core.errors import EngineError, MissingExtraError
from jurist.core.types import Completion, Query, Sampling, Usage
from jurist.engines.base import EngineBase, failed
from jurist.engines.chat_template import ChatError, ChatIds, overflow

# Queries of one wave arrive within this many seconds of each other; nobody joins a batch that runs.
_GATHERING = 0.05
# Rows of the output layer that are held in float32 at once while labels are scored.
_SLICE = 16384
# Tokens of a continued turn that are enough to read the next ones in their place.
_TAIL = 8


@dataclass(slots=True, eq=False)
class _Job:
    """One query on its way through the model's thread: to be continued, or its labels to be scored.

    ``limit`` is how many tokens may be written; ``written`` how many were, once a limit or a stop ended it.
    ``before`` is the end of the turn that is continued.
    """

    ids: list[int]
    sampling: Sampling
    limit: int = 1
    labels: tuple[int, ...] = ()
    written: int | None = None
    before: tuple[int, ...] = ()
    future: "Future[Any]" = field(default_factory=Future[Any])


class TransformersEngine(EngineBase):
    """Runs a model from the Hugging Face hub, or from a folder, with ``transformers``.

    On a GPU in the model's own precision, else on the CPU in float32. ``concurrency`` is the largest
    batch. Each row of a batch is drawn by its own generator, so equal queries get equal completions,
    alone or in a batch, as far as their logits are equal: in float32 up to rounding; in bfloat16 a near
    tie may fall differently in another batch. A thinking budget is not enforced.
    """

    def __init__(self, model: str, *, concurrency: int = 16) -> None:
        self.model = model
        self.concurrency = concurrency
        self._loading = threading.Lock()
        self._runtime: _Runtime | None = None

    def identity(self) -> str:
        """The model's id or folder."""
        return self.model

    async def check(self) -> None:
        """Load the model."""
        await asyncio.to_thread(self._load)

    async def __call__(self, query: Query) -> Completion:
        runtime = self._runtime or await asyncio.to_thread(self._load)
        started = time.monotonic()
        try:
            answer = await (runtime.labels if query.choices else runtime.sampled)(query)
        except ChatError as error:
            answer = failed(str(error))
        except RuntimeError as error:
            answer = failed(f"the model {self.model!r} failed: {error}")
        return replace(answer, seconds=time.monotonic() - started)

    async def aclose(self) -> None:
        """Free the model; another query would load it again."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await asyncio.to_thread(runtime.close)

    def _load(self) -> "_Runtime":
        # A thread's lock, since the first queries may come from several event loops.
        with self._loading:
            if self._runtime is None:
                self._runtime = _Runtime(self.model, self.concurrency)
            return self._runtime


class _Runtime:
    """The model, and the one thread that runs it."""

    def __init__(self, model: str, width: int) -> None:
        try:
            self._torch: Any = import_module("torch")
            self._library: Any = import_module("transformers")
        except ImportError as error:
            package = error.name or "transformers"
            raise MissingExtraError(package, "transformers", "the transformers engine") from error
        tokenizer: Any = self._read("AutoTokenizer", model)
        self.chat = ChatIds(tokenizer, model)
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        dtype = "auto" if self._device == "cuda" else self._torch.float32
        self._model: Any = self._read("AutoModelForCausalLM", model, dtype=dtype).eval()
        self._eos = _eos(self._model.generation_config.eos_token_id, tokenizer.eos_token_id)
        self._pad: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        # A model's own sampling defaults (top_k, repetition penalty) would change what a query asks for.
        self._model.generation_config = self._library.GenerationConfig()
        text_config: Any = self._model.config.get_text_config()
        self.context: int = getattr(text_config, "max_position_embeddings", None) or 2**31
        known = inspect.signature(self._model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._width = width
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="jurist-transformers", daemon=True)
        self._thread.start()

    def _read(self, kind: str, model: str, **options: Any) -> Any:
        try:
            loaded: Any = getattr(self._library, kind).from_pretrained(model, **options)
            return loaded.to(self._device) if options else loaded
        except Exception as error:  # whatever a damaged folder or a missing network raises
            reason = " ".join(str(error).split())[:400]
            raise EngineError(
                f"transformers cannot load {model!r}: {type(error).__name__}: {reason}",
                hint="--model takes a folder or a Hugging Face id; without network, one that is in the cache",
            ) from error

    async def sampled(self, query: Query) -> Completion:
        """The continuation of a chat."""
        ids = self.chat.prompt(query.messages, query.prefill)
        room = self.context - len(ids)
        if room < 1:
            return overflow(len(ids), self.context)
        limit = min(query.sampling.max_tokens, room)
        before = tuple(ids[-_TAIL:]) if query.prefill else ()
        return await self._submit(_Job(ids, query.sampling, limit, before=before))

    async def labels(self, query: Query) -> Completion:
        """Which of the choices comes next: one forward pass, the log-probability of each one's token."""
        ids = self.chat.prompt(query.messages, query.prefill)
        if len(ids) >= self.context:
            return overflow(len(ids), self.context)
        tokens = tuple(self.chat.label(query.prefill, c) for c in query.choices)
        values: list[float] = await self._submit(_Job(ids, query.sampling, labels=tokens))
        logprobs = dict(zip(query.choices, values, strict=True))
        best = max(logprobs, key=lambda c: logprobs[c])
        return Completion(best, usage=Usage(len(ids), 1), logprobs=logprobs)

    def close(self) -> None:
        """Stop the thread, after the token it is at, and free the model."""
        with self._door:
            self._closed = True
            self._queue.put(None)
        self._thread.join(timeout=60)
        self._model = None
        self._free()

    async def _submit(self, job: _Job) -> Any:
        """What became of a job; cancelling the awaiting task takes its row out of the batch."""
        with self._door:
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._queue.put(job)
        return await asyncio.wrap_future(job.future)

    def _work(self) -> None:
        while (wave := self._wave()) is not None:
            jobs = [j for j in wave if not j.future.cancelled()]
            for job in jobs:
                # Alone and unpadded: a prompt fills the device by itself, and the figures are the same
                # whatever else was asked.
                if job.labels:
                    self._settle([job], self._scored)
            self._settle([j for j in jobs if not j.labels], self._generated)

    def _wave(self) -> list[_Job] | None:
        """The jobs that wait together, at most a batch of them; None when the engine closes."""
        wave: list[_Job] = []
        while len(wave) < self._width:
            try:
                job = self._queue.get(timeout=_GATHERING if wave else None)
            except queue.Empty:
                break
            if job is None:
                _fail(wave, RuntimeError("the engine was closed"))
                return None
            wave.append(job)
        return wave

    def _settle(self, jobs: list[_Job], run: "Callable[[list[_Job]], list[Any]]") -> None:
        """Run a batch and hand out what came of it; one that does not fit into memory is halved."""
        if not jobs:
            return
        crowded = False
        try:
            if self._closed:
                raise RuntimeError("the engine was closed")
            for job, outcome in zip(jobs, run(jobs), strict=True):
                with suppress(InvalidStateError):  # nobody waits any more
                    job.future.set_result(outcome)
        except Exception as error:  # the thread must outlive whatever a model raises
            crowded = len(jobs) > 1 and isinstance(error, self._torch.OutOfMemoryError)
            if not crowded:
                _fail(jobs, RuntimeError(f"{type(error).__name__}: {error}"))
        if crowded:
            # Out here, since the exception's traceback held the batch's tensors.
            self._free()
            self._settle(jobs[: len(jobs) // 2], run)
            self._settle(jobs[len(jobs) // 2 :], run)

    def _generated(self, jobs: list[_Job]) -> list[Completion]:
        torch = self._torch
        for job in jobs:
            job.written = None  # a batch that did not fit runs again in halves
        longest = max(len(j.ids) for j in jobs)
        pads = [longest - len(j.ids) for j in jobs]
        ids = [[self._pad] * n + j.ids for n, j in zip(pads, jobs, strict=True)]
        mask = [[0] * n + [1] * len(j.ids) for n, j in zip(pads, jobs, strict=True)]
        rows = _Rows(torch, jobs, longest, self.chat.text, lambda: self._closed)
        config = self._library.GenerationConfig(
            do_sample=False,
            max_new_tokens=max(j.limit for j in jobs),
            eos_token_id=self._eos or None,
            pad_token_id=self._pad,
        )
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=torch.tensor(ids, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                generation_config=config,
                logits_processor=self._library.LogitsProcessorList([rows.draw]),
                stopping_criteria=self._library.StoppingCriteriaList([rows.ended]),
            )
        if self._closed:
            raise RuntimeError("the engine was closed")
        return [self._completion(j, new) for j, new in zip(jobs, output[:, longest:].tolist(), strict=True)]

    def _completion(self, job: _Job, new: list[int]) -> Completion:
        new = new[: job.written or job.limit]
        end = next((i for i, token in enumerate(new) if token in self._eos), None)
        if end is not None:
            new = new[: end + 1]
        text = self._new(job.before, new)
        stops = [at for s in job.sampling.stop if (at := text.find(s)) >= 0]
        finish = "stop" if stops or end is not None else "length"
        return Completion(
            text[: min(stops)] if stops else text, finish=finish, usage=Usage(len(job.ids), len(new))
        )

    def _new(self, before: tuple[int, ...], new: list[int]) -> str:
        """The text of new ids; alone, some vocabularies would drop the space before their first word."""
        head, whole = self.chat.text(before), self.chat.text([*before, *new])
        return whole[len(head) :] if whole.startswith(head) else self.chat.text(new)

    def _scored(self, jobs: list[_Job]) -> list[list[float]]:
        torch = self._torch
        (job,) = jobs
        ids = torch.tensor([job.ids], device=self._device)
        with torch.inference_mode(), _exact_head(torch, self._model.get_output_embeddings()):
            logits = self._model(input_ids=ids, use_cache=False, **self._last_only).logits[0, -1]
            values = logits.double().log_softmax(-1)[list(job.labels)]
        return [values.tolist()]

    def _free(self) -> None:
        gc.collect()
        if self._device == "cuda":
            self._torch.cuda.empty_cache()


class _Rows:
    """How each row of a batch draws its tokens and where it ends, by its own query's settings."""

    def __init__(
        self,
        torch: Any,
        jobs: list[_Job],
        start: int,
        text: Callable[[list[int]], str],
        closing: Callable[[], bool],
    ) -> None:
        self._torch = torch
        self._jobs = jobs
        self._start = start
        self._text = text
        self._closing = closing
        # On the CPU wherever the model is, so that a seed means the same draws on every device.
        self._draws = [torch.Generator().manual_seed(j.sampling.seed or 0) for j in jobs]

    def draw(self, ids: Any, logits: Any) -> Any:  # noqa: ARG002 - the interface of transformers
        """Logits (rows, vocabulary) in which a sampled row has only its drawn token left."""
        for row, job in enumerate(self._jobs):
            if job.sampling.temperature > 0:
                token = self._drawn(logits[row], job.sampling, self._draws[row])
                logits[row] = -self._torch.inf
                logits[row, token] = 0.0
        return logits

    def _drawn(self, logits: Any, sampling: Sampling, generator: Any) -> Any:
        """A token by inverting the distribution at one uniform number: an order of summands, no noise."""
        torch = self._torch
        weights = (logits.double() / sampling.temperature).softmax(-1)
        order: Any = None
        if sampling.top_p < 1:
            weights, order = weights.sort(descending=True, stable=True)
        sums = weights.cumsum(-1)
        # The nucleus: the likeliest tokens up to and with the one that reaches top_p.
        last = (sums - weights < sampling.top_p).sum() - 1 if order is not None else len(sums) - 1
        point = torch.rand((), generator=generator, dtype=torch.float64).to(sums.device) * sums[last]
        place = torch.searchsorted(sums, point, right=True).clamp(max=last)
        return place if order is None else order[place]

    def ended(self, ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - the interface of transformers
        """Which rows (rows,) have come to their limit, a stop string, or to nobody's waiting for them."""
        count = ids.shape[1] - self._start
        for row, job in enumerate(self._jobs):
            if job.written is None and (count >= job.limit or self._stopped(job, ids[row])):
                job.written = count
        over = self._closing()
        ended = [over or j.written is not None or j.future.cancelled() for j in self._jobs]
        return self._torch.tensor(ended, device=ids.device)

    def _stopped(self, job: _Job, ids: Any) -> bool:
        if not job.sampling.stop:
            return False
        # A character is at most four tokens, so the end of the text is enough.
        tail = 4 * max(map(len, job.sampling.stop)) + 4
        text = self._text(ids[self._start :][-tail:].tolist())
        return any(s in text for s in job.sampling.stop)


def _exact_head(torch: Any, head: Any) -> Any:
    """While it is open, the output layer computes the last position in float32.

    In bfloat16 the logits of two labels are often the same number.
    """
    if head is None or head.weight.dtype not in (torch.bfloat16, torch.float16):
        return nullcontext()

    def last_in_float32(module: Any, inputs: tuple[Any, ...], _: Any) -> Any:
        hidden = inputs[0][:, -1:].float()
        slices = [hidden @ rows.float().T for rows in module.weight.split(_SLICE)]
        logits = torch.cat(slices, dim=-1)
        return logits if module.bias is None else logits + module.bias.float()

    return head.register_forward_hook(last_in_float32)


def _fail(jobs: list[_Job], error: RuntimeError) -> None:
    for job in jobs:
        with suppress(InvalidStateError):
            job.future.set_exception(error)


def _eos(*values: int | list[int] | None) -> list[int]:
    """Every token that ends a turn, from the places where a model may name them."""
    found: set[int] = set()
    for value in values:
        found |= set(value) if isinstance(value, list) else {value} if value is not None else set()
    return sorted(found)
