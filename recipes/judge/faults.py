"""Open requests: a real reply, and one with a fault built by rule."""

import re
from dataclasses import replace
from random import Random

import material
from findings import Finding, Material, Pair, content, off_topic, on_topic, open_rubric, quote, whole
from material import Prompt


def clean(m: Material, rng: Random, prompts: list[Prompt] | None = None) -> tuple[Prompt, str, str]:
    """A prompt with two replies, neither with a fault."""
    while True:
        prompt = rng.choice(prompts or m.twice)
        one, two = rng.sample(prompt.replies, 2) if len(prompt.replies) > 1 else (prompt.replies[0],) * 2
        if whole(one).met and whole(two).met:
            return prompt, one, two


def _open(m: Material, kind: str, prompt: str, good: str, bad: str, answers: Finding) -> Pair:
    found = (on_topic(m, prompt, good), whole(good))
    return Pair(
        kind, prompt, good, bad, open_rubric(m, prompt), found, (answers, whole(bad)), held_out=m.held_out
    )


def other_topic(m: Material, rng: Random, prompts: list[Prompt] | None = None) -> Pair:
    """A reply to another request."""
    prompt, good, _ = clean(m, rng, prompts)
    mine = {w[:5] for w in content(f"{prompt.text} {good}")}
    while True:
        other, bad, _ = clean(m, rng, prompts)
        if not mine & {w[:5] for w in content(other.text)}:
            break
    return _open(m, "other topic", prompt.text, good, bad, off_topic(m, prompt.text, bad))


def cut_off(m: Material, rng: Random, prompts: list[Prompt] | None = None) -> Pair:
    """A reply that ends in mid-sentence."""
    prompt, good, other = clean(m, rng, prompts)
    words = list(re.finditer(r"\S+", other))
    at = rng.randint(max(4, len(words) * 2 // 5), len(words) - 1)
    bad = other[: words[at - 1].end()].rstrip(".,!?;:")
    if rng.random() < 0.25 and len(words[at][0]) > 5:
        bad += f" {words[at][0][: len(words[at][0]) // 2]}"
    return _open(m, "cut off", prompt.text, good, bad, on_topic(m, prompt.text, bad))


def repeating(m: Material, rng: Random, prompts: list[Prompt] | None = None) -> Pair:
    """A reply that says a sentence, or its last words, again."""
    while True:
        prompt, good, other = clean(m, rng, prompts)
        parts = [s for s in material.sentences(other) if len(s.split()) >= 6]
        if parts and (prompts or len(other.split()) <= 26):
            break
    if rng.random() < 0.6:
        again = min(parts, key=len)
        bad = f"{other} {again}" + (f" {again}" if len(again.split()) < 12 and rng.random() < 0.5 else "")
    else:
        tail = " ".join(other.split()[-6:])
        bad = f"{other.rstrip('.!?')} {tail.rstrip('.!?')} {tail}"
    return _open(m, "repeating", prompt.text, good, bad, on_topic(m, prompt.text, bad))


def refusal(m: Material, rng: Random, prompts: list[Prompt] | None = None) -> Pair:
    """A refusal of a harmless request, or a reply that says nothing."""
    prompt, good, _ = clean(m, rng, prompts)
    empty = rng.random() < 0.35
    bad = rng.choice(m.empty if empty else m.refusals)
    evidence = (
        f"{quote(bad.split()[:5])} {'says nothing about' if empty else 'refuses'} {m.topic(prompt.text)}."
    )
    return _open(m, "refusal", prompt.text, good, bad, Finding(evidence, False))


def garbled(m: Material, rng: Random, prompts: list[Prompt] | None = None) -> Pair:
    """The words of a reply in disorder, or many of their letters."""
    prompt, good, other = clean(m, rng, prompts)
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


def long_reply(m: Material, rng: Random) -> Pair:
    """Any of these faults in replies of 30 to 110 words, lists among them."""
    make = rng.choice((other_topic, cut_off, cut_off, repeating, refusal, garbled))
    return replace(make(m, rng, m.long), kind="long reply")


def short_answer(m: Material, rng: Random) -> Pair:
    """An answer of a word or a number, whole without a full stop, and a reply that answers nothing."""
    request, answer = rng.choice(m.answers)
    good = answer + rng.choice(("", "", "."))
    which = rng.random()
    if which < 0.35:
        other = rng.choice([a for _, a in m.answers if a.isdecimal() is not answer.isdecimal()])
        bad, found = other, Finding(f"{quote([other])} is not about {m.topic(request)}.", False)
    elif which < 0.7:
        bad = clean(m, rng)[1]
        found = off_topic(m, request, bad)
    else:
        bad = rng.choice(m.empty + m.refusals)
        says = "refuses" if material.REFUSES.search(bad) else "says nothing about"
        found = Finding(f"{quote(bad.split()[:5])} {says} {m.topic(request)}.", False)
    return _open(m, "short answer", request, good, bad, found)
