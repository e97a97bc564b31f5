"""The figures of an evaluation as a page of text, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_agent.errors import AgentError, ConfigError
from edge_agent.statistics.intervals import wilson_interval

_NAMED = 20


def as_text(figures: dict[str, Any]) -> str:
    """Return the figures for a terminal."""
    return "\n".join([*_heading(figures), "", *_shares(figures), "", *_names(figures), *_curve(figures)])


def _heading(figures: dict[str, Any]) -> Iterator[str]:
    played = "each played once" if figures["visit_s"] is None else f"each a visit of {figures['visit_s']:g} s"
    yield (
        f"{figures['model']}, rule {figures['rule']}: upper {figures['threshold']:g} for {figures['dwell_s']:g} s; "
        f"{_count(figures['clips'], 'clip')} with {_count(figures['people'], 'person', 'people')}, {played}"
    )


def _shares(figures: dict[str, Any]) -> Iterator[str]:
    angry, calm = figures["angry_episodes"], figures["calm_visits"]
    delay = "" if angry["delay_median_s"] is None else (
        f"   after {angry['delay_median_s']:.1f} s (median), {angry['delay_max_s']:.1f} s (longest)"
    )  # fmt: skip
    yield f"{'':30}      paged         95 % interval"
    yield _row("angry episodes", angry) + delay
    yield _row("  people, at least once", angry["by_person"])
    yield _row("calm visits", calm)
    yield _row("  people, at least once", calm["by_person"])
    for name, some in calm["by_expression"].items():
        yield _row(f"  {name}", some)
    yield ""
    yield _rate("false pages in calm visits", figures["false_pages_per_hour"])
    visitors = figures["visitors_pages_per_hour"]
    yield _rate(f"visitors {visitors['gap_s']:g} s apart", visitors)
    others = figures["angry_clips"]
    if others["visits"]:
        yield (
            f"{'in clips with anger':30}  {_count(others['false_pages'], 'page')} while nobody was angry, "
            f"{others['repeated_pages']} for somebody paged already"
        )
    faces, reasons = figures["faces"], figures["abstained"]
    why = "; not judged: " + ", ".join(f"{name} {count}" for name, count in reasons.items()) if reasons else ""
    yield f"{'faces':30}  {faces['found']} in {figures['frames']} frames, {faces['judged']} judged{why}"


def _names(figures: dict[str, Any]) -> Iterator[str]:
    missed = [f"{one['file']} ({one['person']}, {one['start_s']:g} s)" for one in figures["angry_episodes"]["missed"]]
    never = [
        f"{one['file']} ({one['person']}, {one['start_s']:g} s): " + (
            ", ".join(f"{name} {count}" for name, count in one["reasons"].items()) or "no face found"
        )
        for one in figures["never_judged"]
    ]  # fmt: skip
    for title, names in (
        ("angry, not paged", missed),
        ("calm, but paged", figures["calm_visits"]["paged_files"]),
        ("never judged, so not paged for the wrong reason", never),
    ):
        if names:
            yield f"{title}:"
            yield from (f"  {name}" for name in names[:_NAMED])
            if len(names) > _NAMED:
                yield f"  and {len(names) - _NAMED} more; --json names them all"
            yield ""


def _curve(figures: dict[str, Any]) -> Iterator[str]:
    angry, calm = figures["angry_episodes"]["n"], figures["calm_visits"]["n"]
    yield "upper   angry paged   calm visits paged   median delay"
    for point in figures["curve"][::2]:
        delay = "-" if point["delay_median_s"] is None else f"{point['delay_median_s']:.1f} s"
        paged, false = f"{point['angry_paged']} of {angry}", f"{point['calm_paged']} of {calm}"
        yield f"{point['threshold']:5.2f} {paged:>13} {false:>19} {delay:>14}"


def _row(name: str, part: dict[str, Any]) -> str:
    if not part["n"]:
        return f"{name:30}  none"
    paged = f"{part['paged']} of {part['n']}"
    return f"{name:30}  {paged:>9}  {part['share']:4.0%}   {part['low']:.0%} to {part['high']:.0%}"


def _rate(name: str, part: dict[str, Any]) -> str:
    if part["per_hour"] is None:
        return f"{name:30}  none"
    return (
        f"{name:30}  {part['pages']} in {part['hours'] * 60:.1f} minutes: {part['per_hour']:g} an hour "
        f"({part['low']:g} to {part['high']:g})"
    )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def check_plot(path: Path) -> None:
    """Find out before the work whether `draw` will be able to do its part.

    Raises:
        ConfigError: the name is not that of a PNG file in a folder that exists.
        AgentError: matplotlib is missing.
    """
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        raise ConfigError(f"--plot {path} must end in .png and lie in a folder that exists")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise AgentError("--plot needs matplotlib; run in the clone: pip install '.[plot]'") from None


def draw(figures: dict[str, Any], path: Path) -> None:
    """Write a PNG: shares paged at each threshold with their 95 % intervals, and the threshold in use.

    Raises:
        AgentError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    curve = figures["curve"]
    thresholds = [point["threshold"] for point in curve]
    for part, key, label, colour in (
        ("angry_episodes", "angry_paged", "angry episodes paged", "tab:blue"),
        ("calm_visits", "calm_paged", "calm visits paged", "tab:red"),
    ):
        total = figures[part]["n"]
        if not total:
            continue
        units = min(total, figures[part]["by_person"]["n"])
        shares = [point[key] / total for point in curve]
        bands = [wilson_interval(share * units, units) for share in shares]
        axis.plot(thresholds, shares, color=colour, label=f"{label} (of {total})")
        axis.fill_between(thresholds, [b[0] for b in bands], [b[1] for b in bands], color=colour, alpha=0.15, lw=0)
    axis.axvline(figures["threshold"], color="black", ls="--", lw=1, label=f"upper {figures['threshold']:g}")
    axis.set(xlabel="upper threshold", ylabel="share", xlim=(0, 1), ylim=(0, 1), title=figures["model"])
    axis.grid(alpha=0.3)
    axis.legend()
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise AgentError(f"cannot write {path}: {error.strerror or error}") from None
