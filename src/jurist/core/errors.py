"""The errors of Jurist: each says what was wrong, what was seen, what is legal, and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


class JuristError(Exception):
    """A user's mistake, or a world that does not let us go on. ``hint`` says how to mend it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class UnknownNameError(JuristError):
    """A name that the catalog does not hold."""


class ConfigError(JuristError):
    """Options that do not go together, or a value out of range."""


class InputError(JuristError):
    """A row or a file that cannot be read; the message names file, line and field."""


class ProtocolError(JuristError):
    """A case that a protocol cannot render, or a published prompt that cannot be had."""


class EngineError(JuristError):
    """An engine that cannot start or cannot be reached."""


class StoreError(JuristError):
    """A run folder that cannot be used."""


class BusyError(StoreError):
    """A run folder that another process is writing to."""


class MissingExtraError(JuristError):
    """A package that an optional part needs is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            hint=f"python -m pip install 'jurist[{extra}]'",
        )


def unknown(kind: str, name: str, legal: Iterable[str]) -> UnknownNameError:
    """The error for an unknown ``name``, with the nearest legal one."""
    names = sorted(legal)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see `jurist list`"
    return UnknownNameError(f"unknown {kind} {name!r}; known: {', '.join(names)}", hint)
