"""Somebody who hears everything at the broker itself, whatever became of the pagers' links."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from stage import SITE

KIOSK = f"kiosk/v1/{SITE}/kiosk-1"


class Witness:
    """Remembers what the kiosk sent, over restarts of the broker.

    Attributes:
        steps: alert id → its steps as they were sent, each once a revision.
        active: what is open, as the kiosk has said since the broker's latest start; None until it did.
    """

    def __init__(self, port: int) -> None:
        self.steps: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.active: list[str] | None = None
        #: How many the kiosk had looked at, by its latest health report.
        self.frames = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = self._connected
        self._client.on_message = self._heard
        self._client.reconnect_delay_set(1, 1)
        self._client.on_disconnect = lambda *_: self.forget()
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def forget(self) -> None:
        """Believe nothing that was said before."""
        self.active = None

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe([(f"{KIOSK}/alert/+", 1), (f"{KIOSK}/health", 0)])

    def _heard(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            body = json.loads(message.payload)
            self._note(message.topic, body)
        except (ValueError, KeyError, TypeError):
            return  # somebody else's

    def _note(self, topic: str, body: dict[str, Any]) -> None:
        if topic.endswith("/health"):
            self.frames = body["frames"]
        elif topic.endswith("/active"):
            self.active = body["ids"]
        else:
            self.steps[body["id"]][body["revision"]] = body

    def resolve(self, alert_id: str) -> None:
        """Answer as a colleague would."""
        body = {"schema": "ack", "version": 1, "id": alert_id, "action": "resolve", "by": "lee"}
        self._client.publish(f"{KIOSK}/ack/{alert_id}", json.dumps(body), qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
