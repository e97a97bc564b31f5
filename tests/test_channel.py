"""What a device says and hears: pages that come too late, what staff answer, commands; and who owns its outbox."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from messages import ULID, alert, validate
from scene import LADDER, RULE, face_at

from edge_agent.alerting.rules import RuleEngine
from edge_agent.alerting.thresholds import Thresholds
from edge_agent.alerting.tracker import Track
from edge_agent.config import Config, Hours, Mqtt, Outbox, Privacy, Rule, Tls
from edge_agent.delivery import verdicts
from edge_agent.delivery.messages import Ack, new_ulid, rfc3339
from edge_agent.delivery.opening import open_channel
from edge_agent.errors import ConfigError, StateError
from edge_agent.testing import FakeBus, FakeClock

SHOP = Hours("shop", {"mon-fri": ("09:00-18:00",)})


class Desk:
    """A kiosk without a camera: people are shown to the rules, messages go to a broker in memory."""

    def __init__(self, folder, rule: Rule = RULE, *, kept: bytes | None = None) -> None:
        config = Config(
            privacy=Privacy(notice_posted=True), rules=(rule,), hours=(SHOP,), outbox=Outbox(state_dir=folder)
        )
        self.clock, self.bus, self.heard = FakeClock(), FakeBus(), []
        self.rules = RuleEngine((rule,), ("angry",), thresholds={"angry": Thresholds(0.6, 0.4)}, new_id=new_ulid)
        self.channel = open_channel(
            config, rules=self.rules, info={}, alert_time_s=self.clock, stepped=lambda _: None,
            answered=lambda rule, *, false_alarm, people, again: self.heard.append((rule, false_alarm, people, again)),
            bus=self.bus, ask=lambda: kept, unix=self.clock, monotonic=self.clock, opens_s=lambda: 3600.0,
        )  # fmt: skip
        self.looks = 0

    def show(self, seconds: float, *people: int) -> None:
        for _ in range(round(10 * seconds)):
            self.clock.advance(0.1)
            now_s, self.looks = self.clock(), self.looks + 1
            angry = np.array([0.9], dtype=np.float32)
            tracks = [Track(n, face_at(100 * n), angry, self.looks, 0, now_s, now_s, "view") for n in people]
            self.channel.report(self.rules.update(tracks, now_s))
            self.turn()

    def turn(self) -> None:
        for event in self.bus.events():
            self.channel.handle(event)
        self.channel.pump()

    def answer(self, action: str, **options: int) -> None:
        [alert] = self.rules.open_alerts()
        payload = Ack(alert.id, action, "kim", **options).payload(unix_s=0)
        self.bus.receive(f"kiosk/v1/site/kiosk-1/ack/{alert.id}", payload)
        self.turn()

    def states(self) -> list[dict]:
        """Return what it said of itself; each is what the schema promises."""
        messages = [message for message in self.bus.published if message.topic.endswith("/state")]
        for message in messages:
            validate(message.payload)
        return [json.loads(message.payload) for message in messages]

    def told(self) -> list[tuple[str, int, int]]:
        bodies = [json.loads(message.payload) for message in self.bus.published if "/alert/0" in message.topic]
        return [(body["step"], body["revision"], body["people"]) for body in bodies]


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.bus.start()
    yield desk
    desk.channel.close()


def test_a_page_for_a_further_person_that_expired_is_told_and_sent_anew(desk):
    desk.show(1.2, 1)
    desk.answer("ack", revision=1)
    desk.bus.lose()
    desk.show(1.2, 1, 2)
    assert desk.told() == [("raised", 1, 1), ("acked", 2, 1)]
    desk.show(RULE.expiry_s + 1, 1, 2)
    desk.bus.start()
    desk.show(0.3, 1, 2)
    assert desk.told()[2:] == [("raised", 3, 2)]
    events = [json.loads(message.payload) for message in desk.bus.published if message.topic.endswith("/event")]
    assert [event["kind"] for event in events] == ["expired"]


def test_who_was_called_a_false_alarm_is_named_by_where_they_were(desk):
    desk.show(1.2, 1)
    desk.show(1.2, 1, 3)
    desk.answer("false_alarm", revision=2)
    [(rule, false_alarm, people, again)] = desk.heard
    assert (rule, false_alarm, again) == ("angry", True, False)
    assert [(track.id, track.face.x) for track in people] == [(1, 100), (3, 300)]


def test_an_answer_that_was_on_its_way_when_another_person_was_paged_for_changes_nothing(desk):
    desk.show(1.2, 1)
    desk.show(1.2, 1, 2)
    desk.answer("false_alarm", revision=1)
    assert desk.heard == []
    assert desk.told() == [("raised", 1, 1), ("raised", 2, 2)]
    desk.answer("resolve")
    assert desk.told()[2:] == [("cleared", 3, 2)]


@pytest.mark.parametrize(
    ("verb", "ok", "detail"),
    [
        ("ping", True, "pong"),
        ("snooze", True, "no new alert for 60 s"),
        ("selftest", False, "this is an exercise, not a device"),
        (
            "dance",
            False,
            "unknown command; there are ping, rebirth, snooze, answer, selftest, reload, activate, rollback",
        ),
    ],
)
def test_a_command_is_answered(desk, verb, ok, detail):
    body = {"schema": "command", "version": 1, "request_id": "r1", "snooze_s": 60}
    desk.bus.receive(f"kiosk/v1/site/kiosk-1/cmd/{verb}", json.dumps(body).encode())
    desk.turn()
    [answer] = [json.loads(message.payload) for message in desk.bus.published if message.topic.endswith("/rsp/r1")]
    assert (answer["ok"], answer["detail"]) == (ok, detail)


def test_a_rebirth_repeats_what_is_open(desk):
    desk.show(1.2, 1)
    desk.bus.published.clear()
    body = {"schema": "command", "version": 1, "request_id": "r1"}
    desk.bus.receive("kiosk/v1/site/kiosk-1/cmd/rebirth", json.dumps(body).encode())
    desk.turn()
    [alert] = desk.rules.open_alerts()
    below = [message.topic.removeprefix("kiosk/v1/site/kiosk-1/") for message in desk.bus.published]
    assert below == ["state", "info", "alert/active", f"alert/{alert.id}", "rsp/r1"]


KEPT = replace(RULE, hours="shop")


@pytest.fixture
def shop(tmp_path):
    shop = Desk(tmp_path, KEPT)
    shop.bus.start()
    yield shop
    shop.channel.close()


def test_the_state_says_when_the_hours_begin_and_end(shop):
    shop.turn()
    shop.rules.closed = frozenset({"shop"})
    shop.show(1)
    shop.rules.closed = frozenset()
    shop.show(1)
    assert [(state["state"], state["mode"], state.get("opens_at")) for state in shop.states()] == [
        ("online", "live", None), ("online", "closed", "1970-01-01T01:00:00.000Z"), ("online", "live", None),
    ]  # fmt: skip


def test_what_is_kept_back_is_counted_and_published_nowhere(shop):
    shop.rules.closed = frozenset({"shop"})
    shop.show(2, 1)
    assert (shop.told(), shop.channel.shadow_pages) == ([], 1)
    assert [message.topic for message in shop.bus.published if b'"ids": ["' in message.payload] == []
    shop.rules.closed = frozenset()
    shop.show(0.2, 1)
    shop.show(3)
    assert (shop.told(), shop.channel.shadow_pages) == ([("raised", 1, 1), ("cleared", 2, 1)], 1)


def test_who_was_kept_back_in_a_run_that_was_killed_is_paged_for_by_the_next_one(shop, tmp_path):
    shop.rules.closed = frozenset({"shop"})
    shop.show(2, 1)
    shop.channel.close()
    after = Desk(tmp_path, KEPT)
    after.channel.resume()
    after.bus.start()
    assert after.rules.open_alerts() == []
    after.show(1.5, 1)
    assert after.told() == [("raised", 1, 1)]
    after.channel.close()


def test_a_page_goes_on_over_the_end_of_the_hours_and_a_restart(shop, tmp_path):
    shop.show(2, 1)
    shop.rules.closed = frozenset({"shop"})
    shop.show(2, 1)
    shop.channel.close()
    after = Desk(tmp_path, KEPT)
    after.rules.closed = frozenset({"shop"})
    after.channel.resume()
    after.bus.start()
    after.show(2, 1)
    after.show(3)
    assert after.told() == [("cleared", 2, 1)]
    assert after.states()[-1]["mode"] == "closed"
    after.channel.close()


def open_here(folder, **options):
    config = Config(outbox=Outbox(state_dir=folder), mqtt=options.pop("mqtt", Mqtt()))
    rules = RuleEngine((), ("angry",), thresholds={}, new_id=new_ulid)
    return open_channel(config, rules=rules, info={}, alert_time_s=FakeClock(), stepped=lambda _: None, **options)


def test_a_channel_that_cannot_be_opened_leaves_outbox_and_broker_to_others(tmp_path):
    # Kept, or what it left open would be closed with the frames it holds.
    with pytest.raises(ConfigError, match=r"mqtt\.tls") as failure:
        open_here(tmp_path, mqtt=Mqtt(tls=Tls(enabled=True, ca_file=tmp_path / "nowhere.pem")))
    assert failure.tb is not None
    open_here(tmp_path).close()
    bus = FakeBus()
    bus.start()
    with pytest.raises(ZeroDivisionError):
        open_here(tmp_path, bus=bus, monotonic=lambda: 1 / 0)
    assert not bus.connected


def test_an_open_channel_owns_outbox_and_bus_until_it_is_closed(tmp_path):
    channel = open_here(tmp_path, bus=FakeBus())
    channel.bus.start()
    channel.tell("test", "waits")
    with pytest.raises(StateError, match="in use by another agent"):
        open_here(tmp_path)
    assert channel.close() == 1
    assert not channel.bus.connected
    assert open_here(tmp_path).close() == 1


def test_a_command_that_the_broker_kept_for_later_is_not_obeyed(desk):
    command = json.dumps({"schema": "command", "version": 1, "request_id": "r", "snooze_s": 600}).encode()
    for verb in ("ping", "snooze", "rebirth"):
        desk.bus.receive(f"kiosk/v1/site/kiosk-1/cmd/{verb}", command, retained=True)
    desk.turn()
    before = len(desk.bus.published)
    assert not any("/rsp/" in message.topic for message in desk.bus.published)
    desk.show(1.2, 1)
    assert desk.told() == [("raised", 1, 1)]  # nothing is snoozed
    desk.bus.receive("kiosk/v1/site/kiosk-1/cmd/ping", command)
    desk.turn()
    assert [m.topic for m in desk.bus.published[before:] if "/rsp/" in m.topic] == ["kiosk/v1/site/kiosk-1/rsp/r"]


def test_an_answer_whose_topic_names_another_alert_counts_for_neither(desk, caplog):
    desk.show(1.2, 1)
    [alert] = desk.rules.open_alerts()
    other = ULID
    for topic_id, payload_id in ((other, alert.id), (alert.id, other)):
        payload = Ack(payload_id, "resolve", "kim").payload(unix_s=0)
        desk.bus.receive(f"kiosk/v1/site/kiosk-1/ack/{topic_id}", payload)
        desk.turn()
        assert desk.rules.open_alerts() == [alert]
    assert caplog.text.count("ignored") == 2
    assert desk.told() == [("raised", 1, 1)]


def test_a_flood_of_answers_and_commands_neither_fills_the_log_nor_drowns_a_real_answer(desk, caplog):
    desk.show(1.2, 1)
    [alert] = desk.rules.open_alerts()
    device = "kiosk/v1/site/kiosk-1"
    for number in range(3000):
        foreign = f"{number:026d}"
        desk.bus.receive(f"{device}/ack/{foreign}", Ack(foreign, "resolve", "mallory").payload(unix_s=0))
        for verb in ("rebirth", "selftest", f"verb-{number}"):
            body = {"schema": "command", "version": 1, "request_id": "r"}
            desk.bus.receive(f"{device}/cmd/{verb}", json.dumps(body).encode())
    desk.bus.receive(f"{device}/ack/{alert.id}", Ack(alert.id, "resolve", "kim").payload(unix_s=0))
    command(desk, "snooze", snooze_s=60, by="kim")
    desk.turn()
    assert desk.told()[-1][0] == "cleared"
    assert replies(desk)[-1] == (True, "no new alert for 60 s")
    assert len(replies(desk)) < 20
    assert len(desk.bus.published) < 60
    assert caplog.text.count("ignored") == 2  # answers to nothing, commands that were too many


def test_a_page_that_nobody_is_subscribed_to_climbs_at_once_and_one_that_is_over_does_not(tmp_path, caplog):
    desk = Desk(tmp_path, replace(RULE, escalation=LADDER))
    desk.bus.start()
    desk.turn()
    desk.bus.reason = 16
    desk.show(1.5, 1)
    assert [step for step, *_ in desk.told()] == ["raised", "escalated", "escalated"]
    caplog.clear()
    desk.answer("resolve")
    desk.turn()
    assert [step for step, *_ in desk.told()][3:] == ["cleared"]
    assert "nobody is subscribed" not in caplog.text
    desk.channel.close()


def test_only_commands_that_there_are_are_obeyed(desk):
    details = {}
    for verb in ("ping", "snooze", "rebirth", "selftest", "reload", "explode", "reload/now", ""):
        body = {"schema": "command", "version": 1, "request_id": f"r-{verb[:3]}-{len(verb)}"}
        desk.bus.receive(f"kiosk/v1/site/kiosk-1/cmd/{verb}", json.dumps(body).encode())
        before = len(desk.bus.published)
        desk.turn()
        said = [m for m in desk.bus.published[before:] if m.topic.endswith(f"/rsp/{body['request_id']}")]
        details[verb] = [json.loads(message.payload)["detail"] for message in said]
    exercise = ["this is an exercise, not a device"]  # where nobody keeps a device up
    assert (details["ping"], details["selftest"], details["reload"]) == (["pong"], exercise, exercise)
    assert details["snooze"] == ["no new alert for 600 s"]
    assert "unknown command" in details["explode"][0]
    assert "unknown command" in details[""][0]
    assert details["reload/now"] == []


def test_what_the_next_run_must_know_is_renewed_while_an_alert_is_open_and_while_somebody_is_muted(desk, monkeypatch):
    monkeypatch.setattr("edge_agent.delivery.alerts._NOTE_S", 0.0)

    def noted() -> dict:
        return json.loads(desk.channel.relay.note("episodes"))

    desk.show(1.2, 1)
    assert noted()["mutes"] == []
    for _ in range(2):
        before = noted()["alerts"][0]["age_s"]
        desk.clock.advance(5)
        desk.turn()
        assert noted()["alerts"][0]["age_s"] == pytest.approx(before + 5)
    desk.answer("resolve")
    assert noted()["alerts"] == []
    before = noted()["mutes"][0][-1]
    desk.clock.advance(2)
    desk.turn()
    assert noted()["mutes"][0][-1] == pytest.approx(before - 2)


def states(desk) -> list[dict]:
    return [json.loads(message.payload) for message in desk.bus.published if message.topic.endswith("/state")]


def command(desk, verb: str, **values) -> None:
    body = {"schema": "command", "version": 1, "request_id": "r", **values}
    desk.bus.receive(f"kiosk/v1/site/kiosk-1/cmd/{verb}", json.dumps(body).encode())
    desk.turn()


def test_a_snooze_is_told_with_who_said_so_outlives_a_restart_and_can_be_lifted(tmp_path):
    desk = Desk(tmp_path)
    desk.bus.start()
    desk.turn()
    assert states(desk)[-1]["snoozed"] == []
    command(desk, "snooze", snooze_s=600, by="lee")
    [told] = states(desk)[-1]["snoozed"]
    assert (told["rule"], told["zone"], told["by"]) == ("", "", "lee")
    validate([message.payload for message in desk.bus.published if message.topic.endswith("/state")][-1])
    desk.channel.end(goes_on=True)
    desk.channel.close()

    again = Desk(tmp_path)
    again.channel.resume()
    again.bus.start()
    again.turn()
    assert [one["by"] for one in states(again)[-1]["snoozed"]] == ["lee"]
    again.show(1.2, 1)
    assert again.told() == []
    command(again, "snooze", snooze_s=0, by="kim")
    assert states(again)[-1]["snoozed"] == []
    again.show(0.3, 1)
    assert again.told() == [("raised", 1, 1)]
    again.channel.close()


def test_a_page_that_is_snoozed_names_its_rule_and_zone_until_the_time_is_over(desk):
    desk.bus.start()
    desk.show(1.2, 1)
    desk.answer("snooze", snooze_s=60)
    [told] = states(desk)[-1]["snoozed"]
    assert (told["rule"], told["zone"], told["by"]) == ("angry", "view", "kim")
    desk.clock.advance(61)
    desk.turn()
    assert states(desk)[-1]["snoozed"] == []


def replies(desk) -> list[tuple[bool, str]]:
    bodies = [json.loads(message.payload) for message in desk.bus.published if message.topic.endswith("/rsp/r")]
    return [(body["ok"], body["detail"]) for body in bodies]


def test_one_answer_to_all_open_pages_says_what_it_did(desk):
    def answer(action: str, **values) -> tuple[bool, str]:
        body = {"action": action, "by": "kim", "time": rfc3339(desk.clock()), **values}
        validate(json.dumps({"schema": "command", "version": 1, "request_id": "r", **body}).encode())
        command(desk, "answer", **body)
        return replies(desk)[-1]

    assert answer("ack") == (False, "no page is open")
    desk.show(1.2, 1)
    assert answer("ack") == (True, "1 of 1 open page answered: ack")
    assert answer("ack") == (True, "0 of 1 open page answered: ack")
    assert answer("on_my_way") == (True, "1 of 1 open page answered: on_my_way")
    assert answer("false_alarm", time=rfc3339(desk.clock() + 1).replace("Z", "+00:00"))[0]
    assert [step for step, *_ in desk.told()] == ["raised", "acked", "acked", "cleared"]
    assert [(rule, false_alarm) for rule, false_alarm, *_ in desk.heard] == [("angry", True)]


@pytest.mark.parametrize("off_s", [-31, 31])
def test_an_answer_to_all_open_pages_that_waited_on_its_way_changes_nothing(desk, off_s):
    desk.show(1.2, 1)
    command(desk, "answer", action="ack", by="kim", time=rfc3339(desk.clock() + off_s))
    [(ok, detail)] = replies(desk)
    assert not ok
    assert "31 s" in detail
    assert desk.told() == [("raised", 1, 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"action": "snooze"}, {"action": None}, {"action": ["ack"]}, {"by": ""}, {"by": None}, {"by": "x" * 65},
        {"time": None}, {"time": 1000}, {"time": "soon"}, {"time": "1970-01-01T00:16:41"}, {"time": "9" * 9999},
    ],
)  # fmt: skip
def test_an_answer_to_all_open_pages_that_is_none_changes_nothing(desk, change):
    desk.show(1.2, 1)
    command(desk, "answer", **{"action": "ack", "by": "kim", "time": rfc3339(desk.clock()), **change})
    assert replies(desk) == []
    assert desk.told() == [("raised", 1, 1)]


def test_a_page_that_was_damaged_while_it_waited_is_told_and_sent_anew(desk, tmp_path):
    desk.bus.lose()
    desk.show(1.2, 1)
    desk.channel.relay._outbox._db.execute("UPDATE message SET topic = 'kiosk/v1/site/kiosk-1/alerx'")
    before = len(desk.bus.published)
    desk.bus.start()
    for _ in range(3):
        desk.turn()
    topics = [message.topic.rpartition("/")[2] for message in desk.bus.published[before:]]
    assert "alerx" not in topics
    kinds = [json.loads(m.payload).get("kind") for m in desk.bus.published[before:] if m.topic.endswith("/event")]
    assert "message_damaged" in kinds
    assert desk.told()[-1] == ("raised", 1, 1)


class TestVerdictsAfterwards:
    def say(self, desk, alert_id: str, action: str) -> None:
        desk.bus.receive(f"kiosk/v1/site/kiosk-1/ack/{alert_id}", Ack(alert_id, action, "kim").payload(unix_s=0))
        desk.turn()

    def end_by_itself(self, desk) -> str:
        desk.show(1.2, 1)
        [alert] = desk.rules.open_alerts()
        desk.show(30)
        assert desk.rules.open_alerts() == []
        return alert.id

    def test_what_is_said_of_an_alert_that_is_over_counts_once(self, desk):
        alert_id = self.end_by_itself(desk)
        for _ in range(3):
            self.say(desk, alert_id, "false_alarm")
        assert desk.heard == [("angry", True, (), False)]
        steps = desk.told()
        self.say(desk, alert_id, "resolve")  # they think better of it
        assert desk.heard[1:] == [("angry", False, (), True)]
        self.say(desk, alert_id, "ack")
        self.say(desk, "0" * 26, "false_alarm")  # nobody's
        assert len(desk.heard) == 2
        assert desk.told() == steps

    def test_what_was_said_while_it_was_open_is_not_counted_twice(self, desk):
        desk.show(1.2, 1)
        [alert] = desk.rules.open_alerts()
        desk.answer("resolve")
        self.say(desk, alert.id, "resolve")
        assert [again for *_, again in desk.heard] == [False]
        self.say(desk, alert.id, "false_alarm")
        assert desk.heard[1:] == [("angry", True, (), True)]

    def test_the_next_run_knows_what_is_over_and_what_was_said(self, desk, tmp_path):
        first = self.end_by_itself(desk)
        self.say(desk, first, "false_alarm")
        second = self.end_by_itself(desk)
        desk.channel.close()
        again = Desk(tmp_path)
        again.bus.start()
        again.turn()
        self.say(again, first, "false_alarm")
        assert again.heard == []
        self.say(again, second, "resolve")
        assert again.heard == [("angry", False, (), False)]
        again.channel.close()

    def test_only_the_latest_are_remembered_and_a_damaged_note_is_none(self, desk, tmp_path):
        relay = desk.channel.relay
        kept = verdicts.Verdicts(relay)
        kept.end([alert(id=f"{n:026d}", step="cleared") for n in range(verdicts.MAX_OVER + 1)])
        again = verdicts.Verdicts(relay)
        assert again.say(f"{0:026d}", "resolve") is None
        assert again.say(f"{1:026d}", "resolve") == ("r", False)
        for damaged in ("[]", "{", '{"a": 1}', '{"a": [1, 2, 3]}'):
            relay.write_note("over", damaged)
            assert verdicts.Verdicts(relay).say(f"{1:026d}", "resolve") is None
