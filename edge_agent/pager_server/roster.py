"""Who begins a shift at the pager's page: names from a list, a PIN where one is wanted, and a signed proof of it.

The proof is a cookie, so that a reload, or a restart of the server, ends nobody's shift.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.config import Shift, Staff
from edge_agent.delivery.messages import is_name
from edge_agent.errors import AgentError, ConfigError
from edge_agent.pager.duty import Duty, duty_of
from edge_agent.web.throttle import Throttle

if TYPE_CHECKING:
    from argon2 import PasswordHasher

#: After so long a new shift must be begun.
SHIFT_S = 24 * 3600
MIN_PIN_CHARS = 4
_NEEDS = "PINs need argon2-cffi; run in the clone: pip install '.[pins]'"


class RefusedError(AgentError):
    """Somebody is not who they claim to be, or has to wait.

    Args:
        wait_s: seconds until it may try again; 0 for at once.
    """

    def __init__(self, problem: str, *, wait_s: float = 0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class OnDuty:
    """A person on a shift; `shift` is empty where none is configured."""

    name: str
    shift: str
    duty: Duty


class Roster:
    """Begins shifts and knows who is on one.

    Args:
        key: signs what browsers keep.

    Raises:
        ConfigError: there are PINs, and argon2 is not installed.
    """

    def __init__(
        self,
        staff: Sequence[Staff],
        shifts: Sequence[Shift],
        *,
        key: bytes,
        unix: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._staff, self._key, self._unix = {one.name: one for one in staff}, key, unix
        self._shifts = {shift.name: duty_of(shift) for shift in shifts} or {"": Duty()}
        self._throttle = Throttle(clock=monotonic)
        #: One at a time: argon2 takes 19 MB.
        self._lock = threading.Lock()
        if any(one.pin_hash for one in staff):
            _hasher()

    @property
    def duties(self) -> dict[str, Duty]:
        """Shift → what is looked after; one without a name where no shift is configured."""
        return self._shifts

    def offered(self) -> dict[str, object]:
        """Return what a person chooses from: names with whether they have a PIN, and shifts."""
        return {
            "staff": [{"name": one.name, "pin": one.pin_hash is not None} for one in self._staff.values()],
            "shifts": [name for name in self._shifts if name],
        }

    def begin(self, name: str, *, shift: str, pin: str) -> str:
        """Return the proof that this person is on this shift; takes as long as argon2 does.

        Raises:
            RefusedError: no such person or shift, a wrong PIN, or too many of them.
        """
        if not is_name(name) or (self._staff and name not in self._staff):
            raise RefusedError("no such name")
        if shift not in self._shifts:
            raise RefusedError("no such shift")
        wanted = self._staff[name].pin_hash if self._staff else None
        if wanted is not None:
            with self._lock:
                self._check(name, wanted, pin)
        return self._sign({"name": name, "shift": shift, "until": self._unix() + SHIFT_S, "pin": _print(wanted)})

    def find(self, proof: str) -> OnDuty | None:
        """Return whose proof it is; None where it is nobody's, too old, or from before their PIN was changed."""
        body = self._open(proof)
        if body is None or body["until"] < self._unix() or body["shift"] not in self._shifts:
            return None
        name = body["name"]
        if self._staff and name not in self._staff:
            return None
        if body["pin"] != _print(self._staff[name].pin_hash if self._staff else None):
            return None
        return OnDuty(name, body["shift"], self._shifts[body["shift"]])

    def _check(self, name: str, wanted: str, pin: str) -> None:
        wait_s = self._throttle.wait_s(name)
        if wait_s > 0:
            raise RefusedError("too many wrong PINs", wait_s=wait_s)
        right = verify_pin(wanted, pin)
        self._throttle.note(name, right=right)
        if not right:
            raise RefusedError("wrong PIN")

    def _sign(self, body: dict[str, object]) -> str:
        text = base64.urlsafe_b64encode(json.dumps(body).encode()).decode()
        return f"{text}.{self._signature(text)}"

    def _open(self, proof: str) -> dict[str, Any] | None:
        text, _, signature = proof.partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), self._signature(text).encode()):
            return None
        body: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
        return body

    def _signature(self, text: str) -> str:
        data = b"edge-agent shift\0" + text.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()


def hash_pin(pin: str) -> str:
    """Return the argon2id hash that the configuration keeps of a PIN (RFC 9106, OWASP's parameters for small servers).

    Raises:
        ConfigError: it is too short, or argon2 is not installed.
    """
    if len(pin) < MIN_PIN_CHARS:
        raise ConfigError(f"a PIN has at least {MIN_PIN_CHARS} characters")
    return _hasher()(time_cost=2, memory_cost=19_456, parallelism=1).hash(pin)


def verify_pin(hashed: str, pin: str) -> bool:
    """Tell whether a PIN is the one that was hashed."""
    import argon2

    try:
        return bool(argon2.PasswordHasher().verify(hashed, pin))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
        return False


def _hasher() -> type[PasswordHasher]:
    try:
        from argon2 import PasswordHasher
    except ImportError:
        raise ConfigError(_NEEDS) from None
    return PasswordHasher


def _print(pin_hash: str | None) -> str:
    """Return what tells one PIN's hash from another's and says nothing of either."""
    return "" if pin_hash is None else hashlib.sha256(pin_hash.encode()).hexdigest()[:16]
