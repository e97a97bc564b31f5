"""A small certificate authority of this computer's own, for its own page alone (X.509, RFC 5280).

A phone that trusts it once trusts the page from then on, whatever addresses the computer gets. Name constraints keep it
to names and addresses that nobody on the internet owns: whoever steals its key can stand in for no public site.
"""

from __future__ import annotations

import hashlib
import plistlib
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError, StateError
from edge_agent.pager_server.keys import made_once
from edge_agent.pager_server.network import LOCAL_DOMAINS, LOCAL_NETWORKS, Address

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

FILE_NAME = "tls-authority.pem"
NEEDS = "a certificate of its own needs cryptography; install the extra `web`, or name one in pager.tls_cert"
#: Apple takes certificates of private authorities for up to 825 days, and 398 of public ones.
CERTIFICATE_DAYS = 397
_AUTHORITY_DAYS = 3653
#: A phone's clock may be behind.
_EARLIER = timedelta(days=1)


class Authority:
    """The authority that `state_dir` holds, made on first use.

    Args:
        host: the computer's name, for people who look at the certificate.

    Attributes:
        der: its certificate.
        fingerprint: SHA-256 of it, as phones and browsers show it.

    Raises:
        ConfigError: there is no `cryptography`, or others may read the file.
        StateError: the file cannot be used.
    """

    def __init__(self, state_dir: Path, *, host: str, now: datetime | None = None) -> None:
        try:
            from cryptography import x509
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError:
            raise ConfigError(NEEDS) from None
        path = state_dir / FILE_NAME
        pem = made_once(path, lambda: _new_authority(host, now or _now()))
        try:
            self._certificate = x509.load_pem_x509_certificate(pem)
            key = serialization.load_pem_private_key(pem, password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError
            self.name = str(self._certificate.subject.rfc4514_string().removeprefix("CN="))
            self.ends = self._certificate.not_valid_after_utc
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):  # TypeError: a key with a password
            raise StateError(f"{path} is no certificate and key; remove it, and every phone trusts it anew") from None
        self._key = key
        self.der = self._certificate.public_bytes(serialization.Encoding.DER)
        digest = hashlib.sha256(self.der).hexdigest().upper()
        self.fingerprint = ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))

    def issue(self, names: Iterable[str], addresses: Iterable[Address], *, now: datetime) -> tuple[bytes, datetime]:
        """Return a new key with a certificate for names and addresses, in PEM, and when it ends.

        Raises:
            StateError: the authority itself has ended.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        begins, ends = now - _EARLIER, min(now - _EARLIER + timedelta(days=CERTIFICATE_DAYS), self.ends)
        if now >= self.ends:
            raise StateError(f"the authority in {FILE_NAME} has ended; remove it, and every phone trusts it anew")
        key = ec.generate_private_key(ec.SECP256R1())
        known = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = _builder("edge-agent pager", key, self._certificate.subject, self._key, begins, ends)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(known), critical=False)
            .add_extension(usage, critical=False)
            .add_extension(_usage(signs=False), critical=True)
        )
        return _pem(key, _signed(certificate, self._key)), ends

    def profile(self) -> bytes:
        """Return the configuration profile by which iPhones and iPads install the certificate."""
        identity = uuid.uuid5(uuid.NAMESPACE_OID, self.fingerprint)
        common = {"PayloadVersion": 1, "PayloadDisplayName": self.name}
        certificate = {
            **common,
            "PayloadType": "com.apple.security.root",
            "PayloadIdentifier": f"edge-agent.authority.{identity}",
            "PayloadUUID": str(uuid.uuid5(identity, "certificate")),
            "PayloadCertificateFileName": "edge-agent-ca.crt",
            "PayloadContent": self.der,
        }
        return plistlib.dumps({
            **common,
            "PayloadType": "Configuration",
            "PayloadIdentifier": f"edge-agent.{identity}",
            "PayloadUUID": str(identity),
            "PayloadDescription": "Lets this device trust the staff pager's page, and nothing on the internet.",
            "PayloadContent": [certificate],
        })  # fmt: skip


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _new_authority(host: str, now: datetime) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = f"edge-agent on {host}"[:64]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    allowed = [*map(x509.DNSName, LOCAL_DOMAINS), *map(x509.IPAddress, LOCAL_NETWORKS)]
    builder = _builder(name, key, subject, key, now - _EARLIER, now + timedelta(days=_AUTHORITY_DAYS))
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=allowed, excluded_subtrees=None), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    return _pem(key, _signed(certificate, key))


def _builder(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    from cryptography import x509

    public, issuers = key.public_key(), issuer_key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
