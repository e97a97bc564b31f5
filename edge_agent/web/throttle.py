"""Makes guessing slow: after some wrong tries each one more doubles the wait of whoever tries."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_FREE, _WAIT_S, _LONGEST_S = 5, 2.0, 300.0
#: So many who tried are remembered; then the oldest are forgotten.
_MAX = 10_000


@dataclass(slots=True)
class _Tries:
    wrong: int = 0
    again_s: float = 0.0


class Throttle:
    """Counts wrong tries by whoever made them; for one thread at a time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: dict[str, _Tries] = {}

    def wait_s(self, who: str) -> float:
        """Return how long they have to wait before the next try, in seconds; 0 for not at all."""
        tries = self._tries.get(who)
        return 0.0 if tries is None else max(0.0, tries.again_s - self._clock())

    def note(self, who: str, *, right: bool) -> None:
        """Take down how a try went."""
        tries = self._tries.pop(who, _Tries())
        if right:
            return
        tries.wrong += 1
        if tries.wrong >= _FREE:
            tries.again_s = self._clock() + min(_LONGEST_S, _WAIT_S * 2.0 ** min(20, tries.wrong - _FREE))
        self._tries[who] = tries
        while len(self._tries) > _MAX:
            del self._tries[next(iter(self._tries))]
