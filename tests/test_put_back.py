"""A state folder that was put back to an earlier moment, or lost its last writes: what the broker keeps says more."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace

import pytest
from conftest import PATIENCE_S
from messages import alert, composer, validate
from scene import LADDER, RULE
from test_channel import Desk

from edge_agent.config import Config, Mqtt, Site
from edge_agent.delivery.bus import Connected, PublishResult, Received
from edge_agent.delivery.episodes import Episodes, Now, corrected
from edge_agent.delivery.messages import Ack, Message, Topics
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.delivery.retained import ask
from edge_agent.testing import free_port


def kept(desk: Desk) -> bytes:
    """Return what the broker keeps of the device's open alerts, which is what the schema promises."""
    payload = [message.payload for message in desk.bus.published if message.topic.endswith("/alert/active")][-1]
    validate(payload)
    return payload


class Kiosk:
    """One kiosk over several runs; a copy of its state folder can be put back."""

    def __init__(self, folder) -> None:
        self.folder, self.copy = folder / "state", folder / "copy"
        self.desk = self._start()

    def _start(self, **options) -> Desk:
        desk = Desk(self.folder, **options)
        desk.channel.resume()
        desk.bus.start()
        desk.turn()
        return desk

    def back_up(self) -> None:
        shutil.copytree(self.folder, self.copy)

    def killed(self, broker_keeps: bytes | None, *, put_back: bool = False, **options) -> Desk:
        """End the run as a kill would, and return the next one."""
        self.desk.channel.close()
        if put_back:
            shutil.rmtree(self.folder)
            shutil.copytree(self.copy, self.folder)
        self.desk = self._start(kept=broker_keeps, **options)
        return self.desk

    @property
    def open(self) -> list[tuple[str, str, int]]:
        return [(alert.id, alert.step, alert.revision) for alert in self.desk.rules.open_alerts()]


@pytest.fixture
def kiosk(tmp_path):
    kiosk = Kiosk(tmp_path)
    yield kiosk
    kiosk.desk.channel.close()


def test_what_staff_resolved_is_not_opened_again_and_who_is_still_upset_is_paged_for(kiosk):
    kiosk.desk.show(1.2, 1)
    [(resolved, *_)] = kiosk.open
    kiosk.back_up()
    kiosk.desk.answer("resolve")
    before = json.loads(kept(kiosk.desk))
    after = kiosk.killed(kept(kiosk.desk), put_back=True)
    assert kiosk.open == []
    said = json.loads(kept(after))
    assert said["ids"] == []
    assert said["sequence"] > before["sequence"]  # or the next start would believe the old list
    after.show(1.2, 1)
    assert after.told() == [("raised", 1, 1)]
    assert kiosk.open[0][0] != resolved


def test_what_staff_say_afterwards_of_an_alert_that_is_over_counts(kiosk):
    kiosk.desk.show(1.2, 1)
    kiosk.back_up()
    [(resolved, *_)] = kiosk.open
    kiosk.desk.answer("ack")
    kiosk.desk.show(3)
    after = kiosk.killed(kept(kiosk.desk), put_back=True)
    after.bus.receive(f"kiosk/v1/site/kiosk-1/ack/{resolved}", Ack(resolved, "false_alarm", "kim").payload(unix_s=0))
    after.turn()
    assert after.heard == [("angry", True, (), False)]


def test_it_stays_resolved_when_the_broker_is_away_at_the_start_after(kiosk):
    kiosk.desk.show(1.2, 1)
    kiosk.back_up()
    kiosk.desk.answer("resolve")
    kiosk.killed(kept(kiosk.desk), put_back=True)
    kiosk.killed(None)
    assert kiosk.open == []


def test_an_alert_goes_on_at_the_step_that_pagers_know(kiosk):
    kiosk.desk.show(1.2, 1)
    kiosk.back_up()
    [(alert_id, *_)] = kiosk.open
    kiosk.desk.show(1.2, 1, 2)
    kiosk.desk.answer("ack")
    after = kiosk.killed(kept(kiosk.desk), put_back=True)
    assert kiosk.open == [(alert_id, "acked", 3)]
    after.show(1.5, 1, 2)
    after.show(3)
    assert after.told() == [("cleared", 4, 2)]


def test_an_alert_that_the_folder_has_forgotten_goes_on_and_pages_nobody_again(kiosk):
    kiosk.desk.show(0.1)
    kiosk.back_up()
    kiosk.desk.show(1.2, 1)
    [(alert_id, *_)] = kiosk.open
    raised_at = json.loads(kept(kiosk.desk))["alerts"][0]["raised_at"]
    after = kiosk.killed(kept(kiosk.desk), put_back=True)
    after.show(3, 1)
    assert after.told() == []
    assert kiosk.open == [(alert_id, "raised", 1)]
    after.show(3)
    assert after.told() == [("cleared", 2, 1)]
    [cleared] = [json.loads(m.payload) for m in after.bus.published if m.topic.endswith(alert_id)]
    assert cleared["raised_at"] == raised_at


def test_the_ladder_of_a_forgotten_alert_goes_on_where_it_was(tmp_path):
    kiosk = Kiosk(tmp_path)
    kiosk.desk.channel.close()
    kiosk.back_up()
    kiosk.desk = Desk(kiosk.folder, replace(RULE, escalation=LADDER))
    kiosk.desk.bus.start()
    kiosk.desk.show(1.2, 1)
    kiosk.desk.show(5, 1)
    kiosk.desk.channel.report(kiosk.desk.rules.escalate_due(kiosk.desk.clock()))
    kiosk.desk.turn()
    after = kiosk.killed(kept(kiosk.desk), put_back=True, rule=replace(RULE, escalation=LADDER))
    [alert] = after.rules.open_alerts()
    assert (alert.step, alert.groups) == ("escalated", ("staff", "manager"))
    assert after.rules.escalate_due(after.clock()) == []
    assert [step.level for step in after.rules.escalate_due(after.clock() + 7.5)] == [2]
    kiosk.desk.channel.close()


