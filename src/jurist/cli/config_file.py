"""`--config FILE.toml`: the same names as the flags; flags win; unknown keys are errors."""

from pathlib import Path
from typing import Any

from cyclopts import App

from jurist.core.errors import ConfigError, unknown
from jurist.judging.config import read_options


def with_config(app: App, arguments: list[str]) -> list[str]:
    """The arguments with the options of a ``--config`` file put behind the command, before its flags."""
    if "--config" not in arguments:
        return arguments
    at = arguments.index("--config")
    if at + 1 >= len(arguments):
        raise ConfigError("--config needs a file", hint="--config jurist.toml")
    path, rest = Path(arguments[at + 1]), arguments[:at] + arguments[at + 2 :]
    if not rest:
        raise ConfigError("--config needs a command before it", hint="jurist judge ... --config jurist.toml")
    command, depth = app[rest[0]], 1
    while depth < len(rest) and not rest[depth].startswith("-") and rest[depth] in command:
        command, depth = command[rest[depth]], depth + 1
    known = {name for argument in command.assemble_argument_collection() for name in argument.names}
    flags: list[str] = []
    for key, value in read_options(path).items():
        flag = f"--{key.replace('_', '-')}"
        if flag not in known:
            raise unknown(
                f"option in {path}", key, (n.removeprefix("--") for n in known if n.startswith("--"))
            )
        if not any(a == flag or a.startswith(f"{flag}=") for a in rest):
            flags += _flag(flag, value)
    return [*rest[:depth], *flags, *rest[depth:]]


def _flag(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    values: list[Any] = [*value] if isinstance(value, list) else [value]
    return [f"{flag}={v}" for v in values]
