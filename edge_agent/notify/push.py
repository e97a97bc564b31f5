"""Web Push: to a browser, whether its page is open or not, through the push service that the browser chose."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
from py_vapid import Vapid, VapidException
from pywebpush import WebPusher, WebPushException

from edge_agent.errors import ConfigError
from edge_agent.notify.outcome import Outcome, judge
from edge_agent.pager_server.subscriptions import Subscription

#: To connect, and from one byte of the answer to the next, seconds.
TIMEOUT_S = (5.0, 10.0)
#: A signature counts for so long (at most 24 hours, RFC 8292).
_SIGNED_S = 12 * 3600
_GONE = (404, 410)


class PushSender:
    """Sends under one VAPID key.

    Args:
        private_pem: of the key.
        contact: whom push services may complain to.
        unix: seconds since 1970.

    Raises:
        ConfigError: the contact is none that push services take.
    """

    def __init__(self, private_pem: bytes, contact: str, *, unix: Callable[[], float] = time.time) -> None:
        self._vapid, self._contact, self._unix = Vapid.from_pem(private_pem), contact, unix
        try:
            self._signed("https://push.example")
        except VapidException:
            raise ConfigError(
                f"notify.push_contact: {contact!r} is neither mailto:name@host nor https://host without a path"
            ) from None

    def send(self, subscription: Subscription, payload: bytes, *, ttl_s: float, topic: str, urgent: bool) -> Outcome:
        """Encrypt and hand over; from any thread.

        Args:
            payload: up to 3 KiB.
            ttl_s: how long the push service may keep it.
            topic: of what it still keeps under the same topic, the last counts; up to 32 characters of base64url.
        """
        parts = urlsplit(subscription.endpoint)
        keys = {"p256dh": subscription.p256dh, "auth": subscription.auth}
        try:
            body = WebPusher({"endpoint": subscription.endpoint, "keys": keys}).encode(payload)["body"]
        except (WebPushException, ValueError):
            return Outcome("gone", "its keys are none")
        headers = {
            **self._signed(f"{parts.scheme}://{parts.netloc}"),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(max(0, int(ttl_s))),
            "Urgency": "high" if urgent else "normal",
            "Topic": topic,
        }
        try:
            # An endpoint that points elsewhere is none; what it says besides is not read.
            with requests.post(
                subscription.endpoint, body, headers=headers, timeout=TIMEOUT_S, allow_redirects=False, stream=True
            ) as answer:
                status, retry_after = answer.status_code, answer.headers.get("Retry-After")
        except requests.RequestException as error:
            return Outcome("later", f"cannot be reached ({type(error).__name__})")
        if status in _GONE:
            return Outcome("gone", f"no such subscription any more ({status})")
        return judge(status, retry_after, unix_s=self._unix())

    def _signed(self, audience: str) -> dict[str, str]:
        claims = {"aud": audience, "sub": self._contact, "exp": int(self._unix()) + _SIGNED_S}
        headers: dict[str, str] = self._vapid.sign(claims)
        return headers
