"""What expressions are called, and in which order: FER2013's labels and what the voters of FER+ chose among."""

from __future__ import annotations

#: FER2013's label codes 0..6, in the order of the file format.
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
#: The four expressions a front desk can act on.
FOUR = ("angry", "happy", "neutral", "sad")
#: Columns of fer2013new.csv; the first seven are LABELS under other names.
VOTE_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
#: What voters choose among, in the order of LABELS, and contempt.
VOTE_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")
#: The same under the names of LABELS.
VOTE_LABELS = (*LABELS, "contempt")
#: Index into VOTE_COLUMNS for each of VOTE_LABELS.
VOTE_INDEX = tuple(VOTE_COLUMNS.index(name) for name in VOTE_NAMES)
