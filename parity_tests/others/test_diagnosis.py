"""What is wrong with a network of timm that was filled with TensorFlow's weights."""

from __future__ import annotations

import porting
from genmobilenet import get_config
from parity_tests.building.tflite_networks import NetworkFile


def test_timm_without_its_arguments_for_tensorflow(others, tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(NetworkFile(get_config("tf_mobilenetv2_050"), seed=1).build())
    module = others.timm.create_model("mobilenetv2_050")
    module.load_state_dict(porting.port(path, verify=False).state_dict)
    diagnosis = porting.diagnose(path, module.eval())
    assert diagnosis.complete
    causes = {cause.cause: cause for cause in diagnosis.causes}
    assert "symmetric padding for SAME" in causes["padding"].variants
    assert causes["padding"].remedy == "timm: pass pad_type='same', bn_eps=1e-3 to create_model"
    # Folded in the file, the weights stand for an identity at TensorFlow's epsilon alone.
    assert set(causes) <= {"padding", "batch-norm epsilon"}
