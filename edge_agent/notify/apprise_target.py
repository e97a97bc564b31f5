"""Everything else: ntfy, Telegram, e-mail, Slack, Pushover, webhooks and a hundred more, through Apprise.

An Apprise URL holds passwords and tokens. It comes from a private file, and neither it nor what Apprise says of it is
ever logged: only its scheme, and a number that Apprise's own log lines hold.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from urllib.parse import quote

import apprise

from edge_agent.errors import ConfigError
from edge_agent.notify.outcome import REFUSALS, Outcome, judge
from edge_agent.notify.quiet import hush, statuses

_TYPES = {
    "info": apprise.NotifyType.INFO,
    "warning": apprise.NotifyType.WARNING,
    "critical": apprise.NotifyType.FAILURE,
}
#: https://docs.ntfy.sh/publish/#message-priority
_NTFY_PRIORITIES = {"info": "default", "warning": "high", "critical": "max"}
_NTFY = re.compile(r"ntfys?://|https?://ntfy\.sh/", re.IGNORECASE)


class AppriseTarget:
    """One service.

    Args:
        url_file: its first line that is no comment is an Apprise URL.

    Raises:
        ConfigError: the file cannot be read, everybody may read it, or there is no such service.
    """

    def __init__(self, name: str, url_file: Path) -> None:
        hush()
        self._url = _read(name, url_file)
        # No pictures from elsewhere, and nothing of Apprise's own name.
        self._asset = apprise.AppriseAsset(
            app_id="edge-agent", app_desc="edge-agent", app_url="", image_url_mask="", image_url_logo="",
            image_path_mask="", async_mode=False,
        )  # fmt: skip
        if apprise.Apprise.instantiate(self._url, asset=self._asset) is None:
            raise ConfigError(f"notify.targets: {name}: Apprise knows no service for the URL in {url_file}")
        self.scheme = self._url.partition(":")[0]

    def send(self, title: str, body: str, *, severity: str, link: tuple[str, str] | None, page: str | None) -> Outcome:
        """Hand over a message; from any thread, and blocks up to a minute.

        Args:
            link: label and URL that answers with a POST.
            page: URL of the page for phones.
        """
        url = self._url
        if _NTFY.match(url):
            url = _with_buttons(url, severity, link, page)
        elif link is not None:
            body = f"{body}\n\n{link[0]}: {link[1]}"
        service = apprise.Apprise(asset=self._asset)
        try:
            with statuses() as noted:
                sent = service.add(url) and service.notify(
                    body=body, title=title, notify_type=_TYPES[severity], body_format=apprise.NotifyFormat.TEXT
                )
        except Exception as error:  # a plugin may raise anything, and what it says may hold the URL
            return Outcome("later", f"failed ({type(error).__name__})")
        if sent:
            return Outcome("sent")
        # Which answer of several was the last does not matter: one that asks for help does.
        refused = next((status for status in noted if status in REFUSALS), None)
        status = refused or (noted[-1] if noted else None)
        return Outcome("later", "cannot be reached") if status is None else judge(status)


def _with_buttons(url: str, severity: str, link: tuple[str, str] | None, page: str | None) -> str:
    """Return an ntfy URL with its message's priority and buttons; what the URL says itself goes before."""
    extra = {"priority": _NTFY_PRIORITIES[severity]}
    if link is not None:
        # As JSON, in ASCII: labels of any script, and URLs with any sign, pass through the header.
        button = {"action": "http", "label": link[0], "url": link[1], "method": "POST", "clear": True}
        extra["actions"] = json.dumps([button])
    if page is not None:
        extra["click"] = page
    added = "&".join(f"{key}={quote(value, safe='')}" for key, value in extra.items() if f"{key}=" not in url)
    return f"{url}{'&' if '?' in url else '?'}{added}"


def _read(name: str, path: Path) -> str:
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise ConfigError(f"everybody may read {path}; run: chmod 600 {path}")
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"notify.targets: {name}: cannot read {path}: {error}") from None
    found = next((line for line in lines if line and not line.startswith("#")), None)
    if found is None:
        raise ConfigError(f"notify.targets: {name}: {path} holds no URL")
    return found
