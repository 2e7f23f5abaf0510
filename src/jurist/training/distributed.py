"""The processes of a training (torch.distributed), and its heavy packages, imported when needed."""

import gc
import logging
import os
import sys
from importlib import import_module
from typing import Any, TypeVar

from jurist.core.errors import MissingExtraError

T = TypeVar("T")


def rank() -> int:
    """This process's rank; 0 where there is only one."""
    dist = _process_group()
    return dist.get_rank() if dist else int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes there are."""
    dist = _process_group()
    return dist.get_world_size() if dist else int(os.environ.get("WORLD_SIZE", "1"))


def all_gather(value: T) -> list[T]:
    """The value of each process, by rank; every process must call it."""
    dist = _process_group()
    if dist is None or dist.get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def destroy() -> None:
    """Destroy the process group; no collective call may come after it.

    Threads of the group that still run while the interpreter exits abort the process (PyTorch pull request
    179291). They end with the last reference to the group, and a trainer holds one in a reference cycle.
    vLLM in this process destroys the group itself.
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
    """Turn off progress bars and notices of the packages, which would break the live screen."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    package("transformers").utils.logging.disable_progress_bar()
    package("datasets").disable_progress_bars()
    logging.getLogger("transformers.trainer_utils").addFilter(_worth_reading)


def _worth_reading(record: logging.LogRecord) -> bool:
    # A notice that checkpoints are sorted by number, as wanted here.
    return "mtime may not be reliable" not in record.getMessage()
