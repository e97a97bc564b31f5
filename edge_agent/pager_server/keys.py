"""Secrets that the pager server and the notifier share, made on first use: of Web Push, and of links that answer."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import ConfigError, StateError

VAPID, LINKS, SHIFTS, CLIENT = "vapid.pem", "links.key", "shift.key", "notify-client"
_KEY_BYTES = 32


def vapid_key(state_dir: Path) -> bytes:
    """Return the private key that push services know this site by (VAPID, RFC 8292), in PEM.

    Raises:
        ConfigError: others may read it.
        StateError: it cannot be read or made.
        ImportError: there is no `cryptography`.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def make() -> bytes:
        return ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    return made_once(state_dir / VAPID, make)


def public_part(private_pem: bytes) -> str:
    """Return a VAPID key's public part as browsers want it: an uncompressed point in base64url.

    Raises:
        ConfigError: it is no such key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        public = serialization.load_pem_private_key(private_pem, password=None).public_key()
        point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # the second of a key with a password
        raise ConfigError(
            f"{VAPID} in pager.state_dir is no key; remove it, and every phone starts its shift anew"
        ) from None
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def link_key(state_dir: Path) -> bytes:
    """Return the key that links are signed with, 32 bytes.

    Raises:
        ConfigError: others may read it.
        StateError: it cannot be read or made.
    """
    return made_once(state_dir / LINKS, lambda: secrets.token_bytes(_KEY_BYTES))


def shift_key(state_dir: Path) -> bytes:
    """Return the key that browsers' proofs of a shift are signed with, 32 bytes.

    Raises:
        ConfigError: others may read it.
        StateError: it cannot be read or made, or is no key.
    """
    key = made_once(state_dir / SHIFTS, lambda: secrets.token_bytes(_KEY_BYTES))
    if len(key) != _KEY_BYTES:
        raise StateError(f"{state_dir / SHIFTS} is no key; remove it, and everybody begins their shift anew")
    return key


def client_id(state_dir: Path) -> str:
    """Return the notifier's name at the broker, the same after each restart.

    Raises:
        StateError: it cannot be read or made.
    """
    return made_once(state_dir / CLIENT, lambda: f"notify-{secrets.token_hex(6)}".encode()).decode("ascii", "replace")


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return what a private file holds; whoever of two processes comes first makes it, whole or not at all."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(make())
                file.flush()
                os.fsync(file.fileno())
            # Unlike a renaming, this replaces nothing that the other process has made meanwhile.
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"others may read {path}; run: chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise StateError(f"cannot use {path}: {error}; is pager.state_dir writable and the disk not full?") from None
