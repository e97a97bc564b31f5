"""What comes over MQTT: to a kiosk, to a pager, to the table of the fleet, and answers of what may be no broker."""

from __future__ import annotations

import functools
import io
import json
import socket
import sqlite3
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

import jsonschema
from hypothesis import strategies as st
from messages import ULID, alert, composer

from edge_agent.alerting.alert import Alert
from edge_agent.config import Escalation, Mqtt, Rule
from edge_agent.delivery import finding_out
from edge_agent.delivery.bus import Received
from edge_agent.delivery.commands import Commands
from edge_agent.delivery.episodes import Episodes, Now, corrected
from edge_agent.delivery.limits import RATES
from edge_agent.delivery.messages import (
    MAX_PAYLOAD_BYTES,
    SCHEMA_DIR,
    Ack,
    Message,
    MessageError,
    Snooze,
    Summary,
    finite,
    parse_ack,
)
from edge_agent.languages import LANGUAGES
from edge_agent.notify.queue import read_page
from edge_agent.pager import words
from edge_agent.pager.client import Pager
from edge_agent.pager.page import Page
from edge_agent.pager.terminal import TerminalPager
from edge_agent.pager_server import history, history_file
from edge_agent.testing import FakeBus, FakeClock
from edge_agent.tools import fleet
from fuzz.inputs import ODD, payloads
from fuzz.table import Target, refused

UNIX_S = 1_800_000_000.25
_DEVICE = "kiosk/v1/site/kiosk-1"
_RULES = (Rule(name="r", escalation=(Escalation(after_s=60, group="managers"),)), Rule(name="zoned", zones=("till",)))
_COMPOSER = composer()
_OPEN = (
    alert(rule=_RULES[0], people=2),
    alert(
        rule=_RULES[1], id="01M7Y8H3KR49JEKEK9MMJWTPA8", zone="till", step="escalated", revision=3, level=0, by="Kim"
    ),
)
_PAGE = replace(_OPEN[0], step="raised")