def test_whom_a_closed_group_was_left_out_of_is_known_from_the_broker():
    rule = replace(RULE, escalation=LADDER)
    listed = composer().active([alert(rule=rule, level=1, left_out=(0,))], sequence=1).payload
    nothing = Episodes((), {}, (), {})
    found = corrected(nothing, [], listed, (rule,), now=Now(100.0, 1_800_000_004.0, "another boot", 5.0))
    assert found is not None
    [goes_on], over = found[0].alerts, found[1]
    assert (goes_on.groups, goes_on.severity, over) == (("manager",), "critical", [])


def test_a_page_that_the_broker_was_not_told_of_before_the_kill_goes_on(kiosk):
    before = kept(kiosk.desk)
    kiosk.desk.show(1.2, 1)
    [opened] = kiosk.open
    after = kiosk.killed(before)
    assert kiosk.open == [opened]
    after.show(3, 1)
    assert after.told() == []


def test_an_end_that_the_broker_was_not_told_of_before_the_kill_stays_one(kiosk):
    kiosk.desk.show(1.2, 1)
    before = kept(kiosk.desk)
    kiosk.desk.answer("resolve")
    kiosk.killed(before)
    assert kiosk.open == []


def test_what_was_open_when_nobody_watched_for_long_is_over(kiosk, monkeypatch):
    kiosk.desk.show(0.1)
    kiosk.back_up()
    kiosk.desk.show(1.2, 1)
    monkeypatch.setattr("edge_agent.delivery.episodes.MAX_GAP_S", -1.0)
    after = kiosk.killed(kept(kiosk.desk), put_back=True)
    assert after.told() == [("cleared", 2, 1)]


def changed(payload: bytes, **values) -> bytes:
    return json.dumps({**json.loads(payload), **values}).encode()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: None,
        lambda _: b"",
        lambda _: b"[]",
        lambda kept: changed(kept, sequence="many"),
        lambda kept: changed(kept, sequence=2**70),
        lambda kept: changed(kept, sequence=True),
        lambda kept: changed(kept, ids=None),
        lambda kept: changed(kept, ids=[{}]),
        lambda kept: changed(kept, time="soon"),
        lambda kept: changed(kept, alerts=[{}]),
        lambda kept: changed(kept, ids=["0" * 26], alerts=[{"id": "0" * 26, "raised_at": "1970-01-01T00:16:41.000Z"}]),
        lambda kept: json.dumps({k: v for k, v in json.loads(kept).items() if k != "sequence"}).encode(),
    ],
)
def test_a_broker_that_says_nothing_or_nonsense_changes_nothing(kiosk, spoil):
    kiosk.desk.show(1.2, 1)
    kiosk.back_up()
    opened = kiosk.open
    kiosk.desk.answer("resolve")
    kiosk.killed(spoil(kept(kiosk.desk)), put_back=True)
    assert kiosk.open == opened


class TestAsking:
    @pytest.fixture
    def settings(self, broker, site):
        return Config(mqtt=Mqtt(port=broker.port), site=Site(name=site))

    def put(self, settings: Config, payload: bytes) -> None:
        topic = Topics(settings.mqtt, site=settings.site.name, device=settings.site.device)("alert/active")
        bus = MqttBus(settings.mqtt, client_id=f"{settings.site.name}-put", password=None, subscriptions=())
        bus.start()
        assert bus.wait_for(lambda event: isinstance(event, Connected), PATIENCE_S)
        bus.publish(Message(topic, payload, retain=True))
        bus.wait_for(lambda event: isinstance(event, PublishResult), PATIENCE_S)
        bus.stop()

    @pytest.mark.parametrize("protocol", ["5", "3.1.1"])
    def test_what_the_broker_keeps_is_told(self, settings, protocol):
        self.put(settings, b"open")
        settings = replace(settings, mqtt=replace(settings.mqtt, protocol=protocol))
        assert ask(settings) == b"open"

    def test_a_broker_that_keeps_nothing_or_is_away_holds_up_no_start(self, settings):
        started_s = time.monotonic()
        assert ask(settings) is None
        assert ask(replace(settings, mqtt=Mqtt(port=free_port()))) is None
        assert time.monotonic() - started_s < 4

    def test_asking_takes_no_answer_that_waits_for_the_device(self, settings):
        topics = Topics(settings.mqtt, site=settings.site.name, device=settings.site.device)

        def connect(name: str, *subscriptions: str) -> MqttBus:
            bus = MqttBus(settings.mqtt, client_id=name, password=None, subscriptions=subscriptions)
            bus.start()
            assert bus.wait_for(lambda event: isinstance(event, Connected), PATIENCE_S)
            return bus

        device = f"{settings.site.name}/{settings.site.device}"
        connect(device, *topics.answers).stop()
        staff = connect(f"{device}-staff")
        staff.publish(Message(topics("ack", "1"), b"resolve"))
        staff.wait_for(lambda event: isinstance(event, PublishResult), PATIENCE_S)
        staff.stop()
        ask(settings)
        again = connect(device, *topics.answers)
        assert again.wait_for(lambda event: isinstance(event, Received), PATIENCE_S)
        again.stop()
