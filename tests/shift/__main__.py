"""A night in which kiosk, broker, server and phone each go away and come back, and what two pages said meanwhile.

`make shift` prints how often and for how long each of their claims was wrong; exit code 1 if one was for more than
15 s.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from link import Link
from playwright.sync_api import Browser, Page, sync_playwright
from truth import Kiosk, Record, Seen, claims

from edge_agent.demo import CLIPS
from edge_agent.errors import INTERRUPTED
from edge_agent.testing import free_port

LIMIT_S = 15.0
_EVERY_S = 0.25
#: Staff answer what is unanswered for so long.
_PATIENCE_S = 6.0
SITE = "night"
_READ = """() => ({
  connected: document.getElementById("link").className !== "problem",
  calm: !document.getElementById("calm").hidden
    && document.getElementById("calm").textContent === "No open page. All is calm.",
  watching: Number(document.getElementById("watching").textContent.match(/^\\d+/)?.[0] ?? 0),
  pages: [...document.querySelectorAll("article")].map((one) =>
    [one.dataset.id, one.classList.contains("paging"), one.textContent.includes("is gone")]),
  onDuty: !document.getElementById("duty").hidden,
})"""


class Process:
    """A process that is killed, frozen and started again."""

    def __init__(self, command: list[str], *, read: Callable[[str], None] | None = None) -> None:
        self._command, self._read = command, read
        self.up = False
        self.start()

    def start(self) -> None:
        output = subprocess.DEVNULL if self._read is None else subprocess.PIPE
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=output, text=True)
        if self._read is not None:
            threading.Thread(target=self._follow, args=(self.process,), daemon=True).start()
        self.up = True

    def _follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        assert self._read is not None
        for line in process.stderr:
            self._read(line)

    def kill(self) -> None:
        self.up = False
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.up = False
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.up = True


class Agent:
    """A kiosk with an angry customer now and then, and the alerts that its log says are open."""

    def __init__(self, name: str, folder: Path, broker: int) -> None:
        self.name, self.link = name, Link(broker)
        self.open: dict[str, bool] = {}
        self.raised: frozenset[str] = frozenset()
        config = folder / f"{name}.yaml"
        config.write_text(
            yaml.safe_dump({
                "site": {"name": SITE, "device": name, "place": name},
                "camera": {"device": str(CLIPS["one"]), "loop": True},
                "rules": [{"name": "angry-customer", "cooldown_s": 20.0, "off_delay_s": 4.0}],
                "privacy": {"notice_posted": True},
                "mqtt": {"port": self.link.port, "connect_retry_max_s": 4.0},
                "outbox": {"state_dir": str(folder / name)},
                "logging": {"format": "json"},
            })
        )  # fmt: skip
        self.process = Process([sys.executable, "-m", "edge_agent", "run", "--config", str(config)], read=self._note)

    def _note(self, line: str) -> None:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            what, _, step = str(event.get("event")).partition(" ")
            if what == "alert" and step in ("raised", "escalated", "acked"):
                self.raised |= {event["id"]}
                self.open = {**self.open, event["id"]: step != "acked"}
            elif what == "alert" and step == "cleared":
                self.open = {one: unanswered for one, unanswered in self.open.items() if one != event["id"]}

    def now(self) -> Kiosk:
        return Kiosk(self.process.up and self.link.mode == "up", self.open, self.raised)


class Phone:
    """A browser with the pager's page, and whoever looks at it."""

    def __init__(self, name: str, browser: Browser, server: int, size: dict[str, int]) -> None:
        self.name, self.link = name, Link(server)
        self.page: Page = browser.new_context(viewport=size).new_page()
        self.page.goto(f"http://127.0.0.1:{self.link.port}/")
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_role("button", name="Start shift").click()
        self.page.locator("#duty").wait_for()
        self._since: dict[str, float] = {}

    def look(self) -> Seen | None:
        """Return what it shows; None while it is being loaded, or shows that its shift is over."""
        try:
            read = self.page.evaluate(_READ)
        except Exception:  # Playwright raises many: in the midst of a reload there is nothing to read
            return None
        if not read["onDuty"]:
            return None
        pages = {one: paging for one, paging, _ in read["pages"]}
        gone = frozenset(one for one, _, is_gone in read["pages"] if is_gone)
        return Seen(read["connected"], read["calm"], read["watching"], pages, gone)

    def answer(self, seen: Seen, now_s: float, button: str) -> None:
        """Answer what has been unanswered for a while."""
        for one, paging in seen.pages.items():
            if not paging:
                self._since.pop(one, None)
            elif now_s - self._since.setdefault(one, now_s) > _PATIENCE_S:
                del self._since[one]
                with contextlib.suppress(Exception):  # it may be over by now
                    self.page.locator(f'article[data-id="{one}"] button', has_text=button).click(timeout=500)

    def reload(self) -> None:
        # Not waited for: the server may be one of those that are away.
        with contextlib.suppress(Exception):
            self.page.evaluate("setTimeout(() => location.reload())")