def _body(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(message.payload)
    return body


ALERT = _body(_COMPOSER.alert(_PAGE))
ACTIVE = _body(_COMPOSER.active(_OPEN, sequence=7))
STATE = _body(_COMPOSER.state("online", "", [Snooze("r", "view", UNIX_S + 600, "Kim")]))
CLOSED = _body(_COMPOSER.state("online", "", closed=True, opens_unix_s=UNIX_S + 9000))
HEALTH = _body(_COMPOSER.health({"frame_rate_hz": 10.0, "outbox_depth": 0, "outbox_oldest_s": 0.0}))
INFO = _body(_COMPOSER.info({"agent_version": "1.0", "model": "fer"}))
SUMMARY = _body(_COMPOSER.summary(Summary(12, {"happy": 0.5}, 0.75), begin_s=UNIX_S - 900, end_s=UNIX_S))
ACK = json.loads(Ack(ULID, "snooze", "Kim", snooze_s=60, revision=1).payload(unix_s=UNIX_S))
COMMAND = {
    "schema": "command",
    "version": 1,
    "request_id": "a1",
    "snooze_s": 60,
    "by": "Kim",
    "action": "ack",
    "time": datetime.fromtimestamp(UNIX_S, timezone.utc).isoformat(),
}


@functools.cache
def _schema(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((SCHEMA_DIR / f"{name}.json").read_text()))


def fits_schema(payload: bytes) -> None:
    """Look whether what we would publish is what the schemas say, and small enough for who receives it."""
    assert len(payload) <= MAX_PAYLOAD_BYTES, len(payload)
    body = json.loads(payload, parse_constant=finite)
    _schema(body["schema"]).validate(body)


def ack(payload: bytes) -> str:
    try:
        read = parse_ack(payload)
    except MessageError as error:
        return refused(error)
    said = read.payload(unix_s=UNIX_S)
    fits_schema(said)
    again = parse_ack(said)
    assert again == (read if read.action == "snooze" else replace(read, snooze_s=again.snooze_s))
    return "read"


def no_controls(text: str) -> bool:
    return not any(unicodedata.category(sign) == "Cc" for sign in text)


class _Upkeep:
    def self_test(self) -> str:
        return ""

    def reload(self) -> str:
        return ""

    def activate(self, model: str) -> str:
        return ""

    def rollback(self, model: str) -> str:
        return ""


def command(given: tuple[str, bytes]) -> str:
    said: list[Any] = []

    def answer(action: str, *, by: str, asked_unix_s: float) -> tuple[bool, str]:
        said.append((action, by, asked_unix_s + 0.0))
        return True, "done"

    commands = Commands(
        _COMPOSER, rebirth=lambda: None, snooze=lambda *what: said.append(what), answer=answer, upkeep=_Upkeep()
    )
    verb, payload = given
    try:
        answered = commands.obey(verb, payload)
    except MessageError as error:
        assert said == []
        return refused(error)
    fits_schema(answered.payload)
    return f"read: {verb if verb in RATES else 'another verb'}"


def active_of_the_broker(payload: bytes) -> str:
    """What a device that lost its notes takes from the broker is what it publishes next."""
    now = Now(1000.0, UNIX_S + 5, "a-boot", 50.0)
    try:
        found = corrected(Episodes((), {}, (), {}), [], payload, _RULES, now=now)
    except MessageError as error:
        return refused(error)
    if found is None:
        return "read: no newer"
    episodes, over = found
    ours = composer()
    ours.raised_unix_s.update(episodes.raised_unix_s)
    alerts: list[Alert] = [*episodes.alerts, *over]
    for one in alerts:
        fits_schema(ours.alert(replace(one, revision=one.revision + 1)).payload)
    fits_schema(ours.active(alerts, sequence=episodes.sequence).payload)
    return f"read: {len(episodes.alerts)} open, {len(over)} over"


@functools.cache
def _history() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(history_file._SCHEMA)
    return db


def pager(given: tuple[str, str, bool, bytes]) -> str:
    """A pager shows what it is sent in a terminal, in a browser, in each language, and keeps it."""
    below, device, retained, payload = given
    bus, out, clock = FakeBus(), io.StringIO(), FakeClock(1000)
    following = Pager(bus, name="me", unix=lambda: UNIX_S + 1, monotonic=clock)
    heard: list[Page] = []
    following.heard = heard.append
    terminal = TerminalPager(following, threading.Event(), out=out)
    bus.start()
    # An open page of a kiosk that watches, so that there is something to change.
    for topic, body in (("state", STATE), ("health", HEALTH), (f"alert/{ULID}", ALERT)):
        bus.receive(f"{_DEVICE}/{topic}", json.dumps(body).encode())
    terminal.turn()
    assert list(following.open) == [ULID]
    began = out.tell()
    bus.receive(f"{device}/{below}", payload, retained=retained)
    terminal.turn()
    clock.advance(100)
    terminal.turn()
    told = out.getvalue()[began:]
    for line in told.splitlines():
        assert line.isprintable(), ascii(line)
        assert len(line) < 3000, len(line)
    db = _history()
    db.execute("BEGIN")
    for page in (*heard, *following.open.values()):
        history._note(db, page, now_s=UNIX_S, names=True)
        assert read_page(json.dumps(asdict(page))) == page
        for language in LANGUAGES:
            for text in (words.title, words.where, words.looks, words.outcome):
                assert no_controls(text(page, language))
    db.execute("ROLLBACK")
    kiosks = following.kiosks.all()
    for language in LANGUAGES:
        assert no_controls(words.in_words(kiosks, language))
    json.dumps([asdict(kiosk) for kiosk in kiosks], allow_nan=False).encode()
    ignored = [line for line in told.splitlines() if "ignored what came on" in line]
    return refused(ValueError(ignored[0].partition(": ")[2])) if ignored else f"read: {len(told.splitlines())} lines"


def fleet_table(given: tuple[str, str, bytes]) -> str:
    """The table is drawn, for terminals and as JSON."""
    topic, device, payload = given
    devices: dict[str, fleet.Device] = {}
    for name, body in (("state", STATE), ("health", HEALTH), ("info", INFO), ("alert/active", ACTIVE)):
        fleet.note(devices, Received(f"{_DEVICE}/{name}", json.dumps(body).encode(), retained=True))
    before = json.dumps([asdict(one) for one in devices.values()])
    fleet.note(devices, Received(f"{device}/{topic}", payload, retained=True))
    ordered = fleet.in_order(devices.values())
    for line in fleet.as_text(ordered, unix_s=UNIX_S, limit=None).splitlines():
        assert line.isprintable(), ascii(line)
    json.dumps(fleet.as_rows(ordered, unix_s=UNIX_S), allow_nan=False).encode()
    return "read" if json.dumps([asdict(one) for one in devices.values()]) != before else "refused"


@functools.cache
def strange_server() -> tuple[int, Callable[[bytes], None]]:
    """Return the port of what answers every connection by the same bytes, and what sets them."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    said = [b""]

    def serve() -> None:
        while True:
            link, _ = listening.accept()
            with link:
                link.settimeout(0.2)
                try:
                    link.sendall(said[0])
                    link.shutdown(socket.SHUT_WR)
                    while link.recv(4096):
                        pass
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1], lambda answer: said.__setitem__(0, answer)


def strange_broker(answer: bytes) -> str:
    port, say = strange_server()
    say(answer)
    told = finding_out.unanswered(Mqtt(host="127.0.0.1", port=port))
    return refused(ValueError(told))


_TOPICS = st.sampled_from(
    [
        _DEVICE,
        _DEVICE,
        _DEVICE,
        "kiosk/v1/site/kiosk-2",
        "",
        "/",
        "a",
        "kiosk/v1/s\x1b[2Jite/ki\x07osk",
        "é/\u202e/x",
        "x" * 5000,
        "kiosk/v1/site/alert/x",
        "a/ack/b/alert/c",
    ]
)
_VERBS = st.sampled_from(
    ["ping", "rebirth", "snooze", "snooze", "answer", "answer", "selftest", "reload", "activate", "", "x" * 300]
)


def _to_a_pager(name: str, below: str, *valid: Any) -> Target:
    levels = st.just(below)
    if below.endswith("/+"):
        odd = [one for one in ODD if isinstance(one, str)]
        levels = st.sampled_from([ULID] * 20 + [str(one) for one in odd[:12]]).map(lambda one: below[:-1] + one)
    return Target(f"pager: {name}", st.tuples(levels, _TOPICS, st.booleans(), payloads(valid)), pager)


TARGETS = [
    Target("kiosk: ack", payloads([ACK, {**ACK, "action": "resolve"}]), ack),
    Target("kiosk: command", st.tuples(_VERBS, payloads([COMMAND])), command),
    Target("kiosk: its own alert/active", payloads([ACTIVE, ACTIVE, {**ACTIVE, "alerts": []}]), active_of_the_broker),
    _to_a_pager("alert", "alert/+", ALERT, {**ALERT, "step": "cleared", "revision": 2, "by": "Kim"}),
    _to_a_pager("alert/active", "alert/active", ACTIVE),
    _to_a_pager("ack", "ack/+", ACK),
    _to_a_pager("state", "state", STATE, CLOSED),
    _to_a_pager("health", "health", HEALTH),
    _to_a_pager("summary", "summary", SUMMARY),
    Target(
        "fleet: state, health, info, alert/active",
        st.tuples(
            st.sampled_from(["state", "health", "info", "alert/active"]),
            _TOPICS,
            payloads([STATE, CLOSED, HEALTH, INFO, ACTIVE]),
        ),
        fleet_table,
    ),
    Target(
        "what may be no broker",
        st.one_of(
            st.binary(max_size=64),
            st.sampled_from(
                [b" \x02\x00\x00", b"\x15\x03\x03\x00\x02\x02\x28", b"HTTP/1.1 101 x\r\n\r\n", b"\x16\x03\x03"]
            ),
        ),
        strange_broker,
        share=0.02,
    ),
]
