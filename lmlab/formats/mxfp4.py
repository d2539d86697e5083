"""MXFP4 as GPT-OSS's experts are stored: four bits a value (E2M1), and one E8M0 scale for each block of 32: 4.25 bits.

A four-bit code is a sign and one of eight magnitudes; a block's scale chooses the ruler for its 32 neighbours. Blocks
run along the matrix's input dimension. Two codes share a byte, the even element in the low nibble. Sources: OCP
Microscaling Formats (MX) v1.0; openai/gpt-oss `gpt_oss/torch/weights.py`; the checkpoint's tensors are

    mlp.experts.gate_up_proj_blocks  uint8 (E, 2I, C/32, 16)    mlp.experts.gate_up_proj_scales  uint8 (E, 2I, C/32)
    mlp.experts.down_proj_blocks     uint8 (E, C, I/32, 16)     mlp.experts.down_proj_scales     uint8 (E, C, I/32)

that is (out, in), the layout of lmlab's experts; transformers keeps the transpose.
"""

import torch

from lmlab.formats import e8m0

BLOCK = 32
E2M1_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""The number that each of the 16 codes stands for; code 8 is minus zero."""
_EXPONENT_OF_LARGEST = 2  # 6 = 1.5 * 2^2
# half-way between neighbours; a tie goes to the even mantissa: 0.25 down, 0.75 up, 1.25 down, ...
_MIDPOINTS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)


def pack(codes: torch.Tensor) -> torch.Tensor:
    """Codes 0..15 uint8 (..., N), N even -> bytes (..., N/2): element 2i in the low nibble, 2i + 1 in the high one."""
    return codes[..., 0::2] | codes[..., 1::2] << 4


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """Bytes (..., M) -> codes 0..15 uint8 (..., 2M)"""
    return torch.stack((packed & 0x0F, packed >> 4), dim=-1).flatten(-2)


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """weight (..., N), N a multiple of 32 -> blocks uint8 (..., N/32, 16), scales uint8 (..., N/32).

    The MX rule: the block's exponent is that of its largest magnitude less 2; values are rounded to the nearest code,
    ties to even, and saturate at 6.
    """
    if weight.shape[-1] % BLOCK:
        raise ValueError(f"the last dimension is {weight.shape[-1]}, and must be a multiple of {BLOCK}")
    blocks = weight.float().unflatten(-1, (-1, BLOCK))  # (..., N/32, 32)
    _, exponent = torch.frexp(blocks.abs().amax(-1))  # amax = mantissa * 2^exponent, mantissa in [0.5, 1)
    exponent = (exponent - 1 - _EXPONENT_OF_LARGEST).masked_fill(blocks.abs().amax(-1) == 0, -e8m0.BIAS)
    scales = e8m0.encode(exponent)  # (..., N/32)
    scaled = torch.ldexp(blocks.double(), -e8m0.exponents(scales).unsqueeze(-1)).float()
    return pack(_nearest(scaled)), scales


def _nearest(x: torch.Tensor) -> torch.Tensor:
    """The code nearest to each value, ties to the even mantissa."""
    midpoints = torch.tensor(_MIDPOINTS, device=x.device)
    below = torch.bucketize(x.abs(), midpoints)  # a tie stays with the lower neighbour
    above = torch.bucketize(x.abs(), midpoints, right=True)  # a tie goes to the upper one
    magnitude = torch.where(below % 2 == 0, below, above)  # even codes have an even mantissa
    return (magnitude + 8 * torch.signbit(x)).to(torch.uint8)


def dequantize(blocks: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """blocks uint8 (..., N/32, 16), scales uint8 (..., N/32) -> weight (..., N).

    One row of the first dimension at a time, so that no more than the result and a row are in memory. ValueError when
    blocks and scales do not belong together.
    """
    if blocks.shape[:-1] != scales.shape or blocks.shape[-1] != BLOCK // 2:
        raise ValueError(
            f"blocks of shape {tuple(blocks.shape)} need scales of shape {tuple(blocks.shape[:-1])} and {BLOCK // 2} "
            f"bytes a block: got scales of shape {tuple(scales.shape)}"
        )
    values = torch.tensor(E2M1_VALUES, dtype=dtype, device=blocks.device)
    weight = torch.empty((*scales.shape[:-1], scales.shape[-1] * BLOCK), dtype=dtype, device=blocks.device)
    for out, block, scale in zip(weight, blocks, scales, strict=True):
        unscaled = values[unpack(block).int()]  # (..., N/32, 32)
        out.copy_(torch.ldexp(unscaled, e8m0.exponents(scale).unsqueeze(-1)).flatten(-2))
    return weight
