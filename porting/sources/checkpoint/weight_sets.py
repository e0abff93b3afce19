"""Which of a checkpoint's tensors are weights, and of which set."""

from __future__ import annotations

from functools import lru_cache

EMA_SUFFIX = "/ExponentialMovingAverage"
"""``tf.train.ExponentialMovingAverage`` names its shadows so."""

_STATISTICS = ("moving_mean", "moving_variance")
_SLOTS = (
    "/RMSProp",
    "/RMSProp_1",
    "/RMSProp_2",
    "/Momentum",
    "/Adam",
    "/Adam_1",
    "/Adagrad",
    "/Adadelta",
    "/Adadelta_1",
    "/Ftrl",
    "/Ftrl_1",
)
_STEPS = ("global_step", "beta1_power", "beta2_power")


@lru_cache(maxsize=1 << 16)
def not_a_weight(name: str) -> str | None:
    """The rule by which a tensor is left out, or None for a weight.

    Slot names are those that TensorFlow's optimizers give
    (``tensorflow/python/training``).
    """
    if name.endswith(_SLOTS):
        return "optimizer slot"
    if name.rsplit("/", 1)[-1] in _STEPS:
        return "training step"
    return None


def is_statistic(name: str) -> bool:
    """Whether a variable is a batch norm's own running average, which training does not touch.

    ``ExponentialMovingAverage.apply()`` without a list shadows trainable variables
    alone, so that these have no average in some of slim's checkpoints.
    """
    return name.rsplit("/", 1)[-1] in _STATISTICS
