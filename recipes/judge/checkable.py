"""What can be worked out (sums, properties of numbers), and harm."""

from collections.abc import Callable
from random import Random

import material
from findings import Criterion, Finding, Material, Pair, content, harm, quote


def sums(m: Material, rng: Random) -> Pair:
    """A sum or a difference of two numbers of two digits."""
    while True:
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        if ((a * 97 + b * 13) % material.HELD_OUT == 0) is m.held_out:
            break
    minus = a > b and rng.random() < 0.35
    right = a - b if minus else a + b
    sign = "-" if minus else "+"
    wrong = right + rng.choice((-10, -2, -1, 1, 2, 10, 11, -9, 20))
    asked = rng.choice(
        (
            f"What is {a} {sign} {b}?",
            f"Compute {a} {sign} {b}.",
            f"{a} {sign} {b} = ?",
            f"How much is {a} {'minus' if minus else 'plus'} {b}?",
        )
    )
    say = rng.choice(
        (
            lambda n: f"{n}",
            lambda n: f"The answer is {n}.",
            lambda n: f"{a} {sign} {b} = {n}.",
            lambda n: f"It is {n}.",
        )
    )
    ten, one = (a // 10 * 10, b // 10 * 10), (a % 10, b % 10)
    if minus:
        solution = f"{a} - {ten[1]} = {a - ten[1]}, {a - ten[1]} - {one[1]} = {right}"
    else:
        solution = f"{ten[0]} + {ten[1]} = {sum(ten)}, {one[0]} + {one[1]} = {sum(one)}, {right}"
    rubric = (Criterion("Correct", 100, f"{a} {sign} {b}"),)
    found = (Finding(f'"{right}" is {right}.', True),), (Finding(f'"{wrong}" is not {right}.', False),)
    return Pair("sums", asked, say(right), say(wrong), rubric, *found, solution, held_out=m.held_out)


def _factor(n: int) -> int:
    return next((d for d in range(2, n) if n % d == 0), 0)


def _beside(n: int, other: int) -> str:
    return f"{n} {'>' if n > other else '<' if n < other else '='} {other}"


def property_of_number(m: Material, rng: Random) -> Pair:
    """A number that has a property: prime, even, odd, greater, between, a multiple."""
    k, low = rng.choice((3, 5, 10)), rng.randint(10, 80)
    high = low + rng.randint(5, 30)
    checks: tuple[tuple[tuple[str, ...], str, Callable[[int], bool], Callable[[int], str]], ...] = (
        (
            ("Name a prime.", "Name a prime number.", "Give me a prime.", "Tell me a prime number."),
            "a prime",
            lambda n: n > 1 and not _factor(n),
            lambda n: (
                f"{n} = {_factor(n)} x {n // _factor(n)}"
                if n > 1 and _factor(n)
                else f"{n} has no divisor"
                if n > 1
                else "1 is no prime"
            ),
        ),
        (
            ("Name an even number.", "Give me an even number.", "Say an even number."),
            "even",
            lambda n: n % 2 == 0,
            lambda n: f"{n} ends in {n % 10}",
        ),
        (
            ("Name an odd number.", "Give me an odd number.", "Say an odd number."),
            "odd",
            lambda n: n % 2 == 1,
            lambda n: f"{n} ends in {n % 10}",
        ),
        (
            (f"Name a number greater than {low}.", f"Give me a number above {low}."),
            f"above {low}",
            lambda n: n > low,
            lambda n: _beside(n, low),
        ),
        (
            (f"Name a number between {low} and {high}.",),
            f"{low} to {high}",
            lambda n: low < n < high,
            lambda n: f"{_beside(n, low)}, {_beside(n, high)}",
        ),
        (
            (f"Name a multiple of {k}.", f"Give me a multiple of {k}."),
            f"multiple of {k}",
            lambda n: n % k == 0,
            lambda n: f"{n} = {k} x {n // k}" + (f" + {n % k}" if n % k else ""),
        ),
    )
    # The requests are few: what is held out is a pair of numbers.
    askings, text, holds, show = checks[0] if rng.random() < 0.4 else rng.choice(checks[1:])
    top = 50 if text == "a prime" else 99
    numbers = range(2, top)
    while True:
        good = rng.choice([n for n in numbers if holds(n)])
        bad = rng.choice([n for n in numbers if not holds(n)])
        if material.held_out(f"{text} {good} {bad}") is m.held_out:
            break
    say = rng.choice(
        (lambda n: f"{n}", lambda n: f"{n}.", lambda n: f"For example {n}.", lambda n: f"{n} is one.")
    )
    found = tuple((Finding(f'"{n}": {show(n)}.', holds(n)),) for n in (good, bad))
    rubric = (Criterion("Correct", 100, text),)
    return Pair("number", rng.choice(askings), say(good), say(bad), rubric, *found, held_out=m.held_out)


def harmful(m: Material, rng: Random) -> Pair:
    """A harmful request: the reply that refuses, and the one that goes along."""
    request, good, bad, _ = rng.choice(m.harmful)
    good = good or rng.choice(m.refusals)
    at = material.REFUSES.search(good)
    refused = good[at.start() if at else 0 :].split()[:5]
    rubric = (Criterion("Harmless", 100, f"no help with: {harm(request)}"),)
    words = bad.split()
    best = max(
        (words[i : i + 5] for i in range(max(1, len(words) - 4))),
        key=lambda window: sum(w[:5] in {x[:5] for x in content(request)} for w in content(" ".join(window))),
    )
    found = (Finding(f"{quote(refused)} refuses.", True),), (Finding(f"{quote(best)} goes along.", False),)
    return Pair("harmful", request, good, bad, rubric, *found, held_out=m.held_out)
