"""Unreadable images end an evaluation, or are counted and listed."""

from __future__ import annotations

import numpy as np
import pytest

from porting.errors import BadExample
from porting.reports.evaluation import evaluation_report


class TestImagesThatCannotBeRead:
    @pytest.fixture
    def spoiled(self, photos, tmp_path):
        """The same folder with a file cut short and one of text."""
        folder = tmp_path / "spoiled"
        folder.mkdir()
        for file in photos.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        cut = (folder / "011.jpg").read_bytes()
        (folder / "011.jpg").write_bytes(cut[: len(cut) // 2])
        (folder / "050.jpg").write_text("this is no image")
        return folder

    def test_stop(self, spoiled, evaluated):
        with pytest.raises(BadExample, match=r"spoiled: 011.jpg: the JPEG is cut short"):
            evaluated(data=spoiled)

    def test_skip_counts_them_and_says_so(self, spoiled, evaluated):
        whole = evaluated(journal=spoiled.parent / "whole")
        evaluation = evaluated(data=spoiled, on_error="skip")
        rest = [number for number in range(70) if number not in (11, 50)]
        assert np.flatnonzero(evaluation.usable).tolist() == rest
        assert np.array_equal(evaluation.answers.best[rest], whole.answers.best[rest])
        data = evaluation_report(evaluation).to_json()
        assert data["data"]["used"] == 68
        assert [failed["name"] for failed in data["data"]["failed"]] == ["011.jpg", "050.jpg"]
        assert "begins with b'this is no i'" in data["data"]["failed"][1]["reason"]
        assert data["verdict"]["sentence"].endswith(
            "0 of 68 answers differ; 2 of 70 images could not be read and are left out"
        )

    def test_what_was_skipped_stops_a_run_that_is_to_stop(self, spoiled, evaluated):
        evaluated(data=spoiled, on_error="skip")
        with pytest.raises(BadExample, match=r"011.jpg"):
            evaluated(data=spoiled)

    def test_nothing_left(self, spoiled, evaluated):
        for file in spoiled.glob("*.jpg"):
            file.write_text("nothing")
        with pytest.raises(BadExample, match=r"none of the 70 images can be used; .*000\.jpg"):
            evaluation_report(evaluated(data=spoiled, on_error="skip")).to_json()
