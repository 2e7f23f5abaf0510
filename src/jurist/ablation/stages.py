"""One stage of an ablation: a command of ours, and what it leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jurist.errors import ConfigError, unknown
from jurist.learning.session import MODEL, RESULT
from jurist.store import SCORECARD

FILES = ("data pairs", "data verifiable", "data mix", "data difficulty", "data released")
"""Commands whose --out is a file of rows; that of the others is a folder."""

TRAININGS = ("train sft", "train grpo", "train scalar")
COMMANDS = (*FILES, "data split", "distill", *TRAININGS, "judge", "eval")
HELD_OUT = "held-out"
"""The stage that is no command: the pairs that every arm is measured on are written to one file."""

_OWN = ("--out", "--json", "--config")


@dataclass(frozen=True, slots=True)
class Stage:
    """A command with every reference resolved.

    ``needs`` are the stages whose outputs it reads, ``reads`` files from outside; ``words`` follow `jurist`.
    """

    name: str
    words: tuple[str, ...]
    out: Path
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    launch: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """Its command, such as `train sft`."""
        return command_of(self.words)

    @property
    def results(self) -> tuple[Path, ...]:
        """Files that are there once it has ended well."""
        if self.command in TRAININGS:
            return self.out / RESULT, self.out / MODEL
        if self.command in ("judge", "eval"):
            return (self.out / SCORECARD,)
        named = parts_of(self.command, self.words)
        return tuple(self.out / file for file in named.values()) or (self.out,)

    def option(self, name: str) -> str | None:
        """The value of a flag, None where it is not given."""
        for i, word in enumerate(self.words):
            if word == name and i + 1 < len(self.words):
                return self.words[i + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return None


def command_of(words: Sequence[str]) -> str:
    """The command that words begin with, of one word or two."""
    two = " ".join(words[:2])
    return two if two in COMMANDS else words[0] if words else ""


def check_command(words: Sequence[str]) -> str:
    """The command; raises where it can be no stage, or has a flag that is ours to give."""
    command = command_of(words)
    if command not in COMMANDS and command != HELD_OUT:
        raise unknown("command of a stage", " ".join(words[:2]), COMMANDS)
    if taken := next((w for w in words if w.partition("=")[0] in _OWN), None):
        raise ConfigError(f"{taken} is no flag of a stage", hint="outputs have their place in the run folder")
    return command


def parts_of(command: str, words: Sequence[str]) -> dict[str, str]:
    """What a command's folder holds, by the names that references use: `{sft.model}`, `{split.rl}`."""
    if command in TRAININGS:
        return {"model": MODEL}
    if command == "distill":
        return {"rows": "rows.jsonl"}
    if command == "data split":
        named = Stage("", tuple(words), Path()).option("--parts") or ""
        return {part.partition("=")[0].strip(): f"{part.partition('=')[0].strip()}.jsonl"
                for part in named.split(",") if part.strip()}  # fmt: skip
    return {}


def with_flags(words: Sequence[str], shared: Sequence[str]) -> list[str]:
    """The words, and those of the shared flags that they do not have themselves."""
    own = {word.partition("=")[0] for word in words if word.startswith("--")}
    added: list[str] = []
    keep = True
    for word in shared:
        if word.startswith("--"):
            keep = word.partition("=")[0] not in own
        if keep:
            added.append(word)
    return [*words, *added]
