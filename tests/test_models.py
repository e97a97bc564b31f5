"""Models that come later: only signed ones, tried before they are used, taken back when they fail."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from bundles import reverse_labels, turn_a_bit
from conftest import PATIENCE_S

from converter.__main__ import main as converter
from edge_agent.errors import BundleError
from edge_agent.vision.bundle import MODELS_DIR
from edge_agent.vision.models import ModelStore

SHIPPED = "fer-compact-3"


def test_no_half_of_a_pair_of_keys_is_overwritten_or_left(keys, tmp_path, capsys):
    for kept, gone in (("key", "key.pub"), ("key.pub", "key")):
        folder = tmp_path / kept
        folder.mkdir()
        (folder / kept).write_text("mine")
        assert converter(["keygen", str(folder / "key")]) == 2
        assert f"{folder / kept} exists" in capsys.readouterr().err
        assert (folder / kept).read_text() == "mine"
        assert not (folder / gone).exists()


@pytest.fixture
def store(tmp_path, keys):
    return ModelStore(tmp_path / "state", trusted_keys=[keys / "theirs.pub", keys / "ours.pub"])


def test_a_signed_model_is_staged_activated_confirmed_and_rolled_back(store, make_bundle):
    assert store.stage(make_bundle("next-1")) == "next-1"
    assert store.choose(SHIPPED).model == SHIPPED
    store.activate("next-1")
    choice = store.choose(SHIPPED)
    assert choice.model.endswith("/models/next-1")
    store.confirm()
    assert store.choose(SHIPPED) == choice
    assert store.rollback() == ""
    assert store.choose(SHIPPED).model == SHIPPED


def test_a_model_that_never_comes_to_its_first_frame_is_given_up(store, make_bundle):
    for name in ("good", "bad"):
        store.stage(make_bundle(name))
    store.activate("good")
    store.choose(SHIPPED)
    store.confirm()
    store.activate("bad")
    assert store.choose(SHIPPED).model.endswith("/bad")
    after = store.choose(SHIPPED)
    assert after.model.endswith("/good")
    assert after.rolled_back == "bad"
    assert store.choose(SHIPPED).rolled_back == ""


def test_a_start_that_cannot_be_counted_is_not_tried_with_a_new_model(store, make_bundle, monkeypatch):
    store.stage(make_bundle("next-1"))
    store.activate("next-1")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    assert store.choose(SHIPPED).model == SHIPPED


def test_a_model_activated_meanwhile_is_not_confirmed_by_the_one_that_runs(store, make_bundle):
    for name in ("running", "later"):
        store.stage(make_bundle(name))
    store.activate("running")
    store.choose(SHIPPED)
    store.activate("later")
    store.confirm()
    assert store.choose(SHIPPED).model.endswith("/later")
    assert store.choose(SHIPPED).rolled_back == "later"


class TestAttacks:
    """Named after what is tried; nothing may be staged."""

    def refused(self, store, folder, says: str) -> None:
        with pytest.raises(BundleError, match=says):
            store.stage(folder)
        assert store.staged() == []

    def test_unsigned(self, store, make_bundle):
        self.refused(store, make_bundle("x", key=None), "sign it: python -m converter sign")

    def test_signed_by_a_stranger(self, tmp_path, keys, make_bundle):
        store = ModelStore(tmp_path / "state", trusted_keys=[keys / "ours.pub"])
        self.refused(store, make_bundle("x", key="theirs"), "no trusted key signed")

    def test_manifest_altered_after_signing(self, store, make_bundle):
        folder = make_bundle("x")
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "temperature": 9}))
        self.refused(store, folder, "no trusted key signed")

    def test_model_swapped_after_signing(self, store, make_bundle):
        folder = make_bundle("x")
        shutil.copy(MODELS_DIR / "blazeface-short-range" / "model.tflite", folder / "model.tflite")
        self.refused(store, folder, "sha256 differs")

    def test_golden_vectors_swapped(self, store, make_bundle):
        folder = make_bundle("x")
        (folder / "golden.npz").write_bytes(b"nothing")
        self.refused(store, folder, "golden")

    def test_id_that_leaves_the_folder(self, store, make_bundle, keys):
        folder = make_bundle("x", key=None)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "id": "../../etc"}))
        assert converter(["sign", str(folder), "--key", str(keys / "ours")]) == 0
        self.refused(store, folder, "is not a name")

    def test_file_that_fills_the_disk(self, store, make_bundle):
        folder = make_bundle("x")
        with (folder / "model.tflite").open("r+b") as file:
            file.truncate(10**9)
        self.refused(store, folder, "larger than")

    def test_nobody_trusted(self, tmp_path, make_bundle):
        self.refused(ModelStore(tmp_path / "state"), make_bundle("x"), r"emotion\.trusted_keys")

    def test_a_key_that_lies_wherever_the_agent_works(self, tmp_path, keys, make_bundle, monkeypatch):
        monkeypatch.chdir(keys)
        self.refused(ModelStore(tmp_path / "state", trusted_keys=[Path("ours.pub")]), make_bundle("x"), "from / on")

    def test_another_model_under_a_known_id(self, store, make_bundle, keys):
        folder = make_bundle("x")
        store.stage(folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "temperature": 9}))
        assert converter(["sign", str(folder), "--key", str(keys / "ours")]) == 0
        with pytest.raises(BundleError, match="an id of its own"):
            store.stage(folder)

    def test_staged_model_altered_on_the_disk(self, store, make_bundle, tmp_path):
        store.stage(make_bundle("x"))
        (tmp_path / "state" / "models" / "x" / "model.tflite").write_bytes(b"other")
        with pytest.raises(BundleError, match="sha256 differs"):
            store.activate("x")
        assert store.active == ""


@pytest.fixture
def config_file(write_config, keys):
    return write_config(camera={"source": "synthetic"}, emotion={"trusted_keys": [str(keys / "ours.pub")]})


def test_the_agent_takes_a_new_model_and_goes_back_when_that_start_is_killed(
    run_command, edge_agent, listen, site, make_bundle, config_file
):  # fmt: skip
    assert run_command("model", "stage", make_bundle("next-1"), "--config", config_file).code == 0
    assert run_command("model", "activate", "next-1", "--config", config_file).code == 0
    assert "* next-1" in run_command("model", "list", "--config", config_file).out
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", config_file)
    assert listener.wait_for_json("/info")["model"] == "next-1"
    listener.wait_for(lambda m: m.topic.endswith("/health") and json.loads(m.payload)["frames"] > 0)
    agent.send_signal(signal.SIGSEGV)
    agent.communicate(timeout=PATIENCE_S)
    listener.messages.clear()
    agent = edge_agent("run", "--config", config_file)
    assert listener.wait_for_json("/info")["model"] == SHIPPED
    assert "its last start ended" in listener.wait_for_json("/event", kind="model_rolled_back")["detail"]
    agent.terminate()
    agent.communicate(timeout=PATIENCE_S)
    assert "! next-1 given up" in run_command("model", "list", "--config", config_file).out
    result = run_command("model", "activate", "nonsense", "--config", config_file)
    assert result.code == 3
    assert "staged: next-1" in result.one_line_error()


def test_a_model_altered_under_a_running_agent_is_refused_when_it_begins_anew(
    run_command, edge_agent, listen, site, models, config_file
):  # fmt: skip
    listener = listen(f"kiosk/v1/{site}/#")
    agent = edge_agent("run", "--config", config_file)
    assert listener.wait_for_json("/info")["model"] == "next-1"
    reverse_labels(models / "next-1")
    doctor = run_command("check-config", config_file)
    assert doctor.code == 3
    assert "no trusted key signed" in doctor.one_line_error()
    listener.client.publish(
        f"kiosk/v1/{site}/kiosk-1/cmd/reload", json.dumps({"schema": "command", "version": 1, "request_id": "one"})
    )
    assert listener.wait_for_json("/info", model=SHIPPED)
    assert "next-1 given up" in listener.wait_for_json("/event", kind="model_rolled_back")["detail"]
    said = listener.wait_for(lambda m: m.topic.endswith("/state") and b"next-1 given up" in m.payload)
    assert json.loads(said.payload)["state"] == "degraded"
    agent.terminate()
    _, err = agent.communicate(timeout=PATIENCE_S)
    [line] = [line for line in map(json.loads, err.splitlines()) if "next-1 given up" in line["event"]]
    assert line["level"] == "error"


def test_a_staged_model_that_does_not_fit_the_detector_keeps_no_agent_from_starting(
    edge_agent, listen, site, models, keys, config_file
):  # fmt: skip
    folder = models / "next-1"
    stated = json.loads((folder / "manifest.json").read_text())
    del stated["crop"]["framing"]["blazeface-full-range"]
    (folder / "manifest.json").write_text(json.dumps(stated))
    assert converter(["sign", str(folder), "--key", str(keys / "ours")]) == 0
    listener = listen(f"kiosk/v1/{site}/#")
    edge_agent("run", "--config", config_file)
    assert listener.wait_for_json("/info")["model"] == SHIPPED
    assert "does not state how faces" in listener.wait_for_json("/event", kind="model_rolled_back")["detail"]


def test_a_damaged_model_that_the_configuration_names_ends_the_start(run_command, make_bundle, write_config):
    folder = make_bundle("mine", key=None)
    turn_a_bit(folder / "model.tflite")
    result = run_command(
        "run", "--config", write_config(camera={"source": "synthetic"}, emotion={"model": str(folder)})
    )
    assert result.code == 3
    assert "sha256 differs" in result.one_line_error()
