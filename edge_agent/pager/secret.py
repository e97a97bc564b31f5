"""The key that signs what browsers keep, made on first use."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from edge_agent.errors import StateError

_BYTES = 32


def read_key(state_dir: Path) -> bytes:
    """Return the server's own key, 32 bytes that only its user can read.

    Raises:
        StateError: it can be neither read nor made.
    """
    path = state_dir / "shift.key"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            # A second server, started at the same moment, takes the first one's.
            made = state_dir / f"shift.key.{secrets.token_hex(4)}"
            made.touch(mode=0o600)
            made.write_bytes(secrets.token_bytes(_BYTES))
            try:
                os.link(made, path)
            except FileExistsError:
                pass
            finally:
                made.unlink()
        key = path.read_bytes()
    except OSError as error:
        raise StateError(f"cannot keep keys in {state_dir}: {error.strerror}; set pager.state_dir") from None
    if len(key) != _BYTES:
        raise StateError(f"{path} is no key; remove it, and everybody begins their shift anew")
    return key
