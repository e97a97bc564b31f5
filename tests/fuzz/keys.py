"""Keys, certificates and signatures: files that somebody hands over, or that a worn card altered."""

from __future__ import annotations

import base64
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import strategies as st

from edge_agent.errors import BundleError, ConfigError, StateError
from edge_agent.pager_server.authority import FILE_NAME, Authority
from edge_agent.pager_server.keys import public_part
from edge_agent.vision.bundle import MODELS_DIR
from edge_agent.vision.manifest import FILE
from edge_agent.vision.signature import SIGNATURE, load_keys, load_signed
from edge_agent.web.serving import tls_context
from fuzz.inputs import damaged
from fuzz.table import Target, refused

_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
_SIGNER = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
_MANIFEST = (MODELS_DIR / "fer-compact-3" / FILE).read_bytes()
_SIGNATURE = _SIGNER.sign(_MANIFEST)


def _public(
    key: ed25519.Ed25519PublicKey | x25519.X25519PublicKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
) -> bytes:
    return bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _private(key: Any, *, password: bytes = b"") -> bytes:
    locked = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))


def public_key(raw: bytes) -> str:
    path = _FOLDER / "key.pem"
    path.write_bytes(raw)
    try:
        [key] = load_keys([path])
    except BundleError as error:
        return refused(error)
    key.public_bytes_raw()
    return "read"


@functools.cache
def _signed_bundle() -> Path:
    return Path(shutil.copytree(MODELS_DIR / "fer-compact-3", _FOLDER / "fer-compact-3"))


def signature(given: tuple[bytes, bytes]) -> str:
    """What is accepted is what was signed."""
    folder = _signed_bundle()
    (folder / SIGNATURE).write_bytes(given[0])
    (folder / FILE).write_bytes(given[1])
    try:
        load_signed(folder, [_SIGNER.public_key()])
    except BundleError as error:
        return refused(error)
    assert given == (_SIGNATURE, _MANIFEST)
    return "read"


def _authority() -> bytes:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    Authority(folder, host="test")
    return (folder / FILE_NAME).read_bytes()


def authority(raw: bytes) -> str:
    path = _FOLDER / FILE_NAME
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(raw)
    try:
        read = Authority(_FOLDER, host="test")
    except (StateError, ConfigError) as error:
        return refused(error)
    assert read.name.isprintable()
    read.profile()
    return "read"


def push_key(raw: bytes) -> str:
    try:
        read = public_part(raw)
    except ConfigError as error:
        return refused(error)
    assert len(read) == 87
    return "read"


def served_certificate(raw: bytes) -> str:
    path = _FOLDER / "served.pem"
    path.write_bytes(raw)
    try:
        tls_context(path, path)
    except ConfigError as error:
        return refused(error)
    return "read"


_RSA = rsa.generate_private_key(65537, 1024)
_EC = ec.generate_private_key(ec.SECP256R1())
#: Of a kind that nobody has thought of yet.
_UNKNOWN = base64.b64encode(bytes.fromhex("302a300506032b6578032100") + b"k" * 32)
_PUBLIC = [
    *(_public(key.public_key()) for key in (_SIGNER, x25519.X25519PrivateKey.generate(), _RSA, _EC)),
    _private(_SIGNER),
    b"-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n" % _UNKNOWN,
]
_PRIVATE = [*map(_private, (_EC, _SIGNER, _RSA)), _private(_EC, password=b"x"), _private(_EC).replace(b"MIGH", b"MIGI")]
_OWN = _authority()
_CERTIFICATE = _OWN[_OWN.index(b"-----BEGIN CERTIFICATE") :]

TARGETS = [
    Target("model: public key", damaged(_PUBLIC), public_key),
    Target("model: signature", st.tuples(damaged([_SIGNATURE]), damaged([_MANIFEST])), signature),
    Target("pager: its own authority", damaged([_OWN, *(key + _CERTIFICATE for key in _PRIVATE)]), authority),
    Target("pager: its key for Web Push", damaged(_PRIVATE), push_key),
    Target("certificate to serve with", damaged([_OWN, *(key + _CERTIFICATE for key in _PRIVATE)]), served_certificate),
]
