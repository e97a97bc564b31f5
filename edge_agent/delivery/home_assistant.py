"""Tells Home Assistant what a device offers, by MQTT discovery
(https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery).

Everything is read from topics that the device publishes anyway; buttons send commands that any MQTT client could.
What was known last stays readable while the device is away: only what means nothing then becomes unavailable.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from edge_agent.config import Config
from edge_agent.delivery.messages import Message, Topics

_SNOOZE_S = 600
#: Of the commands that buttons send; what the device answers comes under the same name.
_REQUEST_ID = "home-assistant"
_COMMAND = {"schema": "command", "version": 1, "request_id": _REQUEST_ID, "by": "Home Assistant"}
#: Action → name and icon of its button.
_ANSWERS = {
    "ack": ("Acknowledge", "mdi:check"),
    "on_my_way": ("On my way", "mdi:walk"),
    "resolve": ("Resolved", "mdi:check-all"),
    "false_alarm": ("False alarm", "mdi:close-octagon-outline"),
}


def discovery(config: Config, topics: Topics, *, version: str) -> list[Message]:
    """Return the retained messages that announce one device, one for each entity.

    Args:
        version: of the agent.
    """
    site, device = config.site.name, config.site.device
    node = node_of(site, device)
    # Of what means nothing while the device is away.
    while_there = {
        "availability": [
            {
                "topic": topics("state"),
                "value_template": "{{ 'offline' if value_json.state in ('offline', 'stopped') else 'online' }}",
            }
        ]
    }
    shared = {
        "device": {
            "identifiers": [node],
            "name": f"{config.site.place} ({device})",
            "manufacturer": "edge-agent",
            "model": "Customer camera",
            "sw_version": version,
            "suggested_area": config.site.place,
        },
        "origin": {"name": "edge-agent", "sw_version": version},
    }
    health_expiry_s = int(3 * config.logging.health_interval_s)
    entities: dict[tuple[str, str], Mapping[str, Any]] = {
        ("binary_sensor", "upset"): {
            "name": "Customer upset",
            "device_class": "problem",
            "state_topic": topics("alert", "active"),
            "value_template": "{{ 'ON' if value_json.ids else 'OFF' }}",
            "json_attributes_topic": topics("alert", "active"),
            "json_attributes_template": "{{ {'pages': value_json.alerts | default([])} | tojson }}",
        },
        ("binary_sensor", "connection"): {
            "name": "Connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            # Both `state` and `health`: a broker that was restarted may keep `online` of a device that died meanwhile.
            "state_topic": topics("+"),
            "value_template": "{% if value_json.schema == 'state' %}"
            "{{ 'ON' if value_json.state in ('online', 'degraded') else 'OFF' }}"
            "{% elif value_json.schema == 'health' %}ON{% endif %}",
            "off_delay": health_expiry_s,
        },
        ("sensor", "state"): {
            "name": "State",
            "device_class": "enum",
            "options": ["online", "degraded", "stopped", "offline"],
            "entity_category": "diagnostic",
            "state_topic": topics("state"),
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": topics("state"),
            "json_attributes_template": "{{ {'problem': value_json.problem, 'mode': value_json.mode} | tojson }}",
        },
        ("sensor", "people"): {
            "name": "People in view",
            "icon": "mdi:account-group",
            "state_class": "measurement",
            "state_topic": topics("health"),
            "value_template": "{{ value_json.people }}",
            "expire_after": health_expiry_s,
            **while_there,
        },
        ("sensor", "satisfied"): {
            "name": "Satisfied when leaving",
            "icon": "mdi:emoticon-happy-outline",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "state_topic": topics("summary"),
            "value_template": "{{ (100 * value_json.satisfied) | round(1) if value_json.satisfied is not none }}",
        },
        ("event", "page"): {
            "name": "Page",
            "event_types": ["raised", "escalated", "acked", "cleared"],
            "state_topic": topics("alert", "+"),
            # An empty result is ignored: alert/active has no step, and a repeated step was shown before.
            "value_template": "{% if value_json.step is defined and not value_json.repeated | default(false) %}"
            "{{ {'event_type': value_json.step, 'id': value_json.id, 'revision': value_json.revision, "
            "'rule': value_json.rule, 'message': value_json.message, 'place': value_json.place, "
            "'zone': value_json.zone, 'people': value_json.people, 'severity': value_json.severity, "
            "'by': value_json.by, 'reason': value_json.reason} | tojson }}{% endif %}",
        },
        ("sensor", "reply"): {
            "name": "Last reply",
            "icon": "mdi:message-reply-text-outline",
            "entity_category": "diagnostic",
            "state_topic": topics("rsp", _REQUEST_ID),
            "value_template": "{{ value_json.detail[:255] }}",
        },
        ("button", "snooze"): {
            "name": "Snooze 10 minutes",
            "icon": "mdi:bell-sleep",
            "command_topic": topics("cmd", "snooze"),
            "qos": 1,
            "payload_press": json.dumps({**_COMMAND, "snooze_s": _SNOOZE_S}),
            **while_there,
        },
        **{
            ("button", action): {
                "name": name,
                "icon": icon,
                "command_topic": topics("cmd", "answer"),
                "qos": 1,
                "payload_press": json.dumps({**_COMMAND, "action": action}),
                # With the time: a press that waited somewhere for the connection must answer no later page.
                "command_template": "{{ dict(value | from_json, time=utcnow().isoformat()) | tojson }}",
                **while_there,
            }
            for action, (name, icon) in _ANSWERS.items()
        },
    }
    messages = []
    for (component, name), entity in entities.items():
        topic = f"{config.home_assistant.prefix}/{component}/{node}/{name}/config"
        entity_id = f"{node}_{name}"
        body = {
            "unique_id": entity_id,
            "default_entity_id": f"{component}.{entity_id.lower()}",
            "object_id": entity_id,  # the same before Home Assistant 2025.10
            **entity,
            **shared,
        }
        messages.append(Message(topic, json.dumps(body, ensure_ascii=False).encode(), retain=True))
    return messages


def announced(prefix: str, *, site: str, device: str) -> str:
    """Return the topic filter of all that any version of the agent announced of a device."""
    return f"{prefix}/+/{node_of(site, device)}/+/config"


def node_of(site: str, device: str) -> str:
    """Return a name of letters, digits and _ that no other device has."""
    name = f"{site}/{device}"
    return f"edge_agent_{re.sub('[^A-Za-z0-9]', '_', name)}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
