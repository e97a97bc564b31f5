"""Who is told of a page, and in which words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Protocol

from edge_agent.alerting.alert import Action
from edge_agent.config import Target
from edge_agent.languages import direction, translation
from edge_agent.notify.apprise_target import AppriseTarget
from edge_agent.notify.outcome import Outcome
from edge_agent.notify.push import PushSender
from edge_agent.notify.queue import Delivery
from edge_agent.pager.page import Page
from edge_agent.pager.words import title, where
from edge_agent.pager_server.links import WORTH_S, Link, Signer
from edge_agent.pager_server.subscriptions import Subscription

_SEVERITIES = ("info", "warning", "critical")
_ANSWER: Action = "on_my_way"


class Recipient(Protocol):
    """Somebody who is told of pages.

    Attributes:
        key: that the queue knows it by.
        name: for staff and for `--test`.
        lane: recipients in one lane share the fate of one service.
        expiry_s: a page that could not be delivered for so long is none any more.
        hears_endings: it is told when nobody needs to come any more.
    """

    key: str
    name: str
    lane: str
    expiry_s: float
    hears_endings: bool

    def wants(self, page: Page) -> bool:
        """Tell whether it is to be told of a page."""

    def send(self, delivery: Delivery) -> Outcome:
        """Make one attempt; from any thread."""

    def test(self) -> Outcome:
        """Send something that says it is a test."""


class Phone:
    """A browser that subscribed to Web Push."""

    hears_endings = True

    def __init__(
        self, subscription: Subscription, sender: PushSender, *, expiry_s: float, unix: Callable[[], float] = time.time
    ) -> None:
        self.subscription, self._sender, self._unix = subscription, sender, unix
        self.key, self.name, self.lane = subscription.key, subscription.name, f"push {subscription.host}"
        self.expiry_s = expiry_s

    def wants(self, page: Page) -> bool:
        """Tell whether its shift looks after the page's group and kiosk."""
        one = self.subscription
        group_fits = not one.groups or not set(one.groups).isdisjoint(page.groups)
        return group_fits and (not one.kiosks or page.device in one.kiosks)

    def send(self, delivery: Delivery) -> Outcome:
        """Send the page, or that it is over: the page's own notification is replaced, without a sound."""
        language, page = self.subscription.language, delivery.page
        _ = translation(language).gettext
        body = where(page, language)
        if delivery.kind == "over":
            ended = _("Answered") if page.step == "acked" else _("Over")
            body = f"{ended}: {body}"
        return self._push(
            title(page, language), body, tag=page.id, revision=page.revision, paging=delivery.kind == "page",
            ttl_s=delivery.expires_s - self._unix(),
        )  # fmt: skip

    def test(self) -> Outcome:
        """Send something that says it is a test."""
        _ = translation(self.subscription.language).gettext
        return self._push(_("Test"), _("Nobody needs help."), tag="test", revision=1, paging=False, ttl_s=60.0)

    def _push(self, head: str, body: str, *, tag: str, revision: int, paging: bool, ttl_s: float) -> Outcome:
        language = self.subscription.language
        payload = {
            "title": head, "body": body, "tag": tag, "revision": revision, "paging": paging,
            "lang": language, "dir": direction(language),
        }  # fmt: skip
        data = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        return self._sender.send(self.subscription, data, ttl_s=ttl_s, topic=tag, urgent=paging)


class Service:
    """A target of the configuration, through Apprise.

    Args:
        page_url: of the page for phones; None where nobody knows, then there are no links.
    """

    hears_endings = False

    def __init__(self, target: Target, sender: AppriseTarget, *, signer: Signer | None, page_url: str | None) -> None:
        self._target, self._sender, self._signer = target, sender, signer
        self._page_url = None if page_url is None else page_url.rstrip("/")
        self.key, self.name, self.expiry_s = f"target:{target.name}", target.name, target.expiry_s
        self.lane = self.key

    def wants(self, page: Page) -> bool:
        """Tell whether the page is for its groups and severe enough."""
        group_fits = not self._target.groups or not set(self._target.groups).isdisjoint(page.groups)
        return group_fits and _SEVERITIES.index(page.severity) >= _SEVERITIES.index(self._target.severity)

    def send(self, delivery: Delivery) -> Outcome:
        """Send the page, with a link that answers it."""
        language, page = self._target.language, delivery.page
        return self._sender.send(
            title(page, language), where(page, language), severity=page.severity, link=self._link(delivery),
            page=self._page_url,
        )  # fmt: skip

    def test(self) -> Outcome:
        """Send something that says it is a test."""
        _ = translation(self._target.language).gettext
        return self._sender.send(_("Test"), _("Nobody needs help."), severity="info", link=None, page=self._page_url)

    def _link(self, delivery: Delivery) -> tuple[str, str] | None:
        if self._signer is None or self._page_url is None:
            return None
        _ = translation(self._target.language).gettext
        page = delivery.page
        # Of each attempt the same: used once, all of them are.
        link = Link(page.id, page.revision, _ANSWER, self.name, int(delivery.created_s + WORTH_S))
        return _("On my way"), f"{self._page_url}/answer/{self._signer.token(link)}"
