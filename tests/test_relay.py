"""Each message reaches the broker, is known to have, or is reported; whatever disk, network and clocks do."""

from __future__ import annotations

import sqlite3

import pytest

from edge_agent.delivery.bus import Disconnected, PublishResult
from edge_agent.delivery.messages import Message, Priority
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.relay import CLOCK_WAIT_S, MAX_IN_FLIGHT, PROBE_S, REFUSED_RETRY_S, OutboxRelay
from edge_agent.testing import FakeBus, FakeClock


class Desk:
    """A relay with a real outbox, a broker in memory and two clocks."""

    def __init__(self, folder) -> None:
        self.bus, self.wall, self.clock = FakeBus(), FakeClock(1_800_000_000), FakeClock(50)
        self.outbox = Outbox(folder, max_bytes=100_000, unix=self.wall)
        self.relay = OutboxRelay(self.outbox, self.bus, unix=self.wall, monotonic=self.clock)

    def add(self, *texts: str, expiry_s: float | None = 60) -> None:
        for text in texts:
            self.relay.add(Message("alert", text.encode(), expiry_s=expiry_s))

    def turn(self, *, answers: bool = True) -> list[str]:
        for event in self.bus.events():
            if isinstance(event, Disconnected):
                self.relay.connection_lost()
            elif isinstance(event, PublishResult) and answers:
                self.relay.note_result(event)
        return [message.topic for message in self.relay.pump()]

    def sent(self) -> list[str]:
        return [message.payload.decode() for message in self.bus.published]

    def break_disk(self) -> None:
        self.outbox._db.execute("PRAGMA max_page_count = 1")

    def mend_disk(self) -> None:
        self.outbox._db.execute("PRAGMA max_page_count = 100000")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.outbox.close()


def test_what_waits_goes_out_in_order_once_connected_and_only_once(desk):
    desk.add("a", "b", "c")
    desk.turn()
    assert desk.sent() == []
    desk.bus.start()
    for _ in range(5):
        desk.turn()
    assert desk.sent() == ["a", "b", "c"]
    assert desk.relay.waiting() == (0, 0)


def test_only_so_many_are_on_their_way_at_once(desk):
    desk.add(*(str(n) for n in range(3 * MAX_IN_FLIGHT)))
    desk.bus.start()
    desk.turn()
    assert len(desk.sent()) == MAX_IN_FLIGHT
    for _ in range(5):
        desk.turn()
    assert desk.sent() == [str(n) for n in range(3 * MAX_IN_FLIGHT)]


def test_what_the_connection_took_with_it_is_sent_again(desk):
    desk.add("a")
    desk.bus.start()
    desk.turn()
    desk.bus.events()  # the answer is lost
    desk.bus.lose()
    desk.turn()
    assert desk.relay.waiting()[0] == 1
    desk.bus.start()
    desk.turn()
    assert desk.sent() == ["a", "a"]


def test_a_page_that_comes_too_late_is_dropped_and_reported(desk):
    desk.add("late", expiry_s=60)
    desk.add("end of it", expiry_s=None)
    desk.clock.advance(61)
    desk.bus.start()
    assert desk.turn() == ["alert"]
    assert desk.sent() == ["end of it"]
    desk.turn()
    assert desk.relay.waiting()[0] == 0


def test_what_expired_says_which_alert_it_was_about_even_after_a_restart(desk, tmp_path):
    desk.relay.add(Message("d/alert/7", b"late", expiry_s=60, priority=Priority.ALERT, alert_id="7"))
    desk.outbox.close()
    desk.wall.advance(61)
    desk.outbox = Outbox(tmp_path, max_bytes=1000, unix=desk.wall)
    desk.relay = OutboxRelay(desk.outbox, desk.bus, unix=desk.wall, monotonic=desk.clock)
    desk.bus.start()
    assert [(message.alert_id, message.priority) for message in desk.relay.pump()] == [("7", Priority.ALERT)]


def test_a_page_held_by_a_frozen_connection_is_not_delivered_late(desk):
    desk.add("late", expiry_s=60)
    desk.bus.start()
    desk.turn()
    desk.bus.events()
    desk.clock.advance(61)
    desk.bus.lose()
    desk.bus.start()
    assert desk.turn() == ["alert"]
    assert desk.sent() == ["late"]


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_clock_that_is_set_neither_expires_nor_delays(desk, step_s):
    desk.add("fresh", expiry_s=60)
    desk.wall.advance(step_s)
    desk.bus.start()
    assert desk.turn() == []
    [message] = desk.bus.published
    assert message.expiry_s == 60


