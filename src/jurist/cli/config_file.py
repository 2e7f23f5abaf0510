"""`--config FILE.toml`: the same names as the flags; flags win; unknown keys and wrong types are errors."""

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from cyclopts import App
from cyclopts.argument import Argument

from jurist.core.errors import ConfigError, unknown
from jurist.judging.config import read_options

FLAG = "--config"


def with_config(app: App, arguments: list[str]) -> list[str]:
    """The arguments with the options of a ``--config`` file put behind the command, before its flags."""
    at = next((i for i, word in enumerate(arguments) if word == FLAG or word.startswith(f"{FLAG}=")), None)
    if at is None or "--" in arguments[:at]:
        return arguments
    width = 1 if "=" in arguments[at] else 2
    name = arguments[at].partition("=")[2] if width == 1 else "".join(arguments[at + 1 : at + 2])
    if not name:
        raise ConfigError("--config needs a file", hint="--config jurist.toml")
    path, rest = Path(name), arguments[:at] + arguments[at + width :]
    command, depth = command_of(app, rest)
    if not depth:
        raise ConfigError("--config needs a command before it", hint="jurist judge ... --config jurist.toml")
    legal = options_of(command)
    flags: list[str] = []
    for key, value in read_options(path).items():
        flag = f"--{key.replace('_', '-')}"
        if flag not in legal:
            names = (n.removeprefix("--") for n in legal if n.startswith("--"))
            raise unknown(f"option in {path}", key, names)
        argument = legal[flag]
        _check(path, key, value, argument.hint)
        if not any(word.partition("=")[0] in argument.names for word in rest[depth:]):
            flags += _flag(flag, value)
    return [*rest[:depth], *flags, *rest[depth:]]


def command_of(app: App, words: Sequence[str]) -> tuple[App, int]:
    """The command that the words call, and how many of them name it."""
    command, depth = app, 0
    while depth < len(words) and not words[depth].startswith("-") and words[depth] in command:
        command, depth = command[words[depth]], depth + 1
    return command, depth


def options_of(command: App) -> dict[str, Argument]:
    """Every option of a command by each of its names."""
    if command.default_command is None:
        return {}
    return {name: argument for argument in command.assemble_argument_collection() for name in argument.names}


def refuse_unknown(app: App, words: Sequence[str]) -> None:
    """Raise for a long option that the command does not have.

    The parser alone would take it for the source, which may begin with a hyphen: ``-`` is standard input.
    """
    command, depth = command_of(app, words)
    if not depth:
        return
    legal = {*options_of(command), *command.help_flags, *command.version_flags}
    for before, word in pairwise(words[depth - 1 :]):
        name = word.partition("=")[0]
        if word == "--":
            return
        if len(name) > 2 and name.startswith("--") and before not in _TEXTS and name not in legal:
            near = get_close_matches(name, legal, n=1, cutoff=0.5)
            hint = (
                f"did you mean {near[0]}?" if near else f"jurist {' '.join(words[:depth])} --help lists them"
            )
            raise ConfigError(f"unknown option {name}", hint)


_TEXTS = ("--prompt", "--response")
"""Options whose values may begin with hyphens."""


def _check(path: Path, key: str, value: Any, hint: Any) -> None:
    """Raise where a truth value stands for a number or a name, or something else for a truth value."""
    kinds = {kind for kind in (hint, *get_args(hint)) if kind is not type(None)}
    if isinstance(value, bool) != (bool in kinds):
        legal = "true or false" if bool in kinds else "a number" if kinds & {int, float} else "a text"
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise ConfigError(f"{path}: {key} = {shown} is not {legal}", hint=f"{key} = VALUE, as for the flag")
    if isinstance(value, dict):
        raise ConfigError(f"{path}: {key} is a table, not an option", hint=f"{key} = VALUE")


def _flag(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    values: list[Any] = [*value] if isinstance(value, list) else [value]
    return [f"{flag}={v}" for v in values]
