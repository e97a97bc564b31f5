"""What a phone is shown that is to become a pager, and what a colleague shows it."""

from __future__ import annotations

import html
from dataclasses import dataclass

from edge_agent.languages import direction, translation
from edge_agent.web.pages import STATIC

_STYLE = """
main { max-width: 34rem; margin: 0 auto; padding: 1rem; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
details { background: var(--panel); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem .9rem;
  margin: .6rem 0; }
summary { cursor: pointer; font-weight: 600; min-height: 1.8rem; }
details ol { padding-inline-start: 1.3rem; }
li { margin: .5rem 0; }
a { color: var(--link); }
a.button { display: block; text-align: center; padding: .7rem; border-radius: .5rem; background: var(--action);
  color: #fff; font-weight: 600; text-decoration: none; margin: .5rem 0; }
code { display: block; overflow-wrap: anywhere; font-size: .8rem; background: var(--panel); padding: .5rem;
  border-radius: .4rem; }
.code { font-size: 1.5rem; letter-spacing: .1em; text-align: center; }
svg { display: block; width: 100%; max-width: 16rem; margin: .8rem auto; border-radius: .5rem; }
"""


@dataclass(frozen=True, slots=True)
class Offer:
    """How a phone becomes a pager here.

    Attributes:
        pager_url: where the page is opened.
        fingerprint: SHA-256 of our own authority's certificate; empty where there is nothing to install.
        plain: the page itself comes over plain HTTP.
    """

    pager_url: str
    fingerprint: str = ""
    plain: bool = False


def platform_of(user_agent: str) -> str:
    """Return `android`, `ios`, or nothing where a browser does not say; iPads say that they are Macs."""
    if "Android" in user_agent:
        return "android"
    return "ios" if any(name in user_agent for name in ("iPhone", "iPad", "iPod")) else ""


def join_page(offer: Offer, *, language: str, platform: str, over_http: bool) -> str:
    """Return the page that a phone opens first.

    Args:
        over_http: the page is on its way in plain text, and may be altered on it.
    """
    _ = translation(language).gettext
    if offer.plain:
        parts = [
            _paragraph(_("The pager speaks plain HTTP here. On a phone such a page can neither be installed, nor keep "
                         "the screen on, nor ring while another page is open or the screen is off; and whoever is in "
                         "the same network can read along.")),
            _paragraph(_("Whoever looks after the pager: leave out --plain-http and pager.plain_http, or put a proxy "
                         "with a certificate in front of it.")),
            _button(_("Open the pager all the same"), offer.pager_url),
        ]  # fmt: skip
        return _document(_("This phone as a pager"), parts, language)
    steps = [_trust(offer.fingerprint, platform, language, over_http=over_http)] if offer.fingerprint else []
    steps += [
        (_("Open the pager"), [
            _button(_("Open the pager"), offer.pager_url),
            _paragraph(_("It asks for a token. A colleague who is logged in has a code instead, to scan or to type: on "
                         "the pager's page, at the bottom, “Another phone”.")),
        ]),
        (_("Put it on the home screen"), _home_screen(platform, language)),
    ]  # fmt: skip
    parts = [
        f"<section><h2>{number}. {html.escape(title)}</h2>{''.join(inside)}</section>"
        for number, (title, inside) in enumerate(steps, 1)
    ]
    return _document(_("This phone as a pager"), parts, language)


