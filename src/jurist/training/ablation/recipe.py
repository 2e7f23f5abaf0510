"""The file of an ablation: pairs, judge, shared flags, preparations and arms, read and checked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

import msgspec

from jurist.core.errors import ConfigError, unknown
from jurist.judging.config import JudgeConfig, read_toml

Value = str | int | float | bool
Judging = dict[str, Value]
"""Options of the judge, by the names of ``JudgeConfig``."""

RESERVED = ("train", "held_out", "previous", "prepare", "records", "held-out")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")
_FIXED = ("deliberation", "first")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what stands in the file: a key that nobody knows is an error."""


class Pairs(Part, frozen=True):
    """The one thing to change: pairs to train on, and pairs that every arm is measured on.

    ``train`` is whatever `jurist judge` reads, or several sources; ``limit``: so many of the held-out pairs
    are judged, evenly spread.
    """

    held_out: str
    train: str = ""
    limit: int = 200


class Arm(Part, frozen=True):
    """One way to make a judge: its stages in order (none: the model as it is), and how it judges."""

    name: str
    stages: tuple[str, ...] = ()
    judge: Judging = {}
    about: str = ""


class Recipe(Part, frozen=True):
    """An ablation as it stands in its file. ``base`` is the arm that the others are tested against.

    ``flags`` are put into every command that begins with their name, where the stage has none of its own;
    ``launch`` stands in place of `jurist` before trainings.
    """

    pairs: Pairs
    arm: tuple[Arm, ...]
    out: str = ""
    base: str = ""
    launch: str = ""
    benchmarks: tuple[str, ...] = ()
    judge: Judging = {}
    flags: dict[str, str] = {}
    prepare: dict[str, str] = {}

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms by name."""
        return {arm.name: arm for arm in self.arm}

    @property
    def first(self) -> str:
        """The arm that the others are tested against: the one that is named, else the first."""
        return self.base or self.arm[0].name


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file; raises ``ConfigError`` naming file, key and what is legal."""
    contents = read_toml(path)
    try:
        recipe = msgspec.convert(contents, Recipe)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}", hint=_legal()) from None
    try:
        _check(recipe)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from None
    return recipe


def judge_flags(judging: Mapping[str, Value], names: Iterable[str] | None = None) -> list[str]:
    """Options of a judge as flags; only those of ``names``, where some are given."""
    wanted = None if names is None else set(names)
    flags: list[str] = []
    for name, value in judging.items():
        if wanted is None or name in wanted:
            flags += flag(name, value)
    return flags


def flag(name: str, value: object) -> list[str]:
    """One option as words of a command line."""
    word = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [word] if value else []
    text = str(value)
    return [f"{word}={text}"] if text.startswith("-") else [word, text]


def _check(recipe: Recipe) -> None:
    if not recipe.arm:
        raise ConfigError("no arm", hint='[[arm]] name = "base"')
    if recipe.pairs.limit < 1:
        raise ConfigError(f"[pairs] limit = {recipe.pairs.limit} is no number of pairs", hint="1 or more")
    names = [*recipe.prepare, *(arm.name for arm in recipe.arm)]
    for name in names:
        if not _NAME.fullmatch(name) or name in RESERVED:
            taken = f"not {', '.join(RESERVED)}"
            raise ConfigError(f"{name!r} is no name of a stage or an arm", f"letters, digits, _ + -; {taken}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(
            f"the name {twice!r} is taken twice", hint="arms and preparations share their names"
        )
    if recipe.base and recipe.base not in recipe.arms:
        raise unknown("arm (base)", recipe.base, recipe.arms)
    _check_judge("[judge]", recipe.judge)
    for arm in recipe.arm:
        _check_judge(f"arm {arm.name!r}, judge", arm.judge)


def _check_judge(where: str, judging: Judging) -> None:
    legal = {f.name for f in fields(JudgeConfig)} - {*_FIXED}
    for name in judging:
        if name in _FIXED:
            raise ConfigError(f"{where}: {name} cannot be chosen: every arm judges in both orders")
        if name not in legal:
            raise ConfigError(f"{where}: {unknown('option', name, legal).message}")
    try:
        msgspec.convert(judging, JudgeConfig, dec_hook=lambda _, value: Path(value))
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None


def _legal() -> str:
    parts = {"": Recipe, "[pairs]": Pairs, "[[arm]]": Arm}
    return "; ".join(f"{name} {', '.join(part.__struct_fields__)}".strip() for name, part in parts.items())
