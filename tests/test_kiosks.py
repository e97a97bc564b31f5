"""A pager says what it knows: which kiosks watch, since when others do not, and what nobody is paged for."""

from __future__ import annotations

import json
import math
import time

import pytest
from messages import ULID, alert, composer

from edge_agent.config import Config, Privacy
from edge_agent.delivery.messages import Ack, Composer, Snooze, rfc3339
from edge_agent.pager.client import ANSWER_AGAIN_S, MAX_OPEN, MAX_OPEN_OF_ONE, Pager
from edge_agent.pager.kiosks import DOUBT_S, Kiosk
from edge_agent.pager.news import Nonsense
from edge_agent.pager.words import in_words, say
from edge_agent.testing import FakeBus, FakeClock

TILL, LOBBY = "kiosk/v1/shop/till-2", "kiosk/v1/shop/lobby"


class Site:
    """A pager, and kiosks that say what a test wants."""

    def __init__(self) -> None:
        self.bus, self.clock, self.wall = FakeBus(), FakeClock(), FakeClock(1_800_000_000)
        self.pager = Pager(self.bus, name="kim", unix=self.wall, monotonic=self.clock)
        self.composer = Composer(
            Config(privacy=Privacy(notice_posted=True)), session=ULID, unix=self.wall, monotonic=self.clock
        )
        self.bus.start()
        self.pager.poll()

    def say(self, topic: str, message, *, retained: bool = False) -> list:
        below = message.topic.removeprefix("kiosk/v1/site/kiosk-1/")
        self.bus.receive(f"{topic}/{below}", message.payload, retained=retained)
        return self.pager.poll()

    def watch(self, *topics: str) -> None:
        for topic in topics:
            self.say(topic, self.composer.state("online"))

    def wait(self, seconds: float) -> list:
        self.clock.advance(seconds)
        self.wall.advance(seconds)
        return self.pager.poll()

    def conditions(self) -> dict[str, str]:
        return {kiosk.name: kiosk.condition for kiosk in self.pager.kiosks.all()}


@pytest.fixture
def site() -> Site:
    return Site()


def test_calm_takes_a_kiosk_that_is_heard(site):
    assert not site.pager.calm
    assert in_words(site.pager.kiosks.all()) == "No kiosk has been heard yet"
    site.watch(TILL, LOBBY)
    assert site.pager.calm
    assert in_words(site.pager.kiosks.all()) == "2 of 2 kiosks watching"


@pytest.mark.parametrize(
    ("state", "problem", "condition"),
    [("offline", "", "offline"), ("stopped", "", "stopped"), ("degraded", "camera lost", "degraded")],
)
def test_a_kiosk_that_does_not_watch_is_named_with_since_when(site, state, problem, condition):
    site.watch(TILL, LOBBY)
    site.wait(10)
    [kiosk] = site.say(TILL, site.composer.state(state, problem))
    assert isinstance(kiosk, Kiosk)
    assert (kiosk.condition, kiosk.since_unix_s) == (condition, 1_800_000_010)
    assert not site.pager.calm
    text = in_words(site.pager.kiosks.all())
    assert text.startswith("1 of 2 kiosks watching · shop/till-2 ")
    assert problem in text
    site.watch(TILL)
    assert site.pager.calm


def test_what_was_left_retained_proves_nothing_without_a_sign_of_life(site):
    site.say(TILL, site.composer.state("online"), retained=True)
    assert site.conditions() == {"shop/till-2": "silent"}
    site.say(TILL, site.composer.health({}))
    assert site.conditions() == {"shop/till-2": "watching"}
    assert site.wait(80) == []
    [kiosk] = site.wait(20)
    assert (kiosk.condition, kiosk.since_unix_s) == ("silent", 1_800_000_000)
    [kiosk] = site.say(TILL, site.composer.health({}))
    assert kiosk.condition == "watching"


@pytest.mark.parametrize(("age_s", "condition"), [(20, "watching"), (100, "silent")])
def test_a_retained_health_report_counts_from_when_it_was_written(site, age_s, condition):
    report = site.composer.health({})
    site.wait(age_s)
    site.say(TILL, report, retained=True)
    site.say(TILL, site.composer.state("online"), retained=True)
    assert site.conditions() == {"shop/till-2": condition}


