"""Home Assistant and Prometheus, with a real broker and what their own parsers say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import PATIENCE_S, REPOSITORY
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.config import Config, HomeAssistant, Site
from edge_agent.delivery.home_assistant import discovery
from edge_agent.delivery.messages import Topics, parse_object, parse_snooze
from edge_agent.testing import free_port

#: A Python with Home Assistant, made by `make test-home-assistant`.
HOME_ASSISTANT = os.environ.get("HOME_ASSISTANT_PYTHON")
_VALIDATE = """
import importlib, json, sys
for topic, body in json.load(sys.stdin):
    component = topic.split("/")[1]
    schema = importlib.import_module(f"homeassistant.components.mqtt.{component}").DISCOVERY_SCHEMA
    from homeassistant.components.mqtt.mixins import MQTT_ENTITY_COMMON_SCHEMA
    origin = body.pop("origin")
    assert set(origin) <= {"name", "sw_version", "support_url"}
    schema(body)
    print(topic)
"""


def announced(**site) -> list[tuple[str, dict]]:
    config = Config(site=Site(**site), home_assistant=HomeAssistant(enabled=True))
    topics = Topics(config.mqtt, site=config.site.name, device=config.site.device)
    return [(m.topic, json.loads(m.payload)) for m in discovery(config, topics, version="1.0")]


def test_a_device_announces_its_entities(edge_agent, listen, site, write_config):
    prefix = f"homeassistant-{site}"
    listener = listen(f"{prefix}/#")
    edge_agent("run", "--config", write_config(home_assistant={"enabled": True, "prefix": prefix}))
    found = {}
    for name in ("upset", "state", "people", "satisfied", "page", "snooze"):
        message = listener.wait_for(lambda m, name=name: f"/{name}/config" in m.topic)
        found[name] = json.loads(message.payload)
        assert message.topic.split("/")[2].replace("_", "").isalnum()
    assert len({entity["unique_id"] for entity in found.values()}) == 6
    assert len({json.dumps(entity["device"]) for entity in found.values()}) == 1
    press = found["snooze"]["payload_press"].encode()
    assert parse_snooze(parse_object(press, schema="command")) == 600


def test_two_devices_are_two_even_where_their_names_look_alike():
    one, other = announced(name="a.b", device="c"), announced(name="a_b", device="c")
    assert not {body["unique_id"] for _, body in one} & {body["unique_id"] for _, body in other}


@pytest.mark.skipif(HOME_ASSISTANT is None, reason="make test-home-assistant runs this")
def test_home_assistants_own_schemas_accept_it():
    result = subprocess.run(
        [str(HOME_ASSISTANT), "-c", _VALIDATE],
        input=json.dumps(announced()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 6


def test_prometheus_reads_what_the_agent_counts(edge_agent, listen, site, write_config):
    port, listener = free_port(), listen(f"kiosk/v1/{site}/#")
    edge_agent("run", "--config", write_config(metrics={"enabled": True, "port": port}))
    listener.wait_for_json("/alert/0", step="raised")
    listener.wait_for_json("/health")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    assert families["edge_agent_frames"].samples[0].value > 10
    [raised] = [s for s in families["edge_agent_alert_steps"].samples if s.name.endswith("_total")]
    assert (raised.labels, raised.value) == ({"rule": "angry-customer", "step": "raised"}, 1)
    states = {s.labels["state"]: s.value for s in families["edge_agent_state"].samples}
    assert states == {"online": 1, "degraded": 0}


def test_the_dashboard_shows_figures_that_exist():
    dashboard = json.loads((REPOSITORY / "docs" / "grafana" / "edge-agent.json").read_text())
    source = (REPOSITORY / "edge_agent" / "agent" / "metrics.py").read_text()
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) >= 8
    for expression in expressions:
        names = [word for word in _words(expression) if word.startswith("edge_agent_")]
        assert names
        for name in names:
            base = name.removesuffix("_total").removesuffix("_bucket").removesuffix("_count").removesuffix("_info")
            assert f'"{base}"' in source, name


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


def test_without_the_extra_the_option_is_refused(write_config):
    script = (
        "import sys; sys.modules['prometheus_client'] = sys.modules['aiohttp'] = None\n"
        "from edge_agent.cli import main; sys.exit(main())"
    )
    for section in ("web", "metrics"):
        config = write_config(**{section: {"enabled": True}, "outbox": {"state_dir": str(Path("/tmp"))}})
        result = subprocess.run(
            [sys.executable, "-c", script, "run", "--config", config], capture_output=True, text=True, check=False
        )
        assert result.returncode == 2
        assert f"pip install '.[{section}]'" in result.stderr
