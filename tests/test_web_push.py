"""Web Push in a real browser: what it subscribes with, and what its worker makes of a message."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from browser import PHONE, accessible, screenshot
from conftest import PATIENCE_S
from playwright.sync_api import expect
from push_service import Browser, HttpService, Kiosk

from edge_agent.pager_server import keys
from edge_agent.pager_server.notifier import Beat, Condition, Failing
from edge_agent.pager_server.subscriptions import Subscriptions

ONE, TWO = "01M7Y8H3KR49JEKEK9MMJWTPA1", "01M7Y8H3KR49JEKEK9MMJWTPA2"
#: Of the browser's own push service only the address is made up, and Notification.permission, which no click can give.
STUB = """
const subscription = SUBSCRIPTION;
let current = null;
PushManager.prototype.getSubscription = async () => current;
PushManager.prototype.subscribe = async (options) => {
  window.subscribedWith = { visible: options.userVisibleOnly, key: [...new Uint8Array(options.applicationServerKey)] };
  current = {
    endpoint: subscription.endpoint,
    options: { applicationServerKey: options.applicationServerKey.buffer },
    toJSON: () => subscription,
    unsubscribe: async () => {
      window.unsubscribed = true;
      current = null;
      return true;
    },
  };
  return current;
};
"""
#: Nothing tells a page that a notification is there.
# The worker says what it has shown. Asking it again and again instead makes Chromium forget a notification that is just
# being shown.
LISTEN = """
  window.pushes = 0;
  navigator.serviceWorker.addEventListener("message", ({ data }) => { if (data.shown) window.pushes += 1; });
  navigator.serviceWorker.startMessages();
