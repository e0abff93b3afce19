"""Each relation between two arrays, on random weights."""

from __future__ import annotations

import numpy as np
import pytest

from porting.parity.relations import (
    NEAR,
    RELATIONS,
    Pair,
    bits_equal,
    channel_factors,
    relation_of,
)

RANDOM = np.random.default_rng(11)
KERNEL = RANDOM.normal(0, 0.3, (6, 4, 3, 3)).astype(np.float32)
SQUARE = RANDOM.normal(0, 0.3, (5, 5, 3, 3)).astype(np.float32)
DENSE = RANDOM.normal(0, 0.3, (12, 9)).astype(np.float32)
DEPTHWISE = RANDOM.normal(0, 0.3, (8, 1, 3, 3)).astype(np.float32)
VECTOR = RANDOM.uniform(0.2, 3, 16).astype(np.float32)
FACTORS = RANDOM.uniform(0.3, 2.5, 6).astype(np.float32)


def with_value(values, place, value):
    changed = values.copy()
    changed[place] = value
    return changed


def in_order(values, *order, axis=0):
    return np.take(values, order, axis)


def in_bfloat16(values):
    """By PyTorch's own rounding."""
    import torch

    return torch.from_numpy(values).bfloat16().float().numpy()


CASES = {
    "a rounding": (KERNEL * np.float32(1 + 2.0**-23), KERNEL, "rounding", "within float32"),
    "bfloat16": (in_bfloat16(KERNEL), KERNEL, "rounded", "the source's rounded to bfloat16"),
    "bfloat16, cut off": (
        (KERNEL.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32), KERNEL,
        "rounded", "the source's cut off to bfloat16",
    ),
    "float16": (
        KERNEL.astype(np.float16).astype(np.float32), KERNEL,
        "rounded", "the source's rounded to float16",
    ),
    "float16 below its least normal value": (
        (1e-6 * KERNEL).astype(np.float16).astype(np.float32), np.float32(1e-6) * KERNEL,
        "rounded", "the source's rounded to float16",
    ),
    "zeros": (np.zeros_like(KERNEL), KERNEL, "constant", "0 everywhere"),
    "a constant for another": (
        np.full(8, 0.999, np.float32), np.ones(8, np.float32),
        "constant", "0.999 everywhere, the source's 1 everywhere",
    ),
    "sign": (-VECTOR, VECTOR, "negated", "the source's with the sign turned"),
    "1.05": (np.float32(1.05) * KERNEL, KERNEL, "ratio", "1.05 times the source's"),
    "1.000001": (np.float32(1 + 1e-6) * KERNEL, KERNEL, "ratio", "1.000001 times the source's"),
    "1.05 in bfloat16": (
        in_bfloat16(np.float32(1.05) * KERNEL), KERNEL, "ratio",
        "1.05 times the source's, rounded to bfloat16",
    ),
    "1.05, mostly zeros": (
        np.float32(1.05) * KERNEL * (KERNEL > 0.5), KERNEL * (KERNEL > 0.5), "ratio",
        "1.05 times the source's",
    ),
    "a summand": (VECTOR + np.float32(0.25), VECTOR, "offset", "the source's plus 0.25"),
    "less an epsilon": (
        VECTOR - np.float32(1e-3), VECTOR, "offset", "the source's minus 0.001",
    ),
    "output channels scaled": (
        KERNEL * FACTORS.reshape(-1, 1, 1, 1), KERNEL, "ratio by channel",
        "6 of 6 output channels multiplied, each by a number of its own",
    ),
    "input channels scaled": (
        KERNEL * FACTORS[:4].reshape(1, -1, 1, 1), KERNEL, "ratio by channel", "4 input channels",
    ),
    "one output channel scaled": (
        KERNEL * np.float32([1, 1, 1, 2.5, 1, 1]).reshape(-1, 1, 1, 1), KERNEL,
        "ratio by channel", "the source's with output channel 3 multiplied by 2.5",
    ),
    "two output channels": (
        in_order(KERNEL, 0, 4, 2, 3, 1, 5), KERNEL, "channels moved",
        "the source's with output channels 1 and 4 exchanged",
    ),
    "two values of a vector": (
        in_order(VECTOR, 5, *range(1, 5), 0, *range(6, 16)), VECTOR, "channels moved",
        "the source's with channels 0 and 5 exchanged",
    ),
    "BGR": (
        KERNEL[:, :3][:, ::-1], KERNEL[:, :3], "channels moved",
        "the source's with input channels 0 and 2 exchanged (BGR for RGB)",
    ),
    "reversed": (
        DENSE[::-1], DENSE, "channels moved", "its 12 output channels in reverse",
    ),
    "a class too far": (
        np.roll(DENSE, 1, 0), DENSE, "channels moved", "its 12 output channels moved on by 1,",
    ),
    "a class too near": (
        np.roll(DENSE, -1, 0), DENSE, "channels moved", "its 12 output channels moved on by -1,",
    ),
    "the multiplier first": (
        DEPTHWISE.reshape(4, 2, 1, 3, 3).swapaxes(0, 1).reshape(8, 1, 3, 3), DEPTHWISE,
        "channels moved", "dealt out as 2 x 4 in place of 4 x 2, as where a depthwise multiplier",
    ),
    "some input channels": (
        in_order(KERNEL, 1, 2, 0, 3, axis=1), KERNEL, "channels moved",
        "3 of its 4 input channels in other places, the source's 1 first, at 0",
    ),
    "output and input channels": (
        KERNEL[[3, 1, 2, 0, 4, 5]][:, [1, 0, 2, 3]], KERNEL, "channels moved",
        "output channels 0 and 3 exchanged, and input channels 0 and 1 exchanged",
    ),
    "h and w": (
        KERNEL.swapaxes(2, 3), KERNEL, "axes moved", "the source's with h and w exchanged",
    ),
    "o and i": (
        SQUARE.swapaxes(0, 1), SQUARE, "axes moved",
        "the source's with input and output channels exchanged",
    ),
    "all axes": (
        SQUARE.transpose(1, 0, 3, 2), SQUARE, "axes moved",
        "input and output channels exchanged, and h and w",
    ),
    "reshaped from HWIO": (
        KERNEL.transpose(2, 3, 1, 0).reshape(KERNEL.shape), KERNEL, "axes moved",
        "the source's values in the order h w i o, reshaped and not transposed",
    ),
    "a dense layer reshaped": (
        DENSE.T.reshape(DENSE.shape), DENSE, "axes moved", "in the order i o, reshaped",
    ),
    "rotated": (
        KERNEL[..., ::-1, ::-1], KERNEL, "axes moved", "each kernel rotated by 180 degrees",
    ),
    "mirrored": (
        KERNEL[..., ::-1], KERNEL, "axes moved", "each kernel mirrored left to right",
    ),
    "upside down": (
        KERNEL[..., ::-1, :], KERNEL, "axes moved", "each kernel mirrored top to bottom",
    ),
    "a quarter": (
        np.rot90(KERNEL, 1, (2, 3)), KERNEL, "axes moved", "each kernel rotated by 90 degrees",
    ),
    "shuffled": (
        np.random.default_rng(0).permutation(KERNEL.ravel()).reshape(KERNEL.shape), KERNEL,
        "reordered", "the source's values in another order",
    ),
    "a deviation for a variance": (
        np.sqrt(VECTOR), VECTOR, "function", "the square root of the source's",
    ),
    "a variance for a deviation": (VECTOR**2, VECTOR, "function", "the source's squared"),
    "an inverse": (1 / VECTOR, VECTOR, "function", "1 over the source's"),
    "an inverse deviation": (
        1 / np.sqrt(VECTOR), VECTOR, "function", "1 over the square root of the source's",
    ),
    "one element": (
        with_value(KERNEL, (2, 1, 0, 2), 7.5), KERNEL, "elements",
        f"but for 1 of 216 elements, 7.5 for {KERNEL[2, 1, 0, 2]:.4g} at [2, 1, 0, 2]",
    ),
    "training that went on": (
        KERNEL + np.float32(0.003) * RANDOM.standard_normal(KERNEL.shape).astype(np.float32),
        KERNEL, "near", "near the source's, 1",
    ),
    "NaN": (
        with_value(KERNEL, (1, 2, 0, 1), np.nan), KERNEL, "not finite",
        "not finite in 1 of 216 elements, [1, 2, 0, 1] first",
    ),
    "others": (
        RANDOM.normal(0, 0.3, KERNEL.shape).astype(np.float32), KERNEL, "unrelated",
        "unrelated to the source's: 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("port", "source", "name", "text"), CASES.values(), ids=CASES)
def test_a_relation(port, source, name, text):
    relation = relation_of(Pair(port, source))
    assert (relation.name, text in relation.text) == (name, True), relation


def test_each_relation_has_a_case():
    assert {name for _, _, name, _ in CASES.values()} == set(RELATIONS)


@pytest.mark.parametrize("name", ["rounding", "ratio", "offset", "ratio by channel", "function"])
def test_what_fits_but_for_one_element_does_not(name):
    """A relation holds of every element, those between the glances too."""
    wide = RANDOM.uniform(0.2, 3, (64, 8, 3, 3)).astype(np.float32)
    spread = RANDOM.uniform(0.3, 2.5, (64, 1, 1, 1)).astype(np.float32)
    port = {
        "rounding": wide.copy(), "ratio": np.float32(1.05) * wide,
        "offset": wide + np.float32(0.5), "ratio by channel": wide * spread,
        "function": np.sqrt(wide),
    }[name]  # fmt: skip
    words = RELATIONS[name].words
    assert words(Pair(port, wide)) is not None
    for place in [(0, 0, 0, 0), (31, 5, 1, 1), (63, 7, 2, 2)]:
        assert words(Pair(with_value(port, place, 1.01 * port[place]), wide)) is None


def test_a_few_values_are_related_to_anything_and_so_to_nothing():
    for size in (1, 2, 3):
        port, source = (RANDOM.normal(0, 1, size).astype(np.float32) for _ in range(2))
        assert relation_of(Pair(port, source)).name in ("unrelated", "near")
    # One factor for each channel fits any vector.
    assert relation_of(Pair(VECTOR[::-1] * VECTOR, VECTOR)).name == "unrelated"
    assert channel_factors(Pair(KERNEL[:, :1, :1, :1], KERNEL[:, 1:2, :1, :1]), 0) is None


def test_a_source_of_zeros_is_nobodys_multiple():
    relation = relation_of(Pair(VECTOR, np.zeros_like(VECTOR)))
    assert relation.name == "unrelated"
    assert "that is 0 everywhere" in relation.text


def test_distances():
    pair = Pair(with_value(VECTOR, 3, 9), VECTOR)
    expected = abs(9 - VECTOR[3]) / np.linalg.norm(VECTOR)
    assert pair.distance == pytest.approx(expected)
    assert pair.farthest == (3,)
    far = Pair(with_value(VECTOR, 7, np.nan), VECTOR)
    assert far.farthest == (7,)
    assert Pair(np.float32(1 + 0.9 * NEAR) * VECTOR, VECTOR).distance < NEAR


def test_a_sum_of_large_terms_has_their_rounding():
    """A folded bias: 1000 - 999.99 keeps what the rounding of 1000 leaves."""
    source = np.array([0.01, 0.02, 0.03, 0.04])
    port = source + 4e-5
    assert not Pair(port, source).equal
    assert Pair(port, source, np.full(4, 1000.0)).equal


def test_bits():
    zero = np.zeros(2, np.float32)
    assert not bits_equal(zero, -zero)
    assert Pair(-zero, zero).equal
    nans = np.full(2, np.nan, np.float32)
    assert bits_equal(nans, nans.copy())
    assert bits_equal(KERNEL.swapaxes(2, 3), np.ascontiguousarray(KERNEL.swapaxes(2, 3)))
