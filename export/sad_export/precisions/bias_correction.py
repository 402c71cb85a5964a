"""Biases of INT8 convolutions moved so that each channel's mean over pictures is what it is in fp32.

Rounding shifts what a convolution says of a channel, always to the same side; behind several layers the shifts are a
good part of the error, and a bias takes them away at no cost. Nagel et al. 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction", 4.2: measured on pictures, layer by layer, each behind those corrected before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, numpy_helper

from sad_calibration.int8.activations import channel_means
from sad_export.graph_edit import constants_of, rebuilt
from sad_train.pixels import Picture


def with_corrected_biases(fp32: ModelProto, int8: ModelProto, pictures: Sequence[Picture]) -> ModelProto:
    """`int8`, made of `fp32` node by node, with the biases of its INT8 convolutions corrected.

    `pictures`: (H, W, C) uint8 each. A convolution that had no bias gets one.
    """
    corrected = rebuilt(int8, int8.graph.node)
    int8_inputs = {node.output[0] for node in corrected.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in corrected.graph.node if node.op_type == "Conv" and node.input[0] in int8_inputs]
    if not convolutions:
        return corrected
    wanted = channel_means(fp32.SerializeToString(), [node.output[0] for node in convolutions], pictures)
    biases = constants_of(corrected)
    for node in convolutions:
        made = node.output[0]
        found = channel_means(corrected.SerializeToString(), [made], pictures)[made]
        data, weights, *bias = node.input
        before = biases[bias[0]].astype(np.float64) if bias else np.zeros(len(found))
        moved = before + wanted[made] - found
        named = f"{made}_bias"
        corrected.graph.initializer.append(numpy_helper.from_array(moved.astype(np.float32), named))
        del node.input[:]
        node.input.extend([data, weights, named])
    return rebuilt(corrected, corrected.graph.node)
