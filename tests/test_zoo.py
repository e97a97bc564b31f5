"""Every network of the training ground."""

from __future__ import annotations

import json
import warnings
from importlib import import_module

import numpy as np
import pytest
from drawn import trainer

from converter.quantize import quantize
from edge_agent.vision.runtime import load_interpreter
from trainer.errors import ModelError, TrainerError
from trainer.zoo import NETWORKS, build, recipe_for
from trainer.zoo.mirrored import mirrored
from trainer.zoo.pretrained import layer_index

PUBLISHED_PARAMETERS = {"happy_base": 1_023_170, "happy_tuned": 24_358_450}
PRETRAINED = [name for name, network in NETWORKS.items() if "weights" in network.options]


@pytest.fixture(autouse=True)
def _quiet():
    """Keras, in this process, warns about things that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def recipe(name):
    return recipe_for(name, {"weights": "random"} if name in PRETRAINED else {})


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_turns_faces_into_probabilities_of_its_classes(name):
    chosen = recipe(name)
    model = build(chosen)
    if name in PUBLISHED_PARAMETERS:
        assert model.count_params() == PUBLISHED_PARAMETERS[name]
    if "frozen_epochs" in NETWORKS[name].recipe:
        assert layer_index(model, import_module(f"trainer.zoo.{name}").FINE_TUNE_FROM) > 0
    faces = np.random.default_rng(0).random((2, 48, 48, 1)).astype(np.float32)
    scores = np.asarray(model(faces, training=False))
    answers = [scores[:, : len(chosen.classes)], scores[:, len(chosen.classes) :]]
    assert [answer.shape[1] for answer in answers] == [len(chosen.classes), 8 if chosen.votes else 0]
    for answer in answers[: 2 if chosen.votes else 1]:
        np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)


def test_the_shipped_networks_size_fits_the_smallest_board():
    assert build(recipe("compact")).count_params() < 2_000_000
    assert 1_800_000 < build(recipe("custom_cnn")).count_params() < 2_200_000


class TestPretrained:
    def test_fine_tuning_starts_at_the_named_layer_and_leaves_batch_norm_frozen(self):
        import keras

        from trainer.zoo.pretrained import BASE, unfreeze_from

        model = build(recipe("resnet50"))
        body = model.get_layer(BASE)
        assert not body.trainable_weights
        unfreeze_from(model, "conv5_block1_1_conv")
        learning = [layer.name for layer in body.layers if layer.trainable_weights]
        assert learning[0].startswith("conv5_block1")
        assert not [
            layer for layer in body.layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable_weights
        ]  # fmt: skip
        with pytest.raises(TrainerError, match="no layer 'conv9'; it has: "):
            unfreeze_from(model, "conv9")

    def test_weights_that_are_not_to_be_had_are_explained(self, tmp_path):
        with pytest.raises(ModelError, match="--weights takes imagenet, random or the path"):
            build(recipe_for("vgg16", {"weights": str(tmp_path / "vggface.h5")}))
        (tmp_path / "junk.h5").write_text("junk")
        with pytest.raises(ModelError, match="does not fit VGG16"):
            build(recipe_for("vgg16", {"weights": str(tmp_path / "junk.h5")}))

    def test_a_local_file_of_the_same_layers_fits(self, tmp_path):
        import keras

        source = keras.applications.VGG16(weights=None, include_top=False, input_shape=(96, 96, 3))
        source.save_weights(tmp_path / "face.weights.h5")
        model = build(recipe_for("vgg16", {"weights": str(tmp_path / "face.weights.h5")}))
        loaded = model.get_layer("base").get_layer("block5_conv3").get_weights()[0]
        np.testing.assert_array_equal(loaded, source.get_layer("block5_conv3").get_weights()[0])

    def test_a_base_is_trained_frozen_first_and_fine_tuned_then(self, drawn_data, tmp_path):
        result = trainer(
            "fit", "--model", "efficientnetb0", "--weights", "random", "--data", drawn_data, "--out", tmp_path / "run",
            "--epochs", 2, "--frozen-epochs", 1, "--fine-tune-from", "top_conv", "--batch-size", 8, "--max-faces", 8,
            "--classes", "angry,happy",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert "Epoch 2/2" in result.stdout
        assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]["frozen_epochs"] == 1
        assert list((tmp_path / "run" / "report" / "activations").glob("*conv*.png"))


def test_a_mirrored_network_thinks_the_same_of_a_face_and_its_mirror_image_in_int8_too():
    network = mirrored(build(recipe("compact")))
    faces = np.random.default_rng(0).random((120, 48, 48, 1), dtype=np.float32)
    flipped = np.ascontiguousarray(faces[:, :, ::-1])
    np.testing.assert_allclose(network.predict(faces, verbose=0), network.predict(flipped, verbose=0), atol=1e-5)
    assert network.count_params() == build(recipe("compact")).count_params()
    interpreter = load_interpreter(quantize(network, faces, outputs=15))
    outputs = []
    for face in (faces[0], flipped[0]):
        steps = np.rint(face * 255 - 128).astype(np.int8)[None]
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], steps)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*outputs)
