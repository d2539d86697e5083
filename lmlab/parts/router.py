"""Which experts read a token, and with what weights: the four routers of the three families.

Each router is a module x (N, C) -> Routing, so that a hook on it sees everything. They differ in when the softmax comes
(before or after the choice), whether the chosen weights are made to sum to 1, and in what steers the choice.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Routing(NamedTuple):
    """logits and scores (N, E); weights and indices (N, A) of the chosen experts. `scores` are those of all experts, by
    softmax or sigmoid, before any correction bias or choice."""

    logits: torch.Tensor
    scores: torch.Tensor
    weights: torch.Tensor
    indices: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """`temperature` divides the logits before anything else: lmlab's own knob, 1 in every released model."""

    num_experts: int
    num_experts_per_tok: int
    temperature: float = 1.0

    def __post_init__(self):
        if not 1 <= self.num_experts_per_tok <= self.num_experts:
            raise ValueError(
                f"num_experts_per_tok={self.num_experts_per_tok} must lie from 1 to num_experts={self.num_experts}"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} must be above 0; 1 is every released model's")


class Router(nn.Module):
    """x (N, C) -> Routing. A router says what it scores, which experts may be chosen, and how it weighs them.

    `weight` is left uninitialised: the model draws all its weights at one place.
    """

    def __init__(self, config: RouterConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.num_experts, hidden_size))

    def forward(self, x: torch.Tensor) -> Routing:
        logits = self.logits(x)  # (N, E)
        if self.config.temperature != 1:
            logits = logits / self.config.temperature
        scores = self.scores(logits)  # (N, E)
        indices = self.eligible(logits, scores).topk(self.config.num_experts_per_tok, dim=-1).indices  # (N, A)
        return Routing(logits, scores, self.weigh(logits, scores, indices), indices)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight)

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(-1, dtype=torch.float32)

    def eligible(self, logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """What the choice goes by: the largest of these are chosen. (N, E)"""
        return scores

    def weigh(self, logits: torch.Tensor, scores: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """The weights of the chosen experts. (N, A)"""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TopKSoftmaxRouterConfig(RouterConfig):
    """GPT-OSS: choose by logits, then a softmax over the chosen only (`gpt_oss/torch/model.py`, MLPBlock)."""

    def build(self, hidden_size: int) -> "TopKSoftmaxRouter":
        return TopKSoftmaxRouter(self, hidden_size)


class TopKSoftmaxRouter(Router):
    def __init__(self, config: TopKSoftmaxRouterConfig, hidden_size: int):
        super().__init__(config, hidden_size)
        self.bias = nn.Parameter(torch.zeros(config.num_experts))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)

    def eligible(self, logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return logits

    def weigh(self, logits: torch.Tensor, scores: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        return logits.gather(1, indices).softmax(-1)


@dataclass(frozen=True, kw_only=True)
class SoftmaxTopKRouterConfig(RouterConfig):
    """Qwen3: a softmax over all experts, then the choice, then (`norm_topk_prob`) the chosen weights made to sum to 1;
    which is the same as a softmax over the chosen (transformers `modeling_qwen3_moe.py`)."""

    norm_topk_prob: bool = True

    def build(self, hidden_size: int) -> "SoftmaxTopKRouter":
        return SoftmaxTopKRouter(self, hidden_size)


class SoftmaxTopKRouter(Router):
    def weigh(self, logits: torch.Tensor, scores: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        weights = scores.gather(1, indices)
        if self.config.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        return weights.to(logits.dtype)


def check_groups(config: "SigmoidGroupRouterConfig | SoftmaxGroupRouterConfig") -> None:
    """ValueError unless the groups are of one size and the best of them hold as many experts as a token takes."""
    experts, groups, best = config.num_experts, config.n_group, config.topk_group
    if experts % groups:
        raise ValueError(f"num_experts={experts} must be a multiple of n_group={groups}")
    if not 1 <= best <= groups:
        raise ValueError(f"topk_group={best} must lie from 1 to n_group={groups}")
    if config.num_experts_per_tok > best * (experts // groups):
        raise ValueError(
            f"num_experts_per_tok={config.num_experts_per_tok} is more than the {best * (experts // groups)} experts "
            f"in topk_group={best} groups of {experts // groups}: raise topk_group or choose fewer"
        )


def keep_best_groups(scores: torch.Tensor, group_scores: torch.Tensor, topk_group: int, fill: float) -> torch.Tensor:
    """scores (N, E), group_scores (N, G) -> scores with the experts outside the best groups set to `fill`."""
    best = group_scores.topk(topk_group, dim=-1).indices  # (N, topk_group)
    dropped = torch.ones_like(group_scores, dtype=torch.bool).scatter(1, best, False)  # (N, G)
    groups = scores.unflatten(-1, (group_scores.shape[-1], -1))  # (N, G, E/G)
    return groups.masked_fill(dropped.unsqueeze(-1), fill).flatten(1)  # (N, E)


class _Float32Router(Router):
    """DeepSeek's gate is computed in float32 by transformers (in bf16 by the vendor's inference code: other experts
    for one token in ten on random data)."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        # autocast would round the product again
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.weight.float())


@dataclass(frozen=True, kw_only=True)
class SigmoidGroupRouterConfig(RouterConfig):
    """DeepSeek-V3: independent sigmoids; a correction bias steers the choice and never the weights; only the experts
    of the best groups are eligible (arXiv:2412.19437, section 2.1.2; `inference/model.py`, Gate)."""

    n_group: int
    topk_group: int
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 2.5

    def __post_init__(self):
        super().__post_init__()
        check_groups(self)

    def build(self, hidden_size: int) -> "SigmoidGroupRouter":
        return SigmoidGroupRouter(self, hidden_size)


class SigmoidGroupRouter(_Float32Router):
    def __init__(self, config: SigmoidGroupRouterConfig, hidden_size: int):
        super().__init__(config, hidden_size)
        self.register_buffer("e_score_correction_bias", torch.zeros(config.num_experts, dtype=torch.float32))

    def _apply(self, fn, recurse=True):
        # a step of 0.001 would drown in bf16: the bias keeps its float32 values whatever the model is cast to
        exact = self.e_score_correction_bias
        super()._apply(fn, recurse)
        if self.e_score_correction_bias.dtype != torch.float32:
            self.e_score_correction_bias = exact.to(self.e_score_correction_bias.device)
        return self

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()

    def eligible(self, logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        biased = scores + self.e_score_correction_bias
        groups = biased.unflatten(-1, (self.config.n_group, -1))  # (N, G, E/G)
        group_scores = groups.topk(min(2, groups.shape[-1]), dim=-1).values.sum(-1)  # (N, G)
        # -inf and not 0: biased scores may be negative
        return keep_best_groups(biased, group_scores, self.config.topk_group, float("-inf"))

    def weigh(self, logits: torch.Tensor, scores: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        weights = scores.gather(1, indices)  # without the bias
        if self.config.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return weights * self.config.routed_scaling_factor


@dataclass(frozen=True, kw_only=True)
class SoftmaxGroupRouterConfig(RouterConfig):
    """DeepSeek-V2: a softmax over all, the best groups by their best expert, weights as they are (arXiv:2405.04434,
    section 2.2). Groups None: the plain choice, as in V2-Lite."""

    n_group: int | None = None
    topk_group: int | None = None
    routed_scaling_factor: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.n_group is not None:
            check_groups(self)

    def build(self, hidden_size: int) -> "SoftmaxGroupRouter":
        return SoftmaxGroupRouter(self, hidden_size)


class SoftmaxGroupRouter(_Float32Router):
    def eligible(self, logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.config.n_group is None:
            return scores
        group_scores = scores.unflatten(-1, (self.config.n_group, -1)).amax(-1)  # (N, G)
        return keep_best_groups(scores, group_scores, self.config.topk_group, 0.0)

    def weigh(self, logits: torch.Tensor, scores: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        return scores.gather(1, indices) * self.config.routed_scaling_factor
