"""Opening hours: when a place is open by its own clock, and whom a rule pages then."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from conftest import REPOSITORY
from scene import LADDER, RULE, Scene, told

from edge_agent.agent.hours import HoursNow
from edge_agent.alerting.hours import OpeningHours, Schedule
from edge_agent.config import Config, Escalation, Group, Hours, Rule
from edge_agent.testing import FakeClock

BERLIN = ZoneInfo("Europe/Berlin")
SHOP = {"mon-fri": ("09:00-18:00",), "sat": ("10:00-14:00",)}


def at(text: str, *, fold: int = 0) -> float:
    """Return seconds since 1970 of what a clock in Berlin shows."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def schedule(days, **more) -> Schedule:
    return Schedule(Hours("shop", days, time_zone="Europe/Berlin", **more))


def changes(hours: Schedule, begin: str, end: str) -> list[str]:
    """Return when it opens and closes between two moments, as UTC."""
    found, moment_s = [], at(begin)
    while (change_s := hours.next_change_s(moment_s)) is not None and change_s <= at(end):
        assert hours.is_open(change_s) != hours.is_open(change_s - 1)
        found.append(time.strftime("%a %H:%M", time.gmtime(change_s)))
        moment_s = change_s
    return found


# 2026-11-27 is a Friday.
@pytest.mark.parametrize(
    ("moment", "is_open", "changes_at"),
    [
        ("2026-11-27 08:59:59", False, "2026-11-27 09:00"),
        ("2026-11-27 09:00", True, "2026-11-27 18:00"),
        ("2026-11-27 17:59:59", True, "2026-11-27 18:00"),
        ("2026-11-27 18:00", False, "2026-11-28 10:00"),
        ("2026-11-28 12:00", True, "2026-11-28 14:00"),
        ("2026-11-28 14:00", False, "2026-11-30 09:00"),
        ("2026-11-29 12:00", False, "2026-11-30 09:00"),
    ],
)
def test_a_week_with_a_short_saturday(moment, is_open, changes_at):
    hours = schedule(SHOP)
    assert hours.is_open(at(moment)) is is_open
    assert hours.next_change_s(at(moment)) == at(changes_at)


@pytest.mark.parametrize(
    ("moment", "is_open", "changes_at"),
    [
        ("2026-11-27 18:00", True, "2026-11-28 02:00"),
        ("2026-11-28 01:59", True, "2026-11-28 02:00"),
        ("2026-11-28 02:00", False, "2026-11-28 18:00"),
        ("2026-11-29 01:00", True, "2026-11-29 02:00"),
        ("2026-11-29 18:30", False, "2026-12-04 18:00"),
        ("2026-11-27 01:00", False, "2026-11-27 18:00"),
    ],
)
def test_a_range_over_midnight_belongs_to_the_day_it_begins_on(moment, is_open, changes_at):
    hours = schedule({"fri, sat": ("18:00-02:00",)})
    assert hours.is_open(at(moment)) is is_open
    assert hours.next_change_s(at(moment)) == at(changes_at)


def test_the_night_before_a_closed_day_goes_on_and_its_own_night_does_not():
    hours = schedule({"mon-sun": ("18:00-02:00",)}, closed=("2026-11-28",))
    assert hours.is_open(at("2026-11-28 01:00"))
    assert not hours.is_open(at("2026-11-28 19:00"))
    assert not hours.is_open(at("2026-11-29 01:00"))
    assert hours.next_change_s(at("2026-11-28 02:00")) == at("2026-11-29 18:00")


def test_closed_dates_are_of_one_year_and_days_of_every_year():
    hours = schedule({"mon-sun": ("09:00-18:00",)}, closed=("2026-12-24", "12-25", "02-29"))
    open_on = {
        day: hours.is_open(at(f"{day} 12:00")) for day in ("2026-12-24", "2027-12-24", "2026-12-25", "2031-12-25")
    }
    assert open_on == {"2026-12-24": False, "2027-12-24": True, "2026-12-25": False, "2031-12-25": False}
    assert not hours.is_open(at("2028-02-29 12:00"))
    assert hours.is_open(at("2028-02-28 12:00"))


def test_public_holidays_are_those_of_the_part_of_the_country():
    bavaria, berlin = (schedule(SHOP, holidays=code) for code in ("DE-BY", "DE-BE"))
    epiphany, unity = at("2027-01-06 12:00"), at("2028-10-03 12:00")  # a Wednesday, a Tuesday
    assert (bavaria.is_open(epiphany), berlin.is_open(epiphany)) == (False, True)
    assert not bavaria.is_open(unity)
    assert not schedule(SHOP, holidays="DE").is_open(unity)
    assert schedule(SHOP).is_open(unity)
    # Good Friday to Easter Monday.
    assert bavaria.next_change_s(at("2027-03-25 18:00")) == at("2027-03-27 10:00")
    assert bavaria.next_change_s(at("2027-03-27 14:00")) == at("2027-03-30 09:00")


