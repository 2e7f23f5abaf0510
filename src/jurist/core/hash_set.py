"""Sets of hashes for runs of millions of cases: a few bytes each, where a Python set takes a hundred."""

from collections.abc import Iterable

_BITS = 26


class HashSet:
    """A set of hashes of 24 hex digits, about 11 bytes each; other texts are held as they are."""

    def __init__(self, hashes: Iterable[str | bytes] = ()) -> None:
        # By the first two bytes of a hash: the other ten of all that begin so, one after the other.
        self._rests: list[bytes] = [b""] * (1 << 16)
        self._others: set[str] = set()
        self._n = 0
        rests = self._rests
        for each in hashes:
            raw = each if isinstance(each, bytes) and len(each) == 12 else _raw(each)
            if isinstance(raw, str):
                self._others.add(raw)
                continue
            rests[raw[0] << 8 | raw[1]] += raw[2:]
            self._n += 1

    def __len__(self) -> int:
        """How many hashes were put in and not taken out."""
        return self._n + len(self._others)

    def __contains__(self, text: str) -> bool:
        """Whether a hash is in the set."""
        raw = _raw(text)
        if isinstance(raw, str):
            return raw in self._others
        return _place(self._rests[raw[0] << 8 | raw[1]], raw[2:]) >= 0

    def take(self, text: str) -> bool:
        """Take a hash out; False where it is not there."""
        raw = _raw(text)
        if isinstance(raw, str):
            there = raw in self._others
            self._others.discard(raw)
            return there
        first = raw[0] << 8 | raw[1]
        rests = self._rests[first]
        at = _place(rests, raw[2:])
        if at < 0:
            return False
        self._rests[first] = rests[:at] + rests[at + 10 :]
        self._n -= 1
        return True


class Seen:
    """Texts that may have been seen: False is certain, True is not. 8 MB, whatever is in it."""

    def __init__(self) -> None:
        self._bits = bytearray(1 << (_BITS - 3))

    def add(self, text: str) -> None:
        """Note a text."""
        place = hash(text) & ((1 << _BITS) - 1)
        self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, text: str) -> bool:
        """Whether a text may have been added."""
        place = hash(text) & ((1 << _BITS) - 1)
        return bool(self._bits[place >> 3] >> (place & 7) & 1)


def _raw(text: str | bytes) -> bytes | str:
    """The 12 bytes of a hash; any other text as it is, of other bytes their digits."""
    if isinstance(text, bytes):
        return text.hex()
    if len(text) != 24:
        return text
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return text
    # Blanks are passed over, so that it may be less than it looked.
    return raw if len(raw) == 12 else text


def _place(rests: bytes, rest: bytes) -> int:
    at = rests.find(rest)
    while at % 10 and at >= 0:
        at = rests.find(rest, at + 1)
    return at
