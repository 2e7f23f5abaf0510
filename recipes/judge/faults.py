"""Open requests: a real reply, and one with a fault built by rule."""

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


def other_topic(m: Material, rng: Random) -> Pair:
    """A reply to another request."""
    prompt, good, _ = clean(m, rng)
    mine = {w[:5] for w in content(f"{prompt.text} {good}")}
    while True:
        other, bad, _ = clean(m, rng)
        if not mine & {w[:5] for w in content(other.text)}:
            break
    return _open(m, "other topic", prompt.text, good, bad, off_topic(m, prompt.text, bad))


def cut_off(m: Material, rng: Random) -> Pair:
    """A reply that ends in mid-sentence."""
    prompt, good, other = clean(m, rng)
    words = other.split()
    at = rng.randint(max(4, len(words) * 2 // 5), len(words) - 1)
    bad = " ".join(words[:at]).rstrip(".,!?;:")
    if rng.random() < 0.25 and len(words[at]) > 5:
        bad += f" {words[at][: len(words[at]) // 2]}"
    return _open(m, "cut off", prompt.text, good, bad, on_topic(m, prompt.text, bad))


def repeating(m: Material, rng: Random) -> Pair:
    """A reply that says a sentence, or its last words, again."""
    while True:
        prompt, good, other = clean(m, rng)
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
    prompt, good, _ = clean(m, rng)
    empty = rng.random() < 0.35
    bad = rng.choice(m.empty if empty else m.refusals)
    evidence = (
        f"{quote(bad.split()[:5])} {'says nothing about' if empty else 'refuses'} {m.topic(prompt.text)}."
    )
    return _open(m, "refusal", prompt.text, good, bad, Finding(evidence, False))


def garbled(m: Material, rng: Random) -> Pair:
    """The words of a reply in disorder, or many of their letters."""
    prompt, good, other = clean(m, rng)
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
