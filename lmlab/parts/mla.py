"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1; DeepSeek-V3, arXiv:2412.19437, section
2.1.1).

Keys and values of all H heads are linear functions of one latent of R numbers a token; the cache holds that latent and
one rotated key of `qk_rope_head_dim` numbers, shared by all heads (512 + 64 in DeepSeek-V3, for 128 heads). RoPE stands
apart because a rotation does not commute with the up-projection. Two ways to compute the same attention:

- expanded: kv_b_proj turns every latent into H keys and H values; then ordinary attention. R * (nope + v)
  multiplications per head and key to expand, then nope + rope + v for each query.
- absorbed: the key half of kv_b_proj is moved to the query's side, the value half to the output's. The latent itself
  serves as the one key and the one value of all heads: nothing to expand, 2 R + rope multiplications for each query.
"""

from dataclasses import dataclass

import torch
from torch import nn

from lmlab.parts.cache import LatentCache
from lmlab.parts.core import FusedAttention
from lmlab.parts.masks import Timeline, timeline_of
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import RoPEConfig


@dataclass(frozen=True, kw_only=True)
class MLAConfig:
    """`q_lora_rank` None: queries come from one matrix, without a latent of their own (DeepSeek-V2-Lite).
    `latent_norm` is the norm of both latents; its eps is 1e-6 in the vendor's code whatever rms_norm_eps says."""

    num_attention_heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    rope: RoPEConfig
    q_lora_rank: int | None = None
    attention_bias: bool = False
    latent_norm: RMSNormConfig = RMSNormConfig()

    def __post_init__(self):
        if min(self.kv_lora_rank, self.qk_rope_head_dim) < 1:
            raise ValueError(
                f"kv_lora_rank={self.kv_lora_rank} and qk_rope_head_dim={self.qk_rope_head_dim} must be 1 or more"
            )
        if self.qk_rope_head_dim % 2:
            raise ValueError(f"qk_rope_head_dim={self.qk_rope_head_dim} must be even: RoPE turns dimensions in pairs")

    @property
    def rope_dim(self) -> int:
        """How many dimensions of a query rotate."""
        return self.qk_rope_head_dim

    @property
    def qk_head_dim(self) -> int:
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    def build(self, hidden_size: int) -> "MultiHeadLatentAttention":
        return MultiHeadLatentAttention(self, hidden_size)

    def cache_elements(self, length: int) -> int:
        """Numbers kept per sequence of `length` tokens: latent and rotated key, the same for any number of heads."""
        return (self.kv_lora_rank + self.qk_rope_head_dim) * length

    @property
    def absorbed_up_to(self) -> int:
        """The largest chunk for which absorbing costs fewer multiplications per cached key than expanding (170 in
        DeepSeek-V3): T (2 R + rope) < R (nope + v) + T (nope + rope + v)."""
        expand = self.kv_lora_rank * (self.qk_nope_head_dim + self.v_head_dim)
        extra = 2 * self.kv_lora_rank + self.qk_rope_head_dim - self.qk_head_dim - self.v_head_dim
        return (expand - 1) // extra if extra > 0 else expand


