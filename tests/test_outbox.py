"""The outbox keeps what it was given, through a kill and on a damaged disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from messages import ULID

from edge_agent.delivery.messages import Message, Priority
from edge_agent.delivery.outbox import FILE_NAME, Outbox
from edge_agent.errors import StateError
from edge_agent.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock(1000)


@pytest.fixture
def outbox(tmp_path, clock):
    box = Outbox(tmp_path, max_bytes=1000, unix=clock)
    yield box
    box.close()


def test_messages_come_back_in_order_after_a_restart(outbox, tmp_path, clock):
    for number in range(3):
        outbox.add(Message("t", b"%d" % number, retain=number == 1, expiry_s=100))
    outbox.close()
    clock.advance(40)
    again = Outbox(tmp_path, max_bytes=1000, unix=clock)
    rows = again.pending(limit=10)
    assert [row.message.payload for row in rows] == [b"0", b"1", b"2"]
    assert [row.message.retain for row in rows] == [False, True, False]
    assert [row.expires_s for row in rows] == [1100, 1100, 1100]
    assert again.depth() == (3, 40)
    again.remove([rows[1].seq])
    assert [row.message.payload for row in again.pending(limit=10)] == [b"0", b"2"]
    again.close()


def test_a_process_that_is_killed_loses_nothing(tmp_path):
    script = (
        "import os, pathlib, signal, time\n"
        "from edge_agent.delivery.outbox import Outbox\n"
        "from edge_agent.delivery.messages import Message\n"
        f"box = Outbox(pathlib.Path({str(tmp_path)!r}), max_bytes=1000, unix=time.time)\n"
        "box.add(Message('t', b'before the kill'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    box = Outbox(tmp_path, max_bytes=1000, unix=FakeClock())
    assert [row.message.payload for row in box.pending(limit=1)] == [b"before the kill"]
    box.close()


def test_a_full_spool_gives_up_its_oldest_and_says_which(outbox):
    for number in range(4):
        assert outbox.add(Message(f"t/{number}", b"x" * 240))[1] == []
    _, evicted = outbox.add(Message("t/4", b"x" * 300))
    assert [row.message.topic for row in evicted] == ["t/0", "t/1"]
    assert outbox.depth()[0] == 3


def test_messages_that_belong_together_are_kept_together(outbox):
    assert outbox.add(Message("a", b"1"), Message("b", b"2"))[0] == [1, 2]
    outbox._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StateError):
        outbox.add(Message("c", b"3"), Message("d", b"x" * 5000), note=("open", "c"))
    assert [row.message.topic for row in outbox.pending(limit=9)] == ["a", "b"]
    assert outbox.note("open") is None


def test_a_second_agent_on_the_same_spool_is_turned_away(outbox, tmp_path, clock):
    outbox.add(Message("t", b"mine"))
    with pytest.raises(StateError, match="in use by another agent"):
        Outbox(tmp_path, max_bytes=1000, unix=clock)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, clock):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StateError, match=r"outbox\.state_dir"):
        Outbox(blocker / "state", max_bytes=1000, unix=clock)


def test_what_the_next_run_must_know_is_committed_with_the_message(outbox, tmp_path, clock):
    outbox.add(Message("t", b"x"), note=("episodes", "one"))
    outbox.write_note("episodes", "two")
    outbox.close()
    again = Outbox(tmp_path, max_bytes=1000, unix=clock)
    assert (again.note("episodes"), again.note("other")) == ("two", None)
    again.close()


def test_a_full_spool_gives_up_summaries_first_and_alerts_last(outbox):
    alert, normal, summary = Priority.ALERT, Priority.NORMAL, Priority.SUMMARY
    for topic, priority in (("d/alert/1", alert), ("d/event", normal), ("d/summary", summary), ("d/alert/2", alert)):
        outbox.add(Message(topic, b"x" * 240, priority=priority))
    page = Message("d/alert/3", b"x" * 240, priority=alert)
    given_up = [row.message.topic for _ in range(4) for row in outbox.add(page)[1]]
    assert given_up == ["d/summary", "d/event", "d/alert/1", "d/alert/2"]


def test_a_file_that_is_no_spool_is_set_aside(tmp_path, clock):
    (tmp_path / FILE_NAME).write_bytes(b"these are not the pages you are looking for" * 100)
    box = Outbox(tmp_path, max_bytes=1000, unix=clock)
    box.add(Message("t", b"fresh"))
    box.close()
    assert box.set_aside == tmp_path / f"{FILE_NAME}.unreadable-1000"
    assert box.set_aside.read_bytes().startswith(b"these are not")


def test_of_a_spool_whose_pages_are_damaged_what_can_be_read_goes_on(tmp_path, clock):
    sent = [Message("t", os.urandom(500)) for _ in range(50)]
    box = Outbox(tmp_path, max_bytes=1_000_000, unix=clock)
    for message in sent:
        box.add(message, note=("episodes", "open"))
    box.close()
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[4096 * 12 : 4096 * 16] = os.urandom(4096 * 4)
    (tmp_path / FILE_NAME).write_bytes(content)
    box = Outbox(tmp_path, max_bytes=1_000_000, unix=clock)
    assert box.set_aside is not None
    found = [row.message for row in box.pending(limit=99)]
    assert 10 < len(found) < 50
    assert found == [message for message in sent if message in found]
    assert box.note("episodes") == "open"
    box.close()


def test_a_file_of_a_former_version_keeps_its_messages_and_their_priority(tmp_path, clock):
    old = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    old.execute("PRAGMA journal_mode=WAL")
    old.execute(
        "CREATE TABLE message (seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, "
        "retain INTEGER NOT NULL, added_s REAL NOT NULL, expires_s REAL) STRICT"
    )
    old.execute("CREATE TABLE note (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT")
    topics = [f"d/alert/{ULID}", "d/event", "d/summary"]
    for topic in topics:
        old.execute(
            "INSERT INTO message (topic, payload, retain, added_s, expires_s) VALUES (?, ?, 0, 900, 1100)",
            (topic, b"x" * 300),
        )
    old.execute("INSERT INTO note VALUES ('episodes', 'open')")
    old.execute("PRAGMA user_version=2")
    old.close()
    for _ in range(2):  # it is brought up to date once, and opened ever after
        box = Outbox(tmp_path, max_bytes=1000, unix=clock)
        assert (box.set_aside, box.problem, box.note("episodes")) == (None, "", "open")
        rows = box.pending(limit=9)
        assert [(row.message.topic, row.message.payload, row.expires_s) for row in rows] == [
            (topic, b"x" * 300, 1100) for topic in topics
        ]
        known = [(row.message.priority, row.message.alert_id) for row in rows]
        assert known == [(Priority.ALERT, ULID), (Priority.NORMAL, ""), (Priority.SUMMARY, "")]
        box.close()
    box = Outbox(tmp_path, max_bytes=1000, unix=clock)
    given_up = [row.message.topic for _ in range(3) for row in box.add(Message("new", b"x" * 300))[1]]
    assert given_up == ["d/summary", "d/event", "new"]
    assert [row.message.topic for row in box.pending(limit=9)] == [f"d/alert/{ULID}", "new", "new"]


def test_what_was_added_is_on_the_disk_and_not_only_on_its_way(outbox):
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert outbox._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_disk_that_came_late_is_written_to_as_safely(tmp_path, clock):
    (tmp_path / FILE_NAME).mkdir()  # no file can be opened there
    box = Outbox(tmp_path, max_bytes=1000, unix=clock)
    assert box.problem
    (tmp_path / FILE_NAME).rmdir()
    box.probe()
    assert box._db.execute("PRAGMA synchronous").fetchone() == (2,)
    box.close()


def spoilt(path, spot: int, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[spot] ^= bit
    path.write_bytes(content)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_turned_bit_in_the_log_of_a_killed_agent_costs_one_message_at_most_and_is_told(tmp_path, clock, part):
    sent = [Message(f"kiosk/v1/s/k/alert/{n:026d}", b"%d " % n * 200) for n in range(20)]
    box = Outbox(tmp_path / "before", max_bytes=1_000_000, unix=clock)
    for message in sent:
        box.add(message)
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    box.close()
    log = tmp_path / "after" / f"{FILE_NAME}-wal"
    # In the header, the frames of the schema, and then in a payload.
    payload = log.read_bytes().rindex(b"%d " % int(20 * part) * 200)
    spoilt(log, 17 if not part else payload)
    box = Outbox(tmp_path / "after", max_bytes=1_000_000, unix=clock)
    found = [row.message for row in box.pending(limit=99)]
    assert (len(found) >= 19, found) == (True, [message for message in sent if message in found])
    assert box.damaged >= 1
    assert box.set_aside is None
    box.close()


def test_a_note_that_was_altered_is_none_and_is_told(tmp_path, clock):
    box = Outbox(tmp_path, max_bytes=1000, unix=clock)
    box.write_note("episodes", "all that is open")
    box.close()
    content = (tmp_path / FILE_NAME).read_bytes()
    spoilt(tmp_path / FILE_NAME, content.index(b"that is open"))
    box = Outbox(tmp_path, max_bytes=1000, unix=clock)
    assert (box.note("episodes"), box.damaged) == (None, 1)
    assert (box.note("episodes"), box.damaged) == (None, 1)
    box.close()


@pytest.mark.parametrize(
    ("text", "bit"), [(b"KEY AUTO", 128), (b"expires_s   REAL", 1), (b"message (", 2), (b"STRICT", 64)]
)
def test_a_file_whose_tables_are_no_more_is_set_aside(tmp_path, clock, text, bit):
    box = Outbox(tmp_path, max_bytes=1000, unix=clock)
    box.add(Message("t", b"x"))
    box.close()
    spoilt(tmp_path / FILE_NAME, (tmp_path / FILE_NAME).read_bytes().index(text) + 1, bit)
    box = Outbox(tmp_path, max_bytes=1000, unix=clock)
    assert box.set_aside is not None
    assert not box.problem
    box.add(Message("t", b"fresh"))
    assert [row.message.payload for row in box.pending(limit=9)][-1] == b"fresh"
    box.close()


def test_a_turned_bit_alters_no_message_stops_no_other_and_is_told(tmp_path, clock):
    sent = [Message(f"kiosk/v1/s/k/alert/{n:026d}", b"%d " % n * 40, priority=Priority.ALERT) for n in range(12)]
    box = Outbox(tmp_path, max_bytes=1_000_000, unix=clock)
    for message in sent:
        box.add(replace(message, expiry_s=100.0))
    box.close()
    whole, random = (tmp_path / FILE_NAME).read_bytes(), np.random.default_rng(7)
    spots = [whole.index(b"/alert/") + 3, whole.index(b"5 5 5"), *random.integers(4096, len(whole), 150)]
    set_aside = put_aside = 0
    for spot in spots:
        folder = tmp_path / str(spot)
        folder.mkdir()
        spoilt = bytearray(whole)
        spoilt[spot] ^= 1 << int(random.integers(8))
        (folder / FILE_NAME).write_bytes(spoilt)
        box = Outbox(folder, max_bytes=1_000_000, unix=clock)
        found = [row.message for row in box.pending(limit=20)]
        assert all(message in sent for message in found)
        assert box.set_aside or len(found) + box.damaged == len(sent)
        assert box.depth()[0] == len(found)
        box.add(Message("t", b"fresh"))
        assert box.pending(limit=20)[-1].message.payload == b"fresh"
        set_aside, put_aside = set_aside + bool(box.set_aside), put_aside + box.damaged
        box.close()
        shutil.rmtree(folder)
    assert put_aside >= 2
    assert set_aside < len(spots)


def test_what_is_kept_is_bounded_whatever_was_removed_rolled_back_or_damaged(outbox, tmp_path, clock):
    for number in range(4):
        outbox.add(Message(f"t/{number}", b"x" * 240))
    outbox._db.execute("UPDATE message SET payload = zeroblob(240) WHERE seq = 1")
    outbox.remove([2])
    outbox._db.execute("CREATE TRIGGER refuse BEFORE INSERT ON note BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(StateError):
        outbox.add(Message("lost", b"x" * 900), note=("a", "b"))
    outbox.close()
    again = Outbox(tmp_path, max_bytes=1000, unix=clock)
    for number in range(4, 300):
        again.add(Message(f"t/{number}", b"x" * 240, priority=Priority.ALERT))
        kept = again._db.execute("SELECT sum(length(payload)), count(*) FROM message").fetchone()
        assert kept[0] <= 1000
    assert kept == (960, 4)
    assert again.damaged == 1
    again.close()
