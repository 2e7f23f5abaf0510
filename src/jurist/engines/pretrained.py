"""Models of the Hugging Face hub, or from folders, as ``transformers`` loads them; its errors as ours."""

from importlib import import_module
from typing import Any

from jurist.core.errors import EngineError, MissingExtraError


def libraries(purpose: str) -> tuple[Any, Any]:
    """``torch`` and ``transformers``. Raises ``MissingExtraError``."""
    try:
        return import_module("torch"), import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(error.name or "transformers", "transformers", purpose) from error


def load(transformers: Any, kind: str, model: str, **options: Any) -> Any:
    """What the class ``kind`` (``"AutoTokenizer"``) loads for ``model``. Raises ``EngineError``."""
    try:
        return getattr(transformers, kind).from_pretrained(model, **options)
    except Exception as error:  # whatever a damaged folder or a missing network raises
        reason = " ".join(str(error).split())[:400]
        raise EngineError(
            f"transformers cannot load {model!r}: {type(error).__name__}: {reason}",
            hint="--model takes a folder or a Hugging Face id; without network, one that is in the cache",
        ) from error
