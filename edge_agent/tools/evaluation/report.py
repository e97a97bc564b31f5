"""The figures of an evaluation, for people and for programs.

`Report.figures` returns, and `edge-agent evaluate --json` prints, one object. Shares are 0..1, `low`..`high` their 95 %
interval (Wilson, 1927), times seconds; null where there is nothing to divide by or nothing was paged.

- `model`, `rule`, `threshold`, `dwell_s`: what judged; `clips`, `frames`, `people`: how many; `visit_s`: as asked.
- `angry_episodes`: `n`, `paged`, `share`, `low`, `high`, `delay_median_s`, `delay_max_s`,
  `by_person` (`n`, `paged` at least once, `share`, `low`, `high`),
  `missed` (a list of `file`, `person`, `start_s`).
- `calm_visits`, clips in which nobody is angry: `n`, `paged`, `share`, `low`, `high`, `by_person`, `by_expression`
  (expressions → `n`, `paged`, `share`, `low`, `high`), `paged_files`.
- `false_pages_per_hour` of those visits: `pages`, `hours`, `per_hour`, `low`, `high` (Poisson: Garwood, 1936, by Wilson
  and Hilferty's approximation).
- `visitors_pages_per_hour`, the same visitors one after another at one counter: the same keys, `visitors` and `gap_s`.
- `angry_clips`, the other visits: `false_pages` while nobody was angry, `repeated_pages` for who was paged already.
- `curve`: a list of `threshold`, `angry_paged`, `calm_paged`, `delay_median_s`, from 0.05 to 0.95.
- `faces`: `found`, `judged`; `abstained`: reason → faces that were found and not judged.
- `never_judged`: rows of the truth in whose time no face was judged, a list of `file`, `person`, `start_s`,
  `faces_found`, `reasons`.

Where somebody has several episodes or visits, `low` and `high` count each person as one observation: a face that is
misjudged is misjudged every time.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.config import Config, Rule
from edge_agent.statistics.intervals import poisson_interval, wilson_interval
from edge_agent.tools.evaluation.outcomes import Outcome, Page, attribute, replay, with_upper
from edge_agent.tools.evaluation.runner import Visit
from edge_agent.vision.manifest import OperatingPoint

THRESHOLDS = tuple(round(0.05 + 0.025 * n, 3) for n in range(37))


@dataclass(frozen=True, slots=True)
class Report:
    """Visits, and what judged them.

    Attributes:
        config: with the one rule that was evaluated.
        upper: the rule's threshold, its own or the model's.
        operating_point: the model's, if it states one.
        visit_s: as asked; None when each clip was played once.
        counter_pages, counter_s: of the calm visitors one after another.
    """

    config: Config
    model: str
    upper: float
    operating_point: OperatingPoint | None
    visit_s: float | None
    gap_s: float
    counter_pages: int
    counter_s: float
    visits: list[Visit] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return all figures, as described above."""
        rule = self.config.rules[0]
        calm = [visit for visit in self.visits if not visit.episodes]
        angry = [visit for visit in self.visits if visit.episodes]
        outcomes = [self._outcome(visit, visit.pages) for visit in angry]
        return {
            "model": self.model,
            "rule": rule.name,
            "threshold": round(self.upper, 4),
            "dwell_s": rule.dwell_s,
            "clips": len(self.visits),
            "frames": sum(visit.frames for visit in self.visits),
            "people": len({span.person for visit in self.visits for span in visit.clip.spans}),
            "visit_s": self.visit_s,
            "angry_episodes": _episodes(angry, outcomes),
            "calm_visits": _calm(calm),
            "false_pages_per_hour": _rate(sum(len(v.pages) for v in calm), sum(v.duration_s for v in calm)),
            "visitors_pages_per_hour": {
                **_rate(self.counter_pages, self.counter_s),
                "visitors": len(calm),
                "gap_s": self.gap_s,
            },
            "angry_clips": {
                "visits": len(angry),
                "false_pages": sum(outcome.elsewhere for outcome in outcomes),
                "repeated_pages": sum(outcome.repeated for outcome in outcomes),
            },
            "curve": [self._point(threshold, calm, angry) for threshold in THRESHOLDS],
            "faces": {"found": sum(v.faces for v in self.visits), "judged": sum(v.judged for v in self.visits)},
            "abstained": dict(sum((visit.abstained for visit in self.visits), Counter())),
            "never_judged": _never_judged(self.visits),
        }

    def _outcome(self, visit: Visit, pages: Sequence[Page]) -> Outcome:
        return attribute(pages, visit.episodes, visit.angry, dwell_s=self.config.rules[0].dwell_s)

    def _replay(self, visit: Visit, rule: Rule) -> list[Page]:
        return replay(visit.moments, rule, self.config, self.operating_point)

    def _point(self, threshold: float, calm: Sequence[Visit], angry: Sequence[Visit]) -> dict[str, Any]:
        rule = with_upper(self.config.rules[0], threshold)
        outcomes = [self._outcome(visit, self._replay(visit, rule)) for visit in angry]
        delays_s = _delays(outcomes)
        return {
            "threshold": threshold,
            "angry_paged": len(delays_s),
            "calm_paged": sum(bool(self._replay(visit, rule)) for visit in calm),
            "delay_median_s": _rounded(delays_s, statistics.median),
        }


