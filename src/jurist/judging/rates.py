"""What a user knows beforehand of a judge's speed and prices."""

from dataclasses import dataclass
from pathlib import Path

from jurist.core.errors import ConfigError


@dataclass(frozen=True)
class Rates:
    """What is known beforehand of speed and prices; nothing of it has to be."""

    like: Path | None = None
    """Run folder of the same judge: its tokens a call, its speed and its bytes are taken from there."""
    written: float | None = None
    """Mean tokens that a call writes."""
    rate: float | None = None
    """Tokens written in a second by all calls together."""
    price_read: float | None = None
    """Price of a million tokens read."""
    price_written: float | None = None
    """Price of a million tokens written."""
    price_hour: float | None = None
    """Price of an hour of the machines."""
    tokenizer: str | None = None
    """Folder or hub id (in the local cache) of the tokenizer that counts the prompts."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name in ("written", "rate", "price_read", "price_written", "price_hour"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ConfigError(f"{name} = {value} is out of range", hint="a number from 0 on")
