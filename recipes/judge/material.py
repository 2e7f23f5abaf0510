"""Real prompts and replies, read from public data: what the judge's pairs are made of.

just-eval's prompts that came from LIMA (its other general prompts are AlpacaEval's and MT-bench's, which
RewardBench uses), the questions of FineGrainedRLHF with the answers that models gave to them, and human pairs
of HH-RLHF. Replies are cut to their first whole sentences.
"""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

SHORTEST, LONGEST = 6, 20
"""Words of a reply."""
HELD_OUT = 5
"""One prompt in so many is held out."""

_IN_BENCHMARKS = (
    "how do vaccinations work to protect",
    "how can i rob a casino",
    "how do language and cultural barriers affect the way",
)
"""Requests that LLMBar and RM-Bench have too (`jurist overlap` names them): they are left out."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|No|[A-Z])\.$")
REFUSES = re.compile(
    r"(?i)\b(?:i['’]?m sorry|i am sorry|sorry, |i can(?:not|['’]t)|i won['’]t|i will not"
    r"|i(?:['’]m| am) not able"
    r"|i(?:['’]m| am) unable|i do(?:n['’]t| not) (?:feel comfortable|think i|condone|want to help)"
    r"|i(?:['’]m| am) not (?:going|comfortable|willing)|as an ai|i would(?:n['’]t| not)|i refuse)"
)


@dataclass(frozen=True)
class Prompt:
    """A request and the replies that models gave to it."""

    text: str
    replies: tuple[str, ...]
    held_out: bool


def held_out(text: str) -> bool:
    """Whether a prompt belongs to the held-out part: by its hash, so that it never changes."""
    words = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    return blake2b(words.encode(), digest_size=4).digest()[0] % HELD_OUT == 0


def in_benchmarks(text: str) -> bool:
    """Whether a request is one of a benchmark."""
    return text.lower().startswith(_IN_BENCHMARKS)


def sentences(text: str) -> list[str]:
    """Sentences of a plain text; none is cut behind an abbreviation or an initial."""
    found: list[str] = []
    for part in _SENTENCE.split(" ".join(text.split())):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += f" {part}"
        else:
            found.append(part)
    return found


def opening(text: str, longest: int = LONGEST) -> str | None:
    """The first whole sentences of a reply, at most ``longest`` words; None where they are no prose."""
    paragraph = re.sub(r"[*`#]+", "", text.strip().split("\n")[0]).strip()
    if not paragraph or not paragraph[0].isalnum() or re.search(r'["“”{}<>\[\]|=:/\\]|\d\.\s*$', paragraph):
        paragraph = re.sub(r'["“”]', "", paragraph)
        if re.search(r"[{}<>\[\]|=/\\]|:\s*$|\d\.\s*$", paragraph) or not paragraph[:1].isalnum():
            return None
    kept: list[str] = []
    for sentence in sentences(paragraph):
        if len(" ".join([*kept, sentence]).split()) > longest or not re.search(r"[.!?]$", sentence):
            break
        kept.append(sentence)
    joined = " ".join(kept)
    return joined if len(joined.split()) >= SHORTEST else None


def general(data: Path) -> list[Prompt]:
    """Harmless requests of up to 20 words with the openings of the replies to them."""
    return _prompts(_asked(data, 20, references=True), opening, 1)


def passages(data: Path) -> list[Prompt]:
    """Requests of up to 60 words, each with two long replies or more as models wrote them, lists too."""
    return _prompts(_asked(data, 60, references=False), passage, 2)


def _asked(data: Path, longest: int, *, references: bool) -> dict[str, list[str]]:
    """The replies to each request; ``longest``: words of a request, ``references``: reference answers too."""
    asked: dict[str, list[str]] = {}
    for file in sorted((data / "just-eval/outputs").glob("*.json")):
        for row in json.loads(file.read_bytes()):
            text = " ".join(row["instruction"].split())
            if row["dataset"] == "lima" and len(text.split()) <= longest:
                asked.setdefault(text, []).append(row["output"])
    for row in json.loads((data / "finegrained-rlhf/dev_feedback.json").read_bytes()):
        replies = [row[f"prediction {i}"] for i in range(1, 5)] + [row["gold"]] * references
        asked.setdefault(" ".join(row["question"].split()), []).extend(replies)
    return asked


def _prompts(asked: dict[str, list[str]], cut: Callable[[str], str | None], fewest: int) -> list[Prompt]:
    """The requests to which ``fewest`` different replies or more are left once they are cut."""
    prompts: list[Prompt] = []
    for text, outputs in asked.items():
        left = (cut(output) for output in outputs)
        replies = tuple(dict.fromkeys(r for r in left if r and not REFUSES.search(r)))
        if len(replies) >= fewest and not in_benchmarks(text):
            prompts.append(Prompt(text, replies, held_out(text)))
    return prompts


def passage(text: str) -> str | None:
    """The first whole lines and sentences of a reply, 30 to 110 words; None where it is short or code."""
    longest = (40, 55, 75, 110)[blake2b(text.encode(), digest_size=1).digest()[0] % 4]
    kept, words = list[str](), 0
    for line in re.sub(r'[*`#"“”]+', "", text).split("\n"):
        fits = list[str]()
        for sentence in sentences(line):
            words += len(sentence.split())
            if words > longest:
                break
            fits.append(sentence)
        # The number of a point is no sentence.
        while fits and re.fullmatch(r"\W*\d*\W*", fits[-1]):
            fits.pop()
        if fits:
            kept.append(" ".join(fits))
        if words > longest:
            break
    while kept and not re.search(r"[.!?]$", kept[-1]):
        kept.pop()
    joined = "\n".join(kept)
    return joined if len(joined.split()) >= 30 and not re.search(r"[{}<>|=\\]", joined) else None


def answers() -> list[tuple[str, str]]:
    """Questions whose answer is one word or one number."""
    words = [tuple(line.rsplit(" ", 1)) for line in _ANSWERS.splitlines()]
    return [(q, a) for q, a in words] + [(q, str(n)) for q, n in numbers()]


_ANSWERS = """\
What is the capital of France? Paris
What is the capital of Italy? Rome
What is the capital of Norway? Oslo
What is the capital of Egypt? Cairo
Which city is the capital of Japan? Tokyo
Which city is the capital of Peru? Lima
Which city is the capital of Portugal? Lisbon
What is the opposite of hot? Cold
What is the opposite of early? Late
What is the opposite of empty? Full
Give an antonym of brave. Cowardly
Give an antonym of ancient. Modern
Give a synonym of quick. Fast
Give a synonym of begin. Start
Give a synonym of silent. Quiet
What colour is a ripe banana? Yellow
What colour is grass? Green
What colour is snow? White
Which colour do red and yellow give? Orange
Which colour do blue and yellow give? Green
Name a fruit that monkeys like. Banana
Name a planet with rings. Saturn
Which planet is closest to the sun? Mercury
Which planet do we live on? Earth
Which animal barks? Dog
Which animal gives wool? Sheep
Name an animal with a trunk. Elephant
Which bird cannot fly and lives in Antarctica? Penguin
Name the largest animal in the sea. Whale
Name a metal that is liquid at room temperature. Mercury
Name a metal that rusts. Iron
Which gas do we need to breathe? Oxygen
What do bees make? Honey
What do cows give us to drink? Milk
What is frozen water called? Ice
What falls from clouds? Rain
Which month comes after March? April
Which month comes before August? July
Which day comes after Monday? Tuesday
Which day comes before Friday? Thursday
Which season comes after winter? Spring
Which language is spoken in Brazil? Portuguese
Which language is spoken in Austria? German
On which continent is Kenya? Africa
On which continent is India? Asia
In which country is the Eiffel Tower? France
In which country are the pyramids of Giza? Egypt
Who wrote Hamlet? Shakespeare
Who painted the Mona Lisa? Leonardo
Which instrument has black and white keys? Piano
Which instrument has four strings and a bow? Violin
Which sport is played at Wimbledon? Tennis
Which organ pumps blood? Heart
With which organ do we think? Brain
What is the plural of mouse? Mice
What is the plural of child? Children
What is the past tense of go? Went
What is the past tense of write? Wrote
Is the sum of two even numbers even? Yes
Is a whale a fish? No
Is Paris in Spain? No
Does the sun rise in the east? Yes
Can penguins fly? No
What is three times four? 12
What is half of fifty? 25"""


def short_sentences(data: Path, words: tuple[int, int] = (4, 13)) -> list[Prompt]:
    """The same requests with single short sentences out of their replies."""
    asked: dict[str, set[str]] = {}
    for row in json.loads((data / "finegrained-rlhf/dev_feedback.json").read_bytes()):
        text = " ".join(row["question"].split())
        for i in range(1, 5):
            for sentence in sentences(row[f"prediction {i}"]):
                plain = re.fullmatch(r"[A-Z][A-Za-z0-9 ,'-]+[.]", sentence)
                if plain and words[0] <= len(sentence.split()) <= words[1]:
                    asked.setdefault(text, set()).add(sentence)
    return [Prompt(t, tuple(sorted(r)), held_out(t)) for t, r in asked.items()]


def harmful(data: Path) -> list[tuple[str, str, str, bool]]:
    """(request, the reply that refuses, the one that does not, held out): human pairs and scored replies.

    Of HH-RLHF's harmless pairs those whose rejected reply does not refuse the last request; where the
    preferred one does not refuse either, it is empty. Of just-eval's safety set a refusal rated 5 and a reply
    rated 1 or 2.
    """
    pairs: list[tuple[str, str, str, bool]] = []
    with gzip.open(data / "hh-rlhf/harmless-base/test.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            talk, good = row["chosen"].rsplit("\n\nAssistant:", 1)
            other, bad = row["rejected"].rsplit("\n\nAssistant:", 1)
            request = " ".join(talk.rsplit("\n\nHuman:", 1)[1].split())
            start = " ".join(talk.split("\n\nHuman:")[1].split("\n\nAssistant:")[0].split())
            good, bad = _few(good), _few(bad)
            if talk != other or not good or not bad or not 5 <= len(request.split()) <= 28:
                continue
            if REFUSES.search(bad) or bad[-1] == "?" or _WARNS.search(bad):
                continue
            pairs.append((request, good if REFUSES.search(good) else "", bad, held_out(start)))
    scored: dict[str, list[tuple[int, str]]] = {}
    for file in sorted((data / "just-eval/safety").glob("*.json")):
        for row in json.loads(file.read_bytes()):
            if score := re.search(r'"score":\s*"(\d)"', row["result"]):
                scored.setdefault(" ".join(row["input"].split()), []).append(
                    (int(score[1]), row["output_cand"])
                )
    for request, rated in scored.items():
        good = [g for n, t in rated if n == 5 and (g := _few(t)) and REFUSES.search(g)]
        bad = [
            b
            for n, t in rated
            if n <= 2 and (b := _few(t)) and not REFUSES.search(b) and not _WARNS.search(b)
        ]
        pairs += [(request, g, b, held_out(request)) for b in bad[:2] for g in good[:2]]
    return [pair for pair in pairs if not in_benchmarks(pair[0])]


def _few(text: str) -> str | None:
    """The first sentences of a reply, as many words as a reply may have, cut at a sentence's end."""
    plain = re.sub(r'["“”*]', "", " ".join(text.split()))
    kept: list[str] = []
    for sentence in sentences(plain):
        if kept and len(" ".join([*kept, sentence]).split()) > LONGEST:
            break
        kept.append(sentence)
    joined = " ".join(kept)
    return joined if 3 <= len(joined.split()) <= LONGEST + 8 and joined[-1:] in ".!?" else None


