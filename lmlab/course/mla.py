"""Lesson 05, multi-head latent attention: its prediction, and the exercises in its path."""

import math
from dataclasses import replace
from functools import cache

import torch

import lmlab.families
from lmlab.configuration import as_mla
from lmlab.course.exercises import Prediction, exercise, product_sizes
from lmlab.measure import memory
from lmlab.parts.masks import timeline_of
from lmlab.parts.mla import MLAConfig, MultiHeadLatentAttention
from lmlab.parts.rope import RoPEConfig


def _cache() -> str:
    config = lmlab.families.config("deepseek-v3")
    held, as_mha = memory.cache_bytes(config, 131_072), memory.cache_bytes_as_mha(config, 131_072)
    gigabytes = f"{held / memory.GB:.1f} GB, where keys and values of 128 heads would take {as_mha / memory.GB:.0f} GB"
    return f"Computed: {gigabytes}."


share = Prediction(
    number="05.0",
    title="The cache of 128 heads",
    question="DeepSeek-V3 has 128 heads and 61 layers. What does its cache take for 131,072 tokens, in 16 bits?",
    choices={
        "655 GB, 40,960 numbers a token and layer": "That is what 128 keys of 192 and 128 values of 128 numbers take.",
        "16.4 GB, 1,024 numbers a token and layer": "That is GQA with 4 key/value heads of 128, in as many layers.",
        "9.2 GB, 576 numbers a token and layer": "",
        "8.2 GB, 512 numbers a token and layer": "Nearly: 512 is the latent. Beside it stands a key of 64 for RoPE.",
    },
    right="9.2 GB, 576 numbers a token and layer",
    answer=_cache,
)

HEADS, RANK, NOPE, ROPE, VALUE, HIDDEN, TOKENS = 3, 12, 6, 4, 5, 17, 8  # a different number for each


@cache
def _attention() -> MultiHeadLatentAttention:
    config = MLAConfig(
        num_attention_heads=HEADS,
        kv_lora_rank=RANK,
        qk_nope_head_dim=NOPE,
        qk_rope_head_dim=ROPE,
        v_head_dim=VALUE,
        rope=RoPEConfig(rope_theta=100.0, interleaved=True),
    )
    module, generator = config.build(HIDDEN), torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.5, generator=generator)
    return module.requires_grad_(False)


def _x() -> torch.Tensor:
    return torch.randn(1, TOKENS, HIDDEN, generator=torch.Generator().manual_seed(1))


def _turn(k: torch.Tensor) -> torch.Tensor:
    """(T, any even width) -> the same, rotated by the positions 0 to T - 1."""
    if k.ndim != 2 or len(k) != TOKENS:
        raise ValueError(f"rotate takes all keys of the text at once, ({TOKENS}, width): got {tuple(k.shape)}")
    rope = _attention().config.rope.build(k.shape[-1])
    cos, sin = rope(torch.arange(len(k))[None])  # (1, 1, T, width)
    return rope.rotate(k, cos[0, 0], sin[0, 0])


def _norm(latent: torch.Tensor) -> torch.Tensor:
    """The RMSNorm of the latent; of another width, without weights, so that a mistake can be told from the right."""
    norm = _attention().kv_a_layernorm
    return norm(latent) if latent.shape[-1] == RANK else torch.nn.functional.rms_norm(latent, latent.shape[-1:])


