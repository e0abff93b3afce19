"""Networks found by searches other than MNASNet's: Single-Path NAS, FBNet, ChamNet.

**Single-Path NAS**: Stamoulis et al., arXiv:1904.02877, figure 5, as in
dstamoulis/single-path-nas, which is built on Google's MnasNet code.

**FBNet**: Wu et al., arXiv:1812.03443. C is timm's network, whose keys the
early released ``fbnetc_100-f49a0c5f.pth`` has; that file was trained with a
batch-norm epsilon of 1e-3. A and B are the authors' definitions in
facebookresearch/mobile-vision ``fbnet_modeldef_cls_fbnet.py``: blocks of
expansion 1 have no expansion convolution, and A's grouped ones shuffle. The
authors' convolutions carry biases, which the batch norms behind them take in.

**ChamNet**: Dai et al., arXiv:1812.08934. Published are detection trunks,
``cham_v1a`` and ``cham_v2`` in facebookresearch/maskrcnn-benchmark
``fbnet_modeldef.py``: stem and stages 0 to 4, of which the last is the box
head. The 1x1 head of 1280 and the classifier are not published; they are
MobileNet V2's, as in the early genmobilenet. As in FBNet's builder the block
of expansion 1 has no expansion convolution.
"""

from __future__ import annotations

from genmobilenet.config import NetworkConfig

_FBNET = "facebookresearch/mobile-vision mobile_cv/arch/fbnet_v2/fbnet_modeldef_cls_fbnet.py"
_CHAMNET = "facebookresearch/maskrcnn-benchmark maskrcnn_benchmark/modeling/backbone"

_SPNASNET = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16_noskip",
        "ir_r3_k3_s2_e3_c24",
        "ir_r1_k5_s2_e6_c40 ir_r3_k3_s1_e3_c40",
        "ir_r1_k5_s2_e6_c80 ir_r3_k3_s1_e3_c80",
        "ir_r1_k5_s1_e6_c96 ir_r3_k5_s1_e3_c96",
        "ir_r4_k5_s2_e6_c192",
        "ir_r1_k3_s1_e6_c320_noskip",
    ),
    source="dstamoulis/single-path-nas; arXiv:1904.02877, figure 5",
)

_FBNET_A = NetworkConfig(
    blocks=(
        "ir_r1_k3_s2_e3_c24 ds_r1_k3_s1_c24",
        "ir_r1_k5_s2_e6_c32 ir_r1_k3_s1_e3_c32 ds_r1_k5_s1_c32 ir_r1_k3_s1_e3_c32",
        "ir_r1_k5_s2_e6_c64 ir_r1_k5_s1_e3_c64 ds_r1_k5_s1_c64_g2 ir_r1_k5_s1_e6_c64",
        "ir_r1_k3_s1_e6_c112 ds_r1_k5_s1_c112_g2 ir_r1_k5_s1_e3_c112 ds_r1_k3_s1_c112_g2",
        "ir_r2_k5_s2_e6_c184 ir_r1_k5_s1_e3_c184 ir_r1_k5_s1_e6_c184",
        "ir_r1_k5_s1_e6_c352",
    ),
    source=f"{_FBNET}, fbnet_a",
    stem_channels=16,
    head_channels=1504,
)

_FBNET_B = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16",
        "ir_r1_k3_s2_e6_c24 ds_r1_k5_s1_c24 ds_r2_k3_s1_c24",
        "ir_r1_k5_s2_e6_c32 ir_r1_k5_s1_e3_c32 ir_r1_k3_s1_e6_c32 ir_r1_k5_s1_e6_c32",
        "ir_r2_k5_s2_e6_c64 ir_r1_k5_s1_e3_c64",
        "ir_r1_k5_s1_e6_c112 ds_r1_k3_s1_c112 ds_r1_k5_s1_c112 ir_r1_k5_s1_e3_c112",
        "ir_r1_k5_s2_e6_c184 ds_r1_k5_s1_c184 ir_r2_k5_s1_e6_c184",
        "ir_r1_k3_s1_e6_c352",
    ),
    source=f"{_FBNET}, fbnet_b",
    stem_channels=16,
    head_channels=1984,
)

_FBNET_C = NetworkConfig(
    blocks=(
        "ir_r1_k3_s1_e1_c16",
        "ir_r1_k3_s2_e6_c24 ir_r2_k3_s1_e1_c24",
        "ir_r1_k5_s2_e6_c32 ir_r1_k5_s1_e3_c32 ir_r1_k5_s1_e6_c32 ir_r1_k3_s1_e6_c32",
        "ir_r1_k5_s2_e6_c64 ir_r1_k5_s1_e3_c64 ir_r2_k5_s1_e6_c64",
        "ir_r3_k5_s1_e6_c112 ir_r1_k5_s1_e3_c112",
        "ir_r4_k5_s2_e6_c184",
        "ir_r1_k3_s1_e6_c352",
    ),
    source="timm efficientnet.py, _gen_fbnetc; arXiv:1812.03443, figure 4",
    stem_channels=16,
    head_channels=1984,
    bn_epsilon=1e-3,
)

_CHAMNET_V1 = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c24",
        "ir_r2_k7_s2_e4_c48",
        "ir_r5_k3_s2_e7_c64",
        "ir_r7_k5_s2_e12_c56 ir_r5_k3_s1_e8_c88",
        "ir_r4_k3_s2_e7_c152 ir_r1_k3_s1_e10_c104",
    ),
    source=f"{_CHAMNET}/fbnet_modeldef.py, cham_v1a; head not published",
)

_CHAMNET_V2 = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c24",
        "ir_r4_k5_s2_e8_c32",
        "ir_r6_k7_s2_e5_c48",
        "ir_r3_k5_s2_e9_c56 ir_r6_k3_s1_e6_c56",
        "ir_r6_k3_s2_e2_c160 ir_r1_k3_s1_e6_c112",
    ),
    source=f"{_CHAMNET}/fbnet_modeldef.py, cham_v2; head not published",
)

NETWORKS: dict[str, NetworkConfig] = {
    "spnasnet_100": _SPNASNET,
    "tf_spnasnet_100": _SPNASNET.tensorflow_form(),
    "fbneta_100": _FBNET_A,
    "fbnetb_100": _FBNET_B,
    "fbnetc_100": _FBNET_C,
    "chamnetv1_100": _CHAMNET_V1,
    "chamnetv2_100": _CHAMNET_V2,
}

ALIASES: dict[str, str] = {}