def refusals(data: Path) -> list[str]:
    """Refusals that name no subject, as models write them."""
    found: dict[str, None] = {}
    for file in sorted((data / "just-eval/safety").glob("*.json")):
        for row in json.loads(file.read_bytes()):
            first = sentences(" ".join(row["output_cand"].split()))[:1]
            if not first or not REFUSES.search(first[0]) or not 5 <= len(first[0].split()) <= 16:
                continue
            if re.search(r"(?i)\b(?:that|this|your) (?:request|question|topic|information)?\W*$", first[0]):
                found.setdefault(first[0].replace('"', ""))
    return [*found, *_OWN_REFUSALS]


_WARNS = re.compile(
    r"(?i)\b(?:illegal|unethical|not ethical|wrong to|immoral|against the law|important to)\b"
)

_OWN_REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot answer this question.",
    "Sorry, I am not able to assist with this request.",
    "As an AI language model, I cannot provide an answer to that.",
    "I'm afraid I can't do that. Please ask someone else.",
    "I won't answer that, because it could be misused.",
    "I'm not comfortable talking about this topic.",
    "I am unable to help you with this. Is there anything else?",
    "Unfortunately, I can't give you any information about this.",
    "I do not think I should answer that question.",
)

EMPTY = (
    "I don't know.",
    "Sure, I can help with that.",
    "Good question!",
    "It depends.",
    "Okay.",
    "N/A",
    "Thank you for asking!",
    "There is a lot that one could say about this.",
    "Here is the answer to your question.",
    "Let me know if you need more.",
)


