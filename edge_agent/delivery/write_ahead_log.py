"""What SQLite keeps beside a database until it is written there, and what to do about a turned bit in it.

SQLite takes a frame with a wrong checksum for the end of the log and drops it and all after it, without a word. Where
every row has a checksum of its own, the log is better read to its end and the damaged row found by that.

The format is that of https://www.sqlite.org/fileformat2.html, section 4.
"""

from __future__ import annotations

import struct
from pathlib import Path

#: Magic, version, size of a page, number of the checkpoint, salts, checksums.
_HEADER = struct.Struct(">IIII8s8s")
#: Number of the page, pages of the database if this frame ends a transaction, salts, checksums.
_FRAME = struct.Struct(">II8s8s")
_CHECKSUMS = struct.Struct(">II")
#: Ends with 1 where checksums are made of big-endian words.
_MAGIC = 0x377F0682
#: Of our databases; it is SQLite's own choice.
_PAGE_BYTES = 4096
_STEP = _FRAME.size + _PAGE_BYTES


class WriteAheadLog:
    """The log beside a database, as it was before the database was opened.

    Attributes:
        committed: how many of its frames belong to transactions that were committed, sound or not.
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-wal")
        try:
            self._log = bytearray(self._path.read_bytes())
        except OSError:
            self._log = bytearray()
        self.committed = 0
        if len(self._log) < _HEADER.size + _STEP:
            return
        self._salts = _HEADER.unpack_from(self._log)[4]
        if not self._header_holds():
            self._salts = _FRAME.unpack_from(self._log, _HEADER.size)[2]
        for number, at in enumerate(self._frames(), start=1):
            _, database_pages, salts, _ = _FRAME.unpack_from(self._log, at)
            # What an earlier log left has other salts.
            if salts == self._salts and database_pages:
                self.committed = number

    def mend(self) -> None:
        """Write the log again, with checksums that hold for what it says now; nobody may have it open.

        Raises:
            OSError: the disk does not take it.
        """
        magic, version, _, checkpoint, *_ = _HEADER.unpack_from(self._log)
        magic, version = _MAGIC | (magic & 1 if self._header_holds() else 0), 3_007_000
        _HEADER.pack_into(self._log, 0, magic, version, _PAGE_BYTES, checkpoint, self._salts, bytes(8))
        words = ">" if magic & 1 else "<"
        sums = _checksums(self._log[: _HEADER.size - 8], words, (0, 0))
        _CHECKSUMS.pack_into(self._log, _HEADER.size - 8, *sums)
        for at in self._frames()[: self.committed]:
            sums = _checksums(self._log[at : at + 8], words, sums)
            sums = _checksums(self._log[at + _FRAME.size : at + _STEP], words, sums)
            self._log[at + 8 : at + _FRAME.size] = self._salts + _CHECKSUMS.pack(*sums)
        self._path.write_bytes(self._log)

    def _frames(self) -> range:
        return range(_HEADER.size, len(self._log) - _STEP + 1, _STEP)

    def _header_holds(self) -> bool:
        magic, _, page_bytes, *_, stated = _HEADER.unpack_from(self._log)
        sums = _checksums(self._log[: _HEADER.size - 8], ">" if magic & 1 else "<", (0, 0))
        return bool((magic & ~1, page_bytes, _CHECKSUMS.pack(*sums)) == (_MAGIC, _PAGE_BYTES, stated))


def _checksums(content: bytes | bytearray, words: str, sums: tuple[int, int]) -> tuple[int, int]:
    """Go on with a pair of checksums (section 4.2)."""
    first, second = sums
    numbers = iter(struct.unpack(f"{words}{len(content) // 4}I", content))
    for even, odd in zip(numbers, numbers, strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
