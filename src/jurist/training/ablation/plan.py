"""The stages of an ablation in the order in which they run, made from its recipe.

A stage is one jurist command and the files that it writes. References to other stages are resolved here, and
the recipe's shared flags added.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jurist.core.errors import ConfigError, JuristError, unknown
from jurist.core.store import SCORECARD
from jurist.training.ablation.recipe import Judging, Recipe, flag, judge_flags
from jurist.training.config import TrainOptions
from jurist.training.session import MODEL, RESULT

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
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    added: list[str] = []
    keep = True
    for word in shared:
        if word.startswith("--"):
            keep = word.partition("=")[0] not in given
        if keep:
            added.append(word)
    return [*words, *added]


_REFERENCE = re.compile(r"\{([^{}]*)\}")
_STUDENT = ("protocol", "family", "protocol_file")
"""What a judge of a recipe shares with its training and its distillation."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An arm as it will be made and measured; ``trained`` is the stage that leaves its model, if one does."""

    name: str
    about: str
    stages: tuple[Stage, ...]
    model: str
    judge: Judging
    trained: Stage | None = None

    @property
    def scalar(self) -> bool:
        """Whether it is a scalar reward model, which writes nothing."""
        return self.trained is not None and self.trained.command == "train scalar"


@dataclass(frozen=True, slots=True)
class Plan:
    """Every stage that is needed, in order, the arms that are measured, and the pairs for it."""

    recipe: Recipe
    out: Path
    stages: tuple[Stage, ...]
    arms: tuple[Planned, ...]

    @property
    def held_out(self) -> Path:
        """The pairs that every arm is measured on."""
        return self.out / f"{HELD_OUT}.jsonl"

    def trainings(self, arm: Planned) -> list[Stage]:
        """The trainings that an arm's model went through, those of other arms included."""
        return [stage for stage in _closure(self.stages, arm.stages) if stage.command in TRAININGS]


def plan(recipe: Recipe, out: Path, only: Sequence[str] = ()) -> Plan:
    """What is to be done; raises ``ConfigError`` for a wrong arm, command or reference, naming it.

    With ``only``, the stages of these arms and whatever they refer to; the base is measured with them.
    """
    for name in only:
        if name not in recipe.arms:
            raise unknown("arm", name, recipe.arms)
    stages = _Resolver(recipe, out).stages()
    first = recipe.first
    chosen = [name for name in recipe.arms if not only or name in only or name == first]
    arms = tuple(_planned(recipe, name, stages) for name in sorted(chosen, key=lambda name: name != first))
    needed = _closure(stages.values(), [stages[HELD_OUT], *(s for arm in arms for s in arm.stages)])
    return Plan(recipe, out, needed, arms)


def _planned(recipe: Recipe, name: str, stages: dict[str, Stage]) -> Planned:
    arm = recipe.arms[name]
    of_arm = tuple(stage for at, stage in stages.items() if at.startswith(f"{name}/"))
    trained = next((stage for stage in reversed(of_arm) if stage.command in TRAININGS), None)
    model = str(trained.out / "model") if trained else _model(recipe.judge | arm.judge)
    return Planned(name, arm.about, of_arm, model, recipe.judge | arm.judge, trained)


