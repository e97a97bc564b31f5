"""Links that answer a page once, for services that have no buttons of ours: whoever holds one may press its button."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

from edge_agent.alerting.alert import Action
from edge_agent.delivery.messages import ACTIONS, is_name, is_ulid
from edge_agent.pager_server.database import open_database, transaction
from edge_agent.pager_server.subscriptions import FILE_NAME

#: A link counts for so long at most; a page that is over sooner ends it sooner.
WORTH_S = 3600.0
_FORM = re.compile(r"([A-Za-z0-9_-]{1,400})\.([A-Za-z0-9_-]{43})")
#: What is signed with this key is never mistaken for anything else.
_PURPOSE = b"edge-agent answer\0"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS used_link (
    fingerprint TEXT PRIMARY KEY,
    expires_s   REAL NOT NULL  -- seconds since 1970
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link stands for.

    Attributes:
        by: who answers with it; the target that it was sent to.
        expires_unix_s: seconds since 1970.
    """

    alert_id: str
    revision: int
    action: Action
    by: str
    expires_unix_s: int


class Signer:
    """Makes tokens of links, and links of tokens that it made (HMAC-SHA-256).

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, link: Link) -> str:
        """Return the link's token, for a URL."""
        body = _encoded(json.dumps(astuple(link), separators=(",", ":")).encode())
        return f"{body}.{self._signature(body)}"

    def read(self, token: str) -> Link | None:
        """Return the link, None for a token that is not ours; it may have expired."""
        found = _FORM.fullmatch(token)
        if found is None or not hmac.compare_digest(found[2], self._signature(found[1])):
            return None
        alert_id, revision, action, by, expires_unix_s = json.loads(base64.urlsafe_b64decode(found[1] + "==="))
        fits = is_ulid(alert_id) and action in ACTIONS and is_name(by)
        return Link(alert_id, revision, action, by, expires_unix_s) if fits else None

    def _signature(self, body: str) -> str:
        return _encoded(hmac.new(self._key, _PURPOSE + body.encode(), hashlib.sha256).digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class UsedLinks:
    """Remembers which links were used, over restarts too; from any thread.

    Args:
        unix: seconds since 1970.

    Raises:
        StateError: the file cannot be used. The methods raise it, too.
    """

    def __init__(self, state_dir: Path, *, unix: Callable[[], float] = time.time) -> None:
        self._path, self._unix, self._lock = state_dir / FILE_NAME, unix, threading.Lock()
        self._db = open_database(self._path, _SCHEMA)

    def claim(self, link: Link) -> bool:
        """Note that a link is used now; return False if it was before."""
        fingerprint = hashlib.sha256(repr(astuple(link)).encode()).hexdigest()
        with self._lock, transaction(self._db, self._path):
            self._db.execute("DELETE FROM used_link WHERE expires_s < ?", (self._unix(),))
            added = self._db.execute(
                "INSERT OR IGNORE INTO used_link (fingerprint, expires_s) VALUES (?, ?)",
                (fingerprint, float(link.expires_unix_s)),
            )
        return added.rowcount == 1

    def close(self) -> None:
        """Close the file."""
        self._db.close()
