"""What a model does to the process that tries it stays there, and is bounded."""

from __future__ import annotations

import shutil
import time

import pytest
from bundles import change_model, crashing_model

from edge_agent.errors import BundleError
from edge_agent.vision.bundle import MODELS_DIR
from edge_agent.vision.probe import probe


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(MODELS_DIR / "fer-compact-3", tmp_path / "bundle")


def test_a_sound_model_passes(folder):
    probe(folder)


def test_a_model_that_crashes_is_named_with_the_signal(folder):
    change_model(folder, crashing_model())
    with pytest.raises(BundleError, match=r"bundle: the model crashes the TFLite runtime .SIGSEGV.$"):
        probe(folder)


def test_what_the_bundle_is_refused_for_is_said_as_ever(folder):
    change_model(folder, b"nonsense" * 100)
    with pytest.raises(BundleError, match=r"^ai-edge-litert does not accept the model: [^\n]*$"):
        probe(folder)


def test_time_is_bounded(folder):
    start_s = time.monotonic()
    with pytest.raises(BundleError, match=r"takes longer than 0\.05 s"):
        probe(folder, limit_s=0.05)
    assert time.monotonic() - start_s < 10


def test_memory_is_bounded(folder):
    with pytest.raises(BundleError, match="takes more than 1 MB"):
        probe(folder, limit_mb=1)


def test_the_working_folder_brings_no_code_of_its_own(folder, tmp_path, monkeypatch):
    package = tmp_path / "edge_agent"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    probe(folder)


def test_a_runtime_that_is_not_installed_is_named(folder):
    with pytest.raises(BundleError, match=r"no TFLite runtime found .tflite-runtime"):
        probe(folder, runtime="tflite-runtime")
