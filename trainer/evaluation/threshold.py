"""Chooses a bundle's operating point and writes it into the manifest: by person, or by photograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.config import Rule
from edge_agent.errors import AgentError
from edge_agent.statistics.intervals import wilson_interval
from edge_agent.vision.bundle import Bundle, find_bundle, load_bundle
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.manifest import ClassifierManifest, OperatingPoint, PagedPeople
from trainer.data.load import load_data
from trainer.data.portraits import Portraits, load_portraits
from trainer.data.split import require_same_split, split
from trainer.errors import ModelError, TrainerError
from trainer.evaluation.metrics import operating_point, seen_by_rules
from trainer.evaluation.predictors import load_predictor
from trainer.evaluation.visits import THRESHOLDS, VISIT_S, Visit, cuts, looks, paged_up_to, share_by_person
from trainer.labels import FOUR, VOTE_LABELS
from trainer.runs import recipe_of

#: Whose share of paged visits is limited. Happy people would make it look smaller than it is.
CALM = "neutral"
#: Others whose share is stated.
OTHERS = ("happy", "angry")
_SMALLEST = 1e-4


def threshold_by_person(bundle_path: Path, *, portraits: Path, max_people_paged: float) -> OperatingPoint:
    """Return the operating point that pages for few enough calm people, now also in the bundle's manifest.

    Each portrait of the people whom training left aside is a visit (`visits`); of each person the share of visits that
    are paged counts.

    Args:
        max_people_paged: largest share of people with a neutral expression who may be paged for, 0..1.

    Raises:
        ModelError: the bundle is not usable, or pages for too many at any threshold.
        DatasetError: the portraits cannot be read.
    """
    bundle = _bundle(bundle_path)
    classifier = EmotionClassifier(bundle)
    if "angry" not in classifier.labels:
        raise ModelError(f"{bundle_path} does not know angry")
    part = load_portraits(portraits).part("held out")
    calm = part.labels == VOTE_LABELS.index(CALM)
    if not calm.any():
        raise ModelError(f"{portraits} holds no {CALM} person whom training left aside")
    visits = _visits(classifier, part)
    population = _population(part.people[calm], [visits[row] for row in np.flatnonzero(calm)])
    reached = np.array([paged_up_to(visit, population_logit=population) for visit in visits])
    for threshold in THRESHOLDS:
        share, count = share_by_person(part.people[calm], reached[calm] >= threshold)
        if share <= max_people_paged:
            break
    else:
        raise ModelError(f"{bundle_path} pages for more than {max_people_paged:.0%} of calm people at any threshold")
    point = OperatingPoint(
        emotions=("angry",),
        threshold=threshold,
        population_logit=round(population, 4),
        dwell_s=Rule(name="angry").dwell_s,
        visit_s=VISIT_S,
        max_people_paged=max_people_paged,
        people=_outcome(part, reached >= threshold),
        chosen_on=f"portraits of {count} calm people whom training left aside, each a visit of {VISIT_S:g} s",
    )
    replace(bundle.manifest, operating_point=point).write(bundle.folder)
    return point


def _visits(classifier: EmotionClassifier, part: Portraits) -> list[Visit]:
    column = classifier.labels.index("angry")
    random = np.random.default_rng(0)
    return [
        Visit(person, looks(classifier.classify(cuts(crop, random))[:, column], random))
        for crop, person in zip(part.crops, part.people, strict=True)
    ]


def _population(people: npt.NDArray[np.str_], visits: list[Visit]) -> float:
    """Return the mean log-odds of the scores in some people's visits; each of the people counts alike."""
    scores = np.clip([visit.scores for visit in visits], _SMALLEST, 1 - _SMALLEST)
    odds = np.log(scores / (1 - scores)).mean(axis=1)
    _, person = np.unique(people, return_inverse=True)
    return float((np.bincount(person, weights=odds) / np.bincount(person)).mean())


def _outcome(part: Portraits, paged: npt.NDArray[np.bool_]) -> dict[str, PagedPeople]:
    result = {}
    for name in (CALM, *OTHERS):
        rows = part.labels == VOTE_LABELS.index(name)
        if not rows.any():
            continue
        share, people = share_by_person(part.people[rows], paged[rows])
        low, high = wilson_interval(share * people, people)
        result[name] = PagedPeople(
            paged=round(share, 4), low=round(low, 4), high=round(high, 4), people=people, visits=int(rows.sum())
        )
    return result


def threshold_by_photograph(
    bundle_path: Path, *, data_dir: Path, max_false_alarms: float, unseen: bool = False, already_cropped: bool = False
) -> OperatingPoint:
    """Return the operating point for angry faces, now also in the bundle's manifest.

    For data that does not tell people apart. It is chosen among angry, happy, neutral and sad faces of the validation
    split that the model's training left aside; the score is what rules see of angry.

    Args:
        max_false_alarms: largest share of the faces that are not angry that may raise an alarm, 0..1.
        unseen: the model was not trained on this data, so all of it can be used.

    Raises:
        ModelError: the bundle is not usable, or does not say how it was trained.
        TrainerError: it was trained on other data.
        DatasetError: the data cannot be read.
    """
    predictor = load_predictor(bundle_path)
    if not set(FOUR) <= set(predictor.classes):
        raise ModelError(f"{bundle_path} does not tell {', '.join(FOUR)} apart")
    bundle = _bundle(bundle_path)
    if unseen:
        validation = load_data(data_dir, already_cropped=already_cropped).for_model(predictor.classes)
    else:
        training = bundle.manifest.training
        if training is None:
            raise ModelError(f"{bundle_path} does not say how it was trained")
        recipe = recipe_of(training)
        data = load_data(data_dir, classes=predictor.classes, already_cropped=recipe.already_cropped or already_cropped)
        _, validation, _ = split(data, recipe)
        try:
            require_same_split(training, validation, whose=str(bundle_path))
        except TrainerError as error:
            raise TrainerError(f"{error}; if it never saw any of this data, add --unseen") from None
    validation = validation.take(np.isin(validation.labels, [predictor.classes.index(name) for name in FOUR]))
    angry = predictor.classes.index("angry")
    if not 0 < int((validation.labels == angry).sum()) < len(validation):
        raise ModelError(f"{data_dir} has no angry faces among others to choose on")
    seen = seen_by_rules(predictor(validation.faces), len(predictor.classes), predictor.vote_weight)
    point = operating_point(seen[:, angry], validation.labels == angry, max_false_alarms=max_false_alarms)
    stated_point = OperatingPoint(
        emotions=("angry",),
        threshold=round(point["threshold"], 4),
        recall=round(point["recall"], 4),
        precision=round(point["precision"], 4),
        false_alarms=round(point["false_alarms"], 4),
        max_false_alarms=max_false_alarms,
        chosen_on=f"{len(validation)} {'unseen' if unseen else 'validation'} faces: {', '.join(FOUR)}",
    )
    replace(bundle.manifest, operating_point=stated_point).write(bundle.folder)
    return stated_point


def _bundle(path: Path) -> Bundle[ClassifierManifest]:
    try:
        return load_bundle(find_bundle(str(path)), kind="emotion-classifier")
    except AgentError as error:
        raise ModelError(str(error)) from None
