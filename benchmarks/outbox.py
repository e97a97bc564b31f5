"""How long an outbox of many messages takes for each message that has to make room: `python benchmarks/outbox.py`."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from edge_agent.delivery.messages import Message
from edge_agent.delivery.outbox import Outbox

_PAYLOAD = b"x" * 300


def main() -> None:
    """Fill an outbox to its limit and print what another message takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="outbox-") as folder:
        # Filled with room to spare, in one transaction: to fill it is not what is measured.
        full = Outbox(Path(folder), max_bytes=10 * options.rows * len(_PAYLOAD), unix=time.time)
        full.add(*(Message(f"kiosk/v1/s/d/alert/{number}", _PAYLOAD) for number in range(options.rows)))
        full.close()
        began_s = time.perf_counter()
        outbox = Outbox(Path(folder), max_bytes=options.rows * len(_PAYLOAD), unix=time.time)
        print(f"{options.rows:,} messages: opened in {time.perf_counter() - began_s:.1f} s")
        took_s = []
        for number in range(options.times):
            began_s = time.perf_counter()
            _, evicted = outbox.add(Message(f"kiosk/v1/s/d/alert/new-{number}", _PAYLOAD))
            took_s.append(time.perf_counter() - began_s)
            assert len(evicted) == 1
        outbox.close()
    middle, worst = statistics.median(took_s) * 1000, max(took_s) * 1000
    print(f"a message that has to make room: median {middle:.1f} ms, longest {worst:.1f} ms")


if __name__ == "__main__":
    main()
