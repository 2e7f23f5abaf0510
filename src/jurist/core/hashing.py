"""Seeds derived from values by BLAKE2: the same on every machine, without a global generator."""

from hashlib import blake2b


def seed_of(*parts: object, bits: int = 64) -> int:
    """A whole number from 0 to 2**bits - 1 (``bits`` a multiple of 8), the same on every machine.

    BLAKE2b of the parts' ``repr``: numbers, texts and tuples of these.
    """
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=bits // 8).digest())
