"""A broker that does not take a connection: what is said of it, and that doing so helps."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest
from conftest import PATIENCE_S
from test_bus import make_certificate

from edge_agent.config import Mqtt, Tls, load_config
from edge_agent.delivery.bus import Connected, Disconnected, PublishResult, Received
from edge_agent.delivery.messages import Message
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.errors import ConfigError
from edge_agent.testing import free_port

PORTS = ("plain", "tls", "ws", "wss", "client certificates", "ipv6")


@pytest.fixture(scope="module")
def ports(start_mosquitto, tmp_path_factory):
    """Return a broker's ports, one for each way to speak to it, and the certificate's folder."""
    folder = tmp_path_factory.mktemp("ways")
    make_certificate(folder, "localhost")
    ports = {name: free_port() for name in PORTS}
    secured = (f"certfile {folder}/server.pem", f"keyfile {folder}/server.key")
    start_mosquitto(
        f"listener {ports['tls']} 127.0.0.1", *secured,
        f"listener {ports['ws']} 127.0.0.1", "protocol websockets",
        f"listener {ports['wss']} 127.0.0.1", "protocol websockets", *secured,
        f"listener {ports['client certificates']} 127.0.0.1", *secured, f"cafile {folder}/server.pem",
        "require_certificate true",
        f"listener {ports['ipv6']} ::1",
        f"listener {ports['plain']} 127.0.0.1",  # opened after the others
        "allow_anonymous true",
        port=ports["plain"], listener=False,
    )  # fmt: skip
    return ports, folder


def first(settings: Mqtt, kind: type, *, subscriptions=()) -> object:
    """Connect; return the first event of a kind."""
    bus = MqttBus(settings, client_id="finds-out", password=None, subscriptions=subscriptions, keep_session=False)
    found = []
    bus.start()
    bus.wait_for(lambda event: isinstance(event, kind) and found.append(event) is None, 2 * PATIENCE_S)
    bus.stop()
    return found[0]


def problem(settings: Mqtt) -> str:
    said = first(settings, Disconnected).problem
    assert "\n" not in said
    return said


WS = "mqtt.transport: websockets"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(
    ("port", "wrong", "speaks", "advice"),
    [
        ("plain", {"tls": True}, "MQTT without TLS", "mqtt.tls.enabled: false"),
        ("plain", {"transport": "websockets"}, "MQTT without TLS", "mqtt.transport: tcp"),
        ("tls", {}, "MQTT with TLS", "mqtt.tls.enabled: true"),
        ("tls", {"tls": True, "transport": "websockets"}, "MQTT with TLS", "mqtt.transport: tcp"),
        ("ws", {}, "MQTT over WebSockets without TLS", WS),
        ("ws", {"tls": True}, "MQTT over WebSockets without TLS", f"mqtt.tls.enabled: false and {WS}"),
        ("wss", {}, "MQTT over WebSockets with TLS", f"mqtt.tls.enabled: true and {WS}"),
        ("wss", {"transport": "websockets"}, "MQTT over WebSockets with TLS", "mqtt.tls.enabled: true"),
    ],
)
def test_a_port_that_is_spoken_to_in_the_wrong_way_is_told_and_the_advice_helps(
    ports, protocol, port, wrong, speaks, advice
):
    numbers, folder = ports
    tls = Tls(enabled=True, ca_file=folder / "server.pem")
    settings = Mqtt(host="localhost", port=numbers[port], protocol=protocol)
    wrongly = replace(settings, **{**wrong, "tls": tls if wrong.get("tls") else Tls()})
    said = problem(wrongly)
    assert said.startswith(f"localhost:{settings.port} speaks {speaks}; set {advice}, or mqtt.port"), said
    rightly = replace(
        wrongly,
        tls=tls if "enabled: true" in advice else Tls() if "enabled: false" in advice else wrongly.tls,
        transport="websockets" if WS in advice else "tcp" if "transport: tcp" in advice else wrongly.transport,
    )
    assert first(rightly, Connected)


@pytest.mark.parametrize("tls", [True, False])
def test_a_broker_that_wants_certificates_of_its_clients_is_told(ports, tls):
    numbers, folder = ports
    settings = Mqtt(host="localhost", port=numbers["client certificates"])
    said = problem(replace(settings, tls=Tls(enabled=tls, ca_file=folder / "server.pem")))
    assert "speaks TLS" in said
    assert ("mqtt.tls.cert_file" if tls else "mqtt.tls.enabled: true") in said


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("port", ["ws", "wss"])
def test_messages_travel_over_websockets(ports, protocol, port):
    numbers, folder = ports
    tls = Tls(enabled=port == "wss", ca_file=folder / "server.pem")
    settings = Mqtt(
        host="localhost", port=numbers[port], protocol=protocol, transport="websockets", websocket_path="/", tls=tls
    )
    bus = MqttBus(settings, client_id=f"ws-{port}", password=None, subscriptions=["over/#"], keep_session=False)
    bus.start()
    assert bus.wait_for(lambda event: isinstance(event, Connected), PATIENCE_S)
    large = bytes(15_000)
    bus.publish(Message("over/websockets", large))
    assert bus.wait_for(lambda event: isinstance(event, Received) and event.payload == large, PATIENCE_S)
    bus.stop()


@pytest.mark.parametrize("host", ["::1", "[::1]"])
@pytest.mark.parametrize("written", ["{host: '%s', port: %d}", '{host: "%s", port: %d}'])
def test_an_address_of_ipv6_is_a_host(ports, tmp_path, host, written):
    (tmp_path / "config.yaml").write_text("mqtt: " + written % (host, ports[0]["ipv6"]))
    settings = load_config(tmp_path / "config.yaml").mqtt
    assert first(settings, Connected)
    assert settings.address == f"[::1]:{settings.port}"


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("broker:1884", "write `host: broker` and `port: 1884`"),
        ("[::1]:1884", "write `host: [::1]` and `port: 1884`"),
        ("mqtts://broker.lan:8884", "write `host: broker.lan` and `port: 8884`"),
        ("ws://broker.lan:9001/mqtt", "write `host: broker.lan` and `port: 9001`"),
        ("mqtt://broker.lan", "write `host: broker.lan`"),
        ("mqtts://broker.lan", "write `host: broker.lan` and `tls: {enabled: true}`"),
        ("1:2:3", "write `host: 1:2` and `port: 3`"),
        (":1883", "is no host"),
        ("broker:", "is no host"),
    ],
)
def test_more_than_a_host_is_refused_with_its_line_and_what_to_write(tmp_path, given, advice):
    path = tmp_path / "config.yaml"
    path.write_text(f'mqtt:\n  port: 1883\n  host: "{given}"\n')
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    assert str(refused.value).startswith(f"{path}:3: mqtt.host: '{given}' is ")
    assert advice in str(refused.value)


def test_a_host_with_its_port_on_the_command_line_is_refused(run_command):
    finished = run_command("pager", "--host", "broker:1884")
    assert finished.code == 2
    assert "--host 'broker:1884' is more than a host" in finished.one_line_error()


@pytest.mark.parametrize(("given", "problem"), [("[::1]", "not valid YAML"), ("[fe80::1]", r"mqtt\.host: expected")])
def test_an_address_in_brackets_that_yaml_takes_for_a_list_says_to_put_it_in_quotes(tmp_path, given, problem):
    (tmp_path / "config.yaml").write_text(f"mqtt:\n  host: {given}\n")
    with pytest.raises(ConfigError, match=f":2: {problem}.*in quotes"):
        load_config(tmp_path / "config.yaml")


@pytest.fixture
def serve():
    """Starts servers that answer the first bytes of each connection with what a function makes of them."""
    servers = []

    def start(answer, host: str = "127.0.0.1") -> int:
        server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        servers.append(server)

        def run() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    link.settimeout(PATIENCE_S)
                    link.sendall(answer(link.recv(4096)))

        threading.Thread(target=run, daemon=True).start()
        return server.getsockname()[1]

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_a_websocket_names_an_ipv6_host_in_brackets(serve):
    asked = []
    port = serve(lambda request: asked.append(request) or b"", host="::1")
    problem(Mqtt(host="::1", port=port, transport="websockets"))
    assert f"\r\nHost: [::1]:{port}\r\n".encode() in asked[0]


def version(asked: bytes) -> int:
    """Return the version of MQTT that a CONNECT asks for, 0 for what is none."""
    at = asked.find(b"\x00\x04MQTT")
    return asked[at + 6] if at > 0 else 0


@pytest.mark.parametrize("no", [b"\x20\x02\x00\x01", b""])
def test_a_broker_of_an_older_mqtt_is_told_whether_it_says_so_or_hangs_up(serve, no):
    port = serve(lambda asked: b"\x20\x02\x00\x00" if version(asked) == 4 else no)
    assert problem(Mqtt(port=port)) == f'127.0.0.1:{port} does not speak MQTT 5; set mqtt.protocol: "3.1.1"'
    assert first(Mqtt(port=port, protocol="3.1.1"), Connected)


def test_a_broker_that_hangs_up_and_speaks_what_is_set_is_not_said_to_speak_something_else(serve):
    answers = {4: b"\x20\x02\x00\x00", 5: b"\x20\x03\x00\x00\x00"}
    port = serve(lambda asked: b"" if b"finds-out" in asked else answers.get(version(asked), b""))
    assert problem(Mqtt(port=port)) == f"127.0.0.1:{port} does not answer as an MQTT broker"


def test_a_web_server_is_not_taken_for_a_broker(serve):
    port = serve(lambda _: b"HTTP/1.1 404 Not Found\r\n\r\n")
    assert problem(Mqtt(port=port)) == f"127.0.0.1:{port} does not answer as an MQTT broker"
    assert "is mqtt.websocket_path right?" in problem(Mqtt(port=port, transport="websockets"))


def test_what_nobody_listens_to_or_nobody_knows_is_told():
    assert "is the broker running there" in problem(Mqtt(port=free_port()))
    assert "check mqtt.host" in problem(Mqtt(host="nowhere.invalid"))


@pytest.mark.parametrize(("user", "advice"), [(None, "set mqtt.username"), ("kim", "check mqtt.username (kim)")])
def test_a_broker_that_wants_another_user_says_which_option(start_mosquitto, user, advice):
    broker = start_mosquitto("allow_anonymous false")
    said = problem(Mqtt(port=broker.port, username=user))
    assert "the broker refuses: Not authorized" in said
    assert advice in said


def test_a_topic_that_is_refused_is_named(start_mosquitto, tmp_path):
    (tmp_path / "acl").write_text("topic write allowed\n")
    broker = start_mosquitto("allow_anonymous true", f"acl_file {tmp_path}/acl")
    bus = MqttBus(Mqtt(port=broker.port), client_id="refused", password=None, subscriptions=())
    results = {}
    bus.start()
    assert bus.wait_for(lambda event: isinstance(event, Connected), PATIENCE_S)
    tokens = {bus.publish(Message(topic, b"x")): topic for topic in ("allowed", "health", "state")}

    def note(event) -> bool:
        if isinstance(event, PublishResult):
            results[event.token] = event
        return len(results) == len(tokens)

    assert bus.wait_for(note, PATIENCE_S)
    bus.stop()
    said = {topic: results[token].problem for token, topic in tokens.items()}
    assert said["allowed"] == ""
    for topic in ("health", "state"):
        assert said[topic] == (
            f"the broker refuses messages on {topic} (reason 135); check its access rules for this user"
        )


def test_the_agent_doctor_and_pager_say_the_same(ports, edge_agent, run_command, write_config):
    config_file = write_config(port=ports[0]["ws"], camera={"source": "synthetic"})
    said = f"127.0.0.1:{ports[0]['ws']} speaks MQTT over WebSockets without TLS; set {WS}"
    finished = run_command("pager", "--plain", "--config", config_file)
    assert finished.code == 5
    assert said in finished.one_line_error()
    agent = edge_agent("run", "--config", config_file)
    assert said in next(line for line in agent.stderr if "speaks" in line)
    agent.terminate()
    assert said in run_command("doctor", "--config", config_file).out