def share(count: int, total: int, *, people: int) -> dict[str, Any]:
    """Return n, paged, share, low and high; the interval counts each person once."""
    units = min(total, people)
    low, high = wilson_interval(count / total * units if total else 0, units)
    return {
        "n": total,
        "paged": count,
        "share": round(count / total, 4) if total else None,
        "low": round(low, 4) if total else None,
        "high": round(high, 4) if total else None,
    }


def _by_person(outcomes: Iterable[tuple[str, bool]]) -> dict[str, Any]:
    paged: dict[str, bool] = {}
    for person, was_paged in outcomes:
        paged[person] = paged.get(person, False) or was_paged
    return share(sum(paged.values()), len(paged), people=len(paged))


def _episodes(visits: Sequence[Visit], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    found = [
        (visit, episode, delay_s)
        for visit, outcome in zip(visits, outcomes, strict=True)
        for episode, delay_s in zip(visit.episodes, outcome.delays_s, strict=True)
    ]
    delays_s = _delays(outcomes)
    by_person = _by_person((episode.person, delay_s is not None) for _, episode, delay_s in found)
    return {
        **share(len(delays_s), len(found), people=by_person["n"]),
        "delay_median_s": _rounded(delays_s, statistics.median),
        "delay_max_s": _rounded(delays_s, max),
        "by_person": by_person,
        "missed": [
            {"file": visit.clip.name, "person": episode.person, "start_s": round(episode.start_s, 3)}
            for visit, episode, delay_s in found
            if delay_s is None
        ],
    }


def _calm(visits: Sequence[Visit]) -> dict[str, Any]:
    by_expression: dict[str, list[Visit]] = {}
    for visit in visits:
        expressions = dict.fromkeys(span.expression for span in visit.clip.spans)
        by_expression.setdefault(", ".join(expressions), []).append(visit)
    return {
        **_visits(visits),
        "by_person": _by_person((person, bool(visit.pages)) for visit in visits for person in _people(visit)),
        "by_expression": {name: _visits(some) for name, some in sorted(by_expression.items())},
        "paged_files": [visit.clip.name for visit in visits if visit.pages],
    }


def _visits(visits: Sequence[Visit]) -> dict[str, Any]:
    people = {person for visit in visits for person in _people(visit)}
    return share(sum(bool(visit.pages) for visit in visits), len(visits), people=len(people))


def _people(visit: Visit) -> set[str]:
    return {span.person for span in visit.clip.spans}


def _rate(pages: int, seconds: float) -> dict[str, Any]:
    hours = seconds / 3600
    low, high = poisson_interval(pages)
    return {
        "pages": pages,
        "hours": round(hours, 4),
        "per_hour": round(pages / hours, 1) if hours else None,
        "low": round(low / hours, 1) if hours else None,
        "high": round(high / hours, 1) if hours else None,
    }


def _never_judged(visits: Iterable[Visit]) -> list[dict[str, Any]]:
    return [
        {
            "file": visit.clip.name,
            "person": seen.span.person,
            "start_s": seen.span.start_s,
            "faces_found": seen.faces,
            "reasons": dict(seen.reasons),
        }
        for visit in visits
        for seen in visit.seen
        if not seen.judged
    ]


def _delays(outcomes: Iterable[Outcome]) -> list[float]:
    return [delay_s for outcome in outcomes for delay_s in outcome.delays_s if delay_s is not None]


def _rounded(values: Sequence[float], summary: Callable[[Sequence[float]], float]) -> float | None:
    return round(summary(values), 2) if values else None
