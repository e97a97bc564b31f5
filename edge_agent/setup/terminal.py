"""The wizard in a terminal, or over pipes: one question a line, the value in force in brackets."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import textwrap

from edge_agent.camera.address import shown
from edge_agent.errors import AgentError, CameraError, ConfigError
from edge_agent.languages import of_terminal
from edge_agent.setup import finding, thresholds
from edge_agent.setup.draft import Draft, reason
from edge_agent.setup.finding import Found
from edge_agent.setup.steps import (
    INSTALL_BROKER,
    PASSWORD,
    STEPS,
    Question,
    Step,
    answer,
    next_commands,
    pager_file,
    zone_of,
)
from edge_agent.setup.trying import as_characters, broker_problem, diagnose, take_picture, turn_wanted
from edge_agent.tools.notice import advice, notice
from edge_agent.vision.analysis import Vision

_YES = ("yes", "y")
_COLUMNS = 100


def walk(draft: Draft) -> int:
    """Ask everything, write it and run doctor; return the exit code.

    Raises:
        ConfigError: the answers ended too early, or the file cannot be written; nothing was.
    """
    print(f"{draft.path}: Enter keeps what stands in brackets, - is none, Ctrl-C leaves the file as it is.")
    own = {
        "camera": _camera, "zones": _zones, "broker": _broker, "pages": _pages, "pagers": _pagers, "sign": _sign,
    }  # fmt: skip
    for number, step in enumerate(STEPS, start=1):
        print(f"\n{number} of {len(STEPS)}: {step.title}\n{textwrap.fill(step.text, _COLUMNS)}")
        own.get(step.key, _questions)(draft, step)
    return _finish(draft)


def _read(prompt: str, *, secret: bool = False) -> str:
    try:
        if secret and sys.stdin.isatty():
            return getpass.getpass(prompt).strip()
        return input(prompt).strip()
    except EOFError:
        raise ConfigError("the answers ended before the last question; nothing was written") from None
    finally:
        if not sys.stdin.isatty():
            print()


def _yes(question: str, *, usual: bool) -> bool:
    """Ask for yes or no; Enter is what is usual, anything but yes is no."""
    given = _read(f"{question} [{'yes' if usual else 'no'}]: ").lower()
    return usual if not given else given in _YES


def _questions(draft: Draft, step: Step) -> None:
    for question in step.questions:
        _ask(draft, question)


def _ask(draft: Draft, question: Question) -> None:
    """Ask until the answer fits."""
    if not question.wanted(draft.config):
        return
    while True:
        usual = "…" if question.option == PASSWORD else _shown(draft.get(question.option))
        given = _read(f"{question.text} [{usual}]: ", secret=question.option == PASSWORD)
        if not given:
            return
        try:
            answer(draft, question, given)
            return
        except ConfigError as error:
            print(f"  {reason(error, question.option) or error}")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else shown(str(value))


def _choose(draft: Draft, step: Step, found: list[Found], extra: str = "") -> bool:
    """Offer what was found; return whether what is extra was chosen."""
    for number, one in enumerate(found, start=1):
        print(f"  {number}  {one.label}")
    if not found:
        print("  none was found")
    if extra:
        print(f"  i  {extra}")
    while True:
        given = _read("Which one? A number; h to say it by hand; Enter for what is in force: ").lower()
        if given.isdecimal() and 0 < int(given) <= len(found):
            draft.set(found[int(given) - 1].values)
            return False
        if given == "h":
            for question in step.by_hand:
                _ask(draft, question)
        if given in ("", "h") or (given == "i" and extra):
            return given == "i"


def _camera(draft: Draft, step: Step) -> None:
    while True:
        _choose(draft, step, finding.cameras())
        _questions(draft, step)
        if _show_picture(draft) and _yes("Is this the picture you want?", usual=True):
            return
        if not _yes("Choose the camera again?", usual=True):
            return


def _show_picture(draft: Draft) -> bool:
    """Show what the camera sees, turned if faces in it lie on their side; return whether there is a picture."""
    try:
        image = take_picture(draft.config)
        turn = turn_wanted(draft.config, image, Vision(draft.config))
        if turn is not None and _yes(f"Faces in it do not stand upright. Set camera.rotate to {turn}?", usual=True):
            draft.set({"camera.rotate": turn})
            image = take_picture(draft.config)
    except CameraError as error:
        print(f"  {error}")
        return False
    height, width = image.shape[:2]
    if sys.stdout.isatty():
        print(as_characters(image))
    print(f"{width}x{height} pixels, mean brightness {image.mean():.0f} of 255")
    return True


def _zones(draft: Draft, step: Step) -> None:
    del step
    print("Corners are x,y in percent from the picture's top left. To draw them: edge-agent setup --web")
    ignored, named = draft.get("faces.ignore_zones"), draft.get("zones")
    if (ignored or named) and not _yes(f"Keep the {len(ignored) + len(named)} that are there?", usual=True):
        ignored, named = [], []
    while corners := _corners("Corners of a zone to ignore; Enter for no more: "):
        ignored.append(corners)
    while name := _read("Name of a zone for alerts; Enter for no more: "):
        if corners := _corners(f"Corners of {name}: "):
            named.append({"name": name, "polygon": corners})
            try:
                draft.set({"zones": named})
            except ConfigError as error:
                named.pop()
                print(f"  {error}")
    try:
        draft.set({"faces.ignore_zones": ignored, "zones": named})
    except ConfigError as error:
        print(f"  {error}")


def _corners(prompt: str) -> list[list[float]]:
    while given := _read(prompt):
        try:
            return zone_of(given)
        except ValueError as error:
            print(f"  {error}")
    return []


def _broker(draft: Draft, step: Step) -> None:
    if not finding.can_browse():
        print(finding.NO_MDNS)
    found, command = finding.brokers(), " ".join(INSTALL_BROKER)
    while True:
        if _choose(draft, step, found, extra=f"install one on this computer: sudo {command}"):
            _install(command)
            draft.set({"mqtt.host": "127.0.0.1", "mqtt.port": 1883, "mqtt.tls.enabled": False})
        _questions(draft, step)
        works, said = broker_problem(draft)
        print(f"  {said}")
        if works or not _yes("Answer again?", usual=True):
            return


def _install(command: str) -> None:
    """Install a broker, if root says yes to it; else say how."""
    if os.geteuid() == 0 and _yes(f"Run `{command}` now?", usual=False):
        subprocess.run(INSTALL_BROKER, check=False)
    else:
        _read(f"Run `sudo {command}` in another terminal, then press Enter here: ")


def _pages(draft: Draft, step: Step) -> None:
    del step
    if not draft.config.rules:
        print("There is no rule, so nobody is ever paged.")
        return
    given = _read(f"How many people stand before the camera on a day, about? [{thresholds.VISITORS}]: ")
    visitors = int(given) if given.isdecimal() and 0 < int(given) < 1_000_000 else thresholds.VISITORS
    offered = thresholds.meanings(draft.config, visitors=visitors)
    for number, meaning in enumerate(offered, start=1):
        print(f"  {number}  {meaning.label}")
    if not thresholds.is_measured(draft.config):
        print("What other thresholds mean here is not known yet: let it count for some days, then run this again.")
    given = _read("Which one? [1]: ")
    if given.isdecimal() and 0 < int(given) <= len(offered):
        draft.set({"rules.0.upper": offered[int(given) - 1].upper})


def _pagers(draft: Draft, step: Step) -> None:
    _questions(draft, step)
    print(
        "On a staff device, `edge-agent pager --config staff.yaml`, with this in the file:\n"
        f"  {pager_file(draft.config)}\n"
        "For phones, on a computer of the site: the package edge-agent-pager (docs/pagers.md)"
    )


def _sign(draft: Draft, step: Step) -> None:
    del step
    language = of_terminal()
    print(notice(draft.config, language))
    for line in advice(draft.config.site.jurisdiction, [language]):
        print(line)
    if draft.config.privacy.notice_posted:
        draft.set({"privacy.notice_posted": _yes("Is the sign still up, where people read it first?", usual=True)})
    elif (
        _read("Type yes once it hangs where people read it before they are in view; Enter for not yet: ").lower()
        == "yes"
    ):
        draft.set({"privacy.notice_posted": True})


def _finish(draft: Draft) -> int:
    changes = draft.changes()
    print(f"\nTo be written to {draft.path} and what belongs to it:")
    for option, before, after in changes:
        print(f"  {option}: {before} → {after}")
    if not changes:
        print("  nothing changed")
    if (changes or draft.is_new) and not _yes("Write it?", usual=True):
        print("nothing was written")
        return AgentError.exit_code
    for file in draft.write():
        print(f"written: {file}")
    print("\nedge-agent doctor tries all of it:")
    end = ""
    for end in diagnose(draft.path, draft.config):
        if end not in ("ok", "failed"):
            print(end, flush=True)
    print("\nNext:")
    for command in next_commands(draft.path):
        print(f"  {command}")
    return 0 if end == "ok" else 1
