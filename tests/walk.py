"""Goes the whole way that a shop goes, as root: an empty Debian, the packages, the wizard, a phone, the first page.

`sudo make walk` boots a Debian tree under a real systemd, installs the packages of `dist/` (built if they are not
there), and does in a terminal and a real browser what docs/install.md and docs/pagers.md say. Each step is timed and
photographed into `--out`; its table is Markdown. A clip of the demo stands for the camera.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from browser import PHONE
from playwright.sync_api import Browser, Page, expect, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
LAPTOP = {"width": 1000, "height": 800}
#: Longest that anything on a page may take, ms.
PATIENCE_MS = 120_000
CLIP = "/srv/camera.mp4"


@dataclass
class Walk:
    """Photographs and times the steps."""

    browser: Browser
    out: Path
    rows: list[tuple[str, float]] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)

    def step(self, what: str, page: Page) -> None:
        """Note how long it took since the last step, and what is to be seen."""
        took_s = time.monotonic() - self.began_s
        self.rows.append((what, took_s))
        page.screenshot(path=self.out / f"{len(self.rows):02}.png")
        print(f"{len(self.rows):2}. {what}: {took_s:.0f} s", flush=True)
        self.began_s = time.monotonic()

    def terminal(self, what: str, command: str, printed: str) -> None:
        """Do the same with what a terminal shows; of much, the last lines."""
        lines = [f"$ {command}", *printed.rstrip().splitlines()]
        page = self.browser.new_page(viewport=LAPTOP)
        text = html.escape("\n".join(lines[:1] + lines[1:][-41:]))
        page.set_content(
            f"<body style='margin:16px;background:#111;color:#ddd'><pre style='font:15px/1.15 monospace'>{text}"
        )
        self.step(what, page)
        page.close()

    def table(self) -> str:
        """Return Markdown."""
        rows = [f"| {n} | {what} | {took_s:.0f} s |" for n, (what, took_s) in enumerate(self.rows, 1)]
        total_s = sum(took_s for _, took_s in self.rows)
        return "\n".join(["| | step | time |", "|---|---|---|", *rows, f"| | together | {total_s:.0f} s |"])


class Computer:
    """A Debian tree, booted in the network of this computer."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        command = ["systemd-nspawn", "-q", "-D", str(tree), "--register=no", "--keep-unit", "-b"]
        self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._init = self._first_process()
        self.run("until systemctl is-system-running | grep -Eq 'running|degraded'; do sleep 0.2; done")

    def _first_process(self) -> str:
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        give_up_s = time.monotonic() + 60
        while time.monotonic() < give_up_s:
            for child in children.read_text().split():
                if Path(f"/proc/{child}/exe").readlink().name == "systemd":
                    return child
            time.sleep(0.2)
        raise SystemExit("the tree does not boot")

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command in it, as root."""
        inside = ["nsenter", "-t", self._init, "-m", "-u", "-i", "-p", "--root", "--wd=/root", "--"]
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }
        return subprocess.Popen(
            [*inside, "/bin/sh", "-c", f"cd /root && {command}"],
            env={**environment, "DEBIAN_FRONTEND": "noninteractive"}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str) -> str:
        """Run one to its end; return what it prints."""
        process = self.start(command)
        out, _ = process.communicate(timeout=600)
        if process.returncode:
            raise SystemExit(f"{command}: {process.returncode}\n{out}")
        return out

    def power_off(self) -> None:
        """End it."""
        self._nspawn.terminate()
        self._nspawn.wait(60)


@contextlib.contextmanager
def computer(tree: Path, suite: str, debs: list[Path]) -> Iterator[Computer]:
    """Yield an empty one with the packages and the clip in /root and /srv."""
    if tree.exists():
        shutil.rmtree(tree)
    include = "systemd,systemd-sysv,dbus,ca-certificates"
    command = ["debootstrap", "--variant=minbase", f"--include={include}", suite, str(tree)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for deb in debs:
        shutil.copy(deb, tree / "root")
    shutil.copy(REPOSITORY / "edge_agent" / "demo" / "clips" / "one_person.mp4", tree / CLIP.lstrip("/"))
    running = Computer(tree)
    try:
        yield running
    finally:
        running.power_off()


def packages(suite: str) -> list[Path]:
    """Return the packages of a suite, for this computer; build them where they are not in dist/."""
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    number = {"bookworm": 12, "trixie": 13}[suite]
    pattern = f"edge-agent*+deb{number}_{arch}.deb"
    if len(list((REPOSITORY / "dist").glob(pattern))) < 2:
        build = [sys.executable, str(REPOSITORY / "packaging" / "build.py"), "--suite", suite, "--arch", arch]
        subprocess.run(build, check=True)
    return sorted((REPOSITORY / "dist").glob(pattern))


def go(walk: Walk, kiosk: Computer) -> None:
    """Walk."""
    install = "apt-get -qq -y install ./edge-agent_*.deb ./edge-agent-pager_*.deb mosquitto"
    walk.began_s = time.monotonic()
    told = kiosk.run(
        f"cd /root && apt-get -qq update && {install} 2>&1 && systemctl --no-pager list-unit-files 'edge-*'"
    )
    walk.terminal("packages and a broker are installed", install, told)

    # A clip ends, a camera does not.
    kiosk.run("echo 'camera: {loop: true}' > /etc/edge-agent/config.d/00-clip.yaml; systemctl start mosquitto")
    command = "edge-agent setup --web --config /etc/edge-agent/config.yaml"
    wizard = kiosk.start(command)
    lines = []
    for line in wizard.stdout:
        lines.append(line)
        if line.startswith("code"):
            break
    walk.terminal("the wizard says where it is, and a code", command, "".join(lines))
    url, code = (line.split()[1] for line in lines[-2:])
    page = walk.browser.new_page(viewport=LAPTOP)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    page.get_by_role("textbox").fill(code)
    page.get_by_role("button").click()
    set_up(walk, page)
    wizard.wait(60)

    told = kiosk.run("systemctl restart edge-agent && systemctl --no-pager status edge-agent | head -12")
    walk.terminal("the agent watches", "systemctl restart edge-agent", told)
    told = kiosk.run(
        "systemctl restart edge-pager && sleep 3 && edge-agent pager --join --config /etc/edge-pager/config.yaml"
    )
    walk.terminal("codes for a phone", "edge-agent pager --join --config /etc/edge-pager/config.yaml", told)
    [door], [code] = re.findall(r"open (http\S+)", told), re.findall(r"asks for the token: (\S+)", told)
    on_the_phone(walk, door, code)


def set_up(walk: Walk, page: Page) -> None:
    """Answer the wizard."""

    def next_step(what: str) -> None:
        walk.step(what, page)
        page.get_by_role("button", name="Next").click()

    page.get_by_label("Name of the site").fill("lobby")
    page.get_by_label("Where it stands").fill("main entrance")
    next_step("wizard: the place")
    page.get_by_label("Device:").fill(CLIP)
    page.get_by_role("button", name="Show this camera").click()
    expect(page.locator(".picture img")).to_have_js_property("naturalWidth", 640, timeout=PATIENCE_MS)
    next_step("wizard: the camera")
    expect(page.locator(".picture img")).to_have_js_property("naturalWidth", 640, timeout=PATIENCE_MS)
    page.get_by_role("button", name="Add a zone").click()
    box = page.get_by_role("group", name="Zones").bounding_box()
    for x, y in ((0.02, 0.02), (0.12, 0.02), (0.15, 0.5), (0.12, 0.98), (0.02, 0.98)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    next_step("wizard: a zone to ignore, with five corners")
    page.get_by_role("radio").first.check()
    next_step("wizard: the broker, found on this computer")
    expect(page.get_by_role("radio").first).to_be_checked()
    next_step("wizard: when to page")
    expect(page.get_by_label("For a pager")).to_contain_text("mqtt:")
    next_step("wizard: pagers")
    expect(page.get_by_label("The sign", exact=True)).to_contain_text("THIS CAMERA JUDGES EXPRESSIONS")
    page.get_by_label("It hangs where people read it").check()
    next_step("wizard: the sign")
    expect(page.get_by_label("What changes")).to_contain_text("site.name")
    walk.step("wizard: what is written", page)
    page.get_by_role("button", name="Write it").click()
    expect(page.locator("#said")).to_contain_text("This page has ended", timeout=PATIENCE_MS)
    walk.step("wizard: doctor", page)


def on_the_phone(walk: Walk, door: str, code: str) -> None:
    """Join, begin a shift, be paged, answer."""
    # A phone trusts the certificate after two taps in its settings, which a browser here has not.
    context = walk.browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, ignore_https_errors=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(door)
    walk.step("phone: how it comes to trust the pager", page)
    # A camera reads the second code; typed, it does the same.
    page.goto(re.sub(r"^http://(.*):\d+/$", r"https://\1:8090/", door))
    page.get_by_role("textbox").fill(code)
    walk.step("phone: the second code logs in", page)
    page.get_by_role("button").first.click()
    page.get_by_label("Your name").fill("Kim")
    walk.step("phone: a shift begins", page)
    page.get_by_role("button", name="Start shift").click()
    expect(page.locator("article.paging").first).to_be_visible(timeout=PATIENCE_MS)
    walk.step("phone: the first page", page)
    page.get_by_role("button", name="On my way").first.click()
    expect(page.locator("article").first).to_contain_text("on the way", timeout=PATIENCE_MS)
    walk.step("phone: answered", page)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python tests/walk.py", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=("bookworm", "trixie"), default="trixie")
    parser.add_argument("--tree", type=Path, default=Path("/var/tmp/edge-agent-walk"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/walk"), help="for the pictures; default: %(default)s")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("it boots a system: run it as root")
    options.out.mkdir(parents=True, exist_ok=True)
    debs = packages(options.suite)
    with sync_playwright() as playwright, computer(options.tree, options.suite, debs) as kiosk:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        walk = Walk(browser, options.out)
        go(walk, kiosk)
        browser.close()
    print("\n" + walk.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
