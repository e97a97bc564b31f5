"""A device that is gone for good: nothing of it stays at the broker, and pagers forget it."""

from __future__ import annotations

import dataclasses
import json
import time

import paho.mqtt.publish as publish
import pytest
from conftest import PATIENCE_S
from messages import ULID, alert

from edge_agent.config import Config, HomeAssistant, Mqtt, Privacy, Site
from edge_agent.delivery.home_assistant import discovery
from edge_agent.delivery.messages import Composer, Topics
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.pager.client import TOPICS, Pager

DEVICE = "till-2"


@pytest.fixture
def prefix(site) -> str:
    return f"homeassistant-{site}"


def left_behind(broker, site, prefix, *, state: str = "offline", device: str = DEVICE) -> list[str]:
    """Leave what a device of this version leaves, and what another one might; return the topics."""
    config = Config(
        site=Site(name=site, device=device),
        mqtt=Mqtt(port=broker.port),
        privacy=Privacy(notice_posted=True),
        home_assistant=HomeAssistant(enabled=True, prefix=prefix),
    )
    composer = Composer(config, session=ULID, unix=time.time, monotonic=time.monotonic)
    topics = Topics(config.mqtt, site=site, device=device)
    messages = [
        composer.state(state),
        composer.health({"state": "online"}),
        composer.info({"model": "fer"}),
        composer.active([alert()] if device == DEVICE else [], sequence=1),
        *discovery(config, topics, version="1.0"),
    ]
    messages.append(dataclasses.replace(messages[0], topic=topics("tomorrow", "s")))
    publish.multiple(
        [(message.topic, message.payload, 1, True) for message in messages], hostname="127.0.0.1", port=broker.port
    )
    return sorted(message.topic for message in messages)


@pytest.fixture
def command(run_command, broker, prefix, tmp_path):
    """Retires a device as a user of the configuration's prefix."""
    (tmp_path / "staff.yaml").write_text(json.dumps({"home_assistant": {"prefix": prefix}}))

    def run(name: str, *options: str, port: int | None = None):
        where = ("--config", tmp_path / "staff.yaml", "--port", port or broker.port)
        return run_command(
            "retire",
            name,
            *where,
            *options,
        )

    return run


def kept(listen, *filters: str) -> set[str]:
    """Return the topics below filters on which the broker keeps something."""
    found = set()
    for topic in filters:
        listener = listen(topic)
        listener.client.publish(mark := f"mark/{time.time_ns()}", "x")
        listener.client.subscribe(mark, qos=1)
        listener.client.publish(mark, "x", qos=1)
        listener.wait_for(lambda m, mark=mark: m.topic == mark)
        found |= {m.topic for m in listener.messages if m.retain and m.payload}
    return found


def test_nothing_of_a_retired_device_is_left_and_pagers_forget_it(command, broker, listen, site, prefix):
    topics = left_behind(broker, site, prefix)
    left_behind(broker, site, prefix, device="till-3")
    subscriptions = [f"kiosk/v1/{site}/+/{topic}" for topic in TOPICS]
    bus = MqttBus(
        Mqtt(port=broker.port),
        client_id=f"pager-{site}",
        password=None,
        subscriptions=subscriptions,
        keep_session=False,
    )
    pager = Pager(bus, name="kim")
    bus.start()

    def shown(*devices: str) -> bool:
        pager.poll()
        return {kiosk.name for kiosk in pager.kiosks.all()} == {f"{site}/{device}" for device in devices}

    wait_until(lambda: shown(DEVICE, "till-3") and len(pager.open) == 1)
    result = command(f"{site}/{DEVICE}", "--yes")
    assert result.code == 0, result.err
    assert all(topic in result.out for topic in topics)
    assert f"removed {len(topics)} messages" in result.out
    wait_until(lambda: shown("till-3") and not pager.open)
    filters = (f"kiosk/v1/{site}/#", f"{prefix}/#")
    assert not kept(listen, *filters) & set(topics)
    assert f"kiosk/v1/{site}/till-3/state" in kept(listen, *filters)
    again = command(f"{site}/{DEVICE}", "--yes")
    assert (again.code, again.out) == (1, "")
    assert f"keeps nothing of {site}/{DEVICE}" in again.one_line_error()
    bus.stop()


def test_a_device_that_is_there_is_not_retired_by_mistake(command, broker, listen, site, prefix):
    topics = left_behind(broker, site, prefix, state="degraded")
    refused = command(f"{site}/{DEVICE}", "--yes")
    assert refused.code == 1
    assert "--force" in refused.one_line_error()
    assert set(topics) <= kept(listen, f"kiosk/v1/{site}/#", f"{prefix}/#")
    unasked = command(f"{site}/{DEVICE}", "--force")
    assert unasked.code == 2
    assert "--yes" in unasked.one_line_error()
    assert command(f"{site}/{DEVICE}", "--yes", "--force").code == 0
    assert not kept(listen, f"kiosk/v1/{site}/#", f"{prefix}/#")


def test_a_user_who_may_not_is_told_so(command, start_mosquitto, site, prefix, tmp_path):
    rules = tmp_path / "rules.acl"
    rules.write_text("topic readwrite #\n")
    guarded = start_mosquitto("allow_anonymous true", f"acl_file {rules}")
    left_behind(guarded, site, prefix)
    rules.write_text("topic read #\n")
    guarded.process.send_signal(1)  # SIGHUP: read the rules anew
    result = command(f"{site}/{DEVICE}", "--yes", port=guarded.port)
    assert result.code == 5
    assert "check its access rules" in result.one_line_error()


@pytest.mark.parametrize("name", ["till-2", "a/b/c", "+/till-2", "shop/#"])
def test_only_one_device_is_retired_at_a_time(command, name):
    result = command(name, "--yes")
    assert result.code == 2
    assert "SITE/DEVICE" in result.one_line_error()


def wait_until(holds) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)
