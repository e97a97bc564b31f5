"""What strangers on the network do: connections that say nothing, floods, made-up pages, guessed tokens."""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from flood import Flood, Message
from server import PagerServer, Phone, limit_descriptors, peak_mb
from stage import SITE, Fault, Scene
from witness import KIOSK, Witness

from edge_agent.pager_server.roster import hash_pin
from edge_agent.testing import free_port

_SILENT = 1100
#: Opens so many to each port, says so, and holds them until its input ends.
_HOLD = f"""
import contextlib, resource, socket, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held = []
for port in sys.argv[1:]:
    for _ in range({_SILENT}):
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", int(port)), timeout=2))
print(len(held), flush=True)
sys.stdin.read()
"""
_OPEN_PAGES = 20_000
_TOKEN, _PIN = "correct horse battery staple", "4711"


def with_a_server(scene: Scene, **pager: object) -> str:
    """Start the server of the page for phones, and look at it with one."""
    server = scene.props["server"] = PagerServer(scene.folder / "server", scene.broker.port, **pager)
    pin = _PIN if pager else ""
    scene.props["phone"] = Phone(server, token=_TOKEN if pager else "", pin=pin)
    scene.kiosk.before = limit_descriptors
    return ""


def leave_the_server(scene: Scene) -> None:
    """Say what memory and logs became, and how late pages were."""
    server, phone = scene.props["server"], scene.props["phone"]
    memory = f"server {peak_mb(server.process.pid):.0f} MB at most"
    phone.close()
    server.close()
    if server.tracebacks:
        scene.wrong.append(f"{server.tracebacks} tracebacks of the server")
    # The other pager resolves each page at once; one that is over before the server tells its news is no news.
    over = len(scene.kiosk.raised - set(phone.first_s))
    if over:
        scene.notes.append(f"{over} over before the phone was told")
    logs = f"logs {scene.kiosk.log_bytes // 1000} and {server.log.stat().st_size // 1000} kB"
    late_s = sorted(scene.staff.late_s)
    scene.notes.append(f"pages after {statistics.median(late_s):.2f} s, {late_s[-1]:.2f} s at most; {memory}; {logs}")


def with_silent_connections(scene: Scene) -> str:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 3 * _SILENT:
        return f"ulimit -n is {most}"
    scene.kiosk.settings["web"] = {"enabled": True, "port": free_port()}
    return with_a_server(scene)


def connect_and_say_nothing(scene: Scene, number: int) -> None:
    """Connections that send nothing to both servers; then the broker is restarted, and both must find it again."""
    phone, server = scene.props["phone"], scene.props["server"]
    scene.until_shown()
    ports = [str(scene.kiosk.settings["web"]["port"]), str(server.port)]
    # In a process of their own: paho's select() takes no descriptor above 1023, and the pager's is in this one.
    command = [sys.executable, "-c", _HOLD, *ports]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as silent:
        assert silent.stdout is not None
        silent.stdout.readline()
        scene.broker.kill()
        if not scene.until(lambda: phone.problem != ""):
            scene.wrong.append("the server does not say that the broker is gone")
        scene.broker.start()
        if not scene.until_shown(30):
            scene.wrong.append("no page while others kept connections open")
        if not scene.until(lambda: phone.problem == ""):
            scene.wrong.append("the server did not find the broker again")


def flood(*kinds: tuple[Callable[[Scene], Iterable[Message]], float], seconds: float = 15.0) -> Fault:
    """So many messages of each kind a second while pages are raised and answered."""

    def do(scene: Scene, number: int) -> None:
        scene.until_shown()
        floods = [Flood(scene.broker.port, make(scene), rate_hz=rate_hz) for make, rate_hz in kinds]
        shown, frames = len(scene.staff.shown), scene.props["witness"].frames
        scene.wait(seconds, seconds)
        scene.props.setdefault("rates_hz", []).append((scene.props["witness"].frames - frames) / seconds)
        for one in floods:
            one.close()
        scene.props["paged"] = scene.props.get("paged", 0) + len(scene.staff.shown) - shown
        if len(scene.staff.shown) == shown:
            scene.wrong.append("no page during the flood")

    def finish(scene: Scene) -> None:
        rate_hz = statistics.mean(scene.props["rates_hz"])
        scene.notes.append(f"{scene.props['paged']} pages and {rate_hz:.0f} frames/s in the flood")
        scene.props["witness"].close()
        leave_the_server(scene)

    def prepare(scene: Scene) -> str:
        scene.props["witness"] = Witness(scene.broker.port)
        return with_a_server(scene)

    return Fault(3, do, prepare, finish)


def foreign_answers(scene: Scene) -> list[Message]:
    ids = [f"{number:026d}" for number in range(1000)]
    body = {"schema": "ack", "version": 1, "action": "resolve", "by": "mallory"}
    return [(f"{KIOSK}/ack/{one}", json.dumps({**body, "id": one}), False) for one in ids]


