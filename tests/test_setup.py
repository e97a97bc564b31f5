"""The wizard, as a process in a terminal and as a page in a browser, against a real broker with a password."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import cv2
import numpy as np
import pytest
import yaml
from browser import PHONE, accessible, screenshot
from conftest import PATIENCE_S, REPOSITORY
from playwright.sync_api import expect

from edge_agent.config import load_config
from edge_agent.errors import ConfigError
from edge_agent.setup.draft import Draft, parse
from edge_agent.setup.editing import comments, edited
from edge_agent.setup.page import OneTimeCode
from edge_agent.testing import angry_frames

SHIPPED = (REPOSITORY / "config.yaml").read_text()


@pytest.fixture
def secured(start_mosquitto, tmp_path_factory):
    """A broker that knows one user."""
    passwords = tmp_path_factory.mktemp("broker") / "passwords"
    command = ["mosquitto_passwd", "-b", "-c", passwords, "till", "correct horse"]
    subprocess.run(command, check=True, capture_output=True)
    return start_mosquitto("allow_anonymous false", f"password_file {passwords}")


@pytest.fixture
def sideways(tmp_path):
    """Pictures of a camera that was mounted on its side."""
    folder = angry_frames(tmp_path / "pictures")
    for path in folder.iterdir():
        cv2.imwrite(str(path), cv2.rotate(cv2.imread(str(path)), cv2.ROTATE_90_CLOCKWISE))
    return folder


def changed_lines(before: str, after: str) -> list[str]:
    """Return the lines of a text that another has not."""
    old = before.splitlines()
    return [line for line in after.splitlines() if line not in old]


class TestTerminal:
    def test_it_brings_a_new_device_to_a_configuration_that_works(self, edge_agent, secured, sideways, tmp_path):
        answers = [
            "lobby", "till-1", "main entrance", "DE",
            "h", "opencv", sideways, "0", "yes", "yes",
            "0,0 30,0 40,50 30,100 0,100", "", "till", "50,0 100,0 100,100", "",
            "h", "127.0.0.1", "port", secured.port, "no", "till", "wrong", "yes",  # the first password is refused
            "", "", "correct horse",
            "40", "", "Please come", "no",
            "yes", "yes",
        ]  # fmt: skip
        wizard = edge_agent("setup", cwd=tmp_path)
        out, err = wizard.communicate("\n".join(map(str, answers)) + "\n", timeout=2 * PATIENCE_S)
        assert wizard.returncode == 0, out + err
        assert "Set camera.rotate to 270?" in out
        assert "'port' is not a whole number from 1 to 65535" in out
        assert "check mqtt.username (till) and its password" in out
        assert "about 2 false pages a day, for 40 calm visitors a day" in out
        assert "ok    broker:" in out
        assert "correct horse" not in out
        config = load_config(tmp_path / "config.yaml")
        assert (config.site.name, config.site.device, config.site.jurisdiction) == ("lobby", "till-1", "DE")
        assert (config.camera.device, config.camera.rotate) == (str(sideways), 270)
        assert config.faces.ignore_zones == (((0, 0), (0.3, 0), (0.4, 0.5), (0.3, 1), (0, 1)),)
        assert config.zones[0].name == "till"
        assert config.privacy.notice_posted
        secret = config.mqtt.password_file
        assert secret.read_text() == "correct horse\n"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        text = (tmp_path / "config.yaml").read_text()
        assert comments(text) == comments(SHIPPED)
        assert len(changed_lines(SHIPPED, text)) == 13

    def test_ctrl_c_leaves_the_file_as_it_is(self, tmp_path):
        (tmp_path / "config.yaml").write_text("site: {name: lobby}   # ours\n")
        terminal, end = pty.openpty()
        command = [sys.executable, "-m", "edge_agent", "setup"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(
            command, stdin=end, stdout=end, stderr=end, cwd=tmp_path, env=environment, start_new_session=True
        ) as wizard:
            os.close(end)
            shown = read_until(terminal, "Name of the site [lobby]: ")
            os.write(terminal, b"elsewhere\n")
            shown += read_until(terminal, "Name of this device")
            while wizard.poll() is None:  # Python may be just about to read, and would handle it after that
                wizard.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    wizard.wait(5)
            shown += read_until(terminal, "nothing was written")
        os.close(terminal)
        assert wizard.returncode == 130
        assert "Traceback" not in shown
        assert (tmp_path / "config.yaml").read_text() == "site: {name: lobby}   # ours\n"

    def test_answers_that_end_too_early_write_nothing(self, edge_agent, tmp_path):
        wizard = edge_agent("setup", cwd=tmp_path)
        _, err = wizard.communicate("lobby\n", timeout=PATIENCE_S)
        assert wizard.returncode == ConfigError.exit_code
        assert err == "edge-agent: the answers ended before the last question; nothing was written\n"
        assert list(tmp_path.iterdir()) == []


def read_until(terminal: int, text: str) -> str:
    shown = b""
    while text.encode() not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            part = b""
        assert part, shown.decode()
        shown += part
    return shown.decode()


MINE = """\
# The till at the entrance; Kim knows the camera's password.
site: {name: lobby, place: "the 'green' desk # 3"}   # one line
faces:
    # agreed in May
    ignore_zones:
      - [[0, 0], [0.1, 0], [0.1, 1]]   # the poster
      # the mirror may go
