"""The attention core: softmax(q k^T * scale) v, with an optional learned sink. Two classes of one signature.

q (B, H, T, D), k (B, K, S, D), v (B, K, S, D'), mask (1 or B, 1, T, S) bool, sinks (H,) or None
-> out (B, H, T, D'), weights (B, H, T, S) or None

For a single query the mask may be None: it sees all keys.

Query head h reads key/value head h // (H / K). `ExplicitAttention` is the definition and returns the weights;
`FusedAttention` gives the same output through PyTorch's kernels and returns None for them. D' may differ from D (MLA).

A sink (GPT-OSS, `gpt_oss/torch/model.py`, `sdpa`) is one learned score per query head in the softmax's denominator: it
is not scaled, has no key and no value, and takes weight away from the keys, so that the weights sum to less than 1.
"""

import torch
import torch.nn.functional as F
from torch import nn


def attention(q, k, v, mask, sinks, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition: out and weights."""
    batch, heads, length, width = q.shape
    group = heads // k.shape[1]
    # the query heads of one key/value head stand one below the other: one product, and no copies of its keys; the
    # scale comes first, so that half precision does not overflow
    q = (q * scale).reshape(batch, k.shape[1], group * length, width)  # (B, K, H/K T, D)
    scores = (q @ k.transpose(-1, -2)).view(batch, heads, length, -1)  # (B, H, T, S)
    if mask is not None:  # the lowest finite number, not -inf: a row of padding sees nothing, and must not become NaN
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    if sinks is not None:
        sink = sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(batch, -1, length, 1)  # (B, H, T, 1)
        scores = torch.cat((scores, sink), dim=-1)  # (B, H, T, S + 1)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)  # (B, H, T, S or S + 1)
    if sinks is not None:
        weights = weights[..., :-1]  # (B, H, T, S)
    out = weights.reshape(batch, k.shape[1], group * length, -1) @ v  # (B, K, H/K T, D')
    return out.view(batch, heads, length, -1), weights  # (B, H, T, D'), (B, H, T, S)


class ExplicitAttention(nn.Module):
    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, q, k, v, mask, sinks=None):
        return attention(q, k, v, mask, sinks, self.scale)

    def explicit(self) -> "ExplicitAttention":
        return self


class FusedAttention(nn.Module):
    """PyTorch's kernels where they serve; the definition for one query that would need copies of the keys; plain
    products for training in bf16 on a CPU."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, q, k, v, mask, sinks=None):
        if q.shape[-2] == 1 and (sinks is not None or v.shape[-1] < k.shape[-1]):
            return attention(q, k, v, mask, sinks, self.scale)[0], None  # the kernel would need copies of the keys
        if sinks is not None:
            return self.with_sinks(q, k, v, mask, sinks), None
        return self.kernel(q, k, v, mask), None

    def kernel(self, q, k, v, mask):
        """PyTorch's; the fast one on a CPU wants values as wide as keys."""
        if q.requires_grad and torch.is_autocast_enabled("cpu") and q.device.type == "cpu":
            return self.products(q, k, v, mask)
        (batch, heads, length, depth), width, group = q.shape, v.shape[-1], q.shape[1] // k.shape[1]
        if width < depth:
            v = F.pad(v, (0, depth - width))  # (B, K, S, D)
        if few := group > 1 and length < depth:
            # the kernel copies the keys for every query head; the mask, for few queries the smaller, is copied instead,
            # and the query heads of one key/value head go in as so many queries of it
            q = q.reshape(batch, -1, group * length, depth)  # (B, K, H/K T, D)
            if mask is not None and length > 1:
                mask = mask.expand(-1, -1, length, -1).repeat(1, 1, group, 1)  # (1 or B, 1, H/K T, S)
        grouped = group > 1 and not few
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale, enable_gqa=grouped)
        return out.reshape(batch, heads, length, -1)[..., :width]  # (B, H, T, D')

    def products(self, q, k, v, mask):
        """Training in bf16 on a CPU: the kernel's way back takes three times as long as these products."""
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)  # (B, H, S, ...)
        bias = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill(~mask, torch.finfo(torch.bfloat16).min)
        scores = (q * self.scale) @ k.transpose(-1, -2) + bias  # (B, H, T, S)
        return scores.softmax(-1) @ v  # (B, H, T, D')

    def with_sinks(self, q, k, v, mask, sinks):
        """The kernel knows no sinks, but it knows keys: one more coordinate carries the sink.

        q' = [q, sink / scale], k' = [k, 0] for the keys and [0, 1] for one more key, whose value is 0: that key's
        scaled score is exactly the sink.
        """
        sink = (sinks / self.scale).to(q.dtype).reshape(1, -1, 1, 1).expand(q.shape[0], -1, q.shape[2], 1)
        q = torch.cat((q, sink), dim=-1)  # (B, H, T, D + 1)
        k = F.pad(k, (0, 1, 0, 1))  # (B, K, S + 1, D + 1)
        k[..., -1, -1] = 1
        v = F.pad(v, (0, 0, 0, 1))  # (B, K, S + 1, D')
        return self.kernel(q, k, v, F.pad(mask, (0, 1), value=True))  # (B, H, T, D')

    def explicit(self) -> ExplicitAttention:
        return ExplicitAttention(self.scale)