def test_a_last_will_that_was_left_is_dated_by_the_last_sign_of_life(site):
    will, report = site.composer.state("offline"), site.composer.health({})
    site.wait(50)
    site.say(TILL, report, retained=True)
    site.say(TILL, will, retained=True)
    [kiosk] = site.pager.kiosks.all()
    assert (kiosk.condition, kiosk.since_unix_s) == ("offline", 1_800_000_000)


def test_shadow_mode_and_snoozes_are_no_calm(site):
    site.watch(TILL)
    until = Snooze("", "", 1_800_000_600, "lee")
    site.say(TILL, site.composer.state("online", "", [until]))
    [kiosk] = site.pager.kiosks.all()
    assert [(one.until, one.by) for one in kiosk.snoozed] == [(rfc3339(1_800_000_600), "lee")]
    assert "snoozed until" in in_words([kiosk])
    assert "by lee" in in_words([kiosk])
    assert not site.pager.calm
    site.pager.lift_snoozes(kiosk)
    command = site.bus.published[-1]
    assert command.topic == f"{TILL}/cmd/snooze"
    assert {"snooze_s": 0, "by": "kim"}.items() <= json.loads(command.payload).items()
    shadow = Composer(Config(), session=ULID, unix=site.wall, monotonic=site.clock)
    site.say(TILL, shadow.state("online"))
    assert site.conditions() == {"shop/till-2": "shadow"}


def test_a_kiosk_that_is_closed_is_calm_and_does_not_watch(site):
    site.watch(TILL, LOBBY)
    opens_s = site.wall() + 3600
    [kiosk] = site.say(TILL, site.composer.state("online", closed=True, opens_unix_s=opens_s))
    assert (kiosk.condition, kiosk.opens_unix_s, kiosk.dead) == ("closed", opens_s, False)
    assert site.pager.calm
    clock = time.strftime("%H:%M", time.localtime(opens_s))
    text = in_words(site.pager.kiosks.all())
    assert text.startswith("1 of 2 kiosks watching · shop/till-2 is closed until ")
    assert text.endswith(clock)
    [open_again] = site.say(TILL, site.composer.state("online"))
    assert (open_again.condition, open_again.opens_unix_s) == ("watching", None)


def test_a_closed_kiosk_that_falls_silent_or_has_a_problem_is_no_calm(site):
    site.say(TILL, site.composer.state("online", closed=True))
    assert site.pager.calm
    assert say(site.pager.kiosks.all()[0]) == "shop/till-2 is closed"
    site.say(TILL, site.composer.state("degraded", "camera lost", closed=True))
    assert site.conditions() == {"shop/till-2": "degraded"}
    assert not site.pager.calm
    site.say(TILL, site.composer.state("online", closed=True))
    site.wait(100)
    assert site.conditions() == {"shop/till-2": "silent"}
    assert not site.pager.calm


@pytest.mark.parametrize("ahead_s", [0, 3 * 86400])
def test_an_opening_that_is_days_away_is_said_with_its_date(site, ahead_s):
    opens_s = time.time() + 3600 + ahead_s
    [kiosk] = site.say(TILL, site.composer.state("online", closed=True, opens_unix_s=opens_s))
    date = time.strftime("%Y-%m-%d ", time.localtime(opens_s)) if ahead_s else ""
    clock = time.strftime("%H:%M", time.localtime(opens_s))
    assert say(kiosk) == f"shop/till-2 is closed until {date}{clock}"


@pytest.mark.parametrize("body", [{"state": "sung"}, {"state": "online", "snoozed": 3}, {"snoozed": [{"until": 1}]}])
def test_a_made_up_state_makes_no_kiosk_and_changes_none(site, body):
    site.watch(TILL)
    for topic in (TILL, "kiosk/v1/evil/evil"):
        site.bus.receive(f"{topic}/state", json.dumps({"schema": "state", "version": 1, **body}).encode())
        assert [type(item) for item in site.pager.poll()] == [Nonsense]
    assert site.conditions() == {"shop/till-2": "watching"}
    assert site.pager.calm


