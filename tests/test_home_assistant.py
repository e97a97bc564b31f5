"""Home Assistant: what is announced, what its own schemas say of it, and the whole of it beside a real kiosk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from datetime import datetime

import pytest
from conftest import PATIENCE_S, REPOSITORY
from messages import validate

from edge_agent.config import Config, HomeAssistant, Site
from edge_agent.delivery.home_assistant import discovery
from edge_agent.delivery.messages import Topics, parse_object, parse_snooze
from edge_agent.testing import angry_frames

#: A Python with Home Assistant, made by `make test-home-assistant`.
HOME_ASSISTANT = os.environ.get("HOME_ASSISTANT_PYTHON")
needs_home_assistant = pytest.mark.skipif(HOME_ASSISTANT is None, reason="make test-home-assistant runs this")
#: Those that say what is known when the kiosk is gone, and those that mean nothing then.
READABLE = {"upset", "connection", "state", "satisfied", "page", "reply"}
ONLY_WHILE_THERE = {"people", "snooze", "ack", "on_my_way", "resolve", "false_alarm"}


def announced(**site) -> dict[str, tuple[str, dict]]:
    """Return name → topic and announcement."""
    config = Config(site=Site(**site), home_assistant=HomeAssistant(enabled=True))
    topics = Topics(config.mqtt, site=config.site.name, device=config.site.device)
    messages = discovery(config, topics, version="1.0")
    return {message.topic.split("/")[3]: (message.topic, json.loads(message.payload)) for message in messages}


def test_a_device_announces_its_entities(edge_agent, listen, site, write_config):
    prefix = f"homeassistant-{site}"
    listener = listen(f"{prefix}/#")
    edge_agent("run", "--config", write_config(home_assistant={"enabled": True, "prefix": prefix}))
    found = {}
    for name in READABLE | ONLY_WHILE_THERE:
        message = listener.wait_for(lambda m, name=name: m.topic.endswith(f"/{name}/config"))
        found[name] = json.loads(message.payload)
        _, component, node, *_ = message.topic.split("/")
        assert node.replace("_", "").isalnum()
        assert found[name]["default_entity_id"] == f"{component}.{node}_{name}".lower()
    assert len({entity["unique_id"] for entity in found.values()}) == len(found)
    assert len({json.dumps(entity["device"]) for entity in found.values()}) == 1
    press = found["snooze"]["payload_press"].encode()
    assert parse_snooze(parse_object(press, schema="command")) == 600


def test_what_is_known_stays_readable_when_the_kiosk_is_gone():
    available = {name: "availability" in body for name, (_, body) in announced().items()}
    assert available == dict.fromkeys(READABLE, False) | dict.fromkeys(ONLY_WHILE_THERE, True)


def test_two_devices_are_two_even_where_their_names_look_alike():
    one, other = (announced(name=name, device="c").values() for name in ("a.b", "a_b"))
    for key in ("unique_id", "default_entity_id"):
        assert not {body[key] for _, body in one} & {body[key] for _, body in other}


def automations() -> list[str]:
    """Return those of the page about Home Assistant."""
    page = (REPOSITORY / "docs" / "home-assistant.md").read_text()
    return [block for block in re.findall(r"```yaml\n(.*?)```", page, re.S) if block.startswith("alias:")]


class House:
    """A running Home Assistant."""

    def __init__(self, port: int, prefix: str) -> None:
        script = (REPOSITORY / "tests" / "home_assistant.py").read_text()
        self.process = subprocess.Popen(
            [HOME_ASSISTANT, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        #: Name of an entity → what Home Assistant shows of it now.
        self.entities: dict[str, dict] = {}
        self.notifications: list[dict] = []
        self.dropped: list[str] | None = None
        self.arrived = threading.Condition()
        self.tell(port=port, prefix=prefix, automations=automations())
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            said = json.loads(line)
            with self.arrived:
                if "entity" in said:
                    name = re.sub(r".*\.(edge_agent_.*_[0-9a-f]{6}_)?", "", said["entity"])
                    self.entities[name] = said
                elif "notification" in said:
                    self.notifications.append(said["notification"])
                else:
                    self.dropped = said["dropped"]
                self.arrived.notify_all()

    def tell(self, **command) -> None:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def press(self, button: str) -> None:
        self.tell(press=self.entities[button]["entity"])

    def wait_until(self, **states: str) -> None:
        def shown() -> dict:
            return {name: self.entities.get(name, {}).get("state") for name in states}

        with self.arrived:
            if not self.arrived.wait_for(lambda: shown() == states, PATIENCE_S):
                pytest.fail(f"{shown()} did not become {states}")

    def notified(self, number: int) -> dict:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.notifications) >= number, PATIENCE_S)
        return self.notifications[number - 1]

    def stop(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.reader.join()
            self.process.stdout.close()


@pytest.fixture
def house(broker, site):
    house = House(broker.port, f"homeassistant-{site}")
    yield house
    house.stop()


@needs_home_assistant
def test_home_assistants_own_schemas_know_every_key(house):
    house.tell(announced=list(announced().values()))
    with house.arrived:
        assert house.arrived.wait_for(lambda: house.dropped is not None, PATIENCE_S)
    assert house.dropped == []


@needs_home_assistant
def test_a_page_is_answered_from_the_phone_and_by_a_button_and_outlives_its_kiosk(
    house, edge_agent, listen, site, write_config, tmp_path
):
    def kiosk():
        return edge_agent("run", "--config", config)

    config = write_config(
        camera={"device": str(angry_frames(tmp_path / "angry")), "loop": True},
        home_assistant={"enabled": True, "prefix": f"homeassistant-{site}"},
    )
    listener = listen(f"kiosk/v1/{site}/#")
    house.wait_until(upset_customer_to_the_phone="on", upset_customer_answered_on_the_phone="on")
    first = kiosk()
    house.wait_until(connection="on", state="online", upset="on")
    raised = listener.wait_for_json("/alert/0", step="raised")
    [page] = house.entities["upset"]["attributes"]["pages"]
    assert (page["id"], page["place"]) == (raised["id"], "till")

    shown = house.notified(1)
    assert (shown["title"], shown["message"]) == ("Please send assistance", "till")
    [on_my_way] = [one["action"] for one in shown["data"]["actions"] if one["title"] == "On my way"]
    house.tell(tap=on_my_way)
    acked = listener.wait_for_json("/alert/0", step="acked")
    assert (acked["by"], acked["reason"]) == ("Kim", "on_my_way")
    for body in listener.bodies("/ack/"):
        assert body["revision"] == raised["revision"]
        validate(json.dumps(body).encode())
    taken_back = house.notified(2)
    assert (taken_back["message"], taken_back["data"]["tag"]) == ("clear_notification", shown["data"]["tag"])

    # It hangs: the broker does not know yet, but there are no signs of life.
    first.send_signal(signal.SIGSTOP)
    house.wait_until(connection="off", state="online")
    first.kill()
    house.wait_until(connection="off", state="offline", upset="on", people="unavailable", on_my_way="unavailable")
    assert house.entities["page"]["attributes"]["event_type"] == "acked"
    datetime.fromisoformat(house.entities["page"]["state"])

    kiosk()
    house.wait_until(connection="on", state="online", upset="on", false_alarm="unknown")
    house.press("false_alarm")
    cleared = listener.wait_for_json("/alert/0", step="cleared")
    assert (cleared["id"], cleared["by"], cleared["reason"]) == (raised["id"], "Home Assistant", "false_alarm")
    house.wait_until(upset="off", reply="1 of 1 open page answered: false_alarm")
    house.press("ack")
    house.wait_until(reply="no page is open")
