"""The notifier's loop against a real push service on this computer, with clocks of the test's own."""

from __future__ import annotations

import email.utils
import functools
import json
import threading
import time

import pytest
from conftest import PATIENCE_S
from messages import alert
from push_service import Browser, HttpService, vapid_claims

from edge_agent.config import Config, Escalation, Rule, Site, Target
from edge_agent.delivery.messages import Composer
from edge_agent.errors import ConfigError, StateError
from edge_agent.notify.outcome import Outcome, judge
from edge_agent.notify.push import PushSender
from edge_agent.notify.queue import Queue
from edge_agent.notify.recipients import Phone, Service
from edge_agent.notify.service import CATCH_UP_S, FAILURES_TOLD, QUIET_S, Notifier
from edge_agent.pager.client import GIVE_UP_S, Pager
from edge_agent.pager.duty import Duty
from edge_agent.pager_server import keys
from edge_agent.pager_server.notifier import AWAY_S, Beat, read_condition
from edge_agent.pager_server.subscriptions import Subscriptions, parse_subscription
from edge_agent.testing import FakeBus

EXPIRY_S = 300.0
ONE, TWO = "01M7Y8H3KR49JEKEK9MMJWTPA1", "01M7Y8H3KR49JEKEK9MMJWTPA2"


class House:
    """A site with a notifier, its broker in memory, and clocks that stand still."""

    def __init__(self, state_dir) -> None:
        self.state_dir = state_dir
        self.unix_s, self.monotonic_s = time.time(), 1000.0
        self.pem = keys.vapid_key(state_dir)
        self.sender = PushSender(self.pem, "mailto:help@shop.example", unix=lambda: self.unix_s)
        self.services: list = []
        self.subscriptions = Subscriptions(state_dir)
        self.composers: dict[str, Composer] = {}
        self.notifier: Notifier | None = None

    def start(self, *, broker: bool = True) -> None:
        """Start the notifier, anew if there was one."""
        self.close()
        self.bus, self.wake = FakeBus(), threading.Event()
        self.queue = Queue(self.state_dir)
        unix, monotonic = lambda: self.unix_s, lambda: self.monotonic_s
        self.notifier = Notifier(
            Pager(self.bus, name="notify", unix=unix, monotonic=monotonic),
            self.queue, services=self.services, subscriptions=self.subscriptions,
            phone=functools.partial(Phone, sender=self.sender, expiry_s=EXPIRY_S, unix=unix),
            beat=Beat(self.state_dir, unix=unix, monotonic=monotonic), wake=self.wake,
            unix=unix, monotonic=monotonic, jitter=lambda: 1.0,
        )  # fmt: skip
        if broker:
            self.bus.start()
            self.notifier.turn()

    def settle(self) -> None:
        """Let the time pass in which the notifier only listens."""
        self.notifier.turn()
        self.advance(QUIET_S)

    def close(self) -> None:
        if self.notifier is not None:
            self.queue.close()
            self.notifier = None

    def subscribe(self, browser: Browser, name="Kim", **changes) -> None:
        duty = Duty(frozenset(changes.pop("groups", ())), changes.pop("kiosks", ()))
        body = browser.subscription(**changes)
        self.subscriptions.put(parse_subscription(body, name=name, language="en", duty=duty, loopback=True))

    def composer(self, device: str) -> Composer:
        if device not in self.composers:
            config = Config(site=Site(name="shop", device=device, place="Till 1"))
            made = Composer(config, session=ONE, unix=lambda: self.unix_s, monotonic=lambda: 1.0)
            self.composers[device] = made
        return self.composers[device]

    def step(self, alert_id=ONE, *, device="till-1", **values) -> None:
        """Let a kiosk tell a step of an alert."""
        message = self.composer(device).alert(alert(**{"id": alert_id, **values}))
        self.bus.receive(message.topic, message.payload)
        self.notifier.turn()

    def active(self, *alerts, device="till-1") -> None:
        message = self.composer(device).active([alert(**one) for one in alerts])
        self.bus.receive(message.topic, message.payload, retained=True)
        self.notifier.turn()

    def advance(self, seconds: float) -> None:
        self.unix_s += seconds
        self.monotonic_s += seconds
        self.notifier.turn()

    def until(self, condition) -> None:
        """Turn until something is so."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up_s, self.rows()
            self.wake.wait(0.05)
            self.wake.clear()
            self.notifier.turn()

    def rows(self) -> list[tuple]:
        """Return what the queue holds: recipient's kind, revision, kind, state and attempts."""
        return self.queue._db.execute(
            "SELECT substr(recipient, 1, 4), revision, kind, state, attempts FROM delivery ORDER BY seq"
        ).fetchall()

    def states(self) -> list[str]:
        return [row[3] for row in self.rows()]

    def condition(self):
        return read_condition(self.state_dir, unix_s=self.unix_s, started_unix_s=self.unix_s)


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path / "state")
    yield made
    made.close()
    made.subscriptions.close()


