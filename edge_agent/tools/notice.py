"""The sign that tells people about the camera before they stand in front of it."""

from __future__ import annotations

import textwrap

from edge_agent.config import Config

_WIDTH = 64


def notice(config: Config) -> str:
    """Return the sign as text, with what this configuration really does."""
    rules = [rule for rule in config.rules if rule.role == "customer"]
    emotions = sorted({emotion for rule in rules for emotion in rule.emotions})
    paragraphs = [
        f"This camera at {config.site.place} looks at facial expressions so that our staff can come and help.",
        f"A small computer beside it estimates whether a face looks {' or '.join(emotions) or 'upset'}. "
        "If so for a few seconds, a member of staff is told that somebody here may want help.",
        "No picture is stored or sent. Nobody is recognised. The estimate is forgotten when you leave.",
        "A face is not a feeling: it can be wrong, and no decision about you is made by it.",
        "You would rather not? Please ask our staff; you will be served without it.",
        "Responsible, and for questions: ____________________________________",
    ]
    rule = "=" * _WIDTH
    body = "\n\n".join(textwrap.fill(paragraph, _WIDTH) for paragraph in paragraphs)
    return f"{rule}\n{'CAMERA JUDGES EXPRESSIONS'.center(_WIDTH)}\n{rule}\n\n{body}\n\n{rule}"
