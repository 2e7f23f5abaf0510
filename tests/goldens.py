"""The golden texts: what a judge wrote, and the verdicts it must give."""

from pathlib import Path

import msgspec

from jurist.core.types import Completion
from jurist.protocols import pointwise, rm_r1, rrm
from jurist.protocols.base import Protocol

GOLDEN = Path(__file__).parent / "golden"


class Golden(msgspec.Struct, frozen=True):
    """One line: a text and its verdicts, as scores or as the status that says why there is none."""

    name: str
    protocol: str
    text: str
    verdict: tuple[float, ...] | str
    thinking: str | None = None
    finish: str = "stop"
    eval: tuple[float, ...] | str | None = None
    train: tuple[float, ...] | str | None = None

    @property
    def completion(self) -> Completion:
        return msgspec.convert(
            {"text": self.text, "thinking": self.thinking, "finish": self.finish}, Completion
        )


def lines() -> list[Golden]:
    files = sorted(GOLDEN.glob("*.jsonl"))
    return [msgspec.json.decode(x, type=Golden) for f in files for x in f.read_text("utf-8").splitlines()]


def protocol(name: str, rule: str = "robust") -> Protocol:
    """The protocol of a golden line; parsing needs no prompts."""
    if name == "pointwise":
        return pointwise.pointwise()
    if name == "rrm":
        return rrm.rrm({}, rule)  # type: ignore[arg-type]
    return rm_r1.rm_r1({}, name.removeprefix("rm-r1-"), rule)  # type: ignore[arg-type]


def ids(golden: Golden) -> str:
    return f"{golden.protocol}: {golden.name}"
