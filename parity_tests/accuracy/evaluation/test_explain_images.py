"""How often an explanation decodes images, and images that one decoder refuses."""

from __future__ import annotations

import pytest

from parity_tests.accuracy.evaluation.colours import IMAGES, LABELS
from porting.accuracy.preprocessing import steps
from porting.errors import BadExample


class TestCost:
    def test_sides_that_differ_in_pixels_or_mean_share_a_network(self, explained):
        report = explained()
        assert len(report["explanation"]["changes"]) > 12
        assert explained.built == [("checkpoint", None)]

    def test_an_image_is_decoded_once_by_each_decoder(self, explained, monkeypatch):
        counts = dict.fromkeys(steps.DECODERS, 0)

        def counted(name, decode):
            def run(data):
                counts[name] += 1
                return decode(data)

            return run

        decoders = {name: counted(name, decode) for name, decode in steps.DECODERS.items()}
        monkeypatch.setattr(steps, "DECODERS", decoders)
        explained()
        assert counts == dict.fromkeys(steps.DECODERS, IMAGES)


class TestAnImageThatOneDecoderRefuses:
    @pytest.fixture
    def pillow_refuses(self, monkeypatch, colours):
        refused = (colours / "007.jpg").read_bytes()

        def decode(data):
            if data == refused:
                raise BadExample("refused")
            return kept(data)

        kept = steps.DECODERS["pillow"]
        monkeypatch.setitem(steps.DECODERS, "pillow", decode)

    def test_is_left_out_of_that_change_alone(self, pillow_refuses, explained):
        report = explained(labels=LABELS[::-1])
        assert (report["data"]["used"], report["data"]["failed"]) == (IMAGES, [])
        of = {one["change"]: one["of"] for one in report["explanation"]["changes"]}
        assert of["Pillow's decoder for TensorFlow's fast DCT"] == IMAGES - 1
        assert of["Pillow's for the authors'"] == IMAGES - 1
        assert of["TensorFlow's accurate DCT for TensorFlow's fast DCT"] == IMAGES

    def test_stops_a_run_that_goes_by_it(self, pillow_refuses, explained):
        with pytest.raises(BadExample, match=r"007.jpg: refused"):
            explained(preprocessing="pillow")
