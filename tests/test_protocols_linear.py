"""Every parser and the guard work in linear time: held by counts of work, not by a clock.

Counted are calls, the characters of every text that a string method goes through, and the characters that a
regular expression is given. What one expression does with them is held by its form: no unbounded repetition
holds another one, or meets one that takes the same characters.
"""

import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import jurist.protocols
from jurist.core.types import Completion
from jurist.protocols import injection, listwise, pairwise, pointwise, rm_r1, rrm
from jurist.protocols.chain import read_chain
from jurist.protocols.text import flatten, visible
from jurist.protocols.thinking_tags import without_thinking

MODULES = [import_module(f"jurist.protocols.{m.name}") for m in iter_modules(jurist.protocols.__path__)]


class Work:
    """Counts the work of a call."""

    def __init__(self) -> None:
        self.done = 0

    def profile(self, _frame: Any, event: str, function: Any) -> None:
        if event in ("call", "c_call"):
            self.done += 1
        if event == "c_call" and isinstance(owner := getattr(function, "__self__", None), str):
            self.done += 0 if function.__name__ in ("startswith", "endswith", "isascii") else len(owner)

    def of(self, function: Callable[[str], Any], text: str) -> int:
        self.done = 0
        sys.setprofile(self.profile)
        try:
            function(text)
        finally:
            sys.setprofile(None)
        return self.done


class CountedPattern:
    """A compiled pattern that counts the characters it is given."""

    def __init__(self, pattern: re.Pattern[str], work: Work) -> None:
        self.pattern, self.work = pattern, work

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.pattern, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            text = arguments[1] if name == "sub" else arguments[0]
            start = arguments[1] if len(arguments) > 1 and name != "sub" else 0
            result = method(*arguments, **options)
            # At one place only as much is read as matches, or the form of the pattern bounds it.
            self.work.done += 1 if name == "match" else len(text) - start
            return result

        return counted if callable(method) else method


