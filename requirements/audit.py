"""Asks whether what we ship has known vulnerabilities: `python -m requirements.audit [pip-audit's options]`.

A part of `make check`. Where no service answers within `PATIENCE_S` it says so and lets pass: a build must not hang on
somebody else's server.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

from requirements.lockfile import FOLDER, SHIPPED, SHIPPED_NUMPY_1

PATIENCE_S = 60
IGNORED = FOLDER / "audit-ignored.txt"
#: Files that agree about versions; pip-audit wants one version of everything.
ENVIRONMENTS = (SHIPPED, SHIPPED_NUMPY_1)
_ADVICE = f"run: make lock; where there is no newer release, write it into requirements/{IGNORED.name}"


def ignored(path: Path, today: date) -> list[str]:
    """Return the ids that are ignored today: a line has an id, the last day on which it counts, and why.

    Raises:
        ValueError: a line without a day or a reason.
    """
    ids = []
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        try:
            name, until, _reason = line.split(maxsplit=2)
            last = date.fromisoformat(until)
        except ValueError:
            raise ValueError(f"{path.name}: {line!r} is not: ID YYYY-MM-DD reason") from None
        if today <= last:
            ids.append(name)
    return ids


def ask(locks: tuple[str, ...], options: list[str], ids: list[str]) -> list[dict]:
    """Return what pip-audit found for each distribution of `locks`, nothing where it could not ask."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command += ["--format=json", "--desc=off", "--timeout=10"]
    command += [f"--requirement={FOLDER / name}.txt" for name in locks]
    command += [f"--ignore-vuln={one}" for one in ids]
    try:
        result = subprocess.run([*command, *options], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return json.loads(result.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return []


def main(options: list[str]) -> int:
    """Say what is known; 1 if there is something."""
    try:
        ids = ignored(IGNORED, date.today())
    except ValueError as error:
        print(f"audit: {error}", file=sys.stderr)
        return 1
    told = [one for locks in ENVIRONMENTS for one in ask(locks, options, ids)]
    known = {(one["name"], one["version"]): one for one in told if "skip_reason" not in one}
    if not known:
        print("audit: no service with vulnerabilities answered; nothing was checked", file=sys.stderr)
        return 0
    found = [(one, flaw) for one in known.values() for flaw in one["vulns"]]
    for one, flaw in found:
        fixed = ", ".join(flaw["fix_versions"]) or "no release yet"
        print(f"audit: {one['name']} {one['version']} has {flaw['id']}, fixed in {fixed}", file=sys.stderr)
    if found:
        print(f"audit: {_ADVICE}", file=sys.stderr)
        return 1
    print(f"audit: nothing is known against {len(known)} distributions; {len(ids)} ignored")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
