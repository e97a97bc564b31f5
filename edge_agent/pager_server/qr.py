"""QR codes (ISO/IEC 18004), for a terminal and for a page."""

from __future__ import annotations

import io

from edge_agent.errors import ConfigError


def as_text(content: str) -> str:
    """Return a code in half blocks, light on dark, a line for each two rows, with the margin that readers need.

    Raises:
        ConfigError: there is no `segno`.
    """
    out = io.StringIO()
    _make(content).terminal(out, compact=True)
    return out.getvalue().rstrip("\n")


def as_svg(content: str, *, label: str) -> str:
    """Return a code as an element of a page.

    Args:
        label: what it is, for who cannot see it.

    Raises:
        ConfigError: there is no `segno`.
    """
    return str(_make(content).svg_inline(scale=6, light="#fff", title=label, omitsize=True))


def _make(content: str):  # type: ignore[no-untyped-def]
    try:
        import segno
    except ImportError:
        raise ConfigError("QR codes need segno; install the extra `web`") from None
    return segno.make_qr(content)
