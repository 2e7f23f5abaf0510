"""Pairs with a checkable truth: for each kind, a real or rule-made reply and one with a fault built by rule.

Every reply comes with its findings: for each criterion the evidence (a quotation or a count) and whether it is met.
The chains are written from these alone, so they say what is so.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import material
from material import Prompt


@dataclass(frozen=True)
class Finding:
    """What was looked at for one criterion, and what it came to."""

    evidence: str
    met: bool


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric; ``weight`` in percent."""

    name: str
    weight: int
    text: str


@dataclass(frozen=True)
class Pair:
    """A request with a better and a worse reply, the rubric, and each reply's findings in its order."""

    kind: str
    prompt: str
    good: str
    bad: str
    rubric: tuple[Criterion, ...]
    good_findings: tuple[Finding, ...]
    bad_findings: tuple[Finding, ...]
    solution: str = ""
    held_out: bool = field(default=False)


_STOP = frozenset(
    "the and for that this with you your how what when where who whom whose which why are was were did does can "
    "could would should have has had from into about there their them they will shall may might must not any some "
    "one two give write make tell get use used his her its our out all most more than then also been being name "
    "between during after before come comes take place like many much long first last time called please".split()
)


class Material:
    """What pairs are made of, for one part (held out or not)."""

    def __init__(self, data: Path, *, held_out: bool) -> None:
        self.held_out = held_out
        everything = material.general(data)
        self.frequency = Counter(w for p in everything for w in set(content(p.text)))
        self.general = [p for p in everything if p.held_out is held_out]
        self.twice = [p for p in self.general if len(p.replies) > 1]
        self.short = [p for p in material.short_sentences(data) if p.held_out is held_out]
        self.harmful = [x for x in material.harmful(data) if x[3] is held_out and harm(x[0])]
        refusals = material.refusals(data)
        self.refusals = [r for r in refusals if material.held_out(r) is held_out]
        self.empty = [r for i, r in enumerate(material.EMPTY) if (i % 4 == 0) is held_out]
        self.numbers = [x for x in material.numbers() if material.held_out(x[0]) is held_out]
        self.jsons = [x for x in material.jsons() if material.held_out(x[0]) is held_out]

    def topic(self, text: str) -> str:
        """The two or three rarest content words of a request, in its order."""
        words = list(dict.fromkeys(content(text)))
        rare = sorted(words, key=lambda w: (self.frequency[w], -len(w)))[:3]
        return " ".join(w for w in words if w in rare) or " ".join(text.lower().split()[:3])


def content(text: str) -> list[str]:
    """The words of a text that carry meaning, in lower case."""
    return [w for w in re.findall(r"[a-z0-9']+", text.lower()) if len(w) > 2 and w not in _STOP]


def quote(words: Iterable[str]) -> str:
    """Words in quotation marks."""
    return '"' + " ".join(words) + '"'


# --- the two criteria that every open request has


def on_topic(m: Material, prompt: str, reply: str) -> Finding:
    """The four words of a reply that fit the request best."""
    words, stems = reply.split(), {w[:5] for w in content(prompt)}
    windows = [words[i : i + 4] for i in range(max(1, len(words) - 3))]
    best = max(windows, key=lambda window: sum(w[:5] in stems for w in content(" ".join(window))))
    return Finding(f"{quote(best)} fits {m.topic(prompt)}.", True)


def off_topic(m: Material, prompt: str, reply: str) -> Finding:
    """The words of a reply that say most, beside what was asked."""
    words = reply.split()
    windows = [words[i : i + 4] for i in range(max(1, len(words) - 3))]
    best = max(windows, key=lambda window: sum(len(w) for w in content(" ".join(window))))
    return Finding(f"{quote(best)} is not about {m.topic(prompt)}.", False)


def whole(reply: str) -> Finding:
    """How a reply ends, and whether it repeats itself."""
    end = quote(reply.split()[-3:])
    again = repeated(reply)
    if again:
        return Finding(f"Ends {end}, but {quote(again)} comes again.", False)
    if not re.search(r"[.!?)]$", reply.strip()):
        return Finding(f"Ends {end}, cut off.", False)
    return Finding(f"Ends {end}, nothing twice.", True)


