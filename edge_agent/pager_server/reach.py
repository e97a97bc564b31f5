"""What the pager's server does for phones whose screen is off: takes subscriptions, and answers of signed links."""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from aiohttp import web

from edge_agent.config import Notify
from edge_agent.config import Pager as Settings
from edge_agent.delivery.messages import is_name
from edge_agent.errors import StateError
from edge_agent.languages import direction, translation
from edge_agent.pager import words
from edge_agent.pager.page import Page
from edge_agent.pager_server import keys
from edge_agent.pager_server.links import Link, Signer, UsedLinks
from edge_agent.pager_server.notifier import read_condition
from edge_agent.pager_server.roster import OnDuty
from edge_agent.pager_server.subscriptions import SubscriptionError, Subscriptions, parse_subscription
from edge_agent.web.access import is_loopback
from edge_agent.web.pages import language_of

#: What may be asked for without a login: the link's own signature stands for it.
ANSWER = "/answer/{token}"
_LOOK_AGAIN_S = 2.0
_PAGING = ("raised", "escalated")


class Reach:
    """The part of the server that lives in `pager.state_dir` together with the notifier.

    Args:
        pages: those that are open, by id; other threads may change them.
        answer: passes an answer on, as `WebPager.answer`.
        ready: tells whether it is known what is open.
        person: tells who is on duty at a browser.
        unix: seconds since 1970.

    Raises:
        ConfigError, StateError: a key or a file in `pager.state_dir` cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        notify: Notify,
        *,
        pages: Mapping[str, Page],
        answer: Callable[..., None],
        ready: Callable[[], bool],
        person: Callable[[web.Request], OnDuty | None],
        say: Callable[[str], None],
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._notify, self._pages, self._answer, self._ready = settings, notify, pages, answer, ready
        self._unix, self._started_unix_s = unix, unix()
        self.key, self.problem = self._public_key()
        self._say, self._person = say, person
        self.subscriptions = None if self.problem else Subscriptions(settings.state_dir)
        self._signer: Signer | None = None
        self._used: UsedLinks | None = None
        if notify.targets and settings.url is not None:
            self._signer = Signer(keys.link_key(settings.state_dir))
            self._used = UsedLinks(settings.state_dir)
        # Without a login only this computer reaches the page, and may be reached itself.
        self._loopback = is_loopback(settings.host)
        self._looked_s, self._status = float("-inf"), self._look()

    def _public_key(self) -> tuple[str, str]:
        if self._notify.push_contact is None:
            return "", "notify.push_contact is not set"
        try:
            return keys.public_part(keys.vapid_key(self._settings.state_dir)), ""
        except ImportError:
            return "", "cryptography is missing; run in the clone: pip install '.[notify]'"

    def announce(self) -> None:
        """Say at the start what does not work."""
        if self.problem:
            self._say(f"phones with their screen off are not reached by Web Push: {self.problem}")

    def status(self) -> dict[str, Any]:
        """Return how the notifier is, for the page."""
        if time.monotonic() - self._looked_s > _LOOK_AGAIN_S:
            self._looked_s, self._status = time.monotonic(), self._look()
        return self._status

    def _look(self) -> dict[str, Any]:
        try:
            subscribed = self.subscriptions is not None and bool(self.subscriptions.all())
        except StateError:  # pages go on without
            subscribed = True
        if not subscribed and not self._notify.targets:
            return {"away_since_unix_s": None, "failing": []}
        unix_s, started_unix_s = self._unix(), self._started_unix_s
        return asdict(read_condition(self._settings.state_dir, unix_s=unix_s, started_unix_s=started_unix_s))

    async def offer(self, _request: web.Request) -> web.Response:
        """Tell a browser the key to subscribe with, or why it cannot."""
        return web.json_response({"key": self.key or None, "why": self.problem})

    async def subscribe(self, request: web.Request) -> web.Response:
        """Keep the subscription of somebody on duty; `replaces` names the endpoint that the browser had before."""
        if self.subscriptions is None:
            raise web.HTTPNotFound(text=self.problem)
        person = self._person(request)
        if person is None:
            raise web.HTTPForbidden(text="begin a shift first")
        try:
            body = await request.json()
            before = body.get("replaces")
            one = parse_subscription(
                body, name=person.name, language=language_of(request), duty=person.duty, loopback=self._loopback
            )
            await asyncio.to_thread(self.subscriptions.put, one)
            if isinstance(before, str) and before.isprintable() and before != one.endpoint:
                await asyncio.to_thread(self.subscriptions.remove, before)
        except StateError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise web.HTTPBadRequest(text=str(error) if isinstance(error, SubscriptionError) else "no JSON") from None
        return web.json_response({})

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Forget a browser."""
        try:
            endpoint = (await request.json())["endpoint"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise web.HTTPBadRequest(text="no endpoint") from None
        if self.subscriptions is not None and isinstance(endpoint, str) and endpoint.isprintable():
            try:
                await asyncio.to_thread(self.subscriptions.remove, endpoint)
            except StateError as error:
                raise web.HTTPServiceUnavailable(text=str(error)) from None
        return web.json_response({})

    async def show_answer(self, request: web.Request) -> web.Response:
        """Show what a link is about, with a button: looking at it answers nothing, for previews look at links, too."""
        language = language_of(request)
        _ = translation(language).gettext
        link, problem, status = self._read(request.match_info["token"], language)
        if link is None or problem:
            return _small_page(language, problem, status=status)
        page = self._pages.get(link.alert_id)
        assert page is not None
        heading, place = words.title(page, language), words.where(page, language)
        return _small_page(language, heading, place, button=_("On my way"))

    async def take_answer(self, request: web.Request) -> web.Response:
        """Answer with a link, once."""
        language = language_of(request)
        _ = translation(language).gettext
        link, problem, status = self._read(request.match_info["token"], language)
        if link is None or problem:
            return _small_page(language, problem, status=status)
        assert self._used is not None
        try:
            first = await asyncio.to_thread(self._used.claim, link)
        except StateError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None
        if not first:
            return _small_page(language, _("This link was used already."), status=HTTPStatus.CONFLICT)
        self._answer(link.alert_id, link.action, by=link.by, revision=link.revision)
        return _small_page(language, _("Thank you, {name}.").format(name=link.by))

    def _read(self, token: str, language: str) -> tuple[Link | None, str, HTTPStatus]:
        """Return the link, and why it cannot answer."""
        _ = translation(language).gettext
        link = None if self._signer is None else self._signer.read(token)
        if link is None:
            return None, _("There is no such link."), HTTPStatus.NOT_FOUND
        if link.expires_unix_s < self._unix():
            return link, _("This link has expired."), HTTPStatus.GONE
        page = self._pages.get(link.alert_id)
        if page is None:
            if not self._ready():
                return link, _("Nobody knows yet what is open."), HTTPStatus.SERVICE_UNAVAILABLE
            return link, _("This page is over."), HTTPStatus.GONE
        if page.step not in _PAGING:
            by = page.by if is_name(page.by) else "?"
            return link, _("Already answered by {name}.").format(name=by), HTTPStatus.CONFLICT
        return link, "", HTTPStatus.OK


def add_routes(application: web.Application, reach: Reach) -> None:
    """Add them."""
    router = application.router
    router.add_get("/api/push", reach.offer)
    router.add_put("/api/push", reach.subscribe)
    router.add_delete("/api/push", reach.unsubscribe)
    router.add_get(ANSWER, reach.show_answer)
    router.add_post(ANSWER, reach.take_answer)


def _small_page(
    language: str, heading: str, place: str = "", *, button: str = "", status: HTTPStatus = HTTPStatus.OK
) -> web.Response:
    form = f'<form method="post"><button class="main">{html.escape(button)}</button></form>' if button else ""
    title = html.escape(translation(language).gettext("Staff pager"))
    text = f"""<!doctype html>
<html lang="{language}" dir="{direction(language)}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>{title}</title><link rel="stylesheet" href="/static/common.css"></head>
<body><main class="login"><h1>{html.escape(heading)}</h1><p>{html.escape(place)}</p>{form}</main></body></html>"""
    # A service's app may ask from a page of its own; whoever holds the link may know what became of it.
    headers = {"Access-Control-Allow-Origin": "*"}
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)
