"""Plays labelled clips through the real pipeline and records what it saw and whom it would have paged.

Each frame is looked at once; what it showed is then played to tracker and rules, forward, or to and fro to make a
long visit of a short clip. The tracks of each moment are kept, so that the rules can be tried at other thresholds.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from edge_agent.alerting.thresholds import thresholds_for
from edge_agent.camera.opencv import OpenCVCamera
from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.pipeline import Look, Pipeline
from edge_agent.tools.evaluation.outcomes import Episode, Moment, Page, PageCount
from edge_agent.tools.evaluation.truth import LabelledClip, Span
from edge_agent.vision.zones import IgnoredZones


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one row of the truth.

    Attributes:
        faces: faces in the frames of its span, `judged` of them judged.
        reasons: why the others were not → how often.
    """

    span: Span
    faces: int
    judged: int
    reasons: Counter[str]


@dataclass(frozen=True, slots=True)
class Visit:
    """A clip as it was played; times in seconds since the visit began.

    Attributes:
        moments: (time, tracks) of each frame.
        pages: at the rule's threshold.
        episodes: each angry span where it first comes.
        angry: when anybody is angry, as (start, end), in order of time.
        frames: of the clip, each counted once.
    """

    clip: LabelledClip
    duration_s: float
    frames: int
    moments: list[Moment]
    pages: list[Page]
    episodes: list[Episode]
    angry: list[tuple[float, float]]
    seen: list[Seen]
    faces: int
    judged: int
    abstained: Counter[str]


@dataclass(slots=True)
class _Glance:
    """One frame of a clip, and why faces in it were not judged."""

    time_s: float
    look: Look
    abstained: Counter[str]

    @property
    def judged(self) -> int:
        return sum(judged.scores is not None for judged in self.look.judgements)

    @property
    def faces(self) -> int:
        return self.judged + self.abstained.total()


