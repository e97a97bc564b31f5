"""The wizard that brings a device from a box of parts to a configuration that works: in a terminal, or as a page."""
