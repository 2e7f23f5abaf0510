"""A deliberation from its text, such as ``swapped(vote(5))``."""

import ast
from collections.abc import Callable, Mapping
from inspect import signature

from jurist.core.errors import ConfigError, unknown
from jurist.core.types import Deliberation
from jurist.deliberation.votes import by_number

Maker = Callable[..., Deliberation]


def parse(text: str, makers: Mapping[str, Maker]) -> Deliberation:
    """Calls of the makers with numbers and inner deliberations as arguments; nothing else is code here.

    ``pairs | many`` decides cases of up to two responses by the first, others by the second.
    """
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
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either(_make(node.left, text, makers), _make(node.right, text, makers), text)
    if isinstance(node, (ast.Constant, ast.UnaryOp)):
        return _number(node, text)
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name):
        raise ConfigError(f"cannot read the deliberation {text!r}", hint=_HINT)
    maker = makers.get(call.func.id)
    if maker is None:
        raise unknown("deliberation", call.func.id, makers)
    arguments = [_make(a, text, makers) for a in call.args]
    named = {k.arg: _make(k.value, text, makers) for k in call.keywords if k.arg}
    takes = signature(maker)
    try:
        bound = takes.bind(*arguments, **named)
    except TypeError as error:
        raise ConfigError(f"in {text!r}: {call.func.id}: {error}", hint=_HINT) from None
    for name, value in bound.arguments.items():
        # A parameter whose default is a number takes a number, any other an inner deliberation.
        if isinstance(takes.parameters[name].default, (int, float)) == callable(value):
            raise ConfigError(f"in {text!r}: {call.func.id} cannot take {value!r}", hint=_HINT)
    return maker(*bound.args, **bound.kwargs)


def _either(pairs: Deliberation | int | float, many: Deliberation | int | float, text: str) -> Deliberation:
    if not (callable(pairs) and callable(many)):
        raise ConfigError(f"cannot read the deliberation {text!r}", hint=_HINT)
    return by_number(pairs, many)


def _number(node: ast.expr, text: str) -> int | float:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"cannot read the deliberation {text!r}", hint=_HINT)
    return value
