"""The bus speaks to a real broker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, find_mosquitto

from edge_agent import config
from edge_agent.config import Mqtt
from edge_agent.delivery.bus import Connected, Disconnected, PublishResult, Received
from edge_agent.delivery.messages import Message
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.testing import FakeBus, free_port


class Client:
    """A bus and everything it reported, with patience."""

    def __init__(self, settings: Mqtt, **options) -> None:
        self._wake = threading.Event()
        self.events: list = []
        known = {"client_id": f"test-{os.urandom(4).hex()}", "password": None, "subscriptions": ()}
        self.bus = MqttBus(settings, wake=self._wake.set, jitter=lambda: 0.1, **{**known, **options})
        self.bus.start()

    def wait_for(self, kind: type, count: int = 1) -> list:
        deadline = threading.Event()
        timer = threading.Timer(PATIENCE_S, lambda: (deadline.set(), self._wake.set()))
        timer.start()
        try:
            while True:
                self.events += self.bus.events()
                found = [event for event in self.events if isinstance(event, kind)]
                if len(found) >= count:
                    return found
                assert not deadline.is_set(), self.events
                self._wake.wait()
                self._wake.clear()
        finally:
            timer.cancel()


@pytest.fixture
def connect():
    clients: list[Client] = []

    def start(settings: Mqtt, **options) -> Client:
        clients.append(Client(settings, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.bus.stop()


class TestBus:
    @pytest.mark.parametrize("protocol", ["5", "3.1.1"])
    def test_a_message_goes_through_the_broker_and_is_confirmed(self, connect, broker, site, protocol):
        settings = Mqtt(port=broker.port, protocol=protocol)
        ears = connect(settings, subscriptions=[f"{site}/#"])
        ears.wait_for(Connected)
        mouth = connect(settings)
        mouth.wait_for(Connected)
        token = mouth.bus.publish(Message(f"{site}/x", b"hello", expiry_s=60))
        [delivered] = mouth.wait_for(PublishResult)
        assert delivered.token == token
        assert delivered.reason < 128
        [received] = ears.wait_for(Received)
        assert (received.topic, received.payload) == (f"{site}/x", b"hello")

    def test_without_a_connection_nothing_is_taken(self, connect, site):
        client = connect(Mqtt(port=free_port()))
        client.wait_for(Disconnected)
        assert client.bus.publish(Message(f"{site}/x", b"too early")) is None

    @pytest.mark.parametrize("kind", ["real", "fake"])
    def test_waiting_ends_with_the_event_or_in_time_and_leaves_later_events(self, broker, site, kind):
        bus = FakeBus()
        if kind == "real":
            bus = MqttBus(Mqtt(port=broker.port), client_id=site, password=None, subscriptions=())
        shown: list = []

        def wait_for(kind: type, timeout_s: float) -> bool:
            return bus.wait_for(lambda event: shown.append(event) or isinstance(event, kind), timeout_s)

        started_s = time.monotonic()
        assert not wait_for(Connected, 0.2)
        assert time.monotonic() - started_s >= 0.2
        bus.start()
        assert wait_for(Connected, 10 * PATIENCE_S)
        tokens = [bus.publish(Message(f"{site}/x", b"hello")) for _ in range(2)]
        assert wait_for(PublishResult, 10 * PATIENCE_S)
        assert time.monotonic() - started_s < PATIENCE_S
        assert wait_for(PublishResult, 10 * PATIENCE_S)
        assert [event.token for event in shown if isinstance(event, PublishResult)] == tokens
        assert not wait_for(PublishResult, 0.0)
        bus.stop()

    def test_what_was_shown_while_waiting_is_acknowledged(self, connect, start_mosquitto, site):
        broker = start_mosquitto("allow_anonymous true", "max_inflight_messages 1")
        ears = MqttBus(Mqtt(port=broker.port), client_id=site, password=None, subscriptions=[f"{site}/#"])
        ears.start()
        assert ears.wait_for(lambda event: isinstance(event, Connected), PATIENCE_S)
        mouth = connect(Mqtt(port=broker.port))
        mouth.wait_for(Connected)
        for number in range(3):
            mouth.bus.publish(Message(f"{site}/{number}", b"hello"))
        assert ears.wait_for(lambda event: isinstance(event, Received) and event.topic == f"{site}/2", PATIENCE_S)
        ears.stop()

    @pytest.mark.parametrize("keep_session", [True, False])
    def test_what_was_sent_while_the_link_was_broken_comes_with_the_next_one(
        self, connect, broker, plug_in, site, keep_session
    ):
        port = free_port()
        cable = plug_in(port)
        ears = connect(Mqtt(port=port), subscriptions=[f"{site}/#"], keep_session=keep_session)
        assert not ears.wait_for(Connected)[0].session_present
        cable.unplug()
        ears.wait_for(Disconnected)
        mouth = connect(Mqtt(port=broker.port))
        mouth.wait_for(Connected)
        mouth.bus.publish(Message(f"{site}/alert", b"angry"))
        assert mouth.wait_for(PublishResult)[0].reason == 0
        plug_in(port)
        assert ears.wait_for(Received)[0].payload == b"angry"
        assert ears.wait_for(Connected, 2)[1].session_present

    def test_the_broker_tells_when_nobody_listens(self, connect, broker, site):
        client = connect(Mqtt(port=broker.port))
        client.wait_for(Connected)
        client.bus.publish(Message(f"{site}/void", b"hello"))
        assert client.wait_for(PublishResult)[0].reason == 16

    def test_a_client_that_dies_leaves_its_will(self, broker, listen, site):
        listener = listen(f"{site}/#")
        script = (
            "import os, threading\n"
            "from edge_agent.config import Mqtt\n"
            "from edge_agent.delivery.mqtt import MqttBus\n"
            "from edge_agent.delivery.messages import Message\n"
            "woken = threading.Event()\n"
            f"bus = MqttBus(Mqtt(port={broker.port}), client_id='{site}', password=None, subscriptions=(),\n"
            f"              will=Message('{site}/state', b'offline', retain=True), wake=woken.set)\n"
            "bus.start(); woken.wait(60); os.kill(os.getpid(), 9)\n"
        )
        subprocess.run([sys.executable, "-c", script], check=False)
        assert listener.wait_for(lambda m: m.topic == f"{site}/state").payload == b"offline"

    def test_a_broker_that_is_not_there_is_reported_and_tried_again(self, connect, start_mosquitto):
        port = free_port()
        client = connect(Mqtt(port=port))
        assert f"127.0.0.1:{port}" in client.wait_for(Disconnected)[0].problem
        start_mosquitto("allow_anonymous true", port=port)
        client.wait_for(Connected)

    def test_a_connection_that_is_lost_comes_back_with_its_subscriptions(self, connect, start_mosquitto, site):
        first = start_mosquitto("allow_anonymous true")
        client = connect(Mqtt(port=first.port), subscriptions=[f"{site}/#"])
        client.wait_for(Connected)
        first.process.terminate()
        first.process.wait(PATIENCE_S)
        client.wait_for(Disconnected)
        start_mosquitto("allow_anonymous true", port=first.port)
        client.wait_for(Connected, 2)
        client.bus.publish(Message(f"{site}/x", b"still here"))
        assert client.wait_for(Received)[0].payload == b"still here"

    def test_two_clients_of_one_name_are_told(self, connect, broker, site):
        settings = Mqtt(port=broker.port)
        twins = [connect(settings, client_id=site) for _ in range(2)]
        named = [event for event in twins[0].wait_for(Disconnected, 3) if "uses the name" in event.problem]
        assert named
        assert site in named[0].problem

    def test_a_port_that_takes_connections_but_speaks_no_mqtt_is_given_up(self, connect, monkeypatch):
        monkeypatch.setattr("edge_agent.delivery.mqtt.CONNACK_TIMEOUT_S", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            client = connect(Mqtt(port=mute.getsockname()[1]))
            assert "does not answer as an MQTT broker" in client.wait_for(Disconnected)[0].problem

    def test_a_message_that_was_not_handled_before_a_crash_comes_again(self, connect, broker, site):
        settings, topic = Mqtt(port=broker.port), f"{site}/ack"
        script = (
            "import os, sys, threading\n"
            "from edge_agent.config import Mqtt\n"
            "from edge_agent.delivery.bus import Connected, Received\n"
            "from edge_agent.delivery.mqtt import MqttBus\n"
            "woken = threading.Event()\n"
            f"bus = MqttBus(Mqtt(port={broker.port}), client_id='{site}', password=None, subscriptions=['{topic}'],\n"
            "              wake=woken.set)\n"
            "bus.start()\n"
            "while True:\n"
            "    woken.wait(60); woken.clear()\n"
            "    for event in bus.events():\n"
            "        if isinstance(event, Connected): print('up', flush=True)\n"
            "        if isinstance(event, Received): os.kill(os.getpid(), 9)\n"
        )
        doomed = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert doomed.stdout.readline() == "up\n"
        mouth = connect(settings)
        mouth.wait_for(Connected)
        mouth.bus.publish(Message(topic, b"resolve"))
        assert doomed.wait(PATIENCE_S) == -9
        doomed.stdout.close()
        assert connect(settings, client_id=site, subscriptions=[topic]).wait_for(Received)[0].payload == b"resolve"

    def test_what_was_asked_of_somebody_who_was_away_is_not_done_later(self, connect, broker, site):
        settings, answer, command = Mqtt(port=broker.port), f"{site}/ack", f"{site}/cmd"
        heard = {"client_id": site, "subscriptions": [answer], "subscriptions_qos0": [command]}
        away = connect(settings, **heard)
        away.wait_for(Connected)
        mouth = connect(settings)
        mouth.wait_for(Connected)
        mouth.bus.publish(Message(command, b"now"))
        assert away.wait_for(Received)[0].payload == b"now"
        away.bus.stop()
        for topic in (command, answer):
            mouth.bus.publish(Message(topic, b"later"))
        mouth.wait_for(PublishResult, 3)
        back = connect(settings, **heard)
        assert [event.topic for event in back.wait_for(Received)] == [answer]
        mouth.bus.publish(Message(command, b"now"))
        assert [event.payload for event in back.wait_for(Received, 2)] == [b"later", b"now"]

    def test_a_wrong_password_is_named(self, connect, start_mosquitto, tmp_path):
        passwords = tmp_path / "passwords"
        passwd = Path(find_mosquitto()).with_name("mosquitto_passwd")
        passwd = passwd if passwd.exists() else Path("/usr/bin/mosquitto_passwd")
        subprocess.run([passwd, "-b", "-c", passwords, "kiosk", "right"], check=True, capture_output=True)
        broker = start_mosquitto("allow_anonymous false", f"password_file {passwords}")
        settings = Mqtt(port=broker.port, username="kiosk")
        assert "Not authorized" in connect(settings, password="wrong").wait_for(Disconnected)[0].problem
        connect(settings, password="right").wait_for(Connected)

    def test_tls_checks_the_brokers_certificate_and_name(self, connect, start_mosquitto, tmp_path):
        make_certificate(tmp_path, "localhost")
        broker = start_mosquitto(
            "allow_anonymous true", f"certfile {tmp_path}/server.pem", f"keyfile {tmp_path}/server.key"
        )
        trusting = config.Tls(enabled=True, ca_file=tmp_path / "server.pem")
        connect(Mqtt(host="localhost", port=broker.port, tls=trusting)).wait_for(Connected)
        unknown = connect(Mqtt(host="localhost", port=broker.port, tls=config.Tls(enabled=True)))
        assert "certificate verify failed" in unknown.wait_for(Disconnected)[0].problem
        other_name = connect(Mqtt(host="127.0.0.1", port=broker.port, tls=trusting))
        assert "certificate verify failed" in other_name.wait_for(Disconnected)[0].problem


def test_a_broker_that_lets_nothing_be_heard_is_reported(
    edge_agent, start_mosquitto, run_command, tmp_path, write_config
):
    [plugin] = Path("/usr/lib").glob("*/mosquitto_dynamic_security.so")
    roles = tmp_path / "roles.json"
    made = ["mosquitto_ctrl", "dynsec", "init", roles, "admin", "secret"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    rules = json.loads(roles.read_text())
    rules["roles"][0]["acls"] = []
    roles.write_text(json.dumps(rules))
    broker = start_mosquitto(f"plugin {plugin}", f"plugin_opt_config_file {roles}", "allow_anonymous false")
    (tmp_path / "password").write_text("secret")
    (tmp_path / "password").chmod(0o600)
    refused = {"username": "admin", "password_file": str(tmp_path / "password")}
    config_file = write_config(port=broker.port, mqtt=refused, camera={"source": "synthetic"})
    agent = edge_agent("run", "--config", config_file)
    problem = next(line for line in agent.stderr if "do not arrive" in line)
    assert "/ack/+" in problem
    assert "access rules" in problem
    assert "access rules" in run_command("doctor", "--config", config_file).out


def make_certificate(folder: Path, name: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-keyout", "server.key", "-out", "server.pem"]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, *subject], cwd=folder, check=True, capture_output=True)
