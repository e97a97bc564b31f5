"""Damaged configurations and messages: each is read or refused, never anything else."""

from __future__ import annotations

import json
import random
from pathlib import Path

from stage import Row, progress

from edge_agent.config import load_config
from edge_agent.delivery.messages import MessageError, parse_ack, parse_object
from edge_agent.errors import ConfigError


def fuzz_configs(folder: Path, count: int, chance: random.Random) -> Row:
    """Damage config.yaml in every way; it is accepted or refused with a line, never anything else."""
    text = (Path(__file__).parents[2] / "config.yaml").read_text()
    file, refused, odd = folder / "fuzzed.yaml", 0, []
    for number in range(count):
        file.write_bytes(_damage(text.encode(), chance))
        try:
            load_config(file)
        except ConfigError:
            refused += 1
        except Exception as error:  # what must not happen is what is looked for
            odd.append(repr(error)[:80])
        if number % 500 == 499:
            progress("fuzzed configurations", number + 1, count)
    return Row("fuzzed configurations", count, broke=len(odd), note=f"{refused} refused {odd[:1] or ''}")


def fuzz_messages(count: int, chance: random.Random) -> Row:
    """Damage acknowledgements in every way; they are read or refused, never anything else."""
    good = json.dumps({"schema": "ack", "version": 1, "id": "0" * 26, "action": "snooze", "by": "kim", "snooze_s": 5})
    refused, odd = 0, []
    for _ in range(count):
        payload = _damage(good.encode(), chance)
        for parse in (parse_ack, lambda raw: parse_object(raw, schema="ack")):
            try:
                parse(payload)
            except MessageError:
                refused += 1
            except Exception as error:  # what must not happen is what is looked for
                odd.append(repr(error)[:80])
    return Row("fuzzed messages", 2 * count, broke=len(odd), note=f"{refused} refused {odd[:1] or ''}")


_TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"- ",
    b"null",
    b"-1",
    b"1e999",
    b"\xff",
    b"\x00",
    b"&a",
    b"*a",
    b"!!python/x",
    b"'",
    b"\n",
    b"\t",
]


def _damage(text: bytes, chance: random.Random) -> bytes:
    content = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(content) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            content[place:place] = chance.choice(_TOKENS)
        elif kind == 1:
            del content[place : place + chance.randint(1, 40)]
        elif kind == 2:
            content[place : place + 1] = chance.randbytes(chance.randint(1, 3))
        else:
            length = chance.randint(1, 200)
            content[place:place] = content[place : place + length]
    return bytes(content)
