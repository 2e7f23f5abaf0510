"""What an index of a run folder holds in memory: how far it has come, and what is not written yet."""

from dataclasses import dataclass, field
from typing import NamedTuple


class DecisionPlace(NamedTuple):
    """Where a decision stands."""

    case_id: str
    digest: str
    at: int
    complete: bool
    place: int


@dataclass(slots=True)
class FileState:
    """How much of a file is in the index: ``size`` bytes, the last line of which begins at ``last``.

    ``crc`` is the checksum of that line, or of the one before ``line``, which came since. ``block`` is the
    checksum of what stands from ``begin`` on.
    """

    size: int = 0
    last: int = 0
    crc: int = 0
    line: bytes | None = None
    begin: int = 0
    block: int = 0


@dataclass(slots=True)
class Waiting:
    """Records that are in the files and not yet in the database."""

    cases: dict[str, int] = field(default_factory=dict[str, int])
    prompts: dict[str, int] = field(default_factory=dict[str, int])
    judgments: dict[str, tuple[int, bool]] = field(default_factory=dict[str, tuple[int, bool]])
    decisions: dict[tuple[str, str], DecisionPlace] = field(
        default_factory=dict[tuple[str, str], DecisionPlace]
    )
    count: int = 0
