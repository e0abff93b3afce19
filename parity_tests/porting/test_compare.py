"""`porting.compare` in a user's tests, and on real files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model
from genmobilenet.factory import build
from porting.errors import BadInput
from porting.parity.inputs import INPUTS


def test_a_line_in_somebodys_own_tests(small, faulty, tmp_path):
    test = tmp_path / "test_port.py"
    test.write_text(
        textwrap.dedent(f"""
        import numpy as np
        import porting

        IMAGES = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3))

        def test_good():
            assert porting.compare({str(small[0])!r}, {str(small[1])!r}, IMAGES)

        def test_bad():
            assert porting.compare({str(small[0])!r}, {str(faulty)!r}, IMAGES)
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(Path.cwd())})  # fmt: skip
    assert "1 failed, 1 passed" in process.stdout
    shown = [line for line in process.stdout.splitlines() if line.startswith("E")]
    assert "the error is born at blocks.3.1.act2" in shown[0]
    assert "; blocks.3.1.conv_dw.weight is 1.001 times the source's" in shown[0]
    assert len(shown) < 8


def test_compare_takes_arrays_iterables_and_modules(small):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    model = create_model("tf_mnasnet_small", checkpoint_path=small[1])
    assert porting.compare(small[0], model, pixels).inputs == 2
    assert porting.compare(small[0], model, iter(pixels)).inputs == 2
    assert porting.compare(porting.open_source(small[0]), str(small[1])).inputs == INPUTS
    with pytest.raises(BadInput, match="no image to run"):
        porting.compare(small[0], model, iter(()))
    with pytest.raises(BadInput, match="mode 'all'"):
        porting.compare(small[0], model, pixels, mode="all")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 32, 32, 3), np.uint8), r"image 0 is an array of shape \(32, 32, 3\)"),
        (np.zeros((2, 64, 64, 3), object), "image 0 is an array of object"),
        (np.zeros((2, 64, 64, 3), complex), "image 0 is an array of complex128"),
        (np.full((1, 64, 64, 3), np.nan), "not all finite"),
        ([np.zeros((64, 64, 3)), np.zeros((3, 64, 64))], r"image 1 is an array of shape \(3,"),
        ([np.zeros((1, 64, 64, 3))], r"image 0 is an array of shape \(1, 64"),
        ([None], "image 0 is NoneType"),
        ({"a": 1}, "image 0 is str"),
        (7, "images are a int"),
    ],
)
def test_images_that_are_none(small, images, message):
    with pytest.raises(BadInput, match=message):
        porting.compare(*small, images)


def test_a_module_of_another_network(small):
    with pytest.raises(BadInput, match="holds tf_mnasnet_small, which the network is not: conv_st"):
        porting.compare(small[0], create_model("tf_mnasnet_small", in_chans=1))
    with pytest.raises(BadInput, match="which the network is not: "):
        porting.compare(small[0], create_model("tf_mnasnet_050"))


def test_a_module_without_values(small):
    with torch.device("meta"):
        model = create_model("tf_mnasnet_small")
    with pytest.raises(BadInput, match="cannot be copied from the meta device"):
        porting.compare(small[0], model)


def test_weights_that_differ_decide_nothing(small):
    """What cancels leaves the function as it is."""
    state = torch.load(small[1], weights_only=True)
    state["classifier.bias"] = state["classifier.bias"] * (1 + 1e-6)
    model = create_model("tf_mnasnet_small")
    model.load_state_dict(state)
    comparison = porting.compare(small[0], model.eval())
    assert comparison
    assert "classifier.bias" not in comparison.summary()
    assert comparison.weights.summary() == "classifier.bias is 1.000001 times the source's"


def test_the_arithmetic_differs_where_the_weights_do_not(small):
    model = create_model("tf_mnasnet_small", checkpoint_path=small[1]).eval()
    model.blocks[3][1].act2 = torch.nn.Hardswish()
    comparison = porting.compare(small[0], model)
    assert not comparison
    count = comparison.weights.keys
    assert comparison.summary().endswith(
        f"; all {count} weights are the source's, so the arithmetic differs"
    )
    assert repr(comparison) == f"<{comparison.summary()}>"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_module_on_another_device_is_compared_and_stays_there(small):
    model = create_model("tf_mnasnet_small", checkpoint_path=small[1]).cuda()
    assert porting.compare(small[0], model)
    assert model.conv_stem.weight.is_cuda


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(small, tmp_path):
    code = textwrap.dedent("""
        import resource, sys
        import porting
        from porting.parity.inputs import seeded_pixels
        source, weights, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
        pixels = seeded_pixels(1, 64)[0]
        porting.compare(source, weights, (pixels for _ in range(count)))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """)

    def peak(count):
        command = [sys.executable, "-c", code, *map(str, small), str(count)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    assert peak(300) < 1.1 * peak(8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "taps"),
    [
        ("mnasnet-b1/mnasnet-b1_float.tflite", 64),
        ("mnasnet-a1-050/mnasnet-a1_float.tflite", 100),
        ("mnasnet-a1-050/mnasnet-a1_postquant.tflite", 100),
        ("mnasnet-a1-050", 141),
    ],
)
def test_real_files_agree_at_every_tap_in_both_readings(artifacts, source, taps):
    if source == "mnasnet-a1-050":
        pytest.importorskip("tensorflow")
    result = porting.port(artifacts / source, verify=False)
    network = build(result.config, result.state_dict)
    comparison = porting.compare(artifacts / source, network)
    assert comparison, comparison.summary()
    assert len(comparison.taps) == taps
    assert comparison.unmatched == ()
    # A wide margin: faults give hundreds of times the noise.
    assert comparison.needed.factor < 5


@pytest.mark.slow
def test_synthetic_files_agree_at_every_tap_in_both_readings(small_synthetic):
    for source in (small_synthetic.checkpoint, small_synthetic.float, small_synthetic.dynamic):
        result = porting.port(source, verify=False)
        comparison = porting.compare(source, build(result.config, result.state_dict))
        assert comparison, comparison.summary()
        assert comparison.unmatched == ()