class _Resolver:
    """Knows every stage by its name, and what references to it mean."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self._recipe, self._out = recipe, out
        self._texts: dict[str, list[str]] = {HELD_OUT: [HELD_OUT, recipe.pairs.held_out]}
        self._arms: dict[str, list[str]] = {}
        for name, text in recipe.prepare.items():
            self._add(f"prepare/{name}", text)
        for arm in recipe.arm:
            self._arms[arm.name] = [
                self._add(f"{arm.name}/{n}-{_short(text)}", text) for n, text in enumerate(arm.stages, 1)
            ]

    def stages(self) -> dict[str, Stage]:
        """Every stage by its name; raises where one cannot be, naming it."""
        stages: dict[str, Stage] = {}
        for name in self._texts:
            try:
                stages[name] = self._stage(name)
            except JuristError as error:
                raise ConfigError(f"stage {name}: {error.message}", error.hint) from None
        return stages

    def _add(self, name: str, text: str) -> str:
        try:
            self._texts[name] = shlex.split(text)
        except ValueError as error:
            raise ConfigError(f"stage {name}: {error}: {text}") from None
        return name

    def _stage(self, name: str) -> Stage:
        words = self._texts[name]
        command = check_command(words)
        words = with_flags(words, self._shared(name, command, words))
        needs: list[str] = [HELD_OUT] if command in TRAININGS else []
        reads: list[str] = []
        resolved = tuple(self._resolved(word, name, needs, reads) for word in words)
        out = self._place(name)
        if command == HELD_OUT:
            resolved = (*resolved, str(self._recipe.pairs.limit))
            return Stage(name, resolved, out, tuple(needs), () if needs else resolved[1:2])
        launch = tuple(shlex.split(self._recipe.launch)) if command in TRAININGS else ()
        ended = (*resolved, "--out", str(out))
        return Stage(name, ended, out, tuple(dict.fromkeys(needs)), tuple(reads), launch)

    def _shared(self, name: str, command: str, words: Sequence[str]) -> list[str]:
        """The recipe's flags for a command, the more special first, then what all arms have in common."""
        recipe, shared = self._recipe, list[str]()
        for key in (command, command.split()[0]):
            shared = with_flags(shared, shlex.split(recipe.flags.get(key, "")))
        arm = recipe.arms.get(name.partition("/")[0])
        judging = recipe.judge | (arm.judge if arm else {})
        if command == "distill":
            return with_flags(shared, judge_flags(judging, _STUDENT))
        if command in TRAININGS:
            common = [
                *([] if "--model" in words else flag("model", _model(judging))),
                *([] if command == "train scalar" else judge_flags(judging, _STUDENT)),
                *flag("held_out", self._place(HELD_OUT)),
                *flag("eval_limit", recipe.pairs.limit),
                *(flag("eval_tokens", judging["max_tokens"]) if "max_tokens" in judging else []),
            ]
            return with_flags(shared, common)
        return shared

    def _resolved(self, word: str, stage: str, needs: list[str], reads: list[str]) -> str:
        def meaning(match: re.Match[str]) -> str:
            return self._meaning(match[1], stage, needs, reads)

        return _REFERENCE.sub(meaning, word)

    def _meaning(self, reference: str, stage: str, needs: list[str], reads: list[str]) -> str:
        head, *rest = reference.split(".")
        if reference == "train" and self._recipe.pairs.train:
            before = len(needs)
            source = self._resolved(self._recipe.pairs.train, stage, needs, reads)
            if len(needs) == before:
                reads.append(source)
            return source
        if reference == "held_out":
            needs.append(HELD_OUT)
            return str(self._place(HELD_OUT))
        if head in self._arms and not self._arms[head] and rest == ["model"]:
            return _model(self._recipe.judge | self._recipe.arms[head].judge)
        name, rest = self._target(reference, stage)
        needs.append(name)
        out, parts = self._place(name), parts_of(check_command(self._texts[name]), self._texts[name])
        if not rest:
            return str(out)
        if len(rest) > 1 or rest[0] not in parts:
            raise ConfigError(
                f"{{{reference}}}: {name} leaves nothing called {'.'.join(rest)!r}",
                hint=f"it leaves {', '.join(parts)}" if parts else f"{{{head}}} is its output",
            )
        return str(out / parts[rest[0]])

    def _target(self, reference: str, stage: str) -> tuple[str, list[str]]:
        """The stage that a reference names, and what of it."""
        head, *rest = reference.split(".")
        if f"prepare/{head}" in self._texts:
            return f"prepare/{head}", rest
        if head == "previous":
            of_arm = self._arms.get(stage.partition("/")[0], [])
            at = of_arm.index(stage) if stage in of_arm else 0
            if not at:
                raise ConfigError("{previous}: there is no stage before this one")
            return of_arm[at - 1], rest
        stages = self._arms.get(head)
        if not stages:
            known = ("train", "held_out", "previous", *self._recipe.prepare, *self._recipe.arms)
            raise unknown("reference", reference, known)
        if rest and rest[0].isdigit():
            if not 1 <= int(rest[0]) <= len(stages):
                raise ConfigError(f"{{{reference}}}: the arm {head!r} has stages 1 to {len(stages)}")
            return stages[int(rest[0]) - 1], rest[1:]
        return stages[-1], rest

    def _place(self, name: str) -> Path:
        if name == HELD_OUT or check_command(self._texts[name]) in FILES:
            return self._out / f"{name}.jsonl"
        return self._out / name


def _short(text: str) -> str:
    """A command as a part of a name: `train-sft`, `distill`."""
    words = text.split()
    return "-".join(words[: 2 if words and words[0] in ("data", "train") else 1])


def _model(judging: Judging) -> str:
    return str(judging.get("model", TrainOptions.model))


def _closure(stages: Iterable[Stage], wanted: Iterable[Stage]) -> tuple[Stage, ...]:
    """The wanted stages and all that they need, each behind what it needs; raises for a circle."""
    known = {stage.name: stage for stage in stages}
    order: dict[str, Stage] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise ConfigError(f"the stages refer to one another in a circle: {circle}")
        if name not in order:
            path.append(name)
            for need in known[name].needs:
                visit(need)
            path.pop()
            order[name] = known[name]

    for stage in wanted:
        visit(stage.name)
    return tuple(order.values())
