"""A run that was killed is told by the next one, and one killed for lack of memory from one that crashed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, REPOSITORY

from edge_agent.agent.last_end import LAST_END, STOPPED, bad_end

UNIT = (REPOSITORY / "systemd" / "edge-agent.service").read_text()
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
LIMIT_BYTES = 48_000_000


def unit_command(name: str, folder: Path, **environment: str) -> None:
    """Run what the unit runs before and after the agent, as systemd does."""
    command = re.search(rf"^{name}=/bin/sh -c '(.*)'$", UNIT, re.MULTILINE)[1]
    environment = {"STATE_DIRECTORY": str(folder), "PATH": os.environ["PATH"], **environment}
    subprocess.run(["/bin/sh", "-c", command], env=environment, check=True)


def end_of(folder: Path, result: str, status: str) -> str:
    unit_command("ExecStartPre", folder)
    unit_command("ExecStopPost", folder, SERVICE_RESULT=result, EXIT_STATUS=status)
    end = bad_end(folder)
    return f"{end.kind}: {end.detail}" if end else ""


@pytest.mark.parametrize(
    ("result", "status", "told"),
    [
        ("oom-kill", "KILL", r"out_of_memory: the kernel ended .* \(MemoryMax\)"),
        ("core-dump", "SEGV", "crashed: signal SEGV ended"),
        ("signal", "KILL", "crashed: signal KILL ended"),
        ("watchdog", "ABRT", "crashed: the last run stood still"),
        ("success", "0", "$"),
        ("exit-code", "3", "$"),  # it said itself what was wrong
    ],
)
def test_what_the_unit_writes_at_its_end_is_what_is_read(tmp_path, result, status, told):
    assert re.match(told, end_of(tmp_path, result, status))


def test_what_is_no_such_file_is_no_end(tmp_path):
    assert bad_end(tmp_path) is None
    for content in (b"", b"\xff\n\n\n", b"oom-kill\0"):
        (tmp_path / LAST_END).write_bytes(content)
        assert bad_end(tmp_path) is None


@pytest.fixture
def memory_group():
    """A control group (cgroups(7), version 1 or 2) with little memory; returns its folder."""
    for root in MEMORY_GROUPS:
        group = root / f"edge-agent-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            names = ["memory.limit_in_bytes"] if root.name == "memory" else ["memory.max", "memory.swap.max"]
            try:
                for name in names:
                    (group / name).write_text("0" if "swap" in name else str(LIMIT_BYTES))
            except OSError:
                group.rmdir()
                continue
            yield group
            group.rmdir()
            return
    pytest.skip("needs the right to make a control group with a memory controller")


def test_a_run_after_one_killed_for_its_memory_tells_so(
    edge_agent, listen, site, write_config, tmp_path, memory_group, monkeypatch
):
    """The kernel really kills one; its state folder is not the unit's, and systemd sees nothing but a signal."""
    units_folder = tmp_path / "unit"
    units_folder.mkdir()
    config = write_config()
    unit_command("ExecStartPre", units_folder)
    enter = f"open({str(memory_group / 'cgroup.procs')!r}, 'w').write('0'); import edge_agent.cli as c; c.main()"
    killed = subprocess.run([sys.executable, "-c", enter, "run", "--config", config], timeout=PATIENCE_S, check=False)
    assert killed.returncode == -signal.SIGKILL
    unit_command("ExecStopPost", units_folder, SERVICE_RESULT="signal", EXIT_STATUS="KILL")

    monkeypatch.setenv("STATE_DIRECTORY", str(units_folder))
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", config)
    assert "lack of memory" in listener.wait_for_json("/event", kind="out_of_memory")["detail"]
    assert bad_end(tmp_path / "state").kind == "out_of_memory"
    # Then the power goes: no ExecStopPost, and nobody is told of the earlier end once more.
    agent.kill()
    agent.wait()
    again = edge_agent("run", "--config", config)
    assert any("delivers frames" in line for line in again.stderr)
    assert bad_end(tmp_path / "state") is None
    assert not (units_folder / STOPPED).exists()
