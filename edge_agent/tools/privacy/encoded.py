"""Tells text and figures from bytes that could be a picture, as it is or encoded as text.

Nobody can prove that bytes are no picture. What the agent writes and says is short words and numbers; this tells what
does not look so. `benchmarks/encoded.py` measures how often it is right, and docs/privacy.md has the table. It misses
what is cut into texts of a few dozen characters, and what is encoded as words of one kind of letters.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

#: How files of pictures, arrays and archives begin.
_MAGIC = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"WEBPVP8": "WebP", b"ftypavif": "AVIF",
    b"ftypheic": "HEIC", b"ftypmp4": "MP4", b"ftypisom": "MP4", b"\x93NUMPY": "NumPy array", b"II*\x00\x08": "TIFF",
    b"\x00\x00\x01\xb3": "MPEG", b"\x1a\x45\xdf\xa3": "Matroska", b"PK\x03\x04": "ZIP", b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "Zstandard", b"\xfd7zXZ": "XZ", b"BZh9": "bzip2",
}  # fmt: skip
_NETPBM = re.compile(rb"P[1-6]\s+\d{1,5}\s+\d{1,5}\s+\d{1,5}\s")
#: Control characters of text, and of small numbers in SQLite.
_OFTEN = "\t\n\r\x01\x02\x03\x04\x05\x06\x08"
_WINDOW = 256
#: Of the bytes of a window, so many are neither text nor what SQLite writes between the values.
_MAX_BINARY = 0.3
#: A word without a space is no longer, but for names of the configuration and hashes the agent is known to send.
_MAX_WORD = 40
_WORD = re.compile(rb"[A-Za-z0-9+=_-]{%d,}" % _MAX_WORD)
_NUMBERS = re.compile(rb"(?:\d{1,3}[, ;:|\n\]\[]{1,3}){48}")
#: So often in a window a small letter may stand right before a capital or a digit. 3,000 messages, notes and logs of
#: benchmarks/encoded.py had 17 at most; parts of pictures in base64, hex and base85 had 16 to 60 on average.
_CHANGE = re.compile(rb"[a-z](?=[A-Z0-9])")
_MAX_CHANGES = 22


def oddity(data: bytes, *, known: Collection[bytes] = ()) -> str:
    """Return what is odd about bytes that should be words and numbers; empty for nothing.

    Args:
        known: long words that are expected.
    """
    for magic, name in _MAGIC.items():
        if magic in data:
            return f"{name} data"
    if _NETPBM.search(data):
        return "Netpbm data"
    if any(_binary_share(window) > _MAX_BINARY for window in _windows(data, _WINDOW, 64)):
        return "binary data"
    for expected in known:
        data = data.replace(expected, b" ")
    if word := _WORD.search(data):
        return f"encoded data ({word[0][:16].decode()}…)"
    if _NUMBERS.search(data):
        return "a long list of numbers"
    if any(len(_CHANGE.findall(window)) > _MAX_CHANGES for window in _windows(data, _WINDOW, 64)):
        return "encoded data"
    return ""


def _windows(data: bytes, size: int, shortest: int) -> Iterator[bytes]:
    """Yield what is not zero, in pieces that overlap by half."""
    dense = data.replace(b"\0", b"")
    for begin in range(0, max(1, len(dense) - size // 2), size // 2):
        if len(window := dense[begin : begin + size]) >= shortest:
            yield window


def _binary_share(data: bytes) -> float:
    """Return the share of characters that are not UTF-8, or are control characters beyond those SQLite often has."""
    text = data.decode("utf-8", "replace")
    return sum(c == "\ufffd" or (c < " " and c not in _OFTEN) for c in text) / len(text)
