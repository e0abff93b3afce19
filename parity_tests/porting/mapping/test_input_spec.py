"""The input convention of a source, combined with the normalisation in its graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.normalisations import normalising_metadata
from parity_tests.building.tflite_variants import normalising
from porting.errors import BadInput
from porting.graph.from_source import graph_of_source
from porting.mapping.families import IMAGENET, INCEPTION
from porting.mapping.input_spec import (
    InputConvention,
    InputRange,
    before,
    composed,
    convention_of,
    likely_range,
    parse_affine,
    range_by_file,
    steps_of,
)
from porting.mapping.recognise import find_match
from porting.reports.sources import input_lines
from porting.sources import open_source

MNASNET, V2 = "tf_mnasnet_small", "tf_mobilenetv2_035"
TO_SIGNED = [("MUL", 2.0), ("SUB", 1.0)]
"""What TF Hub's image modules compute of [0, 1]."""

RGB_MEAN, RGB_STD = IMAGENET


@pytest.fixture
def convention(tmp_path):
    def read(kind, model=V2, by_user=None, **options):
        path = tmp_path / "model.tflite"
        path.write_bytes(kind(get_config(model), **options).build())
        source = open_source(path)
        return convention_of(source, find_match(source, model), by_user)

    return read


def approx(*values):
    return pytest.approx(values * (3 if len(values) == 1 else 1), rel=1e-6, abs=1e-6)


class TestWhatTheFileProves:
    def test_bytes_of_a_scale_before_a_normalisation(self, convention):
        """The kind of all that Model Maker writes: 1/255, and MUL and ADD in the graph."""
        steps = [("MUL", 255.0), ("ADD", -127.0)]
        read = convention(normalising(steps, quantised=("uint8", 1 / 255, 0)))
        assert read.mean == approx(127)
        assert read.std == approx(1)
        assert (read.source_mean, read.source_std) == (approx(0), approx(255))
        assert read.certainty == "proved"
        assert read.evidence == (
            "the source's graph normalises its input (MUL, ADD), which stands for 0 to 1 by its "
            "quantisation"
        )

    def test_bytes_without_one(self, convention):
        read = convention(normalising(quantised=("uint8", 1 / 128, 128)))
        assert (read.mean, read.std) == (approx(128), approx(128))
        assert read.certainty == "proved"

    def test_bytes_less_128(self, convention):
        read = convention(normalising(TO_SIGNED, quantised=("int8", 1 / 255, -128)))
        assert (read.mean, read.std) == (approx(127.5), approx(127.5))
        assert (read.source_mean, read.source_std) == (approx(0), approx(255))

    def test_whole_numbers_without_a_scale(self, convention):
        read = convention(normalising([("SUB", RGB_MEAN), ("DIV", RGB_STD)], cast=True), MNASNET)
        assert (read.mean, read.std) == (approx(*RGB_MEAN), approx(*RGB_STD))
        assert (read.source_mean, read.source_std) == (approx(0), approx(1))
        assert read.certainty == "proved"
        assert "which is pixels 0..255 in uint8" in read.evidence

    @pytest.mark.parametrize("dtype", ["uint8", "int8"])
    def test_a_float_input_that_becomes_bytes_at_once(self, convention, dtype):
        zero = 0 if dtype == "uint8" else -128
        kind = normalising(TO_SIGNED, quantised=(dtype, 1 / 255, zero))

        class Float(kind):
            def entrance(self, shape):
                data, made = super().entrance(shape)
                image = self.file.tensor("image", shape)
                self.file.operator("QUANTIZE", [image], data)
                # Operators stand in execution order.
                self.file.graph.operators.insert(0, self.file.graph.operators.pop())
                return image, made

        read = convention(Float)
        assert (read.mean, read.std) == (approx(127.5), approx(127.5))
        assert read.certainty == "proved"
        assert f"becomes {dtype} of 0 to 1 at once" in read.evidence

    def test_metadata(self, convention):
        about = normalising_metadata([0], [255])
        read = convention(normalising(metadata=about))
        assert (read.mean, read.std) == (approx(0), approx(255))
        assert read.certainty == "proved"
        assert read.evidence.endswith("which is RGB 0..255 minus (0), over (255) by its metadata")

    def test_metadata_a_number_a_channel(self, convention):
        read = convention(normalising(metadata=normalising_metadata(RGB_MEAN, RGB_STD)))
        assert (read.mean, read.std) == (approx(*RGB_MEAN), approx(*RGB_STD))

    def test_metadata_before_a_normalisation(self, convention):
        read = convention(normalising(TO_SIGNED, metadata=normalising_metadata([0], [255])))
        assert (read.mean, read.std) == (approx(127.5), approx(127.5))
        assert (read.source_mean, read.source_std) == (approx(0), approx(255))
        assert read.certainty == "proved"

    def test_metadata_that_say_the_same_as_the_bytes(self, convention):
        about = normalising_metadata([127.5], [127.5])
        read = convention(normalising(quantised=("uint8", 1 / 128, 128), metadata=about))
        assert read.certainty == "proved"
        assert read.mean == approx(128)

    @pytest.mark.parametrize(
        ("mean", "std"),
        [([1, 2], [3, 4]), ([0], [0]), ([float("nan")], [1]), ([0, 0, 0], [1, 0, 1])],
    )
    def test_metadata_that_say_nothing(self, convention, mean, std):
        read = convention(normalising(metadata=normalising_metadata(mean, std)))
        assert (read.mean, read.certainty) == (approx(127.5), "assumed")

    def test_what_model_maker_writes(self, artifacts):
        """EfficientNet-Lite0, which is none of the networks: its input alone."""
        path = artifacts / "retrained" / "model_maker_efficientnet_lite0_int8.tflite"
        source = open_source(path)
        steps = steps_of(source, graph_of_source(source, 3).normalisation)
        entry = range_by_file(source, 3, steps.scale, steps.offset)
        assert entry.proved
        assert entry.how == "which stands for 0 to 1 by its quantisation"
        whole = composed(entry, steps.scale, steps.offset)
        assert (whole.mean, whole.std) == (approx(127), approx(1))

    def test_damaged_metadata_are_for_those_who_ask_for_them(self, convention):
        read = convention(normalising(metadata=b"\xff" * 64))
        assert read.certainty == "assumed"