def command(verb: str) -> Callable[[Scene], list[Message]]:
    body = json.dumps({"schema": "command", "version": 1, "request_id": "flood"})
    return lambda _scene: [(f"{KIOSK}/cmd/{verb}", body, False)]


def junk_pages(scene: Scene) -> list[Message]:
    topics = [f"kiosk/v1/{SITE}/{device}/alert/{number:026d}" for device in ("kiosk-1", "x") for number in range(200)]
    return [(topic, scene.random.choice(["junk", "[" * 900, "{}", '{"schema": "alert"}']), False) for topic in topics]


def made_up_pages(scene: Scene, *, retained: bool) -> list[Message]:
    body = {
        "schema": "alert", "version": 1, "revision": 1, "step": "raised", "severity": "warning", "groups": ["staff"],
        "message": "Please send assistance", "place": "", "zone": "view", "emotions": ["angry"], "score": 0.7,
        "by": "", "reason": "", "raised_at": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    return [
        (f"kiosk/v1/{SITE}/x{number}/alert/{number:026d}", json.dumps({**body, "id": f"{number:026d}"}), retained)
        for number in range(_OPEN_PAGES)
    ]


def pages_without_end(*, retained: bool) -> Fault:
    """So many made-up pages that nobody could answer them, retained before the server starts, or while it runs."""

    def do(scene: Scene, number: int) -> None:
        server, phone = scene.props["server"], scene.props["phone"]
        scene.until_shown()
        Flood(scene.broker.port, made_up_pages(scene, retained=retained)).join()
        if retained:
            server.close()
            server.start()
        since_s, before = time.time(), set(scene.kiosk.raised)
        if not scene.until(lambda: bool(set(phone.first_s) & (scene.kiosk.raised - before)), 60):
            scene.wrong.append("no real page shown on the phone within a minute")
        real = [phone.first_s[one] for one in scene.kiosk.raised - before if one in phone.first_s]
        scene.props.setdefault("waited_s", []).append(min(real, default=since_s + 60) - since_s)

    def finish(scene: Scene) -> None:
        leave_the_server(scene)
        waited_s = max(scene.props["waited_s"])
        scene.notes.append(f"next real page {waited_s:.1f} s after the made-up ones")

    return Fault(3, do, with_a_server, finish)


def with_a_token(scene: Scene) -> str:
    token = scene.folder / "token"
    token.write_text(_TOKEN)
    token.chmod(0o600)
    scene.props["tried"] = 0
    return with_a_server(scene, token_file=str(token), staff=[{"name": "kim", "pin_hash": hash_pin(_PIN)}])


def guess(scene: Scene, number: int) -> None:
    """Guess tokens and PINs with many hands while pages come."""
    server, ended = scene.props["server"], threading.Event()

    def hand(of: int) -> int:
        tried = 0
        while not ended.is_set():
            tried += 1
            url, headers = f"http://127.0.0.1:{server.port}", {}
            if of % 2:
                data = urllib.parse.urlencode({"token": f"guess {of} {tried}"}).encode()
                request = urllib.request.Request(f"{url}/login", data)
            else:
                data = json.dumps({"name": "kim", "shift": "", "pin": f"{tried:04d}"}).encode()
                headers = {"Authorization": f"Bearer {_TOKEN}", "X-Requested-With": "edge-agent"}
                headers["Content-Type"] = "application/json"
                request = urllib.request.Request(f"{url}/api/shift", data, headers)
            with contextlib.suppress(OSError):
                urllib.request.urlopen(request, timeout=5).close()
        return tried

    with ThreadPoolExecutor(16) as hands:
        guessing = [hands.submit(hand, of) for of in range(16)]
        for _ in range(3):
            if not scene.until_shown(30):
                scene.wrong.append("no page while tokens were guessed")
        scene.wait(2.0, 3.0)
        ended.set()
        scene.props["tried"] += sum(one.result() for one in guessing)


def stop_guessing(scene: Scene) -> None:
    leave_the_server(scene)
    scene.notes.append(f"{scene.props['tried']} guesses")


STRANGER_FAULTS: dict[str, Fault] = {
    "1,100 silent connections to each server": Fault(
        3, connect_and_say_nothing, with_silent_connections, leave_the_server
    ),
    "flood: 5,000 foreign answers a second": flood((foreign_answers, 5000)),
    "flood: 2,000 rebirth, 1,000 selftest a second": flood((command("rebirth"), 2000), (command("selftest"), 1000)),
    "flood: 5,000 junk pages a second": flood((junk_pages, 5000)),
    "20,000 made-up pages while the server runs": pages_without_end(retained=False),
    "20,000 made-up pages retained, server restarted": pages_without_end(retained=True),
    "tokens and PINs guessed": Fault(3, guess, with_a_token, stop_guessing),
}
