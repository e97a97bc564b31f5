"""Tells of pages beyond the page for phones: Web Push for phones whose screen is off, Apprise for everything else."""

#: What to say where a package is missing.
NEEDS = "needs apprise and pywebpush; run in the clone: pip install '.[notify]'"
