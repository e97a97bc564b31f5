"""A pager, told what to think by a bus that does as told: each step once, no answer lost."""

from __future__ import annotations

import json
import re
import threading

import paho.mqtt.publish as publish
import pytest
from conftest import PATIENCE_S
from messages import ULID, alert, composer

from edge_agent.config import Mqtt
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.pager.client import ANSWER_AGAIN_S, ASK_S, GIVE_UP_S, Pager
from edge_agent.pager.duty import Duty
from edge_agent.pager.news import Link, Nonsense, Refusal
from edge_agent.pager.page import Page
from edge_agent.testing import FakeBus, FakeClock


def test_a_pager_shows_each_step_once_and_keeps_its_answer_until_the_broker_is_back(site):
    bus = FakeBus()
    clock = FakeClock()
    pager = Pager(bus, name="kim", unix=lambda: 0.0, monotonic=clock)
    topic = f"kiosk/v1/{site}/kiosk-1/alert/{ULID}"
    body = {
        "schema": "alert", "version": 1, "session": ULID, "id": ULID, "revision": 1, "step": "raised",
        "severity": "warning", "groups": ["staff"],
        "message": "help\x1b[2J", "place": "till", "zone": "view", "site": site, "device": "kiosk-1",
        "emotions": ["angry"], "score": 0.8, "by": "", "reason": "", "future": 1,
    }  # fmt: skip
    bus.start()
    bus.receive(topic, json.dumps(body).encode())
    bus.receive(topic, json.dumps(body).encode())
    bus.receive(topic, b"junk")
    bus.receive(topic.replace(ULID, "active"), b"{}", retained=True)
    link, page, nonsense = pager.poll()
    assert isinstance(link, Link)
    assert (type(nonsense), nonsense.topic) == (Nonsense, topic)
    assert isinstance(page, Page)
    assert page.message == "help?[2J"
    bus.lose()
    pager.act(page, "ack")
    assert bus.published == []
    bus.start()
    pager.poll()
    [message] = bus.published
    assert message.topic == f"kiosk/v1/{site}/kiosk-1/ack/{ULID}"
    assert json.loads(message.payload)["by"] == "kim"
    for strange in (
        {"revision": 1e999},
        {"id": "a+b"},
        {"score": "high"},
        {"emotions": 3},
        {"session": None, "id": "#"},
    ):
        bus.receive(topic, json.dumps({**body, "revision": 2, **strange}).encode())
    assert pager.poll() == []
    active = {"schema": "active", "version": 1, "session": "the run after a power cut", "ids": []}
    bus.receive(topic.replace(ULID, "active"), json.dumps(active).encode())
    assert pager.poll() == []
    clock.advance(GIVE_UP_S)
    [ended] = pager.poll()
    assert (ended.step, ended.reason, pager.open) == ("cleared", "stopped", {})


@pytest.mark.parametrize("kept", [True, False])
def test_a_pager_whose_link_was_down_says_whether_the_broker_kept_what_came(kept):
    bus = FakeBus()
    bus.keeps_session = kept
    pager = Pager(bus, name="kim")
    bus.start()
    assert pager.poll() == [Link("")]
    bus.lose("gone")
    bus.start()
    assert pager.poll() == [Link("gone"), Link("", forgotten=not kept)]


def test_a_pager_asks_for_more_as_soon_as_it_has_taken_in_what_the_broker_sent_ahead(broker, site):
    at_once = 20  # mosquitto's max_inflight_messages
    woken = threading.Semaphore(0)
    topic = f"kiosk/v1/{site}/kiosk-1"
    bus = MqttBus(
        Mqtt(port=broker.port), client_id=f"{site}-pager", password=None, subscriptions=[f"{topic}/alert/+"],
        wake=woken.release,
    )  # fmt: skip
    pager = Pager(bus, name="kim")
    bus.start()
    assert woken.acquire(timeout=PATIENCE_S)
    pager.poll()
    body = json.loads(composer().alert(alert()).payload)
    ids = [f"{number:026d}" for number in range(2 * at_once)]
    publish.multiple(
        [(f"{topic}/alert/{one}", json.dumps({**body, "id": one}), 1, False) for one in ids],
        hostname=broker.host, port=broker.port,
    )  # fmt: skip
    while len(pager.open) < len(ids):
        assert woken.acquire(timeout=PATIENCE_S), f"{len(pager.open)} of {len(ids)} came"
        pager.poll()
    bus.stop()
    assert sorted(pager.open) == ids