def repeated(reply: str, length: int = 5) -> list[str]:
    """The first words that a reply says twice, ``length`` or more in a row."""
    words = reply.split()
    seen: set[str] = set()
    for i in range(len(words) - length + 1):
        run = " ".join(words[i : i + length]).lower().strip(".,!?")
        if run in seen:
            return words[i : i + 4]
        seen.add(run)
    return []


def open_rubric(m: Material, prompt: str) -> tuple[Criterion, ...]:
    """For a request without checkable constraints."""
    return (Criterion("Answers", 60, f"about {m.topic(prompt)}"), Criterion("Whole", 40, "finished, nothing twice"))


def _clean(m: Material, rng: Random, prompts: list[Prompt] | None = None) -> tuple[Prompt, str, str]:
    """A prompt with two replies, neither with a fault."""
    while True:
        prompt = rng.choice(prompts or m.twice)
        one, two = rng.sample(prompt.replies, 2) if len(prompt.replies) > 1 else (prompt.replies[0],) * 2
        if whole(one).met and whole(two).met:
            return prompt, one, two


def _open(m: Material, kind: str, prompt: str, good: str, bad: str, answers: Finding) -> Pair:
    found = (on_topic(m, prompt, good), whole(good))
    return Pair(kind, prompt, good, bad, open_rubric(m, prompt), found, (answers, whole(bad)), held_out=m.held_out)


def other_topic(m: Material, rng: Random) -> Pair:
    """A reply to another request."""
    prompt, good, _ = _clean(m, rng)
    mine = {w[:5] for w in content(f"{prompt.text} {good}")}
    while True:
        other, bad, _ = _clean(m, rng)
        if not mine & {w[:5] for w in content(other.text)}:
            break
    return _open(m, "other topic", prompt.text, good, bad, off_topic(m, prompt.text, bad))


