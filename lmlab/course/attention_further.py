"""Lesson 02, attention: the exercises under "Going further"."""

from dataclasses import replace
from functools import cache

import torch

import lmlab.families
from lmlab.course.exercises import exercise
from lmlab.measure import memory
from lmlab.parts.gqa import GQAConfig, GroupedQueryAttention
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import RoPEConfig

HEADS, WIDTH, TOKENS, HIDDEN, EPS = 3, 8, 5, 13, 1e-2  # a different number for each; eps large enough to be seen


@cache
def _attention() -> GroupedQueryAttention:
    config = GQAConfig(
        num_attention_heads=HEADS,
        num_key_value_heads=1,
        head_dim=WIDTH,
        rope=RoPEConfig(rope_theta=50.0),
        qk_norm=RMSNormConfig(eps=EPS),
    )
    module, generator = config.build(HIDDEN), torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.5, generator=generator)
    return module.requires_grad_(False)


@cache
def _projected() -> torch.Tensor:
    x = torch.randn(TOKENS, HIDDEN, generator=torch.Generator().manual_seed(1))
    return _attention().q_proj(x)  # (T, H * D)


def _turn(q: torch.Tensor) -> torch.Tensor:
    """(..., T, D) -> the same, rotated by the positions 0 to T - 1."""
    if q.shape[-2:] != (TOKENS, WIDTH):
        raise ValueError(f"rotate takes all queries of a head, (..., {TOKENS}, {WIDTH}): got {tuple(q.shape)}")
    cos, sin = _attention().rope(torch.arange(TOKENS)[None])  # (1, 1, T, D)
    return _attention().rope.rotate(q, cos[0, 0], sin[0, 0])


def _queries(x, weight, eps, rotate) -> torch.Tensor:
    module = _attention()
    return rotate(module.q_norm(module.heads(x[None])))[0]  # (H, T, D)


@exercise(
    "02.4",
    "QK-Norm",
    difficulty=3,
    importance=3,
    minutes=10,
    probes=lambda: [(_projected(), _attention().q_norm.weight, EPS, _turn)],
    returns="(H, T, D), the queries of every head, ready for the scores",
    truth=_queries,
    hints=(
        "x holds all heads side by side: x.unflatten(-1, (-1, len(weight))) parts them. rotate wants (H, T, D).",
        "The norm is that of each head by itself: the mean of the squares of its D numbers.",
        "Divide by the root of mean square + eps, multiply by weight, then rotate.",
    ),
    mistakes={
        "when the norm comes after RoPE: its weights then meet other numbers": {
            "rotate(q / size * weight)": "rotate(q) / size * weight"
        },
        "when all heads of a token are normed together: each head has a norm of its own": {
            "q.square().mean(-1, keepdim=True)": "q.square().mean((0, 2), keepdim=True)"
        },
        "when the mean is subtracted: an RMSNorm subtracts none": {
            "size = (": "q = q - q.mean(-1, keepdim=True)\n    size = ("
        },
        "with eps outside of the root": {" + eps).sqrt()": ").sqrt() + eps"},
        "without the norm's weight": {" * weight": ""},
        "without the norm": {"q / size * weight": "q"},
        "without RoPE": {"rotate(q / size * weight)": "q / size * weight"},
        "when the norm runs over the tokens: it runs over the numbers of one head and token": {
            "mean(-1, keepdim=True)": "mean(-2, keepdim=True)"
        },
        "when the sum of the squares stands in place of their mean": {"square().mean": "square().sum"},
    },
    after="Keys go the same way, with weights of their own; values are not normed. A score is now at most "
    "sqrt(head_dim) times the largest weight of each norm, however large the projections grow.",
)
def queries(x, weight, eps, rotate):
    q = x.unflatten(-1, (-1, len(weight))).transpose(0, 1)  # (H, T, D)
    size = (q.square().mean(-1, keepdim=True) + eps).sqrt()  # (H, T, 1)
    return rotate(q / size * weight)


def _held(layers, heads, kv_heads, head_dim, window, tokens) -> int:
    """The cache of a gpt-oss with these numbers."""
    config = lmlab.families.config("gpt-oss-20b")
    sizes = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim}
    blocks = [
        replace(block, attention=replace(block.attention, **sizes, sliding_window=window if i % 2 == 0 else None))
        for i, block in enumerate(config.blocks[:layers])
    ]
    return memory.cache_bytes(replace(config, blocks=tuple(blocks)), tokens)


@exercise(
    "02.5",
    "Bytes of an alternating cache",
    difficulty=2,
    importance=4,
    minutes=8,
    probes=lambda: [(24, 64, 8, 64, 128, 131_072), (10, 12, 3, 32, 50, 1000), (6, 10, 5, 8, 90, 20)],
    returns="a whole number of bytes",
    truth=_held,
    hints=(
        "A layer keeps kv_heads * head_dim numbers for the key of a token, and as many for its value.",
        "Half of the layers keep every token, half at most `window` of them.",
        "bf16 takes 2 bytes a number. The query heads are not kept.",
    ),
    mistakes={
        "when the window is forgotten": {"min(tokens, window)": "tokens"},
        "when every layer slides: every second one sees all": {
            "(tokens + min(tokens, window))": "2 * min(tokens, window)"
        },
        "when a layer with a window keeps a whole window, however short the text": {"min(tokens, window)": "window"},
        "with keys and values for every query head: only the key/value heads are kept": {"* kv_heads": "* heads"},
        "halved: in numbers, not in bytes, or for keys alone": {" * 2)": ")"},
        "for two layers, one of each kind": {"layers // 2 * ": ""},
    },
    after="At 131,072 tokens the sliding layers' share is a thousandth: windows nearly halve the cache, and grouped "
    "queries make it 8 times smaller before. `memory.cache_bytes` counts the same for any configuration.",
)
def cache_bytes(layers, heads, kv_heads, head_dim, window, tokens):
    places = layers // 2 * (tokens + min(tokens, window))
    return places * (2 * kv_heads * head_dim * 2)
