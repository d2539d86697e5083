"""FP8 as DeepSeek uses it: E4M3 values, one scale for each 128 x 128 block of a weight and each 1 x 128 run of an
activation.

E4M3 has a sign, 4 exponent bits (bias 7) and 3 mantissa bits: up to 448, no infinity, one NaN a sign. Sources:
arXiv:2412.19437, section 3.3; deepseek-ai/DeepSeek-V3 `inference/kernel.py`, README_WEIGHTS.md. The tensor that a
checkpoint calls `weight_scale_inv` is *multiplied*: weight = value * weight_scale_inv.

DeepSeek-V3 scales by any float32; V3.1 by powers of two, rounded up so that nothing overflows (UE8M0).
"""

import torch
import torch.nn.functional as F

from lmlab.formats.e8m0 import round_up

BLOCK = 128
LARGEST = 448.0
SMALLEST_AMAX = 1e-4  # the vendor's kernel: a run of zeros still gets a scale


def _decode(byte: int) -> float:
    sign = -1.0 if byte & 0x80 else 1.0
    exponent, mantissa = byte >> 3 & 0xF, byte & 0x7
    if exponent == 0xF and mantissa == 0x7:
        return float("nan")
    if exponent == 0:
        return sign * mantissa * 2.0**-9  # subnormal: no hidden one
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


E4M3_VALUES: tuple[float, ...] = tuple(_decode(byte) for byte in range(256))
"""The number that each of the 256 bytes stands for."""


def quantize_weight(weight: torch.Tensor, power_of_two: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """weight (..., M, N) -> values float8_e4m3fn (..., M, N), weight_scale_inv float32 (..., ceil(M/128), ceil(N/128)).

    The last blocks of a row or column may be partial. `power_of_two` rounds the scales up (UE8M0).
    """
    rows, columns = weight.shape[-2:]
    padded = F.pad(weight.float(), (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = padded.unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK))  # (..., M/128, 128, N/128, 128)
    scale = _scale(blocks.abs().amax(dim=(-1, -3)), power_of_two)  # (..., M/128, N/128)
    values = weight.float() / _spread(scale, rows, columns)
    return values.clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), scale


def dequantize_weight(
    values: torch.Tensor, weight_scale_inv: torch.Tensor, dtype: torch.dtype = torch.bfloat16
) -> torch.Tensor:
    """values (..., M, N), weight_scale_inv (..., ceil(M/128), ceil(N/128)) -> weight (..., M, N).

    ValueError when the scales do not belong to a weight of this shape.
    """
    rows, columns = values.shape[-2:]
    expected = (*values.shape[:-2], -(-rows // BLOCK), -(-columns // BLOCK))
    if tuple(weight_scale_inv.shape) != expected:
        raise ValueError(
            f"weight_scale_inv has shape {tuple(weight_scale_inv.shape)}; a weight of shape {tuple(values.shape)} in "
            f"blocks of {BLOCK} needs {expected}"
        )
    return (values.float() * _spread(weight_scale_inv.float(), rows, columns)).to(dtype)


def quantize_activation(x: torch.Tensor, power_of_two: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """x (..., N), N a multiple of 128 -> values float8_e4m3fn (..., N), scale float32 (..., N/128), one a token and
    run."""
    if x.shape[-1] % BLOCK:
        raise ValueError(f"the last dimension is {x.shape[-1]}, and must be a multiple of {BLOCK}")
    runs = x.float().unflatten(-1, (-1, BLOCK))  # (..., N/128, 128)
    scale = _scale(runs.abs().amax(-1), power_of_two)  # (..., N/128)
    values = (runs / scale.unsqueeze(-1)).clamp(-LARGEST, LARGEST)
    return values.flatten(-2).to(torch.float8_e4m3fn), scale


def dequantize_activation(
    values: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype = torch.bfloat16
) -> torch.Tensor:
    """values (..., N), scale (..., N/128) -> x (..., N)"""
    return (values.float().unflatten(-1, (-1, BLOCK)) * scale.unsqueeze(-1)).flatten(-2).to(dtype)


def _scale(amax: torch.Tensor, power_of_two: bool) -> torch.Tensor:
    scale = amax.clamp(min=SMALLEST_AMAX) / LARGEST
    return round_up(scale) if power_of_two else scale


def _spread(scale: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Each block's scale at each of its places. (..., ceil(M/128), ceil(N/128)) -> (..., M, N)"""
    return scale.repeat_interleave(BLOCK, -2).repeat_interleave(BLOCK, -1)[..., :rows, :columns]
