"""Three RabbitMQ nodes with MQTT on loopback, and HAProxy before them, as a chain would run them."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from edge_agent.testing import free_port

_PLUGINS = "[rabbitmq_mqtt]."
_UP_WITHIN_S = 180
_MISSING = "rabbitmq-server and haproxy are missing: apt install rabbitmq-server haproxy"


class Cluster:
    """Nodes n1 to n3; `port` is the load balancer's."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        self._folder, self._names = folder, [f"n{number}@localhost" for number in range(1, count + 1)]
        self._mqtt_ports = [free_port() for _ in self._names]
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._balancer: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
        if haproxy is None:
            sys.exit(_MISSING)
        try:
            self._start_all(folder, haproxy)
        except BaseException:
            self.stop()
            raise

    def _start_all(self, folder: Path, haproxy: str) -> None:
        (folder / "plugins").write_text(_PLUGINS)
        cookie = folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(10))
        cookie.chmod(0o400)
        for name, mqtt_port in zip(self._names, self._mqtt_ports, strict=True):
            self._nodes.append(self._start(name, mqtt_port))
        for name in self._names:
            self._control(name, "wait", "--timeout", str(_UP_WITHIN_S), str(folder / name / "pid"))
        for name in self._names[1:]:
            for arguments in (("stop_app",), ("join_cluster", self._names[0]), ("start_app",)):
                self._control(name, *arguments)
        # A kiosk's queue is a durable one even where its session is not kept; without a copy it ends with its node, and
        # the kiosk cannot come back under its name.
        self._control(self._names[0], "set_policy", "mqtt", "^mqtt", '{"ha-mode": "exactly", "ha-params": 2}')
        self._balancer = self._start_balancer(haproxy)
        for port in (*self._mqtt_ports, self.port):
            _wait_for(port)

    def _environment(self, name: str) -> dict[str, str]:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return {
            **os.environ,
            "HOME": str(self._folder),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _start(self, name: str, mqtt_port: int) -> subprocess.Popen[bytes]:
        environment = self._environment(name)
        Path(environment["RABBITMQ_CONFIG_FILE"] + ".conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{free_port()}\n"
            f"mqtt.listeners.tcp.1 = 127.0.0.1:{mqtt_port}\n"
            "mqtt.allow_anonymous = true\n"
            "mqtt.durable_queue_type = quorum\n"
            "mqtt.subscription_ttl = 3600000\n"
            "loopback_users = none\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
        )
        environment["RABBITMQ_DIST_PORT"] = str(free_port())
        server = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin")
        if server is None:
            sys.exit(_MISSING)
        # The package's own wrapper would change to another user; the server behind it does not.
        return subprocess.Popen(
            [server], env=environment, cwd=self._folder, start_new_session=True,
            stdout=(self._folder / name / "out").open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _control(self, name: str, *arguments: str) -> None:
        tool = shutil.which("rabbitmqctl", path="/usr/lib/rabbitmq/bin:/usr/sbin")
        assert tool is not None
        done = subprocess.run(
            [tool, "-n", name, *arguments], env=self._environment(name), cwd=self._folder, capture_output=True,
            text=True, check=False, timeout=_UP_WITHIN_S + 30,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"rabbitmqctl {' '.join(arguments)} on {name}: {done.stderr or done.stdout}")

    def _start_balancer(self, haproxy: str) -> subprocess.Popen[bytes]:
        servers = "\n".join(
            f"  server n{number} 127.0.0.1:{port} check inter 1s on-marked-down shutdown-sessions"
            for number, port in enumerate(self._mqtt_ports, start=1)
        )
        config = self._folder / "haproxy.cfg"
        config.write_text(
            "global\n  maxconn 8000\n"
            "defaults\n  mode tcp\n  timeout connect 2s\n  timeout check 10s\n"
            "  timeout client 90s\n  timeout server 90s\n"
            f"listen mqtt\n  bind 127.0.0.1:{self.port}\n  balance leastconn\n{servers}\n"
        )
        return subprocess.Popen([haproxy, "-f", str(config), "-db"], stderr=subprocess.DEVNULL)

    def kill_node(self, number: int) -> None:
        """SIGKILL to a node, Erlang machine and all."""
        os.killpg(self._nodes[number].pid, 9)
        self._nodes[number].wait()

    def stop(self) -> None:
        """End everything."""
        if self._balancer is not None:
            self._balancer.kill()
        for node in self._nodes:
            if node.poll() is None:
                os.killpg(node.pid, 9)
                node.wait()


def _wait_for(port: int) -> None:
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"nothing listens on port {port}")