def test_messages_of_an_earlier_run_expire_by_the_wall_clock(desk, tmp_path):
    desk.add("old", expiry_s=60)
    desk.outbox.close()
    desk.wall.advance(20)
    desk.clock = FakeClock(0)
    desk.outbox = Outbox(tmp_path, max_bytes=1000, unix=desk.wall)
    desk.relay = OutboxRelay(desk.outbox, desk.bus, unix=desk.wall, monotonic=desk.clock)
    desk.bus.start()
    desk.turn()
    assert [(m.payload, m.expiry_s) for m in desk.bus.published] == [(b"old", 40)]


@pytest.fixture
def morning(desk, tmp_path):
    """The power was cut with a page unsent; the clock goes on from there until somebody sets it."""
    desk.add("of last night", expiry_s=60)
    desk.outbox.close()
    desk.clock, desk.known = FakeClock(0), False
    desk.outbox = Outbox(tmp_path, max_bytes=100_000, unix=desk.wall)
    desk.relay = OutboxRelay(
        desk.outbox, desk.bus, unix=desk.wall, monotonic=desk.clock, boot="next", clock_known=lambda: desk.known
    )
    desk.bus.start()
    return desk


def test_what_an_earlier_boot_left_waits_until_the_clock_is_known_and_holds_up_nobody(morning):
    morning.add("fresh")
    morning.turn()
    assert morning.sent() == ["fresh"]
    morning.known = True
    morning.wall.advance(20)
    morning.turn()
    assert morning.sent() == ["fresh", "of last night"]
    assert morning.bus.published[-1].expiry_s == 40


def test_what_an_earlier_boot_left_is_late_once_the_clock_says_so(morning):
    morning.known = True
    morning.wall.advance(8 * 3600)
    assert morning.turn() == ["alert"]
    assert morning.sent() == []


def test_what_an_earlier_boot_left_counts_as_late_where_nobody_sets_the_clock(morning):
    morning.clock.advance(CLOCK_WAIT_S)
    assert morning.turn() == ["alert"]
    assert morning.sent() == []


def test_a_run_that_never_learned_the_age_of_what_waits_leaves_that_to_the_next(morning, tmp_path):
    morning.outbox.close()
    morning.clock = FakeClock(0)
    morning.outbox = Outbox(tmp_path, max_bytes=100_000, unix=morning.wall)
    morning.relay = OutboxRelay(
        morning.outbox, morning.bus, unix=morning.wall, monotonic=morning.clock, boot="next",
        clock_known=lambda: morning.known,
    )  # fmt: skip
    morning.turn()
    assert morning.sent() == []
    morning.known = True
    morning.wall.advance(8 * 3600)
    assert morning.turn() == ["alert"]
    assert morning.sent() == []


def test_what_waited_in_memory_is_written_down_at_the_end_if_the_disk_works_again(desk, caplog):
    desk.break_disk()
    desk.add("a" * 5000)
    desk.mend_disk()
    assert desk.relay.close() == 1
    assert "message lost" not in caplog.text


def test_what_no_disk_takes_is_named_when_it_is_lost(desk, caplog):
    desk.break_disk()
    desk.add("a" * 5000)
    assert desk.relay.close() == 0
    assert "message lost" in caplog.text


def test_a_fresh_page_does_not_wait_behind_a_backlog_of_late_ones(desk):
    desk.add(*(str(number) for number in range(700)), expiry_s=1)
    desk.clock.advance(2)
    desk.add("fresh")
    desk.bus.start()
    assert len(desk.turn()) == 700
    assert desk.sent() == ["fresh"]


def test_in_a_full_memory_alerts_go_last(desk, monkeypatch):
    monkeypatch.setattr("edge_agent.delivery.relay.MAX_IN_MEMORY", 2)
    desk.break_disk()
    for topic in ("d/alert/1", "d/summary", "d/alert/2", "d/alert/3"):
        priority = Priority.ALERT if "alert" in topic else Priority.SUMMARY
        desk.relay.add(Message(topic, b"x" * 5000, priority=priority))
    desk.bus.start()
    desk.turn()
    assert [message.topic for message in desk.bus.published] == ["d/alert/2", "d/alert/3"]