"""


@pytest.fixture
def service():
    made = HttpService()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def config(tmp_path, broker, site):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({
        "mqtt": {"port": broker.port, "topic_root": f"push/{site}"},
        "pager": {"state_dir": str(tmp_path / "state"), "port": 0},
        "notify": {"push_contact": "mailto:help@shop.example"},
    }))  # fmt: skip
    return path


@pytest.fixture
def url(edge_agent, config):
    process = edge_agent("pager", "--web", "--config", config)
    return next(line for line in process.stdout if "staff pager at" in line).split()[-1]


@pytest.fixture
def on_duty(open_page, url):
    def start(browser: Browser | None = None):
        script = "" if browser is None else STUB.replace("SUBSCRIPTION", json.dumps(browser.subscription()))
        page = open_page(url, PHONE, script=script, permissions=["notifications"])
        page.get_by_label("Your name").fill("Kim")
        page.get_by_role("button", name="Start shift").click()
        return page

    return start


def test_a_phone_on_duty_is_reached_from_the_kiosk_to_the_push_service(
    on_duty, service, config, edge_agent, listen, site, tmp_path
):
    browser = Browser(service)
    page = on_duty(browser)
    expect(page.locator("#push")).to_have_text("This phone is reached with its screen off.")
    used = page.evaluate("window.subscribedWith")
    assert used["visible"] is True
    offered = keys.public_part(keys.vapid_key(tmp_path / "state"))
    assert keys.base64.urlsafe_b64encode(bytes(used["key"])).rstrip(b"=").decode() == offered
    accessible(page)
    notifier = edge_agent("notify", "--config", config)
    next(line for line in notifier.stderr if "connected to the broker" in line)
    Kiosk(listen(f"push/{site}/none").client, f"push/{site}").step(ONE)
    [payload] = browser.messages(1)
    assert (payload["title"], payload["body"], payload["lang"]) == ("Please send assistance", "Till 1", "en")
    # A reload subscribes to nothing anew, and the end of the shift ends it.
    page.get_by_role("button", name="End shift").click()
    expect(page.locator("#shift")).to_be_visible()
    kept = Subscriptions(tmp_path / "state")
    assert kept.all() == []
    kept.close()


def test_staff_see_that_phones_are_not_reached(on_duty, service, tmp_path):
    page = on_duty(Browser(service))
    expect(page.locator("#push")).to_have_text("This phone is reached with its screen off.")
    expect(page.locator("#notifier")).to_have_text("")
    Beat(tmp_path / "state").tell(Condition(time.time() - 60, (Failing("duty-phone", 1000.0, "refused (401)"),)))
    expect(page.locator("#notifier")).to_contain_text("Notifications to phones with the screen off do not work since")
    expect(page.locator("#notifier")).to_contain_text("duty-phone is not reached since")
    accessible(page)
    screenshot(page, "pager-notifier-away")


def test_a_browser_that_cannot_is_told_so(on_duty):
    page = on_duty()  # Chromium without Google's service
    expect(page.locator("#push")).to_have_text("This phone could not be set up to be reached with its screen off.")


class TestWorker:
    @pytest.fixture
    def page(self, open_page, url):
        page = open_page(url, PHONE, permissions=["notifications"])
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        return page

    @pytest.fixture
    def push(self, page, url):
        """Delivers a message as the browser's push service does, and returns what is shown then."""
        session = page.context.new_cdp_session(page)
        registrations: list[str] = []
        session.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda event: registrations.extend(one["registrationId"] for one in event["registrations"]),
        )
        session.send("ServiceWorker.enable")
        page.wait_for_function("navigator.serviceWorker.controller !== null")
        assert registrations

        page.evaluate(LISTEN)
        sent: list[dict] = []

        def deliver(**values) -> list[dict]:
            payload = {
                "title": "Please send assistance", "body": "Till 1", "tag": ONE, "revision": 1, "paging": True,
                "lang": "en", "dir": "ltr", **values,
            }  # fmt: skip
            session.send("ServiceWorker.deliverPushMessage", {
                "origin": url.rstrip("/"), "registrationId": registrations[-1], "data": json.dumps(payload),
            })  # fmt: skip
            sent.append(payload)
            page.wait_for_function("(n) => window.pushes >= n", arg=len(sent), timeout=1000 * PATIENCE_S)
            return shown(page)

        return deliver

    def test_a_page_is_shown_and_rings_once_for_each_step(self, page, push):
        [first] = push()
        assert first == {
            "title": "Please send assistance", "body": "Till 1", "tag": ONE, "renotify": True, "silent": False,
            "requireInteraction": True, "paging": True,
        }  # fmt: skip
        push(tag=TWO)
        again = push(body="Till 1!")  # the same revision once more; the body tells the two apart
        assert [(one["renotify"], one["silent"]) for one in again if one["tag"] == ONE] == [(False, True)]
        second = push(revision=2, body="Till 1, 2 people")
        assert [(one["renotify"], one["silent"]) for one in second if one["tag"] == ONE] == [(True, False)]

    def test_word_that_nobody_is_needed_takes_its_place_without_a_sound(self, page, push):
        push()
        push(tag=TWO)
        both = push(revision=2, paging=False, body="Answered: Till 1")
        [over] = [one for one in both if one["tag"] == ONE]
        assert over["silent"]
        assert not over["renotify"]
        assert not over["requireInteraction"]
        assert len(both) == 2

    def test_a_page_that_comes_after_its_end_is_no_page(self, page, push):
        push(revision=2, paging=False, body="Over: Till 1")
        push()
        after = push(tag=TWO)
        [over] = [one for one in after if one["tag"] == ONE]
        assert over["silent"]
        assert (over["body"], over["paging"]) == ("Over: Till 1", False)


def shown(page) -> list[dict]:
    return page.evaluate(
        """async () => {
          const registration = await navigator.serviceWorker.ready;
          return (await registration.getNotifications()).map((one) => ({
            title: one.title, body: one.body, tag: one.tag, renotify: one.renotify, silent: Boolean(one.silent),
            requireInteraction: one.requireInteraction, paging: one.data.paging,
          }));
        }"""
    )
