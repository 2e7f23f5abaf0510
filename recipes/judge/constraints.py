"""Requests that name a constraint which a rule can check."""

import json
import re
from collections.abc import Callable
from random import Random

import material
from faults import clean
from findings import STOP, Criterion, Finding, Material, Pair, quote, whole


def _asked(prompt: str, *sentences: str, rng: Random) -> str:
    return f"{prompt} {rng.choice(sentences)}"


def _constrained(
    m: Material,
    kind: str,
    asked: str,
    name: str,
    text: str,
    good: tuple[str, Finding],
    bad: tuple[str, Finding],
) -> Pair:
    rubric = (Criterion(name, 100, text),)
    return Pair(kind, asked, good[0], bad[0], rubric, (good[1],), (bad[1],), held_out=m.held_out)


def lowercase(m: Material, rng: Random) -> Pair:
    """No capital letter."""
    prompt, one, two = clean(m, rng)
    asked = _asked(
        prompt.text,
        "Use only lowercase letters.",
        "Write everything in lowercase.",
        "No capital letters, please.",
        "Answer in lowercase.",
        rng=rng,
    )
    good = one.lower()
    if rng.random() < 0.4:
        words = two.lower().split()
        at = rng.randrange(len(words))
        words[at] = words[at].capitalize()
        two = " ".join(words)
    capital = next((w for w in two.split() if w != w.lower()), None)
    if capital is None:
        return lowercase(m, rng)
    # The first words are copied before anything is said of them: what decides then stands close by.
    met = Finding(f"Starts {quote(good.split()[:3])}, no capital.", True)
    found = Finding(f'Starts {quote(two.split()[:3])}, capital in "{capital}".', False)
    return _constrained(m, "lowercase", asked, "Lowercase", "no capital letter", (good, met), (two, found))


def capitals(m: Material, rng: Random) -> Pair:
    """Capital letters only."""
    prompt, one, two = clean(m, rng)
    asked = _asked(
        prompt.text,
        "Write in capital letters only.",
        "Answer in ALL CAPS.",
        "Use only capital letters.",
        rng=rng,
    )
    good = (one.upper(), Finding(f"Starts {quote(one.upper().split()[:2])}, no small letter.", True))
    small = next(w for w in two.split() if w != w.upper())
    bad = (two, Finding(f'Starts {quote(two.split()[:2])}, small in "{small}".', False))
    return _constrained(m, "capitals", asked, "Capitals", "capital letters only", good, bad)


def commas(m: Material, rng: Random) -> Pair:
    """No comma."""
    while True:
        prompt, one, two = clean(m, rng)
        if "," in two and (re.search(r"[A-Za-z],", two)):
            break
    asked = _asked(
        prompt.text,
        "Do not use any commas.",
        "Write it without commas.",
        "No commas, please.",
        "Your answer must not contain commas.",
        rng=rng,
    )
    comma = next(w for w in two.split() if "," in w)
    good = one.replace(",", "")
    met = Finding(f'"{good}" has no comma.', True)
    found = Finding(f'"{two}" has a comma: "{comma}".', False)
    return _constrained(m, "no commas", asked, "No commas", "no comma", (good, met), (two, found))


def given_word(m: Material, rng: Random) -> Pair:
    """A word that has to occur."""
    while True:
        prompt, one, two = clean(m, rng)
        fits = [
            w
            for w in re.findall(r"[a-z]{4,10}", one)
            if w not in STOP
            and w not in two.lower()
            and w not in prompt.text.lower()
            and re.search(rf"\b{w}\b", one)
        ]
        if fits:
            break
    word = rng.choice(fits)
    asked = _asked(
        prompt.text,
        f'Include the word "{word}".',
        f'Use the word "{word}".',
        f'Your answer must contain "{word}".',
        rng=rng,
    )
    words = one.split()
    at = next(i for i, w in enumerate(words) if re.search(rf"\b{word}\b", w))
    good = (one, Finding(f"{quote(words[max(0, at - 1) : at + 2])} has {word}.", True))
    bad = (two, Finding(f"No {word} in it.", False))
    return _constrained(m, "given word", asked, "Word", f"has {word}", good, bad)


_COUNTS = {1: "one", 2: "two", 3: "three"}


