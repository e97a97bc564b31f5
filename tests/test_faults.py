"""The tool that stages faults begins from any folder, and tells what became of the pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_fault_is_staged_and_counted(tmp_path):
    # Spoiling a staged model takes what only a clone has: the converter, and the helpers of these tests.
    tool = Path(__file__).parent / "faults"
    only = ["--share", "0.1", "--only", "staged model: bits"]
    told = subprocess.run(
        [sys.executable, tool, *only],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
    )
    name, tried, raised, delivered, shown_once, lost, doubled, broke, note = (
        cell.strip() for cell in told.stdout.splitlines()[-1].strip("|").split("|")
    )
    assert (name, tried, lost, doubled, broke) == ("staged model: bits turned", "1", "0", "0", "0")
    assert int(raised) == int(delivered) == int(shown_once) >= 1
    assert note == "said so 1 times"