@exercise(
    "05.1",
    "Bytes in the cache",
    difficulty=1,
    importance=5,
    minutes=6,
    probes=lambda: [(61, 128, 512, 64, 131_072), (27, 16, 512, 64, 32_768), (3, 5, 100, 6, 7)],
    returns="a whole number of bytes",
    truth=lambda layers, heads, rank, rope_width, tokens: memory.cache_bytes(_sized(layers, rank, rope_width), tokens),
    hints=(
        "What stands in the cache for one token in one layer? A latent, and one rotated key beside it.",
        "Both are shared by all heads: the number of heads does not appear.",
        "bf16 takes 2 bytes a number.",
    ),
    mistakes={
        "when the RoPE key is forgotten": {"(rank + rope_width)": "rank"},
        "doubled: 4 bytes a number (bf16 takes 2), or everything kept twice, as keys and as values": {
            "(rank + rope_width)": "2 * (rank + rope_width)"
        },
        "with the latent kept twice, as keys and as values: one latent serves as both": {
            "(rank + rope_width)": "(2 * rank + rope_width)"
        },
        "with a latent and a key for each head: they are shared by all": {
            "(rank + rope_width)": "heads * (rank + rope_width)"
        },
        "with a RoPE key for each head: there is one for all": {"(rank + rope_width)": "(rank + heads * rope_width)"},
        "in numbers, not in bytes: bf16 takes two for each": {"tokens * 2": "tokens"},
        "for a single layer": {"layers * ": ""},
    },
    after="`MLAConfig.cache_elements` says the same, and the tests compare it with the bytes that a cache allocates. A "
    "calculator that takes the latent alone is 11% too low.",
)
def cache_bytes(layers, heads, rank, rope_width, tokens):
    return layers * (rank + rope_width) * tokens * 2


@cache
def _sized(layers: int, rank: int, rope_width: int):
    config = lmlab.families.config("deepseek-v3")
    return as_mla(replace(config, blocks=config.blocks[-1:] * layers), rank, rope_width)


@exercise(
    "05.2",
    "What goes into the cache",
    difficulty=2,
    importance=4,
    minutes=8,
    probes=lambda: [(_x()[0], _attention().kv_a_proj_with_mqa.weight, RANK, _norm, _turn)],
    returns="(T, rank + rope), what one text leaves in the cache",
    truth=lambda x, *_: _attention().latents(x[None], *timeline_of(x[None]).angles(_attention().rope))[0, 0],
    hints=(
        "One matrix makes both: x @ w_a.T has rank + rope columns; the latent comes first.",
        "norm is for the latent alone. rotate is for the key alone.",
        "Cache what is ready to use: the latent after its norm, the key after its rotation.",
    ),
    mistakes={
        "when the latent is cached before its norm: it would have to be normed again at every step": {
            "norm(latent)": "latent"
        },
        "when the key is not rotated": {"rotate(k_rope)": "k_rope"},
        "when the key is normed too: only the latent has a norm": {"rotate(k_rope)": "rotate(norm(k_rope))"},
        "when latent and key are normed together": {
            "torch.cat((norm(latent), rotate(k_rope)), dim=-1)": (
                "(lambda z: torch.cat((z[:, :rank], rotate(z[:, rank:])), dim=-1))"
                "(norm(torch.cat((latent, k_rope), dim=-1)))"
            )
        },
        "when the first columns are taken for the key: the latent comes first": {
            "split((rank, len(w_a) - rank), dim=-1)": "split((len(w_a) - rank, rank), dim=-1)[::-1]"
        },
        "with the key in front of the latent": {"(norm(latent), rotate(k_rope))": "(rotate(k_rope), norm(latent))"},
        "when the latent is rotated as well: it holds no position": {"norm(latent)": "rotate(norm(latent))"},
    },
    after="This is `MultiHeadLatentAttention.latents`, the only thing that its cache ever sees.",
)
def kept(x, w_a, rank, norm, rotate):
    latent, k_rope = (x @ w_a.T).split((rank, len(w_a) - rank), dim=-1)  # (T, R), (T, rope)
    return torch.cat((norm(latent), rotate(k_rope)), dim=-1)  # (T, R + rope)


@cache
def _attended() -> tuple[tuple, torch.Tensor]:
    """The arguments of exercise 05.3, and what the expanded form makes of them."""
    module, x = _attention(), _x()
    timeline = timeline_of(x)
    cos, sin = timeline.angles(module.rope)
    q_nope, q_rope = module.queries(x, cos, sin)  # (1, H, T, nope), (1, H, T, rope)
    latents = module.latents(x, cos, sin)  # (1, 1, T, R + rope)
    out = module.expanded(q_nope, q_rope, latents, timeline.mask())  # (1, H, T, v)
    w_k, w_v = module.kv_b_proj.weight.unflatten(0, (HEADS, -1)).split((NOPE, VALUE), dim=1)
    latent, k_rope = latents[0, 0].split((RANK, ROPE), dim=-1)
    return (q_nope[0], q_rope[0], latent, k_rope, w_k, w_v, (NOPE + ROPE) ** -0.5), out[0]


