"""Messages fit their schemas; the outbox keeps what it was given; the bus speaks to a real broker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import pytest
from conftest import PATIENCE_S, find_mosquitto, free_port

from edge_agent import config
from edge_agent.alerting.rules import Alert
from edge_agent.alerting.ulid import make_ulid
from edge_agent.config import Config, Mqtt, Rule
from edge_agent.delivery.bus import Connected, Delivered, Disconnected, MqttBus, Received
from edge_agent.delivery.messages import SCHEMA_DIR, Ack, Composer, Message, MessageError, Topics, parse_ack
from edge_agent.delivery.outbox import FILE_NAME, Outbox
from edge_agent.errors import StateError
from edge_agent.testing import FakeClock

ULID = "01M7Y8H3KR49JEKEK9MMJWTPA7"


def validate(payload: bytes) -> dict:
    body = json.loads(payload)
    schema = json.loads((SCHEMA_DIR / f"{body['schema']}.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(body)
    return body


def composer() -> Composer:
    return Composer(Config(), session=ULID, unix=lambda: 1_800_000_000.25, monotonic=lambda: 12.5)


def alert(**values) -> Alert:
    known = {"id": ULID, "rule": Rule(name="r"), "zone": "view", "step": "raised", "revision": 1, "score": 0.81234}
    return Alert(**{**known, "people": 1, "raised_s": 10.0, "changed_s": 12.0, **values})


def test_ulids_follow_the_specification():
    assert make_ulid(1469918176.385, bytes(10)) == "01ARYZ6S410000000000000000"
    assert make_ulid(1.0, b"\xff" * 10)[10:] == "Z" * 16
    assert make_ulid(1.0, bytes(10)) < make_ulid(1.001, bytes(10))
    with pytest.raises(ValueError, match="10 random bytes"):
        make_ulid(1.0, b"short")


def test_an_alert_that_is_told_again_says_so():
    maker = composer()
    assert "repeated" not in validate(maker.alert(alert()).payload)
    assert validate(maker.alert(alert(), repeated=True).payload)["repeated"] is True


def test_an_alert_message_says_who_where_when_and_how_long():
    message = composer().alert(alert())
    body = validate(message.payload)
    assert message.topic == f"kiosk/v1/site/kiosk-1/alert/{ULID}"
    assert (message.retain, message.expiry_s) == (False, 120)
    assert body["raised_at"] == "2027-01-15T07:59:58.250Z"
    assert body["expires_at"] == "2027-01-15T08:02:00.250Z"
    assert (body["place"], body["score"], body["message"]) == ("front desk", 0.812, "Please send assistance")


def test_only_the_standing_messages_are_retained():
    make = composer()
    health = {"state": "online"}
    retained = [make.state("online"), make.info({}), make.health(health), make.active([alert()])]
    passing = [make.alert(alert()), make.event("a", "b"), make.response("1", ok=True, detail="")]
    assert all(m.retain for m in retained)
    assert not any(m.retain for m in passing)
    assert validate(make.active([alert()]).payload)["ids"] == [ULID]


def test_schemas_have_no_room_for_a_picture():
    for path in SCHEMA_DIR.glob("*.json"):
        if path.stem in ("ack", "command"):
            continue  # these come in
        schema = json.loads(path.read_text())
        assert schema["additionalProperties"] is False
        for name, kind in schema["properties"].items():
            text = kind.get("type") == "string"
            assert not text or kind.get("maxLength", 10_000) <= 300 or "pattern" in kind, f"{path.stem}.{name}"


def test_acks_survive_the_journey_and_strange_ones_are_refused():
    ack = Ack(ULID, "false_alarm", "Kim")
    payload = ack.payload(unix_s=0)
    validate(payload)
    assert parse_ack(payload) == ack
    good = json.loads(payload)
    for bad in (
        {**good, "action": "explode"},
        {**good, "by": ""},
        {**good, "by": "x" * 65},
        {**good, "by": "kim\x1b[2J"},
        {**good, "by": "\ud800"},
        {**good, "id": "../../etc"},
        {**good, "schema": "alert"},
        {**good, "version": 2},
        [good],
        "ack",
        {},
    ):
        with pytest.raises(MessageError):
            parse_ack(json.dumps(bad).encode())
    for junk in (b"", b"\xff", b"{", b"[" * 10_000, b" " * 20_000):
        with pytest.raises(MessageError):
            parse_ack(junk)
    assert parse_ack(json.dumps({**good, "new_field": 1}).encode()) == ack


def test_topics_of_other_devices_are_foreign():
    topic = Topics(Mqtt(), site="a", device="b")
    assert topic.below("kiosk/v1/a/b/ack/1") == ["ack", "1"]
    assert topic.below("kiosk/v1/a/bb/ack/1") == []


class TestOutbox:
    @pytest.fixture
    def clock(self):
        return FakeClock(1000)

    @pytest.fixture
    def outbox(self, tmp_path, clock):
        box = Outbox(tmp_path, max_bytes=1000, unix=clock)
        yield box
        box.close()

    def test_messages_come_back_in_order_after_a_restart(self, outbox, tmp_path, clock):
        for number in range(3):
            outbox.add(Message("t", b"%d" % number, retain=number == 1, expiry_s=100))
        outbox.close()
        clock.advance(40)
        again = Outbox(tmp_path, max_bytes=1000, unix=clock)
        rows = again.pending(limit=10)
        assert [row.message.payload for row in rows] == [b"0", b"1", b"2"]
        assert [row.message.retain for row in rows] == [False, True, False]
        assert [row.expires_s for row in rows] == [1100, 1100, 1100]
        assert again.depth() == (3, 40)
        again.remove([rows[1].seq])
        assert [row.message.payload for row in again.pending(limit=10)] == [b"0", b"2"]
        again.close()

    def test_a_process_that_is_killed_loses_nothing(self, tmp_path):
        script = (
            "import os, pathlib, signal, time\n"
            "from edge_agent.delivery.outbox import Outbox\n"
            "from edge_agent.delivery.messages import Message\n"
            f"box = Outbox(pathlib.Path({str(tmp_path)!r}), max_bytes=1000, unix=time.time)\n"
            "box.add(Message('t', b'before the kill'))\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
        box = Outbox(tmp_path, max_bytes=1000, unix=FakeClock())
        assert [row.message.payload for row in box.pending(limit=1)] == [b"before the kill"]
        box.close()

    def test_a_full_spool_gives_up_its_oldest_and_says_which(self, outbox):
        for number in range(4):
            assert outbox.add(Message(f"t/{number}", b"x" * 240))[1] == []
        _, evicted = outbox.add(Message("t/4", b"x" * 300))
        assert [row.message.topic for row in evicted] == ["t/0", "t/1"]
        assert outbox.depth()[0] == 3

    def test_messages_that_belong_together_are_kept_together(self, outbox):
        assert outbox.add(Message("a", b"1"), Message("b", b"2"))[0] == [1, 2]
        outbox._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StateError):
            outbox.add(Message("c", b"3"), Message("d", b"x" * 5000), note=("open", "c"))
        assert [row.message.topic for row in outbox.pending(limit=9)] == ["a", "b"]
        assert outbox.note("open") is None

    def test_a_second_agent_on_the_same_spool_is_turned_away(self, outbox, tmp_path, clock):
        outbox.add(Message("t", b"mine"))
        with pytest.raises(StateError, match="in use by another agent"):
            Outbox(tmp_path, max_bytes=1000, unix=clock)

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path, clock):
        blocker = tmp_path / "file"
        blocker.write_text("")
        with pytest.raises(StateError, match=r"outbox\.state_dir"):
            Outbox(blocker / "state", max_bytes=1000, unix=clock)

    def test_what_the_next_run_must_know_is_committed_with_the_message(self, outbox, tmp_path, clock):
        outbox.add(Message("t", b"x"), note=("episodes", "one"))
        outbox.write_note("episodes", "two")
        outbox.close()
        again = Outbox(tmp_path, max_bytes=1000, unix=clock)
        assert (again.note("episodes"), again.note("other")) == ("two", None)
        again.close()

    def test_a_full_spool_gives_up_summaries_first_and_alerts_last(self, outbox):
        for topic in ("d/alert/1", "d/event", "d/summary", "d/alert/2"):
            outbox.add(Message(topic, b"x" * 240))
        given_up = [row.message.topic for _ in range(4) for row in outbox.add(Message("d/alert/3", b"x" * 240))[1]]
        assert given_up == ["d/summary", "d/event", "d/alert/1", "d/alert/2"]

    def test_a_file_that_is_no_spool_is_set_aside(self, tmp_path, clock):
        (tmp_path / FILE_NAME).write_bytes(b"these are not the pages you are looking for" * 100)
        box = Outbox(tmp_path, max_bytes=1000, unix=clock)
        box.add(Message("t", b"fresh"))
        box.close()
        assert box.set_aside == tmp_path / f"{FILE_NAME}.unreadable-1000"
        assert box.set_aside.read_bytes().startswith(b"these are not")

    def test_a_spool_whose_pages_are_damaged_is_set_aside(self, tmp_path, clock):
        box = Outbox(tmp_path, max_bytes=1_000_000, unix=clock)
        for _ in range(50):
            box.add(Message("t", os.urandom(500)))
        box.close()
        content = bytearray((tmp_path / FILE_NAME).read_bytes())
        content[4096 * 2 : 4096 * 6] = os.urandom(4096 * 4)
        (tmp_path / FILE_NAME).write_bytes(content)
        box = Outbox(tmp_path, max_bytes=1_000_000, unix=clock)
        assert box.set_aside is not None
        assert box.depth() == (0, 0)
        box.close()


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
        [delivered] = mouth.wait_for(Delivered)
        assert delivered.token == token
        assert delivered.reason < 128
        [received] = ears.wait_for(Received)
        assert (received.topic, received.payload) == (f"{site}/x", b"hello")

    def test_without_a_connection_nothing_is_taken(self, connect, site):
        client = connect(Mqtt(port=free_port()))
        client.wait_for(Disconnected)
        assert client.bus.publish(Message(f"{site}/x", b"too early")) is None

    def test_the_broker_tells_when_nobody_listens(self, connect, broker, site):
        client = connect(Mqtt(port=broker.port))
        client.wait_for(Connected)
        client.bus.publish(Message(f"{site}/void", b"hello"))
        assert client.wait_for(Delivered)[0].reason == 16

    def test_a_client_that_dies_leaves_its_will(self, broker, listen, site):
        listener = listen(f"{site}/#")
        script = (
            "import os, threading\n"
            "from edge_agent.config import Mqtt\n"
            "from edge_agent.delivery.bus import MqttBus\n"
            "from edge_agent.delivery.messages import Message\n"
            "woken = threading.Event()\n"
            f"bus = MqttBus(Mqtt(port={broker.port}), client_id='{site}', password=None, subscriptions=(),\n"
            f"              will=Message('{site}/state', b'offline', retain=True), wake=woken.set)\n"
            "bus.start(); woken.wait(20); os.kill(os.getpid(), 9)\n"
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
        first.process.wait(5)
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
        monkeypatch.setattr("edge_agent.delivery.bus.CONNACK_TIMEOUT_S", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            client = connect(Mqtt(port=mute.getsockname()[1]))
            assert "does not answer as an MQTT broker" in client.wait_for(Disconnected)[0].problem

    def test_a_message_that_was_not_handled_before_a_crash_comes_again(self, connect, broker, site):
        settings, topic = Mqtt(port=broker.port), f"{site}/ack"
        script = (
            "import os, sys, threading\n"
            "from edge_agent.config import Mqtt\n"
            "from edge_agent.delivery.bus import Connected, MqttBus, Received\n"
            "woken = threading.Event()\n"
            f"bus = MqttBus(Mqtt(port={broker.port}), client_id='{site}', password=None, subscriptions=['{topic}'],\n"
            "              wake=woken.set)\n"
            "bus.start()\n"
            "while True:\n"
            "    woken.wait(20); woken.clear()\n"
            "    for event in bus.events():\n"
            "        if isinstance(event, Connected): print('up', flush=True)\n"
            "        if isinstance(event, Received): os.kill(os.getpid(), 9)\n"
        )
        doomed = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert doomed.stdout.readline() == "up\n"
        mouth = connect(settings)
        mouth.wait_for(Connected)
        mouth.bus.publish(Message(topic, b"resolve"))
        assert doomed.wait(20) == -9
        doomed.stdout.close()
        assert connect(settings, client_id=site, subscriptions=[topic]).wait_for(Received)[0].payload == b"resolve"

    def test_what_was_asked_of_somebody_who_was_away_is_not_done_later(self, connect, broker, site):
        settings, answer, command = Mqtt(port=broker.port), f"{site}/ack", f"{site}/cmd"
        heard = {"client_id": site, "subscriptions": [answer], "fleeting": [command]}
        away = connect(settings, **heard)
        away.wait_for(Connected)
        mouth = connect(settings)
        mouth.wait_for(Connected)
        mouth.bus.publish(Message(command, b"now"))
        assert away.wait_for(Received)[0].payload == b"now"
        away.bus.stop()
        for topic in (command, answer):
            mouth.bus.publish(Message(topic, b"later"))
        mouth.wait_for(Delivered, 3)
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


def make_certificate(folder: Path, name: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-keyout", "server.key", "-out", "server.pem"]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, *subject], cwd=folder, check=True, capture_output=True)
