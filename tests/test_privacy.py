"""No picture leaves: proved on the running agent, and the proof is shown to notice what it must."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import yaml
from messages import ULID, alert

from edge_agent import config
from edge_agent.delivery.messages import Composer
from edge_agent.demo import CLIPS
from edge_agent.testing import free_port
from edge_agent.tools.privacy import schemas
from edge_agent.tools.privacy.sent import Messages

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def test_no_message_has_room_for_a_picture():
    assert schemas().ok, schemas().detail


def test_words_of_any_language_are_told_from_pictures_that_were_cut_into_words():
    site = config.Site(name="shop", device="kiosk-7f3a9c", place="入口の横のレジ、案内係のカウンターの前")
    rules = (config.Rule(name="cross-7f3a9c", message="怒っているお客様がレジでお待ちです。" * 5),)
    settings = config.Config(site=site, rules=rules, privacy=config.Privacy(notice_posted=True))
    composer = Composer(settings, session=ULID, unix=lambda: 1_800_000_000.25, monotonic=lambda: 12.5)
    judge = Messages(settings)
    open_pages = [alert(rule=rules[0], id=f"01M7Y8H3KR49JEKEK9MMJWT{n:03d}") for n in range(12)]
    for message in (composer.active(open_pages), composer.event("camera", "/dev/video0 is busy: Errno 16")):
        assert judge.problem(message.topic, message.payload) == ""
    capture = cv2.VideoCapture(str(CLIPS["one"]))
    jpeg = cv2.imencode(".jpg", capture.read()[1][100:148, 200:248])[1].tobytes()
    capture.release()
    for encode in (base64.b64encode, bytes.hex, base64.b85encode):
        text = encode(jpeg)[:260]
        text = text if isinstance(text, str) else text.decode()
        message = composer.event("camera", " ".join(re.findall(".{1,8}", text)))
        assert "encoded data" in judge.problem(message.topic, message.payload), encode


CHECKS = {
    "messages", "live view", "agent", "messages sent", "files written", "addresses", "listeners", "log",
    "other ways out", "limits",
}  # fmt: skip


def privacy_checks(run_command, config_file, seconds: float, **options) -> dict[str, dict]:
    result = run_command("doctor", "--privacy", "--seconds", seconds, "--json", "--config", config_file, **options)
    checks = {check["check"]: check for check in json.loads(result.out)}
    assert set(checks) == CHECKS
    assert result.code == (0 if all(check["ok"] for check in checks.values()) else 1)
    return checks


@needs_strace
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_an_honest_agent_passes_whatever_is_on_and_without_its_broker(run_command, write_config, tmp_path, protocol):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    config_file = write_config(
        mqtt={"host": "broker.invalid", "port": 8883, "protocol": protocol, "tls": {"enabled": True}},
        web={"enabled": True, **({"token_file": str(token)} if protocol == "5" else {})},
        metrics={"enabled": True},
    )
    checks = privacy_checks(run_command, config_file, 6 if protocol == "5" else 2)
    assert {name: check["detail"] for name, check in checks.items() if not check["ok"]} == {}
    assert "with its token" in checks["limits"]["detail"]


#: Ways in which a frame could leave: check → what names it → what leaks it, in a process with the frame as `jpeg`.
LEAKS = {
    "messages sent": {
        "topic kiosk/v1/frames": "publish('kiosk/v1/frames', jpeg)",
        "no message on {base}/event": "publish(base + '/event', jpeg)",
        "field event.picture": "publish(base + '/event', as_event(picture=text[:90]))",
        "encoded data": "publish(base + '/event', as_event(detail=text[:300]))",
        "messages of event in": "[publish(base + '/event', as_event(detail=str(n))) for n in range(99)]",
        "bytes that are no MQTT packet": "socket.create_connection(('127.0.0.1', port)).sendall(jpeg)",
        "client id": "paho.Client(CallbackAPIVersion.VERSION2, text[:40]).connect('127.0.0.1', port)",
    },
    "files written": {
        "/state/frame.jpg": "Path(state, 'frame.jpg').write_bytes(jpeg)",
        "/state/gone.bin": "Path(state, 'gone.bin').write_bytes(jpeg); Path(state, 'gone.bin').unlink()",
        "summaries.sqlite3: JPEG data": "in_table('summaries.sqlite3', jpeg)",
        "table picture": "in_table('summaries.sqlite3', b'x')",
        "scores.sqlite3-journal: encoded data": "Path(state, 'scores.sqlite3-journal').write_text(text[:2000])",
        "ignore_zones.json: a long list": "Path(state, 'ignore_zones.json').write_text(str(list(jpeg[:900])))",
        "/dev/shm/edge-agent-test": "Path('/dev/shm/edge-agent-test').write_bytes(jpeg);"
        " Path('/dev/shm/edge-agent-test').unlink()",
    },
    "addresses": {
        "127.0.0.2:9": "socket.socket().connect_ex(('127.0.0.2', 9))",
        "127.0.0.3:99": "udp.sendto(jpeg[:900], ('127.0.0.3', 99))",
        "127.0.0.4:98": "udp.sendmsg([jpeg[:900]], [], 0, ('127.0.0.4', 98))",
        "port 53 of 127.0.0.5": "udp.sendto(jpeg[:90], ('127.0.0.5', 53))",
        "127.0.0.6:53": "socket.socket().connect_ex(('127.0.0.6', 53))",
        "{resolver}:53": "udp.sendto(query(text[:50].encode()), (resolver, 53))",
        "unix socket @edge-agent-test": "unix.connect_ex('\\0edge-agent-test')",
        "unix socket /dev/log": "unix.connect_ex('/dev/log')",
    },
    "listeners": {
        "127.0.0.1:{door}": "keep.append(socket.create_server(('127.0.0.1', door)))",
        "unix socket @door": "unix.bind('\\0door')",
        "/ws answers a stranger": "",  # by the patched page
    },
    "log": {"encoded data": "print(text[:300], flush=True)"},
    "other ways out": {
        "memfd": "keep.append(os.memfd_create('frame'))",
        "shared memory: without a name": "keep.append(mmap.mmap(-1, 4096))",
        "program": "subprocess.run(['true'])",
        "shmget()": "libc.shmget(0, 4096, 0o1600)",
        "process_vm_writev()": "libc.process_vm_writev(1, None, 0, None, 0, 0)",
        "io_uring_setup()": "libc.syscall(425, 1, None)",
        "socket(AF_PACKET": "libc.socket(17, 3, 0)",
    },
}
LEAKING = """
import sys
if "run" in sys.orig_argv and "edge_agent" in sys.orig_argv:
    import base64, ctypes, json, mmap, os, re, socket, sqlite3, struct, subprocess, threading, traceback
    from pathlib import Path
    import cv2, yaml
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion
    from edge_agent.pipeline import Pipeline
    from edge_agent.delivery.messages import Composer
    from edge_agent.config import load_config
    from edge_agent.web import access
    access._knows = lambda request, token: True

    keep, honest = [], Pipeline.process
    config = load_config(Path(sys.orig_argv[-1]))
    state, port = str(config.outbox.state_dir), config.mqtt.port
    base = f"kiosk/v1/{config.site.name}/{config.site.device}"
    libc = ctypes.CDLL(None)
    resolver, door = os.environ["RESOLVER"], int(os.environ["DOOR"])
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    composers, make = [], Composer.__init__
    def remember(self, *arguments, **options):
        make(self, *arguments, **options)
        composers.append(self)
    Composer.__init__ = remember

    def publish(topic, payload):
        client = paho.Client(CallbackAPIVersion.VERSION2, f"{config.site.name}/{config.site.device}")
        client.connect("127.0.0.1", port)
        client.loop_start()
        client.publish(topic, payload, qos=1).wait_for_publish(5)
        client.disconnect()
        client.loop_stop()

    def as_event(**values):
        body = json.loads(composers[-1].event("camera", "").payload)
        return json.dumps({**body, **values}, ensure_ascii=False)

    def in_table(name, data):
        with sqlite3.connect(Path(state, name)) as db:
            db.execute("CREATE TABLE IF NOT EXISTS picture (data BLOB)")
            db.execute("INSERT INTO picture VALUES (?)", (data,))

    def query(name):
        return struct.pack("!6H", 1, 256, 1, 0, 0, 0) + bytes([len(name)]) + name + b"\\0\\0\\1\\0\\1"

    def leak(image):
        jpeg = cv2.imencode(".jpg", cv2.resize(image, (160, 120)), [1, 95])[1].tobytes()
        text = base64.b64encode(jpeg[600:]).decode()
        for code in json.loads(os.environ["LEAKS"]):
            try:
                exec(code, {**globals(), "jpeg": jpeg, "text": text})
            except OSError:
                pass
            except Exception:
                traceback.print_exc()

    def process(self, frame):
        if not keep:
            keep.append(leak)
            threading.Thread(target=leak, args=(frame.image.copy(),)).start()
        return honest(self, frame)
    Pipeline.process = process
