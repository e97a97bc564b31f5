"""Looks for ways in which a picture could leave: what messages can hold, and what the running agent does.

The agent is run under strace(1) for a while, with a broker and a state folder of the proof's own. Whatever it hands to
anybody must be explained by the configuration; what is not is named. `LIMITS` says what cannot be seen so.
"""

from __future__ import annotations

import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from edge_agent.config import Config
from edge_agent.tools.doctor import Check
from edge_agent.tools.privacy.broker import RecordingBroker
from edge_agent.tools.privacy.calls import ADDRESSES, FILES, LISTENERS, OTHERS, Allowed, Judge
from edge_agent.tools.privacy.encoded import oddity
from edge_agent.tools.privacy.files import left_behind
from edge_agent.tools.privacy.sent import Messages, schemas
from edge_agent.tools.privacy.strace import Trace, run
from edge_agent.tools.privacy.visitors import knock

__all__ = ["LIMITS", "prove", "schemas"]

LIMITS = (
    "not seen: what happens at other times, before other people, or with commands nobody gave here; code that "
    "behaves while it is traced; pictures hidden in timing, in few bits at a time or in what looks like words; the "
    "kernel, other programs, and what your broker passes on; who looks at the live view with its token; light and sound"
)
_CONNECTED = b"connected to the broker"
_MAX_NAMED = 40
_LOG_BYTES, _LOG_BYTES_EACH_S = 16_384, 2_048


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
    with tempfile.TemporaryDirectory(prefix="edge-agent-privacy-") as name:
        folder = Path(name).resolve()
        watched = _watched(config, folder / "state")
        broker = RecordingBroker(watched)
        try:
            watched = replace(watched, mqtt=replace(watched.mqtt, port=broker.port))
            file = folder / "config.yaml"
            file.write_text(yaml.safe_dump(_plain(asdict(watched))), encoding="utf-8")
            visits: list[str] = []
            trace = run(
                [sys.executable, "-m", "edge_agent", "run", "--config", str(file)],
                seconds=seconds, after=_CONNECTED, meanwhile=lambda: visits.extend(knock(watched)),
            )  # fmt: skip
        finally:
            broker.close()
        yield from _judged(watched, path, broker, trace, visits, seconds)
    yield Check("limits", ok=True, detail=LIMITS)


def _watched(config: Config, state_dir: Path) -> Config:
    """Return the configuration with all that the agent reaches replaced by the proof's own."""
    mqtt = replace(
        config.mqtt, host="127.0.0.1", transport="tcp", username=None, password_file=None,
        tls=type(config.mqtt.tls)(),
    )  # fmt: skip
    return replace(
        config,
        site=replace(config.site, device=f"{config.site.device[:50]}-privacy"),
        mqtt=mqtt,
        outbox=replace(config.outbox, state_dir=state_dir),
        home_assistant=replace(config.home_assistant, enabled=False),
        web=replace(config.web, port=_free_port()),
        metrics=replace(config.metrics, port=_free_port()),
        logging=replace(config.logging, level="info", format="json"),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _judged(
    config: Config, path: Path, broker: RecordingBroker, trace: Trace, visits: Sequence[str], seconds: float
) -> Iterator[Check]:
    state_dir, messages = config.outbox.state_dir, broker.messages
    counted = re.findall(rb'"frames": (\d+)', trace.out)
    frames = int(counted[-1]) if counted else 0
    yield Check("agent", ok=frames > 0, detail=f"{path} ran for {seconds:g} s and looked at {frames} frames")
    if not broker.reached.is_set():
        yield Check("messages sent", ok=False, detail="the agent published nothing, so nothing is proved; run doctor")
    else:
        good = f"{messages.summary()}, all on its topics and as its schemas want them"
        yield _check("messages sent", broker.findings, good)
    judge = Judge(
        trace, Allowed(config, state_dir, broker=broker.port, pipe=trace.pipe, known=messages.known)
    )  # fmt: skip
    found = judge.findings
    files = [*found[FILES], *(one for one in left_behind(state_dir, messages) if one not in found[FILES])]
    yield _check(FILES, files, "only its own files in outbox.state_dir, and in them nothing but words and numbers")
    yield _check(ADDRESSES, found[ADDRESSES], "only the broker, of the proof's own" + _camera(config))
    pages = ", ".join(name for name in ("web", "metrics") if getattr(config, name).enabled) or "none"
    yield _check(LISTENERS, [*found[LISTENERS], *visits], f"{pages}; strangers get no frame")
    yield _check("log", list(_log(trace.out, messages, seconds)), f"{len(trace.out)} bytes of words and numbers")
    yield _check(OTHERS, found[OTHERS], f"none in {len(trace.calls)} system calls: no program, no shared memory")


def _check(name: str, findings: Sequence[str], good: str) -> Check:
    if not findings:
        return Check(name, ok=True, detail=good)
    more = f" and {len(findings) - _MAX_NAMED} more" if len(findings) > _MAX_NAMED else ""
    return Check(name, ok=False, detail="; ".join(findings[:_MAX_NAMED]) + more)


def _camera(config: Config) -> str:
    return " and the camera" if "://" in config.camera.device else ""


def _log(out: bytes, messages: Messages, seconds: float) -> Iterator[str]:
    if len(out) > _LOG_BYTES + seconds * _LOG_BYTES_EACH_S:
        yield f"{len(out)} bytes in {seconds:g} s"
    if problem := oddity(out, known=messages.known):
        yield problem


def _live_view(config: Config) -> Check:
    if not config.web.enabled:
        return Check("live view", ok=True, detail="off")
    reach = "this computer" if config.web.token_file is None else "who knows the token"
    faces = "blurred" if config.web.blur_faces else "not blurred"
    return Check(
        "live view", ok=True, detail=f"on: {reach} sees frames while watching, faces are {faces}, none is kept"
    )


def _plain(value: Any) -> Any:
    """Return what YAML can write: paths as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
