"""The history of pages: the same row however its steps come, through restarts, broken files and full disks."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import stat
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from itertools import permutations
from zoneinfo import ZoneInfo

import pytest
from conftest import PATIENCE_S
from messages import ULID, alert, composer

from edge_agent.config import Pager as Settings
from edge_agent.config import Shift
from edge_agent.delivery.messages import Summary, rfc3339
from edge_agent.pager.client import Pager
from edge_agent.pager.page import Page, parse_page
from edge_agent.pager.satisfied import parse_summary
from edge_agent.pager_server import records
from edge_agent.pager_server.history import MAX_A_DAY_OF_ONE, SETTLE_S, History
from edge_agent.pager_server.history_file import FILE_NAME
from edge_agent.pager_server.server import WebPager
from edge_agent.testing import FakeBus, FakeClock

NOW_S = 1_800_000_000.0
BERLIN = ZoneInfo("Europe/Berlin")
KIOSK = "kiosk/v1/shop/till-1"


def page(step: str = "raised", revision: int = 1, after_s: float | None = 0.0, **values) -> Page:
    """A step of a page that was raised at NOW_S."""
    known = Page(
        device_topic=KIOSK, id=ULID, revision=revision, step=step, severity="warning", groups=("staff",),
        message="help", place="till", zone="view", device="shop/till-1", emotions=("angry",), score=0.8, by="",
        reason="", raised_at="2027-01-15T08:00:00.000Z", stepped_s=None if after_s is None else NOW_S + after_s,
    )  # fmt: skip
    return replace(known, **values)


RAISED = page()
ESCALATED = page("escalated", 2, 60.0, groups=("staff", "manager"), level=1, severity="critical")
ACKED = page("acked", 3, 75.0, groups=("staff", "manager"), level=1, severity="critical", by="Kim", reason="on_my_way")
RESOLVED = replace(ACKED, revision=4, step="cleared", stepped_s=NOW_S + 200, by="Lee", reason="resolve")


def until(true) -> None:
    """Wait until something is true."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


class Keeper:
    """Opens the history of one folder again and again, as restarts do."""

    def __init__(self, folder) -> None:
        self.folder, self.clock, self.said, self.history = folder / "pager", FakeClock(NOW_S), [], None

    def open(self, *, names: bool = True, days: float = 90) -> History:
        self.close()
        self.history = History(
            self.folder, days=days, names=names, say=self.said.append, unix=self.clock, monotonic=self.clock
        )
        return self.history

    def close(self) -> None:
        if self.history is not None:
            self.history.close()

    def after(self, *steps: Page, **options) -> list[dict]:
        """Take over steps, restart, and return all rows."""
        history = self.open(**options)
        for step in steps:
            history.note(step)
        return self.open(**options).rows("SELECT * FROM page ORDER BY raised_s", {})

    def alter(self, change: Callable[[bytes], bytes]) -> None:
        """Change the file as a worn card would."""
        self.close()
        path, self.history = self.folder / FILE_NAME, None
        before = path.read_bytes()
        path.write_bytes(change(before))
        assert path.read_bytes() != before

    def bytes(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.iterdir())


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path)
    yield keeper
    keeper.close()


def test_a_page_is_one_row_that_tells_its_story(keeper):
    [row] = keeper.after(RAISED, ESCALATED, ACKED, RESOLVED)
    assert row == {
        "id": ULID, "topic": KIOSK, "place": "till", "zone": "view", "rule": "", "message": "help",
        "severity": "critical", "groups": "staff, manager", "people": 1, "escalated": 1, "revision": 4,
        "raised_s": NOW_S, "answer": "on_my_way", "answered_s": NOW_S + 75, "answered_by": "Kim",
        "ended_s": NOW_S + 200, "reason": "resolve", "seen_s": None, "seen_by": "", "verdict": "resolve", "note": "",
        "judged_s": None, "judged_by": "",
    }  # fmt: skip
    assert stat.S_IMODE(keeper.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keeper.folder.iterdir()} == {0o600}


def test_steps_that_come_twice_or_in_any_order_make_the_same_row(keeper):
    expected = keeper.after(RAISED, ESCALATED, ACKED, RESOLVED)
    assert keeper.after(RAISED, ESCALATED, RESOLVED, ACKED) == expected
    for number, order in enumerate(permutations((RAISED, ESCALATED, ACKED, RESOLVED))):
        keeper.folder = keeper.folder.with_name(f"order-{number}")
        assert keeper.after(*order, *order) == expected, order


