"""No picture leaves: proved on the running agent, and the proof is shown to notice what it must."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import pytest

from edge_agent.config import load_config
from edge_agent.testing import free_port
from edge_agent.tools.privacy import prove, schemas, trace

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def test_no_message_has_room_for_a_picture():
    assert schemas().ok, schemas().detail


@needs_strace
def test_the_agent_writes_its_outbox_only_and_talks_to_its_broker_only(run_command, write_config, broker):
    result = run_command("doctor", "--privacy", "--seconds", 15, "--json", "--config", write_config())
    assert result.code == 0, result.out + result.err
    checks = {check["check"]: check for check in json.loads(result.out)}
    assert set(checks) == {"messages", "live view", "agent", "files written", "addresses"}
    assert f"127.0.0.1:{broker.port}" in checks["addresses"]["detail"]


@needs_strace
def test_without_a_broker_nothing_is_proved(run_command, write_config, monkeypatch):
    monkeypatch.setattr("edge_agent.tools.privacy._START_S", 1.0)
    config = load_config(Path(write_config(port=free_port())))
    *_, addresses = prove(config, Path("config.yaml"), seconds=8)
    assert not addresses.ok
    assert "nothing is proved" in addresses.detail


@needs_strace
def test_a_program_that_leaks_is_found_out(tmp_path):
    script = (
        "import cv2, numpy, os, socket\n"
        f"cv2.imwrite({str(tmp_path / 'face.jpg')!r}, numpy.zeros((48, 48), 'uint8'))\n"
        f"open({str(tmp_path / 'a')!r}, 'w').close(); os.rename({str(tmp_path / 'a')!r}, {str(tmp_path / 'b')!r})\n"
        "try: socket.create_connection(('127.0.0.2', 9))\n"
        "except OSError: pass\n"
        "datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "datagrams.sendto(b'x', ('127.0.0.3', 99)); datagrams.sendmsg([b'x'], [], 0, ('127.0.0.4', 98))\n"
        f"os.link({str(tmp_path / 'b')!r}, {str(tmp_path / 'c')!r})\n"
    )
    observed, _ = trace([sys.executable, "-c", script], seconds=60)
    assert {str(tmp_path / name) for name in ("face.jpg", "a", "b", "c")} <= set(observed.written)
    assert {("AF_INET", "127.0.0.2", 9), ("AF_INET", "127.0.0.3", 99), ("AF_INET", "127.0.0.4", 98)} <= set(
        observed.addresses
    )


def test_a_doctor_names_what_does_not_work(run_command, write_config):
    config_file = write_config(port=free_port(), camera={"device": "nowhere.mp4"}, outbox={"state_dir": "/proc/x"})
    result = run_command("doctor", "--config", config_file)
    assert result.code == 1
    verdicts = {line.split(":")[0].split()[1]: line.startswith("ok") for line in result.out.splitlines()}
    assert verdicts == {
        "models": True, "camera": False, "posters": True, "disk": False, "broker": False, "clock": True, "memory": True,
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
    for point in ("GDPR, 13(1)(c)", "GDPR, 13(2), 21", "2024/1689, article 50(3)"):
        assert text.count(point) == 2, point
    malay = run_command("notice", "--config", write_config(site={"jurisdiction": "MY"}), "--language", "ms")
    assert "--language ms,en" in malay.err
    assert "2024/1689" not in malay.out
    unknown = run_command("notice", "--language", "tlh")
    assert (unknown.code, "'tlh' is not one of en, de" in unknown.err) == (2, True)
