"""The pages in a real browser, with the real agent, a real broker and the demo clip behind them."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import PATIENCE_S
from playwright.sync_api import Browser, Page, expect, sync_playwright
from test_staff import TWO_ANGRY, exercise

from edge_agent.delivery.messages import Summary
from edge_agent.demo import CLIPS
from edge_agent.demo.simulate import Visit
from edge_agent.errors import ConfigError
from edge_agent.statistics.summaries import keep
from edge_agent.testing import free_port
from edge_agent.web.access import read_token

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
#: Where screenshots go when the documentation's are made anew.
SCREENSHOTS = os.environ.get("SCREENSHOTS")

expect.set_options(timeout=1000 * PATIENCE_S)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser):
    """Opens pages, each in a browser of its own; fails on errors in scripts and requests to other hosts."""
    problems: list[str] = []
    contexts = []

    def start(url: str, size: dict[str, int], *, clock: bool = False, script: str = "", **options) -> Page:
        context = browser.new_context(viewport=size, **options)
        contexts.append(context)
        page = context.new_page()
        if clock:
            page.clock.install()
        page.add_init_script(script)
        page.on("pageerror", lambda error: problems.append(str(error)))
        host = url.split("/")[2]
        page.on("request", lambda request: None if host in request.url else problems.append(request.url))
        page.goto(url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert [problem for problem in problems if not problem.startswith("blob:")] == []


def screenshot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def accessible(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert serious == [], [(one["id"], one["nodes"][0]["html"]) for one in serious]


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
        expect(page.locator("#alert-rows tr").first).to_contain_text("over (calm)")
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
        expect(page.locator("#satisfied")).to_contain_text("80 % of")
        expect(page.locator("#by-hour figure")).to_have_count(20)
        expect(page.get_by_role("img", name="angry 10 %").first).to_be_visible()
        screenshot(page, "summary")
        accessible(page)
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        rows = Path(download.value.path()).read_text().splitlines()
        assert rows[0].startswith("begin,end,visits,angry")
        assert len(rows) == 21

    def test_tabs_follow_the_arrow_keys(self, live_view, open_page):
        page = open_page(live_view(), PHONE)
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
            assert refused.value.code == 401, path
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
        view, pictures = LiveView(config, pipeline, drawn_zones=()), []
        view.show = pictures.append
        frame = Frame(image, 1.0)
        view.look(frame, pipeline.process(frame))
        assert pictures == []  # nobody watches
        view.watchers = 1
        view.look(frame, pipeline.process(Frame(image, 1.1)))
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


class TestStaffPager:
    @pytest.fixture
    def pager(self, edge_agent, broker, site):
        def start(*options: str, port: int | None = None):
            process = edge_agent(
                "pager", "--web", "--listen", "127.0.0.1:0", "--port", port or broker.port, "--site", site, *options
            )
            return process, next(line for line in process.stdout if "staff pager at" in line).split()[-1]

        return start

    def on_duty(self, open_page, url: str, name: str) -> Page:
        page = open_page(url, PHONE, has_touch=True, is_mobile=True)
        page.get_by_label("Your name").fill(name)
        page.get_by_role("button", name="Start shift").click()
        expect(page.locator("#link")).to_have_text(f"Connected as {name}")
        return page

    def test_staff_see_a_page_and_who_took_it(self, pager, open_page, edge_agent, listen, site, write_config):
        listener = listen(f"kiosk/v1/{site}/#")
        _, url = pager()
        kim, lee = self.on_duty(open_page, url, "Kim"), self.on_duty(open_page, url, "Lee")
        accessible(kim)
        # However long the browsers take, the page is still open.
        rules = [{"name": "angry-customer", "off_delay_s": 600}]
        edge_agent("run", "--config", write_config(camera={"device": str(CLIPS["one"]), "loop": True}, rules=rules))
        for page in (kim, lee):
            expect(page.locator("article.paging")).to_contain_text("Please send assistance")
            expect(page.locator("article")).to_contain_text("till")
            expect(page.locator("#news")).to_contain_text("Please send assistance")
        screenshot(kim, "pager")
        accessible(kim)
        kim.reload()  # a reload rings for nothing twice
        kim.get_by_role("button", name="On my way").click()
        assert listener.wait_for_json("/alert/0", step="acked", by="Kim")["reason"] == "on_my_way"
        expect(lee.locator("article")).to_contain_text("Kim is on the way")
        expect(lee.locator("article.paging")).to_have_count(0)
        screenshot(lee, "pager-taken")
        lee.get_by_role("button", name="Resolved").click()
        listener.wait_for_json("/alert/0", step="cleared", by="Lee", reason="resolve")
        expect(kim.locator("article")).to_have_count(0)
        expect(kim.locator("#recent li").first).to_contain_text("resolved, Lee")
        assert kim.evaluate("document.body.dataset.rings ?? '0'") == "0"
        assert lee.evaluate("document.body.dataset.rings") == "1"

    def test_a_second_person_rings_again_and_must_be_answered_anew(self, pager, open_page, listen, site, write_config):
        listener = listen(f"kiosk/v1/{site}/#")
        _, url = pager()
        kim = self.on_duty(open_page, url, "Kim")
        with exercise(write_config, TWO_ANGRY):
            kim.get_by_role("button", name="On my way").click()
            listener.wait_for_json("/alert/0", step="acked", people=1)
            expect(kim.locator("article")).to_contain_text("Kim is on the way")
            expect(kim.locator("article.paging")).to_contain_text("2 people")
            expect(kim.locator("article")).to_contain_text("Nobody has answered yet")
            expect(kim.locator("#news")).to_contain_text("2 people")
            assert kim.evaluate("document.body.dataset.rings") == "2"
            screenshot(kim, "pager-two")
            accessible(kim)
            kim.get_by_role("button", name="Acknowledge").click()
            listener.wait_for_json("/alert/0", step="acked", people=2)
            expect(kim.locator("article.paging")).to_have_count(0)
            assert kim.evaluate("document.body.dataset.rings") == "2"

    @pytest.mark.parametrize("broker_away", [False, True], ids=["at once", "before the broker"])
    def test_an_answer_given_while_the_server_is_away_counts_later(
        self, pager, open_page, edge_agent, listen, site, write_config, plug_in, broker_away
    ):
        listener = listen(f"kiosk/v1/{site}/#")
        process, url = pager()
        kim = self.on_duty(open_page, url, "Kim")
        with exercise(write_config, [Visit(0.2, 600.0, 0.9, "one")]):  # until it is answered
            expect(kim.locator("article.paging")).to_be_visible()
            process.kill()
            process.wait()
            expect(kim.locator("#link")).to_contain_text("No connection")
            kim.get_by_role("button", name="Resolved").click()
            expect(kim.locator("article")).to_contain_text("Sending your answer")
            port = free_port() if broker_away else broker_port(listener)
            address = url.removeprefix("http://").rstrip("/")
            again = edge_agent("pager", "--web", "--listen", address, "--port", port, "--site", site)
            next(line for line in again.stdout if "staff pager at" in line)
            if broker_away:
                # It tells the browser how things are before it knows of any page.
                expect(kim.locator("#link")).to_contain_text("No broker")
                expect(kim.locator("article")).to_have_count(0)
                plug_in(port)
            listener.wait_for_json("/alert/0", step="cleared", by="Kim")
        assert kim.evaluate("document.body.dataset.rings") == "1"

    def test_a_dead_connection_is_found_out_and_the_screen_stays_on(self, pager, open_page):
        _, url = pager()
        count_locks = (
            "navigator.wakeLock.request = () => { window.locks = (window.locks ?? 0) + 1; return Promise.resolve(); }"
        )
        page = open_page(url, PHONE, clock=True, script=count_locks)
        page.get_by_label("Your name").fill("Kim")
        page.get_by_role("button", name="Start shift").click()
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert page.evaluate("window.locks") == 2
        with page.expect_websocket() as again:
            page.clock.fast_forward(30_000)
        expect(page.locator("#link")).to_have_text("Connected as Kim")
        # The server says how things are also when nothing is new.
        for _ in range(2):
            again.value.wait_for_event("framereceived", timeout=1000 * PATIENCE_S)

    def test_it_can_be_installed(self, pager, open_page):
        _, url = pager()
        page = open_page(url, PHONE)
        assert page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        with urllib.request.urlopen(url + "manifest.webmanifest", timeout=PATIENCE_S) as answer:
            manifest = json.load(answer)
        assert manifest["display"] == "standalone"
        for icon in manifest["icons"]:
            with urllib.request.urlopen(url.rstrip("/") + icon["src"], timeout=PATIENCE_S) as answer:
                assert answer.headers["Content-Type"].startswith(icon["type"])

    def test_what_cannot_work_is_said(self, run_command):
        for options, says in (
            (["--listen", "nowhere"], "HOST:PORT"),
            (["--listen", "0.0.0.0:0"], "--token-file"),
            (["--tls-cert", "a.pem"], "belong together"),
            (["--tls-cert", "a.pem", "--tls-key", "b.pem", "--listen", "127.0.0.1:0"], "cannot use the certificate"),
            (["--listen", "192.0.2.1:80", "--token-file", "/nowhere"], "cannot read the token"),
        ):
            result = run_command("pager", "--web", *options)
            assert (result.code, says in result.err) == (2, True), result.err


def broker_port(listener) -> int:
    return int(listener.client.port)
