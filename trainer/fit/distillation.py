"""Knowledge distillation: teachers judge augmented views of every face once, a small network learns from them.

Teacher and student see the same view (Beyer et al., "Knowledge distillation: A good teacher is patient and
consistent", 2022). The views are kept on disk, so that the teachers' work is done once however long the student
learns, and an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.data.augment import augment
from trainer.errors import TrainerError
from trainer.evaluation.predictors import Predictor, load_predictor
from trainer.fit.batches import Faces, Targets


def load_teachers(folders: Sequence[Path], classes: tuple[str, ...], *, votes: bool) -> list[Predictor]:
    """Load the models of finished runs.

    Raises:
        TrainerError: a folder holds no finished run, or one with other classes or without the second answer.
        ModelError: a model cannot be loaded.
    """
    teachers = []
    for folder in folders:
        if not (folder / "model.keras").is_file():
            raise TrainerError(f"{folder} is not a finished run to learn from")
        teacher = load_predictor(folder)
        if teacher.classes != classes:
            raise TrainerError(f"{folder} tells {', '.join(teacher.classes)} apart, not {', '.join(classes)}")
        if votes and teacher.vote_weight is None:
            raise TrainerError(f"{folder} has no second answer, to FER+ votes, to teach; add --no-votes")
        teachers.append(teacher)
    return teachers


def predict_both_ways(teachers: Sequence[Predictor], faces: Faces, *, columns: int) -> Targets:
    """Return the mean of the teachers' probabilities for faces and their mirror images, float32 (n, columns).

    Args:
        columns: of the network that is taught; without a second answer it learns from their first alone.
    """
    mirrored = np.ascontiguousarray(faces[:, :, ::-1])
    scores = [teacher(view)[:, :columns] for teacher in teachers for view in (faces, mirrored)]
    return np.asarray(np.mean(scores, axis=0), dtype=np.float32)


class Taught:
    """Views of each face with the teachers' mean probabilities mixed into the targets.

    Args:
        faces: uint8 (n, 48, 48).
        targets: float32 (n, classes), what the labels say; (n, classes + 8) with a second answer.
        folder: where the views are kept, in a folder named after what they were made from.
        count: views of each face; epoch e uses view e modulo count, half of them mirrored.
        weight: share of the teachers in the targets, 0..1.
    """

    def __init__(
        self, faces: Faces, targets: Targets, teachers: Sequence[Predictor],
        *, folder: Path, count: int, weight: float, seed: int, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        origin = hashlib.sha256(faces.tobytes())
        for teacher in teachers:
            origin.update(teacher(faces[:64]).tobytes())
        folder = folder / f"views-{seed}-{origin.hexdigest()[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        self._targets, self._weight = targets, weight
        self._views: list[Faces] = []
        self._taught: list[Targets] = []
        for number in range(count):
            path = folder / f"view-{number:03d}.npz"
            if not path.exists():
                say(f"teachers judge view {number + 1} of {count} ...")
                view = augment(faces, np.random.default_rng([seed, number]))
                temporary = path.with_suffix(".tmp")
                with temporary.open("wb") as file:
                    probabilities = predict_both_ways(teachers, view, columns=targets.shape[1])
                    np.savez(file, faces=view, probabilities=probabilities.astype(np.float16))
                temporary.replace(path)
            with np.load(path) as kept:
                self._views.append(kept["faces"])
                self._taught.append(kept["probabilities"])

    def __len__(self) -> int:
        return len(self._targets)

    def draw(self, rows: npt.NDArray[np.int64], epoch: int, random: np.random.Generator) -> tuple[Faces, Targets]:
        """See batches.TrainingSource."""
        number = epoch % len(self._views)
        faces = self._views[number][rows]
        mirrored = random.random(len(rows)) < 0.5
        faces[mirrored] = faces[mirrored, :, ::-1]
        taught = self._taught[number][rows].astype(np.float32)
        return faces, self._weight * taught + (1 - self._weight) * self._targets[rows]
