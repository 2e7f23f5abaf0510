"""A Hugging Face causal model in this process: queries that arrive together are generated as one batch."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from jurist.core.types import Completion, Query, Usage
from jurist.engines.batches import BatchThread, Job
from jurist.engines.chat_template import ChatIds, overflow
from jurist.engines.in_process import InProcessEngine
from jurist.engines.nucleus import nucleus_draw
from jurist.engines.pretrained import libraries, load

# Rows of the output layer that are held in float32 at once while labels are scored.
_SLICE = 16384
# Tokens of a continued turn that are enough to read the next ones in their place.
_TAIL = 8


class TransformersEngine(InProcessEngine["CausalModel"]):
    """Runs a model from the Hugging Face hub, or from a folder, with ``transformers``.

    On a GPU in the model's own precision, else on the CPU in float32. ``concurrency`` is the largest
    batch. Each row of a batch is drawn by its own generator, so equal queries get equal completions,
    alone or in a batch, as far as their logits are equal: in float32 up to rounding; in bfloat16 a near
    tie may fall differently in another batch. A thinking budget is not enforced.
    """

    def __init__(self, model: str, *, concurrency: int = 16) -> None:
        super().__init__(model, concurrency)

    def _start(self) -> "CausalModel":
        return CausalModel(self.model, self.concurrency)


class CausalModel:
    """The loaded model, and the thread that runs it on batches of at most ``width`` rows."""

    def __init__(self, model: str, width: int) -> None:
        self._torch, self._library = libraries("the transformers engine")
        tokenizer: Any = load(self._library, "AutoTokenizer", model)
        self.chat = ChatIds(tokenizer, model)
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        dtype = "auto" if self._device == "cuda" else self._torch.float32
        loaded: Any = load(self._library, "AutoModelForCausalLM", model, dtype=dtype)
        self._model: Any = loaded.to(self._device).eval()
        self._eos = _eos(self._model.generation_config.eos_token_id, tokenizer.eos_token_id)
        self._pad: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        # A model's own sampling defaults (top_k, repetition penalty) would change what a query asks for.
        self._model.generation_config = self._library.GenerationConfig()
        text_config: Any = self._model.config.get_text_config()
        self.context: int = getattr(text_config, "max_position_embeddings", None) or 2**31
        known = inspect.signature(self._model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._thread = BatchThread("jurist-transformers", self._torch, width, self._run)

    async def answer(self, query: Query) -> Completion:
        """The continuation of a chat, or which of the query's choices comes next."""
        return await (self._labels(query) if query.choices else self._sampled(query))

    def close(self) -> None:
        """Stop the thread, after the token it is at, and free the model."""
        self._thread.close()
        self._model = None
        self._thread.free()

    async def _sampled(self, query: Query) -> Completion:
        """The continuation of a chat."""
        ids = self.chat.prompt(query.messages, query.prefill)
        room = self.context - len(ids)
        if room < 1:
            return overflow(len(ids), self.context)
        limit = min(query.sampling.max_tokens, room)
        before = tuple(ids[-_TAIL:]) if query.prefill else ()
        return await self._thread.submit(Job(ids, query.sampling, limit, before=before))

    async def _labels(self, query: Query) -> Completion:
        """Which of the choices comes next: one forward pass, the log-probability of each one's token."""
        ids = self.chat.prompt(query.messages, query.prefill)
        if len(ids) >= self.context:
            return overflow(len(ids), self.context)
        tokens = tuple(self.chat.label(query.prefill, c) for c in query.choices)
        values: list[float] = await self._thread.submit(Job(ids, query.sampling, labels=tokens))
        logprobs = dict(zip(query.choices, values, strict=True))
        best = max(logprobs, key=lambda c: logprobs[c])
        return Completion(best, usage=Usage(len(ids), 1), logprobs=logprobs)

    def _run(self, jobs: list[Job]) -> list[Any]:
        return self._scored(jobs[0]) if jobs[0].labels else self._generated(jobs)

    def _generated(self, jobs: list[Job]) -> list[Completion]:
        torch = self._torch
        for job in jobs:
            job.written = None  # a batch that did not fit runs again in halves
        longest = max(len(j.ids) for j in jobs)
        pads = [longest - len(j.ids) for j in jobs]
        ids = [[self._pad] * n + j.ids for n, j in zip(pads, jobs, strict=True)]
        mask = [[0] * n + [1] * len(j.ids) for n, j in zip(pads, jobs, strict=True)]
        rows = _Rows(torch, jobs, longest, self.chat.text, lambda: self._thread.closed)
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
        return [self._completion(j, new) for j, new in zip(jobs, output[:, longest:].tolist(), strict=True)]

    def _completion(self, job: Job, new: list[int]) -> Completion:
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

    def _scored(self, job: Job) -> list[list[float]]:
        torch = self._torch
        ids = torch.tensor([job.ids], device=self._device)
        with torch.inference_mode(), _exact_head(torch, self._model.get_output_embeddings()):
            logits = self._model(input_ids=ids, use_cache=False, **self._last_only).logits[0, -1]
            values = logits.double().log_softmax(-1)[list(job.labels)]
        return [values.tolist()]


class _Rows:
    """How each row of a batch draws its tokens and where it ends, by its own query's settings."""

    def __init__(
        self,
        torch: Any,
        jobs: list[Job],
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
                weights = (logits[row : row + 1].double() / job.sampling.temperature).softmax(-1)
                point = self._torch.rand(1, generator=self._draws[row], dtype=self._torch.float64)
                token = nucleus_draw(self._torch, weights, point.to(weights.device), job.sampling.top_p)[0]
                logits[row] = -self._torch.inf
                logits[row, token] = 0.0
        return logits

    def ended(self, ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - the interface of transformers
        """Which rows (rows,) have come to their limit, a stop string, or to nobody's waiting for them."""
        count = ids.shape[1] - self._start
        for row, job in enumerate(self._jobs):
            if job.written is None and (count >= job.limit or self._stopped(job, ids[row])):
                job.written = count
        over = self._closing()
        ended = [over or j.written is not None or j.future.cancelled() for j in self._jobs]
        return self._torch.tensor(ended, device=ids.device)

    def _stopped(self, job: Job, ids: Any) -> bool:
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


def _eos(*values: int | list[int] | None) -> list[int]:
    """Every token that ends a turn, from the places where a model may name them."""
    tokens: set[int] = set()
    for value in values:
        tokens |= set(value) if isinstance(value, list) else {value} if value is not None else set()
    return sorted(tokens)
