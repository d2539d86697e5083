"""Dual chunk attention: pair by pair by its definition, merged softmaxes equal to one, only trained distances."""

import math
from dataclasses import fields, replace

import pytest
import torch

from lmlab.parts.dual_chunk import ChunkedAttention, DualChunkConfig, ExplicitChunkedAttention
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.masks import Timeline
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import RoPEConfig

BATCH, LENGTH, HIDDEN, HEADS, KV_HEADS, WIDTH = 2, 41, 20, 6, 3, 8
CONFIG = DualChunkConfig(
    num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS,
    head_dim=WIDTH,
    rope=RoPEConfig(rope_theta=100.0),
    qk_norm=RMSNormConfig(),
    attention_bias=True,
    chunk_size=12,
    local_size=3,  # chunks of 9
)
CONFIGS = {
    "qwen": CONFIG,
    "temperature": replace(CONFIG, original_max_position_embeddings=10),
    "local half": replace(CONFIG, local_size=7),  # chunks of 5: 2 L - 1 is below chunk_size
    "no local": replace(CONFIG, local_size=0),
}


@torch.no_grad()
def build(config: GQAConfig):
    part = config.build(HIDDEN)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in part.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.5 * noise if "norm" in name else noise * (0.3 if noise.ndim > 1 else 0.7))
    return part


def stream(length=LENGTH):
    return torch.randn(BATCH, length, HIDDEN, generator=torch.Generator().manual_seed(1))


def plain(part):
    """The same weights in ordinary grouped-query attention."""
    names = {f.name for f in fields(GQAConfig)}
    other = GQAConfig(**{name: getattr(part.config, name) for name in names}).build(HIDDEN)
    other.load_state_dict(part.state_dict())
    return other


def query_position(i: int, j: int, config: DualChunkConfig) -> int:
    """Where the query at i stands when it looks at the key at j, which stands at j mod L."""
    length = config.chunk_size - config.local_size
    between = i // length - j // length
    if between == 0:
        return i % length
    if between == 1:
        return min(i % length + length, config.chunk_size)
    return min(2 * length - 1, config.chunk_size)


