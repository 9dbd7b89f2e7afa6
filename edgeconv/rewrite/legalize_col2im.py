"""Col2Im-18 is not known at 13."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeconv.rewrite.base import Builder, NodePass, attr, const_ints, needed, static_shape


class LegalizeCol2im(NodePass):
    """Writes a ConvTranspose of one group a channel whose kernel puts each number of a block in its place.

    A transposed convolution adds up where its blocks overlap, which is what Col2Im is.
    """

    ops = frozenset({"Col2Im"})

    def rewrite(self, node: ir.Node, build: Builder) -> Sequence[ir.Value] | None:
        """Needs all sizes but the batch's."""
        data = needed(node, 0)
        image, block = const_ints(needed(node, 1)), const_ints(needed(node, 2))
        rows = data.shape[1] if data.shape is not None else None
        if image is None or block is None or not isinstance(rows, int) or data.dtype is None:
            return build.refuse("its sizes are computed while the model runs")
        dims, taps = len(image), int(np.prod(block))
        channels = rows // taps
        dilations, strides = attr(node, "dilations", [1] * dims), attr(node, "strides", [1] * dims)
        pads = attr(node, "pads", [0] * (2 * dims))
        reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, block, strict=True)]
        steps = [(image[i] + pads[i] + pads[i + dims] - reach[i]) // strides[i] + 1 for i in range(dims)]
        rest = [image[i] + pads[i] + pads[i + dims] - (steps[i] - 1) * strides[i] - reach[i] for i in range(dims)]
        kernel = np.tile(np.eye(taps, dtype=data.dtype.numpy()), (channels, 1)).reshape([rows, 1, *block])
        shape = static_shape(data)
        batch = shape[0] if shape is not None else 0  # 0 copies the input's
        blocks = build.op("Reshape", data, build.ints([batch, rows, *steps], "blocks"))
        return [
            build.op(
                "ConvTranspose",
                blocks,
                kernel,
                group=channels,
                kernel_shape=block,
                strides=strides,
                dilations=dilations,
                pads=pads,
                output_padding=rest,
            )
        ]
