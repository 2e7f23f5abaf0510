"""What a reward server says of a sample, as the number that a trainer takes."""

from math import isfinite
from typing import Literal

from jurist.client import Score
from jurist.errors import ConfigError, JuristError

Unanswered = float | Literal["error"]
"""What a sample without a verdict is worth, or that it is an error."""


def check_unanswered(unanswered: Unanswered) -> None:
    """Raise ``ConfigError`` for what is no number."""
    if unanswered != "error" and not isfinite(unanswered):
        raise ConfigError(f"unanswered {unanswered} is no number", hint='a number, or "error"')


def number(score: Score, unanswered: Unanswered, option: str) -> float:
    """The reward, or the number in its place; raises ``JuristError``, whose hint names the ``option``."""
    if score.reward is not None:
        return score.reward
    if unanswered == "error":
        raise JuristError(
            f"a sample has no reward: {score.status.value}, {score.note}",
            hint=f"{option} gives such samples that number",
        )
    return unanswered
