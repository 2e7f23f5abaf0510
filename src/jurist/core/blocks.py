"""Blocks of the files of a run folder: read once for the many lines in each, and checked as a whole."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from jurist.core.errors import StoreError
from jurist.core.files import is_sealed, open_regular
from jurist.core.recent import Recent

_BLOCK = 1 << 16
_BLOCKS = 16
"""Blocks of a file that are held: what is in work at once stands near each other."""


class Block(NamedTuple):
    """A part of a file, from the beginning of a line to the end of one, and its CRC-32."""

    at: int
    size: int
    crc: int


class Extent(NamedTuple):
    """Where a line stands: its offset and its bytes, without the end."""

    at: int
    size: int


class BlockFile:
    """A file of lines, read by offset; lines that stand near each other cost one read together."""

    def __init__(self, path: Path) -> None:
        self._file = open_regular(path, os.O_RDONLY)
        self._blocks: Recent[int, bytes] = Recent(_BLOCKS)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def line(self, offset: int) -> bytes:
        """The line that begins at an offset, without its end; to the end of the file where it has none."""
        number, start = divmod(offset, _BLOCK)
        block = self._block(number)
        end = block.find(b"\n", start)
        if end >= 0:
            return block[start:end]
        parts = [block[start:]]
        while len(block) == _BLOCK:
            number += 1
            block = self._block(number)
            end = block.find(b"\n")
            parts.append(block if end < 0 else block[:end])
            if end >= 0:
                break
        return b"".join(parts)

    def _block(self, number: int) -> bytes:
        known = self._blocks.get(number)
        if known is not None:
            return known
        block = os.pread(self._file, _BLOCK, number * _BLOCK)
        # The last one may grow.
        return self._blocks.put(number, block) if len(block) == _BLOCK else block


def changed(path: Path, blocks: Iterator[Block] | list[Block]) -> Iterator[Block]:
    """The blocks of a file that are not what was written: 2 to 4 GB/s where the file is in memory."""
    try:
        file = open_regular(path, os.O_RDONLY)
    except StoreError:
        yield from blocks
        return
    try:
        for block in blocks:
            if _checksum(file, block) != block.crc:
                yield block
    finally:
        os.close(file)


def unsealed_lines(path: Path, block: Block, sealed_from: int) -> list[Extent]:
    """The lines of a block with a wrong checksum, but for blank ones; before ``sealed_from`` none has one."""
    file = open_regular(path, os.O_RDONLY)
    try:
        data = os.pread(file, block.size, block.at)
    finally:
        os.close(file)
    found: list[Extent] = []
    at = block.at
    for line in data.split(b"\n"):
        if at >= sealed_from and line.strip() and not is_sealed(line):
            found.append(Extent(at, len(line)))
        at += len(line) + 1
    return found


def checksum_of(path: Path, at: int, size: int) -> int:
    """CRC-32 of a part of a file as it is now."""
    file = open_regular(path, os.O_RDONLY)
    try:
        return _checksum(file, Block(at, size, 0))
    finally:
        os.close(file)


def _checksum(file: int, block: Block) -> int:
    total, at, left = 0, block.at, block.size
    while left > 0 and (data := os.pread(file, min(left, 1 << 20), at)):
        total, at, left = crc32(data, total), at + len(data), left - len(data)
    return total if left == 0 else -1
