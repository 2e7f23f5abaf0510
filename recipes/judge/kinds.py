"""Pairs with a checkable truth: for each kind a reply without a fault and one with a fault built by rule.

Every reply comes with its findings: for each criterion the evidence (a quotation or a count) and whether it
is met. The chains are written from these alone, so they say what is so.
"""

from collections.abc import Callable
from random import Random

from checkable import harmful, property_of_number, sums
from constraints import (
    at_most_words,
    capitals,
    commas,
    given_word,
    lowercase,
    n_sentences,
    number_only,
    valid_json,
)
from faults import cut_off, garbled, long_reply, other_topic, refusal, repeating, short_answer
from findings import Material, Pair

Make = Callable[[Material, Random], Pair]

KINDS: dict[str, tuple[Make, float]] = {
    "other topic": (other_topic, 1.4),
    "cut off": (cut_off, 1.0),
    "repeating": (repeating, 1.3),
    "refusal": (refusal, 0.8),
    "garbled": (garbled, 1.0),
    "lowercase": (lowercase, 1.0),
    "no commas": (commas, 1.0),
    "given word": (given_word, 1.2),
    "number only": (number_only, 0.5),
    "valid JSON": (valid_json, 0.8),
    "sums": (sums, 1.4),
    "number": (property_of_number, 1.6),
    "harmful": (harmful, 0.8),
    "long reply": (long_reply, 4.0),
    "short answer": (short_answer, 1.5),
}
"""Each kind's maker and its share of the training pairs."""

MORE = {"capitals": capitals, "sentences": n_sentences, "at most n words": at_most_words}
"""Kinds that are not trained: counting takes more than the time on two cores gave."""
