"""Models that come later: only signed ones, tried before they are used, taken back when they fail."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from bundles import crashing_model
from conftest import PATIENCE_S

from converter.__main__ import main as converter
from edge_agent.agent.trial import Trial
from edge_agent.errors import BundleError
from edge_agent.vision.bundle import MODELS_DIR
from edge_agent.vision.models import Choice, ModelStore

SHIPPED = "fer-compact-3"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        assert converter(["keygen", str(folder / name)]) == 0
    assert (folder / "ours").stat().st_mode & 0o077 == 0
    return folder


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
def make_bundle(tmp_path, keys):
    def make(model_id: str, *, key: str | None = "ours", model: bytes | None = None):
        folder = tmp_path / "incoming" / model_id
        return signed_bundle(folder, model_id, keys / key if key is not None else None, model=model)

    return make


def signed_bundle(folder, model_id, key, *, model=None):
    shutil.copytree(MODELS_DIR / SHIPPED, folder)
    stated = {**json.loads((folder / "manifest.json").read_text()), "id": model_id}
    if model is not None:
        (folder / "model.tflite").write_bytes(model)
        stated["sha256"] = hashlib.sha256(model).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(stated))
    if key is not None:
        assert converter(["sign", str(folder), "--key", str(key)]) == 0
    return folder


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


@pytest.fixture(scope="module")
def confirmed(keys, tmp_path_factory):
    """A state folder in which next-1 was staged, activated and confirmed."""
    state = tmp_path_factory.mktemp("confirmed") / "state"
    store = ModelStore(state, trusted_keys=[keys / "ours.pub"])
    store.stage(signed_bundle(state.parent / "next-1", "next-1", keys / "ours"))
    store.activate("next-1")
    store.choose(SHIPPED)
    store.confirm()
    return state


@pytest.fixture
def models(confirmed, tmp_path):
    """The folder of its models, a copy to damage."""
    return shutil.copytree(confirmed, tmp_path / "state") / "models"


@pytest.fixture
def damaged_store(models, keys):
    return ModelStore(models.parent, trusted_keys=[keys / "ours.pub"])


def turn_a_bit(path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def reverse_labels(folder) -> None:
    path = folder / "manifest.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "labels": stated["labels"][::-1]}))


class TestDamage:
    """What lies in the state folder is not what was staged: the configured model runs, and people are told."""

    def given_up(self, store, models, name="next-1") -> str:
        choice = store.choose(SHIPPED)
        assert (choice.model, choice.bundle, choice.rolled_back) == (SHIPPED, None, name)
        assert f"{name} given up, {SHIPPED} runs" in choice.problem
        assert "edge-agent model rollback" in choice.problem
        assert os.path.lexists(models / ".set-aside" / name)
        # It stays known over restarts until somebody accepts it, and is told once.
        again = store.choose(SHIPPED)
        assert (again.model, again.rolled_back, again.problem) == (SHIPPED, "", choice.problem)
        assert store.rollback() == ""
        assert store.choose(SHIPPED) == Choice(SHIPPED)
        return choice.problem

    def test_a_sound_model_goes_on(self, damaged_store):
        choice = damaged_store.choose(SHIPPED)
        assert (choice.bundle.id, choice.rolled_back, choice.problem) == ("next-1", "", "")

    @pytest.mark.parametrize("file", ["manifest.json", "manifest.sig", "model.tflite", "golden.npz"])
    @pytest.mark.parametrize("place", [0.01, 0.5, 0.999])
    def test_a_turned_bit(self, damaged_store, models, file, place):
        turn_a_bit(models / "next-1" / file, place)
        self.given_up(damaged_store, models)

    @pytest.mark.parametrize("file", ["manifest.json", "manifest.sig", "model.tflite", "golden.npz", ""])
    def test_a_file_gone(self, damaged_store, models, file):
        if file:
            (models / "next-1" / file).unlink()
            self.given_up(damaged_store, models)
        else:
            shutil.rmtree(models / "next-1")
            assert damaged_store.choose(SHIPPED).rolled_back == "next-1"

    def test_labels_reversed(self, damaged_store, models):
        reverse_labels(models / "next-1")
        assert "no trusted key signed" in self.given_up(damaged_store, models)

    def test_a_key_that_is_trusted_no_more(self, models, keys):
        store = ModelStore(models.parent, trusted_keys=[keys / "theirs.pub"])
        assert "no trusted key signed" in self.given_up(store, models)

    def test_keys_that_cannot_be_read_damage_nothing(self, models, keys, tmp_path):
        choice = ModelStore(models.parent, trusted_keys=[tmp_path / "gone.pub"]).choose(SHIPPED)
        assert (choice.model, choice.rolled_back) == (SHIPPED, "next-1")
        assert (models / "next-1").is_dir()

    def test_a_signed_model_under_the_name_of_another(self, damaged_store, models, make_bundle):
        shutil.rmtree(models / "next-1")
        shutil.copytree(make_bundle("older"), models / "next-1")
        assert "holds the model 'older'" in self.given_up(damaged_store, models)

    @pytest.mark.parametrize("part", ["next-1", "next-1/model.tflite", "next-1/manifest.json"])
    def test_a_link_to_elsewhere(self, damaged_store, models, part, tmp_path):
        (models / part).rename(tmp_path / "elsewhere")
        (models / part).symlink_to(tmp_path / "elsewhere")
        assert "is a link" in self.given_up(damaged_store, models)

    def test_only_the_latest_is_kept(self, damaged_store, models, make_bundle):
        for name in ("next-1", "next-2"):
            if name not in damaged_store.staged():
                damaged_store.stage(make_bundle(name))
                damaged_store.activate(name)
            turn_a_bit(models / name / "model.tflite")
            damaged_store.choose(SHIPPED)
        assert [path.name for path in (models / ".set-aside").iterdir()] == ["next-2"]
        assert damaged_store.staged() == []
        # It can be staged anew.
        shutil.rmtree(make_bundle("next-3").parent)
        assert damaged_store.stage(make_bundle("next-2")) == "next-2"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            b"\xff\xfe",
            b"[" * 3000,
            b" " * 100_000,
            b'{"id": "../../elsewhere"}',
            b'{"id": "/elsewhere"}',
            b'{"id": ".."}',
            b'{"id": ".next-1"}',
            b'{"id": "next-1/"}',
            b'{"id": "next-1\\n"}',
            b'{"id": "", "previous": "../x"}',
            b'{"id": 7}',
            b'{"id": null}',
            b'{"id": ["next-1"]}',
            b'{"id": "next-1", "confirmed": "no"}',
            b'{"id": "next-1", "confirmed": 0}',
            b'{"id": "next-1", "confirmed": false, "starts": "many"}',
            b'{"id": "next-1", "confirmed": false, "starts": true}',
            b'{"id": "next-1", "more": 1}',
        ],
    )
    def test_the_file_that_says_what_is_active(self, damaged_store, models, content):
        (models / "active.json").write_bytes(content)
        with pytest.raises(BundleError, match=r"active\.json"):
            damaged_store.path(SHIPPED)
        self.given_up(damaged_store, models, "active.json")
        damaged_store.activate("next-1")
        assert damaged_store.active == "next-1"

    @pytest.mark.parametrize("make", ["link", "dangling", "folder", "fifo"])
    def test_no_file_that_says_what_is_active(self, damaged_store, models, make, tmp_path):
        path = models / "active.json"
        path.rename(tmp_path / "elsewhere")
        if make == "folder":
            path.mkdir()
        elif make == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to(tmp_path / ("elsewhere" if make == "link" else "nothing"))
        self.given_up(damaged_store, models, "active.json")

    def test_a_link_where_it_is_written_is_not_followed(self, damaged_store, models, tmp_path):
        (tmp_path / "precious").write_text("mine")
        (models / ".active.json").symlink_to(tmp_path / "precious")
        damaged_store.rollback()
        assert (tmp_path / "precious").read_text() == "mine"
        assert damaged_store.active == ""

    def test_an_agent_that_cannot_write_runs_all_the_same(self, damaged_store, models, monkeypatch):
        def full(self, target):
            raise OSError(28, "No space left on device")

        reverse_labels(models / "next-1")
        monkeypatch.setattr("pathlib.Path.replace", full)
        monkeypatch.setattr("pathlib.Path.rename", full)
        for _ in range(2):
            choice = damaged_store.choose(SHIPPED)
            assert (choice.model, choice.rolled_back) == (SHIPPED, "next-1")


class TestCrash:
    """A model that is signed, fits its hash, and ends the process that loads it."""

    def test_it_is_not_staged(self, store, make_bundle):
        with pytest.raises(BundleError, match=r"crashes the TFLite runtime .SIGSEGV"):
            store.stage(make_bundle("x", model=crashing_model()))
        assert store.staged() == []

    def test_it_is_not_activated_where_it_came_to_lie_by_itself(self, damaged_store, models, make_bundle):
        shutil.copytree(make_bundle("x", model=crashing_model()), models / "x")
        with pytest.raises(BundleError, match="SIGSEGV"):
            damaged_store.activate("x")
        assert damaged_store.active == "next-1"

    def test_at_the_start_the_model_before_goes_on(self, damaged_store, models, make_bundle):
        shutil.copytree(make_bundle("x", model=crashing_model()), models / "x")
        said = {"id": "x", "previous": "next-1", "confirmed": False, "starts": 0}
        (models / "active.json").write_text(json.dumps(said))
        choice = damaged_store.choose(SHIPPED)
        assert (choice.bundle.id, choice.rolled_back) == ("next-1", "x")
        assert "SIGSEGV" in choice.problem
        # Who accepts that keeps what runs.
        assert damaged_store.rollback() == "next-1"
        assert damaged_store.choose(SHIPPED).problem == ""

    def test_where_the_model_before_is_damaged_the_configured_one_runs(self, damaged_store, models, make_bundle):
        damaged_store.stage(make_bundle("x"))
        damaged_store.activate("x")
        damaged_store.choose(SHIPPED)
        turn_a_bit(models / "next-1" / "model.tflite")
        assert damaged_store.choose(SHIPPED).model == SHIPPED


class TestTrial:
    """A new model is kept when the agent has run with it for a while, or has ended in order."""

    @pytest.fixture
    def store(self, damaged_store, models):
        said = json.loads((models / "active.json").read_text())
        (models / "active.json").write_text(json.dumps({**said, "confirmed": False, "starts": 0}))
        assert damaged_store.choose(SHIPPED).bundle is not None
        return damaged_store

    def kept(self, store) -> bool:
        return store.choose(SHIPPED).bundle is not None

    def test_a_frame_alone_is_not_enough(self, store):
        now = iter([100.0, 100.0, 119.0])
        trial = Trial(store, monotonic=lambda: next(now))
        trial.frame_processed(None, None)
        trial.frame_skipped()
        assert not self.kept(store)

    def test_time(self, store):
        now = iter([100.0, 100.0, 121.0])
        trial = Trial(store, monotonic=lambda: next(now))
        trial.frame_processed(None, None)
        trial.frame_skipped()
        assert self.kept(store)

    def test_an_end_in_order(self, store):
        trial = Trial(store, monotonic=lambda: 100.0)
        trial.frame_processed(None, None)
        trial.close()
        assert self.kept(store)

    def test_an_end_without_a_frame(self, store):
        Trial(store, monotonic=lambda: 100.0).close()
        assert not self.kept(store)


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