def test_a_kiosk_that_was_taken_back_is_forgotten(site):
    site.watch(TILL, LOBBY)
    site.bus.receive(f"{TILL}/state", b"", retained=True)
    site.pager.poll()
    assert site.conditions() == {"shop/lobby": "watching"}


def body_of(alert_id: str) -> dict:
    return json.loads(composer().alert(alert(id=alert_id)).payload)


@pytest.mark.parametrize("answers", [True, False])
def test_what_a_broker_kept_is_doubted_until_the_kiosk_answers(site, answers):
    site.watch(TILL)
    site.bus.lose()
    site.pager.poll()
    site.bus.start()
    site.pager.poll()
    site.wait(1.0)
    asked = json.loads(site.bus.published[-1].payload)
    assert site.bus.published[-1].topic == f"{TILL}/cmd/ping"
    if answers:
        site.say(TILL, site.composer.response(asked["request_id"], ok=True, detail="pong"))
    site.wait(DOUBT_S + 0.1)
    assert site.conditions() == {"shop/till-2": "watching" if answers else "silent"}
    if not answers:
        site.say(TILL, site.composer.health({}))
        assert site.conditions() == {"shop/till-2": "watching"}


def page_of(at: Site, topic: str, **values) -> list:
    at.bus.receive(f"{topic}/alert/{ULID}", json.dumps({**body_of(ULID), **values}).encode())
    return at.pager.poll()


@pytest.mark.parametrize(
    ("action", "step", "reason"),
    [("on_my_way", "acked", "on_my_way"), ("ack", "acked", ""), ("resolve", "cleared", "resolve")],
)
def test_a_page_of_a_kiosk_that_is_gone_takes_an_answer_all_the_same(site, action, step, reason):
    site.watch(TILL)
    [page] = page_of(site, TILL)
    site.say(TILL, site.composer.state("offline"))
    site.pager.act(page, action)
    [answered] = site.pager.poll()
    assert (answered.step, answered.reason, answered.by) == (step, reason, "kim")
    assert (page.id in site.pager.open) == (step == "acked")
    assert site.bus.published[-1].topic == f"{TILL}/ack/{page.id}"
    # Should it come back with the alert still open, it is told again.
    site.wait(ANSWER_AGAIN_S)
    active = {"schema": "active", "version": 1, "ids": [page.id]}
    site.bus.receive(f"{TILL}/alert/active", json.dumps(active).encode())
    site.pager.poll()
    assert [message.topic for message in site.bus.published].count(f"{TILL}/ack/{page.id}") == 2


def answer_of(at: Site, topic: str, *, by: str, action: str = "on_my_way", revision: int = 1) -> list:
    at.bus.receive(f"{topic}/ack/{ULID}", Ack(ULID, action, by, revision=revision).payload(unix_s=at.wall()))
    return at.pager.poll()


@pytest.mark.parametrize("died_first", [True, False])
def test_an_answer_to_a_kiosk_that_is_gone_reaches_colleagues(site, died_first):
    site.watch(TILL)
    page_of(site, TILL)
    if died_first:
        site.say(TILL, site.composer.state("offline"))
        [answered] = answer_of(site, TILL, by="lee")
    else:
        assert answer_of(site, TILL, by="lee") == []  # it is the kiosk's to say
        assert site.pager.open[ULID].step == "raised"
        _, answered = site.say(TILL, site.composer.state("offline"))
    assert (answered.step, answered.reason, answered.by) == ("acked", "on_my_way", "lee")
    [over] = answer_of(site, TILL, by="max", action="resolve")
    assert (over.step, over.by, site.pager.open) == ("cleared", "max", {})


def test_an_answer_to_less_than_is_shown_is_none(site):
    site.watch(TILL)
    page_of(site, TILL, revision=3, people=2)
    site.say(TILL, site.composer.state("offline"))
    assert answer_of(site, TILL, by="lee", revision=2) == []
    assert answer_of(site, LOBBY, by="lee", revision=3) == []
    assert site.pager.open[ULID].step == "raised"


def test_pages_of_a_kiosk_that_died_are_known_to_whoever_begins_later(site):
    body = body_of(ULID)
    active = {"schema": "active", "version": 1, "ids": [ULID], "alerts": [body]}
    site.bus.receive(f"{TILL}/alert/active", json.dumps(active).encode(), retained=True)
    [page] = site.pager.poll()
    assert (page.id, page.step, page.device) == (ULID, "raised", "shop/till-2")
    assert not [message for message in site.bus.published if "rebirth" in message.topic]


