"""ProxylessNAS: the networks searched for phones, processors and graphics cards.

Sources: mit-han-lab/proxylessnas ``proxyless_nas_tensorflow/tf_modules.py`` and ``tf_layers.py``
(layers, PyTorch's symmetric padding as explicit PADs, batch-norm epsilon 1e-3), the networks
themselves in the files ``proxyless_{mobile,mobile_14,cpu,gpu}.config`` that they read, as
transcribed in osmr/imgclsmob ``pytorch/pytorchcv/models/proxylessnas.py``; Cai et al.,
arXiv:1812.00332, figure 4. A layer that the search skipped is left out.

MCUNet's networks are of the same blocks. Their configurations are published with their weights
only (mit-han-lab/mcunet ``mcunet/model_zoo.py``), so that they are read from each file's graph.
"""

from __future__ import annotations

from genmobilenet.config import NetworkConfig

_MIT = "mit-han-lab/proxylessnas proxyless_nas_tensorflow/tf_model_zoo.py"

_MOBILE = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16",
        "ir_r1_k5_s2_e3_c32 ir_r1_k3_s1_e3_c32",
        "ir_r1_k7_s2_e3_c40 ir_r1_k3_s1_e3_c40 ir_r2_k5_s1_e3_c40",
        "ir_r1_k7_s2_e6_c80 ir_r3_k5_s1_e3_c80",
        "ir_r1_k5_s1_e6_c96 ir_r3_k5_s1_e3_c96",
        "ir_r1_k7_s2_e6_c192 ir_r1_k7_s1_e6_c192 ir_r2_k7_s1_e3_c192",
        "ir_r1_k7_s1_e6_c320",
    ),
    source=f"{_MIT}, proxyless_mobile",
    activation="relu6",
    bn_epsilon=1e-3,
)

_MOBILE_14 = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c24",
        "ir_r1_k5_s2_e3_c40 ir_r1_k3_s1_e3_c40",
        "ir_r1_k7_s2_e3_c56 ir_r1_k3_s1_e3_c56 ir_r2_k5_s1_e3_c56",
        "ir_r1_k7_s2_e6_c112 ir_r3_k5_s1_e3_c112",
        "ir_r1_k5_s1_e6_c136 ir_r3_k5_s1_e3_c136",
        "ir_r1_k7_s2_e6_c256 ir_r1_k7_s1_e6_c256 ir_r2_k7_s1_e3_c256",
        "ir_r1_k7_s1_e6_c448",
    ),
    source=f"{_MIT}, proxyless_mobile_14",
    stem_channels=48,
    head_channels=1792,
    activation="relu6",
    bn_epsilon=1e-3,
)

_CPU = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c24",
        "ir_r1_k3_s2_e6_c32 ir_r3_k3_s1_e3_c32",
        "ir_r1_k3_s2_e6_c48 ir_r2_k3_s1_e3_c48 ir_r1_k5_s1_e3_c48",
        "ir_r1_k3_s2_e6_c88 ir_r1_k3_s1_e3_c88",
        "ir_r1_k5_s1_e6_c104 ir_r3_k3_s1_e3_c104",
        "ir_r1_k5_s2_e6_c216 ir_r2_k5_s1_e3_c216 ir_r1_k3_s1_e3_c216",
        "ir_r1_k5_s1_e6_c360",
    ),
    source=f"{_MIT}, proxyless_cpu",
    stem_channels=40,
    head_channels=1432,
    activation="relu6",
    bn_epsilon=1e-3,
)

_GPU = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c24",
        "ir_r1_k5_s2_e3_c32",
        "ir_r1_k7_s2_e3_c56 ir_r1_k3_s1_e3_c56",
        "ir_r1_k7_s2_e6_c112 ir_r1_k5_s1_e3_c112",
        "ir_r1_k5_s1_e6_c128 ir_r1_k3_s1_e3_c128 ir_r1_k5_s1_e3_c128",
        "ir_r1_k7_s2_e6_c256 ir_r2_k7_s1_e6_c256 ir_r1_k5_s1_e6_c256",
        "ir_r1_k7_s1_e6_c432",
    ),
    source=f"{_MIT}, proxyless_gpu",
    stem_channels=40,
    head_channels=1728,
    activation="relu6",
    bn_epsilon=1e-3,
)

_PLAIN = {
    "proxyless_mobile": _MOBILE,
    "proxyless_mobile_14": _MOBILE_14,
    "proxyless_cpu": _CPU,
    "proxyless_gpu": _GPU,
}

NETWORKS: dict[str, NetworkConfig] = {
    **_PLAIN,
    **{f"tf_{name}": config.tensorflow_form() for name, config in _PLAIN.items()},
}

ALIASES: dict[str, str] = {}