def test_an_answer_that_a_device_missed_is_sent_again_when_it_is_back(site):
    bus, clock = FakeBus(), FakeClock(100)
    pager = Pager(bus, name="kim", monotonic=clock)
    device = f"kiosk/v1/{site}/kiosk-1"
    bus.start()
    raised = composer().alert(alert(revision=1)).payload
    bus.receive(f"{device}/alert/{ULID}", raised)
    page = next(item for item in pager.poll() if isinstance(item, Page))
    pager.act(page, "ack")
    active = json.dumps({"schema": "active", "version": 1, "session": ULID, "ids": [ULID]}).encode()

    def answers_after_the_device_said_so() -> int:
        clock.advance(ANSWER_AGAIN_S)
        bus.receive(f"{device}/alert/active", active)
        pager.poll()
        return sum("/ack/" in message.topic for message in bus.published)

    bus.receive(f"{device}/alert/active", active)
    pager.poll()
    assert len(bus.published) == 1
    assert answers_after_the_device_said_so() == 2
    bus.receive(f"{device}/alert/{ULID}", composer().alert(alert(revision=2, step="acked")).payload)
    pager.poll()
    assert answers_after_the_device_said_so() == 2


@pytest.mark.parametrize("score", ["NaN", "1e999", "-Infinity"])
def test_a_page_that_no_browser_could_read_is_none(site, score):
    bus = FakeBus()
    pager = Pager(bus, name="kim")
    bus.start()
    payload = re.sub(rb'"score": [0-9.]+', b'"score": ' + score.encode(), composer().alert(alert()).payload)
    assert score.encode() in payload
    bus.receive(f"kiosk/v1/{site}/kiosk-1/alert/{ULID}", payload)
    assert not any(isinstance(item, Page) for item in pager.poll())
    assert pager.open == {}


def test_a_pager_asks_for_alerts_it_never_saw_and_says_when_it_may_not_answer(site):
    bus, clock = FakeBus(), FakeClock(100)
    pager = Pager(bus, name="kim", monotonic=clock)
    device = f"kiosk/v1/{site}/kiosk-1"
    active = json.dumps({"schema": "active", "version": 1, "session": ULID, "ids": [ULID]}).encode()
    bus.start()
    for _ in range(3):
        bus.receive(f"{device}/alert/active", active)
        pager.poll()
    clock.advance(ASK_S)
    bus.receive(f"{device}/alert/active", active)
    pager.poll()
    assert [message.topic for message in bus.published] == [f"{device}/cmd/rebirth"] * 2
    body = {
        "schema": "alert", "version": 1, "session": ULID, "id": ULID, "severity": "warning", "message": "help",
        "place": "till", "zone": "view", "site": site, "device": "kiosk-1", "emotions": ["angry"], "score": 0.8,
        "by": "", "reason": "", "revision": 3, "step": "escalated", "groups": ["staff"],
    }  # fmt: skip
    bus.receive(f"{device}/alert/{ULID}", json.dumps(body).encode())
    [page] = pager.poll()
    assert isinstance(page, Page)
    bus.reason = 135
    pager.act(page, "ack")
    assert pager.poll() == [Refusal(f"{device}/ack/{ULID}")]


def test_a_pager_of_one_group_shows_what_that_group_is_paged_with(site):
    bus = FakeBus()
    pager = Pager(bus, name="max", duty=Duty(groups=frozenset({"manager"})))
    bus.start()
    body = {
        "schema": "alert", "version": 1, "session": ULID, "id": ULID, "severity": "warning", "message": "help",
        "place": "till", "zone": "view", "site": site, "device": "kiosk-1", "emotions": ["angry"], "score": 0.8,
        "by": "", "reason": "",
    }  # fmt: skip
    shown = []
    for revision, (step, groups) in enumerate(
        (("raised", ["staff"]), ("escalated", ["staff", "manager"]), ("acked", ["staff", "manager"])), start=1
    ):
        message = {**body, "revision": revision, "step": step, "groups": groups}
        bus.receive(f"kiosk/v1/{site}/kiosk-1/alert/{ULID}", json.dumps(message).encode())
        shown += [item.step for item in pager.poll() if isinstance(item, Page)]
    assert shown == ["escalated", "acked"]
