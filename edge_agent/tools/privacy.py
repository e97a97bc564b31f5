"""Proves that no picture leaves: what messages can hold, what the running agent writes and to whom it talks.

The agent is run under strace(1), which sees every system call whatever the code says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from edge_agent.config import Config
from edge_agent.delivery.messages import MAX_PAYLOAD_BYTES, SCHEMA_DIR
from edge_agent.delivery.retained import forget
from edge_agent.errors import AgentError
from edge_agent.tools.doctor import Check

#: A face of 16x16 grey pixels, hardly recognisable, in base64: no text field is as long.
_SMALLEST_PICTURE_BYTES = 344
_OPEN = re.compile(r'^(?:open|openat2?)\((?:AT_FDCWD, |\d+, )?"([^"]+)", ?(?:\{flags=)?([A-Z_|0-9]*)')
_NAMED = re.compile(r'^(?:creat|rename|renameat2?|link|linkat|symlink|symlinkat)\(.*"([^"]+)"(?:, [A-Z_0-9|]+)?\) = \d')
_CONNECT = re.compile(r"^connect\(\d+, \{sa_family=(AF_\w+), (.*?)\}, \d+")
_SENT = re.compile(r"\{sa_family=(AF_\w+), (.*?)\}, (?:\d+|msg_namelen)")
_SENDING = ("sendto(", "sendmsg(", "sendmmsg(")
_OWN = re.compile(r"^getsockname\(\d+, \{sa_family=(AF_\w+), (.*?)\}, ")
_WRITING = ("O_WRONLY", "O_RDWR", "O_CREAT")
_CALLS = (
    "trace=open,openat,openat2,creat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "connect,sendto,sendmsg,sendmmsg,getsockname"
)
#: How long the agent may take to reach its broker before it is watched.
_START_S = 60.0
_CONNECTED = "connected to the broker"


@dataclass(frozen=True, slots=True)
class Observed:
    """What strace saw of a process and its children.

    Attributes:
        written: files opened for writing, or made by renaming or linking, sorted.
        addresses: (family, address, port) of every connection and datagram to others; unix sockets have their path.
    """

    written: tuple[str, ...]
    addresses: tuple[tuple[str, str, int], ...]


def prove(config: Config, path: Path, *, seconds: float) -> Iterator[Check]:
    """Check the messages' schemas, then watch the agent for a while.

    Args:
        path: of the configuration, for the report.
    """
    yield schemas()
    yield _live_view(config)
    if shutil.which("strace") is None:
        yield Check("system calls", ok=False, detail="strace is missing: apt install strace")
        return
    with tempfile.TemporaryDirectory(prefix="edge-agent-privacy-") as folder:
        state_dir = Path(folder) / "state"
        site = replace(config.site, device=f"{config.site.device[:50]}-privacy")
        watched = replace(
            config, site=site, outbox=replace(config.outbox, state_dir=state_dir),
            home_assistant=replace(config.home_assistant, enabled=False),
        )  # fmt: skip
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(_plain(asdict(watched))), encoding="utf-8")
        command = [sys.executable, "-m", "edge_agent", "run", "--config", str(file)]
        observed, log = trace(command, seconds=seconds, after=_CONNECTED)
        forget(watched)
        counted = re.findall(r'"?frames"?[=:] ?(\d+)', log)
        frames = int(counted[-1]) if counted else 0
        yield Check("agent", ok=frames > 0, detail=f"{path} ran for {seconds:g} s and looked at {frames} frames")
        strangers = [name for name in observed.written if not _allowed_file(name, state_dir)]
        yield Check(
            "files written",
            ok=not strangers,
            detail=f"also {', '.join(strangers)}" if strangers else "only the outbox, in outbox.state_dir",
        )
        yield _addresses(config, observed, connected=_CONNECTED in log)


def _live_view(config: Config) -> Check:
    if not config.web.enabled:
        return Check("live view", ok=True, detail="off")
    reach = "this computer" if config.web.token_file is None else "who knows the token"
    faces = "blurred" if config.web.blur_faces else "not blurred"
    return Check(
        "live view", ok=True, detail=f"on: {reach} sees frames while watching, faces are {faces}, none is kept"
    )


def schemas() -> Check:
    """Check that no field of any message has room for a picture."""
    too_large = []
    for path in sorted(SCHEMA_DIR.glob("*.json")):
        for place, length in _text_lengths(json.loads(path.read_text(encoding="utf-8")), path.stem):
            if length is None or length >= _SMALLEST_PICTURE_BYTES:
                too_large.append(place)
    if too_large:
        return Check("messages", ok=False, detail=f"these fields could hold a picture: {', '.join(too_large)}")
    return Check(
        "messages", ok=True,
        detail=f"no text field of any schema has {_SMALLEST_PICTURE_BYTES} characters, which 16x16 pixels would need",
    )  # fmt: skip


def _text_lengths(schema: dict[str, Any], place: str) -> Iterator[tuple[str, int | None]]:
    """Yield each text field and the most characters it can have, None for any number."""
    kinds = schema.get("type")
    if "const" in schema or "enum" in schema:
        return
    if kinds == "object":
        for name, part in schema.get("properties", {}).items():
            yield from _text_lengths(part, f"{place}.{name}")
        if isinstance(schema.get("additionalProperties"), dict):
            yield from _text_lengths(schema["additionalProperties"], f"{place}.*")
    elif kinds == "array":
        yield from _text_lengths(schema["items"], f"{place}[]")
        if "maxItems" not in schema:
            yield f"{place}[]", None
    elif kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
        length = schema.get("maxLength")
        if length is None and "pattern" in schema and not re.search(r"[*+]|,\}", schema["pattern"]):
            length = 64  # a pattern without repetition to any length
        yield place, length


def trace(command: list[str], *, seconds: float, after: str = "") -> tuple[Observed, str]:
    """Run a command under strace for a while; return what it did, and what it said on stderr.

    Args:
        after: the time counts from a line of the log with this text on, or from a minute after the start.

    Raises:
        AgentError: strace cannot trace here.
    """
    with tempfile.TemporaryDirectory(prefix="strace-") as folder:
        traced = subprocess.Popen(
            # A file for each thread, so that no call is split in two lines.
            ["strace", "-ff", "-qq", "-s", "300", "-e", _CALLS, "-o", f"{folder}/calls", *command],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        lines: list[str] = []
        begun = threading.Event()
        reader = threading.Thread(target=_read_lines, args=(traced.stderr, lines, after, begun), daemon=True)
        reader.start()
        begun.wait(_START_S)
        try:
            traced.wait(seconds)
        except subprocess.TimeoutExpired:
            # strace passes the signal on only to its own child's group: tell the agent itself.
            for child in _children(traced.pid):
                os.kill(child, signal.SIGTERM)
            try:
                traced.wait(15)
            except subprocess.TimeoutExpired:
                traced.kill()
        traced.wait()
        reader.join(5)
        assert traced.stderr is not None
        traced.stderr.close()
        err = "".join(lines)
        logs = sorted(Path(folder).iterdir())
        if not logs or "strace:" in err:
            raise AgentError(f"strace cannot run here: {err.strip().splitlines()[-1] if err.strip() else 'no output'}")
        calls = (line for log in logs for line in log.read_text(encoding="utf-8", errors="replace").splitlines())
        return _parse(calls), err


def _read_lines(stream: Iterable[str], lines: list[str], after: str, begun: threading.Event) -> None:
    for line in stream:
        lines.append(line)
        if after in line:
            begun.set()
    begun.set()


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(child) for child in text.split()]


def _parse(calls: Iterable[str]) -> Observed:
    written: set[str] = set()
    addresses: set[tuple[str, str, int]] = set()
    own: set[tuple[str, str, int]] = set()
    for line in calls:
        if (opened := _OPEN.search(line)) and any(flag in opened[2] for flag in _WRITING) and " = -1" not in line:
            written.add(opened[1])
        if named := _NAMED.search(line):
            written.add(named[1])
        if found := _CONNECT.search(line):
            addresses.add(_address(found[1], found[2]))
        if line.startswith(_SENDING):
            addresses.update(_address(*found) for found in _SENT.findall(line))
        if found := _OWN.search(line):
            own.add(_address(found[1], found[2]))
    # The MQTT client wakes its own thread through a connection to itself.
    return Observed(tuple(sorted(written)), tuple(sorted(addresses - own)))


def _address(family: str, rest: str) -> tuple[str, str, int]:
    port = re.search(r"htons\((\d+)\)", rest)
    host = re.search(r'"([^"]*)"', rest)
    return family, host[1] if host else "", int(port[1]) if port else 0


def _allowed_file(name: str, state_dir: Path) -> bool:
    harmless = (
        "/dev/null",
        "/dev/tty",
        "/dev/video",
        "/dev/media",
        "/dev/dma_heap",
        "/dev/v4l",
        "/proc/self/",
        "/proc/",
    )
    return name.startswith((str(state_dir), *harmless))


def _addresses(config: Config, observed: Observed, *, connected: bool) -> Check:
    try:
        broker = {str(info[4][0]) for info in socket.getaddrinfo(config.mqtt.host, config.mqtt.port)}
    except OSError:
        broker = {config.mqtt.host}
    strangers, sent_to = [], set()
    for family, host, port in observed.addresses:
        if family in ("AF_UNIX", "AF_NETLINK", "AF_UNSPEC"):
            continue  # this computer: name service, service manager, journal
        if host in broker and port == config.mqtt.port:
            sent_to.add(f"{host}:{port}")
        elif port not in (53, 0):  # asking for the broker's address sends its name only
            strangers.append(f"{host}:{port}")
    if strangers:
        return Check("addresses", ok=False, detail=f"also {', '.join(sorted(set(strangers)))}")
    if not connected:
        return Check("addresses", ok=False, detail="the broker was not reached, so nothing is proved: start it")
    names = ", ".join(sorted(sent_to))
    return Check(
        "addresses", ok=True, detail=f"only the broker: {names}; messages of at most {MAX_PAYLOAD_BYTES} bytes"
    )


def _plain(value: Any) -> Any:
    """Return what YAML can write: paths as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
