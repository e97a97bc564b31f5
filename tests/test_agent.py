"""The daemon and the pager as processes of their own, against a real broker, with the bundled clip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE_S
from messages import ULID, validate

from edge_agent.agent.build import build_agent
from edge_agent.camera import Frame
from edge_agent.config import Camera, Config, Faces, Hours, Logging, Mqtt, Outbox, Privacy, Rule, Site
from edge_agent.demo import CLIPS
from edge_agent.testing import FakeBus, FakeClock, angry_frames, free_port


def test_a_clip_becomes_one_page_that_staff_acknowledge(edge_agent, listen, broker, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    pager = edge_agent("pager", "--port", broker.port, "--site", site, "--name", "kim", "--once")
    agent = edge_agent("run", "--config", write_config())
    listener.wait_for_json("/alert/0", step="raised")
    page = next(line for line in pager.stdout if "PLEASE SEND ASSISTANCE" in line)
    pager.stdin.write("a")
    pager.stdin.flush()
    acked = listener.wait_for_json("/alert/0", step="acked")
    assert acked["by"] == "kim"
    _, err = agent.communicate(timeout=PATIENCE_S)
    assert agent.returncode == 0, err
    listener.wait_for_json("/state", state="stopped")

    alerts = listener.bodies("/alert/0")
    assert [a["step"] for a in alerts] == ["raised", "acked", "cleared"]
    assert len({a["id"] for a in alerts}) == 1
    assert [a["revision"] for a in alerts] == [1, 2, 3]
    for message in listener.messages:
        validate(message.payload)
        assert message.qos == 1
    states = [body["state"] for body in listener.bodies("/state")]
    assert (states[0], states[-1]) == ("online", "stopped")
    assert listener.bodies("/info")[0]["model"] == "fer-compact-3"
    assert listener.bodies("/health")[-1]["frames"] > 50

    rest = pager.communicate(timeout=PATIENCE_S)[0]
    assert pager.returncode == 0
    assert "till" in page
    assert "PLEASE SEND ASSISTANCE" not in rest
    assert "kim has seen it" in rest

    events = [json.loads(line) for line in err.splitlines()]
    assert [e["event"] for e in events if e["event"].startswith("alert")] == [
        "alert raised",
        "alert acked",
        "alert cleared",
    ]


def test_sigterm_stops_within_two_seconds_and_says_so(edge_agent, listen, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", write_config(camera={"source": "synthetic"}))
    listener.wait_for_json("/health", state="online")
    start_s = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - start_s < 2
    assert agent.returncode == 0
    listener.wait_for_json("/state", state="stopped")
    assert listener.bodies("/alert/0") == []


def test_an_agent_that_is_killed_is_declared_offline_with_its_session(edge_agent, listen, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", write_config(camera={"source": "synthetic"}))
    online = listener.wait_for_json("/state", state="online")
    agent.kill()
    offline = listener.wait_for_json("/state", state="offline")
    assert offline["session"] == online["session"]


def test_an_alert_raised_without_a_broker_arrives_when_it_is_there(edge_agent, listen, plug_in, site, write_config):
    port = free_port()
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", write_config(port=port, mqtt={"connect_retry_max_s": 1}))
    raised = next(event for line in agent.stderr if (event := json.loads(line))["event"] == "alert raised")
    assert listener.messages == []
    plug_in(port)
    listener.wait_for_json("/state", state="stopped")
    agent.communicate(timeout=PATIENCE_S)
    assert agent.returncode == 0
    assert [(a["id"], a["step"]) for a in listener.bodies("/alert/0")] == [
        (raised["id"], "raised"),
        (raised["id"], "cleared"),
    ]


def test_a_dead_camera_is_reported_and_not_fatal(edge_agent, listen, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", write_config(camera={"device": "nowhere.mp4", "retry_max_s": 0.5}))
    degraded = listener.wait_for_json("/state", state="degraded")
    assert "nowhere.mp4" in degraded["problem"]
    assert "nowhere.mp4" in listener.wait_for_json("/event", kind="camera_lost")["detail"]
    assert agent.poll() is None


def test_ping_and_rebirth_are_answered_and_junk_is_survived(edge_agent, listen, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", write_config(camera={"source": "synthetic"}))
    listener.wait_for_json("/state", state="online")
    base = f"kiosk/v1/{site}/kiosk-1"

    def command(verb: str, **body) -> None:
        listener.client.publish(f"{base}/cmd/{verb}", json.dumps({"schema": "command", "version": 1, **body}), qos=1)

    for junk in (b"", b"\xff\xfe", b"[]", b"{" * 5000, b"x" * 100_000):
        listener.client.publish(f"{base}/cmd/ping", junk, qos=1)
        listener.client.publish(f"{base}/ack/{ULID}", junk, qos=1)
    command("ping", request_id="../../etc")
    command("ping", request_id="one")
    assert listener.wait_for_json("/rsp/one", ok=True)["detail"] == "pong"
    command("explode", request_id="two")
    listener.wait_for_json("/rsp/two", ok=False)
    before = len(listener.bodies("/info"))
    command("snooze", request_id="four", snooze_s=5)
    assert "5 s" in listener.wait_for_json("/rsp/four", ok=True)["detail"]
    command("snooze", request_id="five", snooze_s="long")
    command("selftest", request_id="six")
    assert "camera and disk work" in listener.wait_for_json("/rsp/six", ok=True)["detail"]
    command("rebirth", request_id="three")
    listener.wait_for_json("/rsp/three", ok=True)
    assert len(listener.bodies("/info")) == before + 1
    assert agent.poll() is None


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"emotion": {"model": "/nonexistent"}}, 3, "is the model installed"),
        ({"emotion": {"emotions": {"angry": ["furious"]}}}, 2, "no label 'furious'"),
        ({"performance": {"cores": [1000]}}, 2, "this computer has the cores 0 to"),
        ({"faces": {"detector": "yunet", "yunet_weights": "none.onnx"}}, 3, "model zoo"),
        ({"outbox": {"state_dir": "/proc/nowhere"}}, 6, "outbox.state_dir"),
        ({"mqtt": {"password_file": "/nonexistent"}}, 2, "password file"),
        ({"mqtt": {"tls": {"enabled": True, "ca_file": "/nonexistent"}}}, 2, "mqtt.tls"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start_in_one_line(run_command, write_config, change, code, says):
    result = run_command("run", "--config", write_config(**change))
    assert result.code == code
    assert says in result.one_line_error()


def test_a_page_that_came_too_late_is_sent_anew_while_its_alert_is_open(tmp_path):
    class LateBus(FakeBus):
        def start(self) -> None:
            """The broker is away."""

    bus = LateBus()
    settings = Config(
        camera=Camera(device=str(CLIPS["one"])),
        outbox=Outbox(state_dir=tmp_path),
        privacy=Privacy(notice_posted=True),
        rules=(Rule(name="angry-customer", expiry_s=1.0),),
    )
    raised_s = float("inf")

    def connect_late(_frame, decision) -> None:
        nonlocal raised_s
        if any(alert.step == "raised" for alert in decision.alerts):
            raised_s = time.monotonic()
        if time.monotonic() > raised_s + 1.1 and not bus.connected:
            FakeBus.start(bus)

    build_agent(settings, bus=bus, stop_at_end=True, on_decision=connect_late).run()
    bodies = [json.loads(message.payload) for message in bus.published if "/alert/0" in message.topic]
    assert [(body["step"], body["revision"]) for body in bodies][:2] == [("raised", 1), ("cleared", 2)]
    assert [json.loads(m.payload)["kind"] for m in bus.published if m.topic.endswith("/event")] == ["expired"]


def test_an_alert_survives_a_kill_and_its_acknowledgement_too(edge_agent, listen, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    config_file = write_config(camera={"loop": True}, rules=[{"name": "angry", "off_delay_s": 60, "upper": 0.5}])
    agent = edge_agent("run", "--config", config_file)
    raised = listener.wait_for_json("/alert/0", step="raised")
    agent.kill()
    agent.wait()
    ack = {"schema": "ack", "version": 1, "id": raised["id"], "action": "ack", "by": "kim"}
    listener.client.publish(f"kiosk/v1/{site}/kiosk-1/ack/{raised['id']}", json.dumps(ack), qos=1).wait_for_publish(
        PATIENCE_S
    )
    again = edge_agent("run", "--config", config_file)
    acked = listener.wait_for_json("/alert/0", step="acked")
    assert (acked["id"], acked["by"], acked["revision"]) == (raised["id"], "kim", 2)
    assert acked["raised_at"] == raised["raised_at"]
    assert acked["session"] != raised["session"]
    again.terminate()
    again.communicate(timeout=PATIENCE_S)
    assert [a["step"] for a in {a["revision"]: a for a in listener.bodies("/alert/0")}.values()] == [
        "raised",
        "acked",
        "cleared",
    ]
    for message in listener.messages:
        validate(message.payload)


def test_a_page_that_reaches_nobody_is_escalated_at_once(edge_agent, listen, site, write_config):
    rule = {"name": "angry", "escalation": [{"after_s": 3600, "group": "manager"}]}
    agent = edge_agent("run", "--config", write_config(rules=[rule]))
    lines = (json.loads(line) for line in agent.stderr)
    steps = [line for line in lines if line["event"].startswith(("alert ", "nobody"))][:3]
    assert [step["event"] for step in steps] == [
        "alert raised",
        "nobody is subscribed to this alert; is a pager running?",
        "alert escalated",
    ]
    assert steps[2]["groups"] == "staff,manager"


def test_until_a_notice_is_posted_pages_are_counted_and_nobody_is_paged(edge_agent, listen, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    config_file = write_config(privacy={"notice_posted": False})
    agent = edge_agent("run", "--config", config_file)
    _, err = agent.communicate(timeout=PATIENCE_S)
    assert agent.returncode == 0
    assert "shadow mode" in err
    assert listener.wait_for_json("/state", state="stopped")["mode"] == "shadow"
    assert listener.bodies("/alert/0") == []
    assert all(body["ids"] == [] for body in listener.bodies("/alert/active"))
    assert listener.bodies("/health")[-1]["shadow_pages"] == 1


def test_the_moment_the_hours_begin_pages_for_who_has_been_upset_outside_them(tmp_path, listen, broker, site):
    """The wall clock is the test's: it goes on to nine when the page before nine was kept back and told."""
    listener = listen(f"kiosk/v1/{site}/#")
    before_nine_s, nine_s = 1_795_679_999.0, 1_795_680_000.0
    clock = FakeClock(before_nine_s)
    settings = Config(
        site=Site(name=site),
        camera=Camera(device=str(angry_frames(tmp_path / "frames")), loop=True),
        outbox=Outbox(state_dir=tmp_path / "state"),
        privacy=Privacy(notice_posted=True),
        rules=(Rule("angry", upper=0.5, hours="shop"),),
        hours=(Hours("shop", {"thu": ("08:00-18:00",)}, time_zone="UTC"),),
        mqtt=Mqtt(port=broker.port),
        logging=Logging(health_interval_s=1),
    )
    kept_back = threading.Event()

    def watch(_frame, decision) -> None:
        if any(alert.shadow for alert in decision.alerts):
            kept_back.set()

    agent = build_agent(settings, on_decision=watch, unix=clock, clock_known=lambda: True)
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        closed = listener.wait_for_json("/state", mode="closed")
        assert kept_back.wait(PATIENCE_S)
        listener.wait_for_json("/health", shadow_pages=1)
        assert listener.bodies("/alert/0") == []
        clock.now_s = nine_s + 1
        raised = listener.wait_for_json("/alert/0", step="raised")
        listener.wait_for_json("/state", mode="live")
        clock.now_s = nine_s + 10 * 3600
        listener.wait_for_json("/state", mode="closed", opens_at="2026-12-03T08:00:00.000Z")
        assert [page["step"] for page in listener.bodies("/alert/0")] == ["raised"]
    finally:
        agent.stop()
        thread.join(PATIENCE_S)
    assert (closed["state"], closed["opens_at"]) == ("online", "2026-11-26T08:00:00.000Z")
    cleared = listener.wait_for_json("/alert/0", step="cleared")
    assert (cleared["id"], raised["revision"], cleared["revision"]) == (raised["id"], 1, 2)
    for message in listener.messages:
        validate(message.payload)


