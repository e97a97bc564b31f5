"""Pages for a browser: the live view of one device, and what they share with the staff pager's page."""

#: What to say where aiohttp is missing.
NEEDS = "needs aiohttp; run in the clone: pip install '.[web]'"
