"""Every command of the documentation: run by a shell in a folder of its own, or, where it cannot be, checked.

The shell knows the commands below and no others, so that a page cannot have one that nothing here has seen.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import paho.mqtt.client as paho
import pytest
import yaml
from conftest import PATIENCE_S, REPOSITORY
from documented import blocks, check_arguments, check_make, check_options, named, tracked
from paho.mqtt.enums import CallbackAPIVersion
from test_packages import build  # noqa: F401  a fixture

import edge_agent
from edge_agent.config import load_config
from edge_agent.delivery.messages import SCHEMA_DIR
from edge_agent.testing import free_port

README = REPOSITORY / "README.md"
BROKER, INSTALL, PAGERS = (REPOSITORY / "docs" / f"{name}.md" for name in ("broker", "install", "pagers"))
PAGES = [README, *sorted((REPOSITORY / "docs").rglob("*.md"))]
#: These set up computers that talk to each other.
TOGETHER = (README, BROKER, INSTALL, PAGERS)
PASSWORD = "open-sesame"
ALERT = "01J9ZK3V5W8X2Y4T6R7Q1P0N3M"

#: Command → the shell's lines that run it. "$@" are its arguments.
RUN = {
    "cat": 'exec cat "$@"',
    "edge-agent check-config": f'PYTHONPATH={REPOSITORY} exec {sys.executable} -m edge_agent "$@"',
    # Users and groups of the installed services are not on this computer.
    "install": 'exec install $(printf "%s\\n" "$*" | sed -E "s/-[go] +[^ ]+//g")',
    "mosquitto_passwd": f'printf "{PASSWORD}\\n{PASSWORD}\\n" | mosquitto_passwd "$@"',
    "mosquitto_pub": 'exec mosquitto_pub "$@"',
    "mosquitto_sub": 'exec mosquitto_sub -E "$@"',  # ends once the broker has granted it
    "sh": 'exec sh "$@"',
}
#: Command → why it is not run. What becomes of its arguments is in `check`.
NOT_RUN = {
    ".venv/bin/pip": "fetches from PyPI",
    "apt": "root and a network",
    "chown": "a user of the installed broker",
    "edge-agent": "cameras, a day's counts or somebody at a pager; each has tests of its own",
    "ffmpeg": "a camera",
    "git": "a network, and the whole history",
    "journalctl": "systemd, and it does not end",
    "make": "minutes, or root",
    "modprobe": "root and a kernel module",
    "pipx": "fetches from PyPI",
    "podman": "images",
    "python": "hours of training",
    "rpicam-vid": "a camera",
    "ssh": "another computer",
    "systemctl": "root and systemd",
    "systemd-tmpfiles": "root",
    "tee": "folders of the kernel's modules",
}
#: What a page takes out of the history before it uses it.
RESTORED = {"trainer/runs/fer-compact-2"}
#: Units that the documentation handles and Debian brings.
DEBIAN_UNITS = {"mosquitto"}
#: First keys of blocks that are another program's: Home Assistant's and Prometheus'.
OTHERS = {"home-assistant.md": {"alias"}, "monitoring.md": {"groups"}}


def identify(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


class Stage:
    """A computer as the pages assume it: folders /etc and /root, a clone, and the commands above."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.record = root / "record"
        self.record.touch()
        shutil.copytree(REPOSITORY / "systemd", root / "edge-agent" / "systemd")
        for path in (root / "edge-agent").rglob("*.*"):
            if path.is_file():
                path.write_text(self.here(path.read_text()))
        for folder in ("edge-agent/config.d", "edge-pager/config.d", "mosquitto/conf.d", "systemd/system"):
            (root / "etc" / folder).mkdir(parents=True)
        (root / "staff-password").write_text(PASSWORD)
        for name in ("fullchain.pem", "privkey.pem", "staff.yaml"):
            (root / name).touch()
        self._write_commands()

    def _write_commands(self) -> None:
        """Write the commands: those that are not run keep what they were called with."""
        keep = f'{{ printf "%s" "${{0#{self.root}/}}"; printf "\\037%s" "$@"; printf "\\036"; }} >> {self.record}\n'
        lines = dict.fromkeys(NOT_RUN, keep)
        for name, does in RUN.items():
            command, _, first = name.partition(" ")
            does = f"export PATH={os.environ['PATH']}:/usr/sbin\n{does}\n"
            lines[command] = f'if [ "$1" = {first} ]; then\n{does}fi\n{keep}' if first else does
        lines["sudo"] = '[ "$1" != -u ] || shift 2\nexec "$@"\n'
        for name, text in lines.items():
            path = self.root / name if "/" in name else self.root / "bin" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{text}")
            path.chmod(0o755)

    def here(self, text: str) -> str:
        """Return a text in which folders and broker of the pages are those of the stage."""
        text = re.sub(r"(?<![\w.])/(?=(?:etc|root)/)", f"{self.root}/", text)
        text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        text = text.replace("persistence true", "persistence false")
        return text.replace("broker.lan", "localhost").replace("8883", str(self.port))

    def write_files(self, page: Path, service: str) -> None:
        """Write what an installed service has in /etc, and beside it the configuration that a page says to write."""
        folder = self.root / "etc" / service
        if service == "edge-agent":
            script = REPOSITORY / "systemd" / "installed-paths.sed"
            shipped = run("sed", "-f", script, REPOSITORY / "config.yaml").stdout
        else:
            shipped = (REPOSITORY / "systemd" / f"{service}.yaml").read_text()
        (folder / "config.yaml").write_text(self.here(shipped))
        shutil.copy(self.root / "etc/mosquitto/certs/ca.pem", folder / "ca.pem")
        for name in ("mqtt-password", "token"):
            (folder / name).write_text(f"{PASSWORD}\n")
            (folder / name).chmod(0o600)
        for number, block in enumerate(blocks(page)):
            if block.language == "yaml":
                (folder / "config.d" / f"{number:02}-site.yaml").write_text(self.here(block.text))

    def run(self, page: Path) -> list[list[str]]:
        """Run the blocks of a page; return the words of each command that was not run."""
        self.record.write_text("")
        for block in blocks(page):
            if block.language == "sh":
                text = re.sub("<the [a-z ]+>", "https://git.example/edge-agent.git", block.text)
                environment = {"PATH": str(self.root / "bin"), "ID": ALERT, "RENEWED_LINEAGE": str(self.root)}
                done = run("/bin/sh", "-euc", self.here(text), cwd=self.root, env=environment)
                unknown = re.findall(r"(\S+): not found", done.stderr)
                assert not unknown, f"{page.name}:{block.line}: say in RUN or NOT_RUN what {unknown} is"
                assert done.returncode == 0, f"{page.name}:{block.line}: {done.stdout}{done.stderr}"
        calls = self.record.read_text().split("\036")[:-1]
        return [[word for word in call.removeprefix("bin/").split("\037") if word] for call in calls]


