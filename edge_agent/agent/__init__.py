"""The daemon: what it is built from, the loop that owns it, and who observes the loop."""