@pytest.fixture
def service():
    made = HttpService()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def kim(house, service):
    browser = Browser(service)
    house.subscribe(browser)
    house.start()
    house.settle()
    return browser


def test_a_phone_learns_message_and_place_and_nothing_else(house, kim, service):
    house.step(zone="till-2", people=3, rule=Rule(name="secret-rule", message="Please send assistance"))
    [message] = service.wait_for(1)
    assert kim.read(message) == {
        "title": "Please send assistance", "body": "Till 1, till-2, 3 people", "tag": ONE, "revision": 1,
        "paging": True, "lang": "en", "dir": "ltr",
    }  # fmt: skip
    assert (message.headers["Urgency"], message.headers["Topic"]) == ("high", ONE)
    assert EXPIRY_S - 1 <= int(message.headers["TTL"]) <= EXPIRY_S
    claims = vapid_claims(message, keys.public_part(house.pem))
    assert claims["aud"] == f"http://127.0.0.1:{service.port}"
    assert claims["sub"] == "mailto:help@shop.example"
    assert house.unix_s < claims["exp"] <= house.unix_s + 24 * 3600
    house.until(lambda: house.states() == ["sent"])


def test_after_failures_it_is_delivered_exactly_once_also_over_a_restart(house, kim, service):
    service.answers[kim.path] = [(500, {}), (503, {})]
    house.step()
    for pause_s in (1.0, 2.0):
        house.until(lambda: not house.notifier._sending and house.queue.wait_s(house.unix_s))
        assert house.queue.wait_s(house.unix_s) == pytest.approx(pause_s)
        house.advance(pause_s - 0.01)
        assert not house.notifier._sending  # it waits the whole pause
        house.advance(0.02)
    house.until(lambda: house.states() == ["sent"])
    assert len(kim.messages(3)) == 1
    house.start()
    house.active({"id": ONE})
    house.settle()
    house.advance(100)
    assert house.rows() == [("push", 1, "page", "sent", 3)]
    assert len(service.received) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_service_that_asks_for_time_gets_it(house, kim, service, form):
    later = email.utils.formatdate(house.unix_s + 30.9, usegmt=True) if form == "date" else "30"
    service.answers[kim.path] = [(429, {"Retry-After": later})]
    house.step()
    house.until(lambda: house.queue.due(house.unix_s + 32) and not house.queue.due(house.unix_s + 28))
    house.step(TWO)  # another page for the same phone must wait as well
    house.advance(28)
    assert not house.notifier._sending
    assert len(service.received) == 1
    house.advance(4)
    house.until(lambda: house.states() == ["sent", "sent"])
    assert len(service.received) == 3


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_forgotten(house, kim, service, status):
    service.answers[kim.path] = [(status, {})]
    house.step()
    house.until(lambda: house.states() == ["dropped"])
    assert house.subscriptions.all() == []


def test_a_service_that_was_down_is_reached_when_it_is_up(house, kim, service):
    service.stop()
    house.step()
    house.until(lambda: house.rows() == [("push", 1, "page", "waiting", 1)])
    again = HttpService(port=service.port)
    again.start()
    kim.service = again
    house.advance(1.0)
    house.until(lambda: house.states() == ["sent"])
    again.stop()
    assert len(kim.messages(1)) == 1


@pytest.mark.parametrize("step", [{"step": "acked", "by": "Lee"}, {"step": "cleared", "reason": "calm"}])
def test_a_page_that_was_answered_or_is_over_is_not_sent_any_more(house, kim, service, step):
    service.answers[kim.path] = [(500, {})]
    house.step()
    house.until(lambda: house.rows() == [("push", 1, "page", "waiting", 1)])
    house.step(revision=2, **step)
    assert house.states() == ["dropped"]
    house.advance(120)
    assert len(service.received) == 1


