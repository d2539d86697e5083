"""Dual chunk attention: reading far beyond the trained length without any distance that was never trained.

An et al., arXiv:2402.17463; the position rules are those of their code (HKUNLP/ChunkLlama). The text is cut into chunks
of L = chunk_size - local_size tokens. A key keeps its position inside its chunk, j mod L, so it can be cached. A query
is rotated three times, one for each kind of key chunk:

- its own chunk:       i mod L                          (true distance)
- the chunk before:    min(i mod L + L, chunk_size)     (true distance for the local_size nearest keys, up to L of them)
- all older chunks:    min(2 L - 1, chunk_size)         (one constant: far away, but a distance that was trained)

Qwen2.5-1M and Qwen3 extend by this at inference, with YaRN beside it (arXiv:2505.09388, section 3.2).
"""

from dataclasses import dataclass

import torch
from torch import nn

from lmlab.parts.gqa import GQAConfig, GroupedQueryAttention
from lmlab.parts.masks import Timeline, timeline_of


@dataclass(frozen=True, kw_only=True)
class DualChunkConfig(GQAConfig):
    """`chunk_size` is at most the trained length. With `original_max_position_embeddings`, scores of the query at
    position i are multiplied by m^2, m = max(0.1 ln((i + 1) / original) + 1, 1), as in Qwen's vLLM backend (there i + 1
    is the length of the whole text at hand; here each query's own, so that a cache changes nothing)."""

    chunk_size: int
    local_size: int
    original_max_position_embeddings: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.local_size < self.chunk_size:
            raise ValueError(f"local_size={self.local_size} must lie from 0 to below chunk_size={self.chunk_size}")
        if self.sliding_window is not None or self.sinks:
            raise ValueError("dual chunk attention takes neither sliding_window nor sinks: set them to None and False")

    @property
    def chunk_length(self) -> int:
        return self.chunk_size - self.local_size

    def build(self, hidden_size: int) -> "DualChunkAttention":
        return DualChunkAttention(self, hidden_size)


class DualChunkAttention(GroupedQueryAttention):
    """x (B, T, C) -> (B, T, C). The weights are those of GroupedQueryAttention."""

    def __init__(self, config: DualChunkConfig, hidden_size: int):
        super().__init__(config, hidden_size)
        self.core = ChunkedAttention(self.core.scale)

    def forward(self, x: torch.Tensor, timeline: Timeline | None = None, cache=None) -> torch.Tensor:
        timeline = timeline or timeline_of(x)
        length, size = self.config.chunk_length, self.config.chunk_size
        positions = timeline.positions  # (1 or B, T)
        within = positions % length
        q = self.q_norm(self.heads(self.q_proj(x)))  # (B, H, T, D)
        q = (q * self.temperature(positions)).to(q.dtype)
        k = self.turn(self.k_norm(self.heads(self.k_proj(x))), within)  # (B, K, T, D)
        v = self.heads(self.v_proj(x))  # (B, K, T, D)
        far = torch.full_like(within, min(2 * length - 1, size))
        queries = [self.turn(q, p) for p in (within, (within + length).clamp(max=size), far)]  # three of (B, H, T, D)
        mask = timeline.mask(cache)  # (1 or B, 1, T, S)
        key_chunk = timeline.positions_of(timeline.key_columns(cache)) // length  # (1 or B, S)
        if cache is not None:
            k, v = cache.update(k, v)  # (B, K, S, D)
        distance = (positions // length)[:, None, :, None] - key_chunk[:, None, None, :]  # (1 or B, 1, T, S), in chunks
        out, _ = self.core(queries, k, v, mask, distance.clamp(0, 2))  # (B, H, T, D)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # (B, T, C)

    def turn(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.rope.rotate(x, *self.rope(positions))

    def temperature(self, positions: torch.Tensor) -> torch.Tensor | float:
        """m^2 for each query. (1 or B, 1, T, 1)"""
        original = self.config.original_max_position_embeddings
        if original is None:
            return 1.0
        m = (0.1 * ((positions + 1) / original).log() + 1).clamp(min=1)
        return m.square()[:, None, :, None]


class ExplicitChunkedAttention(nn.Module):
    """The definition: each score takes the query version that its chunk distance asks for, then one softmax.

    queries: three of (B, H, T, D), k, v (B, K, S, D), mask and distance (1 or B, 1, T, S), distance 0, 1 or 2
    -> out (B, H, T, D), weights (B, H, T, S)
    """

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, queries, k, v, mask, distance):
        groups = queries[0].shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)  # (B, H, S, D)
        own, before, far = (q @ k.transpose(-1, -2) * self.scale for q in queries)  # (B, H, T, S) each
        scores = torch.where(distance == 0, own, torch.where(distance == 1, before, far))
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).float().softmax(dim=-1).to(v.dtype)
        return weights @ v, weights

    def explicit(self) -> "ExplicitChunkedAttention":
        return self


class ChunkedAttention(nn.Module):
    """The same in three partial softmaxes, one for each kind of chunk, merged by their log-sum-exp as the vendors'
    kernels do; a kind that no query sees costs nothing. Returns None for the weights."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, queries, k, v, mask, distance):
        masks = [mask & (distance == d) for d in range(3)]
        # a query's own chunk is always there: in a piece of nothing but padding it stands for what nobody sees
        seen = [self.partial(queries[d], k, v, m) for d, m in enumerate(masks) if d == 0 or bool(m.any())]
        lse = torch.stack([part[1] for part in seen])  # (parts, B, K, H/K, T, 1)
        shares = (lse - lse.logsumexp(dim=0)).exp()  # how much of the whole softmax each part holds
        out = sum(share.to(v.dtype) * part[0] for share, part in zip(shares, seen, strict=True))  # (B, K, H/K, T, D)
        return out.flatten(1, 2), None  # (B, H, T, D)

    def partial(self, q, k, v, mask) -> tuple[torch.Tensor, torch.Tensor]:
        q = q.unflatten(1, (k.shape[1], -1))  # (B, K, H/K, T, D)
        scores = (q @ k.unsqueeze(2).transpose(-1, -2) * self.scale).float()  # (B, K, H/K, T, S)
        scores = scores.masked_fill(~mask.unsqueeze(2), torch.finfo(scores.dtype).min)
        lse = scores.logsumexp(dim=-1, keepdim=True)  # (B, K, H/K, T, 1)
        return (scores - lse).exp().to(v.dtype) @ v.unsqueeze(2), lse

    def explicit(self) -> ExplicitChunkedAttention:
        return ExplicitChunkedAttention(self.scale)