def test_nobody_loads_holidays_who_asks_for_none():
    program = (
        "import sys; from edge_agent.config import Config, Hours; "
        "Config(hours=(Hours('shop', {'mon': ('09:00-18:00',)}),)); assert 'holidays' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPOSITORY)


def test_a_day_keeps_its_local_hours_when_the_clocks_change():
    hours = schedule({"sat-mon": ("09:00-18:00",)})
    # Forward on Sunday 2027-03-28 at 02:00, back on Sunday 2026-10-25 at 03:00.
    assert changes(hours, "2027-03-27 00:00", "2027-03-28 23:00") == [
        "Sat 08:00",
        "Sat 17:00",
        "Sun 07:00",
        "Sun 16:00",
    ]
    assert changes(hours, "2026-10-24 00:00", "2026-10-25 23:00") == [
        "Sat 07:00",
        "Sat 16:00",
        "Sun 08:00",
        "Sun 17:00",
    ]


@pytest.mark.parametrize(
    ("time_range", "utc"),
    [
        ("01:00-02:30", ["Sun 00:00", "Sun 01:00"]),  # ends in what is skipped: at the jump from 02:00 to 03:00
        ("02:30-05:00", ["Sun 01:00", "Sun 03:00"]),  # begins there
        ("02:15-02:45", []),
        ("22:00-02:30", ["Sun 20:00"]),
    ],
)
def test_what_a_clock_put_forward_skips_is_the_moment_of_the_jump(time_range, utc):
    hours = schedule({"sun": (time_range,)})
    assert changes(hours, "2027-03-28 00:00", "2027-03-28 23:59") == utc


@pytest.mark.parametrize(
    ("time_range", "utc"),
    [
        ("01:00-02:30", ["Sat 23:00", "Sun 01:30"]),  # to the second 02:30
        ("02:30-05:00", ["Sun 00:30", "Sun 04:00"]),  # from the first
        ("02:15-02:45", ["Sun 00:15", "Sun 01:45"]),
    ],
)
def test_a_range_takes_in_both_rounds_of_the_hour_that_is_repeated(time_range, utc):
    hours = schedule({"sun": (time_range,)})
    assert changes(hours, "2026-10-25 00:00", "2026-10-25 23:59") == utc
    for fold in (0, 1):
        assert hours.is_open(at("2026-10-25 02:29", fold=fold)) is (time_range != "02:30-05:00" or fold == 1)


def test_ranges_that_touch_change_nothing_where_they_meet():
    hours = schedule({"mon-fri": ("00:00-12:00", "12:00-24:00")})
    assert hours.next_change_s(at("2026-11-25 12:00")) == at("2026-11-28 00:00")
    assert schedule({"mon-sun": ("00:00-24:00",)}).next_change_s(at("2026-11-25 12:00")) is None


def test_the_next_opening_is_found_over_months():
    every_day = tuple(f"{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 30))
    hours = schedule({"mon-sun": ("09:00-18:00",)}, closed=(*every_day, "01-30", "01-31", "03-30", "03-31", "04-30"))
    assert hours.next_change_s(at("2027-01-01 00:00")) == at("2027-05-30 09:00")
    assert schedule({"mon": ("09:00-18:00",)}, closed=mondays(2027)).next_change_s(at("2027-01-01 00:00")) == at(
        "2028-01-03 09:00"
    )
    assert schedule({"mon": ("09:00-18:00",)}, closed=mondays(2027, 2028)).next_change_s(at("2027-01-01 00:00")) is None


def mondays(*years: int) -> tuple[str, ...]:
    days = (date(year, 1, 1) + timedelta(days=number) for year in years for number in range(366))
    return tuple(day.isoformat() for day in days if day.weekday() == 0)


def test_without_a_time_zone_it_is_the_computers(monkeypatch):
    hours = Schedule(Hours("shop", {"wed": ("09:00-18:00",)}))
    try:
        for zone, utc in (("America/New_York", 14), ("Asia/Tokyo", 0)):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert hours.next_change_s(at("2026-11-24 01:00")) == at(f"2026-11-25 {utc + 1:02}:00")
    finally:
        monkeypatch.undo()
        time.tzset()


def site(*rules: Rule, **hours_of_group: str) -> OpeningHours:
    day = Hours("day", {"mon-fri": ("09:00-18:00",)}, time_zone="Europe/Berlin")
    late = Hours("late", {"mon-fri": ("20:00-24:00",)}, time_zone="Europe/Berlin")
    groups = tuple(Group(name, hours) for name, hours in hours_of_group.items())
    return OpeningHours(Config(rules=rules, hours=(day, late), groups=groups))


@pytest.mark.parametrize(
    ("rules", "groups", "opens"),
    [
        ((Rule("a", hours="day"),), {}, "2026-11-26 09:00"),
        ((Rule("a", hours="day"), Rule("b", hours="late")), {}, "2026-11-25 20:00"),
        ((Rule("a"),), {"staff": "late"}, "2026-11-25 20:00"),
        ((Rule("a", escalation=(Escalation(60, "boss"),)),), {"staff": "late"}, "2026-11-25 18:30"),
        ((Rule("a", hours="day"),), {"staff": "late"}, None),
    ],
)
def test_a_site_opens_when_a_rule_and_somebody_it_pages_do(rules, groups, opens):
    assert site(*rules, **groups).pages_from_s(at("2026-11-25 18:30")) == (None if opens is None else at(opens))


def test_until_the_clock_was_set_everything_is_open_and_then_it_stays_believed():
    clock, known = FakeClock(at("2026-11-25 03:00")), [False]
    config = Config(hours=(Hours("day", SHOP, time_zone="Europe/Berlin"),))
    hours = HoursNow(config, unix=clock, clock_known=lambda: known[0])
    assert hours.closed() == frozenset()
    known[0] = True
    assert hours.closed() == {"day"}
    known[0] = False  # as the kernel says after a night without a time server
    assert hours.closed() == {"day"}


DAY_RULE = replace(RULE, hours="day")
UPSET, CALM = {1: 0.9}, {1: 0.1}


def closed_scene(rule: Rule = DAY_RULE, *groups: Group) -> Scene:
    scene = Scene(rule, groups=groups)
    scene.engine.closed = frozenset({"day"})
    return scene


def pages(steps) -> list[tuple[str, tuple[str, ...]]]:
    """Return step and groups of what staff get to know."""
    return [(alert.step, alert.groups) for alert in steps if not alert.shadow]


def test_outside_its_hours_a_rule_is_in_shadow_to_the_end():
    scene = closed_scene(replace(DAY_RULE, escalation=LADDER))
    steps = scene.show(2, UPSET) + scene.engine.escalate_due(scene.time_s + 3600) + scene.show(3, CALM)
    assert [(alert.step, alert.shadow) for alert in steps] == [("raised", True), ("cleared", True)]


def test_who_is_upset_when_the_hours_begin_is_paged_for_at_once():
    scene = closed_scene()
    [shadow] = scene.show(60, UPSET)
    scene.engine.closed = frozenset()
    [alert] = scene.show(0.1, UPSET)
    assert (alert.step, alert.shadow, alert.revision, alert.people) == ("raised", False, 1, 1)
    assert (alert.raised_s, alert.paged_s) == (scene.time_s, scene.time_s)
    [cleared] = scene.show(3, CALM)
    assert told([cleared]) == [("cleared", shadow.id, 1)]
    assert not cleared.shadow


def test_who_calmed_down_before_the_hours_begin_is_not_paged_for():
    scene = closed_scene()
    scene.show(5, UPSET)
    scene.show(1, CALM)  # not for off_delay_s yet
    scene.engine.closed = frozenset()
    assert pages(scene.show(5, CALM)) == []
    assert scene.engine.open_alerts() == []


def test_a_page_that_was_kept_back_mutes_nobody_when_the_hours_begin():
    scene = closed_scene()
    scene.show(2, UPSET)
    scene.show(2.5, CALM)
    assert scene.engine.open_alerts() == []
    assert scene.show(2, UPSET) == []  # within cooldown_s of what would have been a page
    assert scene.engine.mutes() == []
    scene.engine.closed = frozenset()
    assert pages(scene.show(0.1, UPSET)) == [("raised", ("staff",))]


def test_an_open_alert_goes_on_when_the_hours_end():
    scene = Scene(replace(DAY_RULE, escalation=LADDER))
    steps = scene.show(2, UPSET)
    scene.engine.closed = frozenset({"day"})
    steps += scene.show(10, UPSET)
    steps += scene.engine.escalate_due(scene.time_s)
    steps += scene.show(3, CALM)
    assert pages(steps) == [
        ("raised", ("staff",)), ("escalated", ("staff", "manager")), ("cleared", ("staff", "manager")),
    ]  # fmt: skip
    assert pages(scene.show(20, UPSET)) == []


def test_a_further_person_after_the_hours_joins_without_a_page_and_is_paged_for_when_they_begin():
    scene = Scene(DAY_RULE)
    scene.show(2, UPSET)
    scene.engine.closed = frozenset({"day"})
    [counted] = scene.show(5, {1: 0.9, 2: 0.9})
    assert counted.shadow
    assert [(alert.revision, alert.people) for alert in scene.engine.open_alerts()] == [(1, 2)]
    scene.engine.closed = frozenset()
    assert told(scene.show(1, {1: 0.9, 2: 0.9})) == [("raised", counted.id, 2)]
    [alert] = scene.engine.open_alerts()
    assert (alert.revision, alert.paged_revision) == (2, 2)


def test_after_a_pause_of_the_camera_who_is_upset_in_the_first_minute_is_still_paged_for():
    scene = closed_scene()
    scene.show(2, UPSET)
    scene.time_s += 30  # the camera is away; whoever comes back is a stranger
    scene.show(2, {2: 0.9})
    scene.engine.closed = frozenset()
    assert pages(scene.show(0.2, {2: 0.9})) == [("raised", ("staff",))]


def test_a_page_that_was_kept_back_mutes_no_place_after_a_pause_of_the_camera():
    scene = closed_scene()
    scene.watch(2, (100, 0.9))
    scene.watch(2.5, (100, 0.1))
    scene.time_s += 4
    scene.engine.closed = frozenset()
    assert pages(scene.watch(1.5, (100, 0.9))) == [("raised", ("staff",))]


def test_a_snoozed_rule_pages_after_the_snooze_not_when_the_hours_begin():
    scene = closed_scene()
    scene.show(2, UPSET)
    scene.engine.snooze(scene.time_s + 60)
    scene.engine.closed = frozenset()
    assert scene.show(59, UPSET) == []
    assert pages(scene.show(2, UPSET)) == [("raised", ("staff",))]


STAFFED = (Group("staff", "day"),)


def test_the_first_level_that_is_open_is_paged_at_once_in_place_of_those_that_are_closed():
    scene = closed_scene(replace(RULE, escalation=LADDER), *STAFFED)
    [alert] = scene.show(2, UPSET)
    assert (alert.step, alert.shadow, alert.groups, alert.level) == ("raised", False, ("manager",), 1)
    # The owner's after_s counts from this page, as ever.
    assert scene.engine.escalate_due(alert.paged_s + 11.9) == []
    [escalated] = scene.engine.escalate_due(alert.paged_s + 12)
    assert (escalated.groups, escalated.severity) == (("manager", "owner"), "critical")


def test_a_level_that_is_closed_at_its_time_delays_none_behind_it_and_is_paged_when_it_opens():
    scene = closed_scene(replace(RULE, escalation=LADDER), Group("manager", "day"))
    [alert] = scene.show(2, UPSET)
    assert alert.groups == ("staff",)
    assert scene.engine.escalate_due(alert.paged_s + 6) == []
    [escalated] = scene.engine.escalate_due(alert.paged_s + 12)
    assert (escalated.groups, escalated.level) == (("staff", "owner"), 2)
    assert scene.engine.escalate_due(alert.paged_s + 3600) == []
    scene.engine.closed = frozenset()
    [late] = scene.engine.escalate_due(alert.paged_s + 3601)
    assert (late.step, late.groups, late.level) == ("escalated", ("staff", "manager", "owner"), 2)


def test_a_page_that_reaches_nobody_goes_to_the_next_group_that_is_open():
    scene = closed_scene(replace(RULE, escalation=LADDER), Group("manager", "day"))
    [alert] = scene.show(2, UPSET)
    escalated = scene.engine.escalate(alert.id, scene.time_s)
    assert escalated is not None
    assert escalated.groups == ("staff", "owner")
    assert scene.engine.escalate(alert.id, scene.time_s) is None


def test_where_every_group_is_closed_the_alert_is_in_shadow():
    everybody = [Group(name, "day") for name in ("staff", "manager", "owner")]
    scene = closed_scene(replace(RULE, escalation=LADDER), *everybody)
    assert not scene.engine.pages()
    assert pages(scene.show(2, UPSET)) == []
    scene.engine.closed = frozenset()
    assert scene.engine.pages()
    assert pages(scene.show(0.1, UPSET)) == [("raised", ("staff",))]


def test_a_further_person_is_paged_to_somebody_who_is_open():
    scene = Scene(replace(RULE, escalation=LADDER), groups=STAFFED)
    scene.show(2, UPSET)
    scene.engine.closed = frozenset({"day"})
    [alert] = scene.show(2, {1: 0.9, 2: 0.9})
    assert (alert.step, alert.groups) == ("raised", ("staff", "manager"))


def test_a_group_that_keeps_hours_nobody_closed_is_paged_as_ever():
    scene = Scene(replace(RULE, escalation=LADDER), groups=STAFFED)
    assert pages(scene.show(2, UPSET)) == [("raised", ("staff",))]
