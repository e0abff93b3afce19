"""Calibrated ports: the same function, statistics of the images, refusals."""

from __future__ import annotations

import hashlib
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

import porting
from genmobilenet import get_config
from parity_tests.building.folded_networks import MODEL, FoldedFile
from parity_tests.building.tflite_networks import network_file
from porting.carry_out import carry_out
from porting.errors import BadInput
from porting.graph.layers import layers_of
from porting.release import card_of, write_release
from porting.sources import open_source
from porting.subject import subject_from_file


def outputs(ported, images):
    """Logits, and what goes into each batch norm, in evaluation mode: path -> (N, C, H, W)."""
    network = evaluated(ported)
    given = {}
    for name, part in network.named_modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.register_forward_pre_hook(
                lambda _, x, name=name: given.__setitem__(name, x[0].clone())
            )
    with torch.inference_mode():
        return network(inputs(ported, images)), given


def evaluated(ported):
    from genmobilenet.factory import build

    return build(ported.config, ported.state_dict)


def inputs(ported, images):
    """Images (N, H, W, C), 0..255, as the network takes them, (N, C, H, W)."""
    normalised = ported.convention.normalise(images).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(normalised))


def test_the_function_stays_and_the_judge_agrees(ports, images):
    identity, calibrated = ports["identity"], ports["calibrate"]
    assert calibrated.comparison, calibrated.comparison.summary()
    # On one image, with its own noise.
    compared = (
        porting.compare(port.source, evaluated(port), images[:1]) for port in (identity, calibrated)
    )
    worst = [max(tap.accumulated.ratio for tap in comparison.taps) for comparison in compared]
    assert worst[1] < worst[0] + 1
    before, after = (outputs(port, images)[0] for port in (identity, calibrated))
    assert (before - after).abs().max() < 1e-5 * before.abs().max()


def test_statistics_are_those_of_each_convolution(ports, images):
    _, given = outputs(ports["identity"], images)
    state = ports["calibrate"].state_dict
    norms = [layer.norm for layer in layers_of(ports["calibrate"].config) if layer.norm]
    assert list(ports["calibrate"].calibration.norms) == norms
    for norm in norms:
        values = given[norm].double().permute(1, 0, 2, 3).flatten(1)
        mean, variance = values.mean(1), values.var(1)
        spread = variance.sqrt() + 1e-4
        actual = state[f"{norm}.running_mean"]
        assert ((actual - mean).abs() < 1e-5 * (spread + mean.abs())).all(), norm
        actual = state[f"{norm}.running_var"] + 1e-3
        assert ((actual / (variance + 1e-3) - 1).abs() < 1e-3).all(), norm


def test_weights_that_are_not_batch_norms_stay(ports):
    before, after = (port.state_dict for port in ports.values())
    assert before.keys() == after.keys()
    for key, values in before.items():
        if key.startswith("bn") or ".bn" in key:
            continue
        assert torch.equal(values, after[key]), key


def test_dead_channels(trained, images, tmp_path):
    path = tmp_path / "dead.tflite"
    path.write_bytes(FoldedFile(trained, dead=3).build())
    ported = porting.port(path, MODEL, bn="calibrate", images=images)
    assert ported.comparison, ported.comparison.summary()
    state = ported.state_dict
    assert (state["bn1.running_mean"][:3] == 0).all()
    assert (state["bn1.running_var"][:3] < 1e-6).all()
    assert torch.allclose(state["bn1.weight"][:3], torch.tensor(1e-3).sqrt(), rtol=3e-4)


def test_plan_and_card_say_it(ports, images):
    ported = ports["calibrate"]
    fills = {fill.target: fill for fill in ported.plan.fills}
    assert fills["bn1.running_mean"].constant == "measured mean"
    assert fills["bn1.running_var"].constant == "measured variance"
    assert fills["bn1.weight"].constant == "measured deviation"
    assert (fills["bn1.bias"].source, fills["bn1.bias"].added) == ("stem/bias", "measured mean")
    assert not {"ones", "unit variance"} & {fill.constant for fill in ported.plan.fills}
    card = card_of(ported, "port.pth", "0" * 64).to_json()
    assert card["calibration"]["images"] == len(images)
    assert card["calibration"]["images_are"] == "48 images given as an array"
    assert card["calibration"]["pixels_sha256"] == hashlib.sha256(images.tobytes()).hexdigest()
    assert len(card["calibration"]["norms"]) == 27
    assert list(card["plan"]["notes"]) == [
        "27 batch norms have the statistics of 48 images given as an array; the function is that "
        "of the source"
    ]
    assert "calibration" not in card_of(ports["identity"], "port.pth", "0" * 64).to_json()


