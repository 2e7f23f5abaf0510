"""Finds duplicates and near duplicates of earlier rows, in little memory."""

import os
from array import array
from collections.abc import Iterator
from mmap import mmap
from tempfile import TemporaryFile
from typing import Literal, NamedTuple

from jurist.core.hashing import seed_of
from jurist.core.types import Case, response_text, winner
from jurist.data.overlap.words import digest, grams, words

Unique = Literal["near", "exact", "prompt"]
"""Which rows are duplicates: nearly the same pair, exactly the same pair, or nearly the same prompt."""

NGRAM, WORDS = 5, 13
SKETCH, KEYS = 64, 4
_SLOTS = 1 << 25
_NONE = 0xFFFFFFFF


class _Text(NamedTuple):
    """A hash of all words, and the smallest of the hashes of 5 words in a row (none for a short text)."""

    digest: int
    sketch: list[int]

    def near(self, other: "_Text", threshold: float) -> bool:
        if self.digest == other.digest:
            return True
        one, two = set(self.sketch), set(other.sketch)
        union = sorted(one | two)[:SKETCH]
        return bool(one and two) and sum(x in one and x in two for x in union) >= threshold * len(union)


class Seen:
    """The rows that were let through: pairs with a winner.

    Two texts are near if of their distinct 5-word sequences a share of ``threshold`` is in both (estimated
    from the 64 with the smallest hashes, so to about 0.05; exact for texts of up to 68 words); under 13
    words only the same words are near. Two pairs are near if their prompts and, one for one, their
    responses are. A hash is noted for the first row that has it: boilerplate that many rows share finds
    only the first, what is a row's own finds the row. Memory: 130 bytes a row and at most 128 MiB; about
    800 bytes a row lie in a temporary file.
    """

    def __init__(self, unique: Unique = "near", threshold: float = 0.8) -> None:
        self._unique, self._threshold = unique, threshold
        self._exact: dict[int, int] = {}
        self._rows = 0
        self._slots = memoryview(mmap(-1, 4 * _SLOTS)).cast("I")
        self._file = TemporaryFile()  # noqa: SIM115 - lives as long as this, and closes itself
        self._size = 4 * (SKETCH + 1) * (1 if unique == "prompt" else 3)

    def again(self, case: Case) -> str | None:
        """Why a pair may not pass (it was seen before), or None; then it is seen from now on."""
        prompt, best, worst = _parts(case)
        pair = seed_of(prompt.strip(), *sorted((best.strip(), worst.strip())))
        if pair in self._exact:
            return "duplicate" if self._exact[pair] == seed_of(best.strip()) & _NONE else "contradiction"
        if self._unique != "exact":
            texts = [_text(t) for t in ((prompt,) if self._unique == "prompt" else (prompt, best, worst))]
            if self._is_near(texts):
                return "same prompt" if self._unique == "prompt" else "near duplicate"
            self._note(texts)
        self._exact[pair] = seed_of(best.strip()) & _NONE
        return None

    def _is_near(self, texts: list[_Text]) -> bool:
        rows = {self._slots[slot] for slot in _places(texts)} - {0}
        return any(self._alike(texts, self._read(row - 1)) for row in sorted(rows))

    def _alike(self, texts: list[_Text], other: list[_Text]) -> bool:
        def near(*places: int) -> bool:
            return all(texts[i].near(other[j], self._threshold) for i, j in enumerate(places))

        return near(0) if len(texts) == 1 else near(0, 1, 2) or near(0, 2, 1)

    def _note(self, texts: list[_Text]) -> None:
        self._rows += 1
        for slot in _places(texts):
            if not self._slots[slot]:
                self._slots[slot] = self._rows
        for text in texts:
            padded = [text.digest, *text.sketch, *[_NONE] * (SKETCH - len(text.sketch))]
            self._file.write(array("I", padded).tobytes())

    def _read(self, row: int) -> list[_Text]:
        self._file.flush()
        numbers = array("I", os.pread(self._file.fileno(), self._size, row * self._size))
        texts = (numbers[i : i + SKETCH + 1] for i in range(0, len(numbers), SKETCH + 1))
        return [_Text(text[0], [x for x in text[1:] if x != _NONE]) for text in texts]


def _parts(case: Case) -> tuple[str, str, str]:
    """The prompt, the better response, the worse one."""
    best = winner(case.gold)
    assert best is not None
    assert len(case.responses) == 2
    prompt = "\n".join(
        f"{turn.role}: {turn.content}" if turn.role != "user" else turn.content for turn in case.prompt
    )
    return prompt, response_text(case.responses[best]), response_text(case.responses[1 - best])


def _text(text: str) -> _Text:
    listed = words(text)
    # What has no words (a formula, an emoji) is itself.
    whole = digest(listed or [text])
    sequences = grams(listed, NGRAM) if len(listed) >= WORDS else ()
    smallest = [gram >> 20 for gram in sorted(sequences)[:SKETCH] if gram >> 20 != _NONE]
    return _Text(int.from_bytes(whole[:4], "big"), smallest)


def _places(texts: list[_Text]) -> Iterator[int]:
    """Where the hashes of a row are looked up; those of prompts and of responses lie apart."""
    for i, text in enumerate(texts):
        side = 0x9E3779B1 if i else 0
        for value in (text.digest ^ 0x5BD1E995, *text.sketch[:KEYS]):
            yield ((value ^ side) * 0x85EBCA6B >> 3) % _SLOTS