class MultiHeadLatentAttention(nn.Module):
    """x (B, T, C) -> (B, T, C)"""

    def __init__(self, config: MLAConfig, hidden_size: int):
        super().__init__()
        self.config = config
        heads, rank, bias = config.num_attention_heads, config.kv_lora_rank, config.attention_bias
        if config.q_lora_rank is None:
            self.q_proj = nn.Linear(hidden_size, heads * config.qk_head_dim, bias=False)
        else:
            self.q_a_proj = nn.Linear(hidden_size, config.q_lora_rank, bias=bias)
            self.q_a_layernorm = config.latent_norm.build(config.q_lora_rank)
            self.q_b_proj = nn.Linear(config.q_lora_rank, heads * config.qk_head_dim, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(hidden_size, rank + config.qk_rope_head_dim, bias=bias)
        self.kv_a_layernorm = config.latent_norm.build(rank)
        self.kv_b_proj = nn.Linear(rank, heads * (config.qk_nope_head_dim + config.v_head_dim), bias=False)
        self.o_proj = nn.Linear(heads * config.v_head_dim, hidden_size, bias=bias)
        self.rope = config.rope.build(config.qk_rope_head_dim)
        # YaRN's temperature multiplies the whole score here, the part without RoPE included
        self.core = FusedAttention(config.qk_head_dim**-0.5 * config.rope.softmax_factor)

    def queries(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.config
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))) if config.q_lora_rank else self.q_proj(x)
        q = q.unflatten(-1, (-1, config.qk_head_dim)).transpose(1, 2)  # (B, H, T, nope + rope)
        q_nope, q_rope = q.split((config.qk_nope_head_dim, config.qk_rope_head_dim), dim=-1)
        return q_nope, self.rope.rotate(q_rope, cos, sin)  # (B, H, T, nope), (B, H, T, rope)

    def latents(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """What the cache keeps: the normed latent and the rotated key, as one head. (B, 1, T, R + rope)"""
        widths = (self.config.kv_lora_rank, self.config.qk_rope_head_dim)
        latent, k_rope = self.kv_a_proj_with_mqa(x).unsqueeze(1).split(widths, dim=-1)  # (B, 1, T, R), (B, 1, T, rope)
        return torch.cat((self.kv_a_layernorm(latent), self.rope.rotate(k_rope, cos, sin)), dim=-1)

    def forward(self, x: torch.Tensor, timeline: Timeline | None = None, cache=None) -> torch.Tensor:
        timeline = timeline or timeline_of(x)
        cos, sin = timeline.angles(self.rope)
        q_nope, q_rope = self.queries(x, cos, sin)
        latents = self.latents(x, cos, sin)  # (B, 1, T, R + rope)
        mask = timeline.needed_mask(cache)  # (1 or B, 1, T, S)
        if cache is not None:
            (latents,) = cache.update(latents)  # (B, 1, S, R + rope)
        # a short chunk on a long cache would expand the whole cache for few queries
        attend = self.absorbed if cache is not None and x.shape[1] <= self.config.absorbed_up_to else self.expanded
        return self.o_proj(attend(q_nope, q_rope, latents, mask).transpose(1, 2).flatten(2))  # (B, T, C)

    def expanded(self, q_nope, q_rope, latents, mask) -> torch.Tensor:
        """-> (B, H, T, v). Every head gets its own keys and values from the latents."""
        config = self.config
        latent, k_rope = latents.split((config.kv_lora_rank, config.qk_rope_head_dim), dim=-1)
        kv = self.kv_b_proj(latent.squeeze(1)).unflatten(-1, (config.num_attention_heads, -1))  # (B, S, H, nope + v)
        k_nope, v = kv.transpose(1, 2).split((config.qk_nope_head_dim, config.v_head_dim), dim=-1)  # (B, H, S, ...)
        k = torch.cat((k_nope, k_rope.expand(-1, config.num_attention_heads, -1, -1)), dim=-1)  # (B, H, S, nope + rope)
        out, _ = self.core(torch.cat((q_nope, q_rope), dim=-1), k, v, mask)
        return out

    def absorbed(self, q_nope, q_rope, latents, mask) -> torch.Tensor:
        """-> (B, H, T, v). q^T (W_k c) = (W_k^T q)^T c: all heads share the latent as their one key and one value."""
        config = self.config
        kv_b = self.kv_b_proj.weight.unflatten(0, (config.num_attention_heads, -1))  # (H, nope + v, R)
        w_k, w_v = kv_b.split((config.qk_nope_head_dim, config.v_head_dim), dim=1)  # (H, nope, R), (H, v, R)
        q = torch.cat((q_nope @ w_k, q_rope), dim=-1)  # (B, H, T, R + rope)
        out, _ = self.core(q, latents, latents[..., : config.kv_lora_rank], mask)  # (B, H, T, R)
        return out @ w_v.transpose(-1, -2)  # (B, H, T, v)

    def make_cache(self, batch_size: int, max_length: int, dtype, device, slack: int = 0) -> LatentCache:
        width = self.config.kv_lora_rank + self.config.qk_rope_head_dim
        return LatentCache(batch_size, max_length, width, dtype, device)
