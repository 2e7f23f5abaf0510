"""The processes of a training: who this one is, and a word from each to all.

The heavy packages of training, loaded when they are needed.
"""

import gc
import logging
import os
import sys
from importlib import import_module
from typing import Any, TypeVar

from jurist.core.errors import MissingExtraError

T = TypeVar("T")


def rank() -> int:
    """This process's number; 0 where there is one only, and before they have met."""
    dist = _process_group()
    return dist.get_rank() if dist else int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes there are."""
    dist = _process_group()
    return dist.get_world_size() if dist else int(os.environ.get("WORLD_SIZE", "1"))


def all_gather(value: T) -> list[T]:
    """The value of each process, by rank; every process has to call."""
    dist = _process_group()
    if dist is None or dist.get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def destroy() -> None:
    """Leave the group, for good; nothing may be left to be said to the others.

    Threads of the group that are at work while the interpreter ends abort the process (PyTorch's pull request
    179291). They end with the last reference to the group, and a trainer holds one in a cycle.
    An engine of vLLM in this process takes the group down itself.
    """
    dist, vllm = _process_group(), sys.modules.get("vllm.distributed.parallel_state")
    if dist is not None and not (vllm and vllm.model_parallel_is_initialized()):
        gc.collect()
        dist.destroy_process_group()


def _process_group() -> Any:
    dist = package("torch").distributed
    return dist if dist.is_available() and dist.is_initialized() else None


def package(name: str) -> Any:
    """A package of the extra `train`; raises ``MissingExtraError`` where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(error.name or name, "train", "training") from error


def quiet() -> None:
    """No progress bars and notices of the packages: they would write through the view of the training."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    package("transformers").utils.logging.disable_progress_bar()
    package("datasets").disable_progress_bars()
    logging.getLogger("transformers.trainer_utils").addFilter(_worth_reading)


def _worth_reading(record: logging.LogRecord) -> bool:
    # Checkpoints are told apart by their numbers then, which is what is meant here.
    return "mtime may not be reliable" not in record.getMessage()
