"""What browsers, phones and push services send: the parts that are ours, called as the servers call them."""

from __future__ import annotations

import contextlib
import functools
import math
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from edge_agent.config import Staff
from edge_agent.languages import LANGUAGES, negotiate
from edge_agent.notify.outcome import judge
from edge_agent.pager_server import history_file, records
from edge_agent.pager_server.history import History
from edge_agent.pager_server.links import Link, Signer
from edge_agent.pager_server.roster import RefusedError, Roster
from edge_agent.pager_server.server import parse_answer
from edge_agent.pager_server.subscriptions import SubscriptionError, parse_subscription
from edge_agent.vision.zones import parse_zones
from fuzz.inputs import ODD, damaged, payloads, plain_changed, texts
from fuzz.mqtt import UNIX_S
from fuzz.table import Target, refused

_ULID = "01M7Y8H3KR49JEKEK9MMJWTPA7"


def zones(body: Any) -> str:
    try:
        read = parse_zones(body)
    except ValueError as error:
        return refused(error)
    assert all(0 <= share <= 1 for zone in read for corner in zone for share in corner)
    return "read"


@functools.cache
def _history() -> History:
    return History(Path(tempfile.mkdtemp(prefix="fuzz-")), days=90, names=True)


@functools.cache
def _recorded() -> bytes:
    """Return a history's file with some pages."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    with contextlib.closing(history_file.open_file(folder / "made", say=str, unix_s=UNIX_S)) as db:
        for number in range(40):
            names = ["id", "topic", "place", "zone", "rule", "message", "severity", "groups", "people", "escalated"]
            values = [f"{number:026d}", "kiosk/v1/a/b", "till", "", "r", "Please come", "warning", "staff", 1, 0]
            db.execute(
                f"INSERT INTO page ({', '.join(names)}, revision, raised_s) VALUES ({'?, ' * len(names)}1, ?)",
                [*values, UNIX_S - 1000 * number],
            )
        db.execute("INSERT INTO summary VALUES ('kiosk/v1/a/b', ?, ?, 5, 0.5)", [UNIX_S - 900, UNIX_S])
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (folder / "made").read_bytes()


def history_of_a_worn_card(raw: bytes) -> str:
    """An altered file is read, refused in a line, or set aside; what is made of it is made all the same."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        (Path(folder) / history_file.FILE_NAME).write_bytes(raw)
        history = History(Path(folder), days=90, names=True, say=(said := list[str]()).append)
        try:
            rows = records.find(history, records.parse_query({}), zone=None, offset=0)
            records.as_csv(rows, zone=None, language="en", names=True)
            records.make_report(history, days=90, now_s=UNIX_S, zone=None)
        except sqlite3.Error as error:  # told to who asked, with 503
            return refused(error)
        finally:
            history.close()
    return f"read: {len(said)} lines said"


def search(given: dict[str, str]) -> str:
    try:
        query = records.parse_query(given)
    except ValueError:
        return "refused"
    records.find(_history(), query, zone=None, offset=0)
    records.count(_history(), query, zone=None)
    return "read"


_P256DH = "BEl62iUYgUivxIkv69yViEuiBIa-Ib9-SkvMeAtA3LFgDzkrxZJjSgSnfckjBJuBkr3qBUYIHBQFLXYp5Nksh8U"
_SUBSCRIPTION = {
    "endpoint": "https://push.example/a",
    "keys": {"p256dh": _P256DH, "auth": "AAAAAAAAAAAAAAAAAAAAAA"},
    "language": "de",
}


def subscription(body: Any) -> str:
    if not isinstance(body, dict):
        return "refused"
    try:
        read = parse_subscription(body, name="Kim", language="en")
    except SubscriptionError as error:
        return refused(error)
    assert read.language in LANGUAGES
    assert read.host
    (read.endpoint + read.key).encode()
    return "read"


_SIGNER = Signer(b"k" * 32)
_TOKEN = _SIGNER.token(Link(_ULID, 1, "on_my_way", "Kim", 2_000_000_000))


def link(token: str) -> str:
    read = _SIGNER.read(token)
    assert read is None or token == _TOKEN
    return "refused" if read is None else "read"


_ROSTER = Roster([Staff(name="Kim")], [], key=b"k" * 32, unix=lambda: UNIX_S)
_PROOF = _ROSTER.begin("Kim", shift="", pin="")


def proof(cookie: str) -> str:
    read = _ROSTER.find(cookie)
    assert read is None or cookie == _PROOF
    return "refused" if read is None else "read"


def shift(given: tuple[str, str, str]) -> str:
    name, which, pin = given
    try:
        _ROSTER.begin(name, shift=which, pin=pin).encode("ascii")
    except RefusedError as error:
        return refused(error)
    return "read"


def answer(text: str) -> str:
    read = parse_answer(text)
    return "refused" if read is None else f"read: {type(read).__name__}"


def accepted_language(header: str) -> str:
    found = negotiate(header)
    assert found in LANGUAGES
    return f"read: {found}"


def push_answer(given: tuple[int, str | None]) -> str:
    status, retry_after = given
    found = judge(status, retry_after, unix_s=UNIX_S)
    assert math.isfinite(found.wait_s)
    assert 0 <= found.wait_s <= 3600
    return f"read: {found.kind}"


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


_KEYS = st.sampled_from(["search", "kiosk", "kind", "from", "to", "x"])
_ODD_TEXT = st.sampled_from([str(one) for one in ODD if isinstance(one, str)])

TARGETS = [
    Target("live view: zones that are drawn", plain_changed([[[[0, 0], [1, 0], [1, 1]]], []]), zones),
    Target(
        "history: search",
        st.dictionaries(_KEYS, st.one_of(texts(["2026-01-31", "missed", "till"]), st.just("missed")), max_size=4),
        search,
    ),
    Target("history: its file", st.deferred(lambda: damaged([_recorded()])), history_of_a_worn_card),
    Target("Web Push: subscription", plain_changed([_SUBSCRIPTION]), subscription),
    Target(
        "Web Push: what a service answers",
        st.tuples(
            st.sampled_from([200, 201, 400, 401, 403, 413, 429, 500, 503, 0, 999]),
            st.one_of(
                st.none(), texts(["120", "Fri, 31 Dec 2027 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 -2359", "9" * 30])
            ),
        ),
        push_answer,
    ),
    Target("link that answers", texts([_TOKEN]), link),
    Target("shift: cookie", texts([_PROOF]), proof),
    Target(
        "shift: name, shift, PIN", st.tuples(texts(["Kim"]), st.one_of(st.just(""), _ODD_TEXT), texts(["1234"])), shift
    ),
    Target(
        "pager's page: answers",
        payloads(
            [
                {"id": _ULID, "action": "ack", "revision": 1},
                {"lift": "kiosk/v1/site/kiosk-1"},
            ]
        ).map(_decoded),
        answer,
    ),
    Target("Accept-Language", texts(["de-AT,de;q=0.9,en;q=0.5", "*", "fr;q=nan"]), accepted_language),
]
