"""The dense MLP, and the gate that all experts share: SwiGLU, and GPT-OSS's clamped variant of it.

SwiGLU: down(silu(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True, kw_only=True)
class SwiGLU:
    """silu(gate) * up, as in Qwen3 and DeepSeek."""

    def __call__(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return F.silu(gate) * up


@dataclass(frozen=True, kw_only=True)
class ClampedSwiGLU:
    """gate * sigmoid(alpha * gate) * (up + 1), with gate clamped from above and up from both sides, as in GPT-OSS
    (`gpt_oss/torch/model.py`, `swiglu`)."""

    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0

    def __call__(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        gate = gate.clamp(max=self.swiglu_limit)
        up = up.clamp(min=-self.swiglu_limit, max=self.swiglu_limit)
        return gate * torch.sigmoid(self.swiglu_alpha * gate) * (up + 1)


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """A dense MLP of width `intermediate_size`; no released model of the three families has `bias` here."""

    intermediate_size: int
    activation: SwiGLU | ClampedSwiGLU = SwiGLU()
    bias: bool = False

    def build(self, hidden_size: int) -> "MLP":
        return MLP(self, hidden_size)


class MLP(nn.Module):
    """(..., C) -> (..., C)"""

    def __init__(self, config: MLPConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.gate_proj = nn.Linear(hidden_size, config.intermediate_size, bias=config.bias)
        self.up_proj = nn.Linear(hidden_size, config.intermediate_size, bias=config.bias)
        self.down_proj = nn.Linear(config.intermediate_size, hidden_size, bias=config.bias)

    def forward(self, x: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """`token_mask` is for layers that count their tokens; a dense MLP treats padding like any token."""
        return self.down_proj(self.config.activation(self.gate_proj(x), self.up_proj(x)))
