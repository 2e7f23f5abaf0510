"""The heavy packages of training, loaded when they are needed."""

from importlib import import_module
from typing import Any

from jurist.errors import MissingExtraError


def package(name: str) -> Any:
    """A package of the extra `train`; raises ``MissingExtraError`` where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(error.name or name, "train", "training") from error
