"""Browsers that are reached with their screen off (Web Push): the pager's server adds them, the notifier reads them."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_agent.languages import LANGUAGES
from edge_agent.pager.duty import Duty
from edge_agent.pager_server.database import guard, open_database, transaction

FILE_NAME = "reach.sqlite3"
#: More are no site's own.
MAX_SUBSCRIPTIONS = 200
_MAX_ENDPOINT = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS subscription (
    endpoint    TEXT PRIMARY KEY,
    p256dh      TEXT NOT NULL,
    auth        TEXT NOT NULL,
    name        TEXT NOT NULL,
    language    TEXT NOT NULL,
    groups      TEXT NOT NULL,  -- JSON lists of names; empty for all
    kiosks      TEXT NOT NULL
) STRICT;
"""
_COLUMNS = "endpoint, p256dh, auth, name, language, groups, kiosks"


class SubscriptionError(ValueError):
    """What a browser sent is no subscription, or cannot be kept; the message says why."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where one browser of one member of staff is reached.

    Attributes:
        endpoint: URL at the browser's push service. Whoever knows it could disturb the phone: it is never logged.
        p256dh, auth: what is sent to it is encrypted with these (RFC 8291), base64url.
        groups, kiosks: of the shift, kiosks as site/device; empty for all.
    """

    endpoint: str
    p256dh: str
    auth: str
    name: str
    language: str
    groups: tuple[str, ...] = ()
    kiosks: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A name that tells nothing of the endpoint."""
        return f"push:{hashlib.sha256(self.endpoint.encode()).hexdigest()[:16]}"

    @property
    def host(self) -> str:
        """The push service."""
        return urlsplit(self.endpoint).hostname or ""


def parse_subscription(
    body: Mapping[str, Any], *, name: str, language: str, duty: Duty | None = None, loopback: bool = False
) -> Subscription:
    """Return what a browser sent, as PushSubscription.toJSON() gives it.

    Args:
        name: whose it is.
        language: where the browser names none that there is.
        duty: what their shift looks after; None for everything.
        loopback: endpoints on this computer are allowed, too.

    Raises:
        SubscriptionError: something does not fit.
    """
    endpoint, keys, wanted = (body.get(key) for key in ("endpoint", "keys", "language"))
    if not isinstance(endpoint, str) or len(endpoint) > _MAX_ENDPOINT or not _allowed(endpoint, loopback=loopback):
        raise SubscriptionError("the endpoint is none of a push service")
    if not isinstance(keys, dict):
        raise SubscriptionError("there are no keys")
    p256dh, auth = keys.get("p256dh"), keys.get("auth")
    if not (_is_point(p256dh) and len(_decoded(auth)) == 16):
        raise SubscriptionError("the keys are none of Web Push")
    known = wanted if isinstance(wanted, str) and wanted in LANGUAGES else language
    groups, kiosks = ((), ()) if duty is None else (tuple(sorted(duty.groups)), duty.kiosks)
    return Subscription(endpoint, str(p256dh), str(auth), name, known, groups, kiosks)


def _allowed(endpoint: str, *, loopback: bool) -> bool:
    """Tell whether the notifier may send there: staff must not have it knock at the site's other computers."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not endpoint.isascii() or not endpoint.isprintable() or parts.username or parts.password or " " in endpoint:
        return False
    if loopback and parts.scheme in ("http", "https") and host in ("127.0.0.1", "localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # Whoever answers must have a certificate for a full name, which is no computer of the site's own.
        return parts.scheme == "https" and "." in host.strip(".") and not host.endswith((".local", ".localhost"))
    return False


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, TypeError):
        return b""


def _is_point(text: Any) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _decoded(text))
    except ValueError:
        return False
    return len(_decoded(text)) == 65


class Subscriptions:
    """Those of one site; from any thread.

    Raises:
        StateError: the file cannot be used. The methods raise it, too.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path, self._lock = state_dir / FILE_NAME, threading.Lock()
        self._db = open_database(self._path, _SCHEMA)

    def put(self, one: Subscription) -> None:
        """Add one, or replace what is known of its endpoint.

        Raises:
            SubscriptionError: there are too many.
        """
        values = (*[getattr(one, key) for key in ("endpoint", "p256dh", "auth", "name", "language")],
                  json.dumps(one.groups), json.dumps(one.kiosks))  # fmt: skip
        with self._lock, transaction(self._db, self._path):
            others = self._db.execute("SELECT count(*) FROM subscription WHERE endpoint != ?", values[:1]).fetchone()[0]
            if others >= MAX_SUBSCRIPTIONS:
                raise SubscriptionError(f"there are {others} already; end shifts that are over")
            self._db.execute(f"INSERT OR REPLACE INTO subscription ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def remove(self, endpoint: str) -> None:
        """Forget one; unknown ones are none."""
        with self._lock, guard(self._path):
            self._db.execute("DELETE FROM subscription WHERE endpoint = ?", (endpoint,))

    def all(self) -> list[Subscription]:
        """Return all, by name."""
        with self._lock, guard(self._path):
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM subscription ORDER BY name, endpoint").fetchall()
        return [
            Subscription(endpoint, p256dh, auth, name, language, tuple(json.loads(groups)), tuple(json.loads(kiosks)))
            for endpoint, p256dh, auth, name, language, groups, kiosks in rows
        ]

    def close(self) -> None:
        """Close the file."""
        self._db.close()
