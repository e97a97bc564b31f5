"""Trainings that end early, search, or do with little: the commands on drawn faces, without a run to begin from."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import h5py
import numpy as np
from drawn import draw, trainer, write_data


def test_an_interrupted_training_resumes_where_it_was(drawn_data, tmp_path):
    run, epochs, batch_size = tmp_path / "r", 24, 16
    options = ["--model", "happy_sad_shallow", "--batch-size", batch_size, "--epochs", epochs, "--out", run]
    options += ["--patience", epochs]
    command = ["fit", "--data", drawn_data, *options]

    def stop_in(epoch: int, number: int) -> tuple[int, str]:
        """Stop a training at the earliest in that epoch; these take a moment each, and the signal a moment too."""
        training = subprocess.Popen(
            [sys.executable, "-u", "-m", "trainer", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        next(line for line in training.stdout if line.startswith(f"Epoch {epoch}/{epochs}"))
        training.send_signal(number)
        err = training.communicate()[1]
        return training.returncode, err

    def last_kept():
        [kept] = (run / "checkpoints").glob("epoch-*")
        return kept, int(kept.name.split("-")[1].split(".")[0])

    code, err = stop_in(3, signal.SIGINT)
    assert code == 130
    assert "continues where it was" in err
    assert "Traceback" not in err
    _, done = last_kept()
    assert 2 <= done < epochs - 2
    stop_in(max(done + 2, epochs // 2), signal.SIGKILL)
    kept, done = last_kept()
    assert done < epochs
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000])
    spoilt = trainer(*command)
    assert spoilt.returncode == 2
    assert f"{kept} cannot be resumed from" in spoilt.stderr
    kept.write_bytes(whole)
    other = trainer(*command, "--seed", 9)
    assert other.returncode == 2
    assert "was begun with another recipe" in other.stderr
    (tmp_path / "fewer").mkdir()
    for name in ("fer2013.csv", "fer2013new.csv"):
        rows = (drawn_data / name).read_text().splitlines(keepends=True)
        happy = 1 + 3  # a header, then label after label
        (tmp_path / "fewer" / name).write_text("".join([*rows[:happy], *rows[happy + 1 :]]))
    refused = trainer("fit", "--data", tmp_path / "fewer", *options)
    assert refused.returncode == 2
    assert "was begun with other faces" in refused.stderr
    last = trainer(*command)
    assert last.returncode == 0, last.stderr
    lived = [line for line in last.stdout.splitlines() if line.startswith("Epoch")]
    assert lived == [f"Epoch {epoch}/{epochs}" for epoch in range(done + 1, epochs + 1)]
    history = (run / "history.csv").read_text().splitlines()[1:]
    assert {int(row.split(",")[0]) for row in history} == set(range(epochs))
    kept, done = last_kept()
    assert done == epochs
    steps = json.loads((run / "run.json").read_text())["training_faces"] // batch_size
    with h5py.File(kept) as file:
        assert int(file["optimizer/vars/0"][()]) == epochs * steps


def test_patience_outlives_an_interruption():
    import keras

    from trainer.fit.callbacks import StopEarly

    for earlier, epochs in (([], 4), ([0.5], 3), ([0.3, 0.5, 0.4, 0.5], 1)):
        stop = StopEarly(patience=3, earlier=earlier)
        model = keras.Sequential()
        model.stop_training = False
        stop.set_model(model)
        stop.on_train_begin()
        lived = 0
        while not model.stop_training:
            stop.on_epoch_end(len(earlier) + lived, {"val_accuracy": 0.5 if not (earlier or lived) else 0.4})
            lived += 1
        assert lived == epochs


def test_a_network_of_one_convolution_is_reported_on(drawn_data, tmp_path):
    result = trainer(
        "fit", "--model", "happy_sad_shallow", "--data", drawn_data, "--out", tmp_path / "run", "--epochs", 1,
        "--batch-size", 16, "--max-faces", 32,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    drawn = [path.name for path in sorted((tmp_path / "run" / "report" / "activations").iterdir())]
    assert [name.split("-")[1].split("_")[0] for name in drawn][:2] == ["conv2d", "max"]
    assert "dense" in drawn[-2]
    row = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert float(row[1].split(",")[row[0].split(",").index("seconds")]) > 0


def test_a_search_finds_a_width_and_trains_with_it(drawn_data, tmp_path):
    result = trainer(
        "tune", "--model", "two_conv", "--data", drawn_data, "--out", tmp_path / "tuned", "--trials", 2,
        "--trial-epochs", 1, "--epochs", 1, "--batch-size", 32, "--max-faces", 64,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    trials = json.loads((tmp_path / "tuned" / "tuning.json").read_text())
    assert len(trials) == 2
    assert trials[0]["validation_loss"] <= trials[1]["validation_loss"]
    assert "trial 2 of 2: dense_units" in result.stdout
    run = json.loads((tmp_path / "tuned" / "run.json").read_text())
    assert run["recipe"]["dense_units"] == trials[0]["dense_units"]
    again = trainer("tune", "--model", "two_conv", "--data", drawn_data, "--out", tmp_path / "tuned")
    assert again.returncode == 2
    assert "holds a finished run" in again.stderr
    other = trainer("tune", "--model", "svm", "--data", drawn_data, "--out", tmp_path / "other")
    assert other.returncode == 2
    assert "no dense layer to search" in other.stderr
    own = trainer("tune", "--dense-units", 16, "--data", drawn_data, "--out", tmp_path / "other")
    assert own.returncode == 2
    assert "leave --dense-units out" in own.stderr


def test_an_svm_does_without_a_class_that_nobody_shows(tmp_path):
    random = np.random.default_rng(6)
    write_data(tmp_path, [(label, draw(label, random), "Training") for _ in range(20) for label in (0, 3, 6)])
    result = trainer("fit", "--model", "svm", "--data", tmp_path, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "run" / "run.json").read_text())["validation"]
    confusion = np.array(figures["confusion"])
    assert confusion[:, [0, 3, 6]].sum() == figures["n"]
    assert confusion.sum() == figures["n"]
