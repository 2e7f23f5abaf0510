"""A scalar reward model in this process: conversations that arrive together are scored as one batch."""

from typing import Any

from jurist.core.errors import EngineError
from jurist.core.types import Completion, Conversation, Query, Usage
from jurist.engines.base import failed
from jurist.engines.batches import BatchThread, Job
from jurist.engines.chat_template import ChatIds, overflow
from jurist.engines.in_process import InProcessEngine
from jurist.engines.pretrained import libraries, load

WRITES_NOTHING = "a scalar reward model continues no text and has no labels to choose from"


class ScalarEngine(InProcessEngine["SequenceClassifier"]):
    """Scores whole conversations with a sequence classifier of one output, by ``transformers``.

    The text of a completion is the raw score (no sigmoid), with all its digits. On a GPU in the model's
    own precision, else on the CPU in float32, where a score is the same alone and in a batch up to
    rounding; the last layer computes in float32 everywhere. ``concurrency`` is the largest batch.
    """

    caps_thinking = True  # it thinks nothing, so it keeps to any budget

    def __init__(self, model: str, *, concurrency: int = 16) -> None:
        super().__init__(model, concurrency)

    def _start(self) -> "SequenceClassifier":
        return SequenceClassifier(self.model, self.concurrency)


class WholeChat(ChatIds):
    """The ids of a finished conversation, in which nobody speaks next."""

    assistant_next = False

    def ids(self, messages: Conversation) -> list[int]:
        """Ids of all turns; raises ``ChatError``."""
        return self.prompt(messages, None)


class SequenceClassifier:
    """The loaded model, and the thread that runs it on batches of at most ``width`` rows."""

    def __init__(self, model: str, width: int) -> None:
        self._torch, self._library = libraries("the scalar engine")
        self._one_label(model)
        self.chat = WholeChat(load(self._library, "AutoTokenizer", model), model)
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._model: Any = self._classifier(model)
        self._config: Any = self._model.config.get_text_config()
        self._config.use_cache = False
        self.context: int = getattr(self._config, "max_position_embeddings", None) or 2**31
        self._thread = BatchThread("jurist-scalar", self._torch, width, self._scored)

    async def answer(self, query: Query) -> Completion:
        """The score of a conversation."""
        if query.choices or query.prefill is not None:
            return failed(WRITES_NOTHING)
        ids = self.chat.prompt(query.messages, None)
        if len(ids) > self.context:
            return overflow(len(ids), self.context)
        return await self._thread.submit(Job(ids, query.sampling))

    def close(self) -> None:
        """Stop the thread, after the batch it is at, and free the model."""
        self._thread.close()
        self._model = None
        self._thread.free()

    def _one_label(self, model: str) -> None:
        labels: int = load(self._library, "AutoConfig", model).num_labels
        if labels != 1:
            raise EngineError(
                f"{model!r} has {labels} labels; a scalar reward model has one",
                hint="choose a sequence classifier whose config has num_labels 1; "
                "a model that writes its judgments is run by --engine transformers",
            )

    def _classifier(self, model: str) -> Any:
        dtype = "auto" if self._device == "cuda" else self._torch.float32
        loaded, report = load(
            self._library, "AutoModelForSequenceClassification", model, dtype=dtype, output_loading_info=True
        )
        missing = sorted(map(str, report["missing_keys"]))
        if missing:
            # transformers would fill them with random numbers and score all the same.
            raise EngineError(
                f"{model!r} lacks weights of a sequence classifier: {', '.join(missing[:5])}",
                hint="choose a reward model; a model without a trained head has no scores to give",
            )
        loaded = loaded.to(self._device).eval()
        exact_head(self._torch, loaded)
        return loaded

    def _scored(self, jobs: list[Job]) -> list[Completion]:
        """A batch in one forward pass, padded on the right: no token sees what comes after it."""
        torch = self._torch
        pad = self._padding(jobs)
        longest = max(len(j.ids) for j in jobs)
        pads = [longest - len(j.ids) for j in jobs]
        ids = [j.ids + [pad] * n for j, n in zip(jobs, pads, strict=True)]
        mask = [[1] * len(j.ids) + [0] * n for j, n in zip(jobs, pads, strict=True)]
        batch = {"input_ids": ids, "attention_mask": mask}
        usual_pad = self._config.pad_token_id
        self._config.pad_token_id = pad
        try:
            with torch.inference_mode():
                rows = {name: torch.tensor(values, device=self._device) for name, values in batch.items()}
                logits = self._model(**rows).logits
        finally:
            self._config.pad_token_id = usual_pad
        scores: list[float] = logits[:, 0].double().tolist()
        return [
            Completion(repr(score), usage=Usage(len(j.ids), 0)) for j, score in zip(jobs, scores, strict=True)
        ]

    def _padding(self, jobs: list[Job]) -> int:
        """The model's own padding token; without one, a token that no row holds.

        The score is read at the last token that is no padding, so a row's own tokens must not count as it
        unless they would alone.
        """
        pad: int | None = self._config.pad_token_id
        if pad is not None and 0 <= pad < self._config.vocab_size:
            return pad
        used = {token for j in jobs for token in j.ids}
        return next(i for i in range(self._config.vocab_size) if i not in used)


def exact_head(torch: Any, model: Any) -> None:
    """Let a model in half precision compute its score in float32: in bfloat16 two scores often tie."""
    head: Any = getattr(model, "score", None)
    if head is None or getattr(head, "weight", None) is None:
        return

    def in_float32(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0].float(),)

    if head.weight.dtype in (torch.bfloat16, torch.float16):
        head.float()
        head.register_forward_pre_hook(in_float32)
