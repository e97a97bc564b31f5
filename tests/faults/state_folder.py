"""What a worn card, a restored copy or somebody else does to the state folder while the agent is down."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stage import SITE, Fault, Row, Scene, progress
from witness import Witness

from edge_agent.config import Config
from edge_agent.delivery.messages import Message, Priority
from edge_agent.delivery.outbox import FILE_NAME, Outbox
from edge_agent.vision.bundle import find_bundle
from edge_agent.vision.models import ModelStore

#: The helpers of the tests, and the converter, which is not installed.
sys.path += [str(folder) for folder in Path(__file__).parents[1:3]]

_RULES = 6
_SAYS = ("were damaged on the disk", "could not be read and was moved", "cannot use")


def turn_bits(path: Path, chance: random.Random, *, near: bytes = b"") -> None:
    """Turn 1 to 8 bits of a file.

    Args:
        near: what the file holds, within 300 bytes behind which they are; anywhere where it is not there.
    """
    content = bytearray(path.read_bytes())
    places = [at for at in range(len(content)) if content.startswith(near, at)] if near else []
    for _ in range(chance.randint(1, 8)):
        spot = chance.choice(places) + chance.randrange(300) if places else chance.randrange(len(content))
        content[spot % len(content)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def several_rules(scene: Scene) -> str:
    [rule] = scene.kiosk.settings["rules"]
    scene.kiosk.settings["rules"] = [{**rule, "name": f"angry-{number}"} for number in range(_RULES)]
    scene.props["witness"] = Witness(scene.broker.port)
    return ""


def damage_what_waits(scene: Scene, number: int) -> None:
    """Pages wait for a broker that is away; bits turn while the agent is down, in the file or in what waits."""
    witness: Witness = scene.props["witness"]
    scene.broker.kill()
    scene.kiosk.end(signal.SIGTERM)
    before = set(scene.kiosk.raised)
    scene.kiosk.start()
    scene.until(lambda: len(scene.kiosk.raised - before) >= _RULES)
    # By turns: killed, with all that waits in the log, and stopped, with all in the file.
    scene.kiosk.end(signal.SIGTERM if number % 2 else signal.SIGKILL)
    waiting = scene.kiosk.raised - set(scene.staff.shown)
    log = scene.kiosk.state_dir / f"{FILE_NAME}-wal"
    path = log if log.exists() and log.stat().st_size else scene.kiosk.state_dir / FILE_NAME
    turn_bits(path, scene.random, near=b'"schema"' if number % 4 < 2 else b"")
    scene.kiosk.start()
    scene.broker.start()
    scene.until_watching()
    if not scene.until_shown(30):
        scene.wrong.append("no page after the damage")
    scene.until(lambda: waiting <= set(scene.staff.shown), 8)
    lost = waiting - set(scene.staff.shown)
    if lost and any(text in line for line in scene.kiosk.said[scene.kiosk.started :] for text in _SAYS):
        scene.given_up |= lost
    for alert_id, steps in list(witness.steps.items()):
        for step in steps.values():
            if alert_id not in scene.kiosk.rules or _altered(step, scene.kiosk.rules[alert_id]):
                scene.wrong.append(f"altered: {step}"[:200])
    witness.steps.clear()


def _altered(step: dict[str, object], rule: str) -> bool:
    said = {key: step.get(key) for key in ("schema", "version", "site", "device", "rule", "message", "groups", "zone")}
    return said != {
        "schema": "alert", "version": 1, "site": SITE, "device": "kiosk-1", "rule": rule,
        "message": "Please send assistance", "groups": ["staff"], "zone": "view",
    }  # fmt: skip


def fuzz_outbox(folder: Path, count: int, chance: random.Random) -> Row:
    """Turn bits in the outbox's files, of a run that was killed and of one that ended, and read what is left."""
    altered, untold, given_up, odd = 0, 0, 0, list[str]()
    for number in range(count):
        kept = Path(tempfile.mkdtemp(dir=folder))
        box = Outbox(kept / "run", max_bytes=4_000_000, unix=lambda: 1000.0)
        sent, notes = list[Message](), list[str]()
        for row in range(chance.randint(1, 12)):
            alert_id = f"{row:026d}"
            body = json.dumps({"schema": "alert", "n": row, "pad": "x" * 600}).encode()
            sent.append(Message(f"kiosk/v1/s/k/alert/{alert_id}", body, False, None, Priority.ALERT, alert_id))
            notes.append(f"note {row} " + "y" * 300)
            box.add(replace(sent[-1], expiry_s=600.0), note=("episodes", notes[-1]))
        if number % 2:
            box.close()
        shutil.copytree(kept / "run", kept / "next")
        files = [path for path in (kept / "next").iterdir() if path.stat().st_size and path.suffix != ".sqlite3-shm"]
        turn_bits(chance.choice([path for path in files if not path.name.endswith("-shm")]), chance)
        try:
            after = Outbox(kept / "next", max_bytes=4_000_000, unix=lambda: 1000.0)
            rows, note = [row.message for row in after.pending(limit=99)], after.note("episodes")
            told = bool(after.set_aside or after.damaged or after.problem)
            altered += any(message not in sent for message in rows) or note not in (None, *notes)
            untold += (len(rows) < len(sent) or note != notes[-1]) and not told
            given_up += len(sent) - len(rows)
            after.close()
        except Exception as error:  # what must not happen is what is looked for
            odd.append(repr(error)[:80])
        box.close()
        shutil.rmtree(kept)
        progress("bits turned in the outbox", number + 1, count)
    note = f"{given_up} messages set aside, said so; {altered} altered {odd[:1] or ''}".strip()
    return Row("bits turned in the outbox, read at once", count, lost=untold, broke=altered + len(odd), note=note)


