"""Who made a bundle: the signature of its manifest, which names the hashes of everything else in it.

Ed25519 (Bernstein et al., "High-speed high-security signatures", 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import BundleError
from edge_agent.vision.bundle import MAX_GOLDEN_BYTES, MAX_MODEL_BYTES, Bundle, load_bundle, load_golden
from edge_agent.vision.manifest import FILE, MAX_MANIFEST_BYTES, ClassifierManifest, read_limited

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE = "manifest.sig"
#: File of a signed bundle → its largest size in bytes.
FILES = {
    FILE: MAX_MANIFEST_BYTES,
    SIGNATURE: 1024,
    "model.tflite": MAX_MODEL_BYTES,
    "golden.npz": MAX_GOLDEN_BYTES,
}


def load_keys(paths: Sequence[Path]) -> list[Ed25519PublicKey]:
    """Return the public keys of PEM files.

    Raises:
        BundleError: there are none, one cannot be read, or signatures cannot be checked here.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise BundleError("checking signatures needs the package cryptography: pip install cryptography") from None
    if not paths:
        raise BundleError("no key is trusted: name the files of public keys in emotion.trusted_keys")
    keys = []
    for path in paths:
        if not path.is_absolute():
            # The service works in its state folder, where a key of whoever writes there would be found.
            raise BundleError(f"emotion.trusted_keys: give {path} with all its folders, from / on")
        try:
            key = load_pem_public_key(path.read_bytes())
        except OSError as error:
            raise BundleError(f"cannot read the key {path}: {error.strerror}") from None
        except (ValueError, UnsupportedAlgorithm):  # what they say is of any length
            raise BundleError(f"{path} is not a public key in PEM form; it begins: BEGIN PUBLIC KEY") from None
        if not isinstance(key, Ed25519PublicKey):
            raise BundleError(f"{path} is not an Ed25519 key")
        keys.append(key)
    return keys


def load_signed(folder: Path, keys: Sequence[Ed25519PublicKey]) -> Bundle[ClassifierManifest]:
    """Read a bundle that one of the keys signed; its golden vectors can be read, but nothing was run.

    Raises:
        BundleError: it is unsigned, signed by nobody trusted, altered, or a file is missing or too large.
    """
    for name, limit in FILES.items():
        path = folder / name
        try:
            if not path.is_file():
                hint = "; sign it: python -m converter sign" if name == SIGNATURE else ""
                raise BundleError(f"{path} is missing{hint}")
            if path.stat().st_size > limit:
                raise BundleError(f"{path} is larger than {limit} bytes")
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror}") from None
    signature = read_limited(folder / SIGNATURE, FILES[SIGNATURE])

    def accept(manifest: bytes) -> None:
        if not any(_signed(key, signature, manifest) for key in keys):
            raise BundleError(f"{folder}: no trusted key signed this manifest")

    # The manifest is read once: what was verified is what is used, whoever writes to the folder meanwhile.
    bundle = load_bundle(folder, kind="emotion-classifier", accept=accept)
    load_golden(bundle)
    return bundle


def _signed(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