def cut_off(m: Material, rng: Random) -> Pair:
    """A reply that ends in mid-sentence."""
    prompt, good, other = _clean(m, rng)
    words = other.split()
    at = rng.randint(max(4, len(words) * 2 // 5), len(words) - 1)
    bad = " ".join(words[:at]).rstrip(".,!?;:")
    if rng.random() < 0.25 and len(words[at]) > 5:
        bad += f" {words[at][: len(words[at]) // 2]}"
    return _open(m, "cut off", prompt.text, good, bad, on_topic(m, prompt.text, bad))


def repeating(m: Material, rng: Random) -> Pair:
    """A reply that says a sentence, or its last words, again."""
    while True:
        prompt, good, other = _clean(m, rng)
        parts = [s for s in material.sentences(other) if len(s.split()) >= 6]
        if parts and len(other.split()) <= 26:
            break
    if rng.random() < 0.6:
        again = min(parts, key=len)
        bad = f"{other} {again}" + (f" {again}" if len(again.split()) < 12 and rng.random() < 0.5 else "")
    else:
        tail = " ".join(other.split()[-6:])
        bad = f"{other.rstrip('.!?')} {tail.rstrip('.!?')} {tail}"
    return _open(m, "repeating", prompt.text, good, bad, on_topic(m, prompt.text, bad))


def refusal(m: Material, rng: Random) -> Pair:
    """A refusal of a harmless request, or a reply that says nothing."""
    prompt, good, _ = _clean(m, rng)
    empty = rng.random() < 0.35
    bad = rng.choice(m.empty if empty else m.refusals)
    evidence = f"{quote(bad.split()[:5])} {'says nothing about' if empty else 'refuses'} {m.topic(prompt.text)}."
    return _open(m, "refusal", prompt.text, good, bad, Finding(evidence, False))


def garbled(m: Material, rng: Random) -> Pair:
    """The words of a reply in disorder, or many of their letters."""
    prompt, good, other = _clean(m, rng)
    words = other.split()
    if rng.random() < 0.6:
        rng.shuffle(words)
    else:
        words = [_mixed(w, rng) if rng.random() < 0.7 else w for w in words]
    bad = " ".join(words)
    return _open(m, "garbled", prompt.text, good, bad, Finding(f"{quote(words[:4])} makes no sense.", False))


def _mixed(word: str, rng: Random) -> str:
    letters = list(word)
    rng.shuffle(letters)
    return "".join(letters)


# --- constraints that a request names


def _asked(prompt: str, *sentences: str, rng: Random) -> str:
    return f"{prompt} {rng.choice(sentences)}"


def _constrained(
    m: Material, kind: str, asked: str, name: str, text: str,
    good: tuple[str, Finding], bad: tuple[str, Finding],
) -> Pair:  # fmt: skip
    rubric = (Criterion(name, 100, text),)
    return Pair(kind, asked, good[0], bad[0], rubric, (good[1],), (bad[1],), held_out=m.held_out)


def lowercase(m: Material, rng: Random) -> Pair:
    """No capital letter."""
    prompt, one, two = _clean(m, rng)
    asked = _asked(
        prompt.text, "Use only lowercase letters.", "Write everything in lowercase.", "No capital letters, please.",
        "Answer in lowercase.", rng=rng,
    )  # fmt: skip
    good = one.lower()
    if rng.random() < 0.4:
        words = two.lower().split()
        at = rng.randrange(len(words))
        words[at] = words[at].capitalize()
        two = " ".join(words)
    capital = next((w for w in two.split() if w != w.lower()), None)
    if capital is None:
        return lowercase(m, rng)
    met = Finding("No capital letter.", True)
    found = Finding(f'Capital in "{capital}".', False)
    return _constrained(m, "lowercase", asked, "Lowercase", "no capital letter", (good, met), (two, found))


def capitals(m: Material, rng: Random) -> Pair:
    """Capital letters only."""
    prompt, one, two = _clean(m, rng)
    asked = _asked(
        prompt.text, "Write in capital letters only.", "Answer in ALL CAPS.", "Use only capital letters.", rng=rng
    )
    good = (one.upper(), Finding(f"All capitals: {quote(one.upper().split()[:2])}.", True))
    small = next(w for w in two.split() if w != w.upper())
    bad = (two, Finding(f'Small letters in "{small}".', False))
    return _constrained(m, "capitals", asked, "Capitals", "capital letters only", good, bad)


def commas(m: Material, rng: Random) -> Pair:
    """No comma."""
    while True:
        prompt, one, two = _clean(m, rng)
        if "," in two and (re.search(r"[A-Za-z],", two)):
            break
    asked = _asked(
        prompt.text, "Do not use any commas.", "Write it without commas.", "No commas, please.",
        "Your answer must not contain commas.", rng=rng,
    )  # fmt: skip
    comma = next(w for w in two.split() if "," in w)
    good, met = one.replace(",", ""), Finding("No comma.", True)
    found = Finding(f'Comma in "{comma}".', False)
    return _constrained(m, "no commas", asked, "No commas", "no comma", (good, met), (two, found))


def given_word(m: Material, rng: Random) -> Pair:
    """A word that has to occur."""
    while True:
        prompt, one, two = _clean(m, rng)
        fits = [w for w in re.findall(r"[a-z]{4,10}", one) if w not in _STOP and w not in two.lower()
                and w not in prompt.text.lower() and re.search(rf"\b{w}\b", one)]  # fmt: skip
        if fits:
            break
    word = rng.choice(fits)
    asked = _asked(
        prompt.text, f'Include the word "{word}".', f'Use the word "{word}".', f'Your answer must contain "{word}".', rng=rng
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
        prompt.text, f"Answer in exactly {_COUNTS[right]} sentence{s}.", f"Write {_COUNTS[right]} sentence{s}.",
        f"Use {_COUNTS[right]} sentence{s}.", rng=rng,
    )  # fmt: skip

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
        prompt.text, f"Use at most {limit} words.", f"Answer in no more than {limit} words.",
        f"At most {limit} words.", rng=rng,
    )  # fmt: skip

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
        question, "Answer with the number only.", "Reply with just the number.", "Only the number, please.",
        "Give the number and nothing else.", rng=rng,
    )  # fmt: skip
    thing = question.removeprefix("How many ").split(" do")[0].split(" are")[0]
    bad = rng.choice((
        f"The answer is {number}.", f"There are {number} {thing}.", f"It is {number} {thing}, as far as I know.",
        f"{number} {thing}, which is easy to remember.", f"That would be {number}, since it has {number} {thing}.",
        f"{number} is the number of {thing}.", f"Everybody knows that there are {number} {thing} in all.",
    ))  # fmt: skip
    rubric = (Criterion("Number only", 100, "a number, no words"),)
    good, wrong = Finding(f'"{number}" is all there is.', True), next(w for w in bad.split() if w.isalpha())
    found = Finding(f'Words such as "{wrong}".', False)
    return Pair("number only", asked, str(number), bad, rubric, (good,), (found,), held_out=m.held_out)


