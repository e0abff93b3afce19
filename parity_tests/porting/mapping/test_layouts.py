"""Layout changes and their inverses."""

import numpy as np
import pytest

from porting.mapping.layouts import LAYOUTS, change, changed_shape, invert, layout_onto

SHAPES = {
    "h w i o -> o i h w": (3, 5, 4, 6),
    "h w c 1 -> c 1 h w": (3, 5, 7, 1),
    "h w c m -> (c m) 1 h w": (3, 5, 7, 2),
    "i o -> o i": (4, 6),
    "1 1 i o -> o i": (1, 1, 4, 6),
    "o h w i -> o i h w": (6, 3, 5, 4),
    "1 h w c -> c 1 h w": (1, 3, 5, 7),
    "i h w o -> o i h w": (4, 3, 5, 6),
    "h w 1 c -> c 1 h w": (3, 5, 1, 7),
    "c h w 1 -> c 1 h w": (7, 3, 5, 1),
    "o i -> o i": (6, 4),
    "o 1 1 i -> o i": (6, 1, 1, 4),
    "o i -> o i 1 1": (6, 4),
    "i o -> o i 1 1": (4, 6),
    "c -> c": (9,),
    "1 c -> c": (1, 9),
    "1 1 c -> c": (1, 1, 9),
    "1 1 1 c -> c": (1, 1, 1, 9),
}


def test_every_layout_is_tried_here():
    assert set(SHAPES) == set(LAYOUTS)


@pytest.mark.parametrize(("layout", "shape"), SHAPES.items())
def test_the_inverse_undoes_it(layout, shape):
    values = np.random.default_rng(0).standard_normal(shape)
    changed = change(values, layout)
    assert changed.shape == changed_shape(shape, layout)
    sizes = {"m": 2} if "(c m)" in layout else {}
    np.testing.assert_array_equal(change(changed, invert(layout), **sizes), values)


def test_axes_go_where_the_name_says():
    kernel = np.random.default_rng(0).standard_normal((3, 5, 4, 6))
    assert change(kernel, "h w i o -> o i h w")[2, 1, 0, 4] == kernel[0, 4, 1, 2]


@pytest.mark.parametrize(
    ("layout", "shape"), [("h w c 1 -> c 1 h w", (3, 3, 8, 2)), ("i o -> o i", (3,))]
)
def test_axes_that_are_not_there(layout, shape):
    assert changed_shape(shape, layout) is None
    with pytest.raises(ValueError, match="does not have the axes"):
        change(np.zeros(shape), layout)


@pytest.mark.parametrize("kernel", ["h w i o", "o h w i"])
@pytest.mark.parametrize("dense", ["i o", "o i"])
def test_every_operator_on_every_layer_has_a_known_layout(kernel, dense):
    for axes in (kernel, dense):
        for kind in ("conv", "dense"):
            assert layout_onto(axes, kind) in LAYOUTS
    for axes in ("h w c 1", "h w c m", "1 h w c"):
        assert layout_onto(axes, "depthwise") in LAYOUTS
