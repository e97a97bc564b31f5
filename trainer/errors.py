"""Errors of the training tools.

TrainerError (Exception)
├── DatasetError (also ValueError)   the CSV files are missing, malformed or do not belong together
└── ModelError (also ValueError)     the model file cannot be loaded or has the wrong shape
"""


class TrainerError(Exception):
    """Base of all errors shown to the user as one line."""


class DatasetError(TrainerError, ValueError):
    """The CSV files are missing, malformed or do not belong together."""


class ModelError(TrainerError, ValueError):
    """The model file cannot be loaded or has the wrong shape."""


def first_line(error: Exception) -> str:
    """Return what an error of another library says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
