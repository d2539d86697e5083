"""Latent attention: head by head by hand, and the absorbed computation equal to the expanded one."""

from dataclasses import replace

import pytest
import torch

from lmlab.families import PRESETS, from_hf
from lmlab.parts.masks import Timeline
from lmlab.parts.mla import MLAConfig
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import RoPEConfig, YaRN

BATCH, LENGTH, HIDDEN = 2, 13, 20
HEADS, RANK, NOPE, ROTATED, VALUE, QUERY_RANK = 5, 16, 10, 6, 7, 14
YARN = YaRN(factor=4.0, original_max_position_embeddings=16, mscale=0.8, mscale_all_dim=0.9)
CONFIG = MLAConfig(
    num_attention_heads=HEADS,
    kv_lora_rank=RANK,
    qk_nope_head_dim=NOPE,
    qk_rope_head_dim=ROTATED,
    v_head_dim=VALUE,
    rope=RoPEConfig(rope_theta=100.0, interleaved=True),
    q_lora_rank=QUERY_RANK,
)
CONFIGS = {
    "plain": CONFIG,
    "without a query latent": replace(CONFIG, q_lora_rank=None),
    "yarn": replace(CONFIG, rope=replace(CONFIG.rope, scaling=YARN)),
    "biases, half-split, another eps": replace(
        CONFIG, attention_bias=True, rope=RoPEConfig(rope_theta=100.0), latent_norm=RMSNormConfig(eps=0.1)
    ),
}


@torch.no_grad()
def build(config: MLAConfig):
    part = config.build(HIDDEN)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in part.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.5 * noise if "norm" in name else noise * (0.4 if noise.ndim > 1 else 0.7))
    return part


@pytest.fixture(params=CONFIGS)
def part(request):
    return build(CONFIGS[request.param])


