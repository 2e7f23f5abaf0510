"""Rollout backends: the trained model itself, vLLM, transformers' paged batches, the embedded engine.

A backend is opened once a step with the current weights, and called for each round of groups.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from jurist.core.errors import ConfigError, EngineError
from jurist.core.types import Sampling
from jurist.engines.embedded import Batches, library
from jurist.training.config import GrpoOptions
from jurist.training.distributed import package, rank
from jurist.training.evaluation import written_by
from jurist.training.export import check_gguf, write_gguf
from jurist.training.generation import generate
from jurist.training.model import PolicyModel
from jurist.training.rollouts import Generate, Sample
from jurist.training.types import Library, Trainer

RolloutBackend = Callable[[Trainer], AbstractContextManager[Generate]]
"""Opens the model of a trainer for writing."""

_PAGE = 256
_CACHE_GIGABYTES = 2


def rollout_backend(options: GrpoOptions, policy: PolicyModel, sampling: Sampling) -> RolloutBackend:
    """The writer that the options name. Raises ``ConfigError`` where it cannot write for this model."""
    if options.rollouts in ("vllm", "vllm-server"):
        return _vllm_backend
    if options.rollouts == "paged":
        return _PagedBackend(policy, sampling)
    if options.rollouts == "embedded":
        return _EmbeddedBackend(policy, sampling)
    return _Model(policy, sampling)


@dataclass(frozen=True, slots=True)
class _Model:
    """The trained model, each prompt read once."""

    policy: PolicyModel
    sampling: Sampling

    @contextmanager
    def __call__(self, trainer: Trainer) -> Generator[Generate]:
        policy, sampling = self.policy, self.sampling
        with written_by(trainer) as model:

            def write(prompts: list[list[int]], copies: int, seed: int) -> Sequence[Sequence[Sample]]:
                with trainer.accelerator.autocast():
                    rows = generate(
                        model, prompts, copies, max_new_tokens=sampling.max_tokens,
                        temperature=sampling.temperature, top_p=sampling.top_p, eos=policy.eos,
                        pad=policy.tokenizer.pad_token_id, seed=seed + rank(),
                    )  # fmt: skip
                return _by_prompt(rows, copies)

            yield write


@contextmanager
def _vllm_backend(trainer: Trainer) -> Generator[Generate]:
    """vLLM, to which the trainer has given the weights. It draws by its own."""

    def write(prompts: list[list[int]], copies: int, seed: int) -> Sequence[Sequence[Sample]]:
        del seed
        _, written, logprobs, _ = trainer.vllm_generation.generate(
            prompts=_repeated(prompts, copies), images=None, num_generations=copies
        )
        drawn = [[(token[0] if token[0] is not None else 0.0) for token in row] for row in logprobs]
        rows: list[Sample] = list(zip(written, drawn, strict=True))
        return _by_prompt(rows, copies)

    yield write


def reload_on_cpu(trainer: Trainer) -> None:
    """Let a trainer's colocated vLLM take new weights on a CPU.

    There it packs them when it loads them, so that TRL's way of writing into them (trl 1.16,
    trl/generation/vllm_generation.py, ``sync_weights``) fails. vLLM's own reload packs them anew, but for an
    output layer that shares the weights of the embeddings (seen in 0.32).
    """
    vllm = trainer.vllm_generation

    def sync() -> None:
        runner = vllm.llm.llm_engine.model_executor.driver_worker.model_runner
        runner.reload_weights(weights_iterator=vllm._iter_named_params())
        head = runner.get_model().lm_head
        head.quant_method.process_weights_after_loading(head)
        vllm.llm.reset_prefix_cache()

    vllm.sync_weights = sync


@dataclass(frozen=True, slots=True)
class _PagedBackend:
    """The continuous batching of transformers.

    Its cache takes what a GPU has left; on a CPU that would be the machine's, so it gets what the rows need.
    """

    policy: PolicyModel
    sampling: Sampling

    @contextmanager
    def __call__(self, trainer: Trainer) -> Generator[Generate]:
        transformers: Library = package("transformers")
        settings = transformers.GenerationConfig(
            do_sample=self.sampling.temperature > 0,
            temperature=self.sampling.temperature or 1.0,
            top_p=self.sampling.top_p,
            top_k=0,
            max_new_tokens=self.sampling.max_tokens,
            eos_token_id=list(self.policy.eos),
            pad_token_id=self.policy.tokenizer.pad_token_id,
        )
        with written_by(trainer) as model:

            def write(prompts: list[list[int]], copies: int, seed: int) -> Sequence[Sequence[Sample]]:
                repeated = _repeated(prompts, copies)
                batching = transformers.generation.configuration_utils.ContinuousBatchingConfig(
                    return_logprobs=True, seed=seed + rank(), **self._room(repeated)
                )
                # It runs in a thread of its own, which autocast does not reach: in the weights' precision.
                outputs = model.generate_batch(
                    repeated, generation_config=settings, continuous_batching_config=batching
                )
                if len(outputs) < len(repeated) or any(out.error for out in outputs.values()):
                    reasons = {str(out.error) for out in outputs.values() if out.error}
                    raise EngineError(
                        f"paged batches came back without {len(repeated) - len(outputs)} of {len(repeated)} "
                        f"completions ({'; '.join(reasons) or 'no reason given'})",
                        hint="--rollouts auto",
                    )
                rows = [(out.generated_tokens, list(out.logprobs)) for out in outputs.values()]
                return _by_prompt(rows, copies)

            yield write

    def _room(self, prompts: Sequence[Sequence[int]]) -> dict[str, int]:
        if self.policy.device.type != "cpu":
            return {}
        pages = [ceil((len(ids) + self.sampling.max_tokens) / _PAGE) + 1 for ids in prompts]
        batch = max(_PAGE, len(prompts), *map(len, prompts))
        return {"page_size": _PAGE, "num_blocks": sum(pages), "max_batch_tokens": batch}


class _EmbeddedBackend:
    """The embedded engine's runtime: quick on a CPU, loaded anew at each step, for it keeps its weights."""

    def __init__(self, policy: PolicyModel, sampling: Sampling) -> None:
        if policy.device.type != "cpu":
            raise ConfigError("--rollouts embedded writes on the CPU, and this model is trained elsewhere",
                              hint="--rollouts auto, or vllm")  # fmt: skip
        library()
        check_gguf(policy.model, policy.tokenizer)
        self._learner, self._sampling = policy, sampling

    @contextmanager
    def __call__(self, trainer: Trainer) -> Generator[Generate]:
        with written_by(trainer) as model, TemporaryDirectory(ignore_cleanup_errors=True) as room:
            if self._learner.peft:
                model = deepcopy(model).merge_and_unload()
            file = write_gguf(model, self._learner.tokenizer, Path(room) / "model.gguf")
            batches = Batches(file, _CACHE_GIGABYTES)

            def write(prompts: list[list[int]], copies: int, seed: int) -> Sequence[Sequence[Sample]]:
                return _by_prompt(self._rows(batches, _repeated(prompts, copies), seed), copies)

            yield write

    def _rows(self, batches: Batches, prompts: Sequence[Sequence[int]], seed: int) -> list[Sample]:
        handles = [batches.begin(n, ids, self._settings(seed, n)) for n, ids in enumerate(prompts)]
        while batches.pipeline.has_non_finished_requests():
            batches.pipeline.step()
        outputs = [handle.read_all()[0] for handle in handles]
        return [(list(out.generated_ids), list(out.generated_log_probs)) for out in outputs]

    def _settings(self, seed: int, row: int) -> dict[str, object]:
        sampling = self._sampling
        settings: dict[str, object] = {
            "max_new_tokens": sampling.max_tokens,
            "do_sample": sampling.temperature > 0,
            "logprobs": 1,
            "stop_token_ids": set(self._learner.eos),
        }
        if sampling.temperature > 0:
            settings |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 2**31 - 1}
            settings["rng_seed"] = (seed + rank()) * 100_003 + row
        return settings


def _repeated(prompts: Sequence[list[int]], copies: int) -> list[list[int]]:
    return [ids for ids in prompts for _ in range(copies)]


def _by_prompt(rows: Sequence[Sample], copies: int) -> Sequence[Sequence[Sample]]:
    return [rows[at : at + copies] for at in range(0, len(rows), copies)]