@pytest.mark.parametrize(
    ("step", "body"), [({"step": "acked", "by": "Lee"}, "Answered: Till 1"), ({"step": "cleared"}, "Over: Till 1")]
)
def test_who_was_paged_learns_once_that_nobody_is_needed_any_more(house, kim, service, step, body):
    house.step()
    house.until(lambda: house.states() == ["sent"])
    house.step(revision=2, **step)
    house.until(lambda: house.states() == ["closed", "sent"])
    page, end = kim.messages(2)
    assert end == {**page, "body": body, "revision": 2, "paging": False}
    assert service.received[1].headers["Urgency"] == "normal"
    assert "Lee" not in json.dumps(end)
    if step["step"] == "acked":
        house.step(revision=3, step="cleared", reason="calm")
        assert house.states() == ["closed", "sent"]


def test_word_that_a_page_was_answered_is_tried_again_also_when_it_is_over_by_then(house, kim, service):
    house.step()
    house.until(lambda: house.states() == ["sent"])
    service.answers[kim.path] = [(500, {})]
    house.step(revision=2, step="acked", by="Lee")
    house.until(lambda: house.rows()[1] == ("push", 2, "over", "waiting", 1))
    house.step(revision=3, step="cleared", reason="calm")
    house.advance(1)
    house.until(lambda: house.states() == ["closed", "sent"])


def test_a_page_that_is_answered_while_it_is_sent_is_replaced(house, kim, service):
    service.answers[kim.path] = [(0, {})]
    house.step()
    service.wait_for(1)
    house.step(revision=2, step="acked", by="Lee")
    service.release.set()
    # The connection broke without an answer: it may have arrived or not.
    house.until(lambda: house.states()[1] == "sent")
    house.advance(120)
    assert [one["paging"] for one in kim.messages(2)] == [False]


def test_a_page_expires(house, kim, service, caplog):
    service.answers[kim.path] = [(500, {})] * 100
    house.step()
    while house.states() == ["waiting"]:
        house.until(lambda: not house.notifier._sending)
        house.advance(20)
    assert house.states() == ["dropped"]
    [line] = [record for record in caplog.records if record.message == "expired"]
    assert line.levelname == "ERROR"
    tried = len(service.received)
    house.advance(1000)
    assert (house.states(), len(service.received)) == (["dropped"], tried)


def test_a_service_that_hangs_holds_up_no_other(house, service):
    for number in range(20):
        browser = Browser(service, f"/hanging-{number}")
        service.answers[browser.path] = [(0, {})]
        house.subscribe(browser, f"Lee {number}")
    elsewhere = HttpService()
    elsewhere.start()
    # Another name of the same computer: another push service.
    house.subscribe(Browser(elsewhere), "Zoe", endpoint=f"http://localhost:{elsewhere.port}/kim")
    house.start()
    house.settle()
    begun_s = time.monotonic()
    house.step()
    elsewhere.wait_for(1)
    assert time.monotonic() - begun_s < 1.0
    elsewhere.stop()


def test_each_further_step_that_pages_is_told_and_replaces_what_still_waits(house, kim, service):
    service.answers[kim.path] = [(500, {})]
    house.step()
    house.until(lambda: house.rows() == [("push", 1, "page", "waiting", 1)])
    rule = Rule(name="r", escalation=(Escalation(after_s=60, group="manager", severity="critical"),))
    house.step(revision=2, step="escalated", level=1, rule=rule)
    house.until(lambda: house.states() == ["dropped", "sent"])
    house.step(revision=3, step="acked", by="Lee")
    house.until(lambda: house.states() == ["dropped", "closed", "sent"])
    house.step(revision=4, people=2)
    house.until(lambda: house.states()[-1] == "sent")
    assert [(one["revision"], one["paging"]) for one in kim.messages(4)] == [(2, True), (3, False), (4, True)]


def test_who_is_told_depends_on_group_kiosk_and_severity(house, service):
    browsers = {}
    for name, shift in {
        "all": {}, "managers": {"groups": ("manager",)}, "staff": {"groups": ("staff", "other")},
        "till-2": {"kiosks": ("shop/till-2",)},
    }.items():  # fmt: skip
        browsers[name] = Browser(service, f"/{name}")
        house.subscribe(browsers[name], name, **shift)
    reached: list[str] = []

    class Recorder:
        def send(self, title, body, **_) -> Outcome:
            reached.append(title)
            return Outcome("sent")

    def target(**values) -> Service:
        known = Target(name="t", url_file=house.state_dir / "none", **values)
        return Service(known, Recorder(), signer=None, page_url=None)

    house.services = [target(severity="critical", groups=("manager",))]
    house.start()
    house.settle()
    house.step()
    house.until(lambda: house.states() == ["sent"] * 2)
    assert sorted(one.path for one in service.received) == ["/all", "/staff"]
    rule = Rule(name="r", escalation=(Escalation(after_s=60, group="manager", severity="critical"),))
    house.step(revision=2, step="escalated", level=1, rule=rule)
    house.until(lambda: house.states() == ["sent"] * 6)
    assert (reached, [one.path for one in service.received].count("/managers")) == (["Please send assistance"], 1)
    house.step(TWO, device="till-2")
    house.until(lambda: house.states() == ["sent"] * 9)
    assert [one.path for one in service.received].count("/till-2") == 1


