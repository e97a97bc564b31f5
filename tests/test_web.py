"""The live view in a real browser, with the real agent, a real broker and the demo clip behind it."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path

import cv2
import pytest
from browser import DESKTOP, PHONE, accessible, screenshot
from conftest import PATIENCE_S
from playwright.sync_api import expect
from test_joining import presented

from edge_agent.delivery.messages import Summary
from edge_agent.demo import CLIPS
from edge_agent.errors import ConfigError
from edge_agent.pager_server.authority import Authority
from edge_agent.statistics.summaries import keep
from edge_agent.testing import free_port
from edge_agent.web.access import read_token


@pytest.fixture
def live_view(edge_agent, write_config):
    """The agent with its live view, watching the clip again and again; returns the page's address."""

    def start(**web) -> str:
        port = free_port()
        agent = edge_agent(
            "run", "--config",
            write_config(
                camera={"device": str(CLIPS["one"]), "loop": True},
                web={"enabled": True, "port": port, **web},
                rules=[{"name": "angry-customer", "cooldown_s": 0.0}],
            ),
        )  # fmt: skip
        next(line for line in agent.stderr if "camera delivers frames" in line)
        return f"http://127.0.0.1:{port}/"

    return start


@pytest.fixture
def poster_view(edge_agent, write_config, clip_frames, tmp_path):
    """The agent with its live view before a picture that never changes; the page's address."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "poster.png"), clip_frames("one")[0].image)
    port = free_port()
    config_file = write_config(
        camera={"device": str(pictures), "loop": True},
        web={"enabled": True, "port": port},
        tracking={"still_after_s": 3.0},
    )
    agent = edge_agent("run", "--config", config_file)
    next(line for line in agent.stderr if "camera delivers frames" in line)
    return f"http://127.0.0.1:{port}/"


class TestLiveView:
    def test_it_shows_who_is_upset_and_the_page_that_follows(self, live_view, open_page):
        page = open_page(live_view(), DESKTOP)
        expect(page.locator("#people li").first).to_contain_text("neutral")
        expect(page.locator("#page")).to_have_text("Please send assistance")
        expect(page.locator("#rules li").first).to_contain_text("angry-customer: paged")
        screenshot(page, "live")
        accessible(page)
        page.get_by_role("tab", name="Alerts").click()
        expect(page.locator("#alert-rows tr").first).to_contain_text("Please send assistance")
        expect(page.locator("#alert-rows tr").first).to_contain_text("over (calm again)")
        screenshot(page, "alerts")
        accessible(page)
        page.get_by_role("tab", name="Health").click()
        expect(page.locator("#charts figure").first).to_contain_text("Frames a second")
        expect(page.locator("#state")).to_contain_text("online")
        screenshot(page, "health")
        accessible(page)

    def test_frames_are_sent_only_while_they_are_looked_at(self, live_view, open_page):
        page = open_page(live_view(), DESKTOP)
        expect(page.locator("#people li").first).to_be_visible()  # or the first connection may count as the second
        with page.expect_websocket() as watching:
            page.reload()
        watching.value.wait_for_event("framereceived")
        with watching.value.expect_event("close"):
            page.get_by_role("tab", name="Health").click()

    def test_zones_are_drawn_with_mouse_and_keyboard_and_hold(self, live_view, open_page, tmp_path):
        page = open_page(live_view(), DESKTOP)
        page.get_by_role("tab", name="Setup").click()
        page.get_by_role("button", name="Add a zone").click()
        corner = page.get_by_role("button", name="Zone 1, corner 3")
        frame = page.locator("#zones").bounding_box()
        box = corner.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(frame["x"] + 0.95 * frame["width"], frame["y"] + 0.95 * frame["height"], steps=4)
        page.mouse.up()
        for number, key in ((2, "ArrowRight"), (4, "ArrowLeft")):
            page.get_by_role("button", name=f"Zone 1, corner {number}").press(key)
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#saved")).to_contain_text("Saved")
        screenshot(page, "setup")
        accessible(page)
        page.reload()
        expect(page.get_by_role("button", name="Zone 1, corner 1")).to_be_visible()
        [zone] = json.loads((tmp_path / "state" / "ignore_zones.json").read_text())
        assert zone[2] == pytest.approx([0.95, 0.95], abs=0.01)
        assert zone[1][0] == pytest.approx(0.31)
        page.get_by_role("button", name="Zone 1, corner 1").press("Delete")
        expect(page.get_by_role("button", name="Zone 1, corner 1")).to_have_count(0)

    def test_zones_that_the_disk_does_not_take_are_not_called_saved(self, live_view, open_page, tmp_path):
        (tmp_path / "state" / "ignore_zones.tmp").mkdir(parents=True)  # in the way of the file of this name
        page = open_page(live_view(), DESKTOP)
        page.get_by_role("tab", name="Setup").click()
        page.get_by_role("button", name="Add a zone").click()
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#saved")).to_have_text("Not saved: they hold until the next start only: Is a directory")

    def test_a_poster_is_proposed_and_ignored_at_a_click(self, poster_view, open_page, tmp_path):
        page = open_page(poster_view, DESKTOP)
        page.get_by_role("tab", name="Setup").click()
        page.get_by_role("button", name="Ignore place 1").click()
        expect(page.locator("#saved")).to_contain_text("Saved")
        expect(page.locator("#proposed")).to_be_hidden()
        expect(page.get_by_role("button", name="Zone 1, corner 1")).to_be_visible()
        accessible(page)
        page.reload()
        expect(page.get_by_role("button", name="Zone 1, corner 1")).to_be_visible()
        expect(page.locator("#proposed")).to_be_hidden()
        [zone] = json.loads((tmp_path / "state" / "ignore_zones.json").read_text())
        assert zone[0][0] < 0.5 < zone[1][0]
        page.get_by_role("tab", name="Live").click()
        expect(page.locator("#people li").first).to_have_text("Nobody in view")

    def test_the_summary_is_drawn_by_hour_and_day_and_can_be_taken_along(self, live_view, open_page, tmp_path):
        shares = {"angry": 0.1, "happy": 0.3, "neutral": 0.5, "sad": 0.05, "other": 0.05}
        (tmp_path / "state").mkdir()
        now_s = time.time() // 86_400 * 86_400
        for hour in range(-20, 0):
            summary = Summary(10 + hour % 7, shares, 0.8)
            keep(tmp_path / "state", summary, begin_s=now_s + 3600 * hour, end_s=now_s + 3600 * hour + 900)
        page = open_page(live_view(), DESKTOP)
        page.get_by_role("tab", name="Summary").click()
        expect(page.locator("#satisfied")).to_contain_text("80% of")
        expect(page.locator("#by-hour figure")).to_have_count(20)
        expect(page.get_by_role("img", name="angry 10%").first).to_be_visible()
        screenshot(page, "summary")
        accessible(page)
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        rows = Path(download.value.path()).read_text().splitlines()
        assert rows[0].startswith("begin,end,visits,angry")
        assert len(rows) == 21

    def test_tabs_follow_the_arrow_keys(self, live_view, open_page):
        page = open_page(live_view(), PHONE)
        expect(page.locator("#mode")).not_to_be_empty()  # the page's texts have come
        page.get_by_role("tab", name="Live").press("ArrowLeft")
        expect(page.get_by_role("tab", name="Setup")).to_be_focused()
        expect(page.locator("#setup")).to_be_visible()
        accessible(page)

    def test_another_site_cannot_reach_it_through_the_visitors_browser(self, live_view):
        url = live_view()
        for headers, path, method in (
            ({"Host": "evil.example"}, "", "GET"),
            ({"Origin": "http://evil.example", "Connection": "Upgrade", "Upgrade": "websocket"}, "ws", "GET"),
            ({"Content-Type": "application/json"}, "api/ignore_zones", "PUT"),
        ):
            request = urllib.request.Request(
                url + path, headers=headers, method=method, data=b"[]" if method == "PUT" else None
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=PATIENCE_S)
            assert refused.value.code == 403
            refused.value.close()

    def test_junk_is_no_zone(self, live_view):
        url = live_view()
        for junk in (
            b"{",
            b"{}",
            b"[[[0, 0], [1, 1]]]",
            b"[[[0, 0], [1, 1], [2, 0]]]",
            b"[[[0, 0], [1, 1], [true, 0]]]",
        ):
            request = urllib.request.Request(
                url + "api/ignore_zones", method="PUT", data=junk, headers={"X-Requested-With": "edge-agent"}
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=PATIENCE_S)
            assert refused.value.code == 400
            refused.value.close()


def test_over_tls_page_and_stream_come_and_a_new_certificate_is_taken_over(
    edge_agent, write_config, open_page, tmp_path
):
    authority, port = Authority(tmp_path, host="test"), free_port()
    certificate, key, draft = tmp_path / "live.pem", tmp_path / "live.key", tmp_path / "draft"

    def renew() -> None:
        for path in (certificate, key):  # each holds both
            made, _ = authority.issue(["localhost"], [ip_address("127.0.0.1")], now=datetime.now(timezone.utc))
            draft.write_bytes(made if path == certificate else certificate.read_bytes())
            draft.replace(path)

    renew()
    agent = edge_agent(
        "run", "--config",
        write_config(
            camera={"device": str(CLIPS["one"]), "loop": True},
            web={"enabled": True, "port": port, "tls_cert": str(certificate), "tls_key": str(key)},
        ),
    )  # fmt: skip
    next(line for line in agent.stderr if "camera delivers frames" in line)
    page = open_page(f"https://127.0.0.1:{port}/", DESKTOP, ignore_https_errors=True)
    expect(page.locator("#people li").first).to_contain_text("neutral")
    first = presented(port, authority.der).serial_number
    with pytest.raises(OSError):  # noqa: PT011  urllib's, or that the connection ended
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S)
    renew()
    said = [next(line for line in agent.stderr if "the certificate was renewed" in line)]
    assert presented(port, authority.der).serial_number != first
    draft.write_bytes(b"half of it")
    draft.replace(certificate)
    said.append(next(line for line in agent.stderr if "cannot use the certificate" in line))
    assert "the certificate from before is used on" in said[-1]
    page.reload()
    expect(page.locator("#people li").first).to_contain_text("neutral")
    agent.send_signal(signal.SIGTERM)
    assert "Traceback" not in agent.stderr.read()


class TestToken:
    def test_beyond_this_computer_there_must_be_one(self, tmp_path):
        assert read_token(None, host="127.0.0.1", key="web.token_file") is None
        with pytest.raises(ConfigError, match=r"token in web\.token_file"):
            read_token(None, host="0.0.0.0", key="web.token_file")
        file = tmp_path / "token"
        file.write_text("short")
        file.chmod(0o600)
        with pytest.raises(ConfigError, match="shorter than 16"):
            read_token(file, host="0.0.0.0", key="web.token_file")
        file.write_text("a-token-of-twenty-chars")
        file.chmod(0o644)
        with pytest.raises(ConfigError, match="chmod 600"):
            read_token(file, host="127.0.0.1", key="web.token_file")

    def test_one_logs_in_with_it_and_stays_so(self, live_view, open_page, tmp_path):
        file = tmp_path / "token"
        file.write_text("a-token-of-twenty-chars\n")
        file.chmod(0o600)
        url = live_view(token_file=str(file))
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url + "api/alerts", timeout=PATIENCE_S)
        assert refused.value.code == 401
        refused.value.close()
        for path, headers, body in (
            ("api/alerts", {"Authorization": "Bearer \xff"}, None),
            ("login", {"Content-Type": "application/x-www-form-urlencoded"}, b"token=\xff"),
            ("login", {"Content-Type": "application/x-www-form-urlencoded; charset=none"}, b"token=a"),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(url + path, body, headers), timeout=PATIENCE_S)
            assert refused.value.code in (401, 415), path
            refused.value.close()
        page = open_page(url, DESKTOP)
        accessible(page)
        page.get_by_label("Token").fill("something else altogether")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        page.get_by_label("Token").fill("a-token-of-twenty-chars")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#people li").first).to_be_visible()
        page.reload()
        expect(page.locator("#people li").first).to_be_visible()


def test_faces_are_blurred_where_that_is_asked_for(write_config):
    import cv2
    import numpy as np

    from edge_agent.camera import Frame
    from edge_agent.config import load_config
    from edge_agent.pipeline import Pipeline
    from edge_agent.web.live import LiveView

    def shown(blur: bool) -> tuple[np.ndarray, dict]:
        config = load_config(Path(write_config(web={"blur_faces": blur})))
        pipeline = Pipeline(config, new_id=lambda: "0" * 26)
        capture = cv2.VideoCapture(str(CLIPS["one"]))
        _, image = capture.read()
        capture.release()
        view, pictures = LiveView(config, pipeline), []
        view.show = pictures.append
        frame = Frame(image, 1.0)
        view.frame_processed(frame, pipeline.process(frame))
        assert pictures == []  # nobody watches
        view.watchers = 1
        view.frame_processed(frame, pipeline.process(Frame(image, 1.1)))
        [picture] = pictures
        return cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE), json.loads(picture.caption)

    clear, caption = shown(blur=False)
    blurred, _ = shown(blur=True)
    [person] = caption["people"]
    x, y, width, height = (
        round(v * side) for v, side in zip(person["box"], (*clear.shape[::-1], *clear.shape[::-1]), strict=True)
    )
    # Next to each other, pixels of a square are alike; those of a face are not.
    alike = [
        np.mean(np.abs(np.diff(image[y : y + height, x : x + width].astype(int))) <= 1) for image in (clear, blurred)
    ]
    assert alike[0] < 0.6 < 0.75 < alike[1], alike
    assert np.abs(blurred[:40].astype(int) - clear[:40]).mean() < 2
