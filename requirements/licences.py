"""Refuses a licence that nobody has agreed to: `python -m requirements.licences`, a part of `make check`."""

from __future__ import annotations

import sys
from importlib import metadata

from requirements.lockfile import SHIPPED, SHIPPED_NUMPY_1, read

#: SPDX identifiers. All of them let people use, change and pass on a product that contains the work; MPL-2.0 asks that
#: changes of its own files be published.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
    "Zlib",
}  # fmt: skip

#: How metadata older than SPDX expressions puts it.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
#: Whose metadata does not say it: read in the file LICENSE of their release.
_READ = {"python-dateutil": "Apache-2.0 AND BSD-3-Clause", "segno": "BSD-3-Clause"}


def licence(name: str) -> str:
    """Return the licence of an installed distribution as an SPDX expression, or as its own words, or empty.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    stated = metadata.metadata(name)
    classifiers = [one for one in stated.get_all("Classifier") or [] if one.startswith("License ::")]
    words = [stated.get("License-Expression"), stated.get("License"), *(one.split(" :: ")[-1] for one in classifiers)]
    text = _READ.get(name) or next((one for one in words if one), "")
    return _SPDX.get(text, text)


def allowed(expression: str) -> bool:
    """Tell whether at least one alternative of an SPDX expression consists of allowed licences only."""
    return any(all(part in ALLOWED for part in one.split(" AND ")) for one in expression.split(" OR "))


def main() -> int:
    """Say which distributions have another licence."""
    names = sorted({pin.name for lock in SHIPPED + SHIPPED_NUMPY_1 for pin in read(lock) if pin.applies})
    refused = {name: said for name in names if not allowed(said := licence(name))}
    for name, said in refused.items():
        print(f"licences: {name} is under {said or 'no licence that its metadata states'!r}", file=sys.stderr)
    if refused:
        print("licences: do without it, or agree to it in requirements/licences.py", file=sys.stderr)
        return 1
    print(f"licences: those of all {len(names)} distributions are agreed to")
    return 0


if __name__ == "__main__":
    sys.exit(main())
