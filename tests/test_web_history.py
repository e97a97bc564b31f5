"""Pages of the past in real browsers: those nobody answered, what is said afterwards, and the manager's page."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.error
import urllib.request

import pytest
import yaml
from browser import DESKTOP, PHONE, SCREENSHOTS, accessible, screenshot
from conftest import PATIENCE_S
from playwright.sync_api import Page, expect
from test_staff import exercise

from edge_agent.delivery.messages import new_ulid, rfc3339
from edge_agent.demo import CLIPS
from edge_agent.demo.simulate import Visit
from edge_agent.pager_server.history import History
from edge_agent.pager_server.history_file import FILE_NAME
from edge_agent.statistics.score_log import ANSWERS, FALSE_ALARMS, read_counts

#: Nobody comes, and the guest leaves.
ONE_ANGRY = (Visit(0.2, 3.0, 0.9, "a guest"),)


@pytest.fixture
def pager(edge_agent, broker, site, tmp_path):
    """Starts pager servers that share a folder."""

    def start(*, topic_root: str = "kiosk/v1", **settings):
        settings = {"port": 0, "state_dir": str(tmp_path / "pager"), **settings}
        path = tmp_path / "pager.yaml"
        mqtt = {"port": broker.port, "topic_root": topic_root}
        path.write_text(yaml.safe_dump({"mqtt": mqtt, "pager": settings}))
        process = edge_agent("pager", "--web", "--config", path, "--site", site)
        return process, next(line for line in process.stdout if "staff pager at" in line).split()[-1]

    return start


def on_duty(open_page, url: str, name: str = "Kim", **options) -> Page:
    page = open_page(url, PHONE, **options)
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Start shift").click()
    expect(page.locator("#link")).to_have_text(f"Connected as {name}")
    return page


def fetch(url: str, body: dict | None = None, **headers: str):
    data = None if body is None else json.dumps(body).encode()
    headers = {"X-Requested-With": "edge-agent", **headers}
    return urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=PATIENCE_S)


class TestMissed:
    def test_a_page_nobody_answered_stays_until_somebody_has_seen_it(
        self, pager, open_page, write_config, listen, site
    ):
        listener = listen(f"kiosk/v1/{site}/#")
        process, url = pager()
        kim = on_duty(open_page, url)
        with exercise(write_config, ONE_ANGRY):
            expect(kim.locator("article.paging")).to_be_visible()
            expect(kim.locator("#missed")).to_be_hidden()
            listener.wait_for_json("/alert/0", step="cleared")
        expect(kim.locator("#missed-title")).to_have_text("Missed: 1 page")
        expect(kim.locator("#missed-list li")).to_contain_text(
            "till: EXERCISE: Please send assistance · the customer left"
        )
        kim.reload()
        expect(kim.locator("#missed-title")).to_have_text("Missed: 1 page")
        screenshot(kim, "pager-missed")
        accessible(kim)
        process.terminate()
        process.wait()
        _, url = pager()
        lee = on_duty(open_page, url, "Lee")
        expect(lee.locator("#missed-title")).to_have_text("Missed: 1 page")
        lee.get_by_role("button", name="Seen").click()
        expect(lee.locator("#missed")).to_be_hidden()

    def test_many_are_listed_at_most_and_seen_at_once(self, pager, open_page, tmp_path):
        fill(tmp_path / "pager", [(n * 60.0, {"answer": ""}) for n in range(25)])
        _, url = pager()
        kim = on_duty(open_page, url)
        expect(kim.locator("#missed-title")).to_have_text("Missed: 25 pages")
        expect(kim.locator("#missed-list li").last).to_have_text("and 5 more")
        accessible(kim)
        kim.get_by_role("button", name="All of these seen").click()
        expect(kim.locator("#missed-title")).to_have_text("Missed: 5 pages")


class TestHistory:
    def test_what_is_said_afterwards_counts_for_tuning(
        self, pager, open_page, edge_agent, write_config, listen, site, tmp_path
    ):
        listener = listen(f"kiosk/v1/{site}/#")
        _, url = pager()
        config_file = write_config(
            camera={"device": str(CLIPS["one"]), "loop": True},
            rules=[{"name": "angry-customer", "off_delay_s": 0.5, "cooldown_s": 600}],
        )
        agent = edge_agent("run", "--config", config_file)
        alert_id = listener.wait_for_json("/alert/0", step="cleared")["id"]
        kim = on_duty(open_page, url)
        kim.get_by_role("link", name="History of pages").click()
        expect(kim.locator("#count")).to_have_text("1 page")
        row = kim.locator("#rows li").first
        expect(row).to_contain_text("Nobody answered")
        row.get_by_role("button", name="False alarm").click()
        expect(row.get_by_role("button", name="False alarm")).to_have_attribute("aria-pressed", "true")
        row.get_by_role("button", name="Note").click()
        row.get_by_label("Note on till").fill("the sun, = not angry")
        row.get_by_role("button", name="Keep").click()
        expect(row.locator(".note")).to_have_text("the sun, = not angry")
        screenshot(kim, "history-phone")
        accessible(kim)
        assert listener.wait_for_json(f"/ack/{alert_id}")["action"] == "false_alarm"
        next(line for line in agent.stderr if "said of an alert that is over" in line)
        agent.terminate()
        agent.wait()
        counts = read_counts(tmp_path / "state", rule="angry-customer", hours=1, unix_s=time.time())
        assert (counts[ANSWERS], counts[FALSE_ALARMS]) == (1, 1)

    def test_it_is_searched_filtered_turned_and_saved(self, pager, open_page, tmp_path):
        fill(tmp_path / "pager", [(n * 3600.0, {"place": f"till {n % 3}"}) for n in range(120)])
        _, url = pager(time_zone="Europe/Berlin")
        kim = open_page(url + "history", DESKTOP)
        expect(kim.locator("#count")).to_have_text("120 pages")
        expect(kim.locator("#rows li")).to_have_count(50)
        screenshot(kim, "history")
        accessible(kim)
        kim.get_by_role("button", name="Older").click()
        expect(kim.locator("#newer")).to_be_enabled()
        kim.get_by_role("button", name="Older").click()
        expect(kim.locator("#rows li")).to_have_count(20)
        expect(kim.locator("#older")).to_be_disabled()
        kim.get_by_label("Search").fill("till 1")
        expect(kim.locator("#count")).to_have_text("40 pages")
        kim.get_by_label("Verdict").select_option("false alarm")
        expect(kim.locator("#count")).to_have_text("No page was found.")
        kim.get_by_label("Verdict").select_option("resolved")
        expect(kim.locator("#count")).to_have_text("40 pages")
        with kim.expect_download() as download:
            kim.get_by_role("link", name="Save as a table").click()
        text = download.value.path().read_bytes().decode("utf-8-sig")
        assert len(text.splitlines()) == 41
        kim.set_viewport_size({"width": 320, "height": 568})
        assert kim.evaluate("document.documentElement.scrollWidth") <= 320

    def test_only_who_knows_the_token_sees_any_of_it(self, pager, tmp_path):
        (tmp_path / "token").write_text("a-token-of-staff-only")
        (tmp_path / "token").chmod(0o600)
        _, url = pager(token_file=str(tmp_path / "token"))
        for path in ("history", "history.csv", "manager", "api/history", "api/report"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                fetch(url + path)
            assert refused.value.code == 401
        for path in ("api/history", "api/seen"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                fetch(url + path, {})
            assert refused.value.code == 401
        assert fetch(url + "history", Authorization="Bearer a-token-of-staff-only").status == 200

    def test_what_is_no_verdict_is_refused(self, pager, tmp_path):
        [alert_id] = fill(tmp_path / "pager", [(60.0, {})])
        _, url = pager()
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(url + "api/history", {"id": alert_id, "verdict": "resolve"})
        assert refused.value.code == 403  # nobody is on duty
        answer = fetch(url + "api/shift", {"name": "Kim", "shift": "", "pin": ""})
        cookie = answer.headers["Set-Cookie"].split(";")[0]
        for path, body, code in (
            ("history", {"id": alert_id, "verdict": "snooze"}, 400),
            ("history", {"id": "x", "verdict": "resolve"}, 400),
            ("history", {"id": new_ulid(), "verdict": "resolve"}, 404),
            ("history", {"id": alert_id, "note": "x" * 501}, 400),
            ("history", {"id": alert_id, "note": "\x1b[2J"}, 400),
            ("history", {"id": alert_id, "note": 5}, 400),
            ("history", [], 400),
            ("seen", {"ids": "all"}, 400),
            ("seen", {"ids": [1]}, 400),
            ("history?page=-1", None, 400),
            ("history?page=%F0%9D%9F%99", None, 400),
            ("history?kind=x", None, 400),
            ("history?from=1-1-1", None, 400),
            ("report?days=100000", None, 400),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                fetch(f"{url}api/{path}", body, Cookie=cookie)
            assert refused.value.code == code, path
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(
                url + "api/history", {"id": alert_id, "note": "x"}, **{"X-Requested-With": "another", "Cookie": cookie}
            )
        assert refused.value.code == 403


class TestManager:
    def test_the_numbers_are_there_in_words_and_pictures(self, pager, open_page, listen, site, tmp_path):
        fill(tmp_path / "pager", a_month(), names=True)
        summarise(tmp_path / "pager")
        _, url = pager(time_zone="Europe/Berlin", history_names=True)
        page = open_page(url + "manager", DESKTOP)
        expect(page.locator("#answer")).to_contain_text("half were answered within 24 seconds")
        expect(page.locator("#by-day svg")).to_be_visible()
        expect(page.locator("#by-hour svg")).to_be_visible()
        expect(page.locator("#people")).to_contain_text("Kim")
        page.get_by_role("button", name="last 30 days").click()
        expect(page.locator("#spans button[aria-pressed=true]")).to_have_text("last 30 days")
        expect(page.locator("#by-day svg .tick").first).to_be_visible()
        for name in page.locator("summary").all():
            name.click()
        accessible(page)
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/manager-tables.png", full_page=True)
        for name in page.locator("summary").all():
            name.click()
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/manager.png", full_page=True)
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 700, "height": 1000})
        expect(page.locator("#spans")).to_be_hidden()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/manager-print.png", full_page=True)
            page.pdf(path=f"{SCREENSHOTS}/manager.pdf", prefer_css_page_size=True)
        accessible(page)

    def test_on_a_phone_without_names_and_in_another_language(self, pager, open_page, tmp_path):
        fill(tmp_path / "pager", a_month())
        _, url = pager(language="ar")
        page = open_page(url + "manager", PHONE)
        expect(page.locator("#by-day svg")).to_be_visible()
        expect(page.locator("#people")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        accessible(page)
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/manager-phone.png", full_page=True)

    def test_a_time_zone_that_is_none_is_said(self, run_command, tmp_path):
        path = tmp_path / "pager.yaml"
        settings = {"port": 0, "state_dir": str(tmp_path / "pager"), "time_zone": "Europe/Nowhere"}
        path.write_text(yaml.safe_dump({"pager": settings}))
        result = run_command("pager", "--web", "--config", path)
        assert result.code == 2
        assert "Europe/Nowhere" in result.one_line_error()

    def test_nothing_yet(self, pager, open_page):
        _, url = pager()
        page = open_page(url + "manager", PHONE)
        expect(page.locator("#answer")).to_have_text("No page was answered.")
        expect(page.locator("#share")).to_have_text("No summary yet.")
        expect(page.locator("svg")).to_have_count(0)
        accessible(page)
        screenshot(page, "manager-empty")

    def test_satisfaction_comes_from_the_kiosks_summaries(self, pager, open_page, listen, site):
        listener = listen(f"kiosk/v1/{site}/#")
        _, url = pager()
        kim = on_duty(open_page, url)
        now_s = time.time()
        for device, visits, share in (
            ("till-1", 30, 0.5),
            ("till-2", 10, 0.9),
            ("till-2", 10, 0.9),
            ("till-3", None, None),
        ):
            body = {
                "schema": "summary", "version": 1, "begin": rfc3339(now_s - 60), "end": rfc3339(now_s),
                "withheld": visits is None, "visits": visits, "shares": None, "satisfied": share,
            }  # fmt: skip
            listener.client.publish(f"kiosk/v1/{site}/{device}/summary", json.dumps(body), 1).wait_for_publish()
        listener.client.publish(f"kiosk/v1/{site}/till-4/summary", b"\xff\x00junk", 1).wait_for_publish()
        page = open_page(url + "manager", PHONE)
        for _ in range(100):
            if page.locator("#share").inner_text() == "60% of 40 visits":
                break
            page.wait_for_timeout(100)
            page.reload()
        expect(page.locator("#share")).to_have_text("60% of 40 visits")
        expect(kim.locator("#link")).to_have_text("Connected as Kim")


def fill(folder, pages, *, names: bool = False) -> list[str]:
    """Write a history of pages that were raised so many seconds ago; return their ids."""
    History(folder, days=90, names=names).close()
    now_s, ids = time.time(), []
    with sqlite3.connect(folder / FILE_NAME) as db:
        for ago_s, values in pages:
            raised_s = now_s - ago_s
            row = {
                "id": new_ulid(), "topic": "kiosk/v1/shop/till-1", "place": "till", "zone": "view", "rule": "r",
                "message": "Please send assistance", "severity": "warning", "groups": "staff", "people": 1,
                "escalated": 0, "revision": 4, "raised_s": raised_s, "answer": "ack", "answered_by": "",
                "reason": "resolve", "verdict": "resolve", **values,
            }  # fmt: skip
            row["answered_s"] = raised_s + row.get("after_s", 24) if row["answer"] else None
            row["ended_s"] = raised_s + 150
            if not row["answer"]:
                row["reason"], row["verdict"] = "out_of_view", ""
            row.pop("after_s", None)
            db.execute(f"INSERT INTO page ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
            ids.append(row["id"])
    db.close()
    return ids


def a_month():
    places = ["front desk", "till 1", "till 2", "café"]
    for n in range(300):
        values = {"place": places[(n * n + n // 5) % 4], "after_s": [12, 24, 24, 24, 110][n % 5]}
        values["answered_by"] = ["Kim", "Lee", "Max"][n % 3]
        if n % 7 == 0:
            values |= {"reason": "false_alarm", "verdict": "false_alarm"}
        if n % 11 == 0:
            values |= {"answer": "", "answered_by": ""}
        yield (n * 8231.0 * (1 + (n % 3) / 10)) % (29 * 86_400), values


def summarise(folder) -> None:
    """Add a summary a day of two kiosks."""
    now_s = time.time()
    with sqlite3.connect(folder / FILE_NAME) as db:
        for day in range(1, 29):
            begin_s = now_s - day * 86_400
            for kiosk in ("till-1", "till-2"):
                row = (f"kiosk/v1/shop/{kiosk}", begin_s, begin_s + 900, 20 + day % 7, 0.6 + (day % 5) / 20)
                db.execute("INSERT INTO summary VALUES (?, ?, ?, ?, ?)", row)
    db.close()