def _made_keys(function, arguments: tuple) -> str:
    """No other product has as many numbers as the keys of all heads."""
    if HEADS * TOKENS * NOPE not in product_sizes(function, arguments):
        return ""
    return (
        "The numbers are right, but the keys of all heads were made on the way, H x T x nope numbers: this is the "
        "expanded form. Multiply the queries by w_k, and let them meet the latents."
    )


@exercise(
    "05.3",
    "128 heads, one key",
    difficulty=4,
    importance=5,
    minutes=15,
    probes=lambda: [_attended()[0]],
    returns="(H, T, v), each head's weighted sum of values",
    demands=_made_keys,
    truth=lambda *_: _attended()[1],
    hints=(
        "A head's key is w_k @ latent. q . (w_k latent) = (w_k^T q) . latent: turn the query once, and the latent "
        "itself is the key.",
        "A score has two parts, added before the scale: turned query with latent, and q_rope with k_rope. Then the "
        "causal mask, then softmax.",
        "The weighted sum of latents comes first, (H, T, R); each head's w_v makes (H, T, v) of it afterwards.",
    ),
    mistakes={
        "when the RoPE part of the score is forgotten": {" + q_rope @ k_rope.T": ""},
        "with the latent's width in the scale: it comes from the heads' own keys, nope + rope, and stays": {
            " * scale": " / (latent.shape[-1] + k_rope.shape[-1]) ** 0.5"
        },
        "with the latent's width alone in the scale: it comes from the heads' own keys, nope + rope": {
            " * scale": " / latent.shape[-1] ** 0.5"
        },
        "with the part without RoPE alone in the scale: a head's query is nope + rope wide": {
            " * scale": " / q_nope.shape[-1] ** 0.5"
        },
        "when only the RoPE part is scaled": {
            "(q @ latent.T + q_rope @ k_rope.T) * scale": "q @ latent.T + q_rope @ k_rope.T * scale"
        },
        "when only the part with the latent is scaled": {
            "(q @ latent.T + q_rope @ k_rope.T) * scale": "q @ latent.T * scale + q_rope @ k_rope.T"
        },
        "without the scale": {" * scale": ""},
        "without the causal mask": {"scores.masked_fill(~seen, -math.inf)": "scores"},
        "with the mask upside down: a query sees itself and what comes after": {".tril()": ".triu()"},
        "when hidden scores become 0 in place of minus infinity: 0 is a score like others": {
            "scores.masked_fill(~seen, -math.inf)": "scores.tril()"
        },
        "with the softmax over the queries: each query's weights over the keys must sum to one": {
            "softmax(dim=-1)": "softmax(dim=-2)"
        },
        "with the mask after the softmax: the rows no longer sum to one": {
            "scores.masked_fill(~seen, -math.inf).softmax(dim=-1)": "scores.softmax(dim=-1) * seen"
        },
        "when the values are taken from the end of the cached vector, RoPE key included": {
            "(weights @ latent)": "(weights @ torch.cat((latent, k_rope), dim=-1)[:, k_rope.shape[-1] :])"
        },
        "when every head uses the first head's w_k": {"q_nope @ w_k": "q_nope @ w_k[:1]"},
        "when every head uses the first head's w_v": {"w_v.transpose": "w_v[:1].transpose"},
    },
    after="The result is that of the expanded form, and no head's keys were ever made. The real one is "
    "`MultiHeadLatentAttention.absorbed`.",
)
def absorbed(q_nope, q_rope, latent, k_rope, w_k, w_v, scale):
    q = q_nope @ w_k  # (H, T, R)
    scores = (q @ latent.T + q_rope @ k_rope.T) * scale  # (H, T, T)
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()  # (T, T)
    weights = scores.masked_fill(~seen, -math.inf).softmax(dim=-1)  # (H, T, T)
    return (weights @ latent) @ w_v.transpose(-1, -2)  # (H, T, v)
