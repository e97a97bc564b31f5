"""Runs other recognisers beside ours on the same clip and thread, and draws docs/peers.png: `make bench-peers`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_agent.demo import CLIPS

HERE = Path(__file__).parent
_NAMES = {
    "edge-agent": "edge-agent",
    "fer": "fer, as it comes",
    "haar": "Haar + mini-Xception",
    "mtcnn": "MTCNN + mini-Xception",
}
_FRAMES = 100


def main() -> int:
    """Print a table and draw it; the argument is the Python that has the peers."""
    theirs = sys.argv[1]
    rows: list[dict[str, Any]] = []
    for name, title in _NAMES.items():
        python = sys.executable if name == "edge-agent" else theirs
        done = subprocess.run(
            [python, str(HERE / "one.py"), name, str(CLIPS["one"]), str(_FRAMES)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{title}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            return 1
        rows.append({**json.loads(done.stdout.splitlines()[-1]), "name": title})
    ours = rows[0]
    print("| | ms a frame | frames a second | / r | times ours | frames with a face found | memory MB |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        ratio = row["ms"] / row["reference_ms"]
        times = ratio / (ours["ms"] / ours["reference_ms"])
        print(
            f"| {row['name']} | {row['ms']:.1f} | {1000 / row['ms']:.1f} | {ratio:.1f} | {times:.1f} | "
            f"{row['faces_in_percent_of_frames']:.0f} % | {row['rss_mb']} |"
        )
    (HERE / "latest.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw(rows, HERE.parents[1] / "docs" / "peers.png")
    return 0


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw frames a second and memory as bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [row["name"] for row in rows]
    colours = ["#1f6feb"] + ["#9aa7b2"] * (len(rows) - 1)
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.4), sharey=True, layout="constrained")
    for axis, values, label in (
        (axes[0], [1000 / row["ms"] for row in rows], "frames a second, one thread, 640x480, one face"),
        (axes[1], [row["rss_mb"] for row in rows], "memory, MB"),
    ):
        axis.bar_label(axis.barh(names, values, color=colours), fmt="%.0f", padding=3)
        axis.set_xlabel(label)
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
