"""The recipe for a camera that a page needs too: ustreamer reads it, the agent and Chromium read ustreamer."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

import cv2
import pytest
from conftest import PATIENCE_S, REPOSITORY, wait_for_port

from edge_agent.testing import angry_frames, free_port

RECIPE = (REPOSITORY / "docs" / "cameras.md").read_text()


@pytest.fixture
def camera(tmp_path):
    """A USB camera that shows an angry face, and the environment in which a program sees it."""
    assert shutil.which("ustreamer"), "ustreamer is not installed; run: sh tests/install_tools.sh"
    driver, device, pictures = tmp_path / "v4l2.so", tmp_path / "video0", angry_frames(tmp_path / "angry")
    source = REPOSITORY / "tests" / "virtual_camera" / "v4l2.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", driver, source], check=True)
    for number, path in enumerate(sorted(pictures.iterdir())):
        cv2.imwrite(str(pictures / f"{number}.jpg"), cv2.resize(cv2.imread(str(path)), (640, 480)))
    device.touch()
    return {"LD_PRELOAD": str(driver), "CAMERA": str(device), "PICTURES": str(pictures)}


@pytest.fixture
def stream(camera):
    """The address of the stream that the recipe's own line serves."""
    port = free_port()
    line = re.search(r"^ExecStart=(/usr/bin/ustreamer .*)$", RECIPE, re.M)[1]
    line = re.sub(r"--device=\S+", f"--device={camera['CAMERA']}", line).replace("8554", str(port))
    process = subprocess.Popen(
        shlex.split(line), env={**os.environ, **camera}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_port(port)
    yield f"http://127.0.0.1:{port}/stream"
    process.terminate()
    process.wait(PATIENCE_S)


def test_a_page_shows_the_camera_that_the_agent_watches(edge_agent, listen, site, write_config, stream, browser):
    address = re.search(r'^camera: \{device: "(\S+)"\}$', RECIPE, re.M)[1]
    image = re.search(r"^<img src=.*>$", RECIPE, re.M)[0]
    assert address in image
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", write_config(camera={"device": stream}))
    page = browser.new_page()
    page.set_content(image.replace(address, stream), wait_until="commit")
    picture = page.locator("img")
    page.wait_for_function("document.querySelector('img').naturalWidth === 640")
    assert listener.wait_for_json("/alert/0", step="raised")
    shown = picture.screenshot()
    assert any(picture.screenshot() != shown for _ in range(50)), "the page's picture does not move"
    agent.terminate()
    assert agent.wait(PATIENCE_S) == 0
    page.close()