def _trust(fingerprint: str, platform: str, language: str, *, over_http: bool) -> tuple[str, list[str]]:
    _ = translation(language).gettext
    android = [
        _button(_("Download the certificate"), "/ca.crt"),
        html.escape(_("In the phone's settings, search for “CA certificate” and choose it. Some call it: Security → "
                      "Encryption & credentials → Install a certificate.")),
        html.escape(_("Tap “Install anyway” and choose the file edge-agent-ca.crt.")),
        html.escape(_("Use Chrome from then on. Firefox does not look at certificates that people install.")),
    ]  # fmt: skip
    ios = [
        _button(_("Download the profile"), "/edge-agent.mobileconfig"),
        html.escape(_("In Settings, tap “Profile Downloaded” at the top, or General → VPN & Device Management, then "
                      "Install.")),
        html.escape(_("In Settings → General → About → Certificate Trust Settings, switch the certificate on.")),
    ]  # fmt: skip
    inside = [
        _paragraph(_("The pager has a certificate of its own. Once this phone trusts it, nobody can listen in or stand "
                     "in for the pager. It counts for this site's network only, for no page of the internet.")),
        *_by_platform(android, ios, platform),
        _paragraph(_("SHA-256 fingerprint of the certificate:")),
        f'<code dir="ltr">{fingerprint}</code>',
    ]  # fmt: skip
    if over_http:
        inside.append(_paragraph(
            _("This page came without encryption: somebody in the network could have put another certificate here. "
              "Compare the fingerprint that the phone shows of it with the one that the pager's terminal prints, not "
              "with this page."), kind="warning",
        ))  # fmt: skip
    return _("Trust the pager"), inside


def _home_screen(platform: str, language: str) -> list[str]:
    _ = translation(language).gettext
    android = [
        html.escape(_("In Chrome's menu ⋮, tap “Add to home screen”, then “Install”.")),
        html.escape(_("Open it from there, and start your shift.")),
    ]
    ios = [
        html.escape(_("In Safari, tap Share, then “Add to Home Screen”.")),
        html.escape(_("Open it from there, and start your shift: only so can it ring while the screen is off.")),
    ]
    return _by_platform(android, ios, platform)


def _by_platform(android: list[str], ios: list[str], platform: str) -> list[str]:
    """Return the steps of both, those of this phone open and first."""
    blocks = {
        name: f"<details{' open' if platform in ('', name) else ''}><summary>{title}</summary>"
        f"<ol>{''.join(f'<li>{step}</li>' for step in steps)}</ol></details>"
        for name, title, steps in (("android", "Android", android), ("ios", "iPhone, iPad", ios))
    }
    return [blocks[name] for name in sorted(blocks, key=lambda name: name != platform)]


def phones_page(*, join: tuple[str, str], login: tuple[str, str], code: str, fingerprint: str, language: str) -> str:
    """Return the page on which a colleague shows two codes to a new phone.

    Args:
        join, login: address and its QR code as SVG; those of `login` empty where nobody needs to log in.
        code: what to type in place of the second.
    """
    _ = translation(language).gettext
    first, second = (
        _("Scan this with the new phone's camera"),
        _("Once it trusts the pager, scan this, or type the code"),
    )
    parts = [
        f"<h2>1. {html.escape(first)}</h2>{join[1]}",
        f'<p dir="ltr"><a href="{html.escape(join[0])}">{html.escape(join[0])}</a></p>',
    ]
    if fingerprint:
        parts += [_paragraph(_("SHA-256 fingerprint of the certificate:")), f'<code dir="ltr">{fingerprint}</code>']
    if code:
        half = len(code) // 2
        parts += [
            f"<h2>2. {html.escape(second)}</h2>{login[1]}",
            f'<p class="code" dir="ltr">{code[:half]}-{code[half:]}</p>',
            _paragraph(_("This logs the phone in, without the token. It counts for ten minutes; reload this page for "
                         "another.")),
        ]  # fmt: skip
    back = html.escape(_("Back to the pager"))
    return _document(_("Another phone"), [*parts, f'<p><a href="/">{back}</a></p>'], language)


def _paragraph(text: str, *, kind: str = "") -> str:
    return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def _button(text: str, address: str) -> str:
    return f'<a class="button" href="{html.escape(address)}">{html.escape(text)}</a>'


def _document(title: str, parts: list[str], language: str) -> str:
    # The small server over plain HTTP has no other file to give.
    style = (STATIC / "common.css").read_text(encoding="utf-8") + _STYLE
    return f"""<!doctype html>
<html lang="{language}" dir="{direction(language)}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>{html.escape(title)}</title><style>{style}</style></head>
<body><main><h1>{html.escape(title)}</h1>{"".join(parts)}</main></body></html>"""