def n_sentences(m: Material, rng: Random) -> Pair:
    """An exact number of sentences."""
    while True:
        prompt = rng.choice(m.twice)
        counts = {len(material.sentences(r)): r for r in prompt.replies if whole(r).met}
        counts = {n: r for n, r in counts.items() if n in _COUNTS}
        if len(counts) > 1:
            break
    right, wrong = rng.sample(sorted(counts), 2)
    s = "s" * (right > 1)
    asked = _asked(
        prompt.text,
        f"Answer in exactly {_COUNTS[right]} sentence{s}.",
        f"Write {_COUNTS[right]} sentence{s}.",
        f"Use {_COUNTS[right]} sentence{s}.",
        rng=rng,
    )

    def found(n: int) -> Finding:
        firsts = [" ".join(x.split()[:2]) for x in material.sentences(counts[n])]
        listed = " ".join(f'{i} "{x}"' for i, x in enumerate(firsts, 1))
        return Finding(f"{listed}: {n}, asked {right}.", n == right)

    text = f"{_COUNTS[right]} sentence{s}"
    return _constrained(
        m, "sentences", asked, "Sentences", text, (counts[right], found(right)), (counts[wrong], found(wrong))
    )


def at_most_words(m: Material, rng: Random) -> Pair:
    """At most n words."""
    while True:
        prompt = rng.choice(m.short)
        lengths = {len(r.split()): r for r in prompt.replies}
        if len(lengths) > 1:
            break
    few, many = sorted(rng.sample(sorted(lengths), 2))
    if many - few < 2 and rng.random() < 0.7:
        return at_most_words(m, rng)
    limit = rng.randint(few, many - 1)
    asked = _asked(
        prompt.text,
        f"Use at most {limit} words.",
        f"Answer in no more than {limit} words.",
        f"At most {limit} words.",
        rng=rng,
    )

    def found(n: int) -> Finding:
        counted = " ".join(f"{i} {w.strip('.,')}" for i, w in enumerate(lengths[n].split(), 1))
        return Finding(f"{counted}: {n}, limit {limit}.", n <= limit)

    text = f"at most {limit} words"
    return _constrained(
        m, "at most n words", asked, "Length", text, (lengths[few], found(few)), (lengths[many], found(many))
    )


def number_only(m: Material, rng: Random) -> Pair:
    """The number and nothing else."""
    question, number = rng.choice(m.numbers)
    asked = _asked(
        question,
        "Answer with the number only.",
        "Reply with just the number.",
        "Only the number, please.",
        "Give the number and nothing else.",
        rng=rng,
    )
    thing = question.removeprefix("How many ").split(" do")[0].split(" are")[0]
    bad = rng.choice(
        (
            f"The answer is {number}.",
            f"There are {number} {thing}.",
            f"It is {number} {thing}, as far as I know.",
            f"{number} {thing}, which is easy to remember.",
            f"That would be {number}, since it has {number} {thing}.",
            f"{number} is the number of {thing}.",
            f"Everybody knows that there are {number} {thing} in all.",
        )
    )
    rubric = (Criterion("Number only", 100, "a number, no words"),)
    good = Finding(f'Starts "{number}", a number alone.', True)
    found = Finding(f"Starts {quote(bad.split()[:3])}, has words.", False)
    return Pair("number only", asked, str(number), bad, rubric, (good,), (found,), held_out=m.held_out)


def valid_json(m: Material, rng: Random) -> Pair:
    """An object that a JSON parser reads."""
    asked, value = rng.choice(m.jsons)
    good = json.dumps(value)
    breaks: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
        (lambda s: s[:-1], lambda _: "no closing brace"),
        (lambda s: s.replace(", ", " "), lambda s: f"no comma before {s.split()[2]}"),
        (lambda s: s.replace('"', ""), lambda _: "no quotes"),
        (lambda s: s.replace(":", " =", 1), lambda s: f"no colon after {s.split()[0].strip('{')}"),
        (lambda s: f"{s.strip('{}')}", lambda _: "no braces"),
        (lambda s: "; ".join(f"{k} is {v}" for k, v in json.loads(s).items()), lambda _: "plain text"),
    )
    make, say = rng.choice(breaks)
    bad = make(good)
    rubric = (Criterion("Valid JSON", 100, "braces, quotes, commas"),)

    def finding(reply: str, what: str, met: bool) -> Finding:
        words = reply.split()
        return Finding(f"Starts {words[0]}, ends {words[-1]}, {what}.", met)

    found = (finding(good, "valid", True),), (finding(bad, say(bad), False),)
    return Pair("valid JSON", asked, good, bad, rubric, *found, held_out=m.held_out)
