"""A detector as a TFLite file: a network, further layers, and heads that predict boxes."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.tflite_networks import NetworkFile


class DetectorFile(NetworkFile):
    """An SSD on a network's last two strides and on a further one.

    ``separable`` heads are of a depthwise and a pointwise convolution. ``postprocess`` ends with
    TensorFlow's operator for detections.
    """

    separable = False
    postprocess = True

    def build(self):
        shape = [1, self.size, self.size, self.config.in_chans]
        image, data = self.entrance(shape)
        x = self.conv((data, self.size, self.config.in_chans), "stem", 3, 2, self.config.stem)
        outputs = []
        for block in self.config.resolve():
            outputs.append(x)
            x = self.block(x, block, f"block_{block.index}")
        finer = [y for y in outputs if y[1] > x[1]][-1]
        extra = self.conv(x, "extra/narrow", 1, 1, 16, "relu6")
        extra = self.conv(extra, "extra/strided", 3, 2, 32, "relu6")
        ends = [self.flat(x, f"{n}/{kind}", count)
                for n, x in enumerate((finer, x, extra))
                for kind, count in (("boxes", 8), ("scores", 6))]  # fmt: skip
        ends = [self.joined(ends[0::2], "boxes", 4), self.joined(ends[1::2], "scores", 3)]
        if not self.postprocess:
            return self.file.finish([image], ends)
        found = self.file.tensor("detections", [1, 10, 4])
        self.file.operator("CUSTOM", ends, found)
        self.file.model.operatorCodes[-1].customCode = b"TFLite_Detection_PostProcess"
        return self.file.finish([image], [found])

    def flat(self, x, name, channels):
        """A head's predictions at each place, in a row: tensor and count."""
        if self.separable:
            x = self.conv(x, f"{name}/dw", 3, 1, x[2], "relu6", depthwise=True)
        tensor, side, channels = self.conv(
            x, f"{name}/conv", 1 if self.separable else 3, 1, channels, "none"
        )
        each = 4 if "boxes" in name else 3
        count = side * side * channels // each
        flat = self.file.tensor(f"{name}/flat", [1, count, each])
        return self.file.operator("RESHAPE", [tensor], flat, schema.ReshapeOptionsT()), count

    def joined(self, parts, name, each):
        """All predictions of one kind behind each other."""
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        output = self.file.tensor(name, [1, sum(count for _, count in parts), each])
        return self.file.operator("CONCATENATION", [tensor for tensor, _ in parts], output, options)