class Evaluation:
    """Plays visits one by one.

    Args:
        config: with the one rule to evaluate.
        visit_s: how long each clip is played, to and fro; None for once.
        gap_s: between calm visitors.
    """

    def __init__(self, config: Config, *, visit_s: float | None, gap_s: float) -> None:
        self._config, self._visit_s, self._gap_s = config, visit_s, gap_s
        self.rule = config.rules[0]
        self._counter = self._make_pipeline()
        self.model = self._counter.vision.classifier.bundle.id
        self.emotions = self._counter.emotions
        self.operating_point = self._counter.vision.classifier.bundle.manifest.operating_point
        self.upper = thresholds_for([self.rule], config.emotion.emotions, self.operating_point)[self.rule.name].upper
        self._counter_pages = PageCount()
        #: How long the calm visitors took, one after another, with gaps.
        self.counter_s = 0.0

    @property
    def counter_pages(self) -> int:
        """Pages for calm visitors one after another, so far."""
        return len(self._counter_pages.pages)

    def play(self, clip: LabelledClip) -> Visit:
        """Play one clip as one visit.

        Raises:
            CameraError: it cannot be read.
            ConfigError: a row begins after the clip has ended.
        """
        pipeline = self._make_pipeline()
        glances = self._look(clip, pipeline)
        length_s = glances[-1].time_s
        for span in clip.spans:
            if span.start_s > length_s:
                raise ConfigError(f"{span.place}: begins at {span.start_s:g} s, but the clip ends at {length_s:.2f} s")
        sequence = list(self._sequence(glances))
        count = PageCount()
        moments = []
        for time_s, look in sequence:
            decision = pipeline.decide(look, time_s)
            count.note(decision.alerts, time_s)
            moments.append((time_s, decision.tracks))
        duration_s = sequence[-1][0]
        spans = {span: _occurrences(span, length_s, duration_s) for span in clip.spans if span.angry}
        if not spans:
            self._queue_up(sequence)
        return Visit(
            clip=clip,
            duration_s=duration_s,
            frames=len(glances),
            moments=moments,
            pages=count.pages,
            episodes=[Episode(span.person, *times[0]) for span, times in spans.items()],
            angry=sorted(time for times in spans.values() for time in times),
            seen=[_seen(span, glances) for span in clip.spans],
            faces=sum(glance.faces for glance in glances),
            judged=sum(glance.judged for glance in glances),
            abstained=_total(glances),
        )

    def _make_pipeline(self) -> Pipeline:
        ids = (str(number) for number in itertools.count())
        return Pipeline(self._config, new_id=lambda: next(ids), zones=IgnoredZones.of(self._config))

    def _look(self, clip: LabelledClip, pipeline: Pipeline) -> list[_Glance]:
        settings = replace(self._config.camera, source="opencv", device=str(clip.path.absolute()), loop=False)
        camera = OpenCVCamera(settings, realtime=False, clock=lambda: 0.0)
        glances = []
        try:
            camera.open()
            while (frame := camera.read()) is not None:
                before = pipeline.vision.abstained.copy()
                pipeline.zones.mask(frame.image)
                look = pipeline.look(frame)
                glances.append(_Glance(frame.time_s, look, pipeline.vision.abstained - before))
        finally:
            camera.close()
        return glances

    def _sequence(self, glances: Sequence[_Glance]) -> Iterator[tuple[float, Look]]:
        """Yield (time, look) forward, then, for as long as a visit lasts, backward, forward, ..."""
        for glance in glances:
            yield glance.time_s, glance.look
        turn_s = length_s = glances[-1].time_s
        back = True
        while length_s > 0 and self._visit_s is not None:
            for glance in glances[-2::-1] if back else glances[1:]:
                time_s = turn_s + (length_s - glance.time_s if back else glance.time_s)
                if time_s > self._visit_s:
                    return
                yield time_s, glance.look
            turn_s, back = turn_s + length_s, not back

    def _queue_up(self, sequence: Sequence[tuple[float, Look]]) -> None:
        """Let a calm visitor come to the counter, stay, and leave it empty for a while."""
        start_s = self.counter_s
        for time_s, look in sequence:
            self._note(look, start_s + time_s)
        self.counter_s = start_s + sequence[-1][0]
        nobody = replace(sequence[-1][1], judgements=[])
        period_s = 1 / self._config.camera.frame_rate_hz
        for number in range(1, math.floor(self._gap_s / period_s) + 1):
            self._note(nobody, self.counter_s + number * period_s)
        self.counter_s += self._gap_s

    def _note(self, look: Look, time_s: float) -> None:
        self._counter_pages.note(self._counter.decide(look, time_s).alerts, time_s)


def _occurrences(span: Span, length_s: float, duration_s: float) -> list[tuple[float, float]]:
    """Return when a span is played in a visit to and fro; parts that touch are one."""
    start_s, end_s = span.start_s, min(span.end_s, length_s)
    found: list[tuple[float, float]] = []
    passes = math.ceil(duration_s / length_s) if length_s > 0 else 1
    for number in range(passes):
        begin_s = number * length_s
        low_s, high_s = (start_s, end_s) if number % 2 == 0 else (length_s - end_s, length_s - start_s)
        low_s, high_s = begin_s + low_s, min(begin_s + high_s, duration_s)
        if low_s >= duration_s and found:
            break
        if found and low_s - found[-1][1] < 1e-6:
            found[-1] = (found[-1][0], high_s)
        else:
            found.append((low_s, high_s))
    return found


def _seen(span: Span, glances: Iterable[_Glance]) -> Seen:
    here = [glance for glance in glances if span.start_s <= glance.time_s <= span.end_s]
    return Seen(span, sum(g.faces for g in here), sum(g.judged for g in here), _total(here))


def _total(glances: Iterable[_Glance]) -> Counter[str]:
    total: Counter[str] = Counter()
    for glance in glances:
        total.update(glance.abstained)
    return total
