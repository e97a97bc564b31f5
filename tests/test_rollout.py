"""A model that is taken to many devices: a canary first, and all of them back where one fails."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import yaml
from conftest import PATIENCE_S
from test_staff import said

from edge_agent.cli import main
from edge_agent.config import load_config
from edge_agent.testing import FakeBus
from edge_agent.tools.fleet import Device, note
from edge_agent.tools.rollout import Rollout
from edge_agent.vision.models import ModelStore

SHIPPED, NEXT = "fer-compact-3", "next-1"


@pytest.fixture
def kiosks(edge_agent, listen, broker, site, keys, tmp_path):
    """Two kiosks that watch; name → configuration."""
    listener = listen(f"kiosk/v1/{site}/#")
    configs = {}
    for device in ("kiosk-1", "kiosk-2"):
        configs[device] = tmp_path / f"{device}.yaml"
        configs[device].write_text(yaml.safe_dump({
            "site": {"name": site, "device": device}, "camera": {"source": "synthetic"},
            "privacy": {"notice_posted": True}, "mqtt": {"port": broker.port},
            "outbox": {"state_dir": str(tmp_path / device)}, "emotion": {"trusted_keys": [str(keys / "ours.pub")]},
        }))  # fmt: skip
        edge_agent("run", "--config", configs[device])
    for device in configs:
        listener.wait_for_json(f"/{device}/state", state="online")
        listener.wait_for_json(f"/{device}/info", model=SHIPPED)
    return configs


def test_a_model_goes_to_all_or_to_none_and_there_is_a_way_back(kiosks, run_command, listen, broker, site, make_bundle):
    listener = listen(f"kiosk/v1/{site}/+/info")

    def rollout(*options: str):
        return run_command("rollout", NEXT, "--site", site, "--port", broker.port, *options)

    def models() -> list[str]:
        latest = {body["device"]: body["model"] for body in listener.bodies("/info")}
        return [latest[device] for device in kiosks]

    first = ("--canary", f"{site}/kiosk-1", "--wait-minutes", "0.03")
    bundle = make_bundle(NEXT)
    stage(kiosks["kiosk-1"], bundle)
    stopped = rollout(*first)
    assert stopped.code == 1
    assert f"stopped: {site}/kiosk-2: no staged model '{NEXT}'" in stopped.out
    assert f"{site}/kiosk-1 is back on {SHIPPED}" in stopped.out
    assert models() == [SHIPPED, SHIPPED]
    stage(kiosks["kiosk-2"], bundle)
    done = rollout(*first)
    assert done.code == 0, done.out + done.err
    assert models() == [NEXT, NEXT]
    back = rollout("--back")
    assert back.code == 0, back.out
    assert models() == [SHIPPED, SHIPPED]
    assert main(["rollout", NEXT]) == 2  # which one is the canary?


def stage(config_file: Path, bundle: Path) -> None:
    ModelStore.of(load_config(config_file)).stage(bundle)


class Fleet:
    """Kiosks in memory: each takes the model it is told, and says what a test wants."""

    def __init__(self, *names: str) -> None:
        self.bus, self.devices, self.lines = FakeBus(), {}, []
        self.bus.start()
        self.sessions = dict.fromkeys(names, 0)
        for name in names:
            for event in self._says(name, SHIPPED):
                note(self.devices, event)
        #: Name → what it says after it began anew with the model.
        self.afterwards: dict[str, list] = {}

    def _says(self, name: str, model: str):
        session = str(self.sessions[name])
        return [
            said(name, "info", model=model, session=session),
            said(name, "state", state="online", mode="live", problem="", session=session),
            said(name, "health", session=session, faces=100, abstained={"small": 0}, interval_s=1.0),
        ]

    def serve(self, stop: threading.Event) -> None:
        answered = 0
        while not stop.wait(0.005):
            for message in self.bus.published[answered:]:
                answered += 1
                _, _, site, device, _, verb = message.topic.split("/")
                name, body = f"{site}/{device}", json.loads(message.payload)
                self.sessions[name] += 1
                model = body["model"] if verb == "activate" else SHIPPED
                answer = said(name, "response", request_id=body["request_id"], ok=True, detail="begins anew")
                self.bus.receive(f"kiosk/v1/{name}/rsp/x", answer.payload)
                news = self._says(name, model) + (self.afterwards.get(name, []) if verb == "activate" else [])
                for event in news:
                    self.bus.receive(event.topic, event.payload)

    def roll_out(self) -> str:
        stop = threading.Event()
        thread = threading.Thread(target=self.serve, args=(stop,))
        thread.start()
        try:
            devices: list[Device] = list(self.devices.values())
            rollout = Rollout(self.bus, devices, root="kiosk/v1", say=self.lines.append)
            canary, *others = self.devices
            return rollout.forward(NEXT, canary=canary, others=others, canary_s=0.3, others_s=0.3)
        finally:
            stop.set()
            thread.join(PATIENCE_S)

    @property
    def models(self) -> list[str]:
        return [device.value("info", "model") for device in self.devices.values()]


@pytest.mark.parametrize(
    ("name", "news", "why"),
    [
        ("a/1", ("event", {"kind": "model_rolled_back", "detail": "crashed"}), "gave the model up: crashed"),
        ("a/1", ("info", {"model": SHIPPED, "session": "1"}), f"runs {SHIPPED}"),
        ("a/2", ("state", {"state": "offline", "mode": "live", "session": "1"}), "is offline"),
        ("a/2", ("state", {"state": "degraded", "mode": "live", "session": "1", "problem": "x"}), "is degraded x"),
        ("a/3", ("health", {"session": "1", "faces": 30, "abstained": {"blurred": 70}}), "30 % of faces, 100 % before"),
    ],
)
def test_whatever_goes_wrong_all_go_back(name, news, why):
    fleet = Fleet("a/1", "a/2", "a/3")
    topic, body = news
    fleet.afterwards[name] = [said(name, topic, **body)]
    assert why in fleet.roll_out()
    assert fleet.models == [SHIPPED] * 3


def test_a_device_that_falls_silent_stops_it(monkeypatch):
    fleet = Fleet("a/1", "a/2")
    monkeypatch.setattr("edge_agent.tools.rollout._MISSED", 0.05)
    assert "a/1 is silent" in fleet.roll_out()
    assert [m.topic for m in fleet.bus.published if "a/2" in m.topic] == []
