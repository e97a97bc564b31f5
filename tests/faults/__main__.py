"""Stages faults with the real parts and counts what became of every alert: `make faults`.

The agent runs as a process of its own, mosquitto too, and the pager is the one staff use. The camera is a folder of
frames, or a network camera, in which somebody is angry all the time; the pager resolves each page as soon as it is
shown, so that the next is raised at once and every fault falls among alerts in all stages of their lives.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from devices import DEVICE_FAULTS
from links import LINK_FAULTS
from processes import PROCESS_FAULTS
from stage import Row, Scene
from state_folder import STATE_FAULTS, fuzz_outbox
from strangers import STRANGER_FAULTS

from edge_agent.testing import angry_frames

FAULTS = {**PROCESS_FAULTS, **DEVICE_FAULTS, **LINK_FAULTS, **STATE_FAULTS, **STRANGER_FAULTS}


def as_table(rows: list[Row]) -> str:
    """Return Markdown."""
    names = ("fault", "tried", "raised", "delivered", "shown once", "lost", "doubled", "broke", "")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = (
            row.fault,
            row.tried,
            row.raised,
            row.delivered,
            row.shown_once,
            row.lost,
            row.doubled,
            row.broke,
            row.note,
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def rows(share: float, only: str, seed: int) -> Iterator[Row]:
    """Yield one row after the other."""
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        frames = angry_frames(folder / "frames")
        for fault_name, fault in FAULTS.items():
            if re.search(only, fault_name):
                scene = Scene(folder / re.sub(r"\W", "-", fault_name), frames, chance)
                yield scene.run(fault_name, fault, tries=max(1, round(fault.tries * share)))
        if re.search(only, "bits turned in the outbox, read at once"):
            yield fuzz_outbox(folder, max(10, round(2_000 * share)), chance)


def main() -> int:
    """Print the table; exit code 1 if an alert was lost or doubled, or anything broke."""
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of tries, e.g. 0.05")
    parser.add_argument("--only", default="", help="faults whose name matches this")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = []
    for row in rows(options.share, options.only, options.seed):
        found.append(row)
        print("\n" + as_table([row]).splitlines()[-1], flush=True)
    print("\n" + as_table(found))
    bad = [row for row in found if row.lost or row.doubled or row.broke or (row.tried and not row.works)]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
