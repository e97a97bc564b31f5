"""ULIDs: unique ids that sort by time (specification: github.com/ulid/spec)."""

from __future__ import annotations

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make_ulid(unix_s: float, randomness: bytes) -> str:
    """Return 26 characters of Crockford's base 32.

    Args:
        unix_s: wall-clock time in seconds since 1970; millisecond precision is kept.
        randomness: 10 random bytes.

    Raises:
        ValueError: not 10 bytes.
    """
    if len(randomness) != 10:
        raise ValueError("a ULID needs 10 random bytes")
    number = (round(unix_s * 1000) & (1 << 48) - 1) << 80 | int.from_bytes(randomness, "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
