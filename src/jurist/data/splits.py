"""Parts of a training set, by a hash of the prompt and the seed."""

import re
from math import isclose

from jurist.core.errors import ConfigError
from jurist.core.types import Case
from jurist.data.overlap.words import digest, words
from jurist.data.rows import share

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def parts_of(text: str) -> dict[str, float]:
    """The parts and their shares of ``distill=0.12,rl=0.88``; raises ``ConfigError`` unless they make 1."""
    parts: dict[str, float] = {}
    for item in text.split(","):
        name, _, value = item.strip().partition("=")
        if not _NAME.fullmatch(name) or name in parts:
            raise ConfigError(f"--parts: {item.strip()!r} is no name of its own with a share", _HINT)
        parts[name] = _number(value)
    if not isclose(sum(parts.values()), 1, abs_tol=1e-9):
        raise ConfigError(f"--parts: the shares make {sum(parts.values()):g}, not 1", _HINT)
    return parts


def part_of(case: Case, parts: dict[str, float], seed: int) -> str:
    """The part that a case is in. Prompts with the same words are in the same part, whatever else is there.

    So shares hold up to chance: of n prompts, a share p has a standard deviation of sqrt(n p (1 - p)).
    """
    text = "\n".join(f"{turn.role}\n{turn.content}" for turn in case.prompt)
    spoken = words("\n".join(turn.content for turn in case.prompt))
    at = share(seed, digest(spoken) if spoken else text)
    for name, size in parts.items():
        at -= size
        if at < 0:
            return name
    return next(reversed(parts))


_HINT = "for example --parts distill=0.12,rl=0.86,heldout=0.02"


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ConfigError(f"--parts: {text!r} is no share", _HINT)
    return value
