"""Pages for a browser: the live view of one device, and what they share with the staff pager's page."""