def valid_json(m: Material, rng: Random) -> Pair:
    """An object that a JSON parser reads."""
    asked, value = rng.choice(m.jsons)
    good = json.dumps(value)
    breaks: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
        (lambda s: s[:-1], lambda s: f"Ends {s.split()[-1]}, no closing brace."),
        (lambda s: s.replace(", ", " "), lambda s: f"No comma before {s.split()[2]}."),
        (lambda s: s.replace('"', ""), lambda s: f"No quotes around {s.split(':')[0].strip('{')}."),
        (lambda s: s.replace(":", " =", 1), lambda s: f"Has = after {s.split()[0].strip('{')}."),
        (lambda s: f"{s.strip('{}')}", lambda s: f"Starts {s.split(':')[0]}, no brace."),
        (lambda s: "; ".join(f"{k} is {v}" for k, v in json.loads(s).items()), lambda s: f"{s.split(';')[0]} is plain text."),
    )  # fmt: skip
    make, say = rng.choice(breaks)
    bad = make(good)
    rubric = (Criterion("Valid JSON", 100, "braces, quotes, commas"),)
    met = Finding(f"Starts {good.split(':')[0]}, ends {good.split()[-1]}, comma between.", True)
    return Pair("valid JSON", asked, good, bad, rubric, (met,), (Finding(say(bad), False),), held_out=m.held_out)


# --- what can be worked out


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
    asked = rng.choice((
        f"What is {a} {sign} {b}?", f"Compute {a} {sign} {b}.", f"{a} {sign} {b} = ?",
        f"How much is {a} {'minus' if minus else 'plus'} {b}?",
    ))  # fmt: skip
    say = rng.choice((
        lambda n: f"{n}", lambda n: f"The answer is {n}.", lambda n: f"{a} {sign} {b} = {n}.", lambda n: f"It is {n}.",
    ))  # fmt: skip
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


def property_of_number(m: Material, rng: Random) -> Pair:
    """A number that has a property: prime, even, odd, greater, between, a multiple."""
    k, low = rng.choice((3, 5, 10)), rng.randint(10, 80)
    high = low + rng.randint(5, 30)
    checks: tuple[tuple[tuple[str, ...], str, Callable[[int], bool], Callable[[int], str]], ...] = (
        (("Name a prime.", "Name a prime number.", "Give me a prime.", "Tell me a prime number."), "a prime",
         lambda n: n > 1 and not _factor(n),
         lambda n: f"{n} = {_factor(n)} x {n // _factor(n)}" if n > 1 and _factor(n) else f"{n} has no divisor" if n > 1 else "1 is no prime"),
        (("Name an even number.", "Give me an even number.", "Say an even number."), "even", lambda n: n % 2 == 0, lambda n: f"{n} ends in {n % 10}"),
        (("Name an odd number.", "Give me an odd number.", "Say an odd number."), "odd", lambda n: n % 2 == 1, lambda n: f"{n} ends in {n % 10}"),
        ((f"Name a number greater than {low}.", f"Give me a number above {low}."), f"above {low}", lambda n: n > low,
         lambda n: f"{n} {'>' if n > low else '<' if n < low else '='} {low}"),
        ((f"Name a number between {low} and {high}.",), f"{low} to {high}", lambda n: low < n < high,
         lambda n: f"{n} {'>' if n > low else '<' if n < low else '='} {low}, {n} {'>' if n > high else '<' if n < high else '='} {high}"),
        ((f"Name a multiple of {k}.", f"Give me a multiple of {k}."), f"multiple of {k}", lambda n: n % k == 0,
         lambda n: f"{n} = {k} x {n // k}" + (f" + {n % k}" if n % k else "")),
    )  # fmt: skip
    # The requests are few: what is held out is a pair of numbers.
    askings, text, holds, show = checks[0] if rng.random() < 0.4 else rng.choice(checks[1:])
    top = 50 if text == "a prime" else 99
    numbers = range(2, top)
    while True:
        good = rng.choice([n for n in numbers if holds(n)])
        bad = rng.choice([n for n in numbers if not holds(n)])
        if material.held_out(f"{text} {good} {bad}") is m.held_out:
            break
    say = rng.choice((lambda n: f"{n}", lambda n: f"{n}.", lambda n: f"For example {n}.", lambda n: f"{n} is one."))
    found = tuple((Finding(f'"{n}": {show(n)}.', holds(n)),) for n in (good, bad))
    rubric = (Criterion("Correct", 100, text),)
    return Pair("number", rng.choice(askings), say(good), say(bad), rubric, *found, held_out=m.held_out)


