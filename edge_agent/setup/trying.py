"""Tries answers before they are written: a picture of the camera, which way it is up, the broker with its password."""

from __future__ import annotations

import dataclasses
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent.camera import make_camera
from edge_agent.camera.frames import Image
from edge_agent.config import Config
from edge_agent.errors import AgentError, CameraError
from edge_agent.setup.draft import Draft
from edge_agent.tools import doctor
from edge_agent.vision.analysis import Vision
from edge_agent.vision.upright import TURNS, stands_upright

#: A camera's first pictures are too dark or too bright.
_SETTLE_FRAMES = 5
_RAMP = np.array(list(" .:-=+*#%@"))
_COLUMNS = 64


def take_picture(config: Config) -> Image:
    """Return a picture of the camera; nothing keeps it.

    Returns:
        uint8 (height, width, 3), BGR, turned as configured.

    Raises:
        CameraError: the camera gives none.
    """
    camera = make_camera(dataclasses.replace(config.camera, loop=True))
    try:
        camera.open()
        for _ in range(_SETTLE_FRAMES):
            frame = camera.read()
        if frame is None:
            raise CameraError("the camera opens but gives no frame")
        return frame.image
    finally:
        camera.close()


def turn_wanted(config: Config, image: Image, vision: Vision) -> int | None:
    """Return the `camera.rotate` with which faces stand upright; None where no face is seen or all is well.

    Args:
        image: uint8 (height, width, 3), BGR, turned as configured.
    """
    turned = ((angle, np.asarray(cv2.rotate(image, turn), dtype=np.uint8)) for angle, turn in TURNS.items())
    for angle, picture in ((0, image), *turned):
        if any(stands_upright(face, picture, config.gates) for face in vision.find_faces(picture)):
            return (config.camera.rotate + angle) % 360 if angle else None
    return None


def as_characters(image: Image) -> str:
    """Return a picture for a terminal, bright pixels as dense characters.

    Args:
        image: uint8 (height, width, 3), BGR.
    """
    height, width = image.shape[:2]
    rows = max(1, round(_COLUMNS * height / width / 2))  # a character is twice as high as it is wide
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (_COLUMNS, rows), interpolation=cv2.INTER_AREA)
    return "\n".join("".join(row) for row in _RAMP[grey.astype(int) * len(_RAMP) // 256])


def broker_problem(draft: Draft) -> tuple[bool, str]:
    """Return whether the broker takes messages of this device, and what it says."""
    try:
        return True, doctor.try_broker(draft.config, password=draft.broker_password())
    except AgentError as error:
        return False, str(error)


def diagnose(path: Path, config: Config) -> Iterator[str]:
    """Run `edge-agent doctor`, yield its lines, then `ok` or `failed`.

    As root it runs as the user who owns the state folder, as the service does, so that what it leaves there is the
    service's.
    """
    command = [sys.executable, "-m", "edge_agent", "doctor", "--config", str(path)]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **_as_service(config),
        )
    except OSError as error:  # that user may not run what root may
        yield f"FAIL  doctor cannot be run: {error.strerror}; as the service's user: edge-agent doctor --config {path}"
        yield "failed"
        return
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.rstrip("\n")
    yield "ok" if process.returncode == 0 else "failed"


def _as_service(config: Config) -> dict[str, Any]:
    """Return what starts a process as the owner of the state folder; nothing where that is who we are."""
    folder = config.outbox.state_dir
    if os.geteuid() != 0 or not folder.exists() or (user := folder.stat().st_uid) == 0:
        return {}
    try:
        known = pwd.getpwuid(user)
    except KeyError:
        return {}
    return {"user": user, "group": known.pw_gid, "extra_groups": os.getgrouplist(known.pw_name, known.pw_gid)}