def test_a_calibrated_plan_is_not_the_sources(ports):
    ported = ports["calibrate"]
    with pytest.raises(BadInput, match=r"108 keys of the plan come from images, bn1\.bias first"):
        carry_out(ported.plan, ported.source, ported.config)


def test_a_calibrated_file_is_compared(ports, source, tmp_path):
    weights = write_release(ports["calibrate"], tmp_path).weights
    assert porting.compare(source, weights)
    notes = subject_from_file(open_source(source), weights).notes
    assert notes == ("its batch norms are calibrated on 48 images given as an array",)
    state = torch.load(weights, weights_only=True)
    # A bias that does not restore the mean is detected and located.
    state["blocks.2.0.bn1.bias"] -= state["blocks.2.0.bn1.running_mean"]
    torch.save(state, tmp_path / "faulty.pth")
    actual = porting.compare(source, tmp_path / "faulty.pth", name=MODEL)
    assert not actual
    assert actual.culprit.tap == "blocks.2.0.act1"


def test_images_pass_one_by_one(source, images):
    made, most = [], 0

    def stream():
        nonlocal most
        for image in images[:10]:
            copy = image.copy()
            made.append(weakref.ref(copy))
            most = max(most, sum(reference() is not None for reference in made))
            yield copy

    porting.port(source, MODEL, bn="calibrate", images=stream(), verify=False)
    assert most <= 2


def test_progress_counts_images_then_inputs(source, images):
    seen = []
    porting.port(
        source, MODEL, bn="calibrate", images=images[:3], pixels=images[:2],
        progress=lambda *s: seen.append(s),
    )  # fmt: skip
    assert seen == [(1, 3), (2, 3), (3, 3), (1, 2), (2, 2)]


def test_a_folder_and_what_cannot_be_read_in_it(source, images, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(images[:3]):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "1.png").write_bytes(b"no picture")
    ported = porting.port(source, MODEL, bn="calibrate", images=folder, verify=False)
    assert (ported.calibration.images, len(ported.calibration.skipped)) == (2, 1)
    assert ported.calibration.images_are == "2 of 3 images of photos"
    assert "not among them, as it cannot be read: 1.png" in ported.plan.notes[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bn": "calibrate"}, "needs them: --images DIR"),
        ({"images": "photos"}, "--bn calibrate uses them"),
        ({"bn": "fold", "images": "photos"}, "bn 'fold': expected 'identity' or 'calibrate'"),
        ({"bn": "calibrate", "images": "absent"}, "absent: not a folder of images"),
        ({"bn": "calibrate", "images": np.zeros((2, 8, 8, 3))}, r"image 0 .* \(64, 64, 3\)"),
    ],
)
def test_wrong_uses_are_refused(source, options, message):
    with pytest.raises(BadInput, match=message):
        porting.port(source, MODEL, verify=False, **options)


def test_trained_batch_norms_are_not_touched(images, tmp_path):
    from parity_tests.building.checkpoints import write_network

    prefix = tmp_path / "model.ckpt"
    write_network(prefix, "tf_mnasnet_small")
    with pytest.raises(BadInput, match="come with the statistics of their own training"):
        porting.port(prefix, bn="calibrate", images=images, verify=False)


def test_values_that_overflow_are_refused(tmp_path, images):
    path = tmp_path / "model.tflite"
    made = bytearray(network_file(get_config("tf_mnasnet_small"), seed=1))
    path.write_bytes(made)
    huge = np.full((1, 64, 64, 3), 3e38)
    with pytest.raises(BadInput, match=r"bn1: what it gets on .* is beyond float32"):
        porting.port(path, bn="calibrate", images=huge, verify=False)


def test_no_image_is_none_to_calibrate_on(source):
    with pytest.raises(BadInput, match="there is no image to calibrate on"):
        porting.port(source, bn="calibrate", images=[], verify=False)
