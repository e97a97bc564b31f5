"""Writes docs/reference and the manifest's JSON Schema from what the code knows: `python docs/generate.py`.

A test fails when they are stale.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path

from edge_agent.config import Config, options
from edge_agent.config.options import plain_type
from edge_agent.delivery.messages import SCHEMA_DIR
from edge_agent.vision import manifest, typed_json

DOCS = Path(__file__).parent
#: Topic below kiosk/v1/<site>/<device>/ → (schema, direction, retained, what it is for).
TOPICS = {
    "state": ("state", "from the device", True, "online, degraded or stopped; the last will says offline"),
    "info": ("info", "from the device", True, "versions, model and configuration hash"),
    "health": ("health", "from the device", True, "rates, latencies, depths, drift"),
    "alert/<id>": ("alert", "from the device", False, "the whole alert at each of its steps"),
    "alert/active": ("active", "from the device", True, "alerts now open; the device reads it when it starts"),
    "summary": ("summary", "from the device", False, "how content people were, for groups that are large enough"),
    "event": ("event", "from the device", False, "camera lost, message expired, outbox set aside, model rolled back"),
    "rsp/<request_id>": ("response", "from the device", False, "the answer to a command"),
    "ack/<id>": (
        "ack",
        "to the device",
        False,
        "what staff say of an alert; saying it again changes nothing. Of one of the latest 500 that are over, "
        "`resolve` and `false_alarm` count for `calibrate`",
    ),
    "cmd/<verb>": (
        "command",
        "to the device",
        False,
        "ping, rebirth, snooze, answer, selftest, reload, activate or rollback",
    ),
}


def main() -> int:
    """Write both pages and the schema."""
    for name, text in pages().items():
        (DOCS / "reference" / name).write_text(text, encoding="utf-8")
    manifest.JSON_SCHEMA.write_text(manifest_schema(), encoding="utf-8")
    return 0


def pages() -> dict[str, str]:
    """Return file name → text."""
    return {"configuration.md": configuration(), "topics.md": topics()}


def configuration() -> str:
    """Return every option with its type, limits, default and comment."""
    comments = {key: text.replace("|", "\\|") for key, text in options.comments(options.SHIPPED).items()}
    lines = [
        "# Configuration",
        "",
        "Every key of `config.yaml`, made from the code that reads it. `edge-agent check-config` names the line of a",
        "mistake, `edge-agent config` prints what is in force and which file said it. Files in the folder `config.d`",
        "beside `config.yaml` go before it, a `profile` fills in what is left out. Names of certificates, keys and",
        "files with secrets are relative to the folder of the file that has them, `state_dir` to the working folder.",
    ]
    for section in fields(Config):
        kind = plain_type(typing.get_type_hints(Config)[section.name])
        lines += ["", f"## {section.name}", ""]
        if is_dataclass(kind):
            lines += [(kind.__doc__ or "").strip(), "", "| key | what | type | default |", "|---|---|---|---|"]
            lines += list(_rows(kind, section.name, comments, ""))
        else:
            lines += [f"{comments.get(section.name, '')} ({_kind(kind, section)}; default {_default(section)})"]
    return "\n".join(lines) + "\n"


def _rows(kind: typing.Any, path: str, comments: dict[str, str], prefix: str) -> Iterator[str]:
    hints = typing.get_type_hints(kind)
    for one in fields(kind):
        inner = plain_type(hints[one.name])
        if is_dataclass(inner) and isinstance(hints[one.name], types.UnionType):
            what = f"as the section `{one.name}`, of which it takes what it leaves out"
            yield f"| `{prefix}{one.name}` | {what} | mapping, or null | null |"
            continue
        if is_dataclass(inner) and typing.get_origin(hints[one.name]) is not tuple:
            yield from _rows(inner, f"{path}.{one.name}", comments, f"{prefix}{one.name}.")
            continue
        comment = comments.get(f"{path}.{one.name}", "")
        yield f"| `{prefix}{one.name}` | {comment} | {_kind(hints[one.name], one)} | {_default(one)} |"


def _kind(hint: typing.Any, declared: Field[typing.Any]) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return f"{_kind(plain_type(hint), declared)}, or null"
    if origin is typing.Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin is tuple:
        return "list"
    if origin is dict:
        return "mapping"
    low, high, pattern = (declared.metadata.get(key) for key in ("low", "high", "pattern"))
    if hint in (int, float):
        name = "whole number" if hint is int else "number"
        return name + (f", {low:g} to {high:g}" if low is not None and high is not None else "")
    if hint is bool:
        return "true or false"
    return f"text like `{pattern}`".replace("|", "\\|") if pattern not in (None, ".+") else "text"


def _default(declared: Field[typing.Any]) -> str:
    if declared.default_factory is not MISSING:
        return "see config.yaml"
    if declared.default is MISSING:
        return "required"
    value = declared.default
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def topics() -> str:
    """Return every topic with the fields of its payload."""
    lines = [
        "# MQTT topics",
        "",
        "Below `kiosk/v1/<site>/<device>/`, at QoS 1 (commands are heard at QoS 0, so that none waits), JSON;",
        "made from the schemas in",
        "[edge_agent/delivery/schemas](../../edge_agent/delivery/schemas), which every message is tested against.",
        "Consumers should ignore fields they do not know.",
        "",
        "| topic | direction | retained | what |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{topic}` | {way} | {'yes' if kept else ''} | {what} |" for topic, (_, way, kept, what) in TOPICS.items()
    ]
    for topic, (schema, _, _, _) in TOPICS.items():
        body = json.loads((SCHEMA_DIR / f"{schema}.json").read_text(encoding="utf-8"))
        lines += ["", f"## {topic}", "", "| field | type | required | what |", "|---|---|---|---|"]
        for name, part in body["properties"].items():
            required = "yes" if name in body["required"] else ""
            lines.append(f"| `{name}` | {_json_type(part)} | {required} | {part.get('description', '')} |")
    return "\n".join(lines) + "\n"


def _json_type(part: dict[str, typing.Any]) -> str:
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" if value else "empty" for value in part["enum"])
    kinds = part.get("type", "any")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if "minimum" in part or "maximum" in part:
        text += f" {part.get('minimum', '')}..{part.get('maximum', '')}"
    if "maxLength" in part:
        text += f" of at most {part['maxLength']} characters"
    return text


def manifest_schema() -> str:
    """Return the JSON Schema of a model bundle's manifest."""
    definitions: dict[str, typing.Any] = {}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "manifest",
        "description": "manifest.json of a model bundle. Keys that are not named here are kept.",
        "oneOf": [_schema_of(kind, {}, definitions) for kind in manifest.KINDS.values()],
        "$defs": definitions,
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _schema_of(
    hint: typing.Any, limits: Mapping[str, typing.Any], definitions: dict[str, typing.Any]
) -> dict[str, typing.Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        name = typing.cast("type[typing.Any]", hint).__name__
        if name not in definitions:
            parts = typed_json.typed_fields(hint)
            definitions[name] = {
                "description": (hint.__doc__ or "").splitlines()[0],
                "type": "object",
                "properties": {key: _schema_of(kind, own, definitions) for key, (kind, own, _) in parts.items()},
                "required": [key for key, (_, _, required) in parts.items() if required],
            }
        return {"$ref": f"#/$defs/{name}"}
    if origin is typing.Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    if origin is tuple:
        items = [_schema_of(kind, limits, definitions) for kind in arguments if kind is not Ellipsis]
        if arguments[-1] is not Ellipsis:
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        unique = {"uniqueItems": True} if arguments[0] is str else {}
        return {"type": "array", "items": items[0], "minItems": 1, "maxItems": typed_json.MAX_ITEMS, **unique}
    if origin is not None:
        if arguments[1] is typing.Any:
            return {"type": "object"}
        inner = _schema_of(arguments[1], limits, definitions)
        return {"type": "object", "additionalProperties": inner, "maxProperties": typed_json.MAX_ITEMS}
    if hint is str:
        pattern = limits.get("pattern")
        form = {"pattern": f"^{pattern}$"} if pattern else {"minLength": 1, "maxLength": typed_json.MAX_CHARACTERS}
        return {"type": "string", **form}
    bounds = {"minimum": limits.get("low"), "maximum": limits.get("high")}
    return {
        "type": "integer" if hint is int else "number", **{k: v for k, v in bounds.items() if v is not None}
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