def test_hours_count_as_open_while_the_clock_was_never_set(tmp_path):
    bus = FakeBus()
    settings = Config(
        camera=Camera(device=str(CLIPS["one"])),
        outbox=Outbox(state_dir=tmp_path),
        privacy=Privacy(notice_posted=True),
        rules=(Rule("angry", hours="never"),),
        hours=(Hours("never", {"mon": ("00:00-00:01",)}),),
    )
    build_agent(settings, bus=bus, every_frame=True, stop_at_end=True, clock_known=lambda: False).run()
    assert [json.loads(m.payload)["step"] for m in bus.published if "/alert/0" in m.topic] == ["raised", "cleared"]
    assert {json.loads(m.payload)["mode"] for m in bus.published if m.topic.endswith("/state")} == {"live"}


def test_an_unreadable_outbox_is_set_aside_and_reported(edge_agent, listen, site, write_config, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "outbox.sqlite3").write_bytes(b"not what it was" * 1000)
    listener = listen(f"kiosk/v1/{site}/#")
    edge_agent("run", "--config", write_config(camera={"source": "synthetic"}))
    event = listener.wait_for_json("/event", kind="outbox_set_aside")
    assert "outbox.sqlite3.unreadable-" in event["detail"]
    listener.wait_for_json("/state", state="online")