def run(*command: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def packages(build) -> set[str]:  # noqa: F811
    """Return the names of the files that `make packages` makes."""
    debs = itertools.product(build.PACKAGES, build.SUITES, build.PLATFORMS)
    return {build.deb_name(*deb) for deb in debs} | {f"edge_agent-{edge_agent.__version__}-py3-none-any.whl"}


@pytest.fixture
def check(packages, capsys):
    """Return what fails where a command that was not run could not be."""

    def check(words: list[str]) -> None:
        command, *arguments = words
        if command == "make":
            check_make(arguments)
        elif command in ("edge-agent", "python"):
            check_arguments(words, capsys)
        elif command == "systemctl":
            units = {word for word in arguments[1:] if not word.startswith("-")} - DEBIAN_UNITS
            assert all(tracked(f"systemd/{unit}.service") for unit in units), units
        elif command == "apt":
            assert {word.removeprefix("./") for word in arguments if word.endswith(".deb")} <= packages
        for word in arguments:
            if re.match(r"(requirements|systemd|trainer|edge_agent|packaging)/", word) and word not in RESTORED:
                assert tracked(word), f"{command} wants {word}, which is not in the repository"

    return check


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in (README, BROKER, INSTALL, PAGERS)], ids=identify
)
def test_the_commands_of_its_blocks_work(page, stage, check):
    if any(block.language == "sh" for block in blocks(page)):
        for words in stage.run(page):
            check(words)


def test_the_broker_that_a_page_makes_takes_kiosk_and_pager_as_other_pages_set_them_up(stage, check, start_mosquitto):
    called = stage.run(BROKER)
    lines = (stage.root / "etc/mosquitto/conf.d/edge-agent.conf").read_text()
    start_mosquitto(*lines.splitlines(), port=stage.port, listener=False)
    for page, service in ((INSTALL, "edge-agent"), (PAGERS, "edge-pager")):
        stage.write_files(page, service)
        called += stage.run(page)
    shutil.copy(stage.root / "etc/mosquitto/certs/ca.pem", stage.root / "ca.pem")
    answers = queue.Queue()
    staff = paho.Client(CallbackAPIVersion.VERSION2)
    staff.tls_set(str(stage.root / "ca.pem"))
    staff.username_pw_set("staff", PASSWORD)
    granted = threading.Event()
    staff.on_message = lambda _client, _data, message: answers.put(message)
    staff.on_connect = lambda client, *_: client.subscribe("kiosk/#", qos=1)
    staff.on_subscribe = lambda *_: granted.set()
    staff.connect("localhost", stage.port)
    staff.loop_start()
    assert granted.wait(PATIENCE_S)
    called += stage.run(README)
    answer = answers.get(timeout=PATIENCE_S)
    staff.disconnect()
    staff.loop_stop()
    assert answer.topic == f"kiosk/v1/lobby/kiosk-1/ack/{ALERT}"
    jsonschema.validate(json.loads(answer.payload), json.loads((SCHEMA_DIR / "ack.json").read_text()))
    for words in called:
        check(words)


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_the_commands_and_packages_that_its_text_names_exist(page, packages):
    for words in named(page):
        if words[0] == "make":
            check_make(words[1:])
        else:
            check_options(words)
    assert set(re.findall(r"edge[-_]agent[-\w.+]*\.(?:deb|whl)", page.read_text())) <= packages


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_the_configuration_of_its_blocks_is_understood(page, tmp_path):
    for block in blocks(page):
        if block.language == "yaml" and next(iter(yaml.safe_load(block.text))) not in OTHERS.get(page.name, ()):
            (tmp_path / "config.yaml").write_text(block.text)
            load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_no_block_hides_commands_under_another_name(page):
    known = {name.split()[0] for name in (*RUN, *NOT_RUN, "sudo")}
    for block in blocks(page):
        assert block.language in ("sh", "yaml", "csv", "html", "ini", "xml", ""), f"{page.name}:{block.line}"
        if block.language != "sh":
            assert not known & {line.split()[0] for line in block.text.splitlines() if line.strip()}