def test_of_a_page_that_begins_at_its_third_step_what_nobody_knows_stays_open(keeper):
    told_again = replace(ACKED, stepped_s=None)
    [row] = keeper.after(told_again)
    assert (row["answer"], row["answered_s"], row["answered_by"], row["ended_s"]) == ("on_my_way", None, "Kim", None)
    [row] = keeper.after(replace(RESOLVED, reason="calm", by="Kim"))
    assert (row["answer"], row["answered_s"], row["reason"]) == ("on_my_way", None, "calm")


def test_a_page_that_is_first_heard_of_when_it_is_over(keeper):
    [row] = keeper.after(replace(RESOLVED, reason="calm", by="Kim"))
    assert (row["answer"], row["answered_s"], row["ended_s"]) == ("ack", None, NOW_S + 200)
    keeper.open().close()
    keeper.folder = keeper.folder.with_name("another")
    [row] = keeper.after(replace(RESOLVED, reason="out_of_view", by=""))
    assert (row["answer"], keeper.history.missed_count) == ("", 1)


@pytest.mark.parametrize("raised_at", ["1970-01-01T00:00:05.000Z", "2099-01-01T00:00:00.000Z", "", "yesterday"])
def test_a_kiosk_whose_clock_is_not_set_is_timed_by_this_computer(keeper, raised_at):
    history = keeper.open()
    history.note(replace(RAISED, raised_at=raised_at, stepped_s=5.0))
    keeper.clock.advance(12)
    history.note(replace(ACKED, raised_at=raised_at, stepped_s=17.0))
    [row] = keeper.open().rows("SELECT * FROM page", {})
    assert (row["raised_s"], row["answered_s"]) == (NOW_S, NOW_S + 12)


def test_a_page_that_was_open_for_days_ends_when_it_ended(keeper):
    keeper.after(RAISED)
    keeper.clock.advance(4 * 86_400)
    [row] = keeper.after(page("cleared", 2, 3 * 86_400.0, reason="stopped"))
    assert (row["raised_s"], row["ended_s"]) == (NOW_S, NOW_S + 3 * 86_400)


class TestMissed:
    def test_a_page_without_an_answer_is_missed_until_somebody_has_seen_it(self, keeper):
        ended = page("cleared", 2, 40.0, reason="out_of_view")
        keeper.after(RAISED, ended)
        assert [one["id"] for one in keeper.history.missed] == [ULID]
        keeper.history.see([ULID], by="Kim")
        assert keeper.history.missed == []
        [row] = keeper.after(ended)  # told again
        assert (row["seen_by"], row["seen_s"], keeper.history.missed_count) == ("Kim", NOW_S, 0)

    def test_open_and_answered_pages_are_not(self, keeper):
        keeper.after(RAISED)
        assert keeper.history.missed == []
        keeper.after(ACKED, replace(RESOLVED, reason="calm"))
        assert keeper.history.missed == []

    def test_the_latest_are_listed_and_all_are_counted(self, keeper):
        steps = [
            page("cleared", 2, float(n), id=f"{n:026d}", reason="calm", raised_at=f"2027-01-15T07:{n:02}:00Z")
            for n in range(25)
        ]
        keeper.after(*steps)
        assert keeper.history.missed[0]["id"].endswith("24")
        assert keeper.history.missed_count == 25

    def test_what_is_said_of_one_shows_that_it_was_seen(self, keeper):
        keeper.after(page("cleared", 2, 40.0, reason="calm"))
        assert keeper.history.judge(ULID, by="Kim", note="was a poster") == KIOSK
        assert keeper.history.missed_count == 0

    def test_a_shift_is_shown_its_own_and_what_no_shift_looks_after(self, tmp_path):
        shifts = (Shift("tills", kiosks=("shop/till-1",)), Shift("managers", groups=("manager",)))
        settings = Settings(port=0, state_dir=tmp_path, shifts=shifts)
        wake, stop = threading.Event(), threading.Event()
        stop.set()
        server = WebPager(Pager(FakeBus(), name="x"), wake, settings, token=None, say=lambda _: None)
        for number, (device, group) in enumerate((("till-1", "staff"), ("lobby", "manager"), ("lobby", "staff"))):
            values = {"device_topic": f"kiosk/v1/shop/{device}", "groups": (group,), "id": f"{number:026d}"}
            raised_at = rfc3339(time.time() - 100 + number)
            server._history.note(page("cleared", 2, None, reason="calm", raised_at=raised_at, **values))
        until(lambda: server._history.missed_count == 3)
        server.turn()
        told = {shift: json.loads(text) for shift, text in server._texts.items()}
        server.run(stop)
        shown = {shift: [int(one["id"]) for one in body["missed"]] for shift, body in told.items()}
        assert shown == {"tills": [2, 0], "managers": [2, 1]}
        assert {body["missed_count"] for body in told.values()} == {2}

    def test_whoever_watches_is_told(self, keeper):
        told = []
        keeper.open()
        keeper.history._changed = lambda: told.append(keeper.history.missed_count)
        keeper.history.note(page("cleared", 2, 40.0, reason="calm"))
        keeper.history.note(replace(RAISED, id="0" * 26))
        keeper.close()
        assert told == [1]
        keeper.history = None