def test_a_pager_that_comes_late_still_gets_the_open_page(edge_agent, listen, broker, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    edge_agent("run", "--config", write_config())
    listener.wait_for_json("/alert/0", step="raised")
    late = edge_agent("pager", "--port", broker.port, "--site", site, "--name", "lee", "--auto-ack", 0)
    assert any("PLEASE SEND ASSISTANCE" in line for line in late.stdout)
    assert listener.wait_for_json("/alert/0", step="acked")["by"] == "lee"


def test_a_frame_that_cannot_be_processed_does_not_end_the_watch(tmp_path):
    class OddCamera:
        frames = iter([np.zeros((4, 4), dtype=np.uint8), np.zeros((48, 64, 3), dtype=np.uint8)])

        def open(self) -> None:
            pass

        def read(self) -> Frame | None:
            image = next(self.frames, None)
            return None if image is None else Frame(image, time.monotonic())

        def close(self) -> None:
            pass

    bus = FakeBus()
    settings = Config(outbox=Outbox(state_dir=tmp_path))
    agent = build_agent(settings, bus=bus, camera=OddCamera, every_frame=True, stop_at_end=True)
    agent.run()
    problems = [json.loads(m.payload)["problem"] for m in bus.published if m.topic.endswith("/state")]
    assert any("could not be processed" in problem for problem in problems)
    assert agent.health.frames == 1


def test_the_pager_says_when_there_is_no_broker(run_command):
    result = run_command("pager", "--port", free_port())
    assert result.code == 5
    assert "--wait" in result.one_line_error()
    for wrong in (
        ["--name", "kim\n"],
        ["--site", "#"],
        ["--device", "a/b"],
        ["--port", "99999"],
        ["--auto-ack", "nan"],
    ):
        assert run_command("pager", *wrong).code == 2


def test_nothing_is_written_but_the_outbox(edge_agent, listen, site, write_config, tmp_path):
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent(
        "run", "--config", write_config(), cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    listener.wait_for_json("/alert/0", step="raised")
    agent.terminate()
    agent.communicate(timeout=PATIENCE_S)
    written = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert written == ["config.yaml", "outbox.sqlite3", "scores.sqlite3"]


def test_two_rules_may_page_at_the_same_moment(tmp_path):
    bus = FakeBus()
    settings = Config(
        camera=Camera(device=str(CLIPS["one"])),
        privacy=Privacy(notice_posted=True),
        rules=(Rule(name="first", upper=0.5), Rule(name="second", upper=0.5)),
        outbox=Outbox(state_dir=tmp_path),
    )
    build_agent(settings, bus=bus, every_frame=True, stop_at_end=True).run()
    raised = [
        json.loads(m.payload)
        for m in bus.published
        if b'"schema": "alert"' in m.payload and b'"step": "raised"' in m.payload
    ]
    assert sorted(alert["rule"] for alert in raised) == ["first", "second"]


def test_snoozing_in_shadow_mode_is_answered(tmp_path):
    bus = FakeBus()
    settings = Config(camera=Camera(device=str(CLIPS["one"])), outbox=Outbox(state_dir=tmp_path))
    body = json.dumps({"schema": "command", "version": 1, "request_id": "r", "snooze_s": 1}).encode()

    def snooze_while_angry(_frame, decision) -> None:
        if decision.alerts:
            bus.receive("kiosk/v1/site/kiosk-1/cmd/snooze", body)

    agent = build_agent(settings, bus=bus, every_frame=True, stop_at_end=True, on_decision=snooze_while_angry)
    agent.run()
    assert [m.topic for m in bus.published if "/rsp/" in m.topic]
    assert not [m.topic for m in bus.published if "/alert/0" in m.topic]


def test_the_agent_stays_on_the_cores_it_was_given(edge_agent, listen, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    core = max(os.sched_getaffinity(0))
    agent = edge_agent("run", "--config", write_config(camera={"source": "synthetic"}, performance={"cores": [core]}))
    listener.wait_for_json("/health", state="online")
    for thread in Path(f"/proc/{agent.pid}/task").iterdir():
        assert os.sched_getaffinity(int(thread.name)) == {core}


def test_without_cores_of_its_own_it_may_use_those_it_was_started_with():
    core = max(os.sched_getaffinity(0))
    script = (
        "import os; from edge_agent.agent.cores import stay_on; before = os.sched_getaffinity(0)\n"
        f"stay_on([{core}]); assert os.sched_getaffinity(0) == {{{core}}}; stay_on([])\n"
        "assert os.sched_getaffinity(0) == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("ignored", [False, True])
def test_what_moves_in_an_ignored_zone_wakes_nobody_up(tmp_path, ignored):
    class Snow:
        """Noise, ten frames a second by its own clock."""

        random, number, pause = np.random.default_rng(0), 0, threading.Event()

        def open(self) -> None:
            pass

        def read(self) -> Frame:
            self.pause.wait(0.02)
            self.number += 1
            return Frame(self.random.integers(0, 255, (48, 64, 3), dtype=np.uint8), self.number / 10)

        def close(self) -> None:
            pass

    whole = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    settings = Config(outbox=Outbox(state_dir=tmp_path), faces=Faces(ignore_zones=(whole,) if ignored else ()))
    agent = build_agent(settings, bus=FakeBus(), camera=Snow)
    thread = threading.Thread(target=agent.run)
    thread.start()
    while agent.health.frames + agent.health.skipped < 60:
        Snow.pause.wait(0.02)
    agent.stop()
    thread.join()
    assert (agent.health.frames < 35) == ignored
