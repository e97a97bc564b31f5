"""Errors of the converter, shown to the user as one line."""


class ConversionError(ValueError):
    """The model, the calibration set or the result is not what it must be; nothing was written."""
