"""Rotary position embedding, and the ways to stretch it.

Dimension pair i of a query or key turns by the angle position * inv_freq[i], so a score sees only the difference of two
positions (Su et al., arXiv:2104.09864). Two layouts of the same rotation: *half-split* pairs (i, i + D/2), as in
GPT-OSS and Qwen3, and *interleaved* pairs (2i, 2i + 1), as in DeepSeek.

A scaling says how the frequencies change when the context grows. Each is a small dataclass that answers
`inverse_frequencies(rope_theta, dim)`, `cos_sin_factor` (multiplies cos and sin, hence every score by its square) and
`softmax_factor` (multiplies the softmax scale). YaRN's temperature uses the first in GPT-OSS and Qwen3 and the second
in DeepSeek.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn


def plain_inverse_frequencies(rope_theta: float, dim: int) -> torch.Tensor:
    """theta^(-2i/dim) for i in 0..dim/2-1, in radians per position. (dim/2,)

    In float32 and in this order of operations, as every vendor does: at position 100,000 a difference in the last bit
    of a frequency is an angle of 0.006 rad.
    """
    return 1.0 / rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim)


class _Unscaled:
    """What a scaling answers unless it says otherwise."""

    cos_sin_factor = 1.0
    softmax_factor = 1.0


@dataclass(frozen=True, kw_only=True)
class PositionInterpolation(_Unscaled):
    """All frequencies divided by the factor: positions squeezed into the trained range (Chen et al.,
    arXiv:2306.15595)."""

    factor: float

    def inverse_frequencies(self, rope_theta: float, dim: int) -> torch.Tensor:
        return plain_inverse_frequencies(rope_theta, dim) / self.factor


@dataclass(frozen=True, kw_only=True)
class NTK(_Unscaled):
    """A base raised so that the slowest pair slows by exactly the factor and the fastest keeps its speed ("NTK-aware",
    described in arXiv:2309.00071, section 3.1)."""

    factor: float

    def inverse_frequencies(self, rope_theta: float, dim: int) -> torch.Tensor:
        return plain_inverse_frequencies(rope_theta * self.factor ** (dim / (dim - 2)), dim)


@dataclass(frozen=True, kw_only=True)
class ABF(_Unscaled):
    """Adjusted base frequency: another theta, chosen by hand and trained in (Xiong et al., arXiv:2309.16039). Qwen3
    raises 10,000 to 1,000,000 in its long-context stage (arXiv:2505.09388, section 3.2)."""

    rope_theta: float

    def inverse_frequencies(self, rope_theta: float, dim: int) -> torch.Tensor:
        return plain_inverse_frequencies(self.rope_theta, dim)


@dataclass(frozen=True, kw_only=True)
class YaRN:
    """Fast pairs keep their speed, slow pairs are divided by the factor, a linear ramp lies between (Peng et al.,
    arXiv:2309.00071). Field names are those of `rope_scaling` in config.json.

    Pair i turns original_max_position_embeddings * inv_freq[i] / 2 pi times within the trained length: more than
    `beta_fast` turns count as fast, fewer than `beta_slow` as slow. `truncate` rounds the two bounds outwards to whole
    pairs (GPT-OSS does not). The temperature 0.1 ln(factor) + 1 multiplies cos and sin, unless `attention_factor`
    says otherwise or both mscales are given, as in DeepSeek: then cos and sin take their quotient, and the softmax
    scale the square of the one for `mscale_all_dim` (`deepseek-ai/DeepSeek-V3 inference/model.py`, MLA).
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None

    def temperature(self, mscale: float = 1.0) -> float:
        return 0.1 * mscale * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0

    @property
    def cos_sin_factor(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self.temperature(self.mscale) / self.temperature(self.mscale_all_dim)
        return self.temperature()

    @property
    def softmax_factor(self) -> float:
        return self.temperature(self.mscale_all_dim) ** 2 if self.mscale_all_dim else 1.0

    def pair_turning(self, turns: float, rope_theta: float, dim: int) -> float:
        """The (fractional) index of the pair that makes this many turns within the original length."""
        return (
            dim * math.log(self.original_max_position_embeddings / (turns * 2 * math.pi)) / (2 * math.log(rope_theta))
        )

    def bounds(self, rope_theta: float, dim: int) -> tuple[float, float]:
        """(low, high): pairs up to `low` keep their speed, pairs from `high` on are slowed by the whole factor."""
        low = self.pair_turning(self.beta_fast, rope_theta, dim)
        high = self.pair_turning(self.beta_slow, rope_theta, dim)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        # clamped to dim - 1, though there are only dim/2 pairs: so it is in the vendors' code
        return max(low, 0), min(high, dim - 1)

    def ramp(self, rope_theta: float, dim: int) -> torch.Tensor:
        """How much of the slowing each pair receives: 0 (none) to 1 (all). (dim/2,)"""
        low, high = self.bounds(rope_theta, dim)
        high = high + 0.001 if low == high else high
        return ((torch.arange(dim // 2, dtype=torch.float32, device="cpu") - low) / (high - low)).clamp(0, 1)

    def inverse_frequencies(self, rope_theta: float, dim: int) -> torch.Tensor:
        periods = rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim)
        kept = 1 - self.ramp(rope_theta, dim)
        return 1.0 / (self.factor * periods) * (1 - kept) + 1.0 / periods * kept


RoPEScaling = PositionInterpolation | NTK | ABF | YaRN


@dataclass(frozen=True, kw_only=True)
class RoPEConfig:
    rope_theta: float
    interleaved: bool = False
    scaling: RoPEScaling | None = None

    @property
    def cos_sin_factor(self) -> float:
        return 1.0 if self.scaling is None else self.scaling.cos_sin_factor

    @property
    def softmax_factor(self) -> float:
        return 1.0 if self.scaling is None else self.scaling.softmax_factor

    def inverse_frequencies(self, dim: int) -> torch.Tensor:
        """Radians per position of each pair, float32, on the CPU. (dim/2,)"""
        return _inverse_frequencies(self, dim).clone()  # the caller's own, to change as it likes

    def build(self, dim: int) -> "RoPE":
        return RoPE(self, dim)


@lru_cache(maxsize=256)
def _inverse_frequencies(config: RoPEConfig, dim: int) -> torch.Tensor:
    if config.scaling is None:
        return plain_inverse_frequencies(config.rope_theta, dim)
    return config.scaling.inverse_frequencies(config.rope_theta, dim)


class RoPE(nn.Module):
    """positions (B, T) -> cos, sin (B, 1, T, D) of the angle at which each dimension's pair stands; `rotate` turns by
    them."""

    def __init__(self, config: RoPEConfig, dim: int):
        super().__init__()
        self.config, self.dim = config, dim
        self.register_buffer("inv_freq", config.inverse_frequencies(dim), persistent=False)

    def _apply(self, fn, recurse=True):
        # moving a model moves the frequencies, but never rounds them (bf16 would shift every angle) nor empties them
        super()._apply(fn, recurse)
        self.inv_freq = self.config.inverse_frequencies(self.dim).to(self.inv_freq.device)
        return self

    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = positions[:, None, :, None] * self.inv_freq  # (B, 1, T, D/2)
        # both dimensions of a pair turn by its angle
        if self.config.interleaved:
            angles = torch.stack((angles, angles), dim=-1).flatten(-2)  # (B, 1, T, D)
        else:
            angles = torch.cat((angles, angles), dim=-1)  # (B, 1, T, D)
        cos, sin, factor = angles.cos(), angles.sin(), self.config.cos_sin_factor
        return (cos, sin) if factor == 1 else (cos * factor, sin * factor)

    def rotate(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """x (B, heads, T, D) -> the same, each pair turned by its angle: x cos + (x after a quarter turn) sin."""
        return torch.addcmul(x * cos.to(x.dtype), self.quarter_turn(x), sin.to(x.dtype))

    def quarter_turn(self, x: torch.Tensor) -> torch.Tensor:
        """Each pair (a, b) -> (-b, a). (..., D) -> (..., D)"""
        if self.config.interleaved:
            return torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
        a, b = x.chunk(2, dim=-1)  # (..., D/2) each
        return torch.cat((-b, a), dim=-1)
