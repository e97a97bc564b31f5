"""The manager's page of all kiosks in a real browser, with what kiosks leave at a real broker."""

from __future__ import annotations

import dataclasses
import json
import time
import urllib.error

import pytest
from browser import DESKTOP, PHONE, SCREENSHOTS, accessible
from messages import ULID, alert
from playwright.sync_api import expect
from test_web_history import fetch, fill, pager  # noqa: F401  the fixture

from edge_agent.config import Config, Privacy, Site
from edge_agent.delivery.messages import Composer, Snooze


@pytest.fixture
def say(listen, site):
    """Says something for a kiosk, as a function of its composer; `say.listener` hears what it is told."""
    listener = listen(f"kiosk/v1/{site}/#")

    def publish(device: str, *messages) -> None:
        config = Config(site=Site(name=site, device=device), privacy=Privacy(notice_posted=True))
        composer = Composer(config, session=ULID, unix=time.time, monotonic=time.monotonic)
        for make in messages:
            message = make(composer)
            listener.client.publish(message.topic, message.payload, 1, retain=message.retain).wait_for_publish()

    publish.listener = listener
    return publish


def online(composer):
    return composer.state("online")


def info(composer):
    return composer.info({"agent_version": "0.2.0", "model": "fer-compact-3"})


def health(waiting: int = 0):
    figures = {"camera": "running", "outbox_depth": waiting, "temperature_c": 61.3, "frame_rate_hz": 9.96}
    return lambda composer: composer.health(figures)


def empty(make):
    return lambda composer: dataclasses.replace(make(composer), payload=b"")


def test_the_manager_sees_every_kiosk_and_what_becomes_of_it(pager, open_page, say, site, tmp_path):  # noqa: F811
    fill(tmp_path / "pager", [
        (3 * 86_400.0, {"topic": f"kiosk/v1/{site}/till-9", "place": "the old till"}),
        (600.0, {"topic": f"kiosk/v1/{site}/till-1", "place": "till 1"}),
        (60.0, {"topic": f"kiosk/v1/{site}/till-1-exercise"}),
    ])  # fmt: skip
    say("till-1", online, info, health())
    say("till-2", lambda c: c.state("degraded", "camera lost"), info, health(4))
    say("till-3", lambda c: c.state("online", snoozes=[Snooze("", "", time.time() + 600, "Kim")]), health())
    _, url = pager(time_zone="Europe/Berlin")
    for device in ("till-1", "till-2", "till-3"):  # it asks whether they are there still
        say.listener.wait_for(lambda m, device=device: m.topic.endswith(f"/{device}/cmd/ping"))
        say(device, health(4 if device == "till-2" else 0))
    page = open_page(url + "manager", DESKTOP)
    page.get_by_role("link", name="Kiosks").click()
    rows = page.locator("#rows li")
    expect(page.locator("#count")).to_have_text("2 of 3 kiosks watching")
    expect(rows).to_have_count(4)
    expect(rows.nth(0)).to_contain_text(f"{site}/till-2 has a problem")
    expect(rows.nth(0)).to_contain_text("(camera lost)")
    expect(rows.nth(0)).to_contain_text("Messages waiting4")
    expect(rows.nth(1)).to_contain_text(f"{site}/till-3 is snoozed until")
    expect(rows.nth(1)).to_contain_text("by Kim")
    for text in ("is watching since", "Last page", "till 1", "Camerarunning", "Processor, °C61.3", "fer-compact-3"):
        expect(rows.nth(2)).to_contain_text(text)
    expect(rows.nth(2)).to_contain_text("Version0.2.0")
    expect(rows.nth(3)).to_contain_text(f"{site}/till-9 is retired")
    expect(rows.nth(3)).to_contain_text("the old till")
    accessible(page)
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/fleet.png", full_page=True)
    # Live, without a reload.
    say("till-1", lambda c: c.active([alert()], sequence=1))
    expect(rows.nth(0)).to_contain_text("Open pages1")
    expect(rows.nth(0)).to_contain_text("till-1")
    say("till-2", empty(health()), empty(info), empty(online))
    expect(page.locator("#count")).to_have_text("2 of 2 kiosks watching")
    expect(rows).to_have_count(3)
    for width in (PHONE["width"], 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/fleet-{width}.png", full_page=True)
    accessible(page)


def test_it_says_when_it_cannot_know(pager, open_page, say, tmp_path):  # noqa: F811
    (tmp_path / "token").write_text("a-token-of-staff-only")
    (tmp_path / "token").chmod(0o600)
    process, url = pager(token_file=str(tmp_path / "token"))
    for path in ("fleet", "api/fleet"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(url + path)
        assert refused.value.code == 401
    with fetch(url + "api/fleet", Authorization="Bearer a-token-of-staff-only") as answer:
        assert json.load(answer)["devices"] == []
    page = open_page(url + "fleet", PHONE, extra_http_headers={"Authorization": "Bearer a-token-of-staff-only"})
    expect(page.locator("#count")).to_have_text("No kiosk has been heard yet")
    process.terminate()
    expect(page.locator("#problem")).to_contain_text("No connection since")
