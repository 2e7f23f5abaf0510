"""OpenRLHF's queries: prompt and response decoded as one text, with special tokens, taken apart again."""

from itertools import islice
from typing import Any, Literal

import msgspec

from jurist.core.types import Conversation, Message, Record
from jurist.serving.templates import turns_of, without_ends

Split = Literal["literal", "blanks", "cut", "none"]
"""How the prompt was found in the query: as it is; but for blanks, as tokenizers decode them otherwise; only
its end, since a prompt that is too long is cut at its start; or not at all."""

SHORTEST_CUT = 16
"""Characters of a cut prompt, without blanks, that must stand at the start of its query."""


class QuerySample(Record, frozen=True):
    """A query taken apart; ``reference`` is its label, None for an empty one."""

    prompt: Conversation
    response: str
    reference: str | None
    split: Split


def query_sample(query: str, prompt: str, label: Any) -> QuerySample:
    """The sample that a query holds.

    A prompt in one of the known chat templates becomes turns, any other is one user turn. Where the prompt is
    not found in the query (``split`` is "none") the whole query is the response. A label is a reference:
    texts as they are, numbers and objects as JSON.
    """
    response, split = split_query(query, prompt)
    turns = turns_of(prompt) or (Message("user", prompt),)
    return QuerySample(turns, without_ends(response), reference_of(label), split)


def split_query(query: str, prompt: str) -> tuple[str, Split]:
    """The response: what stands in the query behind the prompt, and how the prompt was found; linear time."""
    at = query.find(prompt)
    if prompt and at >= 0:
        return query[at + len(prompt) :], "literal"
    dense_query, dense_prompt = _without_blanks(query), _without_blanks(prompt)
    at = dense_query.find(dense_prompt)
    if dense_prompt and at >= 0:
        return _behind(query, at + len(dense_prompt)), "blanks"
    # A character that was cut apart is decoded as U+FFFD.
    torn = len(dense_query) - len(dense_query.lstrip("\ufffd"))
    length = _overlap(dense_prompt, dense_query[torn : torn + len(dense_prompt)])
    if length >= SHORTEST_CUT:
        return _behind(query, torn + length), "cut"
    return query, "none"


def reference_of(label: Any) -> str | None:
    """A label as a reference: texts as they are, numbers and objects as JSON; none for null and ""."""
    if label is None or label == "":
        return None
    return label if isinstance(label, str) else msgspec.json.encode(label, enc_hook=str).decode()


def _without_blanks(text: str) -> str:
    return "".join(text.split())


def _behind(text: str, n: int) -> str:
    """What follows the first n characters that are no blanks."""
    places = (i for i, c in enumerate(text) if not c.isspace())
    last = next(islice(places, n - 1, None))
    return text[last + 1 :]


def _overlap(text: str, pattern: str) -> int:
    """The length of the longest end of the text with which the pattern begins (Knuth, Morris, Pratt 1977)."""
    borders = [0] * len(pattern)
    length = 0
    for i in range(1, len(pattern)):
        while length and pattern[i] != pattern[length]:
            length = borders[length - 1]
        length += pattern[i] == pattern[length]
        borders[i] = length
    length = 0
    for c in text:
        if length == len(pattern):
            length = borders[length - 1] if length else 0
        while length and c != pattern[length]:
            length = borders[length - 1]
        length += bool(pattern) and c == pattern[length]
    return length