def test_after_a_restart_old_pages_are_news_no_more_and_young_ones_are(house, kim, service):
    house.start()
    house.active(
        {"id": ONE, "raised_s": 10.0, "changed_s": 10.0 + EXPIRY_S + 1},
        {"id": TWO, "raised_s": 10.0, "changed_s": 10.0 + EXPIRY_S - 10},
    )
    house.settle()
    house.until(lambda: house.states() == ["sent"])
    [page] = kim.messages(1)
    assert page["tag"] == TWO
    assert int(service.received[0].headers["TTL"]) <= 10


def test_a_kiosk_with_a_wrong_clock_pages_all_the_same(house, kim):
    house.unix_s -= 1e6
    house.composer("till-1")
    message = house.composer("till-1").alert(alert(id=ONE))
    house.unix_s += 1e6
    house.bus.receive(message.topic, message.payload)
    house.notifier.turn()
    house.until(lambda: house.states() == ["sent"])


def test_what_was_missed_is_heard_to_the_end_before_anything_is_sent(house, kim, service):
    house.start()
    house.step()
    house.advance(QUIET_S / 2)
    house.step(TWO)
    house.advance(QUIET_S / 2)
    house.step(revision=2, step="acked", by="Lee")
    house.settle()
    house.until(lambda: house.states() == ["dropped", "sent"])
    assert [one["tag"] for one in kim.messages(1)] == [TWO]


def test_a_page_that_ended_while_the_notifier_was_away_is_not_sent_and_what_was_sent_is_replaced(house, kim, service):
    house.step(TWO)
    house.until(lambda: house.states() == ["sent"])
    service.answers[kim.path] = [(500, {})]
    house.step(ONE)
    house.until(lambda: len(service.received) == 2)
    house.start()
    house.active()  # no alert is open
    house.settle()
    assert len(service.received) == 2
    house.advance(GIVE_UP_S)
    house.until(lambda: house.states() == ["closed", "dropped", "sent"])
    assert kim.messages(3)[-1] == {**kim.messages(3)[0], "body": "Over: Till 1", "revision": 2, "paging": False}


def test_without_a_broker_what_waits_is_sent_a_little_later(house, kim, service):
    house.bus.lose()
    service.answers[kim.path] = [(500, {})]
    house.step()
    house.until(lambda: house.rows() == [("push", 1, "page", "waiting", 1)])
    house.start(broker=False)
    house.advance(CATCH_UP_S - 1)
    assert house.states() == ["waiting"]
    house.advance(2)
    house.until(lambda: house.states() == ["sent"])


def test_staff_learn_who_is_not_reached_and_that_the_notifier_is_away(house, kim, service):
    assert house.condition().failing == ()
    service.answers[kim.path] = [(401, {}), (500, {})]
    house.step()
    house.until(lambda: house.condition().failing)
    [failing] = house.condition().failing
    assert (failing.name, failing.problem) == ("Kim", "refused (401)")
    since_s = failing.since_unix_s
    house.advance(1.0)
    house.until(lambda: house.condition().failing[0].problem == "failed (500)")
    assert house.condition().failing[0].since_unix_s == since_s
    house.advance(2.0)
    house.until(lambda: house.states() == ["sent"])
    house.until(lambda: house.condition().failing == ())
    beat_s = house.unix_s
    assert house.condition().away_since_unix_s is None
    house.unix_s += AWAY_S + 11
    assert house.condition().away_since_unix_s == pytest.approx(beat_s, abs=10)
    house.advance(11)
    assert house.condition().away_since_unix_s is None
    house.bus.lose()
    house.notifier.turn()
    assert house.condition().away_since_unix_s == house.unix_s


def test_a_few_failures_are_nobodys_business_and_many_are(house, kim, service):
    service.answers[kim.path] = [(500, {})] * FAILURES_TOLD
    house.step()
    for failures in range(1, FAILURES_TOLD + 1):
        house.until(lambda n=failures: house.rows() == [("push", 1, "page", "waiting", n)])
        assert bool(house.condition().failing) == (failures == FAILURES_TOLD)
        house.queue.later(1, house.unix_s)
        house.queue._db.execute("UPDATE delivery SET attempts = ?", (failures,))