def put_back(scene: Scene, number: int) -> None:
    """The folder is copied, the agent runs on, is killed, and finds the folder as it was."""
    copy = scene.folder / "copy"
    scene.until_watching()
    shutil.rmtree(copy, ignore_errors=True)
    scene.kiosk.process.send_signal(signal.SIGSTOP)
    shutil.copytree(scene.kiosk.state_dir, copy)
    scene.kiosk.process.send_signal(signal.SIGCONT)
    for _ in range(scene.random.randint(1, 3)):
        scene.until_shown()
    scene.wait(0.0, 0.3)
    scene.kiosk.end(signal.SIGKILL)
    shutil.rmtree(scene.kiosk.state_dir)
    shutil.copytree(copy, scene.kiosk.state_dir)
    scene.kiosk.start()
    scene.until_watching()
    if not scene.until_shown(30):
        scene.wrong.append("nobody is paged for any more")


def staged_model(scene: Scene) -> str:
    """Stage, activate and confirm a model that is not the shipped one."""
    from bundles import signed_bundle

    from converter.__main__ import main as converter

    key = scene.folder / "key"
    with contextlib.redirect_stdout(io.StringIO()):
        converter(["keygen", str(key)])
        made = signed_bundle(scene.folder / "next-1", "next-1", key)
    scene.kiosk.settings["emotion"] = {"trusted_keys": [str(key.with_suffix(".pub"))]}
    store = ModelStore(scene.kiosk.state_dir, trusted_keys=[key.with_suffix(".pub")])
    store.stage(made)
    store.activate("next-1")
    store.choose(Config().emotion.model)
    store.confirm()
    scene.props["models"] = shutil.copytree(scene.kiosk.state_dir / "models", scene.folder / "models")
    return ""


def spoilt_model(spoil: Callable[[Path, Scene], None], *says: str) -> Fault:
    """What is staged is spoilt while the agent is down: it says so, runs the shipped one, and pages."""

    def do(scene: Scene, number: int) -> None:
        models, shipped = scene.kiosk.state_dir / "models", find_bundle(Config().emotion.model).name
        scene.kiosk.end(signal.SIGTERM)
        shutil.rmtree(models)
        shutil.copytree(scene.props["models"], models)
        spoil(models, scene)
        scene.kiosk.start()
        scene.until_said("given up", since=scene.kiosk.started)
        scene.until_watching()
        if scene.kiosk.model != shipped:
            scene.wrong.append(f"runs {scene.kiosk.model}")
        if not scene.until_shown(30):
            scene.wrong.append("no page after the model was spoilt")

    return Fault(5, do, staged_model)


def turn_a_bit(models: Path, scene: Scene) -> None:
    turn_bits(models / "next-1" / "model.tflite", scene.random)


def reverse_labels(models: Path, scene: Scene) -> None:
    path = models / "next-1" / "manifest.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "labels": stated["labels"][::-1]}))


def name_another(models: Path, scene: Scene) -> None:
    """Say that what is active lies elsewhere, in ways that change by turns."""
    elsewhere = scene.random.choice(["../../next-1", str(scene.folder / "next-1"), "..", "../models/next-1", "next-1/"])
    (models / "active.json").write_text(json.dumps({"id": elsewhere}))


def let_it_crash(models: Path, scene: Scene) -> None:
    """Put a signed model there, activated and not tried yet, that ends the process which loads it."""
    from bundles import crashing_model, signed_bundle

    made = scene.folder / "crashes"
    if not made.exists():
        with contextlib.redirect_stdout(io.StringIO()):
            signed_bundle(made, "crashes", scene.folder / "key", model=crashing_model())
    shutil.copytree(made, models / "crashes")
    said = {"id": "crashes", "previous": "", "confirmed": False, "starts": 0}
    (models / "active.json").write_text(json.dumps(said))


STATE_FAULTS: dict[str, Fault] = {
    "bits turned in the outbox": Fault(
        20, damage_what_waits, several_rules, lambda scene: scene.props["witness"].close()
    ),
    "state folder put back": Fault(20, put_back),
    "staged model: bits turned": spoilt_model(turn_a_bit),
    "staged model: manifest altered": spoilt_model(reverse_labels),
    "staged model: another place named": spoilt_model(name_another),
    "staged model: crashes TFLite": spoilt_model(let_it_crash),
}
