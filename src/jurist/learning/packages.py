"""The heavy packages of training, loaded when they are needed."""

import logging
import os
from importlib import import_module
from typing import Any

from jurist.errors import MissingExtraError


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