def test_one_that_no_attempt_can_help_is_given_up(house, kim, service):
    service.answers[kim.path] = [(413, {})]
    house.step()
    house.until(lambda: house.states() == ["dropped"])
    assert house.condition().failing[0].problem == "not understood (413)"


def test_what_was_given_up_is_not_begun_again_by_a_restart(house, kim, service):
    service.answers[kim.path] = [(413, {})]
    house.step()
    house.until(lambda: house.states() == ["dropped"])
    house.start()
    house.active({"id": ONE})
    house.settle()
    assert (house.states(), len(house.notifier._sending), len(service.received)) == (["dropped"], 0, 1)


def test_whoever_ended_the_shift_is_not_told(house, kim, service):
    service.answers[kim.path] = [(500, {})]
    house.step()
    house.until(lambda: house.rows() == [("push", 1, "page", "waiting", 1)])
    house.subscriptions.remove(kim.subscription()["endpoint"])
    house.advance(2)
    assert (house.states(), len(service.received)) == (["dropped"], 1)


def test_a_redirection_is_not_followed(house, kim, service):
    service.answers[kim.path] = [(307, {"Location": f"http://127.0.0.1:{service.port}/inside"})]
    house.step()
    house.until(lambda: house.rows() == [("push", 1, "page", "waiting", 1)])
    assert service.at("/inside") == []


def test_one_queue_is_one_notifiers(house, kim):
    with pytest.raises(StateError, match="in use"):
        Queue(house.state_dir)


def test_a_damaged_queue_is_set_aside(house, kim, monkeypatch):
    house.close()
    for suffix in ("-wal", "-shm"):
        (house.state_dir / f"notify.sqlite3{suffix}").unlink(missing_ok=True)
    (house.state_dir / "notify.sqlite3").write_bytes(b"nonsense" * 1000)
    house.start()
    house.settle()
    house.step()
    house.until(lambda: house.states() == ["sent"])
    assert list(house.state_dir.glob("notify.sqlite3.unreadable-*"))


def test_what_is_done_is_forgotten_in_time_but_not_before_it_can_come_again(house, kim):
    house.step()
    house.until(lambda: house.states() == ["sent"])
    house.queue.forget(house.unix_s + EXPIRY_S)
    assert house.states() == ["sent"]
    house.queue.forget(house.unix_s + EXPIRY_S + 24 * 3600 + 1)
    assert house.states() == []


def test_keys_are_made_once_and_for_nobody_else(tmp_path):
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.append(keys.link_key(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["links.key"]
    assert keys.vapid_key(tmp_path) == keys.vapid_key(tmp_path)
    assert keys.client_id(tmp_path) == keys.client_id(tmp_path)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    (tmp_path / "links.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        keys.link_key(tmp_path)
    with pytest.raises(ConfigError, match="no key"):
        keys.public_part(b"nonsense")
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot use"):
        keys.link_key(tmp_path / "file")


def test_a_contact_that_push_services_refuse_is_refused_at_the_start(house):
    with pytest.raises(ConfigError, match="push_contact"):
        PushSender(house.pem, "https://shop.example/contact")


@pytest.mark.parametrize(
    ("status", "kind", "wait_s"),
    [(201, "sent", 0), (301, "later", 7), (400, "never", 0), (401, "later", 0), (429, "later", 7), (500, "later", 7)],
)
def test_what_an_answer_means(status, kind, wait_s):
    outcome = judge(status, "7")
    assert (outcome.kind, outcome.wait_s) == (kind, wait_s)
    for nonsense in ("", "-7", "soon", "٣", None, "Mon, 99 Foo 2026 99:00:00 GMT"):
        assert judge(503, nonsense).wait_s == 0


def test_the_queue_is_on_the_disk_before_anything_is_sent(house, kim, service, monkeypatch):
    seen: list[int] = []
    send = house.sender.send

    def look(*arguments, **options) -> Outcome:
        # No other connection may look into it: that it was committed shows in the log that SQLite writes ahead.
        seen.append((house.state_dir / "notify.sqlite3-wal").stat().st_size)
        return send(*arguments, **options)

    before = (house.state_dir / "notify.sqlite3-wal").stat().st_size
    monkeypatch.setattr(house.sender, "send", look)
    house.step()
    house.until(lambda: house.states() == ["sent"])
    assert seen[0] > before