class Night:
    """Everything that can go away."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        port, web = free_port(), free_port()
        mosquitto = folder / "mosquitto.conf"
        mosquitto.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n"
            f"persistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
        )
        self.broker = Process(
            [shutil.which("mosquitto", path="/usr/sbin:/usr/bin") or "mosquitto", "-c", str(mosquitto)]
        )
        self.to_broker = Link(port)
        staff = folder / "staff.yaml"
        shift = {"name": "all", "kiosks": [f"{SITE}/till-1", f"{SITE}/till-2"]}
        staff.write_text(
            yaml.safe_dump({
                "mqtt": {"port": self.to_broker.port, "connect_retry_max_s": 4.0},
                "pager": {"port": web, "state_dir": str(folder / "pager"), "shifts": [shift]},
            })
        )  # fmt: skip
        self.server = Process([sys.executable, "-m", "edge_agent", "pager", "--web", "--wait", "--config", str(staff)])
        self.agents = [Agent(name, folder, port) for name in ("till-1", "till-2")]
        _until_listening(web)
        self.phones = [
            Phone("Kim", browser, web, {"width": 390, "height": 844}),
            Phone("Lee", browser, web, {"width": 1280, "height": 800}),
        ]

    def faults(self) -> dict[str, tuple[object, Callable[[], None], Callable[[], None]]]:
        """Return name → what is affected, how it goes away, how it comes back."""
        told: dict[str, tuple[object, Callable[[], None], Callable[[], None]]] = {}
        processes = {"broker": self.broker, "server": self.server}
        processes |= {f"kiosk {agent.name}": agent.process for agent in self.agents}
        for name, process in processes.items():
            told[f"{name} killed"] = (process, process.kill, process.start)
            told[f"{name} frozen"] = (process, process.freeze, process.thaw)
        links = {"server to broker": self.to_broker}
        links |= {f"kiosk {agent.name} to broker": agent.link for agent in self.agents}
        links |= {f"phone of {phone.name}": phone.link for phone in self.phones}
        for name, link in links.items():
            for mode in ("cut", "silent", "lost"):
                told[f"{name} {mode}"] = (
                    link,
                    lambda link=link, mode=mode: _set(link, mode),
                    lambda link=link: _set(link, "up"),
                )
        for phone in self.phones:
            told[f"page of {phone.name} reloaded"] = (phone, phone.reload, lambda: None)
        return told

    def chain(self, phone: Phone) -> bool:
        return self.broker.up and self.server.up and self.to_broker.mode == phone.link.mode == "up"

    def end(self) -> None:
        for process in (self.server, self.broker, *(agent.process for agent in self.agents)):
            process.kill()


def _set(link: Link, mode: str) -> None:
    link.mode = mode  # type: ignore[assignment]


def _until_listening(port: int) -> None:
    import socket

    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)


def rehearse(
    night: Night, records: dict[str, Record], *, seconds: float, chance: random.Random, say: Callable[[str], None]
) -> None:
    began_s = time.monotonic()
    away: list[tuple[float, str, object, Callable[[], None]]] = []
    next_s = 10.0
    while (now_s := time.monotonic() - began_s) < seconds or away:
        for item in [one for one in away if one[0] <= now_s]:
            away.remove(item)
            item[3]()
            say(f"{now_s:6.1f} s back: {item[1]}")
        if now_s >= next_s and now_s < seconds:
            affected = {id(one[2]) for one in away}
            name, (what, go, come) = chance.choice(
                [(name, fault) for name, fault in night.faults().items() if id(fault[0]) not in affected]
            )
            lasts_s = chance.uniform(3, 40)
            say(f"{now_s:6.1f} s away: {name}, for {lasts_s:.0f} s")
            go()
            away.append((now_s + lasts_s, name, what, come))
            next_s = now_s + chance.uniform(8, 30)
        kiosks = [agent.now() for agent in night.agents]
        for phone in night.phones:
            seen = phone.look()
            if seen is not None:
                wrong = claims(kiosks, chain=night.chain(phone), seen=seen)
                records[phone.name].add(wrong, now_s=time.monotonic() - began_s)
                phone.answer(seen, now_s, chance.choice(["On my way", "Resolved", "Acknowledge"]))
        time.sleep(_EVERY_S)


def table(records: dict[str, Record]) -> str:
    rows = ["| page | claim that would be wrong | moments | wrong | longest |", "|---|---|---|---|---|"]
    for name, record in records.items():
        for claim, one in sorted(record.claims.items()):
            rows.append(f"| {name} | {claim} | {one.moments:,} | {one.wrong:,} | {one.longest_s:.1f} s |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make shift", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shift-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        night = Night(Path(folder), browser)
        say = functools.partial(print, flush=True)
        records = {phone.name: Record(limit_s=LIMIT_S, note=say) for phone in night.phones}
        chance, interrupted = random.Random(options.seed), False
        try:
            rehearse(night, records, seconds=60 * options.minutes, chance=chance, say=say)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            night.end()
            browser.close()
    print(table(records))
    longest_s = max((one.longest_s for record in records.values() for one in record.claims.values()), default=0.0)
    print(f"\nlongest that a page was wrong: {longest_s:.1f} s (at most {LIMIT_S:g} s)")
    return INTERRUPTED if interrupted else int(longest_s > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
