"""Steps: how two sequences differ, and what is counted of one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porting.judges.reference.steps import (
    SAME,
    Step,
    first_difference,
    multiply_adds,
    parameters,
    required_steps,
)

NETWORK = (
    Step("image", (), 3),
    Step("conv", (0,), 8, (3, 3), (2, 2), SAME, place="conv_stem"),
    Step("norm", (1,), 8, number=1e-3, place="bn1"),
    Step("relu", (2,), 8, place="act1"),
    Step("depthwise", (3,), 8, (5, 5), (1, 1), SAME, place="conv_dw"),
    Step("add", (4, 3), 8, place="block"),
    Step("mean", (5,), 8, place="global_pool"),
    Step("conv", (6,), 4, (1, 1), (1, 1), SAME, place="classifier"),
    Step("bias", (7,), 4, place="classifier"),
)

CHANGES = {
    "kind": (3, {"kind": "relu6"}, "described relu, 8 channels"),
    "channels": (4, {"channels": 16}, "found depthwise 5x5, stride 1, padding SAME, 16 channels"),
    "kernel": (4, {"kernel": (3, 3)}, "found depthwise 3x3"),
    "stride": (1, {"stride": (1, 1)}, "described conv 3x3, stride 2, padding SAME"),
    "uneven stride": (1, {"stride": (2, 1)}, r"stride \(2, 1\)"),
    "padding": (1, {"padding": "VALID"}, "padding VALID"),
    "epsilon": (2, {"number": 1e-5}, r"described norm \(epsilon 0.001\).* epsilon 1e-05"),
    "operand": (5, {"inputs": (4, 2)}, "of step 4 and 2"),
    "place": (2, {"place": "bn2"}, "at bn2"),
}


@pytest.mark.parametrize(("number", "change", "told"), CHANGES.values(), ids=CHANGES)
def test_each_fact_of_a_step_counts(number, change, told):
    import re

    changed = list(NETWORK)
    changed[number] = replace(changed[number], **change)
    difference = first_difference(NETWORK, tuple(changed))
    assert difference.startswith(f"step {number}, {NETWORK[number].place}: described ")
    assert re.search(told.replace(".* ", ".*"), difference), difference


def test_what_does_not_count():
    unknown = tuple(replace(step, place="") for step in NETWORK)
    turned = tuple(
        replace(step, inputs=step.inputs[::-1]) if step.kind == "add" else step for step in NETWORK
    )
    in_float32 = (*NETWORK[:2], replace(NETWORK[2], number=0.0010000000474974513), *NETWORK[3:])
    for other in (unknown, turned, in_float32):
        assert first_difference(NETWORK, other) is None


def test_a_step_too_few_or_too_many_is_named():
    assert first_difference(NETWORK, NETWORK[:-1]).endswith("is described and not there")
    more = (*NETWORK, Step("softmax", (8,), 4))
    assert first_difference(NETWORK, more).startswith("step 9, at no known path: softmax")
    assert first_difference(NETWORK, more).endswith("is there and not described")


def test_what_the_output_does_not_need_is_left_out():
    steps = (*NETWORK[:3], Step("sigmoid", (2,), 8), Step("relu", (2,), 8), Step("bias", (4,), 8))
    assert [step.kind for step in required_steps(steps, 5)] == [
        "image",
        "conv",
        "norm",
        "relu",
        "bias",
    ]
    assert required_steps(steps, 5)[-1].inputs == (3,)


def test_counts():
    stem, depthwise, classifier = 27 * 8, 25 * 8, 8 * 4
    assert multiply_adds(NETWORK, 9) == (stem + depthwise) * 5 * 5 + classifier
    assert parameters(NETWORK) == stem + 2 * 8 + depthwise + classifier + 4