def by_definition(part, x, row):
    """(T, C) of one row, one pair of tokens at a time."""
    config = part.config
    project = {}
    for name, norm in (("q", part.q_norm), ("k", part.k_norm), ("v", lambda y: y)):
        project[name] = norm(getattr(part, f"{name}_proj")(x[row]).unflatten(-1, (-1, WIDTH)))  # (T, heads, D)

    def turned(y, position):  # (D,)
        return part.rope.rotate(y[None, None, None], *part.rope(torch.tensor([[position]]))).flatten()

    length = x.shape[1]
    out = torch.zeros(length, HEADS, WIDTH)
    keys = [[turned(project["k"][j, g], j % config.chunk_length) for g in range(KV_HEADS)] for j in range(length)]
    for i in range(length):
        original = config.original_max_position_embeddings
        m = 1 if original is None else max(0.1 * math.log((i + 1) / original) + 1, 1)
        for h in range(HEADS):
            turns = {p: turned(project["q"][i, h], p) for p in {query_position(i, j, config) for j in range(i + 1)}}
            scores = [turns[query_position(i, j, config)] @ keys[j][h // 2] for j in range(i + 1)]
            weights = (torch.stack(scores) * WIDTH**-0.5 * m**2).softmax(0)
            out[i, h] = weights @ project["v"][: i + 1, h // 2]
    return part.o_proj(out.flatten(1))


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_every_pair_by_the_definition(name):
    part, x = build(CONFIGS[name]), stream()
    torch.testing.assert_close(part(x)[1], by_definition(part, x, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_distances_are_trained_ones_and_true_nearby(config):
    nearby = min(config.local_size, config.chunk_length)
    for i in range(100):
        for j in range(i + 1):
            distance = query_position(i, j, config) - j % config.chunk_length
            assert 0 <= distance <= config.chunk_size
            if i - j <= nearby or i // config.chunk_length == j // config.chunk_length:
                assert distance == i - j


@pytest.mark.parametrize("padding", [None, torch.tensor([0, 17])])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_merged_softmaxes_equal_one(name, padding):
    part, x = build(CONFIGS[name]), stream()
    assert isinstance(part.core, ChunkedAttention)
    merged = part(x, Timeline(torch.arange(LENGTH), padding))
    part.core = part.core.explicit()
    assert isinstance(part.core, ExplicitChunkedAttention)
    explicit = part(x, Timeline(torch.arange(LENGTH), padding))
    assert merged.isfinite().all()
    real = torch.arange(LENGTH) >= (torch.zeros(BATCH, 1) if padding is None else padding[:, None])
    torch.testing.assert_close(merged[real], explicit[real], atol=1e-5, rtol=0)


@torch.no_grad()
def test_explicit_weights_sum_to_one_and_have_every_head():
    part = build(CONFIG)
    part.core, seen = part.core.explicit(), []
    part.core.register_forward_hook(lambda module, inputs, output: seen.append((inputs, output)))
    part(stream())
    (queries, k, v, mask, distance), (out, weights) = seen[0]
    assert [q.shape for q in queries] == [(BATCH, HEADS, LENGTH, WIDTH)] * 3
    assert k.shape == v.shape == (BATCH, KV_HEADS, LENGTH, WIDTH)
    assert mask.shape == distance.shape == (1, 1, LENGTH, LENGTH) and out.shape == (BATCH, HEADS, LENGTH, WIDTH)
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, LENGTH))


@torch.no_grad()
def test_within_one_chunk_it_is_plain_attention_and_beyond_it_is_not():
    part, x = build(CONFIG), stream()
    expected, got = plain(part)(x), part(x)
    torch.testing.assert_close(got[:, :9], expected[:, :9], atol=1e-5, rtol=0)
    # true distances reach local_size into the next chunk: its first four tokens still agree
    torch.testing.assert_close(got[:, :13], expected[:, :13], atol=1e-5, rtol=0)
    assert (got[:, 13:] - expected[:, 13:]).abs().amax((0, 2)).min() > 1e-3


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("chunks", [[1] * 41, [2] * 20 + [1], [8, 9, 10, 11, 3], [5, 30, 6]], ids=len)
@torch.no_grad()
def test_cached_equals_uncached_across_chunks(name, chunks):
    part, x = build(CONFIGS[name]), stream()
    cache = part.make_cache(BATCH, LENGTH, torch.float32, "cpu")
    outs = [part(piece, Timeline(cache.length + torch.arange(piece.shape[1])), cache) for piece in x.split(chunks, 1)]
    torch.testing.assert_close(torch.cat(outs, dim=1), part(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_padded_equals_alone_cached_and_not(name):
    part, padding = build(CONFIGS[name]), torch.tensor([0, 17])
    x = stream()
    x[1, :17] = 1e3  # what stands in padding must not matter
    expected = part(x[1:, 17:])[0]
    torch.testing.assert_close(part(x, Timeline(torch.arange(LENGTH), padding))[1, 17:], expected, atol=1e-5, rtol=0)
    cache, outs = part.make_cache(BATCH, LENGTH, torch.float32, "cpu"), []
    for piece in x.split([20, 1, 2, 18], dim=1):
        outs.append(part(piece, Timeline(cache.length + torch.arange(piece.shape[1]), padding), cache))
    torch.testing.assert_close(torch.cat(outs, dim=1)[1, 17:], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_bf16_runs_and_stays_bf16(name):
    part = build(CONFIGS[name]).to(torch.bfloat16)
    assert part(stream().bfloat16()).dtype == torch.bfloat16
    part.core = part.core.explicit()
    assert part(stream().bfloat16()).dtype == torch.bfloat16


@torch.no_grad()
def test_a_piece_of_nothing_but_padding():
    part, x, padding = build(CONFIG), stream(), torch.tensor([7, 17])
    for core in (part.core, part.core.explicit()):
        part.core = core
        cache = part.make_cache(BATCH, LENGTH, torch.float32, "cpu")
        pieces = zip(torch.arange(LENGTH).split([4, 37]), x.split([4, 37], dim=1), strict=True)
        outs = torch.cat([part(piece, Timeline(columns, padding), cache) for columns, piece in pieces], dim=1)
        assert outs.isfinite().all()
        torch.testing.assert_close(outs[0, 7:], part(x[:1, 7:])[0], atol=1e-5, rtol=0)


def test_gradients_flow_through_the_merge():
    part, x = build(CONFIG), stream()
    gradients = []
    for core in (part.core, part.core.explicit()):
        part.core = core
        gradients.append(torch.autograd.grad(part(x).square().sum(), list(part.parameters())))
    for merged, explicit in zip(*gradients, strict=True):
        torch.testing.assert_close(merged, explicit, atol=1e-3, rtol=1e-3)


def test_what_it_does_not_take():
    with pytest.raises(ValueError, match=r"local_size=12 .* chunk_size=12"):
        replace(CONFIG, local_size=12)
    for changes in ({"sliding_window": 5}, {"sinks": True}):
        with pytest.raises(ValueError, match=r"neither sliding_window nor sinks"):
            replace(CONFIG, **changes)