class TestRestart:
    def test_a_page_that_ended_while_nobody_was_there_gets_an_end(self, keeper):
        keeper.after(RAISED)
        history = keeper.history
        for connected in (False, True):
            keeper.clock.advance(SETTLE_S)
            history.settle([], connected=connected)
        keeper.clock.advance(SETTLE_S)
        history.settle([], connected=True)
        [row] = keeper.after()
        assert (row["reason"], row["ended_s"]) == ("unknown", NOW_S + 3 * SETTLE_S)
        assert keeper.history.missed_count == 1
        # Its kiosk comes back and says that it goes on.
        [row] = keeper.after(replace(RAISED, stepped_s=None))
        assert (row["ended_s"], keeper.history.missed_count) == (None, 0)

    def test_a_page_that_its_kiosk_still_names_stays_open(self, keeper):
        keeper.after(RAISED)
        keeper.history.settle([ULID], connected=True)
        keeper.clock.advance(2 * SETTLE_S)
        keeper.history.settle([], connected=True)
        [row] = keeper.after()
        assert row["ended_s"] is None

    def test_the_server_finds_out_what_ended_while_it_was_off(self, tmp_path, monkeypatch):
        monkeypatch.setattr("edge_agent.pager_server.history.SETTLE_S", 0.0)
        settings = Settings(port=0, state_dir=tmp_path)
        stop, wake, missed = threading.Event(), threading.Event(), []
        stop.set()
        for steps in ([alert()], []):
            bus = FakeBus()
            server = WebPager(Pager(bus, name="x"), wake, settings, token=None, say=lambda _: None)
            bus.start()
            for one in steps:
                bus.receive(f"{KIOSK}/alert/{ULID}", composer().alert(one).payload)
            for _ in range(3):
                server.turn()
            server.run(stop)
            missed.append([one["reason"] for one in server._history.missed])
        assert missed == [[], ["unknown"]]

    def test_a_late_end_corrects_what_was_supposed(self, keeper):
        keeper.after(RAISED)
        keeper.history.settle([], connected=True)
        keeper.clock.advance(SETTLE_S)
        keeper.history.settle([], connected=True)
        [row] = keeper.after(page("cleared", 2, 30.0, reason="false_alarm", by="Kim"))
        assert (row["reason"], row["ended_s"], row["verdict"]) == ("false_alarm", NOW_S + 30, "false_alarm")


