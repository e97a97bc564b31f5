"""A run that was killed for its memory is told from a crash."""

from __future__ import annotations

import re
import subprocess

import pytest
from conftest import REPOSITORY

from edge_agent.agent.last_end import FILE_NAME, end_problem


@pytest.mark.parametrize(("result", "told"), [("oom-kill", True), ("success", False), ("core-dump", False)])
def test_what_the_unit_writes_at_its_end_is_what_is_read(tmp_path, result, told):
    unit = (REPOSITORY / "systemd" / "edge-agent.service").read_text()
    command = re.search(r"^ExecStopPost=/bin/sh -c '(.*)'$", unit, re.MULTILINE)[1]
    path = re.search(r"> (/\S+)$", command)[1]
    assert path == f"/var/lib/edge-agent/{FILE_NAME}"
    command = command.replace(path, str(tmp_path / FILE_NAME))
    subprocess.run(["/bin/sh", "-c", command], env={"SERVICE_RESULT": result}, check=True)
    assert ("more memory than it may" in end_problem(tmp_path)) is told


def test_a_run_after_one_killed_for_its_memory_tells_so(edge_agent, listen, site, write_config, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE_NAME).write_text("oom-kill\n")
    listener = listen(f"kiosk/v1/{site}/#")
    edge_agent("run", "--config", write_config())
    assert "smaller stream" in listener.wait_for_json("/event", kind="out_of_memory")["detail"]
