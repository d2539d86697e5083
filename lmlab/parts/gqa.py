"""Grouped-query attention: H query heads share K key/value heads (Ainslie et al., arXiv:2305.13245).

With it, by its configuration, what GPT-OSS and Qwen3 add: a sliding window, learned sinks and biases (GPT-OSS), and an
RMSNorm over each query and key head before RoPE, QK-Norm (Qwen3, arXiv:2505.09388, section 2).
"""

from dataclasses import dataclass

import torch
from torch import nn

from lmlab.parts.cache import KVCache, WindowCache
from lmlab.parts.core import FusedAttention
from lmlab.parts.masks import Timeline, timeline_of
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import RoPEConfig


@dataclass(frozen=True, kw_only=True)
class GQAConfig:
    """`head_dim` is its own number: num_attention_heads * head_dim need not equal hidden_size."""

    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope: RoPEConfig
    sliding_window: int | None = None
    attention_bias: bool = False
    sinks: bool = False
    qk_norm: RMSNormConfig | None = None

    def __post_init__(self):
        if self.num_key_value_heads < 1 or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} must be a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}: each key/value head serves equally many query heads"
            )
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ValueError(
                f"sliding_window={self.sliding_window} must be 1 or more, or None: it counts the query itself"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even: RoPE turns dimensions in pairs")

    @property
    def rope_dim(self) -> int:
        """How many dimensions of a query rotate."""
        return self.head_dim

    def build(self, hidden_size: int) -> "GroupedQueryAttention":
        return GroupedQueryAttention(self, hidden_size)

    def cache_elements(self, length: int) -> int:
        """Numbers kept per sequence once `length` tokens are read: keys and values, at most a window of them."""
        places = length if self.sliding_window is None else min(length, self.sliding_window)
        return 2 * self.num_key_value_heads * self.head_dim * places


class GroupedQueryAttention(nn.Module):
    """x (B, T, C) -> (B, T, C)"""

    def __init__(self, config: GQAConfig, hidden_size: int):
        super().__init__()
        self.config = config
        heads, kv_heads, head_dim, bias = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            config.attention_bias,
        )
        self.q_proj = nn.Linear(hidden_size, heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden_size, kv_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden_size, kv_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * head_dim, hidden_size, bias=bias)
        self.q_norm = config.qk_norm.build(head_dim) if config.qk_norm else nn.Identity()
        self.k_norm = config.qk_norm.build(head_dim) if config.qk_norm else nn.Identity()
        self.sinks = nn.Parameter(torch.zeros(heads)) if config.sinks else None
        self.rope = config.rope.build(head_dim)
        self.core = FusedAttention(head_dim**-0.5 * config.rope.softmax_factor)

    def heads(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)  # (B, heads, T, D)

    def forward(self, x: torch.Tensor, timeline: Timeline | None = None, cache=None) -> torch.Tensor:
        timeline = timeline or timeline_of(x)
        q = self.q_norm(self.heads(self.q_proj(x)))  # (B, H, T, D)
        k = self.k_norm(self.heads(self.k_proj(x)))  # (B, K, T, D)
        v = self.heads(self.v_proj(x))  # (B, K, T, D)
        cos, sin = timeline.angles(self.rope)
        q, k = self.rope.rotate(q, cos, sin), self.rope.rotate(k, cos, sin)
        mask = timeline.needed_mask(cache, self.config.sliding_window)  # (1 or B, 1, T, S)
        if cache is not None:
            k, v = cache.update(k, v)  # (B, K, S, D)
        out, _ = self.core(q, k, v, mask, self.sinks)  # (B, H, T, D)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # (B, T, C)

    def make_cache(self, batch_size: int, max_length: int, dtype, device, slack: int = 0) -> KVCache | WindowCache:
        config = self.config
        if config.sliding_window is None or config.sliding_window + slack >= max_length:
            return KVCache(batch_size, config.num_key_value_heads, max_length, config.head_dim, dtype, device)
        return WindowCache(
            batch_size, config.num_key_value_heads, config.sliding_window, config.head_dim, dtype, device, slack
        )