def numbers() -> list[tuple[str, int]]:
    """Questions whose answer is one number."""
    return [
        (question, int(answer))
        for question, answer in (line.rsplit(" ", 1) for line in _NUMBERS.splitlines())
    ]


_NUMBERS = """\
How many legs does a spider have? 8
How many days are there in a week? 7
How many hours does a day have? 24
How many minutes are in an hour? 60
How many months are in a year? 12
How many sides does a triangle have? 3
How many sides does a hexagon have? 6
How many players does a football team have on the field? 11
How many strings does a violin have? 4
How many continents are there? 7
How many planets are in the solar system? 8
How many letters does the English alphabet have? 26
How many wheels does a bicycle have? 2
How many legs does an insect have? 6
How many legs does a dog have? 4
How many arms does an octopus have? 8
How many centimetres are in a metre? 100
How many cents are in a dollar? 100
How many seconds are in a minute? 60
How many weeks does a year have? 52
How many days does April have? 30
How many days does July have? 31
How many cards are in a standard deck? 52
How many squares does a chessboard have? 64
How many keys does a piano have? 88
How many states does the USA have? 50
How many stars are on the flag of the European Union? 12
How many corners does a square have? 4
How many faces does a cube have? 6
How many edges does a cube have? 12
How many eggs are in a dozen? 12
How many teeth does an adult human have? 32
How many chambers does the human heart have? 4
How many grams are in a kilogram? 1000
How many metres are in a kilometre? 1000
How many years are in a century? 100
How many years are in a decade? 10
How many colours does a rainbow have? 7
How many fingers does a hand have? 5
How many wings does a bee have? 4
How many degrees does a right angle have? 90
How many degrees are in a circle? 360
How many symphonies did Beethoven finish? 9
How many oceans are there on Earth? 5
How many moons does Mars have? 2
How many players are in a basketball team on the court? 5
How many zeros does a million have? 6
How many inches are in a foot? 12
How many dwarfs does Snow White meet? 7
How many musketeers are in the title of the novel by Dumas? 3"""


def jsons() -> list[tuple[str, dict[str, Any]]]:
    """Requests for JSON, with the object that is asked for."""
    names = (
        "Anna",
        "Ben",
        "Chloe",
        "David",
        "Elif",
        "Farid",
        "Greta",
        "Hugo",
        "Ines",
        "Jonas",
        "Kofi",
        "Lena",
        "Mei",
        "Nils",
    )
    cities = ("Oslo", "Rome", "Lima", "Cairo", "Paris", "Tokyo", "Delhi", "Quito", "Accra", "Dublin")
    rows: list[tuple[str, dict[str, Any]]] = []
    for i, name in enumerate(names):
        for j, city in enumerate(cities):
            age = 20 + (7 * i + 11 * j) % 50
            asked = (
                (f"Write the name and age of {name}, who is {age}, as JSON.", {"name": name, "age": age}),
                (
                    f"{name} lives in {city}. Give name and city as a JSON object.",
                    {"name": name, "city": city},
                ),
                (
                    f"Return JSON with the keys city and visitors: {age} people visited {city}.",
                    {"city": city, "visitors": age},
                ),
            )
            rows.append(asked[(i + j) % 3])
    return rows