def counting(value: Any, work: Work) -> Any:
    if isinstance(value, re.Pattern):
        return CountedPattern(value, work)
    if isinstance(value, tuple):
        return tuple(counting(v, work) for v in value)
    return {k: counting(v, work) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """A count to which all patterns of the protocols add."""
    counter = Work()
    for module in MODULES:
        for name, value in vars(module).copy().items():
            if isinstance(value, (re.Pattern, tuple, dict)) and not name.startswith("__"):
                monkeypatch.setattr(module, name, counting(value, counter))
    return counter


PROTOCOLS = [
    pairwise.pairwise(),
    pointwise.pointwise(),
    listwise.listwise(),
    rm_r1.rm_r1({}, "reasoning"),
    rrm.rrm({}),
]
READERS: dict[str, Callable[[str], Any]] = {
    **{p.name: lambda text, parse=p.parse: parse(Completion(text)) for p in PROTOCOLS},
    **{
        f"{p.name} prefill": lambda text, prefill=p.prefill: prefill(Completion(text)) for p in PROTOCOLS[::4]
    },
    "rm-r1 eval": lambda text: rm_r1.parse_eval(Completion(text)),
    "rrm train": lambda text: rrm.parse_train(Completion(text)),
    "chain": lambda text: read_chain(Completion(text)),
    "defuse": lambda text: injection._defused(text, False, ()),
    "restore": injection.restore,
    "tokens": lambda text: injection.restore(text, tokens=("@@eot@@",)),
    "visible": visible,
    "without thinking": without_thinking,
    "flatten": lambda text: flatten((pairwise.Message("user", text),) * 2),
}
FRAGMENTS = [
    *(
        "<answer>",
        "<answer>A",
        "[[",
        "[[A",
        "[[A]]",
        "<quote_A>",
        "\\boxed{",
        "\\boxed{1}",
        "{",
        "}",
        "<",
        "<  /",
    ),
    *(
        "\\boxed{Assistant 1}",
        "assistant \\text",
        "Assistant 1",
        "<rating>",
        "9",
        "8/",
        "<think>",
        "</think>",
    ),
    *(
        "<eval>",
        "\n- a (40%): x",
        "\n- a (40%",
        "(1",
        "\nso",
        "<ranking>",
        "A>",
        "<|channel|>final",
        "^",
        "\u2060",
    ),
    *(
        "<|channel|>",
        "[\u2060",
        "<^",
        "\u200b<",
        "Here's my response:",
        "User:\n",
        "<summary_A>",
        "<justify>",
        " ",
    ),
    *("ａ", "sorry "),
]
STARTS = [
    "",
    "<answer>",
    "\\boxed{assistant",
    "<rubric>\n- a (40%): ",
    "<eval><quote_A>",
    "Here is my thought process:",
]


@pytest.mark.parametrize("name", READERS)
def test_work_grows_as_the_text_does(name: str, work: Work) -> None:
    read = READERS[name]
    read("warm up <answer>")
    for fragment in FRAGMENTS:
        for start in STARTS:
            texts = [start + fragment * (n // len(fragment)) for n in (600, 2400)]
            less, more = (work.of(read, text) for text in texts)
            assert more <= 4.5 * less + 1000, (start, fragment, less, more)
    for inside in ("Assistant 1", "so"):
        less, more = (work.of(read, "\\boxed{" * n + inside + "}" * n) for n in (100, 400))
        assert more <= 4.5 * less + 1000, (inside, less, more)


# --- the form of the patterns ------------------------------------------------------------------------

SAMPLE = [chr(c) for c in range(128)] + list("äĀ\u0300\u2060中ａ＜\U0001d400\U000e0001")


def patterns() -> dict[str, re.Pattern[str]]:
    """Every pattern of the protocols, by its place."""

    def walk(place: str, value: Any) -> Iterator[tuple[str, re.Pattern[str]]]:
        if isinstance(value, re.Pattern):
            yield place, value
        elif isinstance(value, (tuple, dict)):
            inner = value.values() if isinstance(value, dict) else value
            for i, v in enumerate(inner):
                yield from walk(f"{place}[{i}]", v)

    return dict(
        found
        for module in MODULES
        for name, value in vars(module).items()
        if not name.startswith("__")
        for found in walk(f"{module.__name__}.{name}", value)
    )


def one_character(items: Any, flags: int) -> set[str]:
    """The characters of the sample that the body of a repetition can begin with."""
    found: set[str] = set()
    for op, argument in items:
        if op is constants.BRANCH:
            return found.union(*(one_character(branch, flags) for branch in argument[1]))
        if op is constants.SUBPATTERN:
            return found | one_character(argument[3], flags)
        if op in (constants.MAX_REPEAT, constants.MIN_REPEAT):
            found |= one_character(argument[2], flags)
            if argument[0]:
                return found
            continue
        if op in (constants.AT, constants.ASSERT, constants.ASSERT_NOT, constants.GROUPREF):
            continue
        one = parser.SubPattern(parser.State(), [(op, argument)])
        one.state.flags = flags
        matches = re._compiler.compile  # type: ignore[attr-defined]
        return found | {c for c in SAMPLE if matches(one, flags).match(c)}
    return found


def faults(items: Any, flags: int, inside: bool = False) -> Iterator[str]:
    """Unbounded repetitions that hold another one, or may meet one of the same characters."""
    open_ones: list[set[str]] = []
    for op, argument in items:
        if op in (constants.MAX_REPEAT, constants.MIN_REPEAT):
            low, high, body = argument
            unbounded = high is constants.MAXREPEAT
            if unbounded:
                characters = one_character(body, flags)
                if inside:
                    yield f"a repetition in a repetition: {body}"
                if any(characters & other for other in open_ones):
                    yield f"repetitions of the same characters side by side: {body}"
            yield from faults(body, flags, inside or unbounded)
            open_ones = ([] if low else open_ones) + ([characters] if unbounded else [])
        elif op is constants.SUBPATTERN:
            yield from faults(argument[3], flags, inside)
            open_ones = []
        elif op is constants.BRANCH:
            for branch in argument[1]:
                yield from faults(branch, flags, inside)
            open_ones = []
        elif op in (constants.ASSERT, constants.ASSERT_NOT):
            yield from faults(argument[1], flags, inside)
        elif op is not constants.AT:
            open_ones = []


def test_no_repetitions_meet_in_a_pattern() -> None:
    assert len(patterns()) >= 20
    for place, pattern in patterns().items():
        assert not list(faults(parser.parse(pattern.pattern, pattern.flags), pattern.flags)), place
    for bad in (r"\s*\s*x", r"(a+)+", r"\s+(?:b\s*)*", r"\w*\d*z", r"(?:a|b*)*"):
        assert list(faults(parser.parse(bad), re.I)), bad
