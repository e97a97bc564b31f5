"""The manager's numbers: local days, also those on which clocks are set, and what can be said of few pages or none."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from edge_agent.errors import ConfigError
from edge_agent.pager_server.reports import (
    MAX_PLACES,
    PageRow,
    SummaryRow,
    find_zone,
    hours_between,
    last_days,
    midnight_s,
    report,
    within,
)  # fmt: skip

BERLIN = ZoneInfo("Europe/Berlin")


def utc_s(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


def page(at: str = "2026-11-20T10:00:00", **values) -> PageRow:
    raised_s = utc_s(at)
    times = {"raised_s": raised_s, "answered_s": raised_s + 20, "ended_s": raised_s + 90}
    known = {"topic": "kiosk/v1/shop/till-1", "place": "till", "answer": "ack", "answered_by": "", "reason": "resolve"}
    return PageRow(**{**known, **times, "verdict": "resolve", **values})


def made(*pages: PageRow, summaries=(), days: int = 7, now: str = "2026-11-20T12:00:00", zone=BERLIN):
    return report(pages, summaries, days=days, now_s=utc_s(now), zone=zone)


@pytest.mark.parametrize(
    ("durations", "half", "most"),
    [
        ([], None, None),
        ([7], 7, 7),
        ([1, 2], 1, 2),
        ([3, 1, 2], 2, 3),
        (list(range(1, 101)), 50, 90),
        (list(range(1, 12)), 6, 10),
    ],
)
def test_half_of_them_are_within_the_median_and_nine_of_ten_within_the_other(durations, half, most):
    assert (within(0.5, durations), within(0.9, durations)) == (half, most)
    if durations:
        assert sum(one <= half for one in durations) >= len(durations) / 2
        assert sum(one <= most for one in durations) >= 0.9 * len(durations)


def test_nothing_yet():
    found = made()
    assert found["days"][0] == "2026-11-14"
    assert found["days"][-1] == "2026-11-20"
    assert (found["pages"], found["places"], found["people"]) == (0, [], [])
    assert found["answer_s"] == {"count": 0, "half": None, "most": None}
    assert found["satisfied"] == [{"visits": 0, "share": None}] * 7


def test_what_became_of_the_pages_is_counted():
    found = made(
        page(),
        page(answer="on_my_way", answered_s=None, reason="calm", verdict="false_alarm", answered_by="Kim"),
        page(answer="", answered_s=None, reason="out_of_view", verdict=""),
        page(answer="", answered_s=None, ended_s=None, reason="", verdict=""),
        page(at="2026-11-13T22:59:59"),  # before the first local day
    )
    counts = {kind: found[kind] for kind in ("pages", "open", "answered", "missed", "false_alarms", "resolved")}
    assert counts == {"pages": 4, "open": 1, "answered": 2, "missed": 1, "false_alarms": 1, "resolved": 1}
    assert found["answer_s"] == {"count": 1, "half": 20, "most": 20}
    assert found["resolve_s"] == {"count": 1, "half": 90, "most": 90}
    assert found["people"] == [{"name": "Kim", "pages": 1}]


def test_places_are_told_apart_by_their_sites_where_there_are_several():
    found = made(page(), page(), page(topic="kiosk/v1/airport/till-1"))
    assert [(one["site"], one["place"], sum(one["pages"])) for one in found["places"]] == [
        ("shop", "till", 2), ("airport", "till", 1),
    ]  # fmt: skip
    found = made(*(page(place=f"place {n:02}") for n in range(MAX_PLACES + 3)))
    assert [one["site"] for one in found["places"]] == [""] * (MAX_PLACES + 1)
    assert (found["places"][-1]["place"], sum(found["places"][-1]["pages"])) == ("", 3)


def test_a_page_belongs_to_the_local_day_and_hour():
    found = made(page("2026-11-18T22:59:00"), page("2026-11-18T23:00:00"))
    assert found["places"][0]["pages"] == [0, 0, 0, 0, 1, 1, 0]
    assert [hour for hour in range(24) if found["hours"][hour]["pages"]] == [0, 23]
    far_east = made(page("2026-11-18T22:59:00"), zone=ZoneInfo("Asia/Tokyo"))
    assert far_east["places"][0]["pages"] == [0, 0, 0, 0, 0, 1, 0]


class TestClocksAreSet:
    def test_in_autumn_an_hour_comes_twice(self):
        found = made(
            page("2026-10-25T00:30:00"), page("2026-10-25T01:30:00"), days=1, now="2026-10-25T22:59:00"
        )  # fmt: skip
        assert found["hours"][2] == {"pages": 2, "times": 2}
        assert sum(hour["times"] for hour in found["hours"]) == 25
        assert found["places"][0]["pages"] == [2]

    def test_in_spring_an_hour_is_missing(self):
        found = made(page("2026-03-29T00:59:00"), page("2026-03-29T01:00:00"), days=1, now="2026-03-29T21:59:00")
        assert found["hours"][2] == {"pages": 0, "times": 0}
        assert [found["hours"][hour]["pages"] for hour in (1, 3)] == [1, 1]
        assert sum(hour["times"] for hour in found["hours"]) == 23

    @pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-20", 24)])
    def test_days_are_as_long_as_they_are(self, day, hours):
        days = last_days(2, now_s=utc_s(f"{day}T23:30:00"), zone=BERLIN)
        assert days[0].isoformat() == day
        assert midnight_s(days[1], BERLIN) - midnight_s(days[0], BERLIN) == hours * 3600

    def test_where_midnight_itself_is_missing(self):
        santiago = ZoneInfo("America/Santiago")  # 2026-09-06: from 0:00 to 1:00
        found = made(page("2026-09-06T04:00:00"), days=1, now="2026-09-06T05:00:00", zone=santiago)
        assert found["places"][0]["pages"] == [1]
        assert found["hours"][0]["times"] == 0

    def test_zones_that_change_by_half_an_hour(self):
        lord_howe = ZoneInfo("Australia/Lord_Howe")  # 2026-04-05 at 2:00: back to 1:30
        often = hours_between(utc_s("2026-04-04T13:00:00"), utc_s("2026-04-05T13:30:00"), lord_howe)
        assert (often[1], sum(often.values())) == (1.5, 24.5)


def test_satisfaction_is_that_of_all_kiosks_each_visit_counting_alike():
    morning = utc_s("2026-11-20T08:00:00")
    found = made(summaries=[
        SummaryRow(morning, 10, 0.9), SummaryRow(morning, 30, 0.5), SummaryRow(morning - 86_400, 5, 1.0),
        SummaryRow(morning - 30 * 86_400, 5, 0.0),
    ])  # fmt: skip
    assert found["satisfied"][-2:] == [{"visits": 5, "share": 1.0}, {"visits": 40, "share": pytest.approx(0.6)}]


def test_time_zones():
    assert find_zone(None) is None
    assert find_zone("Europe/Berlin") == BERLIN
    for wrong in ("Europe/Nowhere", "Europe", "../etc/passwd", ""):
        with pytest.raises(ConfigError, match="time_zone"):
            find_zone(wrong)
    assert made(page(), zone=None)["pages"] == 1  # this computer's own
