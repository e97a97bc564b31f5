"""Odd inputs for every parser that reads what strangers send."""
