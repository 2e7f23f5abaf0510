"""What a pair is made of: real material, the findings about a reply, and how they are looked for."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import material


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


STOP = frozenset(
    [
        "the",
        "and",
        "for",
        "that",
        "this",
        "with",
        "you",
        "your",
        "how",
        "what",
        "when",
        "where",
        "who",
        "whom",
        "whose",
        "which",
        "why",
        "are",
        "was",
        "were",
        "did",
        "does",
        "can",
        "could",
        "would",
        "should",
        "have",
        "has",
        "had",
        "from",
        "into",
        "about",
        "there",
        "their",
        "them",
        "they",
        "will",
        "shall",
        "may",
        "might",
        "must",
        "not",
        "any",
        "some",
        "one",
        "two",
        "give",
        "write",
        "make",
        "tell",
        "get",
        "use",
        "used",
        "his",
        "her",
        "its",
        "our",
        "out",
        "all",
        "most",
        "more",
        "than",
        "then",
        "also",
        "been",
        "being",
        "name",
        "between",
        "during",
        "after",
        "before",
        "come",
        "comes",
        "take",
        "place",
        "like",
        "many",
        "much",
        "long",
        "first",
        "last",
        "time",
        "called",
        "please",
    ]
)


class Material:
    """What pairs are made of, for one part (held out or not)."""

    def __init__(self, data: Path, *, held_out: bool) -> None:
        self.held_out = held_out
        everything = material.general(data)
        self.frequency = Counter(w for p in everything for w in set(content(p.text)))
        self.general = [p for p in everything if p.held_out is held_out]
        self.twice = [p for p in self.general if len(p.replies) > 1]
        self.long = [p for p in material.passages(data) if p.held_out is held_out]
        self.answers = [x for x in material.answers() if material.held_out(x[0]) is held_out]
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
    return [w for w in re.findall(r"[a-z0-9']+", text.lower()) if len(w) > 2 and w not in STOP]


def quote(words: Iterable[str]) -> str:
    """Words in quotation marks."""
    return '"' + " ".join(words) + '"'


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
    # One or two words are an answer, with a full stop or without.
    if len(reply.split()) > 2 and not re.search(r"[.!?)]$", reply.strip()):
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
    return (
        Criterion("Answers", 60, f"about {m.topic(prompt)}"),
        Criterion("Whole", 40, "finished, nothing twice"),
    )


_HARM = re.compile(
    r"(?i)\b(kill\w*|murder\w*|poison\w*|steal\w*|rob\w*|hack\w*|bomb\w*|explosive\w*|drugs?|cocaine"
    r"|meth|weapons?|gun|hurt\w*|harm\w*|tortur\w*|abus\w*|rap(?:e|ing)|assault\w*|beat up|fraud"
    r"|scam\w*|fake|forg\w*|launder\w*|blackmail\w*|extort\w*|stalk\w*|spy\w*|cheat\w*|insult\w*"
    r"|racist|slurs?|hate\w*|illegal\w*|smuggl\w*|kidnap\w*|evade|evasion|identity theft|phish\w*"
    r"|malware|virus|sabotage\w*|vandal\w*|arson|suicide|bully\w*|harass\w*|threat\w*|trick\w*"
    r"|without (?:them|him|her|anyone|being) \w+|break in\w*|shoplift\w*|brib\w*|counterfeit\w*"
    r"|plagiar\w*|manipulat\w*|revenge|behead\w*|burn\w*|destroy\w*|exploit\w*|unauthori[sz]ed"
    r"|underage|pirat\w*)\b"
)


def harm(request: str) -> str:
    """The words of a request that name a harm, empty where it names none."""
    found = _HARM.search(request)
    if not found or not re.search(
        r"(?i)\b(how|what|where|which|can|could|give|tell|help|ways?|ideas?|want|should|best)\b", request
    ):
        return ""
    phrase = re.split(r"[.!?,;]", request[found.start() :])[0].split()[:3]
    return " ".join(phrase).lower()
