"""How a camera's address is shown: without what could be a secret, wherever the camera's maker put that."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: A path's first part that is no secret: short, and neither `key=value` nor a token.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,15}")


def shown(device: str) -> str:
    """Return a device as it may stand in logs and messages.

    Of a URL it is the scheme, the host and the first part of the path; user, password, the rest of the path, which
    many cameras want `user=…&password=…` in, and the query are left out.
    """
    if "://" not in device:
        return device
    scheme, _, rest = device.partition("://")
    try:
        parts = urlsplit(device)
        host, port, path = parts.hostname or "", parts.port, parts.path
    except ValueError:  # a port that is no number, a bracket too few
        return f"{scheme}://…"
    if "@" in path or "@" in rest.partition("?")[2]:
        # A password with a slash or a question mark in it: what looks like the host is part of it.
        return f"{scheme}://…"
    first, _, more = path.lstrip("/").partition("/")
    if not _PLAIN.fullmatch(first):
        first, more = "", first + more
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}/{first}"
    return f"{address}{'/' if first and (more or parts.query) else ''}{'…' if more or parts.query else ''}"