@pytest.mark.parametrize(
    "poison",
    [
        {"score": "nan"}, {"score": math.nan}, {"score": 2}, {"score": True}, {"revision": 10**30}, {"revision": 0},
        {"revision": True}, {"people": -1}, {"people": "many"}, {"step": "sung"}, {"severity": None}, {"groups": "all"},
        {"groups": ["a"] * 21}, {"emotions": [1]}, {"message": None}, {"zone": 3}, {"id": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_what_one_sender_makes_up_is_ignored_and_named_and_hides_nobody(site, poison):
    site.watch(TILL, LOBBY)
    found = page_of(site, "kiosk/v1/evil/evil", **poison)
    assert [type(item) for item in found] == [Nonsense]
    assert found[0].topic.startswith("kiosk/v1/evil/evil/")
    assert page_of(site, "kiosk/v1/evil/evil", **poison) == []  # named once
    [page] = page_of(site, LOBBY)
    assert page.device == "shop/lobby"


def test_the_topic_says_who_sent_a_page_whatever_the_payload_says(site):
    [page] = page_of(site, TILL, site="shop", device="lobby")
    assert page.device == "shop/till-2"


def test_a_flood_of_one_kiosk_leaves_room_for_the_others(site):
    ids = [f"{n:026d}" for n in range(MAX_OPEN_OF_ONE + 20)]
    for one in ids:
        site.bus.receive(f"{TILL}/alert/{one}", json.dumps(body_of(one)).encode())
    news = site.pager.poll()
    assert sum(isinstance(item, Nonsense) for item in news) == 1
    assert len(site.pager.open) == MAX_OPEN_OF_ONE
    site.bus.receive(f"{LOBBY}/alert/{ULID}", json.dumps(body_of(ULID)).encode())
    [page] = site.pager.poll()
    assert page.device == "shop/lobby"


def test_pages_of_strangers_without_end_hide_no_page_of_a_kiosk(site):
    site.watch(LOBBY)
    for number in range(MAX_OPEN + 20):
        one = f"{number:026d}"
        site.bus.receive(f"kiosk/v1/evil/{number}/alert/{one}", json.dumps(body_of(one)).encode())
    assert [type(item) for item in site.pager.poll()].count(Nonsense) == 1  # one line, not one a stranger
    assert len(site.pager.open) == MAX_OPEN
    [page] = page_of(site, LOBBY)
    assert page.id in site.pager.open
    assert len(site.pager.open) == MAX_OPEN


def test_of_more_pages_than_can_be_open_the_oldest_goes_until_its_kiosk_names_it(site):
    site.watch(TILL, LOBBY)
    [first] = page_of(site, TILL)
    for number in range(MAX_OPEN):
        topic, one = f"kiosk/v1/shop/{number}", f"{number:026d}"
        site.watch(topic)
        site.bus.receive(f"{topic}/alert/{one}", json.dumps(body_of(one)).encode())
    site.pager.poll()
    assert first.id not in site.pager.open
    named = {"schema": "active", "version": 1, "ids": [first.id], "alerts": [body_of(first.id)]}
    site.bus.receive(f"{TILL}/alert/active", json.dumps(named).encode())
    assert [item.id for item in site.pager.poll()] == [first.id]
    assert (first.id in site.pager.open, len(site.pager.open)) == (True, MAX_OPEN)


@pytest.mark.parametrize(
    "body",
    [
        {"ids": [ULID] * 1001}, {"ids": "all"}, {"ids": ["#"]}, {"ids": [ULID], "alerts": 3},
        {"ids": [], "alerts": [{"id": ULID}]}, {"ids": [ULID], "alerts": [None]},
    ],
    ids=["too many", "no list", "no id", "no alerts", "not listed", "nothing"],
)  # fmt: skip
def test_a_made_up_list_of_open_alerts_is_ignored(site, body):
    site.bus.receive(f"{TILL}/alert/active", json.dumps({"schema": "active", "version": 1, **body}).encode())
    assert [type(item) for item in site.pager.poll()] == [Nonsense]
