"""Messages to try things with, and the proof that one fits its schema."""

from __future__ import annotations

import json

import jsonschema

from edge_agent.alerting.alert import Alert
from edge_agent.config import Config, Rule
from edge_agent.delivery.messages import SCHEMA_DIR, Composer

ULID = "01M7Y8H3KR49JEKEK9MMJWTPA7"


def validate(payload: bytes) -> dict:
    body = json.loads(payload)
    schema = json.loads((SCHEMA_DIR / f"{body['schema']}.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(body)
    return body


def composer() -> Composer:
    return Composer(Config(), session=ULID, unix=lambda: 1_800_000_000.25, monotonic=lambda: 12.5)


def alert(**values) -> Alert:
    known = {"id": ULID, "rule": Rule(name="r"), "zone": "view", "step": "raised", "revision": 1, "score": 0.81234}
    return Alert(**{**known, "people": 1, "raised_s": 10.0, "paged_s": 10.0, "changed_s": 12.0, **values})
