"""Gives every parser that reads what strangers send 100,000 odd inputs: `make fuzz`.

Each target runs in a process of its own. The table says of each how many inputs it had, how many it read and refused,
in how many different ways, the worst processor time of one input, and how much memory the process grew by, hypothesis'
own included. What failed is written to a folder, as Python writes it.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

# Or they say what is wrong with each clip on standard error.
os.environ |= {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}

from fuzz.targets import TARGETS, Target

#: An input that takes longer is a failure; one that takes much longer is given up.
SLOW_S, HUNG_S = 1.0, 20.0
#: A target that wants more memory is refused it.
MAX_BYTES = 6 * 2**30
#: hypothesis remembers what it tried: so many at a time.
_BATCH = 5000
#: Inputs of one example: what hypothesis does for each example takes longer than most parsers do.
_AT_ONCE = 10


@dataclass
class Found:
    """What became of the inputs of one target."""

    name: str
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    worst_s: float = 0.0
    grown_mb: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)
    failed: int = 0

    def row(self) -> str:
        """Return a line of Markdown."""
        accepted = sum(count for outcome, count in self.outcomes.items() if not outcome.startswith("refused"))
        ways = len(self.outcomes)
        return (
            f"| {self.name} | {self.inputs:,} | {accepted:,} | {self.inputs - accepted - self.failed:,} | {ways} "
            f"| {self.worst_s * 1000:.0f} | {self.grown_mb:.0f} | {self.failed} |"
        )


HEADER = (
    "| parser | inputs | read | refused | outcomes | worst, ms | memory, MB | failures |\n"
    + "|---|---|---|---|---|---|---|---|"
)


def run(target: Target, count: int, *, first_seed: int, folder: Path) -> Found:
    """Give a target so many inputs; go on after failures."""
    found = Found(target.name)

    def one(value: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, HUNG_S)
        began_s = time.process_time()
        try:
            outcome = target.check(value)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            _keep(found, f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}", value, folder, error)
            outcome = ""
        signal.setitimer(signal.ITIMER_REAL, 0)
        took_s = time.process_time() - began_s
        found.inputs += 1
        found.worst_s = max(found.worst_s, took_s)
        if took_s > SLOW_S and outcome:
            _keep(found, f"slow, {took_s:.1f} s", value, folder, None)
        elif outcome:
            found.outcomes[outcome] += 1

    def hung(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"more than {HUNG_S:g} s")

    signal.signal(signal.SIGALRM, hung)
    one_of_each(target, one)
    before_mb = _peak_mb()
    number = 0
    while found.inputs < count:
        size = -(-min(_BATCH, count - found.inputs) // _AT_ONCE)
        quiet = settings(
            max_examples=size,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        some = st.tuples(*[target.inputs] * _AT_ONCE)
        seed(first_seed + number)(quiet(given(some)(lambda values: [one(value) for value in values] and None)))()
        number += 1
        print(f"{target.name}: {found.inputs:,} of {count:,}, {found.failed} failed", flush=True)
    found.grown_mb = _peak_mb() - before_mb
    return found


def one_of_each(target: Target, one: Any) -> None:
    """Try a few, so that what is imported and cached on first use does not count."""
    few = settings(
        max_examples=20, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    seed(0)(few(given(target.inputs)(lambda value: _quietly(target, value))))()


def _quietly(target: Target, value: Any) -> None:
    try:
        target.check(value)
    except Exception:  # the run itself counts failures
        return


def _keep(found: Found, kind: str, value: Any, folder: Path, error: BaseException | None) -> None:
    found.failed += 1
    if kind in found.failures:
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = repr(value)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    path = folder / f"{re.sub(r'[^a-z0-9]+', '-', found.name.lower())}-{digest}.txt"
    trace = "" if error is None else "".join(traceback.format_exception(error))
    path.write_text(f"{found.name}: {kind}\n\n{trace}\n{text}\n", encoding="utf-8", errors="backslashreplace")
    found.failures[kind] = str(path)
    print(f"{found.name}: FAILED, {kind}: {text[:200]!a}", flush=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_a_process(target: Target, count: int, first_seed: int, folder: Path, results: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    results.put(run(target, count, first_seed=first_seed, folder=folder))


def main() -> int:
    """Print the table; exit code 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each target (default %(default)s)")
    parser.add_argument("--only", default="", help="targets whose name matches this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="default: %(default)s")
    options = parser.parse_args()
    table: list[Found] = []
    context = multiprocessing.get_context("spawn" if sys.platform == "darwin" else "fork")
    for target in TARGETS:
        if not re.search(options.only, target.name):
            continue
        count = max(1, round(options.inputs * target.share))
        results = context.Queue()
        process = context.Process(
            target=_in_a_process, args=(target, count, options.seed, options.failures, results), daemon=True
        )
        process.start()
        found = _result(process, results) or Found(
            target.name, failed=1, failures={f"the process ended: {process.exitcode}": "?"}
        )
        process.join()
        table.append(found)
        print("\n" + found.row() + "\n", flush=True)
    print("\n".join([HEADER, *(found.row() for found in table)]))
    for found in table:
        for kind, path in found.failures.items():
            print(f"{found.name}: {kind}; see {path}")
    return 1 if any(found.failed for found in table) else 0


def _result(process: Any, results: Any) -> Found | None:
    import queue

    while True:
        try:
            found: Found = results.get(timeout=1.0)
        except queue.Empty:
            if not process.is_alive():
                return None
        else:
            return found


if __name__ == "__main__":
    sys.exit(main())
