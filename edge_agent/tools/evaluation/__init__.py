"""Labelled clips through the real pipeline: what is paged, and what should not be."""
