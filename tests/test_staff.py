"""What staff and managers run beside a kiosk: the fleet's table, a day to practise, a pager on a whole screen."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from conftest import PATIENCE_S
from messages import validate

from edge_agent.config import load_config
from edge_agent.delivery.bus import Received
from edge_agent.demo.simulate import EXERCISE, Simulation, Visit
from edge_agent.errors import BrokerError
from edge_agent.testing import FakeBus
from edge_agent.tools.fleet import as_text, collect, in_order, note


def said(name: str, topic: str, **body) -> Received:
    schema = topic.rpartition("/")[2]
    payload = json.dumps({"schema": schema, "version": 1, "time": "2026-11-21T10:00:00.000Z", **body}).encode()
    return Received(f"kiosk/v1/{name}/{topic}", payload, retained=True)


def a_fleet(count: int):
    devices = {}
    for number in range(count):
        name = f"store-{number:03}/kiosk-1"
        note(devices, said(name, "state", state="online", mode="live", problem=""))
        note(devices, said(name, "health", frame_rate_hz=10.0, outbox_depth=0, outbox_oldest_s=0))
    return devices


class TestFleet:
    def test_who_pages_comes_first_then_who_is_in_trouble(self):
        devices = a_fleet(300)
        note(devices, said("store-007/kiosk-1", "state", state="degraded", mode="live", problem="camera lost"))
        note(devices, said("store-200/kiosk-1", "alert/active", ids=["0" * 26]))
        note(devices, said("store-150/kiosk-1", "state", state="offline", mode="live", problem=""))
        note(devices, said("store-151/kiosk-1", "health", outbox_oldest_s=900, outbox_depth=4))
        note(devices, Received("kiosk/v1/store-001/kiosk-1/state", b"junk", retained=True))
        ordered = in_order(devices.values())
        assert [d.name.split("/")[0] for d in ordered[:5]] == [
            "store-200", "store-007", "store-150", "store-151", "store-000",
        ]  # fmt: skip
        text = as_text(ordered, unix_s=1_795_255_210, limit=20)
        assert text.splitlines()[0] == "300 devices: 298 online, 1 degraded, 1 away; 1 open pages"
        assert "camera lost" in text
        assert "messages wait for 900 s" in text
        assert len(text.splitlines()) == 24
        assert "and 280 more" in text
        note(devices, said("store-007/kiosk-1", "state", state="degraded", mode="live", problem="\x1b[2Jall is well"))
        assert "?[2Jall is well" in as_text(in_order(devices.values()), unix_s=1_795_255_210, limit=20)

    def test_a_closed_device_is_said_to_be_and_is_in_no_trouble(self):
        devices = a_fleet(2)
        closed = {"mode": "closed", "problem": "", "opens_at": "2026-11-25T08:00:00.000Z"}
        note(devices, said("store-000/kiosk-1", "state", state="online", **closed))
        ordered = in_order(devices.values())
        assert [device.trouble for device in ordered] == ["", ""]
        head, _, _, line, *_ = as_text(ordered, unix_s=1_795_255_210, limit=20).splitlines()
        assert head == "2 devices: 2 online (1 closed), 0 degraded, 0 away; 0 open pages"
        assert "closed until Wed 25 Nov " in line
        note(devices, said("store-000/kiosk-1", "state", state="degraded", **{**closed, "problem": "camera lost"}))
        assert "closed" not in as_text(in_order(devices.values()), unix_s=1_795_255_210, limit=20)

    def test_a_broker_that_lets_nobody_listen_is_no_healthy_fleet(self):
        bus = FakeBus()
        bus.start()
        bus.deny("the broker does not let us hear kiosk/#")
        with pytest.raises(BrokerError, match="does not let us hear"):
            collect(bus, seconds=5)

    def test_the_command_reads_what_devices_left(self, edge_agent, run_command, listen, broker, site, write_config):
        listener = listen(f"kiosk/v1/{site}/#")
        edge_agent("run", "--config", write_config(camera={"source": "synthetic"}))
        listener.wait_for_json("/health", state="online")
        result = run_command("fleet", "--port", broker.port, "--site", site, "--json")
        assert result.code == 0, result.err
        [device] = json.loads(result.out)
        assert (device["device"], device["state"], device["model"][:3]) == (f"{site}/kiosk-1", "online", "fer")

    def test_without_a_broker_it_says_so(self, run_command):
        result = run_command("fleet", "--port", 1, "--site", "x")
        assert (result.code, result.out) == (5, "")
        assert "cannot connect" in result.err


#: One guest is angry, and a second one some seconds later.
TWO_ANGRY = (Visit(0.2, 60.0, 0.9, "one"), Visit(5.0, 60.0, 0.95, "another"))


@contextlib.contextmanager
def exercise(write_config, visits):
    """Play visits through the real rules while the block runs."""
    stop = threading.Event()
    settings = load_config(write_config_path(write_config))
    thread = threading.Thread(target=Simulation(settings, visits=visits, say=lambda _: None).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class TestSimulation:
    def test_staff_are_paged_as_the_script_says_and_their_answers_count(self, listen, broker, site, write_config):
        listener = listen(f"kiosk/v1/{site}/#")
        stories: list[str] = []
        settings = load_config(write_config_path(write_config))
        visits = (
            Visit(0.2, 1.0, 0.1, "calm"), Visit(1.5, 0.5, 0.9, "a moment"), Visit(3.0, 30.0, 0.9, "angry"),
        )  # fmt: skip
        stop = threading.Event()
        simulation = Simulation(settings, visits=visits, say=stories.append)
        thread = threading.Thread(target=simulation.run, args=(stop,))
        thread.start()
        try:
            raised = listener.wait_for_json("/alert/0", step="raised")
            assert raised["message"].startswith(EXERCISE)
            assert raised["device"] == "kiosk-1-exercise"
            ack = {"schema": "ack", "version": 1, "id": raised["id"], "action": "resolve", "by": "trainee"}
            topic = f"kiosk/v1/{site}/kiosk-1-exercise/ack/{raised['id']}"
            listener.client.publish(topic, json.dumps(ack), qos=1)
            assert listener.wait_for_json("/alert/0", step="cleared")["by"] == "trainee"
        finally:
            stop.set()
            thread.join()
        assert stories == ["calm", "a moment", "angry"]
        assert len(listener.bodies("/alert/0")) == 2
        left = listen(f"kiosk/v1/{site}/#")
        left.client.publish(f"kiosk/v1/{site}/end", b"", qos=1)
        left.wait_for(lambda message: message.topic.endswith("/end"))
        assert [message.topic for message in left.messages if message.retain] == []

    def test_a_pager_rings_again_for_a_second_person(self, edge_agent, listen, broker, site, write_config):
        listener = listen(f"kiosk/v1/{site}/#")
        pager = edge_agent("pager", "--port", broker.port, "--site", site, "--name", "kim", "--plain")
        next(line for line in pager.stdout if "waiting for pages" in line)
        with exercise(write_config, TWO_ANGRY):
            first = next(line for line in pager.stdout if "PLEASE SEND ASSISTANCE" in line)
            pager.stdin.write("a")
            pager.stdin.flush()
            listener.wait_for_json("/alert/0", step="acked", people=1)
            second = next(line for line in pager.stdout if "PLEASE SEND ASSISTANCE" in line)
            pager.stdin.write("o")
            pager.stdin.flush()
            acked = listener.wait_for_json("/alert/0", step="acked", people=2)
        assert "people" not in first
        assert "2 people" in second
        assert (acked["reason"], acked["revision"], acked["by"]) == ("on_my_way", 4, "kim")
        assert len({body["id"] for body in listener.bodies("/alert/0")}) == 1
        for message in filter(lambda message: message.payload, listener.messages):
            validate(message.payload)

    def test_a_broker_that_refuses_the_exercise_is_named(self, run_command, start_mosquitto, write_config, tmp_path):
        rules = tmp_path / "acl"
        rules.write_text("topic read #\n")
        broker = start_mosquitto("allow_anonymous true", f"acl_file {rules}")
        config = write_config(mqtt={"port": broker.port}, rules=[{"name": "angry-customer"}])
        result = run_command("simulate", "--config", config, "--speed", 20)
        assert result.code == 5
        assert "lets nobody called nothing publish" in result.one_line_error()


def write_config_path(write_config):
    return Path(write_config(rules=[{"name": "angry-customer", "dwell_s": 1.0}]))


class TestScreen:
    def test_a_page_fills_the_screen_and_a_key_answers_it(self, edge_agent, listen, broker, site, write_config):
        listener = listen(f"kiosk/v1/{site}/#")
        ours, theirs = pty.openpty()
        pager = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "pager", "--port", str(broker.port), "--site", site, "--name", "kim"],
            stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )  # fmt: skip
        os.close(theirs)
        try:
            assert "All is calm" not in read_until(ours, "No kiosk has been heard yet")
            edge_agent("run", "--config", write_config())
            read_until(ours, "All is calm")
            shown = read_until(ours, "Nobody has answered yet")
            assert "Please send assistance" in shown
            os.write(ours, b"o")
            assert listener.wait_for_json("/alert/0", step="acked", by="kim")["reason"] == "on_my_way"
            read_until(ours, "is on the way")
            pager.send_signal(signal.SIGINT)
            read_until(ours, "\x1b[?1049l")  # the screen that was there before comes back
            assert pager.wait(PATIENCE_S) == 0
        finally:
            pager.kill()
            pager.wait()
            os.close(ours)


def read_until(terminal: int, text: str) -> str:
    seen, give_up_s = "", time.monotonic() + PATIENCE_S
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, give_up_s - time.monotonic()))
        if not ready:
            pytest.fail(f"{text!r} did not appear; the screen shows {seen[-2000:]!r}")
        seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


def test_a_configuration_of_another_site_is_the_fleets_broker(run_command, tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"mqtt": {"port": 1}}))
    assert run_command("fleet", "--config", tmp_path / "c.yaml").code == 5
