"""Signs bundles, so that devices can tell whose they are (Ed25519)."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from converter.errors import ConversionError
from edge_agent.vision.manifest import FILE
from edge_agent.vision.signature import SIGNATURE


def make_key(path: Path) -> Path:
    """Write a private key, readable by its owner only, and its public key beside it; return the latter's path.

    Raises:
        ConversionError: one of the two exists or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    public = path.with_name(path.name + ".pub")
    written: list[Path] = []
    try:
        for file, mode, content in (
            (public, 0o644, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
            (path, 0o600, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        ):
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                written.append(file)
                opened.write(content)
    except OSError as error:
        for file in written:  # half a pair is of no use
            file.unlink()
        if isinstance(error, FileExistsError):
            raise ConversionError(f"{error.filename} exists; a key is never overwritten") from None
        raise ConversionError(f"cannot write {path}: {error.strerror}") from None
    return public


def sign(bundle: Path, key_path: Path) -> None:
    """Write the signature of a bundle's manifest beside it.

    Raises:
        ConversionError: key or manifest cannot be read.
    """
    try:
        key = load_pem_private_key(key_path.read_bytes(), password=None)
        manifest = (bundle / FILE).read_bytes()
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConversionError(f"cannot sign {bundle} with {key_path}: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConversionError(f"{key_path} is not an Ed25519 key")
    (bundle / SIGNATURE).write_bytes(key.sign(manifest))
