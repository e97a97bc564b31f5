"""Runs the benchmark suite, writes latest.json, prints a table and draws docs/performance.png: `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: What is asked, as a multiple of the reference.
_LIMITS = {"detect": 3.5, "classify": 0.5, "frame_with_faces[1]": 4.0, "frame_with_faces[5]": 6.0}
#: What is asked of the process.
_PROCESS_LIMITS = {
    "start_cold_s": 2.0,
    "cpu_percent_nobody": 3.0,
    "cpu_percent_one_face_5_hz": 15.0,
    "rss_mb_nobody": 120.0,
    "rss_mb_one_face_5_hz": 120.0,
    "page_latency_ms.p99": 50.0,
}


def main() -> int:
    """Measure; exit code 1 if anything is beyond its limit."""
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=30, help="to measure processor time over (default %(default)s)"
    )
    parser.add_argument("--hours", type=float, help="also watch memory for so long")
    parser.add_argument("--on-device", action="store_true", help="also print the board, its clock and throttling")
    parser.add_argument("--out", type=Path, default=HERE / "latest.json")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "stages": stages()}
    sys.path.insert(0, str(HERE))
    import imports
    import process

    result["imports"] = imports.measure()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result["process"] = process.measure(Path(folder), seconds=options.seconds)
        if options.hours:
            result["hours"] = process.over_hours(Path(folder), hours=options.hours)
        elif options.out.exists():  # hours are not measured every time
            result["hours"] = json.loads(options.out.read_text(encoding="utf-8")).get("hours")
    if options.on_device:
        result["board"] = board()
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text, within = as_text(result)
    print(text)
    draw(result, HERE.parent / "docs" / "performance.png")
    return 0 if within else 1


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith(("model name", "Model"))
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def board() -> dict[str, str]:
    """Return board, clock and throttling, where the system tells."""
    return {
        "board": "".join(_lines("/proc/device-tree/model")).strip("\0") or "unknown",
        "clock_khz": "".join(_lines("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")) or "unknown",
        "throttled": "".join(_lines("/sys/devices/platform/soc/soc:firmware/get_throttled")) or "unknown",
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def stages() -> dict[str, dict[str, float]]:
    """Return name → median and interquartile range in ms, measured twice, and how far the two medians differ."""
    runs = [_stages_once() for _ in range(2)]
    return {
        name: {
            "median_ms": round(min(first["median"], runs[1][name]["median"]) * 1000, 3),
            "iqr_ms": round(first["iqr"] * 1000, 3),
            "spread_percent": round(100 * abs(first["median"] / runs[1][name]["median"] - 1), 1),
        }
        for name, first in runs[0].items()
    }


def _stages_once() -> dict[str, dict[str, float]]:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stages.json"
        subprocess.run(
            [sys.executable, "-m", "pytest", str(HERE), "-q", "-p", "no:randomly", "--benchmark-disable-gc",
             f"--benchmark-json={file}"],
            env=environment, check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent,
        )  # fmt: skip
        found = json.loads(file.read_text())["benchmarks"]
    return {one["name"].removeprefix("test_"): one["stats"] for one in found}


def as_text(result: dict[str, Any]) -> tuple[str, bool]:
    """Return a table, and whether all is within its limit."""
    reference_ms = result["stages"]["reference"]["median_ms"]
    lines = [
        f"{result['machine']['processor']}, one thread; r = 512x512 float32 matrix product = {reference_ms:.2f} ms",
        "",
    ]
    lines.append(f"{'stage':26}{'median ms':>10}{'iqr':>8}{'/ r':>8}{'asked':>8}{'spread':>9}")
    within = True
    for name, one in result["stages"].items():
        ratio, limit = one["median_ms"] / reference_ms, _LIMITS.get(name)
        within &= limit is None or ratio <= limit
        asked = "" if limit is None else f"{limit:g}"
        lines.append(
            f"{name:26}{one['median_ms']:10.3f}{one['iqr_ms']:8.3f}{ratio:8.2f}{asked:>8}{one['spread_percent']:8.1f}%"
        )
    lines.append("")
    flat = {**result["process"], **{f"page_latency_ms.{k}": v for k, v in result["process"]["page_latency_ms"].items()}}
    for name, value in flat.items():
        if isinstance(value, dict):
            continue
        limit = _PROCESS_LIMITS.get(name)
        within &= limit is None or value <= limit
        lines.append(f"{name:26}{value:10.2f}" + ("" if limit is None else f"   asked: at most {limit:g}"))
    imported = result["imports"]
    lines += ["", f"{'import':26}{'ms':>10}{'MB':>8}"]
    lines += [f"{name:26}{ms:10.1f}{imported['mb'][name]:8.1f}" for name, ms in imported["ms"].items()]
    within &= not imported["optional"]
    lines.append(f"optional packages loaded: {', '.join(imported['optional']) or 'none'}")
    lines += [f"{name}: {value}" for name, value in result.get("board", {}).items()]
    return "\n".join(lines), within


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw how cost grows with faces, resolution, threads, frame rate and hours."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    reference_ms = result["stages"]["reference"]["median_ms"]
    figure, axes = plt.subplots(1, 5, figsize=(15, 3), layout="constrained")
    for axis, prefix, label in (
        (axes[0], "frame_with_faces[", "faces in a frame of 640x480"),
        (axes[1], "frame_of_size[", "picture, one face"),
        (axes[2], "frame_on_threads[", "threads"),
    ):
        points = {name[len(prefix) : -1]: one for name, one in result["stages"].items() if name.startswith(prefix)}
        ordered = sorted(points, key=lambda name: int(name.split("x")[0]))
        shown = [name.replace("x", "x\n") for name in ordered]
        axis.bar(shown, [points[name]["median_ms"] / reference_ms for name in ordered], color="#1f6feb")
        axis.set(xlabel=label, ylabel="time a frame / r", ylim=(0, 5))
    by_rate = result["process"]["cpu_percent_by_rate_hz"]
    axes[3].plot([int(rate) for rate in by_rate], list(by_rate.values()), marker="o", color="#1f6feb")
    axes[3].set(xlabel="frames a second, one face", ylabel="% of a core", xlim=(0, None), ylim=(0, None))
    hours = result.get("hours") or {"minutes": [], "rss_mb": []}
    axes[4].plot(hours["minutes"], hours["rss_mb"], color="#1f6feb")
    axes[4].set(xlabel="minutes", ylabel="resident memory, MB", xlim=(0, None), ylim=(0, 125))
    axes[4].axhline(120, color="#999", linestyle="--", linewidth=1)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
