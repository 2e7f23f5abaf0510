"""Options that hold a key are refused: whatever they say would stand in run.json."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from jurist.core.errors import ConfigError

KEY_VARIABLES = ("JURIST_API_KEY", "OPENAI_API_KEY")
HINT = f"it would stand in run.json; put a key into the environment instead: export {KEY_VARIABLES[0]}=..."

# Field names of keys, lower case without "-", "_" and "."; what the keys of well-known services look like.
_NAMES = re.compile(
    r"(?:x)?(?:api|access|secret|auth|subscription|account|private)(?:key|token|secret)(?:id)?|key|token|auth|sig"
    r"|signature|secret|password|passwd|pwd|bearer|credentials?|(?:proxy)?authorization|hf(?:hub)?token"
    r"|clientsecret|xgoogapikey|ocpapimsubscriptionkey"
)
_VALUES = re.compile(
    r"\A(?:Bearer\s+\S{8}|(?:sk|pk|gsk|hf|xai|nvapi|r8|pplx|csk|fw)[-_][0-9A-Za-z_-]{16}|AIza[0-9A-Za-z_-]{30})"
)


def refuse_secrets(fields: Mapping[str, Any], where: str) -> None:
    """Raise ``ConfigError`` where a field (also a nested one) is a key; ``where`` names the option."""
    for name in _secrets(fields):
        raise ConfigError(f"{where} holds what looks like a key (in {name!r})", hint=HINT)


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    """The names of fields that hold a key."""
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[Any, Any]", value).items():
            plain = re.sub(r"[-_.\s]", "", str(key)).lower()
            if isinstance(inner, str) and inner and _NAMES.fullmatch(plain):
                yield str(key)
            yield from _secrets(inner, str(key))
    elif isinstance(value, str):
        if _VALUES.match(value):
            yield name
    elif isinstance(value, Sequence):
        for inner in cast("Sequence[Any]", value):
            yield from _secrets(inner, name)