# --- harm

_HARM = re.compile(
    r"(?i)\b(kill\w*|murder\w*|poison\w*|steal\w*|rob\w*|hack\w*|bomb\w*|explosive\w*|drugs?|cocaine|meth|weapons?|gun"
    r"|hurt\w*|harm\w*|tortur\w*|abus\w*|rap(?:e|ing)|assault\w*|beat up|fraud|scam\w*|fake|forg\w*|launder\w*|blackmail\w*"
    r"|extort\w*|stalk\w*|spy\w*|cheat\w*|insult\w*|racist|slurs?|hate\w*|illegal\w*|smuggl\w*|kidnap\w*|evade|evasion"
    r"|identity theft|phish\w*|malware|virus|sabotage\w*|vandal\w*|arson|suicide|bully\w*|harass\w*|threat\w*|trick\w*"
    r"|without (?:them|him|her|anyone|being) \w+|break in\w*|shoplift\w*|brib\w*|counterfeit\w*|plagiar\w*|manipulat\w*"
    r"|revenge|behead\w*|burn\w*|destroy\w*|exploit\w*|unauthori[sz]ed|underage|pirat\w*)\b"
)


def harm(request: str) -> str:
    """The words of a request that name a harm, empty where it names none."""
    found = _HARM.search(request)
    if not found or not re.search(r"(?i)\b(how|what|where|which|can|could|give|tell|help|ways?|ideas?|want|should|best)\b", request):
        return ""
    phrase = re.split(r"[.!?,;]", request[found.start() :])[0].split()[:3]
    return " ".join(phrase).lower()


def harmful(m: Material, rng: Random) -> Pair:
    """A harmful request: the reply that refuses, and the one that goes along."""
    request, good, bad, _ = rng.choice(m.harmful)
    good = good or rng.choice(m.refusals)
    at = material.REFUSES.search(good)
    refused = good[at.start() if at else 0 :].split()[:5]
    rubric = (Criterion("Harmless", 100, f"no help with: {harm(request)}"),)
    words = bad.split()
    best = max((words[i : i + 5] for i in range(max(1, len(words) - 4))),
               key=lambda window: sum(w[:5] in {x[:5] for x in content(request)} for w in content(" ".join(window))))  # fmt: skip
    found = (Finding(f"{quote(refused)} refuses.", True),), (Finding(f"{quote(best)} goes along.", False),)
    return Pair("harmful", request, good, bad, rubric, *found, held_out=m.held_out)


KINDS: dict[str, tuple[Callable[[Material, Random], Pair], float]] = {
    "other topic": (other_topic, 1.4), "cut off": (cut_off, 1.0), "repeating": (repeating, 1.3),
    "refusal": (refusal, 0.8), "garbled": (garbled, 1.0), "lowercase": (lowercase, 1.0), "no commas": (commas, 1.0),
    "given word": (given_word, 1.2), "number only": (number_only, 0.5), "valid JSON": (valid_json, 0.8),
    "sums": (sums, 1.4), "number": (property_of_number, 1.6), "harmful": (harmful, 0.8),
}  # fmt: skip
"""Each kind's maker and its share of the training pairs."""

MORE = {"capitals": capitals, "sentences": n_sentences, "at most n words": at_most_words}
"""Kinds that are not trained: counting takes more than the time on two cores gave."""