# what follows is the broker's
mqtt:
    host:   broker.lan     # in the cellar
    port:   1883
"""


class TestWriting:
    @pytest.mark.parametrize("text", [SHIPPED, MINE, MINE.replace("\n", "\r\n"), "# nothing yet\n", ""])
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("mqtt.host", "on"), ("mqtt.tls.enabled", True), ("site.place", 'a: "b" # c'), ("mqtt.username", None),
            ("faces.ignore_zones", [[[0, 0], [0.5, 0], [0.6, 0.4], [0.5, 1], [0, 1]]]),
            ("zones", [{"name": "till", "polygon": [[0, 0], [1, 0], [1, 1]]}]), ("rules.0.upper", 0.4),
        ],
    )  # fmt: skip
    def test_one_option_changes_and_no_comment_is_lost(self, text, option, value, tmp_path):
        steps = [int(step) if step.isdecimal() else step for step in option.split(".")]
        after = edited(text, steps, value, lists={"rules": [{"name": "angry-customer"}]})
        (tmp_path / "config.yaml").write_bytes(after.encode())
        found = yaml.safe_load(after)
        for step in steps:
            found = found[step]
        assert found == value
        load_config(tmp_path / "config.yaml")
        assert comments(after) == comments(text)
        assert len(changed_lines(text, after)) <= 5
        assert ("\r\n" in after) == ("\r\n" in text)

    def test_lines_of_other_options_stay_as_they_are(self):
        after = edited(MINE, ["mqtt", "port"], 8883, lists={})
        assert after == MINE.replace("port:   1883", "port: 8883")

    def test_what_a_drop_in_says_is_changed_there_and_all_else_in_the_sites_file(self, tmp_path):
        (tmp_path / "config.yaml").write_text(SHIPPED)
        folder = tmp_path / "config.d"
        folder.mkdir()
        (folder / "20-broker.yaml").write_text("mqtt: {host: old.lan}  # ours\n")
        draft = Draft(tmp_path / "config.yaml")
        draft.set({"mqtt.host": "new.lan", "site.name": "lobby"})
        draft.write()
        assert (tmp_path / "config.yaml").read_text() == SHIPPED
        assert (folder / "20-broker.yaml").read_text() == "mqtt: {host: new.lan}  # ours\n"
        assert (folder / "10-site.yaml").read_text() == "site:\n  name: lobby\n"
        assert load_config(tmp_path / "config.yaml").mqtt.host == "new.lan"

    def test_a_rule_of_a_profile_is_written_out_whole(self, tmp_path):
        (tmp_path / "config.yaml").write_text("profile: hotel_desk\n")
        before = load_config(tmp_path / "config.yaml").rules[0]
        draft = Draft(tmp_path / "config.yaml")
        draft.set({"rules.0.upper": 0.5})
        draft.write()
        after = load_config(tmp_path / "config.yaml").rules[0]
        assert (after.upper, after.dwell_s, after.escalation) == (0.5, before.dwell_s, before.escalation)

    def test_mode_and_links_stay_and_answers_that_are_refused_change_nothing(self, tmp_path):
        real = tmp_path / "real.yaml"
        real.write_text(MINE)
        real.chmod(0o604)
        (tmp_path / "config.yaml").symlink_to(real)
        draft = Draft(tmp_path / "config.yaml")
        with pytest.raises(ConfigError, match="port"):
            draft.set({"mqtt.host": "elsewhere", "mqtt.port": parse("mqtt.port", "none")})
        assert draft.config.mqtt.host == "broker.lan"
        draft.set({"mqtt.port": parse("mqtt.port", "8883")})
        draft.write()
        assert real.read_text() == MINE.replace("port:   1883", "port: 8883")
        assert stat.S_IMODE(real.stat().st_mode) == 0o604
        assert (tmp_path / "config.yaml").is_symlink()

    def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(self, tmp_path):
        path = tmp_path / "config.yaml"
        path.write_text(MINE)
        draft = Draft(path)
        draft.set({"mqtt.port": 8883})
        path.write_text(f"{MINE}web: {{enabled: true}}\n")
        with pytest.raises(ConfigError, match="changed by somebody else"):
            draft.write()
        assert "enabled: true" in path.read_text()


@pytest.fixture
def wizard_page(edge_agent, tmp_path):
    """Starts the wizard as a page; returns its address, code and process."""

    def start(*arguments: str):
        process = edge_agent("setup", "--web", "--port", 0, *arguments, cwd=tmp_path)
        lines = iter(process.stdout.readline, "")
        url = next(line for line in lines if line.startswith("open "))[5:].strip()
        return url, next(lines)[6:].strip(), process

    return start


def log_in(url: str, code: str) -> int:
    data = urllib.parse.urlencode({"token": code}).encode()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    try:
        return opener.open(f"{url}login", data, timeout=PATIENCE_S).status
    except urllib.error.HTTPError as error:
        return error.code


class TestPage:
    def test_it_brings_a_device_to_a_configuration_that_works(
        self, wizard_page, open_page, secured, sideways, tmp_path
    ):
        (tmp_path / "config.yaml").write_text(SHIPPED)
        url, code, process = wizard_page()
        page = open_page(url, PHONE)
        page.get_by_role("textbox").fill("AAAA-AAAA")
        page.get_by_role("button").click()
        expect(page.get_by_role("alert")).not_to_be_empty()
        page.get_by_role("textbox").fill(code)
        page.get_by_role("button").click()
        page.get_by_label("Name of the site").fill("two words")
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_role("alert").first).to_contain_text("two words")
        page.get_by_label("Name of the site").fill("lobby")
        page.get_by_role("button", name="Next").click()

        page.get_by_label("Device:").fill(str(sideways))
        page.get_by_role("button", name="Show this camera").click()
        page.get_by_role("button", name="Turn it: 270 degrees").click()
        expect(page.locator(".picture img")).to_have_js_property("naturalWidth", 640)
        accessible(page)
        page.get_by_role("button", name="Next").click()

        expect(page.locator(".picture img")).to_have_js_property("naturalWidth", 640)
        page.get_by_role("button", name="Add a zone").click()
        box = page.get_by_role("group", name="Zones").bounding_box()
        for x, y in ((0.1, 0.1), (0.4, 0.1), (0.5, 0.5), (0.4, 0.9), (0.1, 0.9)):
            page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.get_by_role("button", name="Zone 1, corner 3").press("ArrowRight")
        page.get_by_role("button", name="Add a zone").click()
        for _ in range(3):
            page.get_by_role("button", name="Add a corner of zone 2").click()
        page.get_by_role("button", name="Zone 2, corner 3").press("ArrowRight")
        page.get_by_label("Kind of zone 2").select_option("alert")
        page.get_by_label("Name of zone 2").fill("till")
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.evaluate("scrollTo(0, 0); document.querySelector('#file').textContent = '/etc/edge-agent/config.yaml'")
        screenshot(page, "wizard")
        page.get_by_role("button", name="Next").click()

        page.get_by_text("Say it by hand").click()
        page.get_by_label("Port").fill(str(secured.port))
        page.get_by_label("User").fill("till")
        page.get_by_label("Its password").fill("wrong")
        page.get_by_role("button", name="Next").click()
        expect(page.locator("#said")).to_contain_text("check mqtt.username (till) and its password")
        page.get_by_label("Its password").fill("correct horse")
        page.get_by_role("button", name="Next").click()

        expect(page.get_by_role("radio").first).to_be_checked()
        expect(page.get_by_label("about 1 false page a day")).to_be_visible()
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_label("For a pager")).to_contain_text("username: staff")
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_label("The sign", exact=True)).to_contain_text("THIS CAMERA JUDGES EXPRESSIONS")
        accessible(page)
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_label("What changes")).to_contain_text("site.name: site → lobby")
        page.get_by_role("button", name="Write it").click()
        expect(page.locator("#said")).to_have_text("All is well. This page has ended.", timeout=2000 * PATIENCE_S)
        expect(page.get_by_label("What doctor says")).to_contain_text("ok    broker:")
        assert process.wait(PATIENCE_S) == 0

        text = (tmp_path / "config.yaml").read_text()
        assert comments(text) == comments(SHIPPED)
        assert len(changed_lines(SHIPPED, text)) == 8
        config = load_config(tmp_path / "config.yaml")
        [ignored] = config.faces.ignore_zones
        assert np.abs(np.array(ignored) - [(0.1, 0.1), (0.4, 0.1), (0.51, 0.5), (0.4, 0.9), (0.1, 0.9)]).max() < 0.02
        assert [(zone.name, len(zone.polygon)) for zone in config.zones] == [("till", 3)]
        assert config.camera.rotate == 270
        assert not config.privacy.notice_posted
        assert config.mqtt.password_file.read_text() == "correct horse\n"
        assert [path.name for path in tmp_path.iterdir() if path.suffix in (".jpg", ".png")] == []

    def test_it_is_for_who_has_the_code_and_that_counts_once(self, wizard_page):
        url, code, process = wizard_page()
        for path in ("api/steps", "api/picture", "api/told"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}{path}", timeout=PATIENCE_S)
            assert refused.value.code == 401
        assert log_in(url, code) == 200
        assert log_in(url, code) == 401
        assert "it logs in nobody else" in process.stdout.readline()

    def test_guessing_is_slowed_down_and_then_over(self, wizard_page):
        url, code, _ = wizard_page()
        assert [log_in(url, "AAAAAAAA") for _ in range(6)] == [401] * 5 + [429]
        assert log_in(url, code) == 429
        told = []
        one = OneTimeCode(tell=told.append)
        assert not any(one.take("guess") for _ in range(10))
        assert not one.take(one.text)
        assert "run edge-agent setup --web again" in told[0]

    def test_where_others_reach_it_it_has_a_certificate_and_prints_its_fingerprint(self, edge_agent, tmp_path):
        process = edge_agent("setup", "--web", "--port", 0, "--host", "0.0.0.0", cwd=tmp_path)
        lines = [process.stdout.readline() for _ in range(3)]
        assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}\n", lines[1])
        assert lines[2].startswith("open https://0.0.0.0:")
