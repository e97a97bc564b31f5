"""What people read, in their own language: gettext catalogues in `locale/`, kept up to date by docs/translations.py.

English is what stands in the code; a text that a catalogue lacks stays English.
"""

from __future__ import annotations

import functools
import gettext
import os
from collections.abc import Mapping
from pathlib import Path

LOCALE = Path(__file__).parent / "locale"
DOMAIN = "edge_agent"
#: ISO 639-1 → the language's own name.
LANGUAGES = {
    "en": "English",
    "de": "Deutsch",
    "fr": "Français",
    "es": "Español",
    "ja": "日本語",
    "zh": "简体中文",
    "ms": "Bahasa Melayu",
    "ar": "العربية",
}
RIGHT_TO_LEFT = frozenset({"ar"})


@functools.cache
def translation(language: str) -> gettext.NullTranslations:
    """Return the catalogue of a language in `LANGUAGES`; use its `gettext` and `ngettext`."""
    return gettext.translation(DOMAIN, LOCALE, [language], fallback=True)


def emotion_word(name: str, language: str) -> str:
    """Return an emotion as people say it; one that was configured and has no word of ours as it is."""
    _ = translation(language).gettext
    words = {
        "angry": _("angry"),
        "happy": _("happy"),
        "neutral": _("neutral"),
        "sad": _("sad"),
        "other": _("other"),
        "disgust": _("disgusted"),
        "fear": _("afraid"),
        "surprise": _("surprised"),
    }
    return words.get(name, name)


def direction(language: str) -> str:
    """Return `ltr` or `rtl`, as HTML's attribute `dir` wants it."""
    return "rtl" if language in RIGHT_TO_LEFT else "ltr"


def negotiate(accepted: str) -> str:
    """Return the language that a browser likes best of those there are, English where it likes none.

    Args:
        accepted: value of the header Accept-Language (RFC 9110, section 12.5.4), e.g. `de-AT,de;q=0.9,en;q=0.5`.
    """
    liked = []
    for part in accepted[:1000].split(","):
        name, _, weight = part.partition(";")
        language = name.strip().partition("-")[0].lower()
        if language in LANGUAGES:
            liked.append((_weight(weight), language))
    # Of equal weights the first counts: max() keeps it.
    best, language = max(liked, key=lambda pair: pair[0], default=(0.0, "en"))
    return language if best > 0 else "en"


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def of_terminal(environment: Mapping[str, str] = os.environ) -> str:
    """Return the language that the environment asks for, as gettext(3) reads it."""
    for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        for name in environment.get(variable, "").split(":"):
            language = name.partition(".")[0].partition("_")[0].lower()
            if language in LANGUAGES:
                return language
            if name:
                break
    return "en"