def test_what_waited_in_memory_is_written_down_when_the_connection_takes_it_back(desk):
    desk.break_disk()
    desk.add("a" * 5000)
    desk.bus.start()
    desk.turn(answers=False)
    desk.mend_disk()
    desk.clock.advance(PROBE_S)
    desk.turn(answers=False)
    desk.bus.lose()
    desk.turn()
    assert [len(row.message.payload) for row in desk.outbox.pending(limit=9)] == [5000]


def test_a_refused_message_waits_and_does_not_hold_up_the_others(desk):
    desk.add("a")
    desk.bus.start()
    desk.bus.reason = 135
    desk.turn()
    desk.turn()
    assert desk.relay.waiting()[0] == 1
    desk.bus.reason = 0
    desk.add("b")
    desk.turn()
    assert desk.sent() == ["a", "b"]
    desk.clock.advance(REFUSED_RETRY_S)
    desk.turn()
    desk.turn()
    assert desk.sent() == ["a", "b", "a"]
    assert desk.relay.waiting()[0] == 0


def test_on_a_full_disk_messages_wait_in_memory_and_are_treated_alike(desk):
    desk.break_disk()
    large = ["x" * 3000 + str(n) for n in range(5)]
    desk.add(*large)
    assert "disk" in desk.relay.problem
    desk.add("y" * 3000 + "late", expiry_s=1)
    desk.clock.advance(2)
    desk.bus.reason = 135
    desk.bus.start()
    assert desk.turn() == ["alert"]
    desk.turn()
    assert desk.relay.waiting()[0] == 5
    desk.bus.reason = 0
    desk.clock.advance(REFUSED_RETRY_S)
    desk.turn()
    desk.turn()
    assert sorted(desk.sent()) == sorted(large * 2)
    assert desk.relay.waiting()[0] == 0
    desk.mend_disk()
    desk.clock.advance(PROBE_S)
    desk.turn()
    assert desk.relay.problem == ""


def test_when_the_disk_works_again_what_waited_in_memory_survives_a_kill(desk):
    desk.break_disk()
    long = "x" * 3000
    for number in range(3):
        text = f"{long}{number}"
        desk.relay.add(Message("alert", text.encode(), expiry_s=60), note=("open", text))
    assert desk.relay.problem
    desk.mend_disk()
    desk.clock.advance(PROBE_S)
    desk.turn()
    assert desk.relay.problem == ""
    kept = [row.message.payload.decode()[-1] for row in desk.outbox.pending(limit=10)]
    assert kept == sorted(kept)
    assert set(kept) == set("012")
    assert desk.outbox.note("open") == f"{long}2"
    desk.bus.start()
    for _ in range(3):
        desk.turn()
    assert [text[-1] for text in desk.sent()] == kept
    assert desk.relay.waiting()[0] == 0


def test_a_disk_that_takes_nothing_at_the_start_does_not_keep_pages_from_going_out(tmp_path, monkeypatch):
    real = sqlite3.connect
    full = True

    def connect(path, *args, **kwargs):
        if full and str(path).startswith(str(tmp_path)):
            raise sqlite3.OperationalError("database or disk is full")
        return real(path, *args, **kwargs)

    monkeypatch.setattr("sqlite3.connect", connect)
    desk = Desk(tmp_path)
    assert "full" in desk.relay.problem
    desk.add("a", "b")
    desk.bus.start()
    desk.turn()
    desk.turn()
    assert desk.sent() == ["a", "b"]
    full = False
    desk.clock.advance(PROBE_S)
    desk.turn()
    assert desk.relay.problem == ""
    desk.bus.lose()
    desk.add("c")
    assert [row.message.payload for row in desk.outbox.pending(limit=9)] == [b"c"]
    desk.outbox.close()


def test_an_expired_row_on_a_failing_disk_does_not_hold_up_a_fresh_one(desk):
    desk.add("late", expiry_s=1)
    desk.clock.advance(2)
    desk.outbox._db.execute("PRAGMA query_only = ON")
    desk.add("fresh")
    assert desk.relay.problem
    desk.bus.start()
    desk.turn()
    assert desk.sent() == ["fresh"]
    desk.outbox._db.execute("PRAGMA query_only = OFF")
    desk.turn()
    assert desk.relay.waiting()[0] == 0


@pytest.mark.parametrize(("reason", "waiting"), [(127, 0), (128, 1)])
def test_from_128_on_the_broker_has_refused_a_message(desk, reason, waiting):
    desk.bus.start()
    desk.bus.reason = reason
    desk.add("a")
    desk.turn()
    desk.turn()
    assert desk.relay.waiting()[0] == waiting
