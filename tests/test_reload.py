"""A new configuration is taken without a restart, and one that does not work leaves the old one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import urllib.request
from pathlib import Path

import pytest

from edge_agent.demo import CLIPS
from edge_agent.testing import free_port


def test_a_changed_configuration_is_read_without_a_restart_and_open_alerts_go_on(
    edge_agent, listen, site, write_config, tmp_path
):
    listener = listen(f"kiosk/v1/{site}/#")
    sections = {"camera": {"device": str(CLIPS["one"]), "loop": True}, "logging": {"level": "info"}}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        agent = edge_agent("run", "--config", write_config(**sections), env=environment)
        reload_while_an_alert_is_open(agent, listener, site, write_config, sections)
        systemd.setblocking(False)
        told = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                told += systemd.recv(4096) + b"\n"
    assert b"READY=1" in told
    assert b"STOPPING=1" not in told


def reload_while_an_alert_is_open(agent, listener, site, write_config, sections) -> None:
    raised = listener.wait_for_json("/alert/0", step="raised")
    base = f"kiosk/v1/{site}/kiosk-1"

    def reload(request_id: str) -> dict:
        body = {"schema": "command", "version": 1, "request_id": request_id}
        listener.client.publish(f"{base}/cmd/reload", json.dumps(body), qos=1)
        return listener.wait_for_json(f"/rsp/{request_id}")

    config_file = Path(write_config(**sections, site={"place": "door"}))
    config_file.write_text(config_file.read_text() + "nonsense: 1\n")
    answer = reload("one")
    assert not answer["ok"]
    assert "nonsense" in answer["detail"]
    write_config(**sections, emotion={"model": "/nonexistent"})
    assert reload("half")["ok"]
    assert "the old one stays" in next(line for line in agent.stderr if "configuration" in line)
    assert "is the model installed" in listener.wait_for_json("/event", kind="reload_failed")["detail"]
    write_config(**sections, site={"place": "door"})
    assert reload("two")["ok"]
    ack = {"schema": "ack", "version": 1, "id": raised["id"], "action": "resolve", "by": "kim"}
    listener.client.publish(f"{base}/ack/{raised['id']}", json.dumps(ack), qos=1)
    cleared = listener.wait_for_json(f"/alert/{raised['id']}", step="cleared")
    assert (cleared["by"], cleared["place"]) == ("kim", "door")
    assert [body["step"] for body in listener.bodies(f"/alert/{raised['id']}")] == ["raised", "cleared"]
    assert agent.poll() is None


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b"])
def test_a_new_configuration_that_cannot_listen_leaves_the_old_one_its_own_ports(
    edge_agent, listen, site, write_config, host
):
    listener = listen(f"kiosk/v1/{site}/#")
    settings = {"camera": {"source": "synthetic"}, "web": {"enabled": True, "port": free_port()}}
    agent = edge_agent("run", "--config", write_config(**settings))
    listener.wait_for_json("/state", state="online")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        write_config(**settings, metrics={"enabled": True, "host": host, "port": taken.getsockname()[1]})
        body = {"schema": "command", "version": 1, "request_id": "one"}
        listener.client.publish(f"kiosk/v1/{site}/kiosk-1/cmd/reload", json.dumps(body), qos=1)
        assert "metrics: cannot listen" in listener.wait_for_json("/event", kind="reload_failed")["detail"]
    assert [body["problem"] for body in listener.bodies("/state")][1] == "beginning anew"
    with urllib.request.urlopen(f"http://127.0.0.1:{settings['web']['port']}/") as page:
        assert page.status == 200
    assert agent.poll() is None
