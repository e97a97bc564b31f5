"""Who looked how, and when: the labels of clips, from a CSV file that people write."""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import CameraError, ConfigError

COLUMNS = ("file", "person", "start_s", "end_s", "expression")
ANGRY = "angry"
#: Of a cell.
_MAX_CHARACTERS = 250
CLIP_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm .wmv".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Span:
    """One row: how one person looked for a while.

    Attributes:
        start_s, end_s: in seconds from the clip's first frame; end_s is infinite until the end of the clip.
        place: file and line, for messages.
    """

    person: str
    start_s: float
    end_s: float
    expression: str
    place: str

    @property
    def angry(self) -> bool:
        """Whether a page is wanted."""
        return self.expression == ANGRY


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A clip with its rows, in order of time.

    Attributes:
        name: as the rows call it.
    """

    path: Path
    name: str
    spans: tuple[Span, ...]


def find_clips(paths: Sequence[Path]) -> list[Path]:
    """Return the files, and the clips in and below the folders, each once.

    Raises:
        CameraError: one is not there, or a folder has none.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in CLIP_SUFFIXES and p.is_file())
            if not inside:
                raise CameraError(f"no clips ({', '.join(sorted(CLIP_SUFFIXES))}) in {path}")
        elif path.is_file():
            inside = [path]
        else:
            raise CameraError(f"no clip or folder {str(path)!r}")
        for clip in inside:
            found.setdefault(clip.resolve(), clip)
    return list(found.values())


def label_clips(clips: Sequence[Path], truth: Path) -> list[LabelledClip]:
    """Join clips with their rows; a row means a clip by its path, relative to the truth file, or by its name alone.

    Raises:
        ConfigError: the truth file cannot be read or has a malformed row, a row means no clip or several, or a clip
            has no row.
    """
    rows: dict[Path, tuple[str, list[Span]]] = {}
    for name, span in _read(truth):
        clip = _meant(name, clips, truth.parent, span.place)
        rows.setdefault(clip, (name, []))[1].append(span)
    if missing := [str(clip) for clip in clips if clip not in rows]:
        raise ConfigError(f"{truth} has no row for {_several(missing)}; each clip needs one")
    labelled = []
    for clip in clips:
        name, spans = rows[clip]
        spans.sort(key=lambda span: span.start_s)
        _check_overlaps(spans)
        labelled.append(LabelledClip(clip, name, tuple(spans)))
    return labelled


def _meant(name: str, clips: Iterable[Path], folder: Path, place: str) -> Path:
    exact = [clip for clip in clips if clip.resolve() == (folder / name).resolve() or clip == Path(name)]
    found = exact or [clip for clip in clips if clip.name == name]
    if len(found) > 1:
        raise ConfigError(f"{place}: {name!r} may be {_several([str(clip) for clip in found])}; write its path")
    if not found:
        raise ConfigError(f"{place}: {name!r} is not among the given clips")
    return found[0]


def _read(path: Path) -> list[tuple[str, Span]]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark first
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}; it must be a CSV file in UTF-8") from None
    heading = text.partition("\n")[0]
    semicolons = ";" in heading and "," not in heading  # as spreadsheets write where the comma is for decimals
    reader = csv.reader(io.StringIO(text), delimiter=";" if semicolons else ",")
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from None
    columns = [name.lower() for name in lines[0][1]] if lines else []
    if missing := [name for name in COLUMNS if name not in columns]:
        raise ConfigError(f"{path}, line 1: no column {', '.join(missing)}; the header is {','.join(COLUMNS)}")
    found = []
    for number, cells in lines[1:]:
        if not any(cells):
            continue
        place = f"{path}, line {number}"
        if len(cells) != len(columns):
            raise ConfigError(f"{place}: {len(cells)} cells where the header has {len(columns)}")
        found.append(_row(dict(zip(columns, cells, strict=True)), place, decimal_comma=semicolons))
    if not found:
        raise ConfigError(f"{path} has no rows below its header")
    return found


def _row(cells: Mapping[str, str], place: str, *, decimal_comma: bool) -> tuple[str, Span]:
    for column in ("file", "person", "start_s", "expression"):
        if not cells[column]:
            raise ConfigError(f"{place}: {column} is empty")
    for column in COLUMNS:
        if len(cells[column]) > _MAX_CHARACTERS or not cells[column].isprintable():
            raise ConfigError(f"{place}: {column} is not {_MAX_CHARACTERS} printable characters or fewer")
    start_s = _seconds(cells["start_s"], "start_s", place, decimal_comma=decimal_comma)
    end_s = math.inf
    if cells["end_s"]:
        end_s = _seconds(cells["end_s"], "end_s", place, decimal_comma=decimal_comma)
    if end_s <= start_s:
        raise ConfigError(f"{place}: end_s {end_s:g} is not after start_s {start_s:g}")
    expression = cells["expression"].lower()
    if expression != ANGRY and difflib.get_close_matches(expression, [ANGRY, "anger"], cutoff=0.7):
        raise ConfigError(f"{place}: expression {expression!r}; did you mean {ANGRY}?")
    return cells["file"], Span(cells["person"], start_s, end_s, expression, place)


def _seconds(text: str, column: str, place: str, *, decimal_comma: bool) -> float:
    try:
        seconds = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{place}: {column} {text!r} is not a number of seconds such as 8.5")
    return seconds


def _check_overlaps(spans: Sequence[Span]) -> None:
    last: dict[str, Span] = {}
    for span in spans:
        before = last.get(span.person)
        if before is not None and span.start_s < before.end_s:
            raise ConfigError(f"{span.place}: begins before another row of {span.person!r} ends ({before.place})")
        last[span.person] = span


def _several(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
