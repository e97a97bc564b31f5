"""The sign that tells people about the camera before they stand in front of it: as text, or as a page to print.

What the law wants on it, by country, as far as we know it; whoever posts it answers for it. Sources: Regulation (EU)
2016/679 (GDPR), articles 13 and 21; Regulation (EU) 2024/1689, article 50(3); UK GDPR, article 13; Swiss FADP, article
19; Act on the Protection of Personal Information (Japan), article 21; PIPL (China), articles 17 and 26; PDPA 2010
(Malaysia), section 7; PIPEDA (Canada), schedule 1, 4.8.
"""

from __future__ import annotations

import html
import textwrap
import unicodedata
from collections.abc import Sequence

from edge_agent.config import EEA, Config
from edge_agent.languages import direction, translation

_WIDTH = 64
_BLANK = "____________________"
_STYLE = """
@page { size: A4; margin: 18mm; }
body { font: 14pt/1.45 system-ui, "Noto Sans", sans-serif; max-width: 174mm; margin: 0 auto; }
body { color: #000; background: #fff; }
section + section { border-top: 2px solid; margin-top: 8mm; padding-top: 4mm; }
h1 { font-size: 24pt; line-height: 1.2; margin: 0 0 4mm; } h2 { font-size: 12pt; margin: 4mm 0 1mm; }
p { margin: 0 0 3mm; } p:first-of-type { font-size: 17pt; } ul { margin: 0; font-size: 11pt; }
svg { float: inline-end; width: 26mm; margin-inline-start: 6mm; }
@media screen { body { padding: 10mm; } }
"""
_CAMERA = (
    '<svg viewBox="0 0 24 24" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.5">'
    '<rect x="2" y="6" width="14" height="12" rx="2"/><path d="m16 10 6-3v10l-6-3z"/></svg>'
)


def notice(config: Config, language: str = "en") -> str:
    """Return the sign as text, with what this configuration really does.

    Args:
        language: one of LANGUAGES.
    """
    rule = "=" * _WIDTH
    title = _title(language).upper()
    points = [f"- {point}" for point in law(config.site.jurisdiction, language)]
    body = "\n\n".join(_filled(paragraph) for paragraph in [*paragraphs(config, language), *points])
    return f"{rule}\n{title.center(_WIDTH - (_columns(title) - len(title)))}\n{rule}\n\n{body}\n\n{rule}"


def page(config: Config, languages: Sequence[str]) -> str:
    """Return the sign as an HTML page of its own, for A4, in one language after the other."""
    sections = "".join(_section(config, language, first=index == 0) for index, language in enumerate(languages))
    return (
        f'<!doctype html>\n<html lang="{languages[0]}">\n<head><meta charset="utf-8">'
        f"<title>{html.escape(_title(languages[0]))}</title><style>{_STYLE}</style></head>\n<body>{sections}</body></html>\n"
    )


def _section(config: Config, language: str, *, first: bool) -> str:
    text = "".join(f"<p>{html.escape(paragraph)}</p>\n" for paragraph in paragraphs(config, language))
    points = "".join(f"<li>{html.escape(point)}</li>\n" for point in law(config.site.jurisdiction, language))
    heading = html.escape(translation(language).gettext("Your rights, and who answers for this"))
    listed = f"<h2>{heading}</h2><ul>{points}</ul>" if points else ""
    return (
        f'<section lang="{language}" dir="{direction(language)}">{_CAMERA if first else ""}'
        f"<h1>{html.escape(_title(language))}</h1>\n{text}{listed}</section>"
    )


def _title(language: str) -> str:
    return translation(language).gettext("This camera judges expressions")


def paragraphs(config: Config, language: str) -> list[str]:
    """Return what the sign says of this device."""
    _ = translation(language).gettext
    rules = [rule for rule in config.rules if rule.role == "customer"]
    emotions = sorted({emotion for rule in rules for emotion in rule.emotions})
    looks = " / ".join(_(emotion) for emotion in emotions) or _("upset")
    return [
        _("This camera ({place}) looks at facial expressions so that our staff can come and help.").format(
            place=_(config.site.place)
        ),
        _("A small computer beside it estimates whether a face looks: {looks}.").format(looks=looks)
        + " "
        + _("If so for a few seconds, a member of staff is told that somebody here may want help."),
        _("No picture is stored or sent. Nobody is recognised. The estimate is forgotten when you leave."),
        _("A face is not a feeling: it can be wrong, and no decision about you is made by it."),
        _("You would rather not? Please ask our staff; you will be served without it."),
        _("Responsible, and for questions: {blank}").format(blank=_BLANK * 2),
    ]


def law(country: str | None, language: str) -> list[str]:
    """Return what the law of a country wants people to read besides, with blanks for what only you know.

    Args:
        country: two letters, ISO 3166-1; None for no country in particular, of which nothing is known.
    """
    _ = translation(language).gettext
    blank = {"blank": _BLANK}
    purpose = _("Purpose: to help customers who are upset. Legal basis: {blank}").format(**blank)
    rights = _("You may object, ask what is known of you, and complain to: {blank}").format(**blank)
    nothing = _("Nothing is kept of you: an estimate exists for some seconds, in memory, and is not linked to a name.")
    if country in EEA:
        system = _("This is an emotion recognition system; Regulation (EU) 2024/1689, article 50(3).")
        officer = _("Data protection officer: {blank}").format(**blank)
        return [f"{purpose} (GDPR, 13(1)(c))", nothing, f"{rights} (GDPR, 13(2), 21)", officer, system]
    laws = {
        "GB": "UK GDPR, 13", "CH": "FADP, 19", "JP": "APPI, 21", "CN": "PIPL, 17, 26", "MY": "PDPA 2010, 7",
        "CA": "PIPEDA, 4.8",
    }  # fmt: skip
    source = f" ({laws[country]})" if country in laws else ""
    return [] if country is None else [f"{purpose}{source}", nothing, f"{rights}{source}"]


def advice(country: str | None, languages: Sequence[str]) -> list[str]:
    """Return what whoever posts the sign should know, in English: it does not stand on the sign."""
    told = []
    if country is None:
        told.append("set site.jurisdiction, the country's two letters, for what its law wants on the sign")
    if country == "CN":
        told.append("PIPL, article 26: cameras in public places are for public security only; ask a lawyer first")
    if country == "MY" and not {"ms", "en"} <= set(languages):
        told.append("PDPA 2010, section 7(3): the notice is given in Malay and in English: --language ms,en")
    if country == "US":
        told.append("states differ (Illinois: 740 ILCS 14; New York City: Administrative Code 22-1202)")
    return [*told, "fill in the blanks; this is no legal advice"]


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _filled(paragraph: str) -> str:
    """Return a paragraph in lines of at most _WIDTH columns, also where words are not set apart by spaces."""
    if _columns(paragraph) == len(paragraph):
        return textwrap.fill(paragraph, _WIDTH)
    lines = [""]
    for letter in paragraph:
        if _columns(lines[-1] + letter) > _WIDTH:
            lines.append("")
        lines[-1] += letter
    return "\n".join(lines)