class TestFile:
    @pytest.mark.parametrize("content", [b"nonsense" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_one_that_cannot_be_read_is_set_aside_and_gone_when_the_days_are_over(self, keeper, content):
        keeper.folder.mkdir()
        (keeper.folder / FILE_NAME).write_bytes(content)
        [row] = keeper.after(RAISED)
        assert row["id"] == ULID
        [said] = keeper.said
        assert "was moved to" in said
        [aside] = keeper.folder.glob("*.unreadable-*")
        assert aside.read_bytes() == content
        os.utime(aside, (NOW_S - 91 * 86_400,) * 2)
        keeper.open()
        assert not aside.exists()

    def test_one_of_a_later_version_is_left_to_it(self, keeper):
        keeper.after(RAISED)
        keeper.close()
        with sqlite3.connect(keeper.folder / FILE_NAME) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        keeper.history = None
        assert keeper.after() == []
        assert "was moved to" in keeper.said[0]

    def test_a_column_that_lost_its_name_makes_one_that_cannot_be_read(self, keeper):
        keeper.after(RAISED)
        keeper.alter(lambda raw: raw.replace(b"escalated  ", b"escalatfd  "))
        [row] = keeper.after(replace(RAISED, id="9" * 26))
        assert row["id"] == "9" * 26
        [said] = keeper.said
        assert "was moved to" in said

    def test_a_damaged_text_hides_nothing_but_its_sign(self, keeper):
        keeper.after(ESCALATED)
        keeper.alter(lambda raw: raw.replace(b"staff, manager", b"staff, \xe5anager"))
        [row] = keeper.after()
        assert row["groups"] == "staff, \ufffdanager"
        assert keeper.said == []

    @pytest.mark.parametrize(
        ("altered", "left", "said"),
        [
            # SQLite keeps the rows before their indices.
            ("row", 1, "the history had damaged rows, with impossible times: 1; removed"),
            ("index", 2, ""),
        ],
    )
    def test_a_page_at_no_possible_time_is_removed_and_said(self, keeper, altered, left, said):
        # Not a whole number of seconds, which SQLite would keep as an integer.
        odd_s = NOW_S - 1000.25
        keeper.after(RAISED, replace(RAISED, id="9" * 26, raised_at="2027-01-15T07:43:19.750Z"))
        odd, impossible = struct.pack(">d", odd_s), struct.pack(">d", 1e300)
        keeper.alter(lambda raw: impossible.join(raw.split(odd, 1) if altered == "row" else raw.rsplit(odd, 1)))
        rows = records.find(keeper.open(), records.parse_query({}), zone=None, offset=0)
        assert len(records.as_csv(rows, zone=None, language="en", names=True).splitlines()) == 1 + left
        assert "".join(keeper.said) == said

    def test_a_full_disk_is_told_once_and_what_waits_is_written_when_there_is_room(self, keeper):
        history = keeper.open()
        history._db.execute("PRAGMA max_page_count = 1")
        for number in range(3):
            history.note(replace(RAISED, id=f"{number:026d}", message="x" * 20_000))
        until(lambda: keeper.said)
        history.note(replace(RAISED, id="9" * 26))
        until(lambda: len(history._waiting) == 4)
        with history._lock:  # that try is over, too
            assert len(keeper.said) == 1
        assert "disk" in keeper.said[0]
        history._db.execute("PRAGMA max_page_count = 100000")
        assert len(keeper.after()) == 4

    def test_a_folder_that_cannot_be_made_costs_the_history_only(self, tmp_path):
        (tmp_path / "file").write_text("")
        said = []
        history = History(tmp_path / "file" / "pager", days=1, names=False, say=said.append, unix=FakeClock(NOW_S))
        history.note(page("cleared", 2, 40.0, reason="calm"))
        history.close()
        assert history.missed_count == 1
        assert "cannot use" in said[0]

    def test_more_than_a_kiosk_can_send_is_not_kept(self, keeper):
        history = keeper.open()
        for number in range(MAX_A_DAY_OF_ONE + 5):
            history.note(replace(RAISED, id=f"{number:026d}"))
        history.note(replace(RAISED, device_topic="kiosk/v1/shop/till-2"))
        rows = keeper.open().rows("SELECT topic, count(*) AS n FROM page GROUP BY topic", {})
        assert [row["n"] for row in rows] == [MAX_A_DAY_OF_ONE, 1]


class TestForgetting:
    def test_what_is_older_than_configured_is_gone_from_the_disk(self, keeper):
        keeper.after(ACKED, RESOLVED)
        keeper.history.judge(ULID, by="Kim", note="a secret")
        keeper.close()
        assert b"a secret" in keeper.bytes()
        assert b"Kim" in keeper.bytes()
        keeper.history = None
        keeper.clock.advance(91 * 86_400)
        assert keeper.after() == []
        assert b"a secret" not in keeper.bytes()
        assert b"Kim" not in keeper.bytes()

    def test_a_server_that_runs_on_forgets_too(self, keeper):
        history = keeper.open(days=1)
        history.note(replace(RAISED, message="a secret"))
        until(lambda: b"a secret" in keeper.bytes())
        keeper.clock.advance(3 * 86_400)
        history.note(replace(RAISED, id="0" * 26, raised_at="2027-01-18T08:00:00Z"))
        until(lambda: b"a secret" not in keeper.bytes())
        keeper.close()
        keeper.history = None
        db = sqlite3.connect(keeper.folder / FILE_NAME)
        assert [row[0] for row in db.execute("SELECT id FROM page")] == ["0" * 26]
        db.close()

    def test_without_names_none_are_kept_and_those_of_before_are_erased(self, keeper):
        keeper.after(ACKED, RESOLVED)
        keeper.history.judge(ULID, by="Kim", verdict="resolve")
        [row] = keeper.after(names=False)
        assert (row["answered_by"], row["judged_by"], row["answer"]) == ("", "", "on_my_way")
        keeper.close()
        assert b"Kim" not in keeper.bytes()
        keeper.history = None
        history = keeper.open(names=False)
        history.note(replace(ACKED, id="0" * 26, by="Max Muster"))
        history.note(replace(RESOLVED, id="0" * 26, by="Max Muster"))
        until(lambda: history.judge("0" * 26, by="Max Muster", note="x"))
        keeper.close()
        assert b"Max Muster" not in keeper.bytes()
        keeper.history = None


class TestVerdicts:
    def test_the_last_one_counts_and_open_pages_have_none(self, keeper):
        keeper.after(RAISED)
        assert keeper.history.judge(ULID, by="Kim", verdict="false_alarm") is None
        keeper.after(RESOLVED)
        assert keeper.history.judge("0" * 26, by="Kim", verdict="resolve") is None
        keeper.history.judge(ULID, by="Kim", verdict="false_alarm", note="sun")
        keeper.history.judge(ULID, by="Lee", note="the sun")
        [row] = keeper.after(RESOLVED)
        assert (row["verdict"], row["note"], row["judged_by"]) == ("false_alarm", "the sun", "Lee")


class TestFinding:
    def fill(self, keeper) -> History:
        steps = [
            page("cleared", 2, 0.0, id=f"{n:026d}", reason="calm", place=place, device_topic=f"kiosk/v1/shop/till-{n}",
                 message=message, raised_at=at)
            for n, (place, message, at) in enumerate([
                ("50 % sale", "help", "2027-01-13T22:59:00Z"),
                ("lobby", "=1+1", "2027-01-13T23:01:00Z"),
                ("bar_1", "help", "2027-01-15T07:00:00Z"),
            ])
        ]  # fmt: skip
        keeper.after(*steps)
        return keeper.history

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, "210"),
            ({"search": "HELP"}, "20"),
            ({"search": "0 %"}, "0"),
            ({"search": "bar_"}, "2"),
            ({"search": "_"}, "2"),
            ({"search": "till-1"}, "1"),
            ({"search": "' OR 1=1 --"}, ""),
            ({"kiosk": "kiosk/v1/shop/till-1"}, "1"),
            ({"kind": "missed"}, "210"),
            ({"kind": "false_alarm"}, ""),
            ({"from": "2027-01-14"}, "21"),  # 23:01 UTC is the next day in Berlin
            ({"to": "2027-01-14"}, "10"),
            ({"from": "2027-01-15", "to": "9999-12-31"}, "2"),
            ({"from": "0002-01-01", "to": "2027-01-14"}, "10"),
        ],
    )
    def test_by_text_kiosk_verdict_and_local_day(self, keeper, query, expected):
        history, wanted = self.fill(keeper), records.parse_query(query)
        found = records.find(history, wanted, zone=BERLIN, offset=0)
        assert "".join(row["id"][-1] for row in found) == expected
        assert records.count(history, wanted, zone=BERLIN) == len(expected)

    @pytest.mark.parametrize("query", [{"kind": "all"}, {"from": "yesterday"}, {"to": "2027-02-30"}])
    def test_what_cannot_be_looked_for(self, query):
        with pytest.raises(ValueError):  # noqa: PT011 - the page says what was wrong
            records.parse_query(query)

    def test_the_table_opens_in_a_spreadsheet_and_holds_no_formula(self, keeper):
        history = self.fill(keeper)
        nasty = ['=cmd|"/C calc"!A0', "+1", "-1", "@SUM(A1)", 'a "quoted", word', "Grüße, 笑"]
        for number in range(len(nasty)):
            history.note(page("cleared", 2, 30.0, id=f"{number + 3:026d}", reason="calm"))
        history = keeper.open()
        for number, note in enumerate(nasty):
            history.judge(f"{number + 3:026d}", by="=Kim", note=note)
        rows = records.find(history, records.Query(), zone=BERLIN, offset=0)
        text = records.as_csv(rows, zone=BERLIN, language="en", names=True)
        assert text.startswith("\ufeffRaised,Kiosk,Place")
        assert text.count("\r\n") == len(rows) + 1
        read = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
        assert not [cell for row in read for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
        assert {row["Note"].removeprefix("'") for row in read} == {"", *nasty}
        assert read[0]["Raised"] == "2027-01-15T09:00:00+01:00"
        assert "Verdict by" in read[0]
        assert "Kim" not in records.as_csv(rows, zone=BERLIN, language="en", names=False)


class TestFromTheBus:
    def test_every_step_is_handed_over_also_of_pages_that_are_over(self):
        bus, heard = FakeBus(), []
        pager = Pager(bus, name="kim", unix=lambda: NOW_S)
        pager.heard = heard.append
        bus.start()
        for n, step in enumerate((alert(step="cleared", revision=4, reason="calm"), alert(step="raised", revision=1))):
            del n
            bus.receive(f"{KIOSK}/alert/{ULID}", composer().alert(step).payload)
        pager.poll()
        [over] = heard
        assert (over.step, over.rule, over.level, over.stepped_s) == ("cleared", "r", 0, 1_800_000_000.25)

    def test_what_is_only_repeated_has_no_time_of_its_own(self):
        bus, heard = FakeBus(), []
        pager = Pager(bus, name="kim", unix=lambda: NOW_S)
        pager.heard = heard.append
        bus.start()
        bus.receive(f"{KIOSK}/alert/active", composer().active([alert(step="acked", by="Lee", revision=2)]).payload)
        pager.poll()
        assert [(one.by, one.stepped_s) for one in heard] == [("Lee", None)]
        body = json.loads(composer().alert(alert(), repeated=True).payload)
        assert parse_page(KIOSK, ULID, body).stepped_s is None

    def test_a_verdict_is_sent_when_the_broker_is_back(self):
        bus = FakeBus()
        pager = Pager(bus, name="kim", unix=lambda: NOW_S)
        pager.judge(KIOSK, ULID, "resolve", by="Lee")
        pager.judge(KIOSK, ULID, "false_alarm", by="Lee")
        bus.start()
        pager.poll()
        [message] = bus.published
        body = json.loads(message.payload)
        assert (message.topic, body["action"], body["by"]) == (f"{KIOSK}/ack/{ULID}", "false_alarm", "Lee")
        assert "revision" not in body


class TestSummaries:
    def message(self, **values) -> bytes:
        made = composer().summary(Summary(8, {"angry": 1.0}, 0.75), begin_s=NOW_S - 900, end_s=NOW_S)
        return json.dumps({**json.loads(made.payload), **values}).encode()

    def test_one_is_read_and_kept_once(self, keeper):
        found = parse_summary(KIOSK, self.message(), unix_s=NOW_S)
        assert (found.begin_s, found.end_s, found.visits, found.share) == (NOW_S - 900, NOW_S, 8, 0.75)
        history = keeper.open()
        history.note_summary(found)
        history.note_summary(found)
        assert len(keeper.open().rows("SELECT * FROM summary", {})) == 1

    def test_one_that_is_withheld_tells_nothing(self):
        made = composer().summary(Summary(None, None, None), begin_s=NOW_S - 900, end_s=NOW_S)
        assert parse_summary(KIOSK, made.payload, unix_s=NOW_S) is None

    @pytest.mark.parametrize(
        "values",
        [
            {"visits": "8"}, {"visits": True}, {"visits": 1}, {"visits": 10**12}, {"visits": None}, {"visits": 8.5},
            {"satisfied": -0.1}, {"satisfied": 2}, {"satisfied": None}, {"satisfied": [1]},
            {"begin": "2027-01-15T09:00:00Z"}, {"begin": 5}, {"end": None}, {"begin": "0001-01-01T00:00:00Z"},
            {"begin": "2027-06-15T07:45:00Z", "end": "2027-06-15T08:00:00Z"}, {"schema": "state"},
        ],
    )  # fmt: skip
    def test_what_is_none_is_ignored_and_named(self, values):
        bus = FakeBus()
        pager = Pager(bus, name="kim", unix=lambda: NOW_S)
        bus.start()
        bus.receive(f"{KIOSK}/summary", self.message(**values))
        _, nonsense = pager.poll()
        assert nonsense.topic == f"{KIOSK}/summary"


def test_days_are_local():
    query = records.parse_query({"from": "2027-03-28", "to": "2027-03-28"})
    assert query.first == date(2027, 3, 28)
    _, values = records._condition(query, BERLIN)
    assert values["last_s"] - values["first_s"] == 23 * 3600
