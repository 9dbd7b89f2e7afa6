"""Says of a conv or a matrix product with int8 weights whether computing in int8 is faster than in float.

A dynamic kernel must first find the range of its input and quantize it, and scale each result back. That pays where enough
multiplications follow: not for 1 × 1 convs from or to few channels, which mobile CNNs are full of. The weights are int8 in the
file either way; one that computes in float is dequantized once at load.

The constants come from 64 shapes timed both ways in one process (LiteRT 2.3, XNNPACK, x86-64 with AVX-512 VNNI, one thread;
`scripts/kernel_costs` prints the table and fits them again). On these shapes the rule takes 0.8 % longer than the better of the
two for each, int8 throughout 18 % longer. On Arm it holds too: mobilenet_v2 takes 81.3 million instructions an invoke on a
Cortex-A76, with int8 throughout 89.7 million.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What int8 costs beyond its multiplications, in units of the time that it saves by one multiplication.
PER_PIXEL = 800
PER_INPUT = 24
PER_OUTPUT = 8
#: Float kernels compute this many output channels at a time; what is missing to a multiple is lost.
LANES = 16


@dataclass(frozen=True)
class Work:
    """What one op has to do in one invoke.

    Attributes:
        inputs: elements of the activation that it reads.
        pixels: output positions: N · H · W of a conv, rows of a matrix product.
        channels: output channels in one group.
        groups: of a conv, else 1.
        depth: multiplications for one output element: taps times input channels of a group.
    """

    inputs: int
    pixels: int
    channels: int
    groups: int
    depth: int

    @property
    def multiplications(self) -> int:
        """As many as a float kernel carries out, with its unused lanes."""
        return self.pixels * self.groups * self.depth * -(-self.channels // LANES) * LANES

    @property
    def overhead(self) -> int:
        """What computing in int8 adds, in multiplications."""
        return (
            PER_PIXEL * self.pixels + PER_INPUT * self.inputs + PER_OUTPUT * self.pixels * self.groups * self.channels
        )


def reason_for_float(work: Work) -> str | None:
    """Why the op should compute in float, or None where int8 is faster."""
    if work.multiplications > work.overhead:
        return None
    return (
        f"quantizing {work.inputs:,} inputs costs as much as {work.overhead:,} multiplications; "
        f"int8 would speed up {work.multiplications:,}"
    )
