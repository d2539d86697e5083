"""A mixture of experts: a router chooses A of E small MLPs for each token, their outputs are added by its weights;
shared experts, where there are any, read every token.

The experts' weights lie stacked in two tensors, gate rows before up rows, in one layout for all families.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lmlab.parts.mlp import ClampedSwiGLU, MLPConfig, SwiGLU
from lmlab.parts.router import RouterConfig

# (token, expert) pairs up to which each way was the fastest on one core: one expert after another, while sorting the
# pairs costs more than it saves; gathering, when compiled, since the compiler then reads the weights where they lie
LOOPED_PAIRS, GATHERED_PAIRS = 8, 128


@dataclass(frozen=True, kw_only=True)
class MoEConfig:
    """`moe_intermediate_size` is the width of one expert; `bias` gives the experts biases (GPT-OSS); shared experts
    form one MLP of num_shared_experts times that width, neither gated nor scaled (DeepSeek)."""

    router: RouterConfig
    moe_intermediate_size: int
    activation: SwiGLU | ClampedSwiGLU = SwiGLU()
    bias: bool = False
    num_shared_experts: int = 0

    @property
    def num_experts(self) -> int:
        return self.router.num_experts

    @property
    def num_experts_per_tok(self) -> int:
        return self.router.num_experts_per_tok

    def build(self, hidden_size: int) -> "MoE":
        return MoE(self, hidden_size)


class Experts(nn.Module):
    """x (N, C), indices and weights (N, A) -> (N, C). Three ways to the same sum, for few tokens and for many.

    The matrices are left uninitialised: the model draws all its weights at one place.
    """

    def __init__(self, config: MoEConfig, hidden_size: int):
        super().__init__()
        self.config = config
        experts, width = config.num_experts, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * width, hidden_size))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden_size, width))
        self.gate_up_proj_bias = nn.Parameter(torch.zeros(experts, 2 * width)) if config.bias else None
        self.down_proj_bias = nn.Parameter(torch.zeros(experts, hidden_size)) if config.bias else None

    def forward(self, x: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        weights, pairs, compiled = weights.to(x.dtype), indices.numel(), torch.compiler.is_compiling()
        if x.is_meta or (compiled and pairs <= GATHERED_PAIRS):
            return self.gathered(x, indices, weights)
        if not compiled and pairs <= LOOPED_PAIRS:
            return self.looped(x, indices, weights)
        return self.grouped(x, indices, weights)

    def looped(self, x: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """One chosen expert after another: reads their weights where they lie."""
        if not len(x):
            return torch.zeros_like(x)
        pairs = [(row, e) for row, chosen in zip(x.split(1), indices.tolist(), strict=True) for e in chosen]
        gate_up = torch.cat([self.gate_and_up(e, row) for row, e in pairs])  # (N*A, 2I)
        hidden = self.config.activation(*gate_up.chunk(2, dim=-1))  # (N*A, I)
        outs = torch.cat([self.down(e, row) for row, (_, e) in zip(hidden.split(1), pairs, strict=True)])  # (N*A, C)
        return (outs.unflatten(0, indices.shape) * weights.unsqueeze(-1)).sum(1)  # (N, C)

    def gate_and_up(self, e: int, x: torch.Tensor) -> torch.Tensor:
        bias = self.gate_up_proj_bias
        return F.linear(x, self.gate_up_proj[e], None if bias is None else bias[e])  # (..., 2I)

    def down(self, e: int, x: torch.Tensor) -> torch.Tensor:
        bias = self.down_proj_bias
        return F.linear(x, self.down_proj[e], None if bias is None else bias[e])  # (..., C)

    def gathered(self, x: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Copy out the weights of the chosen experts: no shape depends on the choice, so a compiled step takes it
        whole, and the meta device, where nothing is copied, any number of tokens."""
        gate_up = self.gate_up_proj[indices] @ x[:, None, :, None]  # (N, A, 2I, 1)
        gate_up = gate_up.squeeze(-1)  # (N, A, 2I)
        if self.gate_up_proj_bias is not None:
            gate_up = gate_up + self.gate_up_proj_bias[indices]
        hidden = self.config.activation(*gate_up.chunk(2, dim=-1))  # (N, A, I)
        out = (self.down_proj[indices] @ hidden.unsqueeze(-1)).squeeze(-1)  # (N, A, C)
        if self.down_proj_bias is not None:
            out = out + self.down_proj_bias[indices]
        return (out * weights.unsqueeze(-1)).sum(1)  # (N, C)

    def grouped(self, x: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Sort the (token, expert) pairs by expert, then one matrix product per expert."""
        chosen, order = indices.flatten().sort(stable=True)  # (N*A,) each
        tokens = order // indices.shape[1]  # (N*A,)
        experts = torch.arange(self.config.num_experts, device=x.device)
        ends = torch.searchsorted(chosen, experts, right=True)  # (E,) where the pairs of each expert end
        gate_up = grouped_linear(x[tokens], self.gate_up_proj, ends)  # (N*A, 2I)
        if self.gate_up_proj_bias is not None:
            gate_up = gate_up + self.gate_up_proj_bias[chosen]
        hidden = self.config.activation(*gate_up.chunk(2, dim=-1))  # (N*A, I)
        out = grouped_linear(hidden, self.down_proj, ends)  # (N*A, C)
        if self.down_proj_bias is not None:
            out = out + self.down_proj_bias[chosen]
        out = out * weights.flatten()[order].unsqueeze(-1)
        return torch.zeros_like(x).index_add(0, tokens, out)  # (N, C)


def grouped_linear(x: torch.Tensor, weight: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """x (M, in), sorted by group; weight (E, out, in); ends (E,) the row after each group's last -> (M, out)."""
    # PyTorch's kernel, where this version has it, wants rows of whole 16 bytes and, compiled, bf16
    aligned = all(size * weight.element_size() % 16 == 0 for size in weight.shape[1:])
    compiles = x.dtype == torch.bfloat16 or not torch.compiler.is_compiling()
    if aligned and compiles and len(x) and hasattr(F, "grouped_mm"):
        return F.grouped_mm(x, weight.mT, offs=ends.to(torch.int32))
    parts = x.split(ends.diff(prepend=ends.new_zeros(1)).tolist())
    return torch.cat([part @ w.mT for part, w in zip(parts, weight, strict=True)])


class MoE(nn.Module):
    """(B, T, C) -> (B, T, C)"""

    def __init__(self, config: MoEConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.router = config.router.build(hidden_size)
        self.experts = Experts(config, hidden_size)
        self.shared_experts = None
        if config.num_shared_experts:
            width = config.num_shared_experts * config.moe_intermediate_size
            self.shared_experts = MLPConfig(intermediate_size=width, activation=config.activation).build(hidden_size)

    def forward(self, x: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Where `token_mask` (B, T) is False stands padding: no router and no expert sees it, and its output is 0."""
        if token_mask is not None:
            out = torch.zeros_like(x)
            out[token_mask] = self.route(x[token_mask]).to(x.dtype)
            return out
        return self.route(x.flatten(0, 1)).view_as(x)

    def route(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C) -> (N, C)"""
        routing = self.router(x)
        out = self.experts(x, routing.indices, routing.weights)
        return out if self.shared_experts is None else out + self.shared_experts(x)
