"""RMSNorm: divide by the root mean square, multiply by a learned weight; no mean is subtracted, no bias added.

Shapes: (..., C) -> (..., C). Source: Zhang and Sennrich, arXiv:1910.07467, eq. 4.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True, kw_only=True)
class RMSNormConfig:
    """`eps` stands inside the root. `weight_in_float32` is the order of the last two steps, visible only below float32:
    gpt-oss multiplies by the weight and then rounds (`gpt_oss/torch/model.py`), Qwen3 and DeepSeek in transformers
    round and then multiply."""

    eps: float = 1e-6
    weight_in_float32: bool = False

    def build(self, hidden_size: int) -> "RMSNorm":
        return RMSNorm(self, hidden_size)


class RMSNorm(nn.Module):
    def __init__(self, config: RMSNormConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == self.weight.dtype == torch.float32:  # nothing is rounded: PyTorch's own, the same in fewer steps
            return F.rms_norm(x, self.weight.shape, self.weight, self.config.eps)
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.config.eps)
        if self.config.weight_in_float32:
            return (y * self.weight.float()).to(x.dtype)
        return y.to(x.dtype) * self.weight

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.config.eps}"
