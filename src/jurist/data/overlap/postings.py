"""Which texts contain an n-gram: sorted entries of 8 bytes, and a bitmap of 2 to 4 bytes an entry."""

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from jurist.core.errors import InputError
from jurist.data.overlap.words import GRAM_BITS

_SHELF_BITS, _TEXT_BITS = 12, 24
assert GRAM_BITS - _SHELF_BITS + _TEXT_BITS == 64  # what is left of a gram and its text fill a number
_SHELF, _TEXT = (1 << _SHELF_BITS) - 1, (1 << _TEXT_BITS) - 1
_BITS_PER_ENTRY = 16


class Postings:
    """The n-grams of numbered texts; ``owner[text]`` is the number of the benchmark that a text is from.

    Filled with ``add``, then frozen once: n-grams in more than ``common`` texts of one benchmark are its
    boilerplate and taken out. ``sizes[text]`` is how many are left of a text.
    """

    def __init__(self) -> None:
        self.sizes: Counter[int] = Counter()
        self._shelves: defaultdict[int, array[int]] = defaultdict(lambda: array("Q"))
        self._boilerplate: dict[int, set[int]] = {}
        self._bits = bytearray(1)

    def __len__(self) -> int:
        return sum(len(shelf) for shelf in self._shelves.values())

    def add(self, text: int, grams: Iterable[int]) -> None:
        """Note the n-grams of a text."""
        if text > _TEXT:
            raise InputError(f"more than {_TEXT:,} benchmark texts", "check against fewer at a time")
        shelves = self._shelves
        for gram in grams:
            shelves[gram & _SHELF].append(gram >> _SHELF_BITS << _TEXT_BITS | text)

    def freeze(self, owner: Sequence[int], common: int) -> None:
        """Sort, take out boilerplate, and draw the bitmap."""
        size = 1 << max(10, (len(self) * _BITS_PER_ENTRY // 8 - 1).bit_length())
        self._bits, mask = bytearray(size), size - 1
        bits = self._bits
        for number, shelf in self._shelves.items():
            kept = self._distinctive(sorted(shelf), number, owner, common)
            self._shelves[number] = array("Q", kept)
            self.sizes.update([entry & _TEXT for entry in kept])
            for entry in kept:
                gram = entry >> _TEXT_BITS << _SHELF_BITS | number
                bits[gram >> 3 & mask] |= 1 << (gram & 7)

    def count(self, grams: Iterable[int]) -> Counter[int]:
        """How many of these n-grams each text holds; texts with none are left out."""
        bits, mask = self._bits, len(self._bits) - 1
        candidates = [gram for gram in grams if bits[gram >> 3 & mask] >> (gram & 7) & 1]
        return Counter(text for gram in candidates for text in self._texts(gram))

    def counted(self, grams: set[int], benchmark: int) -> int:
        """How many of these n-grams are no boilerplate of a benchmark."""
        return len(grams) - len(grams & self._boilerplate.get(benchmark, set()))

    def _distinctive(self, entries: list[int], shelf: int, owner: Sequence[int], common: int) -> list[int]:
        """The entries of a shelf without those that are boilerplate of their benchmark."""
        ahead = zip(entries, entries[common:], strict=False)
        often = {one >> _TEXT_BITS for one, other in ahead if one >> _TEXT_BITS == other >> _TEXT_BITS}
        out: set[int] = set()
        for high in often:
            begin, end = (bisect_left(entries, x << _TEXT_BITS) for x in (high, high + 1))
            with_gram = entries[begin:end]
            for benchmark, n in Counter(owner[entry & _TEXT] for entry in with_gram).items():
                if n > common:
                    self._boilerplate.setdefault(benchmark, set()).add(high << _SHELF_BITS | shelf)
                    out.update(entry for entry in with_gram if owner[entry & _TEXT] == benchmark)
        return [entry for entry in entries if entry not in out] if out else entries

    def _texts(self, gram: int) -> Iterator[int]:
        shelf, high = self._shelves[gram & _SHELF], gram >> _SHELF_BITS
        for i in range(bisect_left(shelf, high << _TEXT_BITS), len(shelf)):
            if shelf[i] >> _TEXT_BITS != high:
                return
            yield shelf[i] & _TEXT
