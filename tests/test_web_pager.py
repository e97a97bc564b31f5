"""The staff pager's page in real browsers, with the real agent, a real broker and the demo clip behind it."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest
import yaml
from browser import PHONE, accessible, screenshot
from conftest import PATIENCE_S
from messages import ULID, alert, composer
from playwright.sync_api import Page, expect
from test_staff import TWO_ANGRY, exercise

from edge_agent.config import Config, Privacy
from edge_agent.delivery.messages import Composer
from edge_agent.demo import CLIPS
from edge_agent.demo.simulate import Visit
from edge_agent.pager_server.roster import hash_pin
from edge_agent.testing import free_port


class TestStaffPager:
    @pytest.fixture
    def pager(self, edge_agent, broker, site, tmp_path):
        """Starts the server; one that is started again listens where the first one did."""

        def start(*options: str, port: int | None = None, listen: str = "127.0.0.1:0"):
            where = ("--listen", listen, "--port", port or broker.port, "--site", site)
            process = edge_agent("pager", "--web", *where, *options, cwd=tmp_path)
            return process, next(line for line in process.stdout if "staff pager at" in line).split()[-1]

        return start

    @pytest.fixture
    def watch(self, edge_agent, write_config):
        """Starts an agent that raises one page, and keeps it open however long the browsers take."""

        def start():
            config_file = write_config(
                camera={"device": str(CLIPS["one"]), "loop": True},
                rules=[{"name": "angry-customer", "off_delay_s": 60, "cooldown_s": 600}],
            )
            agent = edge_agent("run", "--config", config_file)
            next(line for line in agent.stderr if "camera delivers frames" in line)
            return agent

        return start

    def on_duty(self, open_page, url: str, name: str) -> Page:
        page = open_page(url, PHONE, has_touch=True, is_mobile=True)
        page.get_by_label("Your name").fill(name)
        page.get_by_role("button", name="Start shift").click()
        expect(page.locator("#link")).to_have_text(f"Connected as {name}")
        return page

    def test_staff_see_a_page_and_who_took_it(self, pager, open_page, listen, site, watch):
        listener = listen(f"kiosk/v1/{site}/#")
        _, url = pager()
        kim, lee = self.on_duty(open_page, url, "Kim"), self.on_duty(open_page, url, "Lee")
        accessible(kim)
        watch()
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

    def test_calm_is_claimed_only_while_every_kiosk_watches_and_the_server_is_there(
        self, pager, open_page, edge_agent, write_config
    ):
        process, url = pager()
        kim = self.on_duty(open_page, url, "Kim")
        expect(kim.locator("#watching")).to_have_text("No kiosk has been heard yet")
        expect(kim.locator("#calm")).to_have_text("No open page, but not everybody watches.")
        agent = edge_agent("run", "--config", write_config(camera={"source": "synthetic"}))
        expect(kim.locator("#watching")).to_have_text("1 of 1 kiosk watching")
        expect(kim.locator("#calm")).to_have_text("No open page. All is calm.")
        agent.kill()
        expect(kim.locator("#away")).to_contain_text("kiosk-1 is offline since")
        expect(kim.locator("#calm")).to_have_text("No open page, but not everybody watches.")
        accessible(kim)
        screenshot(kim, "pager-away")
        process.kill()
        expect(kim.locator("#link")).to_contain_text("No connection since")
        expect(kim.locator("#calm")).to_have_text("Nobody knows what is open while there is no connection.")
        accessible(kim)

    def test_a_kiosk_that_is_closed_is_named_quietly_and_spoils_no_calm(self, pager, open_page, listen, site):
        _, url = pager()
        kim = self.on_duty(open_page, url, "Kim")
        live = Config(privacy=Privacy(notice_posted=True))
        kiosk = Composer(live, session=ULID, unix=time.time, monotonic=time.monotonic)
        message = kiosk.state("online", closed=True, opens_unix_s=time.time() + 3600)
        client = listen(f"kiosk/v1/{site}/#").client
        client.publish(f"kiosk/v1/{site}/till-2/state", message.payload, qos=1).wait_for_publish(PATIENCE_S)
        expect(kim.locator("#away li.quiet")).to_have_text(re.compile(r"/till-2 is closed until \d\d:\d\d(\s[AP]M)?$"))
        expect(kim.locator("#watching")).to_have_text("0 of 1 kiosk watching")
        expect(kim.locator("#calm")).to_have_text("No open page. All is calm.")
        accessible(kim)

    def test_a_page_of_a_kiosk_that_died_says_so_and_can_be_closed(self, pager, open_page, watch):
        _, url = pager()
        kim = self.on_duty(open_page, url, "Kim")
        agent = watch()
        expect(kim.locator("article.paging")).to_be_visible()
        agent.kill()
        expect(kim.locator("article")).to_contain_text("is gone")
        screenshot(kim, "pager-gone")
        accessible(kim)
        kim.get_by_role("button", name="On my way").click()
        expect(kim.locator("article")).to_contain_text("Kim is on the way")
        expect(kim.locator("article")).not_to_contain_text("Sending your answer")
        kim.get_by_role("button", name="Resolved").click()
        expect(kim.locator("article")).to_have_count(0)
        expect(kim.locator("#recent li").first).to_contain_text("resolved, Kim")

    def test_a_snooze_asks_is_seen_by_all_and_can_be_lifted(self, pager, open_page, watch, listen, site):
        listener = listen(f"kiosk/v1/{site}/#")
        _, url = pager()
        kim, lee = self.on_duty(open_page, url, "Kim"), self.on_duty(open_page, url, "Lee")
        watch()
        expect(kim.locator("article.paging")).to_be_visible()
        kim.get_by_role("button", name="Snooze").click()  # a dialog that nobody accepts is dismissed
        expect(kim.locator("article")).not_to_contain_text("Sending your answer")
        kim.once("dialog", lambda dialog: dialog.accept())
        kim.get_by_role("button", name="Snooze").click()
        listener.wait_for_json("/alert/0", step="cleared", by="Kim", reason="snooze")
        expect(lee.locator("#away")).to_contain_text("is snoozed until")
        expect(lee.locator("#away")).to_contain_text("by Kim")
        expect(lee.locator("#calm")).to_have_text("No open page, but not everybody watches.")
        accessible(lee)
        lee.get_by_role("button", name="Page again").click()
        expect(kim.locator("#away")).to_have_text("")

    def test_the_sound_is_what_the_browser_allows(self, pager, open_page):
        _, url = pager()
        kim = self.on_duty(open_page, url, "Kim")
        expect(kim.locator("#mute")).to_have_text("Sound is on")
        kim.reload()
        expect(kim.locator("#mute")).to_have_text("No sound yet: tap here")
        kim.locator("#mute").click()
        expect(kim.locator("#mute")).to_have_text("Sound is on")
        kim.locator("#mute").click()
        expect(kim.locator("#mute")).to_have_text("Sound is off")

    def test_the_most_urgent_page_stands_first_and_many_fit_the_screen(self, pager, open_page, listen, site):
        listener = listen(f"kiosk/v1/{site}/#")
        _, url = pager()
        kim = self.on_duty(open_page, url, "Kim")
        for n, severity in enumerate(["warning", "warning", "critical", *["warning"] * 7]):
            message = composer().alert(alert(id=f"{n:026d}"))
            body = {**json.loads(message.payload), "severity": severity, "raised_at": f"2026-11-25T17:{50 - n}:00.000Z"}
            listener.client.publish(f"kiosk/v1/{site}/till-{n}/alert/{n:026d}", json.dumps(body), 1)
        expect(kim.locator("article")).to_have_count(10)
        tills = [text.split(f"{site}/till-")[1].split()[0] for text in kim.locator("article").all_inner_texts()]
        assert tills == ["2", "9", "8", "7", "6", "5", "4", "3", "1", "0"]  # the critical one, then who waits longest
        expect(kim.locator("article").first).to_contain_text("▲▲")
        expect(kim).to_have_title("(10) Staff pager")
        last = kim.locator("article").last.bounding_box()
        assert last["y"] + last["height"] < 2 * PHONE["height"]
        accessible(kim)
        for width, height in ((320, 568), (844, 390)):
            kim.set_viewport_size({"width": width, "height": height})
            assert kim.evaluate("document.documentElement.scrollWidth") <= width

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
        self, pager, open_page, listen, site, write_config, plug_in, broker, broker_away
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
            port = free_port() if broker_away else broker.port
            pager(port=port, listen=url.removeprefix("http://").rstrip("/"))
            if broker_away:
                # It tells the browser how things are before it knows of any page.
                expect(kim.locator("#link")).to_contain_text("No broker")
                expect(kim.locator("article")).to_have_count(0)
                plug_in(port)
            listener.wait_for_json("/alert/0", step="cleared", by="Kim")
        assert kim.evaluate("document.body.dataset.rings") == "1"

    @pytest.fixture
    def shifts(self, tmp_path, site):
        path = tmp_path / "staff.yaml"
        staff = [{"name": "Kim", "pin_hash": hash_pin("2468")}, {"name": "Lee"}]
        tills = {"name": "tills", "groups": ["staff"], "kiosks": [f"{site}/till-1", f"{site}/till-2"]}
        path.write_text(
            yaml.safe_dump({"pager": {"staff": staff, "shifts": [tills, {"name": "office", "groups": ["manager"]}]}})
        )
        return path

    def begin(self, page, name: str, shift: str, pin: str = "") -> None:
        page.get_by_label("Your name").select_option(name)
        page.get_by_label("Your shift").select_option(shift)
        if pin:
            page.get_by_label("Your PIN").fill(pin)
        page.get_by_role("button", name="Start shift").click()

    def publish(self, listener, site: str, device: str, **values) -> None:
        body = {**json.loads(composer().alert(alert(id=f"{len(device):026d}")).payload), **values}
        listener.client.publish(f"kiosk/v1/{site}/{device}/alert/{body['id']}", json.dumps(body), 1)

    def test_a_shift_shows_its_own_pages_and_begins_with_a_pin(self, pager, open_page, listen, site, shifts):
        listener = listen(f"kiosk/v1/{site}/#")
        process, url = pager("--config", str(shifts))
        kim, lee = open_page(url, PHONE), open_page(url, PHONE)
        expect(kim.get_by_label("Your name").locator("option")).to_have_text(["Kim", "Lee"])
        self.begin(kim, "Kim", "tills", "1111")
        expect(kim.locator("#refused")).to_have_text("That is not the PIN.")
        accessible(kim)
        screenshot(kim, "pager-pin")
        self.begin(kim, "Kim", "tills", "2468")
        expect(kim.locator("#link")).to_have_text("Connected as Kim")
        expect(lee.get_by_label("Your PIN")).to_be_visible()
        lee.get_by_label("Your name").select_option("Lee")
        expect(lee.get_by_label("Your PIN")).to_be_hidden()
        self.begin(lee, "Lee", "office")
        expect(lee.locator("#link")).to_have_text("Connected as Lee")
        # Kiosks that were never heard spoil the calm of the shift that counts on them.
        expect(kim.locator("#watching")).to_have_text("0 of 2 kiosks watching")
        expect(kim.locator("#away")).to_contain_text("till-2 gives no sign of life")
        self.publish(listener, site, "till-1")
        self.publish(listener, site, "till-22", groups=["manager"])
        expect(kim.locator("article")).to_have_count(1)
        expect(lee.locator("article")).to_have_count(1)
        expect(kim.locator("article")).to_contain_text("till-1")
        expect(lee.locator("article")).to_contain_text("till-22")
        # What nobody present looks after is everybody's.
        lee.get_by_role("button", name="End shift").click()
        expect(lee.get_by_label("Your name")).to_be_visible()
        expect(kim.locator("article")).to_have_count(2)
        expect(kim.locator("article").last).to_contain_text("nobody who is here looks after this")
        # A restart of the server ends nobody's shift.
        process.kill()
        process.wait()
        expect(kim.locator("#link")).to_contain_text("No connection")
        pager("--config", str(shifts), listen=url.removeprefix("http://").rstrip("/"))
        expect(kim.locator("#link")).to_have_text("Connected as Kim")

    def test_a_shift_that_the_server_does_not_know_any_more_ends_loudly(self, pager, open_page, tmp_path):
        process, url = pager()
        kim = self.on_duty(open_page, url, "Kim")
        process.kill()
        process.wait()
        next(tmp_path.rglob("shift.key")).unlink()
        pager(listen=url.removeprefix("http://").rstrip("/"))
        expect(kim.locator("#refused")).to_contain_text("Your shift has ended")
        expect(kim.get_by_label("Your name")).to_be_visible()

    def test_a_dead_connection_is_found_out_and_the_screen_stays_on(self, pager, open_page):
        _, url = pager()
        count_locks = (
            "navigator.wakeLock.request = () => { window.locks = (window.locks ?? 0) + 1; return Promise.resolve(); }"
        )
        page = open_page(url, PHONE, clock=True, script=count_locks)
        page.get_by_label("Your name").fill("Kim")
        page.get_by_role("button", name="Start shift").click()
        expect(page.locator("#link")).to_have_text("Connected as Kim")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert page.evaluate("window.locks") == 2
        with page.expect_websocket() as again:
            page.clock.fast_forward(30_000)
        expect(page.locator("#link")).to_have_text("Connected as Kim")
        # The server says how things are also when nothing is new.
        for _ in range(2):
            again.value.wait_for_event("framereceived", timeout=1000 * PATIENCE_S)

    def test_it_can_be_installed_and_opens_without_the_server(self, pager, open_page):
        process, url = pager()
        page = open_page(url, PHONE)
        assert page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        with urllib.request.urlopen(url + "manifest.webmanifest", timeout=PATIENCE_S) as answer:
            manifest = json.load(answer)
        assert manifest["display"] == "standalone"
        for icon in manifest["icons"]:
            with urllib.request.urlopen(url.rstrip("/") + icon["src"], timeout=PATIENCE_S) as answer:
                assert answer.headers["Content-Type"].startswith(icon["type"])
        process.kill()
        process.wait()
        page.reload()
        expect(page.locator("#link")).to_contain_text("No connection")

    def test_what_cannot_work_is_said(self, run_command, tmp_path):
        for options, says in (
            (["--listen", "nowhere"], "HOST:PORT"),
            (["--listen", "0.0.0.0:0"], "--token-file"),
            (["--tls-cert", "a.pem"], "belong together"),
            (["--tls-cert", "a.pem", "--tls-key", "b.pem", "--listen", "127.0.0.1:0"], "cannot use the certificate"),
            (["--listen", "192.0.2.1:80", "--token-file", "/nowhere"], "cannot read the token"),
        ):
            result = run_command("pager", "--web", *options, cwd=tmp_path)
            assert (result.code, says in result.err) == (2, True), result.err
