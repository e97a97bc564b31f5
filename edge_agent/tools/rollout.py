"""A staged model on many devices: one first, watched for a while, then the others; all of them back where one fails.

Models are staged on each device before, by whoever may log in there. What is said over MQTT is only which of the signed
ones to use, so nobody at the broker can bring another one.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent.delivery.bus import Bus, Event, Received
from edge_agent.delivery.messages import Message, MessageError, parse_object, printable
from edge_agent.tools.fleet import Device, note

#: Below a device, what is listened to.
TOPICS = ("state", "info", "health", "alert/active", "event", "rsp/+")
_ANSWER_WITHIN_S, _RUNS_WITHIN_S = 20.0, 120.0
#: So many health reports may fail.
_MISSED, _INTERVAL_S = 3, 30.0
#: A device judges fewer faces than before if the share that it does not judge grew by so much, of so many.
_MORE_ABSTAINED, _MIN_FACES = 0.25, 50


class Rollout:
    """Changes the models of devices that are there, one after another.

    Args:
        bus: connected, and subscribed to TOPICS of the devices.
        devices: what is known of them, by name; kept up to date.
        root: of all topics.
        say: told what goes on, a line each.
    """

    def __init__(self, bus: Bus, devices: Sequence[Device], *, root: str, say: Callable[[str], None]) -> None:
        self._bus, self._root, self._say = bus, root, say
        self._devices = {device.name: device for device in devices}
        self._alive_s = dict.fromkeys(self._devices, time.monotonic())
        self._answers: dict[str, tuple[bool, str]] = {}
        #: Device → why it gave a model up.
        self._given_up: dict[str, str] = {}
        self._abstained: dict[str, float | None] = {}

    def forward(self, model: str, *, canary: str, others: Sequence[str], canary_s: float, others_s: float) -> str:
        """Let devices use a model; return why they all went back, nothing when they use it.

        Args:
            canary: goes first.
            canary_s, others_s: how long it is watched, and then all of them.
        """
        changed: list[str] = []
        problem = self._change(canary, model, changed)
        if not problem:
            self._say(f"{canary} runs {model}; watching it for {canary_s / 60:g} minutes")
            problem = self._watch([canary], model, canary_s)
        for name in others:
            problem = problem or self._change(name, model, changed)
            if problem:
                break
            self._say(f"{name} runs {model}")
        if not problem and others:
            self._say(f"watching {len(changed)} devices for {others_s:g} s")
            problem = self._watch(changed, model, others_s)
        if problem:
            self._say(f"stopped: {problem}")
            self.back(model, changed)
        return problem

    def back(self, model: str, names: Sequence[str]) -> list[str]:
        """Let devices that use a model go back to the one before; return those that did not."""
        failed = []
        for name in names:
            device = self._devices[name]
            if device.value("info", "model") != model:
                self._say(f"{name} runs {device.value('info', 'model')}")
                continue
            session = device.value("info", "session")
            problem = self._command(name, "rollback", model)
            # One that shares its process with another went back with it already, and will say so.
            within_s = _ANSWER_WITHIN_S if problem else _RUNS_WITHIN_S
            if self._until(lambda d=device, s=session: d.value("info", "session") != s, within_s):  # type: ignore[misc]
                problem = ""
            if not problem and device.value("info", "model") == model:
                problem = f"it still runs {model}"
            self._say(f"{name}: {problem}" if problem else f"{name} is back on {device.value('info', 'model')}")
            if problem:
                failed.append(name)
        return failed

    def _change(self, name: str, model: str, changed: list[str]) -> str:
        """Let one device use a model; return what is in the way. `changed` has whatever may use it now."""
        device = self._devices[name]
        if device.value("info", "model") == model:
            return ""
        self._abstained[name] = self._share_abstained(device)
        self._given_up.pop(name, None)
        before = device.value("info", "session")
        problem = self._command(name, "activate", model)
        if problem:
            return f"{name}: {problem}"
        changed.append(name)

        def settled() -> bool:
            session = device.value("info", "session")
            return session != before and device.value("state", "session") == session and device.state != "degraded"

        if not self._until(settled, _RUNS_WITHIN_S):
            return f"{name} did not begin anew within {_RUNS_WITHIN_S:g} s; it is {device.state}"
        return self._trouble(name, model)

    def _command(self, name: str, verb: str, model: str) -> str:
        request_id = secrets.token_hex(8)
        body = {"schema": "command", "version": 1, "request_id": request_id, "model": model}
        message = Message(f"{self._root}/{name}/cmd/{verb}", json.dumps(body).encode(), expiry_s=_ANSWER_WITHIN_S)
        if self._bus.publish(message) is None:
            return "there is no connection to the broker"
        if not self._until(lambda: request_id in self._answers, _ANSWER_WITHIN_S):
            return (
                f"no answer within {_ANSWER_WITHIN_S:g} s; may this user send commands, and is its version not too old?"
            )
        done, detail = self._answers.pop(request_id)
        return "" if done else detail

    def _watch(self, names: Sequence[str], model: str, seconds: float) -> str:
        """Return the first trouble of any of them within so many seconds."""
        found: list[str] = []

        def troubled() -> bool:
            found.extend(trouble for name in names if (trouble := self._trouble(name, model)))
            return bool(found)

        self._until(troubled, seconds)
        return found[0] if found else ""

    def _trouble(self, name: str, model: str) -> str:
        device = self._devices[name]
        if name in self._given_up:
            return f"{name} gave the model up: {self._given_up[name]}"
        if device.value("info", "model") != model:
            return f"{name} runs {device.value('info', 'model')}"
        if device.state != "online":
            return f"{name} is {device.state} {printable(device.value('state', 'problem') or '')}".rstrip()
        interval_s = device.value("health", "interval_s")
        interval_s = interval_s if isinstance(interval_s, int | float) else _INTERVAL_S
        if time.monotonic() - self._alive_s[name] > _MISSED * interval_s:
            return f"{name} is silent"
        before, now = self._abstained.get(name), self._share_abstained(device)
        if before is not None and now is not None and now - before > _MORE_ABSTAINED:
            return f"{name} judges {100 * (1 - now):.0f} % of faces, {100 * (1 - before):.0f} % before"
        return ""

    @staticmethod
    def _share_abstained(device: Device) -> float | None:
        """Return which share of faces was not judged since the start; None of too few, or of another run."""
        health = device.parts.get("health", {})
        reasons, judged = health.get("abstained"), health.get("faces")
        if health.get("session") != device.value("info", "session") or not isinstance(reasons, dict):
            return None
        counts = [count for count in [judged, *reasons.values()] if isinstance(count, int)]
        if not isinstance(judged, int) or sum(counts) < _MIN_FACES:
            return None
        return 1 - judged / sum(counts)

    def _until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Take in what comes until something is true; return whether it became so in time."""
        give_up_s = time.monotonic() + seconds

        def is_true(event: Event) -> bool:
            self._note(event)
            return true()

        while not true():
            left_s = give_up_s - time.monotonic()
            if left_s <= 0:
                return False
            self._bus.wait_for(is_true, min(1.0, left_s))
        return True

    def _note(self, event: Event) -> None:
        if not isinstance(event, Received):
            return
        note(self._devices, event)
        name = "/".join(event.topic.removeprefix(f"{self._root}/").split("/")[:2])
        if event.retained or name not in self._devices:
            return
        self._alive_s[name] = time.monotonic()
        try:
            if "/rsp/" in event.topic:
                body: dict[str, Any] = parse_object(event.payload, schema="response")
                self._answers[str(body.get("request_id"))] = body.get("ok") is True, printable(body.get("detail", ""))
            elif event.topic.endswith("/event"):
                body = parse_object(event.payload, schema="event")
                if body.get("kind") == "model_rolled_back":
                    self._given_up[name] = printable(body.get("detail", ""))
        except MessageError:
            pass
