"""How much may go wrong at an operating point, unless somebody chooses another."""

from __future__ import annotations

#: Share of happy, neutral and sad faces that may be taken for angry.
MAX_FALSE_ALARMS = 0.08
#: Share of calm people who may be paged for during a visit.
MAX_PEOPLE_PAGED = 0.05
