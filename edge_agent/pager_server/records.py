"""Looking things up in the history: what the page `/history` lists, its CSV, and what the manager's page is made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from edge_agent.languages import translation
from edge_agent.pager_server.history import History
from edge_agent.pager_server.reports import PageRow, SummaryRow, last_days, midnight_s, report

PAGE_ROWS = 50
#: What the filter for verdicts offers → its condition.
KINDS = {
    "": "",
    "false_alarm": " AND verdict = 'false_alarm'",
    "resolve": " AND verdict = 'resolve'",
    "none": " AND verdict = ''",
    "missed": " AND ended_s IS NOT NULL AND answer = ''",
}
_SEARCHED = ("place", "zone", "message", "note", "topic")
#: Spreadsheets take what begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: A device that plays exercises; see demo/simulate.py.
_NO_EXERCISE = "topic NOT LIKE '%-exercise'"


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; empty and None are everything.

    Attributes:
        text: part of place, zone, message, note or the kiosk's topic.
        topic: of the kiosk.
        kind: one of KINDS.
        first, last: local days, inclusive.
    """

    text: str = ""
    topic: str = ""
    kind: str = ""
    first: date | None = None
    last: date | None = None


def parse_query(given: Mapping[str, str]) -> Query:
    """Return what a page asks for.

    Raises:
        ValueError: a day is none, the kind is not known, or what is looked for is no text.
    """
    first, last = (_day(given[key]) if given.get(key) else None for key in ("from", "to"))
    kind = given.get("kind", "")
    if kind not in KINDS:
        raise ValueError(kind)
    text, kiosk = given.get("search", "")[:100], given.get("kiosk", "")
    (text + kiosk).encode()  # half a surrogate pair is no text
    return Query(text, kiosk, kind, first, last)


def _day(text: str) -> date:
    # Half a year that somebody is still typing is a day, too, but no clock can tell when it was.
    return min(max(date.fromisoformat(text), date(1971, 1, 1)), date(9000, 1, 1))


def find(history: History, query: Query, *, zone: tzinfo | None, offset: int, limit: int = -1) -> list[dict[str, Any]]:
    """Return pages, the newest first; times in seconds since 1970.

    Args:
        limit: -1 for all.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    condition, values = _condition(query, zone)
    return history.rows(
        f"SELECT * FROM page WHERE {condition} ORDER BY raised_s DESC LIMIT :limit OFFSET :offset",
        {**values, "limit": limit, "offset": offset},
    )


def count(history: History, query: Query, *, zone: tzinfo | None) -> int:
    """Return how many pages there are.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    condition, values = _condition(query, zone)
    return int(history.rows(f"SELECT count(*) AS n FROM page WHERE {condition}", values)[0]["n"])


def kiosks(history: History) -> list[dict[str, Any]]:
    """Return topic and latest place of every kiosk that paged.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    found = history.rows("SELECT topic, place, max(raised_s) FROM page GROUP BY topic ORDER BY topic", {})
    return [{"topic": row["topic"], "place": row["place"]} for row in found]


def last_pages(history: History) -> dict[str, dict[str, Any]]:
    """Return topic of a kiosk → place and time of its last page, seconds since 1970; of exercises nothing.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    found = history.rows(
        f"SELECT topic, place, max(raised_s) AS raised_s FROM page WHERE {_NO_EXERCISE} GROUP BY topic", {}
    )
    return {row["topic"]: {"place": row["place"], "raised_s": row["raised_s"]} for row in found}


def _condition(query: Query, zone: tzinfo | None) -> tuple[str, dict[str, Any]]:
    condition, values = f"1{KINDS[query.kind]}", dict[str, Any]()
    if query.text:
        condition += f" AND ({' OR '.join(f'{column} LIKE :text ESCAPE :escape' for column in _SEARCHED)})"
        escaped = "".join(f"\\{c}" if c in "\\%_" else c for c in query.text)
        values |= {"text": f"%{escaped}%", "escape": "\\"}
    if query.topic:
        condition += " AND topic = :topic"
        values["topic"] = query.topic
    if query.first is not None:
        condition += " AND raised_s >= :first_s"
        values["first_s"] = midnight_s(query.first, zone)
    if query.last is not None:
        condition += " AND raised_s < :last_s"
        values["last_s"] = midnight_s(query.last + timedelta(days=1), zone)
    return condition, values


def make_report(history: History, *, days: int, now_s: float, zone: tzinfo | None) -> dict[str, Any]:
    """Return the numbers of the last days; exercises do not count.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    since = {"since_s": midnight_s(last_days(days, now_s=now_s, zone=zone)[0], zone)}
    columns = ", ".join(PageRow.__slots__)
    pages = history.rows(f"SELECT {columns} FROM page WHERE raised_s >= :since_s AND {_NO_EXERCISE}", since)
    summaries = history.rows("SELECT begin_s, visits, satisfied FROM summary WHERE begin_s >= :since_s", since)
    found = report(
        (PageRow(**row) for row in pages), (SummaryRow(**row) for row in summaries),
        days=days, now_s=now_s, zone=zone,
    )  # fmt: skip
    return {**found, "names": history.names}


def as_csv(rows: Iterable[Mapping[str, Any]], *, zone: tzinfo | None, language: str, names: bool) -> str:
    """Return RFC 4180, with the mark that tells spreadsheets that it is UTF-8; times are local, with their offset."""
    _ = translation(language).gettext
    headings = {
        "raised_s": _("Raised"), "topic": _("Kiosk"), "place": _("Place"), "zone": _("Zone"), "rule": _("Rule"),
        "message": _("Message"), "severity": _("Severity"), "groups": _("Groups"), "people": _("People"),
        "escalated": _("Escalated"), "answer": _("First answer"), "answered_s": _("Answered after (s)"),
        "answered_by": _("Answered by"), "reason": _("End"), "ended_s": _("Ended after (s)"),
        "verdict": _("Verdict"), "note": _("Note"), "judged_by": _("Verdict by"), "seen_by": _("Seen by"),
    }  # fmt: skip
    kept = {key: text for key, text in headings.items() if names or not key.endswith("_by")}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(kept.values())
    for row in rows:
        writer.writerow([_cell(row, key, zone) for key in kept])
    return "\ufeff" + out.getvalue()


def _cell(row: Mapping[str, Any], key: str, zone: tzinfo | None) -> Any:
    value = row[key]
    if key == "raised_s":
        return datetime.fromtimestamp(value, zone).astimezone(zone).isoformat(timespec="seconds")
    if key in ("answered_s", "ended_s"):
        return "" if value is None else round(value - row["raised_s"], 1)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
