"""`make update`: the next version beside the one that runs, and what happens where it is no good.

The script is the real one, below a folder of its own. What pip would build are little programs that ask the real
`check-config`; a stand-in for systemctl starts them as systemd would. `tests/boot_systemd.sh` has both for real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

PROGRAM = f"""#!/bin/sh
case $1 in
--version) echo "edge-agent VERSION" ;;
check-config) exec {sys.executable} -m edge_agent check-config "$2" ;;
run) STARTS ;;
esac
"""
#: Runs what the link leads to; one that exits with 7 is started again a moment later, as Restart=always has it.
SYSTEMCTL = """#!/bin/sh
case $1 in
restart)
    echo "$2" >> "$ROOT/log"
    rm -f "$ROOT/again"
    "$ROOT/opt/edge-agent/bin/edge-agent" run && echo "$(wc -l < "$ROOT/log")" > "$ROOT/pid.$2" && exit 0
    if [ $? = 7 ]; then echo 1 > "$ROOT/pid.$2"; touch "$ROOT/again"; exit 0; fi
    rm -f "$ROOT/pid.$2"; exit 1 ;;
is-active) test -f "$ROOT/pid.$3" ;;
show) cat "$ROOT/pid.$2"; if [ -f "$ROOT/again" ]; then echo 2 > "$ROOT/pid.$2"; fi ;;
esac
"""
UNIT = "edge-agent.service"


class Computer:
    """One on which version 1 was installed and runs."""

    def __init__(self, folder: Path) -> None:
        self.root, self.clone = folder / "root", folder / "clone"
        tools = folder / "tools"
        tools.mkdir(parents=True)
        self._write(tools / "systemctl", SYSTEMCTL)
        self._write(tools / "journalctl", "#!/bin/sh\necho 'why it ended'\n")
        self.environment = {
            **os.environ, "ROOT": str(self.root), "SETTLE_S": "0", "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
        }  # fmt: skip
        self._write(self.root / "opt" / "edge-agent" / "bin" / "edge-agent", self._program("1", "true"))
        self._write(self.root / "etc" / "edge-agent" / "config.yaml", "site: {name: lobby}\n")
        self.unit = self.root / "etc" / "systemd" / "system" / UNIT
        self._write(self.unit, "unit of 1\n")
        self._write(self.root / f"pid.{UNIT}", "0\n")

    @staticmethod
    def _program(version: str, starts: str) -> str:
        return PROGRAM.replace("VERSION", version).replace("STARTS", starts)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def update(self, version: str = "", *options: str, starts: str = "true", builds: str = "true"):
        """Run the script of a clone of a version, whose `run` does what `starts` says."""
        if version:
            shutil.rmtree(self.clone, ignore_errors=True)
            self._write(self.clone / "systemd" / "program.sh", f'program() {{ mkdir -p "$1/bin"; {builds} || return 1; '
                        'cp program "$1/bin/edge-agent"; }\n')  # fmt: skip
            shutil.copy(REPOSITORY / "systemd" / "update.sh", self.clone / "systemd")
            self._write(self.clone / "systemd" / UNIT, f"unit of {version}\n")
            self._write(self.clone / "program", self._program(version, starts))
        command = ["sh", str(self.clone / "systemd" / "update.sh"), *options]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)

    @property
    def runs(self) -> str:
        program = self.root / "opt" / "edge-agent" / "bin" / "edge-agent"
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        assert self.unit.read_text() == f"unit of {said.split()[-1]}\n"
        return said.split()[-1]

    @property
    def restarts(self) -> int:
        log = self.root / "log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    @property
    def kept(self) -> int:
        versions = self.root / "opt" / "edge-agent.versions"
        return sum(not path.is_symlink() and path.is_dir() for path in versions.iterdir())


@pytest.fixture
def computer(tmp_path) -> Computer:
    return Computer(tmp_path)


def test_an_update_runs_and_two_versions_are_kept(computer):
    done = computer.update("2")
    assert done.returncode == 0, done.stderr
    assert (computer.runs, computer.kept, computer.restarts) == ("2", 2, 1)
    assert "edge-agent 2 runs" in done.stdout
    assert computer.update("3", starts="true").returncode == 0
    assert (computer.runs, computer.kept) == ("3", 2)


def test_the_way_back_leads_there_and_back_again(computer):
    assert computer.update("2").returncode == 0
    for version in ("1", "2"):
        done = computer.update("", "--rollback")
        assert done.returncode == 0, done.stderr
        assert computer.runs == version


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"builds": "false"}, "could not be built; nothing was changed"),
        ({"starts": "exit 1"}, "the version before runs again"),
        ({"starts": "exit 7"}, "the version before runs again"),
    ],
)
def test_a_version_that_is_no_good_leaves_the_one_that_ran(computer, broken, said):
    failed = computer.update("2", **broken)
    assert failed.returncode == 1
    assert said in failed.stderr
    assert (computer.runs, computer.kept) == ("1", 1 if "starts" in broken else 0)
    refused = computer.update("", "--rollback")
    assert (refused.returncode, "no version before" in refused.stderr) == (1, True)


def test_a_configuration_that_the_new_version_does_not_take_stops_the_update(computer):
    (computer.root / "etc" / "edge-agent" / "config.yaml").write_text("nonsense: 1\n")
    failed = computer.update("2")
    assert failed.returncode == 1
    assert "nonsense" in failed.stderr
    assert "nothing was changed" in failed.stderr
    assert (computer.runs, computer.restarts) == ("1", 0)


def test_where_nothing_is_installed_it_says_what_to_do(computer):
    computer.unit.unlink()
    failed = computer.update("2")
    assert (failed.returncode, "apt install" in failed.stderr) == (1, True)
