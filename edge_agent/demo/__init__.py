"""The bundled clips played through the real pipeline, with a broker and a pager beside it."""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "clips"
#: Bundled clips; each has a timeline of its expressions beside it, `.json`.
CLIPS = {"one": _FOLDER / "one_person.mp4", "two": _FOLDER / "two_people.mp4"}
