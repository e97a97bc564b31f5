"""Pages in the reader's language: `{{text}}` in a page of `static/` stands for the text's translation."""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from edge_agent.languages import direction, negotiate, translation

STATIC = Path(__file__).parent / "static"
#: What docs/translations.py collects as well.
TEXT = re.compile(r"\{\{(.+?)\}\}", re.DOTALL)
_TYPES = {".html": "text/html", ".webmanifest": "application/manifest+json"}
TRANSLATED = tuple(_TYPES)
#: Name of the language that was configured; None for each browser's own.
LANGUAGE = web.AppKey("language", str)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def language_of(request: web.Request) -> str:
    """Return the language to answer in."""
    return request.app.get(LANGUAGE) or negotiate(request.headers.get("Accept-Language", ""))


def page(name: str) -> Handler:
    """Return a handler that sends a page of `static/`."""

    async def send(request: web.Request) -> web.Response:
        kind = _TYPES["." + name.rpartition(".")[2]]
        return web.Response(text=_rendered(name, language_of(request)), content_type=kind, headers=_BY_LANGUAGE)

    return send


_BY_LANGUAGE = {"Vary": "Accept-Language"}


@functools.cache
def _rendered(name: str, language: str) -> str:
    told = translation(language)
    values = {"language": language, "direction": direction(language)}

    def fill(found: re.Match[str]) -> str:
        text = " ".join(found[1].split())
        meant = values.get(text) or told.gettext(text)
        return html.escape(meant) if name.endswith(".html") else json.dumps(meant, ensure_ascii=False)[1:-1]

    return TEXT.sub(fill, (STATIC / name).read_text(encoding="utf-8"))


async def texts(request: web.Request) -> web.Response:
    """Send the catalogue of what the pages' scripts say."""
    language = language_of(request)
    path = STATIC / "text" / f"{language}.json"
    messages = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return web.json_response({"language": language, "messages": messages}, headers=_BY_LANGUAGE)
