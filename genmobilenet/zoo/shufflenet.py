"""ShuffleNetV2, at its four published sizes.

Source: Ma et al., arXiv:1807.11164, table 5. Widths are a table there, not a
multiplier.
"""

from __future__ import annotations

from genmobilenet.config import NetworkConfig


def _sized(first: int, second: int, third: int, head: int) -> NetworkConfig:
    return NetworkConfig(
        blocks=(f"su_r4_k3_s2_c{first}", f"su_r8_k3_s2_c{second}", f"su_r4_k3_s2_c{third}"),
        source="arXiv:1807.11164, table 5",
        stem_channels=24,
        stem_pool=True,
        head_channels=head,
        drop_rate=0.0,
    )


NETWORKS: dict[str, NetworkConfig] = {
    "shufflenetv2_050": _sized(48, 96, 192, 1024),
    "shufflenetv2_100": _sized(116, 232, 464, 1024),
    "shufflenetv2_150": _sized(176, 352, 704, 1024),
    "shufflenetv2_200": _sized(244, 488, 976, 2048),
}

ALIASES: dict[str, str] = {}
