"""How a recipe's network learns: loss, optimizer, and how the learning rate goes."""

from __future__ import annotations

import keras

from trainer.recipe import Recipe


def compile_to_learn(
    model: keras.Model, recipe: Recipe, *, learning_rate: float, epochs: int, steps_per_epoch: int
) -> None:
    """Give the network its loss and the recipe's optimizer.

    The learning rate warms up over two epochs at most, then falls to nothing as a cosine (Loshchilov and Hutter,
    "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, without restarts).

    Args:
        learning_rate: at its highest.
        epochs: of the whole training, warm-up included.
    """
    steps = epochs * steps_per_epoch
    warmup = min(2 * steps_per_epoch, steps // 4)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20, steps - warmup, warmup_target=learning_rate, warmup_steps=warmup
    )
    optimizer: keras.optimizers.Optimizer
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
    else:
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer=optimizer,
        loss=cross_entropy,
        weighted_metrics=[],
        metrics=[Accuracy(len(recipe.classes))],
        jit_compile=keras.backend.backend() == "jax",  # which runs step by step without
    )


def cross_entropy(targets: keras.KerasTensor, probabilities: keras.KerasTensor) -> keras.KerasTensor:
    """Return the cross-entropy of each row, (n,); of several answers side by side the sum of theirs."""
    likely = keras.ops.log(keras.ops.clip(probabilities, 1e-7, 1.0))
    return -keras.ops.sum(keras.ops.cast(targets, likely.dtype) * likely, axis=-1)


class Accuracy(keras.metrics.MeanMetricWrapper):
    """How often an answer's likeliest class is its target's, 0..1: the mean of both answers where there are two.

    Args:
        classes: columns of the first answer.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(lambda targets, probabilities: _hits(targets, probabilities, classes), name="accuracy")


def _hits(targets: keras.KerasTensor, probabilities: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    ops = keras.ops
    hits = [
        ops.cast(ops.argmax(part, axis=-1) == ops.argmax(guess, axis=-1), "float32")
        for part, guess in (
            (targets[:, :classes], probabilities[:, :classes]),
            (targets[:, classes:], probabilities[:, classes:]),
        )
        if part.shape[-1]
    ]
    return sum(hits) / len(hits)
