"""Runs a chain on this computer: a broker cluster, thousands of kiosks, some pagers; kills a node: `make fleet`."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from cluster import Cluster

from edge_agent.config import Mqtt
from edge_agent.delivery.mqtt import MqttBus
from edge_agent.pager.client import Pager
from edge_agent.pager.page import Page

#: Each kiosk has six open files, and paho waits with select(), which knows no file beyond the 1,024th.
_PER_PROCESS = 125


class Staff:
    """One pager that shows every page of the chain; it remembers when each was first shown, and how often."""

    def __init__(self, port: int, number: int) -> None:
        self._wake, self._stop = threading.Event(), threading.Event()
        self.bus = MqttBus(
            Mqtt(port=port, protocol="3.1.1", connect_retry_max_s=5.0), client_id=f"fleet-pager-{number}",
            password=None, subscriptions=["kiosk/v1/fleet/+/alert/+"], wake=self._wake.set,
        )  # fmt: skip
        self.shown: Counter[str] = Counter()
        self.first_s: dict[str, float] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.bus.start()
        self._thread.start()

    def _serve(self) -> None:
        pager = Pager(self.bus, name="fleet")
        while not self._stop.is_set():
            self._wake.wait(0.05)
            self._wake.clear()
            for item in pager.poll():
                if isinstance(item, Page) and item.step == "raised":
                    self.shown[item.id] += 1
                    self.first_s.setdefault(item.id, time.time())

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.bus.stop()


def main() -> int:
    """Print the table; exit code 1 if an alert was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python tests/fleet", description=__doc__)
    parser.add_argument("--kiosks", type=int, default=2000)
    parser.add_argument("--pagers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120, help="how long alerts are raised (default %(default)s)")
    parser.add_argument("--every", type=float, default=60, help="seconds between two alerts of a kiosk")
    options = parser.parse_args()
    # Thousands of connections, and six files for each kiosk.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # In memory: what three nodes write for thousands of sessions is more than one disk takes.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fleet-cluster-", dir=memory) as folder:
        say("starting three nodes ...")
        cluster = Cluster(Path(folder))
        try:
            return play(cluster, options)
        finally:
            cluster.stop()


def play(cluster: Cluster, options: argparse.Namespace) -> int:
    staff = [Staff(cluster.port, number) for number in range(options.pagers)]
    while not all(one.bus.connected for one in staff):
        time.sleep(0.1)
    say(f"starting {options.kiosks} kiosks ...")
    here = Path(__file__).parent
    processes = [
        subprocess.Popen(
            [sys.executable, str(here / "kiosks.py"), str(cluster.port), str(first),
             str(min(_PER_PROCESS, options.kiosks - first)), str(options.every)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for first in range(0, options.kiosks, _PER_PROCESS)
    ]  # fmt: skip
    # Each session is a replicated queue of the cluster's, which takes its time to make thousands.
    started_s = time.monotonic()
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    say(f"all connected after {time.monotonic() - started_s:.0f} s; people get angry ...")
    for process in processes:
        tell(process)
    time.sleep(options.seconds / 2)
    say(f"{len(staff[0].shown)} pages so far; killing a node")
    killed_s = time.time()
    cluster.kill_node(1)
    time.sleep(options.seconds / 2)
    for process in processes:
        tell(process)
    say("no new alerts; waiting until nothing comes any more ...")
    quiet_since_s, before = time.monotonic(), -1
    while time.monotonic() - quiet_since_s < 45:
        time.sleep(1)
        count = sum(sum(one.shown.values()) for one in staff)
        if count != before:
            quiet_since_s, before = time.monotonic(), count
    raised: dict[str, float] = {}
    waiting = connected = 0
    for process in processes:
        tell(process)
    for process in processes:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        raised.update(said["raised"])
        waiting, connected = waiting + said["waiting"], connected + said["connected"]
        process.kill()
    for one in staff:
        one.close()
    return report(raised, staff, killed_s=killed_s, waiting=waiting, connected=connected, kiosks=options.kiosks)


def report(
    raised: dict[str, float], staff: list[Staff], *, killed_s: float, waiting: int, connected: int, kiosks: int
) -> int:
    print("| pager | raised | shown | lost | doubled | p50 s | p99 s | p99 s, node alive | longest s |")
    print("|---|---|---|---|---|---|---|---|---|")
    bad = 0
    for number, one in enumerate(staff):
        took = {alert: one.first_s[alert] - since for alert, since in raised.items() if alert in one.first_s}
        calm = [s for alert, s in took.items() if raised[alert] < killed_s - 5]
        lost = len(set(raised) - set(one.shown))
        doubled = sum(times > 1 for times in one.shown.values())
        bad += lost + doubled
        print(
            f"| {number} | {len(raised)} | {len(took)} | {lost} | {doubled} | {rank(took.values(), 50):.2f} | "
            f"{rank(took.values(), 99):.2f} | {rank(calm, 99):.2f} | {max(took.values(), default=0):.2f} |"
        )
    print(f"\n{connected} of {kiosks} kiosks connected at the end; {waiting} messages still wait in their outboxes")
    return 1 if bad else 0


def rank(values, percent: float) -> float:  # type: ignore[no-untyped-def]
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
