"""What the agent may write: its known files in the state folder, and in them nothing but what they are for."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from edge_agent.tools.privacy.encoded import oddity
from edge_agent.tools.privacy.sent import Messages

_TEXT, _NUMBER, _MESSAGE, _NOTE = "text", "number", "message", "note"
#: File → table → column → what it holds. A table without columns must be empty.
_TABLES: dict[str, dict[str, dict[str, str]]] = {
    "outbox.sqlite3": {
        "message": {
            "seq": _NUMBER, "topic": _TEXT, "payload": _MESSAGE, "retain": _NUMBER, "added_s": _NUMBER,
            "expires_s": _NUMBER, "priority": _NUMBER, "alert_id": _TEXT, "crc": _NUMBER,
        },
        "damaged": {"seq": "", "topic": "", "payload": ""},
        "note": {"name": _TEXT, "body": _NOTE, "crc": _NUMBER},
        "sqlite_sequence": {"name": _TEXT, "seq": _NUMBER},
    },
    "scores.sqlite3": {"visit": {"hour": _NUMBER, "rule": _TEXT, "level": _NUMBER, "count": _NUMBER}},
    "summaries.sqlite3": {"summary": {"begin_s": _NUMBER, "end_s": _NUMBER, "body": _NOTE}},
}  # fmt: skip
_INDEXES = {"message_priority"}
_KNOWN = {
    *(f"{name}{suffix}" for name in _TABLES for suffix in ("", "-journal", "-wal")),
    "ignore_zones.json", "ignore_zones.tmp",
}  # fmt: skip
_MAX_TEXT, _MAX_NOTE = 200, 16_384
_MAX_ROWS = 2000


def is_known(path: str, state_dir: Path) -> bool:
    """Tell whether a path is of one of the agent's own files."""
    return path.startswith(f"{state_dir}/") and path[len(str(state_dir)) + 1 :] in _KNOWN


def left_behind(state_dir: Path, messages: Messages) -> Iterator[str]:
    """Yield what lies in the state folder and is not the agent's to keep."""
    for path in sorted(state_dir.rglob("*")) if state_dir.is_dir() else ():
        if path.is_symlink() or not path.is_file() or not is_known(str(path), state_dir):
            yield str(path)
        elif path.name in _TABLES:
            try:
                yield from (f"{path.name}: {problem}" for problem in _database(path, messages))
            except sqlite3.Error as error:
                yield f"{path.name}: {error}"
        elif problem := oddity(path.read_bytes(), known=messages.known):
            yield f"{path.name}: {problem}"


def _database(path: Path, messages: Messages) -> Iterator[str]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.text_factory = bytes
        pages, page_bytes = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        if path.stat().st_size > pages * page_bytes:
            yield "bytes behind its last page"
        expected = _TABLES[path.name]
        for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
            table = name.decode("utf-8", "replace")
            if kind != b"table":
                if sql is not None and (kind != b"index" or table not in _INDEXES):
                    yield f"{kind.decode()} {table[:40]}"
            elif table not in expected:
                yield f"table {table[:40]}"
            else:
                yield from _rows(db, table, expected[table], messages)


def _rows(db: sqlite3.Connection, table: str, columns: dict[str, str], messages: Messages) -> Iterator[str]:
    found = [row[1].decode("utf-8", "replace") for row in db.execute(f"PRAGMA table_xinfo({table})")]
    if found != list(columns):
        yield f"columns of {table}: {', '.join(found)[:80]}"
        return
    for number, row in enumerate(db.execute(f"SELECT * FROM {table}")):
        if number > _MAX_ROWS:
            yield f"more than {_MAX_ROWS} rows in {table}"
            return
        cells = dict(zip(columns, row, strict=True))
        for name, value in cells.items():
            if problem := _cell(value, columns[name], cells, messages):
                yield f"{table}.{name}: {problem}"


def _cell(value: object, kind: str, row: dict[str, object], messages: Messages) -> str:
    if value is None or (kind == _NUMBER and isinstance(value, int | float)):
        return ""
    if not isinstance(value, bytes) or not kind or kind == _NUMBER:
        return "a value that does not belong there"
    if kind == _MESSAGE:
        return messages.problem(bytes(row["topic"]).decode("utf-8", "replace"), value, count=False)  # type: ignore[call-overload]
    if len(value) > (_MAX_TEXT if kind == _TEXT else _MAX_NOTE):
        return f"a text of {len(value)} bytes"
    if kind == _NOTE and value[:1] in b"{[":
        with contextlib.suppress(ValueError):
            value = json.dumps(json.loads(value), ensure_ascii=False).encode()
    return oddity(value, known=messages.known)


def written(data: Collection[bytes], size: int, *, known: Collection[bytes]) -> str:
    """Return what is odd about one write to a file of the agent's; empty for nothing.

    Args:
        data: as far as it was noted.
        size: of the whole write, bytes.
    """
    if size > sum(map(len, data)):
        return f"{size} bytes at once"
    return next(filter(None, (oddity(re.sub(rb"SQLite format 3", b"", part), known=known) for part in data)), "")
