"""The networks, one a file; each has `build(classes, ...)` that returns an uncompiled Keras model.

Every network takes float32 (n, 48, 48, 1), grey, 0..1 and returns float32 (n, classes) probabilities, those that
can have a second answer with it beside the first (`plain.finish`), so that any of them can be trained, judged and
converted by the same commands.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainer.errors import TrainerError
from trainer.labels import FOUR
from trainer.recipe import Recipe

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt

_HAPPY_OR_NOT = ("happy", "not_happy")
_HAPPY_OR_SAD = ("happy", "sad")
_PLAIN = {
    "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-4, "mixup": 0.0, "label_smoothing": 0.0,
    "epochs": 40, "batch_size": 64, "patience": 8,
}  # fmt: skip
_PRETRAINED = {**_PLAIN, "learning_rate": 3e-4, "epochs": 20, "batch_size": 32, "frozen_epochs": 5}


@dataclass(frozen=True, slots=True)
class Network:
    """One network of the zoo; its module, named as it is, is imported when it is built.

    Attributes:
        about: one line for people.
        recipe: what differs from Recipe's defaults when it is trained as published.
        options: fields of Recipe that its `build` takes.
    """

    about: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()


NETWORKS = {
    "compact": Network("what ships: residual, ReLU6, quantizes well", {"mirrored": True, "votes": True}, ("votes",)),
    "teacher": Network("compact, wider: teaches it, never ships", {"votes": True}, ("votes",)),
    "coarse_stem": Network(
        "compact with a 5x5 stem: the second teacher",
        {"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05, "mixup": 0.0, "epochs": 80, "votes": True},
        ("votes",),
    ),
    "face_resnet": Network(
        "29 convolutions that know faces apart, fine-tuned: a teacher that FER+ agrees with",
        {"optimizer": "adamw", "learning_rate": 2.5e-4, "weight_decay": 0.05, "epochs": 16, "patience": 1000},
        ("weights",),
    ),
    "face_mobilenet": Network(
        "MobileNet that knows faces and ages apart, fine-tuned: a teacher",
        {"optimizer": "adamw", "learning_rate": 1.5e-4, "weight_decay": 0.05, "epochs": 22, "batch_size": 64},
        ("weights",),
    ),
    "efficientnet_lite0": Network(
        "EfficientNet-Lite0 that knows ImageNet, fine-tuned: a teacher",
        {"optimizer": "adamw", "learning_rate": 3e-4, "weight_decay": 0.05, "epochs": 20, "batch_size": 64},
        ("weights",),
    ),
    "two_conv": Network("2 convolutions with max pooling", {**_PLAIN, "classes": FOUR}, ("dense_units",)),
    "two_conv_dropout": Network("two_conv with dropout", {**_PLAIN, "classes": FOUR}, ("dense_units",)),
    "happy_base": Network("3 convolutions, dense 112-112", {**_PLAIN, "classes": _HAPPY_OR_NOT}),
    "happy_tuned": Network(
        "3 wide convolutions without pooling, dense 80",
        {**_PLAIN, "classes": _HAPPY_OR_NOT, "epochs": 3, "batch_size": 16, "max_faces": 600},
    ),
    "happy_sad_dense": Network("no convolution, dense 256-64", {**_PLAIN, "classes": _HAPPY_OR_SAD}),
    "happy_sad_shallow": Network("1 convolution", {**_PLAIN, "classes": _HAPPY_OR_SAD}),
    "happy_sad_deep": Network("4 convolutions, batch norm, dropout", {**_PLAIN, "classes": _HAPPY_OR_SAD}),
    "custom_cnn": Network("3 convolutions, 2 dense, batch norm everywhere, late dropout", _PLAIN),
    "resnet50": Network("ResNet50 on ImageNet, then fine-tuned", _PRETRAINED, ("weights",)),
    "vgg16": Network("VGG16 on ImageNet or VGGFace, then fine-tuned", _PRETRAINED, ("weights",)),
    "efficientnetb0": Network("EfficientNetB0 on ImageNet, then fine-tuned", _PRETRAINED, ("weights",)),
}


def recipe_for(model: str, given: Mapping[str, Any]) -> Recipe:
    """Return a network's recipe with some choices replaced.

    Raises:
        TrainerError: there is no such network, or a choice is not possible for it.
    """
    network = _network(model)
    for name in ("dense_units", "weights", "votes"):
        if given.get(name) and name not in network.options:
            raise TrainerError(f"{model} takes no --{name.replace('_', '-')}")
    for name in ("frozen_epochs", "fine_tune_from"):
        if given.get(name) is not None and "frozen_epochs" not in network.recipe:
            raise TrainerError(f"{model} has no frozen base; --{name.replace('_', '-')} is for those that have")
    return Recipe(**{"model": model, **network.recipe, **given})


def build(recipe: Recipe) -> keras.Model:
    """Return the recipe's network, uncompiled: float32 (n, 48, 48, 1), grey, 0..1 → (n, classes), softmax.

    Raises:
        TrainerError: there is no such network, or its pre-trained weights are not to be had.
    """
    network = _network(recipe.model)
    given = {name: getattr(recipe, name) for name in network.options}
    module = importlib.import_module(f"trainer.zoo.{recipe.model}")
    return module.build(len(recipe.classes), **{name: value for name, value in given.items() if value is not None})


def build_to_train(recipe: Recipe) -> keras.Model:
    """Return the recipe's network in the recipe's precision; see `build`."""
    import keras

    keras.config.set_dtype_policy(recipe.precision)
    try:
        return build(recipe)
    finally:
        keras.config.set_dtype_policy("float32")


def prepare(recipe: Recipe, model: keras.Model, faces: npt.NDArray[np.uint8]) -> None:
    """Let a network that wants it look at faces before training, uint8 (n, 48, 48)."""
    module = importlib.import_module(f"trainer.zoo.{recipe.model}")
    if hasattr(module, "prepare"):
        module.prepare(model, faces)


def _network(name: str) -> Network:
    if name not in NETWORKS:
        raise TrainerError(f"no network {name!r}; there are: {', '.join(NETWORKS)}, and svm as a baseline")
    return NETWORKS[name]
