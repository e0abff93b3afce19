"""Weight files that claim more than they hold."""

from __future__ import annotations

import zipfile

import pytest
import torch

from genmobilenet.errors import CheckpointError
from genmobilenet.factory import read_state_dict


def test_a_compressed_file_is_not_unpacked(tmp_path):
    torch.save({"weight": torch.zeros(1 << 20)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in plain.infolist():
            bomb.writestr(member.filename, plain.read(member))
    assert (tmp_path / "bomb.pth").stat().st_size < 20_000
    assert read_state_dict(tmp_path / "plain.pth")["weight"].shape == (1 << 20,)
    with pytest.raises(CheckpointError, match=r"bomb\.pth: .* in it is compressed"):
        read_state_dict(tmp_path / "bomb.pth")


def test_a_tensor_that_repeats_its_elements_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "wide.pth")
    with pytest.raises(CheckpointError, match=r"wide\.pth: 'weight' claims 1,099,511,627,776 el"):
        read_state_dict(tmp_path / "wide.pth")
