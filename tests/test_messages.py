"""Messages fit their schemas, and strange ones are refused."""

from __future__ import annotations

import json

import pytest
from messages import ULID, alert, composer, validate

from edge_agent.alerting.ulid import make_ulid
from edge_agent.config import Mqtt
from edge_agent.delivery.messages import SCHEMA_DIR, Ack, MessageError, Topics, parse_ack


def test_ulids_follow_the_specification():
    assert make_ulid(1469918176.385, bytes(10)) == "01ARYZ6S410000000000000000"
    assert make_ulid(1.0, b"\xff" * 10)[10:] == "Z" * 16
    assert make_ulid(1.0, bytes(10)) < make_ulid(1.001, bytes(10))
    with pytest.raises(ValueError, match="10 random bytes"):
        make_ulid(1.0, b"short")


def test_an_alert_that_is_told_again_says_so():
    maker = composer()
    assert "repeated" not in validate(maker.alert(alert()).payload)
    assert validate(maker.alert(alert(), repeated=True).payload)["repeated"] is True


def test_an_alert_message_says_who_where_when_and_how_long():
    message = composer().alert(alert())
    body = validate(message.payload)
    assert message.topic == f"kiosk/v1/site/kiosk-1/alert/{ULID}"
    assert (message.retain, message.expiry_s) == (False, 120)
    assert body["raised_at"] == "2027-01-15T07:59:58.250Z"
    assert body["expires_at"] == "2027-01-15T08:02:00.250Z"
    assert (body["place"], body["score"], body["message"]) == ("front desk", 0.812, "Please send assistance")


def test_only_the_standing_messages_are_retained():
    make = composer()
    health = {"state": "online"}
    retained = [make.state("online"), make.info({}), make.health(health), make.active([alert()])]
    passing = [make.alert(alert()), make.event("a", "b"), make.response("1", ok=True, detail="")]
    assert all(m.retain for m in retained)
    assert not any(m.retain for m in passing)
    assert validate(make.active([alert()]).payload)["ids"] == [ULID]


def test_schemas_have_no_room_for_a_picture():
    # `ack` and `command` come in.
    going_out = [path for path in SCHEMA_DIR.glob("*.json") if path.stem not in ("ack", "command")]
    assert len(going_out) >= 8
    for path in going_out:
        schema = json.loads(path.read_text())
        assert schema["additionalProperties"] is False
        for name, kind in schema["properties"].items():
            text = kind.get("type") == "string"
            assert not text or kind.get("maxLength", 10_000) <= 300 or "pattern" in kind, f"{path.stem}.{name}"


def test_acks_survive_the_journey_and_strange_ones_are_refused():
    for ack in (Ack(ULID, "snooze", "Kim", 60.0, 3), Ack(ULID, "false_alarm", "Kim")):
        payload = ack.payload(unix_s=0)
        validate(payload)
        assert parse_ack(payload) == ack
    good = json.loads(payload)
    for bad in (
        {**good, "action": "explode"},
        {**good, "by": ""},
        {**good, "by": "x" * 65},
        {**good, "by": "kim\x1b[2J"},
        {**good, "by": "\ud800"},
        {**good, "id": "../../etc"},
        {**good, "revision": 0},
        {**good, "revision": True},
        {**good, "revision": "2"},
        {**good, "schema": "alert"},
        {**good, "version": 2},
        [good],
        "ack",
        {},
    ):
        with pytest.raises(MessageError):
            parse_ack(json.dumps(bad).encode())
    for junk in (b"", b"\xff", b"{", b"[" * 10_000, b" " * 20_000):
        with pytest.raises(MessageError):
            parse_ack(junk)
    assert parse_ack(json.dumps({**good, "new_field": 1}).encode()) == ack


def test_topics_of_other_devices_are_foreign():
    topic = Topics(Mqtt(), site="a", device="b")
    assert topic.below("kiosk/v1/a/b/ack/1") == ["ack", "1"]
    assert topic.below("kiosk/v1/a/bb/ack/1") == []
