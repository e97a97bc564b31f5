"""Measures what the running agent imports: time (`python -X importtime`) and memory, by package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from typing import Any

#: What `edge-agent run` is made of, in the order it is imported, heaviest dependencies first.
_ORDER = ("numpy", "cv2", "ai_edge_litert.interpreter", "sqlite3", "yaml", "paho.mqtt.client", "edge_agent.agent.build")
#: Not to be loaded unless something in the configuration asks for it.
_OPTIONAL = ("aiohttp", "cryptography", "picamera2", "prometheus_client", "rich")
_MEMORY = """
import importlib, json, sys
def rss():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024
grown, before = {"interpreter": round(rss(), 1)}, rss()
for name in sys.argv[1].split():
    importlib.import_module(name)
    grown[name.split(".")[0]], before = round(rss() - before, 1), rss()
print(json.dumps({"mb": grown, "loaded": sorted(name for name in sys.argv[2].split() if name in sys.modules)}))
"""


def measure() -> dict[str, dict[str, float] | list[str]]:
    """Return `ms` and `mb` by package, and `optional`, what was loaded without being asked for."""
    child = [sys.executable, "-c", _MEMORY, " ".join(_ORDER), " ".join(_OPTIONAL)]
    memory: dict[str, Any] = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
    times: Counter[str] = Counter()
    traced = [sys.executable, "-X", "importtime", "-c", f"import {', '.join(_ORDER)}"]
    for line in subprocess.run(traced, capture_output=True, text=True, check=True).stderr.splitlines():
        if match := re.fullmatch(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", line):
            package = match[2].split(".")[0]
            times[package if package in memory["mb"] else "interpreter"] += int(match[1])
    return {
        "ms": {name: round(times[name] / 1000, 1) for name in memory["mb"]},
        "mb": memory["mb"],
        "optional": memory["loaded"],
    }
