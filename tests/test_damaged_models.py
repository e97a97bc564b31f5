"""Staged models that were altered, that crash, or that do not last: another one runs, and people are told."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from bundles import crashing_model, reverse_labels, turn_a_bit

from edge_agent.agent.trial import Trial
from edge_agent.errors import BundleError
from edge_agent.vision.models import Choice, ModelStore

SHIPPED = "fer-compact-3"


@pytest.fixture
def store(models, keys):
    return ModelStore(models.parent, trusted_keys=[keys / "ours.pub"])


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

    def test_a_sound_model_goes_on(self, store):
        choice = store.choose(SHIPPED)
        assert (choice.bundle.id, choice.rolled_back, choice.problem) == ("next-1", "", "")

    @pytest.mark.parametrize("file", ["manifest.json", "manifest.sig", "model.tflite", "golden.npz"])
    @pytest.mark.parametrize("place", [0.01, 0.5, 0.999])
    def test_a_turned_bit(self, store, models, file, place):
        turn_a_bit(models / "next-1" / file, place)
        self.given_up(store, models)

    @pytest.mark.parametrize("file", ["manifest.json", "manifest.sig", "model.tflite", "golden.npz", ""])
    def test_a_file_gone(self, store, models, file):
        if file:
            (models / "next-1" / file).unlink()
            self.given_up(store, models)
        else:
            shutil.rmtree(models / "next-1")
            assert store.choose(SHIPPED).rolled_back == "next-1"

    def test_labels_reversed(self, store, models):
        reverse_labels(models / "next-1")
        assert "no trusted key signed" in self.given_up(store, models)

    def test_a_key_that_is_trusted_no_more(self, models, keys):
        store = ModelStore(models.parent, trusted_keys=[keys / "theirs.pub"])
        assert "no trusted key signed" in self.given_up(store, models)

    def test_keys_that_cannot_be_read_damage_nothing(self, models, keys, tmp_path):
        choice = ModelStore(models.parent, trusted_keys=[tmp_path / "gone.pub"]).choose(SHIPPED)
        assert (choice.model, choice.rolled_back) == (SHIPPED, "next-1")
        assert (models / "next-1").is_dir()

    def test_a_signed_model_under_the_name_of_another(self, store, models, make_bundle):
        shutil.rmtree(models / "next-1")
        shutil.copytree(make_bundle("older"), models / "next-1")
        assert "holds the model 'older'" in self.given_up(store, models)

    @pytest.mark.parametrize("part", ["next-1", "next-1/model.tflite", "next-1/manifest.json"])
    def test_a_link_to_elsewhere(self, store, models, part, tmp_path):
        (models / part).rename(tmp_path / "elsewhere")
        (models / part).symlink_to(tmp_path / "elsewhere")
        assert "is a link" in self.given_up(store, models)

    def test_only_the_latest_is_kept(self, store, models, make_bundle):
        for name in ("next-1", "next-2"):
            if name not in store.staged():
                store.stage(make_bundle(name))
                store.activate(name)
            turn_a_bit(models / name / "model.tflite")
            store.choose(SHIPPED)
        assert [path.name for path in (models / ".set-aside").iterdir()] == ["next-2"]
        assert store.staged() == []
        # It can be staged anew.
        shutil.rmtree(make_bundle("next-3").parent)
        assert store.stage(make_bundle("next-2")) == "next-2"

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
    def test_the_file_that_says_what_is_active(self, store, models, content):
        (models / "active.json").write_bytes(content)
        with pytest.raises(BundleError, match=r"active\.json"):
            store.path(SHIPPED)
        self.given_up(store, models, "active.json")
        store.activate("next-1")
        assert store.active == "next-1"

    @pytest.mark.parametrize("make", ["link", "dangling", "folder", "fifo"])
    def test_no_file_that_says_what_is_active(self, store, models, make, tmp_path):
        path = models / "active.json"
        path.rename(tmp_path / "elsewhere")
        if make == "folder":
            path.mkdir()
        elif make == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to(tmp_path / ("elsewhere" if make == "link" else "nothing"))
        self.given_up(store, models, "active.json")

    def test_a_link_where_it_is_written_is_not_followed(self, store, models, tmp_path):
        (tmp_path / "precious").write_text("mine")
        (models / ".active.json").symlink_to(tmp_path / "precious")
        store.rollback()
        assert (tmp_path / "precious").read_text() == "mine"
        assert store.active == ""

    def test_an_agent_that_cannot_write_runs_all_the_same(self, store, models, monkeypatch):
        def full(self, target):
            raise OSError(28, "No space left on device")

        reverse_labels(models / "next-1")
        monkeypatch.setattr("pathlib.Path.replace", full)
        monkeypatch.setattr("pathlib.Path.rename", full)
        for _ in range(2):
            choice = store.choose(SHIPPED)
            assert (choice.model, choice.rolled_back) == (SHIPPED, "next-1")


class TestCrash:
    """A model that is signed, fits its hash, and ends the process that loads it."""

    def test_it_is_not_staged(self, store, make_bundle):
        with pytest.raises(BundleError, match=r"crashes the TFLite runtime .SIGSEGV"):
            store.stage(make_bundle("x", model=crashing_model()))
        assert store.staged() == ["next-1"]

    def test_it_is_not_activated_where_it_came_to_lie_by_itself(self, store, models, make_bundle):
        shutil.copytree(make_bundle("x", model=crashing_model()), models / "x")
        with pytest.raises(BundleError, match="SIGSEGV"):
            store.activate("x")
        assert store.active == "next-1"

    def test_at_the_start_the_model_before_goes_on(self, store, models, make_bundle):
        shutil.copytree(make_bundle("x", model=crashing_model()), models / "x")
        said = {"id": "x", "previous": "next-1", "confirmed": False, "starts": 0}
        (models / "active.json").write_text(json.dumps(said))
        choice = store.choose(SHIPPED)
        assert (choice.bundle.id, choice.rolled_back) == ("next-1", "x")
        assert "SIGSEGV" in choice.problem
        # Who accepts that keeps what runs.
        assert store.rollback() == "next-1"
        assert store.choose(SHIPPED).problem == ""

    def test_where_the_model_before_is_damaged_the_configured_one_runs(self, store, models, make_bundle):
        store.stage(make_bundle("x"))
        store.activate("x")
        store.choose(SHIPPED)
        turn_a_bit(models / "next-1" / "model.tflite")
        assert store.choose(SHIPPED).model == SHIPPED


class TestTrial:
    """A new model is kept when the agent has run with it for a while, or has ended in order."""

    @pytest.fixture
    def tried(self, store, models):
        said = json.loads((models / "active.json").read_text())
        (models / "active.json").write_text(json.dumps({**said, "confirmed": False, "starts": 0}))
        assert store.choose(SHIPPED).bundle is not None
        return store

    def kept(self, store) -> bool:
        return store.choose(SHIPPED).bundle is not None

    def test_a_frame_alone_is_not_enough(self, tried):
        now = iter([100.0, 100.0, 119.0])
        trial = Trial(tried, monotonic=lambda: next(now))
        trial.frame_processed(None, None)
        trial.frame_skipped()
        assert not self.kept(tried)

    def test_time(self, tried):
        now = iter([100.0, 100.0, 121.0])
        trial = Trial(tried, monotonic=lambda: next(now))
        trial.frame_processed(None, None)
        trial.frame_skipped()
        assert self.kept(tried)

    def test_an_end_in_order(self, tried):
        trial = Trial(tried, monotonic=lambda: 100.0)
        trial.frame_processed(None, None)
        trial.close()
        assert self.kept(tried)

    def test_an_end_without_a_frame(self, tried):
        Trial(tried, monotonic=lambda: 100.0).close()
        assert not self.kept(tried)
