"""A deliberation from its text, such as ``swapped(vote(5))``."""

import ast
from collections.abc import Callable, Mapping

from jurist.errors import ConfigError, JuristError, unknown
from jurist.types import Deliberation

Maker = Callable[..., Deliberation]


def parse(text: str, makers: Mapping[str, Maker]) -> Deliberation:
    """Calls of the makers with numbers and inner deliberations as arguments; nothing else is code here."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise ConfigError(f"cannot read the deliberation {text!r}", hint=_HINT) from None
    made = _make(node, text, makers)
    if not callable(made):
        raise ConfigError(f"{text!r} is not a deliberation", hint=_HINT)
    return made


def names(text: str) -> set[str]:
    """Every name that a deliberation's text uses."""
    try:
        return {n.id for n in ast.walk(ast.parse(text.strip(), mode="eval")) if isinstance(n, ast.Name)}
    except SyntaxError:
        return set()


_HINT = "for example once, swapped, vote(5), swapped(vote(5)); see `jurist list`"


def _make(node: ast.expr, text: str, makers: Mapping[str, Maker]) -> Deliberation | int | float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name):
        raise ConfigError(f"cannot read the deliberation {text!r}", hint=_HINT)
    maker = makers.get(call.func.id)
    if maker is None:
        raise unknown("deliberation", call.func.id, makers)
    arguments = [_make(a, text, makers) for a in call.args]
    named = {k.arg: _make(k.value, text, makers) for k in call.keywords if k.arg}
    try:
        return maker(*arguments, **named)
    except JuristError:
        raise
    except TypeError as error:
        raise ConfigError(f"in {text!r}: {error}", hint=_HINT) from None