def stream(length=LENGTH):
    return torch.randn(BATCH, length, HIDDEN, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_head_by_head(part):
    """Query [nope | rope]; latent [normed | key that all heads share]; the scale is that of nope + rope together."""
    x, config = stream(), part.config
    angles = part.rope(torch.arange(LENGTH)[None])

    def rotated(y):
        return part.rope.rotate(y[:, None], *angles)[:, 0]

    q = part.q_proj(x) if config.q_lora_rank is None else part.q_b_proj(part.q_a_layernorm(part.q_a_proj(x)))
    latent, k_rope = part.kv_a_proj_with_mqa(x).split((RANK, ROTATED), dim=-1)
    latent, k_rope = part.kv_a_layernorm(latent), rotated(k_rope)
    future = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    softmax_factor = 1 if config.rope.scaling is None else (0.1 * 0.9 * torch.tensor(4.0).log() + 1) ** 2
    outs = []
    for h in range(HEADS):
        q_nope, q_rope = q[..., h * (NOPE + ROTATED) : (h + 1) * (NOPE + ROTATED)].split((NOPE, ROTATED), dim=-1)
        weight = part.kv_b_proj.weight[h * (NOPE + VALUE) : (h + 1) * (NOPE + VALUE)]
        k_nope, v = (latent @ weight.T).split((NOPE, VALUE), dim=-1)
        scores = (q_nope @ k_nope.mT + rotated(q_rope) @ k_rope.mT) * (NOPE + ROTATED) ** -0.5 * softmax_factor
        outs.append(scores.masked_fill(future, -torch.inf).softmax(-1) @ v)
    torch.testing.assert_close(part(x), part.o_proj(torch.cat(outs, dim=-1)), atol=1e-5, rtol=0)


@torch.no_grad()
def test_absorbed_equals_expanded(part):
    x, timeline = stream(), Timeline(torch.arange(LENGTH), torch.tensor([0, 4]))
    angles = timeline.angles(part.rope)
    arguments = (*part.queries(x, *angles), part.latents(x, *angles), timeline.mask())
    expanded, absorbed = part.expanded(*arguments), part.absorbed(*arguments)
    assert expanded.shape == absorbed.shape == (BATCH, HEADS, LENGTH, VALUE)
    real = timeline.token_mask[:, None].expand(-1, HEADS, -1)
    torch.testing.assert_close(absorbed[real], expanded[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("absorbed_up_to", [0, 3, 100])
@pytest.mark.parametrize("chunk", [1, 2, 5, 13])
@torch.no_grad()
def test_cached_equals_uncached_whichever_way_it_is_computed(part, chunk, absorbed_up_to, monkeypatch):
    monkeypatch.setattr(MLAConfig, "absorbed_up_to", absorbed_up_to)
    x, expected = stream(), part(stream())
    cache, taken = part.make_cache(BATCH, LENGTH, torch.float32, "cpu"), set()
    for name in ("absorbed", "expanded"):
        way = getattr(part, name)
        monkeypatch.setattr(part, name, lambda *a, way=way, name=name: (taken.add(name), way(*a))[1])
    pieces = x.split(chunk, dim=1)
    outs = [part(piece, Timeline(cache.length + torch.arange(piece.shape[1])), cache) for piece in pieces]
    torch.testing.assert_close(torch.cat(outs, dim=1), expected, atol=1e-5, rtol=0)
    assert taken == {"absorbed" if piece.shape[1] <= absorbed_up_to else "expanded" for piece in pieces}


@torch.no_grad()
def test_the_cache_holds_the_normed_latent_and_one_rotated_key(part):
    x = stream()
    cache = part.make_cache(BATCH, 17, torch.float32, "cpu")
    part(x, Timeline(torch.arange(LENGTH)), cache)
    (buffer,) = cache.buffers
    assert buffer.shape == (BATCH, 1, 17, RANK + ROTATED)
    assert cache.nbytes == BATCH * part.config.cache_elements(17) * 4
    latent, key = part.kv_a_proj_with_mqa(x).split((RANK, ROTATED), dim=-1)
    torch.testing.assert_close(buffer[:, 0, :LENGTH, :RANK], part.kv_a_layernorm(latent))
    rotated = part.rope.rotate(key[:, None], *part.rope(torch.arange(LENGTH)[None]))
    torch.testing.assert_close(buffer[:, :, :LENGTH, RANK:], rotated)
    assert not buffer[:, :, LENGTH:].any()


def test_shapes_of_the_weights():
    shapes = {name: tuple(p.shape) for name, p in build(CONFIGS["biases, half-split, another eps"]).named_parameters()}
    assert shapes == {
        "q_a_proj.weight": (QUERY_RANK, HIDDEN),
        "q_a_proj.bias": (QUERY_RANK,),
        "q_a_layernorm.weight": (QUERY_RANK,),
        "q_b_proj.weight": (HEADS * (NOPE + ROTATED), QUERY_RANK),
        "kv_a_proj_with_mqa.weight": (RANK + ROTATED, HIDDEN),
        "kv_a_proj_with_mqa.bias": (RANK + ROTATED,),
        "kv_a_layernorm.weight": (RANK,),
        "kv_b_proj.weight": (HEADS * (NOPE + VALUE), RANK),
        "o_proj.weight": (HIDDEN, HEADS * VALUE),
        "o_proj.bias": (HIDDEN,),
    }
    direct = {name for name, _ in build(CONFIGS["without a query latent"]).named_parameters()}
    assert "q_proj.weight" in direct and not any(name.startswith("q_a") for name in direct)


def test_the_latents_of_the_full_models():
    v3, lite = (from_hf(PRESETS[name]).blocks[0].attention for name in ("deepseek-v3", "deepseek-v2-lite"))
    assert v3.cache_elements(1) == lite.cache_elements(1) == 576
    assert v3.cache_elements(1000) == 576_000
    assert v3.latent_norm.eps == 1e-6


@pytest.mark.parametrize("config", [from_hf(PRESETS["deepseek-v3"]).blocks[0].attention, CONFIG])
def test_absorbing_stops_where_it_costs_more(config):
    """Multiplications per head and cached key, counted from the two ways as the module's first lines describe them."""

    def expanding(queries: int) -> int:
        expand = config.kv_lora_rank * (config.qk_nope_head_dim + config.v_head_dim)
        return expand + queries * (config.qk_head_dim + config.v_head_dim)

    def absorbing(queries: int) -> int:
        return queries * (2 * config.kv_lora_rank + config.qk_rope_head_dim)

    last = config.absorbed_up_to
    assert absorbing(last) < expanding(last) and absorbing(last + 1) >= expanding(last + 1)


def test_absorbing_stops_at_170_in_deepseek_v3():
    assert from_hf(PRESETS["deepseek-v3"]).blocks[0].attention.absorbed_up_to == 170


def test_a_width_that_cannot_be_rotated():
    with pytest.raises(ValueError, match=r"qk_rope_head_dim=7 must be even"):
        replace(CONFIG, qk_rope_head_dim=7)


@pytest.mark.parametrize("chunk", [1, 13])
def test_bf16_runs_and_stays_bf16(chunk):
    part = build(CONFIGS["yarn"]).to(torch.bfloat16)
    cache = part.make_cache(BATCH, LENGTH, torch.bfloat16, "cpu")
    x = stream(chunk).bfloat16()
    assert part(x, Timeline(torch.arange(chunk)), cache).dtype == torch.bfloat16
