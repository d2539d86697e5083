"""E8M0: a scale in one byte that holds an exponent alone. Byte e stands for 2^(e - 127); 255 stands for NaN.

Source: OCP Microscaling Formats (MX) v1.0, section 5.4.1. MXFP4's block scales are stored so; DeepSeek-V3.1's FP8
scales ("UE8M0") are powers of two of this kind.
"""

import torch

BIAS = 127


def encode(exponent: torch.Tensor) -> torch.Tensor:
    """Whole exponents (any shape) -> bytes uint8, saturating at 2^-127 and 2^127."""
    return (exponent.long() + BIAS).clamp(0, 254).to(torch.uint8)


def exponents(scales: torch.Tensor) -> torch.Tensor:
    """Bytes uint8 -> exponents int32."""
    return scales.to(torch.int32) - BIAS


def decode(scales: torch.Tensor) -> torch.Tensor:
    """Bytes uint8 -> float32 powers of two, exactly, 2^-127 (which float32 holds as a subnormal) included."""
    ones = torch.ones_like(scales, dtype=torch.float64)
    values = torch.ldexp(ones, exponents(scales)).float()
    return values.masked_fill(scales == 255, float("nan"))


def round_up(scale: torch.Tensor) -> torch.Tensor:
    """The smallest power of two that is not below `scale` (> 0), float32."""
    mantissa, exponent = torch.frexp(scale.float())  # scale = mantissa * 2^exponent, mantissa in [0.5, 1)
    exponent = exponent - (mantissa == 0.5).int()
    return torch.ldexp(torch.ones_like(mantissa), exponent)
