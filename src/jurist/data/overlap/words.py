"""The words of a text, the hash of all of them, and the hashes of its n-grams of words."""

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b

# Scripts without spaces between words: each character is one.
_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
# Of operators that make two sums or conditions differ, one of each pair is a word: 2 + 3 is not 2 - 3.
_WORD = re.compile(rf"[{_ALONE}+/<^]|[^\W_{_ALONE}]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")

GRAM_BITS = 52
_GRAM = (1 << GRAM_BITS) - 1


def words(text: str) -> list[str]:
    """The words of a text: NFKC, case folded, without punctuation; "don't" is "dont", "1,000" is "1000"."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "")
    return _WORD.findall(_THOUSANDS.sub("", text.replace("'", "").casefold()))


def digest(listed: list[str]) -> bytes:
    """Hash of all words in their order, 16 bytes: the same for texts that are the same."""
    return blake2b(" ".join(listed).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def grams(listed: list[str], n: int) -> set[int]:
    """The distinct sequences of n words, each as a hash of ``GRAM_BITS`` bits.

    A tuple of integers hashes the same in every process (texts do not), and ``zip`` and ``hash`` stay in C.
    """
    codes = list(map(_code, listed))
    return {hash(gram) & _GRAM for gram in zip(*(codes[i:] for i in range(n)), strict=False)}


@lru_cache(maxsize=1 << 18)
def _code(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=7).digest(), "little")