"""


@pytest.fixture(scope="module")
def leaked(tmp_path_factory):
    """What the proof says of an agent that leaks in all ways at once: check → detail."""
    folder = tmp_path_factory.mktemp("leaking")
    (folder / "sitecustomize.py").write_text(LEAKING)
    (folder / "token").write_text("0123456789abcdef0123456789abcdef")
    (folder / "token").chmod(0o600)
    config_file = folder / "config.yaml"
    settings = {
        "site": {"name": "leaking"}, "camera": {"device": str(CLIPS["one"]), "loop": True},
        "web": {"enabled": True, "token_file": str(folder / "token")}, "outbox": {"state_dir": str(folder / "state")},
    }  # fmt: skip
    config_file.write_text(yaml.safe_dump(settings))
    found = re.search(r"^nameserver\s+([\d.]+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    values = {"resolver": found[1] if found else "127.0.0.1", "door": str(free_port()), "base": "leaking"}
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "LEAKS": json.dumps([code for leaks in LEAKS.values() for code in leaks.values()]),
        "RESOLVER": values["resolver"], "DOOR": values["door"],
    }  # fmt: skip
    command = [sys.executable, "-m", "edge_agent", "doctor", "--privacy", "--seconds", "6", "--json", "--config"]
    result = subprocess.run([*command, str(config_file)], env=environment, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    return {check["check"]: check["detail"] for check in json.loads(result.stdout) if not check["ok"]}, values


@needs_strace
@pytest.mark.parametrize(("check", "named"), [(check, named) for check, leaks in LEAKS.items() for named in leaks])
def test_an_agent_that_leaks_is_found_out(leaked, check, named):
    details, values = leaked
    base = "kiosk/v1/leaking/kiosk-1-privacy"
    assert named.format(**{**values, "base": base}) in details[check]


def test_a_doctor_names_what_does_not_work(run_command, write_config):
    config_file = write_config(port=free_port(), camera={"device": "nowhere.mp4"}, outbox={"state_dir": "/proc/x"})
    result = run_command("doctor", "--config", config_file)
    assert result.code == 1
    verdicts = {line.split(":")[0].split()[1]: line.startswith("ok") for line in result.out.splitlines()}
    assert verdicts == {
        "models": True, "camera": False, "rotation": True, "posters": True, "disk": False, "broker": False,
        "clock": True, "memory": True, "last": True, "swap": True,
        "temperature": True, "throttling": True,
        "notice": True,
    }  # fmt: skip
    assert "Traceback" not in result.err


def test_a_doctor_finds_a_good_setup_good(run_command, write_config):
    result = run_command("doctor", "--json", "--config", write_config())
    assert result.code == 0, result.out
    assert all(check["ok"] for check in json.loads(result.out))


def test_a_doctor_finds_a_poster(run_command, write_config, clip_frames, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "poster.png"), clip_frames("one")[0].image)
    config_file = write_config(camera={"device": str(pictures), "loop": True})
    result = run_command("doctor", "--json", "--config", config_file)
    assert result.code == 1
    [finding] = [check["detail"] for check in json.loads(result.out) if not check["ok"]]
    assert "a face that does not move, from 3" in finding
    assert "draw a zone to ignore" in finding


def test_the_notice_names_place_and_emotions(run_command, write_config):
    result = run_command("notice", "--config", write_config(site={"place": "the main entrance"}))
    assert result.code == 0
    assert "the main entrance" in result.out
    assert "looks: angry" in " ".join(result.out.split())


def test_the_notice_is_a_page_to_print_with_what_the_law_wants(run_command, write_config, tmp_path):
    config_file, sign = write_config(site={"jurisdiction": "DE"}), tmp_path / "sign.html"
    result = run_command("notice", "--config", config_file, "--language", "en,ar", "--html", sign)
    assert (result.code, "no legal advice" in result.err) == (0, True)
    text = sign.read_text(encoding="utf-8")
    assert "size: A4" in text
    assert '<section lang="ar" dir="rtl">' in text
    for point in (", 13(1)(c)", ", 13(2), 21", "2024/1689"):
        assert text.count(point) == 2, point
    malay = run_command("notice", "--config", write_config(site={"jurisdiction": "MY"}), "--language", "ms")
    assert "--language ms,en" in malay.err
    assert "2024/1689" not in malay.out
    unknown = run_command("notice", "--language", "tlh")
    assert (unknown.code, "'tlh' is not one of en, de" in unknown.err) == (2, True)
