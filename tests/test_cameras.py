"""Several cameras of one process: each is a device of its own, and none stops another."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import PATIENCE_S

from edge_agent.agent.build import build_agent
from edge_agent.agent.shared import Shared
from edge_agent.agent.watchdog import SharedWatchdog, WatchdogLine
from edge_agent.config import Camera, Config, Faces, Outbox, load_config
from edge_agent.errors import ConfigError
from edge_agent.testing import FakeBus, FakeClock, angry_frames
from edge_agent.vision.analysis import Vision
from edge_agent.vision.loading import Loader

SYNTHETIC = {"source": "synthetic"}


def test_two_cameras_page_on_their_own_topics_while_a_third_is_missing(
    edge_agent, listen, site, write_config, tmp_path
):
    listener = listen(f"kiosk/v1/{site}/#")
    angry = {"device": str(angry_frames(tmp_path / "angry")), "loop": True}
    cameras = [
        {"device": "till-1", "place": "first till"},
        {"device": "till-2"},
        {"device": "door", "camera": {"device": "nowhere.mp4", "retry_max_s": 0.5}},
    ]
    agent = edge_agent("run", "--config", write_config(camera=angry, cameras=cameras))
    for device, place in (("till-1", "first till"), ("till-2", "till")):
        raised = listener.wait_for_json(f"/{device}/alert/0", step="raised")
        assert (raised["device"], raised["place"]) == (device, place)
    assert "nowhere.mp4" in listener.wait_for_json("/door/state", state="degraded")["problem"]
    assert listener.wait_for_json("/door/event", kind="camera_lost")
    agent.send_signal(signal.SIGTERM)
    _, err = agent.communicate(timeout=PATIENCE_S)
    assert agent.returncode == 0, err
    for device in ("till-1", "till-2", "door"):
        listener.wait_for_json(f"/{device}/state", state="stopped")
        assert (tmp_path / "state" / device / "outbox.sqlite3").exists()
    lines = [json.loads(line) for line in err.splitlines()]
    assert {line["device"] for line in lines if line["event"] == "stopped"} == {"till-1", "till-2", "door"}
    assert {line["device"] for line in lines if line["event"].startswith("camera lost")} == {"door"}
    assert all("device" in line for line in lines)


def test_of_a_process_that_is_killed_each_device_is_declared_offline(edge_agent, listen, site, write_config):
    listener = listen(f"kiosk/v1/{site}/#")
    devices = ("one", "two")
    agent = edge_agent(
        "run", "--config", write_config(camera=SYNTHETIC, cameras=[{"device": name} for name in devices])
    )
    online = {name: listener.wait_for_json(f"/{name}/state", state="online") for name in devices}
    agent.kill()
    for name in devices:
        assert listener.wait_for_json(f"/{name}/state", state="offline")["session"] == online[name]["session"]


def test_a_device_that_cannot_begin_is_tried_again_and_stops_no_other(edge_agent, listen, site, write_config, tmp_path):
    listener = listen(f"kiosk/v1/{site}/#")
    blocked = tmp_path / "state" / "two"
    blocked.parent.mkdir()
    blocked.write_text("a file in the place of a folder")
    config = write_config(camera=SYNTHETIC, cameras=[{"device": "one"}, {"device": "two"}])
    agent = edge_agent("run", "--config", config)
    listener.wait_for_json("/one/state", state="online")
    problem = next(line for line in map(json.loads, agent.stderr) if "does not work" in line["event"])
    assert problem["device"] == "two"
    assert "outbox.state_dir" in problem["event"]
    blocked.unlink()
    listener.wait_for_json("/two/state", state="online")

    write_config(camera=SYNTHETIC, cameras=[{"device": "one", "place": "door"}, {"device": "new"}])
    for device in ("one", "two"):
        body = {"schema": "command", "version": 1, "request_id": device}
        listener.client.publish(f"kiosk/v1/{site}/{device}/cmd/reload", json.dumps(body), qos=1)
    before = listener.bodies("/one/info")[0]["config"]
    listener.wait_for(lambda message: "/one/info" in message.topic and before.encode() not in message.payload)
    assert "restart the service" in listener.wait_for_json("/two/rsp/two", ok=False)["detail"]
    agent.terminate()
    assert agent.wait(PATIENCE_S) == 0
    assert [body["state"] for body in listener.bodies("/two/state")].count("online") == 1


def test_a_model_is_activated_and_taken_back_for_all_cameras_of_a_process(
    edge_agent, run_command, listen, broker, site, write_config, make_bundle, keys
):
    listener = listen(f"kiosk/v1/{site}/#")
    config = write_config(
        camera=SYNTHETIC,
        cameras=[{"device": "one"}, {"device": "two"}],
        emotion={"trusted_keys": [str(keys / "ours.pub")]},
    )
    assert run_command("model", "stage", make_bundle("next-1"), "--config", config).code == 0
    edge_agent("run", "--config", config)
    for device in ("one", "two"):
        listener.wait_for_json(f"/{device}/state", state="online")
    rollout = ("rollout", "next-1", "--site", site, "--port", broker.port)
    taken = run_command(*rollout, "--canary", f"{site}/one", "--wait-minutes", "0.03")
    assert taken.code == 0, taken.out
    back = run_command(*rollout, "--back")
    assert back.code == 0, back.out
    for device in ("one", "two"):
        models = [body["model"] for body in listener.bodies(f"/{device}/info")]
        assert [model for model, before in zip(models, [None, *models], strict=False) if model != before] == [
            "fer-compact-3", "next-1", "fer-compact-3"
        ]  # fmt: skip


def test_a_device_that_begins_while_the_model_changes_begins_anew(tmp_path):
    class ChangedMeanwhile(Shared):
        """Another device of this process changes the model when this one is half built."""

        def watchdog(self, device: str) -> WatchdogLine:
            self.change_model(lambda models: models.rollback())
            return super().watchdog(device)

    config = Config(camera=Camera(source="synthetic"), outbox=Outbox(state_dir=tmp_path))
    agent = build_agent(config, bus=FakeBus(), read_config=lambda: config, shared=ChangedMeanwhile(config))
    agent.run()
    assert agent.successor is config


def test_where_no_device_can_begin_the_reason_is_one_line(run_command, write_config, tmp_path):
    (tmp_path / "state").write_text("")
    result = run_command("run", "--config", write_config(cameras=[{"device": "one"}, {"device": "two"}]))
    assert result.code == 6
    assert "outbox.state_dir" in result.one_line_error()


def test_a_camera_takes_from_the_file_what_it_leaves_out(tmp_path, write_config):
    rule = {"name": "queue", "zones": ["till"], "group": "tills"}
    path = Path(
        write_config(
            camera={"width": 320},
            faces={"min_face_px": 50},
            groups=[{"name": "tills"}],
            cameras=[
                {"device": "one", "camera": {"rotate": 90}},
                {"device": "two", "rules": [rule], "zones": [{"name": "till", "polygon": [[0, 0], [1, 0], [1, 1]]}],
                 "faces": {"ignore_zones": [[[0, 0], [1, 0], [1, 1]]]}},
            ],
        )
    )  # fmt: skip
    one, two = load_config(path).devices()
    assert (one.site.device, one.camera.width, one.camera.rotate) == ("one", 320, 90)
    assert (two.camera.width, two.camera.rotate, two.faces.min_face_px) == (320, 0, 50)
    assert ([rule.name for rule in one.rules], [rule.name for rule in two.rules]) == (["angry-customer"], ["queue"])
    assert len(two.faces.ignore_zones) == 1
    assert not one.faces.ignore_zones
    assert one.outbox.state_dir == tmp_path / "state" / "one"
    assert one.devices() == (one,)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("cameras:\n- place: till", 2, "'device' is missing"),
        ("cameras:\n- device: a\n- device: a", 3, "'a' is used twice"),
        ("cameras:\n- device: ..", 2, "is not text that matches"),
        ("cameras:\n- device: models", 2, "state_dir keeps staged models"),
        ("cameras:\n- device: a\n  mqtt: {port: 1}", 3, "allowed here: device, place, camera"),
        ("cameras:\n- device: a\n  camera:\n    rotate: 45", 4, "is not one of 0, 90, 180, 270"),
        ("cameras:\n- device: a\n  rules:\n  - name: r\n    zones: [till]", 5, "'till' is not a zone"),
        ("rules:\n- {name: r, zones: [till]}\ncameras:\n- device: a", 4, "'till' is not a zone"),
        ("web: {enabled: true}\ncameras:\n- device: a\n- device: b", 4, "give each camera its own, web: {port: 8081}"),
    ],
)
def test_a_mistake_in_a_camera_is_named_with_its_line(tmp_path, text, line, says):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "c.yaml")
    assert f"c.yaml:{line}: " in str(refused.value)
    assert says in str(refused.value)


def test_commands_know_the_cameras(run_command, write_config, tmp_path):
    config = write_config(
        cameras=[{"device": "one"}, {"device": "two", "faces": {"detector": "yunet", "yunet_weights": "none.onnx"}}]
    )
    checked = run_command("check-config", config)
    assert checked.code == 3
    assert "model zoo" in checked.one_line_error()
    config = write_config(cameras=[{"device": "one"}, {"device": "two", "rules": []}])
    checked = run_command("check-config", config)
    assert "rules of one: angry-customer; rules of two: none, so it will never page" in checked.out
    asked = run_command("summary", "--config", config)
    assert (asked.code, asked.one_line_error()[-12:]) == (2, "--device one")
    assert "no summary" in run_command("summary", "--config", config, "--device", "two").out


def test_models_are_shared_by_whom_they_suit_and_one_at_a_time_looks_through_them(clip_frames):
    loader, usual = Loader(), Config()
    first, second = (Vision(usual, loader=loader) for _ in range(2))
    other = Vision(Config(faces=Faces(confidence=0.5)), loader=loader)
    assert first.detector is second.detector is not other.detector
    assert first.classifier is second.classifier is other.classifier

    def look(vision: Vision, frames: list) -> list:
        found = [(frame.image, vision.find_faces(frame.image)) for frame in frames]
        return [(faces, vision.classify(image, faces).tolist()) for image, faces in found]

    clips = [clip_frames("one")[:15], clip_frames("two")[:15]]
    alone = [look(first, clip) for clip in clips]
    with ThreadPoolExecutor() as pool:
        together = list(pool.map(look, (first, second), clips))
    assert together == alone


class TestWatchdog:
    @pytest.fixture
    def clock(self):
        return FakeClock(100)

    @pytest.fixture
    def file(self, tmp_path):
        return tmp_path / "health"

    @pytest.fixture
    def devices(self, clock, file):
        shared = SharedWatchdog(monotonic=clock, environment={"EDGE_AGENT_HEALTH_FILE": str(file)})
        return shared.member("one"), shared.member("two")

    def alive(self, clock, file, reports) -> bool:
        """Let both report, and both again after a while that says by itself who is alive."""
        for seconds in (1, 60):
            clock.advance(seconds)
            file.unlink(missing_ok=True)
            for device, frames in reports:
                device.turn(frames=frames * int(clock()), network_turned_s=clock(), status="")
        return file.exists()

    def test_a_camera_that_is_lost_restarts_nobody_while_another_delivers(self, devices, clock, file):
        one, two = devices
        assert self.alive(clock, file, [(one, 1), (two, 0)])
        assert not self.alive(clock, file, [(one, 0), (two, 0)])

    def test_a_loop_that_hangs_is_not_alive_whatever_the_other_does(self, devices, clock, file):
        one, two = devices
        assert self.alive(clock, file, [(one, 1), (two, 1)])
        assert not self.alive(clock, file, [(one, 1)])
        two.stopping()  # it has ended by itself: nobody waits for it
        assert self.alive(clock, file, [(one, 1)])
