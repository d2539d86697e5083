"""Grouped-query attention: head by head by hand, what configurations refuse, and every shape on the way."""

import pytest
import torch

from lmlab.parts.cache import KVCache, WindowCache
from lmlab.parts.core import ExplicitAttention
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.masks import Timeline
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import RoPEConfig, YaRN

BATCH, LENGTH, HIDDEN, HEADS, KV_HEADS, WIDTH = 2, 13, 20, 6, 3, 8
ROPE = RoPEConfig(rope_theta=100.0, scaling=YaRN(factor=4.0, original_max_position_embeddings=16))
KINDS = {
    "plain": {},
    "qwen3": {"qk_norm": RMSNormConfig()},
    "gpt-oss": {"attention_bias": True, "sinks": True, "sliding_window": 5},
    "all at once": {"attention_bias": True, "sinks": True, "sliding_window": 5, "qk_norm": RMSNormConfig(eps=1e-3)},
}


def config(kind="plain", **changes):
    sizes = {"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": WIDTH, "rope": ROPE}
    return GQAConfig(**(sizes | KINDS[kind] | changes))


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


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_head_by_head(kind):
    """Norm, then rotation; head h reads key/value head h // 2; the window counts the query; the sink is not scaled."""
    part = build(config(kind))
    x = stream()
    got = part(x)
    cos, sin = part.rope(torch.arange(LENGTH)[None])
    outs = []
    for h in range(HEADS):
        rows, kv_rows = slice(h * WIDTH, (h + 1) * WIDTH), slice(h // 2 * WIDTH, (h // 2 + 1) * WIDTH)

        def project(linear, rows):
            return x @ linear.weight[rows].T + (0 if linear.bias is None else linear.bias[rows])

        q, k, v = project(part.q_proj, rows), project(part.k_proj, kv_rows), project(part.v_proj, kv_rows)
        q, k = (part.rope.rotate(norm(y)[:, None], cos, sin)[:, 0] for norm, y in ((part.q_norm, q), (part.k_norm, k)))
        scores = q @ k.mT * WIDTH**-0.5
        distance = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
        hidden = (distance < 0) | (distance >= (part.config.sliding_window or LENGTH))
        scores = scores.masked_fill(hidden, -torch.inf)
        if part.sinks is not None:
            scores = torch.cat((scores, part.sinks[h].expand(BATCH, LENGTH, 1)), dim=-1)
        outs.append(scores.softmax(-1)[..., :LENGTH] @ v)
    torch.testing.assert_close(got, part.o_proj(torch.cat(outs, dim=-1)), atol=1e-5, rtol=0)


def test_every_parameter_matters():
    part = build(config("all at once"))
    part(stream()).square().sum().backward()
    for name, parameter in part.named_parameters():
        if name == "k_proj.bias":
            continue  # the same for all keys but for the rotation: small, and checked by the test above
        assert parameter.grad.abs().max() > 1e-4, name
    plain = {name for name, _ in config().build(HIDDEN).named_parameters()}
    assert plain == {f"{name}_proj.weight" for name in "qkvo"}, "no switch, no parameter"


def test_shapes_on_the_way():
    part = build(config("all at once", sliding_window=None))
    part.core = ExplicitAttention(part.core.scale)
    seen = {}
    for name, module in part.named_modules():
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: (inputs, output)}))
    out = part(stream())
    assert out.shape == (BATCH, LENGTH, HIDDEN)
    assert seen["q_proj"][1].shape == (BATCH, LENGTH, HEADS * WIDTH)
    assert seen["k_proj"][1].shape == seen["v_proj"][1].shape == (BATCH, LENGTH, KV_HEADS * WIDTH)
    assert seen["q_norm"][1].shape == (BATCH, HEADS, LENGTH, WIDTH)
    assert seen["k_norm"][1].shape == (BATCH, KV_HEADS, LENGTH, WIDTH)
    q, k, v, mask, sinks = seen["core"][0]
    assert q.shape == (BATCH, HEADS, LENGTH, WIDTH) and k.shape == v.shape == (BATCH, KV_HEADS, LENGTH, WIDTH)
    assert mask.shape == (1, 1, LENGTH, LENGTH) and sinks.shape == (HEADS,)
    heads, weights = seen["core"][1]
    assert heads.shape == (BATCH, HEADS, LENGTH, WIDTH) and weights.shape == (BATCH, HEADS, LENGTH, LENGTH)
    assert seen["o_proj"][0][0].shape == (BATCH, LENGTH, HEADS * WIDTH)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 6, 13])
@torch.no_grad()
def test_cached_equals_uncached(kind, chunk):
    part = build(config(kind))
    x = stream()
    cache = part.make_cache(BATCH, LENGTH, torch.float32, "cpu")
    outs = [
        part(piece, Timeline(cache.length + torch.arange(piece.shape[1])), cache) for piece in x.split(chunk, dim=1)
    ]
    torch.testing.assert_close(torch.cat(outs, dim=1), part(x), atol=1e-5, rtol=0)


def test_the_cache_that_a_layer_makes():
    for changes, slack, kind, places in [
        ({}, 0, KVCache, 40),
        ({"sliding_window": 7}, 0, WindowCache, 7),
        ({"sliding_window": 7}, 5, WindowCache, 12),
        ({"sliding_window": 40}, 0, KVCache, 40),  # a ring as long as the text is no ring
        ({"sliding_window": 38}, 5, KVCache, 40),
    ]:
        cache = config(**changes).build(HIDDEN).make_cache(BATCH, 40, torch.bfloat16, "cpu", slack)
        assert type(cache) is kind
        assert cache.nbytes == 2 * BATCH * KV_HEADS * WIDTH * places * 2
        if not slack:
            assert cache.nbytes == BATCH * config(**changes).cache_elements(40) * 2


def test_cache_elements():
    assert [config().cache_elements(n) for n in (0, 3, 100)] == [0, 2 * 3 * 8 * 3, 2 * 3 * 8 * 100]
    assert [config(sliding_window=7).cache_elements(n) for n in (3, 7, 8)] == [2 * 3 * 8 * n for n in (3, 7, 7)]


def test_bf16_runs_and_stays_bf16():
    part = build(config("all at once")).to(torch.bfloat16)
    assert part(stream().bfloat16()).dtype == torch.bfloat16


def test_sizes_that_cannot_be():
    with pytest.raises(ValueError, match=r"num_attention_heads=7 must be a multiple of num_key_value_heads=3"):
        config(num_attention_heads=7)
    with pytest.raises(ValueError, match=r"head_dim=9 must be even"):
        config(head_dim=9)
