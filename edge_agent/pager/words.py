"""Pages and kiosks in words, in the reader's language."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edge_agent.languages import translation
from edge_agent.pager.kiosks import Kiosk, parse_time
from edge_agent.pager.page import Page

_DAY_S = 86_400


def title(page: Page, language: str) -> str:
    """Return the message. What is configured in English as it ships is read in the reader's language as well."""
    return _told(page.message, language)


def where(page: Page, language: str) -> str:
    """Return the place, with the zone and how many people where that says something."""
    people = crowd(page, language)
    zone = "" if page.zone == "view" else page.zone
    return ", ".join(part for part in (_told(page.place, language), zone, people) if part)


def crowd(page: Page, language: str) -> str:
    """Return how many people it is about; empty for one."""
    many = translation(language).ngettext("{n} person", "{n} people", page.people).format(n=page.people)
    return many if page.people > 1 else ""


def looks(page: Page, language: str) -> str:
    """Return what was seen: `angry 0.83, 2 people`."""
    seen = f"{'/'.join(_told(emotion, language) for emotion in page.emotions)} {page.score:.2f}"
    return ", ".join(part for part in (seen, crowd(page, language)) if part)


def outcome(page: Page, language: str) -> str:
    """Return what became of a page that nobody is paged for any more."""
    _ = translation(language).gettext
    reasons = {
        "resolve": _("resolved"),
        "false_alarm": _("false alarm"),
        "snooze": _("snoozed"),
        "calm": _("calm again"),
        "out_of_view": _("the customer left"),
        "stopped": _("the kiosk stopped"),
    }
    if page.step == "acked":
        on_my_way = page.reason == "on_my_way"
        return (_("{by} is on the way") if on_my_way else _("{by} has seen it")).format(by=page.by)
    return ", ".join(part for part in (reasons.get(page.reason, page.reason), page.by) if part)


def in_words(kiosks: Sequence[Kiosk], language: str = "en") -> str:
    """Return `2 of 3 kiosks watching · till-2 is offline since 10:12 · lobby is snoozed until 10:40 by Kim`."""
    told = translation(language)
    if not kiosks:
        return told.gettext("No kiosk has been heard yet")
    watching = sum(kiosk.condition == "watching" for kiosk in kiosks)
    many = told.ngettext("{watching} of {n} kiosk watching", "{watching} of {n} kiosks watching", len(kiosks))
    parts = [many.format(watching=watching, n=len(kiosks))]
    parts += [say(kiosk, language) for kiosk in kiosks if kiosk.condition != "watching"]
    return " · ".join([*parts, *(text for kiosk in kiosks for text in _snoozes(kiosk, language))])


def _snoozes(kiosk: Kiosk, language: str) -> list[str]:
    _ = translation(language).gettext
    texts = []
    for one in kiosk.snoozed:
        what = " ".join(part for part in (one.rule, one.zone if one.zone != "view" else "") if part)
        name = f"{kiosk.name}{f' ({what})' if what else ''}"
        text = _("{kiosk} is snoozed until {time} by {by}") if one.by else _("{kiosk} is snoozed until {time}")
        texts.append(text.format(kiosk=name, time=_clock(parse_time(one.until)), by=one.by))
    return texts


def say(kiosk: Kiosk, language: str = "en") -> str:
    """Return one kiosk's condition: `till-2 is offline since 10:12`, `till-2 is closed until 09:00`."""
    _ = translation(language).gettext
    if kiosk.condition == "closed":
        if kiosk.opens_unix_s is None:
            return _("{kiosk} is closed").format(kiosk=kiosk.name)
        return _("{kiosk} is closed until {time}").format(kiosk=kiosk.name, time=_day_and_clock(kiosk.opens_unix_s))
    what = {
        "watching": _("{kiosk} is watching"),
        "degraded": _("{kiosk} has a problem"),
        "shadow": _("{kiosk} is in shadow mode and pages nobody"),
        "offline": _("{kiosk} is offline"),
        "stopped": _("{kiosk} is stopped"),
        "silent": _("{kiosk} gives no sign of life"),
    }[kiosk.condition].format(kiosk=kiosk.name)
    since = _("since {time}").format(time=_clock(kiosk.since_unix_s)) if kiosk.since_unix_s is not None else ""
    return " ".join(part for part in (what, since, f"({kiosk.problem})" if kiosk.problem else "") if part)


def _clock(unix_s: float | None) -> str:
    return "?" if unix_s is None else time.strftime("%H:%M", time.localtime(unix_s))


def _day_and_clock(unix_s: float) -> str:
    """Return a time to come, with its date unless it is within a day."""
    return time.strftime("%H:%M" if unix_s < time.time() + _DAY_S else "%Y-%m-%d %H:%M", time.localtime(unix_s))


def _told(text: str, language: str) -> str:
    # The empty text stands for the catalogue's own head.
    return translation(language).gettext(text) if text else ""
