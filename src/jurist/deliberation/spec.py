"""A deliberation from its text, such as ``swapped(vote(5))``."""

import ast
from collections.abc import Callable, Mapping
from inspect import signature

from jurist.core.errors import ConfigError, unknown
from jurist.core.types import Deliberation
from jurist.deliberation.votes import by_number

Maker = Callable[..., Deliberation]

LONGEST = 1000
"""Characters of a deliberation's text: Python's parser recurses, so a longer one is refused."""


def parse(text: str, makers: Mapping[str, Maker]) -> Deliberation:
    """Calls of the makers with numbers and inner deliberations as arguments; nothing else is code here.

    ``pairs | many`` decides cases of up to two responses by the first, others by the second. Raises
    ``ConfigError`` for a text that is none, or is longer than ``LONGEST``.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"a deliberation of {len(text):,} characters is too long", hint=_HINT)
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConfigError(f"cannot read the deliberation {text!r}", hint=_HINT) from None
    deliberation = _argument(node, text, makers)
    if not isinstance(deliberation, Deliberation):
        raise ConfigError(f"{text!r} is not a deliberation", hint=_HINT)
    return deliberation


_HINT = "for example once, swapped, vote(5), swapped(vote(5)); see `jurist list`"


def _argument(node: ast.expr, text: str, makers: Mapping[str, Maker]) -> Deliberation | int | float:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either(_argument(node.left, text, makers), _argument(node.right, text, makers), text)
    if isinstance(node, (ast.Constant, ast.UnaryOp)):
        return _number(node, text)
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name):
        raise ConfigError(f"cannot read the deliberation {text!r}", hint=_HINT)
    maker = makers.get(call.func.id)
    if maker is None:
        raise unknown("deliberation", call.func.id, makers)
    arguments = [_argument(a, text, makers) for a in call.args]
    named = {k.arg: _argument(k.value, text, makers) for k in call.keywords if k.arg}
    takes = signature(maker)
    try:
        bound = takes.bind(*arguments, **named)
    except TypeError as error:
        raise ConfigError(f"in {text!r}: {call.func.id}: {error}", hint=_HINT) from None
    for name, value in bound.arguments.items():
        # A parameter whose default is a number takes a number, any other an inner deliberation.
        if isinstance(takes.parameters[name].default, (int, float)) == isinstance(value, Deliberation):
            seen = f"the deliberation {value.name}" if isinstance(value, Deliberation) else repr(value)
            raise ConfigError(f"in {text!r}: {call.func.id} cannot take {seen}", hint=_HINT)
    return maker(*bound.args, **bound.kwargs)


def _either(pairs: Deliberation | int | float, many: Deliberation | int | float, text: str) -> Deliberation:
    if not (isinstance(pairs, Deliberation) and isinstance(many, Deliberation)):
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
