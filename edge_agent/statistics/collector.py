"""Numbers about what was seen, never about whom: visits for `calibrate`, and drift against the first weeks."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_agent.alerting.rules import RuleEngine
from edge_agent.camera.frames import Frame
from edge_agent.config import Config
from edge_agent.observer import Observer
from edge_agent.pipeline import Decision
from edge_agent.statistics.drift import Drift
from edge_agent.statistics.score_log import ANSWERS, FALSE_ALARMS, WATCHED_S, ScoreLog
from edge_agent.statistics.visits import Visits

log = logging.getLogger("edge_agent")

#: How often counts are written.
FLUSH_S = 60.0
#: A gap between frames up to this counts as watched.
_MAX_GAP_S = 2.0
#: How often faces in view are looked at for drift, so that no single visit makes the baseline.
_SAMPLE_S = 10.0
#: Quantities whose drift is watched: score of the first group, brightness of the face, its width over the frame's.
_DRIFT = {"score": (0.0, 1.0), "brightness": (0.0, 255.0), "face_width": (0.0, 0.5)}


class Statistics(Observer):
    """Counts what every frame led to.

    Args:
        engine: knows people and scores.
        baseline: the drift baseline of an earlier run, if there is one.
        keep_baseline: takes the baseline, for later runs, when it has been completed.
        unix, monotonic: clocks, in seconds.
    """

    def __init__(
        self,
        config: Config,
        *,
        engine: RuleEngine,
        baseline: str | None,
        keep_baseline: Callable[[str], None],
        unix: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._rules, self._monotonic, self._keep_baseline = config.rules, monotonic, keep_baseline
        self._visits = Visits(config.rules, engine)
        self._log = ScoreLog(config.outbox.state_dir, unix=unix)
        self.drift = Drift(_DRIFT, baseline=baseline)
        self._last_s = self._flushed_s = monotonic()
        self._watched_s = 0.0
        self._next_sample_s = monotonic()

    def frame_processed(self, frame: Frame, decision: Decision) -> None:
        """Count one frame."""
        now_s = self._monotonic()
        self._watched_s += min(now_s - self._last_s, _MAX_GAP_S)
        self._last_s = now_s
        for rule, level in self._visits.update(decision.tracks):
            self._log.count(rule, level)
        sampled = decision.judged if now_s >= self._next_sample_s else []
        if sampled:
            self._next_sample_s = now_s + _SAMPLE_S
        for judged in sampled:
            assert judged.scores is not None
            values = {
                "score": float(judged.scores[0]),
                "brightness": judged.brightness,
                "face_width": judged.face.width / frame.image.shape[1],
            }
            if self.drift.add(values):
                self._keep_baseline(self.drift.baseline_text())
                log.info("the baseline for drift is complete")
        if now_s - self._flushed_s >= FLUSH_S:
            self._flush()

    def alert_answered(self, rule: str, *, false_alarm: bool, again: bool = False) -> None:
        """Count what staff said of a page, in the hour in which they say it."""
        if not again:
            self._log.count(rule, ANSWERS)
        if false_alarm:
            self._log.count(rule, FALSE_ALARMS)
        elif again:
            self._log.count(rule, FALSE_ALARMS, -1)

    def close(self) -> None:
        """Write what was counted."""
        self._flush()

    def _flush(self) -> None:
        whole_s = int(self._watched_s)
        self._watched_s -= whole_s
        for rule in self._rules:
            self._log.count(rule.name, WATCHED_S, whole_s)
        self._log.flush()
        self._flushed_s = self._monotonic()
