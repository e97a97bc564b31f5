"""The service files: hardened, valid, and enough for the broker example to keep kiosks apart."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import threading
import time

import paho.mqtt.client as paho
import pytest
from conftest import PATIENCE_S, REPOSITORY
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_agent.clock import synchronised
from edge_agent.config import Mqtt, Tls
from edge_agent.delivery.bus import Connected, Disconnected, PublishResult
from edge_agent.delivery.messages import Message
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.testing import free_port

SYSTEMD = REPOSITORY / "systemd"
MAX_EXPOSURE = 1.8


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize(
    "name", ["edge-agent.service", "edge-pager.service", "edge-pager-gpio.service", "edge-notify.service"]
)
class TestUnit:
    def test_its_exposure_is_low(self, name):
        result = run("systemd-analyze", "security", "--offline=true", SYSTEMD / name)
        exposure = re.search(rf"Overall exposure level for {name}: ([\d.]+)", result.stdout)
        assert exposure is not None, result.stderr
        assert float(exposure[1]) <= MAX_EXPOSURE

    def test_systemd_understands_every_line(self, name, tmp_path):
        unit = tmp_path / name
        text = (SYSTEMD / name).read_text()
        unit.write_text(text.replace("/opt/edge-agent/bin/edge-agent", "/bin/true"))
        assert name not in run("systemd-analyze", "verify", "--man=no", unit).stderr


def test_the_service_learns_from_timesyncd_that_the_clock_was_set(tmp_path):
    """Its unit forbids it to ask the kernel, which says no."""
    command = ["systemd-analyze", "syscall-filter", "@clock"]
    if shutil.which(command[0]) is not None:
        assert "adjtimex" in run(*command).stdout
    assert "ProtectClock=yes" in (SYSTEMD / "edge-agent.service").read_text()
    stamp = tmp_path / "synchronized"
    stamp.touch()
    assert synchronised(stamp)


def make_certificates(folder, *names):
    script = SYSTEMD / "mosquitto" / "make-certificates.sh"
    return run("sh", script, "-o", folder / "broker", "-a", folder / "authority", *names)


def contents(folder) -> dict[str, bytes]:
    """Return what lies below a folder, but the count of certificates."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".srl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class TestCertificates:
    @pytest.fixture
    def folder(self, tmp_path):
        made = make_certificates(tmp_path, "broker.lan", "lobby/kiosk-1")
        assert made.returncode == 0, made.stderr
        return tmp_path

    def test_keys_are_for_their_owner_and_the_authority_is_apart(self, folder):
        assert set(contents(folder)) == {
            "broker/ca.pem", "broker/broker.pem", "broker/broker.key",
            "authority/ca.pem", "authority/ca.key", "authority/lobby-kiosk-1.pem", "authority/lobby-kiosk-1.key",
        }  # fmt: skip
        for path in folder.rglob("*.*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o644 if path.suffix == ".pem" else 0o600), path.name
        assert stat.S_IMODE((folder / "authority").stat().st_mode) == 0o700

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_the_broker_owns_its_key(self, folder):
        assert (folder / "broker" / "broker.key").owner() == "mosquitto"
        assert (folder / "authority" / "ca.key").owner() == "root"

    @pytest.mark.parametrize("lost", ["ca.key", "ca.pem"])
    def test_half_an_authority_is_not_replaced(self, folder, lost):
        (folder / "authority" / lost).unlink()
        before = contents(folder)
        result = make_certificates(folder, "broker.lan", "lobby/kiosk-2")
        assert (result.returncode, f"{lost} is not there" in result.stderr) == (1, True)
        assert contents(folder) == before

    def test_an_authority_that_kiosks_trust_is_not_replaced_by_another(self, folder):
        (folder / "authority").rename(folder / "drawer")
        before = contents(folder / "broker")
        result = make_certificates(folder, "broker.lan")
        assert (result.returncode, "another authority's" in result.stderr) == (1, True)
        assert contents(folder / "broker") == before
        assert not contents(folder / "authority")

    def test_it_says_what_is_to_be_copied_where(self, tmp_path):
        said = make_certificates(tmp_path, "broker.lan", "lobby/kiosk-1").stdout
        assert f"to each kiosk and pager:  {tmp_path}/broker/ca.pem, nothing else" in said
        assert f"to lobby/kiosk-1 alone:  {tmp_path}/authority/lobby-kiosk-1.pem" in said
        assert f"{tmp_path}/authority/ca.key" in said.splitlines()[-1]

    def test_nothing_is_left_in_the_clone(self):
        result = make_certificates(SYSTEMD / "mosquitto" / "certificates", "broker.lan")
        assert (result.returncode, "is in the clone" in result.stderr) == (1, True)
        assert not (SYSTEMD / "mosquitto" / "certificates").exists()


class TestBrokerExample:
    """mosquitto with the shipped access rules and certificates."""

    @pytest.fixture(scope="class")
    @classmethod
    def certificates(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("certificates")
        made = make_certificates(folder, "localhost", "lobby/kiosk-1")
        assert made.returncode == 0, made.stderr
        before = contents(folder)
        later = make_certificates(folder, "localhost", "lobby/kiosk-1", "lobby/kiosk-2")  # a kiosk is added
        assert later.returncode == 0, later.stderr
        assert before.items() <= contents(folder).items()
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def port(cls, certificates, tmp_path_factory, start_mosquitto):
        folder = tmp_path_factory.mktemp("broker")
        passwords = folder / "passwords"
        users = ("lobby/kiosk-2", "staff", "operator", "admin")
        for flags, user in ((["-c"], "lobby/kiosk-1"), *(([], user) for user in users)):
            made = run(
                shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd", *flags, "-b", passwords, user, user
            )
            assert made.returncode == 0, made.stderr
        lines = (SYSTEMD / "mosquitto" / "edge-agent.conf").read_text()
        port = free_port()
        for old, new in (
            ("/etc/mosquitto/edge-agent.passwords", passwords),
            ("/etc/mosquitto/edge-agent.acl", SYSTEMD / "mosquitto" / "edge-agent.acl"),
            ("/etc/mosquitto/certs", certificates / "broker"),
            ("listener 8883", f"listener {port} 127.0.0.1"),
            ("persistence true", "persistence false"),
        ):
            assert old in lines
            lines = lines.replace(old, str(new))
        start_mosquitto(*lines.splitlines(), port=port, listener=False)
        return port

    @pytest.fixture
    def connect(self, certificates, port):
        clients = []

        def note(client, _, message) -> None:
            with client.arrived:
                client.heard.append(message.topic)
                client.arrived.notify_all()

        def start(user: str, *topics: str):
            client = paho.Client(CallbackAPIVersion.VERSION2, client_id=user, protocol=MQTTProtocolVersion.MQTTv5)
            client.username_pw_set(user, user)
            client.tls_set(ca_certs=str(certificates / "broker" / "ca.pem"))
            client.heard, client.ready, client.arrived = [], threading.Event(), threading.Condition()
            client.on_message = note
            client.on_connect = lambda c, *_: c.subscribe([(topic, 1) for topic in topics or ("none",)])
            client.on_subscribe = lambda c, *_: c.ready.set()
            client.connect("localhost", port)
            client.loop_start()
            clients.append(client)
            assert client.ready.wait(PATIENCE_S), user
            return client

        yield start
        for client in clients:
            client.disconnect()
            client.loop_stop()

    def reason(self, client, topic: str) -> int:
        reasons, answered = [], threading.Event()
        client.on_publish = lambda _c, _u, _mid, reason, _p: (reasons.append(reason.value), answered.set())
        client.publish(topic, b"{}", qos=1)
        assert answered.wait(PATIENCE_S)
        return reasons[0]

    #: What a device says, and what it is told.
    SAYS = ("state", "info", "health", "event", "summary", "alert/active", "alert/01", "rsp/1")
    IS_TOLD = ("ack/01", "cmd/ping", "cmd/reload")

    def test_a_kiosk_writes_below_its_own_topic_only(self, connect):
        kiosk = connect("lobby/kiosk-1")
        for topic in self.SAYS:
            assert self.reason(kiosk, f"kiosk/v1/lobby/kiosk-1/{topic}") < 128, topic
        others = [f"lobby/kiosk-2/{topic}" for topic in (*self.SAYS, *self.IS_TOLD)]
        own = [f"lobby/kiosk-1/{topic}" for topic in (*self.IS_TOLD, "other", "state/more", "alert/01/more")]
        for topic in (*others, *own, "lobby/state", "lobby/kiosk-1"):
            assert self.reason(kiosk, f"kiosk/v1/{topic}") == 135, topic

    @pytest.mark.parametrize(
        ("user", "commands", "forbidden"),
        [
            ("staff", ("ping", "rebirth", "snooze", "answer"), ("reload", "selftest", "activate")),
            ("operator", ("ping", "rebirth", "snooze", "answer", "reload", "selftest", "activate", "rollback"), ()),
        ],
    )
    def test_people_tell_devices_what_is_theirs_to_say_and_speak_for_none(self, connect, user, commands, forbidden):
        client = connect(user)
        for verb in commands:
            assert self.reason(client, f"kiosk/v1/lobby/kiosk-1/cmd/{verb}") < 128, verb
        answers = self.reason(client, "kiosk/v1/lobby/kiosk-2/ack/01")
        assert answers < 128 if user == "staff" else answers == 135
        for topic in (*self.SAYS, *(f"cmd/{verb}" for verb in forbidden), "ack/01/more", "cmd/ping/more"):
            assert self.reason(client, f"kiosk/v1/lobby/kiosk-1/{topic}") == 135, topic

    @pytest.mark.parametrize(("user", "may"), [("operator", False), ("admin", True)])
    def test_only_one_user_may_retire_devices(self, connect, user, may):
        client = connect(user)
        for topic in ("kiosk/v1/lobby/kiosk-9/state", "homeassistant/sensor/edge_agent_lobby_kiosk_9/state/config"):
            assert (self.reason(client, topic) < 128) is may, topic

    def test_a_kiosk_hears_nothing_of_what_is_said_to_or_by_others(self, connect):
        kiosk = connect("lobby/kiosk-1", "kiosk/v1/#")
        other, operator = connect("lobby/kiosk-2"), connect("operator")
        for topic in self.SAYS:
            self.reason(other, f"kiosk/v1/lobby/kiosk-2/{topic}")
        self.reason(operator, "kiosk/v1/lobby/kiosk-2/cmd/ping")
        assert self.reason(operator, "kiosk/v1/lobby/kiosk-1/cmd/last") == 0
        with kiosk.arrived:
            assert kiosk.arrived.wait_for(lambda: kiosk.heard, PATIENCE_S)
        assert kiosk.heard == ["kiosk/v1/lobby/kiosk-1/cmd/last"]

    def test_a_kiosk_is_told_what_it_said_last_of_its_alerts_and_not_what_others_said(self, connect):
        active = [f"kiosk/v1/lobby/kiosk-{number}/alert/active" for number in (1, 2)]
        for number, topic in enumerate(active, 1):
            connect(f"lobby/kiosk-{number}").publish(topic, b"open", qos=1, retain=True).wait_for_publish(PATIENCE_S)
        kiosk = connect("lobby/kiosk-1", *reversed(active))
        with kiosk.arrived:
            assert kiosk.arrived.wait_for(lambda: kiosk.heard, PATIENCE_S)
        assert kiosk.heard == [active[0]]
        for number, topic in enumerate(active, 1):
            connect(f"lobby/kiosk-{number}").publish(topic, b"", qos=1, retain=True).wait_for_publish(PATIENCE_S)

    def test_a_pager_answers_and_a_kiosk_hears_only_its_own(self, connect):
        kiosk = connect("lobby/kiosk-1", "kiosk/v1/+/+/ack/+", "kiosk/v1/lobby/kiosk-1/ack/+")
        staff = connect("staff", "kiosk/v1/#")
        assert self.reason(staff, "kiosk/v1/lobby/kiosk-2/ack/01") in (0, 16)
        assert self.reason(staff, "kiosk/v1/lobby/kiosk-1/ack/02") in (0, 16)
        assert self.reason(staff, "kiosk/v1/lobby/kiosk-1/alert/02") == 135
        with kiosk.arrived:
            assert kiosk.arrived.wait_for(lambda: kiosk.heard, PATIENCE_S)
        assert set(kiosk.heard) == {"kiosk/v1/lobby/kiosk-1/ack/02"}

    def test_a_certificate_stands_for_user_and_password(self, certificates, tmp_path, start_mosquitto):
        (tmp_path / "passwords").touch()
        lines = (SYSTEMD / "mosquitto" / "edge-agent.conf").read_text()
        port = free_port()
        for old, new in (
            ("password_file /etc/mosquitto/edge-agent.passwords", ""),
            ("/etc/mosquitto/edge-agent.acl", str(SYSTEMD / "mosquitto" / "edge-agent.acl")),
            ("/etc/mosquitto/certs", str(certificates / "broker")),
            ("listener 8883", f"listener {port} 127.0.0.1"),
            ("persistence true", "persistence false"),
            ("#require_certificate", "require_certificate"),
            ("#use_identity_as_username", "use_identity_as_username"),
        ):
            assert old in lines
            lines = lines.replace(old, new)
        start_mosquitto(*lines.splitlines(), port=port, listener=False)
        ends = {"cert_file": "pem", "key_file": "key"}
        shown = {option: certificates / "authority" / f"lobby-kiosk-1.{end}" for option, end in ends.items()}
        for files, expected in ((shown, Connected), ({}, Disconnected)):
            tls = Tls(enabled=True, ca_file=certificates / "broker" / "ca.pem", **files)
            wake = threading.Event()
            bus = MqttBus(
                Mqtt(host="localhost", port=port, tls=tls), client_id="lobby/kiosk-1", password=None, subscriptions=(),
                wake=wake.set,
            )  # fmt: skip
            bus.start()
            events = wait_for_events(bus, wake)
            assert isinstance(events[0], expected), events
            if expected is Connected:
                for topic, allowed in (("lobby/kiosk-1", True), ("lobby/kiosk-2", False)):
                    bus.publish(Message(f"kiosk/v1/{topic}/state", b"{}"))
                    [answer] = [e for e in wait_for_events(bus, wake) if isinstance(e, PublishResult)]
                    assert (answer.reason < 128) is allowed
            bus.stop()

    def test_the_agent_works_under_these_rules(self, edge_agent, certificates, port, connect, tmp_path):
        staff = connect("staff", "kiosk/v1/#")
        (tmp_path / "password").write_text("lobby/kiosk-2")
        (tmp_path / "password").chmod(0o600)
        settings = {
            "site": {"name": "lobby", "device": "kiosk-2"},
            "camera": {"source": "synthetic"},
            "mqtt": {
                "host": "localhost", "port": port, "username": "lobby/kiosk-2",
                "password_file": str(tmp_path / "password"),
                "tls": {"enabled": True, "ca_file": str(certificates / "broker" / "ca.pem")},
            },
            "outbox": {"state_dir": str(tmp_path / "state")},
            "logging": {"health_interval_s": 1, "format": "json"},
        }  # fmt: skip
        (tmp_path / "config.yaml").write_text(json.dumps(settings))
        agent = edge_agent("run", "--config", tmp_path / "config.yaml")
        self.hear(staff, "state", "info", "health", "alert/active")
        staff.publish(
            "kiosk/v1/lobby/kiosk-2/cmd/ping", '{"schema": "command", "version": 1, "request_id": "r"}', qos=1
        )
        self.hear(staff, "rsp/r")
        agent.terminate()
        _, rest = agent.communicate(timeout=PATIENCE_S)
        assert "refuses" not in rest

    def hear(self, staff, *ends: str) -> None:
        wanted = {f"kiosk/v1/lobby/kiosk-2/{end}" for end in ends}
        with staff.arrived:
            assert staff.arrived.wait_for(lambda: wanted <= set(staff.heard), PATIENCE_S), staff.heard


def wait_for_events(bus, wake) -> list:
    """Return the next events, at least one."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        wake.wait(0.5)
        wake.clear()
        if events := bus.events():
            return events
    pytest.fail("nothing happened")


def test_the_installer_teaches_and_refuses_what_it_cannot_do():
    script = SYSTEMD / "install.sh"
    assert run("sh", "-n", script).returncode == 0
    result = run("sh", script, "nonsense")
    assert result.returncode in (1, 2)
    assert "install" in result.stderr
