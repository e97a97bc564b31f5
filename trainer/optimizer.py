"""The optimizer that a recipe asks for, and how its learning rate goes."""

from __future__ import annotations

import keras

from trainer.recipe import Recipe


def make_optimizer(
    recipe: Recipe, *, learning_rate: float, steps: int, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """Return the optimizer; its learning rate warms up over two epochs at most, then falls to nothing as a cosine.

    The cosine is after Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), without
    restarts.

    Args:
        learning_rate: at its highest.
        steps: of the whole training, warm-up included.
    """
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
    return optimizer