class TestContradictions:
    def test_metadata_and_bytes(self, convention):
        about = normalising_metadata([127.5], [127.5])
        read = convention(normalising(TO_SIGNED, quantised=("uint8", 1 / 255, 0), metadata=about))
        assert read.mean == approx(127.5)
        assert read.certainty == "assumed"
        assert "stands for 0 to 1 by its quantisation, and which is RGB 0..255" in read.evidence
        assert "minus (127.5), over (127.5) by its metadata" in read.evidence
        assert "contradict each other" in read.evidence

    def test_metadata_and_what_the_graph_computes(self, convention):
        """As for the file that went into the graph: [-1, 1], of which it makes [-3, 1]."""
        about = normalising_metadata([127.5], [127.5])
        read = convention(normalising(TO_SIGNED, metadata=about))
        assert read.certainty == "assumed"
        assert "by its metadata: of that it makes -3 to 1, which contradicts them" in read.evidence


class TestWhatIsAssumed:
    def test_a_graph_that_takes_zero_to_one(self, convention):
        read = convention(normalising(TO_SIGNED))
        assert (read.mean, read.std) == (approx(127.5), approx(127.5))
        assert (read.source_mean, read.source_std) == (approx(0), approx(255))
        assert read.certainty == "assumed"
        assert read.evidence == (
            "the source's graph normalises its input (MUL, SUB), assumed to be 0 to 1, of which "
            "it makes -1 to 1; nothing in the file says so"
        )

    def test_the_file_that_was_rebuilt(self, artifacts):
        source = open_source(artifacts / "cases" / "input_zero_to_one.tflite")
        read = convention_of(source, find_match(source, None))
        assert (read.mean, read.std) == (approx(127.5), approx(127.5))
        assert read.certainty == "assumed"

    def test_no_normalisation_in_a_network_known_by_its_structure(self, convention):
        read = convention(normalising())
        assert (read.mean, read.std, read.certainty) == (*INCEPTION, "assumed")
        assert read.evidence == (
            "assumed as in the family's training code; nothing in the file says so"
        )

    def test_a_published_source_is_documented(self, convention, tmp_path):
        convention(normalising())
        source = open_source(tmp_path / "model.tflite")
        source.documented_as = "mobilenet_v2_0.35_224"
        read = convention_of(source, find_match(source, V2))
        assert read.certainty == "proved"
        assert "training code, as published with mobilenet_v2_0.35_224" in read.evidence

    def test_a_published_source_that_normalises_is_documented(self, convention, tmp_path):
        convention(normalising(TO_SIGNED))
        source = open_source(tmp_path / "model.tflite")
        source.documented_as = "mobilenet_v2_0.35_224"
        read = convention_of(source, find_match(source, V2))
        assert (read.mean, read.std, read.certainty) == (*INCEPTION, "proved")
        assert (read.source_mean, read.source_std) == (approx(0), approx(255))

    def test_a_graph_that_makes_sense_of_no_range(self, convention):
        read = convention(normalising([("MUL", 0.02)]))
        assert read.certainty == "unknown"
        assert read.evidence.endswith("whose range nothing in the file says; 0 to 255 is taken")

    def test_what_nobody_knows(self, tmp_path):
        """A user-defined module, filled from a graph that is not of a known network."""
        torch = pytest.importorskip("torch")
        from parity_tests.building.small_graphs import SmallGraph

        graph = SmallGraph()
        path = tmp_path / "graph.tflite"
        path.write_bytes(graph.classified(graph.conv(graph.start, "conv", 8, activation="relu")))

        class Mine(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
                self.dense = torch.nn.Linear(8, 5)

            def forward(self, x):
                return self.dense(self.conv(x).relu().mean((2, 3)))

        read = porting.port(path, onto=Mine(), verify=False).convention
        assert read.certainty == "unknown"
        assert "neither the file nor a known network says" in read.evidence
        assert "--mean and --std" in read.evidence
        read = porting.port(path, onto=Mine(), verify=False, mean=1, std=[2, 3, 4]).convention
        assert (read.mean, read.std, read.certainty) == ((1, 1, 1), (2, 3, 4), "stated")


@pytest.mark.parametrize(
    ("scale", "offset", "bounds"),
    [
        (1 / 127.5, -1, (0, 255)),
        (1 / 255, 0, (0, 255)),
        (2, -1, (0, 1)),
        (1 / 0.226, -0.449 / 0.226, (0, 1)),
        (1 / np.array(RGB_STD), -np.array(RGB_MEAN) / RGB_STD, (0, 255)),
        (0.5, 0.5, (-1, 1)),
        (255, 0, (0, 1)),
        (255, -127, (0, 1)),
        (127.5, 127.5, (-1, 1)),
        (1, -123, (0, 255)),
    ],
)
def test_the_range_that_a_normalisation_makes_sense_of(scale, offset, bounds):
    likely = likely_range(np.atleast_1d(scale), np.atleast_1d(offset), 3, INCEPTION)
    assert not likely.proved and not likely.unknown
    low, high = likely.ends
    np.testing.assert_allclose(low, bounds[0], atol=1e-9)
    np.testing.assert_allclose(high, bounds[1], atol=1e-9)


def test_composing_and_its_inverse():
    scale, offset = np.array([2.0, 3.0, 0.5]), np.array([-1.0, 0.25, 4.0])
    entry = InputRange((1.0, 2.0, 3.0), (255.0, 0.5, 7.0), "", True)
    whole = composed(entry, scale, offset)
    pixels = np.random.default_rng(0).uniform(0, 255, (10, 3))
    inner = (pixels - entry.mean) / np.asarray(entry.std)
    np.testing.assert_allclose((pixels - whole.mean) / whole.std, inner * scale + offset)
    back = before(whole, scale, offset)
    np.testing.assert_allclose((back.mean, back.std), (entry.mean, entry.std))


class TestWhatAUserStates:
    def test_it_is_taken_where_nothing_is_proved(self, convention):
        read = convention(normalising(), by_user=parse_affine("0", "255"))
        assert (read.mean, read.std, read.certainty) == (approx(0), approx(255), "stated")
        assert read.evidence == "the user's: --mean 0 --std 255"

    def test_behind_a_normalisation_it_says_what_the_input_is(self, convention):
        affine = parse_affine("127.5", "127.5")
        read = convention(normalising([("MUL", 0.02)]), by_user=affine)
        assert (read.mean, read.std) == (approx(127.5), approx(127.5))
        pixels = np.array([[0.0, 100.0, 255.0]])
        np.testing.assert_allclose(
            0.02 * read.as_source_input(pixels), read.normalise(pixels), rtol=1e-6
        )

    def test_what_the_file_proves_is_kept_where_it_agrees(self, convention):
        kind = normalising(quantised=("uint8", 1 / 128, 128))
        read = convention(kind, by_user=parse_affine(127.5, 127.5))
        assert (read.mean, read.certainty) == (approx(128), "proved")

    def test_a_contradiction_names_both(self, convention):
        kind = normalising(quantised=("uint8", 1 / 128, 128))
        expected = (
            r"model.tflite: --mean 0 --std 255 contradict the file, by which RGB 0..255 are to be "
            r"minus \(128\), over \(128\): .* by its quantisation. Leave the two options out"
        )
        with pytest.raises(BadInput, match=expected):
            convention(kind, by_user=parse_affine(0, 255))

    def test_one_number_against_channels_that_the_graph_tells_apart(self, convention):
        kind = normalising([("SUB", RGB_MEAN), ("DIV", RGB_STD)])
        with pytest.raises(BadInput, match="expected the same for each channel"):
            convention(kind, MNASNET, by_user=parse_affine(127.5, 127.5))
        read = convention(kind, MNASNET, by_user=parse_affine(list(RGB_MEAN), list(RGB_STD)))
        assert read.source_std == approx(1)

    @pytest.mark.parametrize(
        ("mean", "std", "message"),
        [
            ("127.5", None, "--std is missing: a convention is both"),
            (None, 1.0, "--mean is missing"),
            ("a", "1", "--mean a: expected one number, or one a channel between commas"),
            ("1,,2", "1", "--mean 1,,2: expected one number"),
            ("nan", "1", "--mean nan: expected"),
            ("1", "1,0,1", "--std 1,0,1: pixels are divided by it"),
        ],
    )
    def test_what_is_no_convention(self, mean, std, message):
        with pytest.raises(BadInput, match=message):
            parse_affine(mean, std)

    def test_too_many_channels(self, convention):
        with pytest.raises(BadInput, match="--mean 1,2: 2 numbers, and the network takes images"):
            convention(normalising(), by_user=parse_affine("1,2", "1"))


class TestCards:
    def test_plain_data_there_and_back(self, convention):
        read = convention(normalising(TO_SIGNED))
        assert InputConvention.from_json(read.to_json()) == read

    def test_a_card_of_before(self, convention):
        read = convention(normalising()).to_json()
        for name in ("certainty", "source_mean", "source_std"):
            del read[name]
        old = InputConvention.from_json(read)
        assert (old.source_mean, old.source_std) == (old.mean, old.std)

    def test_a_card_and_a_user(self, convention):
        read = convention(normalising())
        restated = read.restated(parse_affine(0, 255), "port.pth")
        assert (restated.mean, restated.std) == (approx(0), approx(255))
        assert (restated.source_mean, restated.certainty) == (approx(0), "stated")
        for certain in (replace(read, certainty="proved"), read.taken_in()):
            with pytest.raises(BadInput, match=r"port.pth: --mean 3 --std 255 contradict its card"):
                certain.restated(parse_affine(3, 255), "port.pth")
        assert read.restated(parse_affine(127.5, 127.5), "port.pth") is read

    @pytest.mark.parametrize(
        ("certainty", "lead"),
        [("proved", "known from"), ("stated", "stated, not proved"), ("assumed", "not proved"),
         ("unknown", "unknown")],
    )  # fmt: skip
    def test_the_terminal_says_how_sure_it_is(self, convention, certainty, lead):
        stated = replace(convention(normalising()), certainty=certainty)
        assert ("", f"{lead}: {stated.evidence}") in input_lines(stated)

    def test_the_terminal_names_no_authors_of_a_network_in_no_table(self, convention):
        stated = convention(normalising())
        steps = stated.preprocessing
        assert input_lines(stated)[-1] == ("", f"of image files, as its authors have it: {steps}")
        lines = input_lines(stated, "stem_c8_nr6 | ds_r1_k3_s1_c8 | pool fc")
        assert lines[-1] == ("", f"of image files, usual for MobileNets: {steps}")
