"""What is said of attention equals what the core computes: recomputed here head by head, with sinks and windows."""

import math

import pytest
import torch

import lmlab
from lmlab.configuration import DualChunkConfig
from lmlab.measure import attention
from tests.small import random_model

IDS = torch.randint(0, 97, (17,), generator=torch.Generator().manual_seed(0))
NAMES = ["gpt-oss-20b", "qwen3-0.6b", "qwen3-30b-a3b", "deepseek-v3", "deepseek-v2-lite"]


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return random_model(request.param)


@pytest.fixture(scope="module")
def found(model):
    return attention.read(model, IDS)


@torch.no_grad()
def projected(model, layer, normed=True):
    """Queries and keys of one layer, a list of (T, D) with one entry a query head: from the layer's input on."""
    with lmlab.Trace(model) as trace:
        model(IDS[None])
    block = model.layers[layer]
    part, config = block.self_attn, block.self_attn.config
    x = block.input_layernorm(trace.residual()[layer, 0])  # (T, C)
    cos, sin = (angle[0, 0] for angle in part.rope(torch.arange(17)[None]))
    heads = config.num_attention_heads
    if not hasattr(config, "kv_lora_rank"):
        per_key, size = heads // config.num_key_value_heads, config.head_dim
        q, k = part.q_proj(x).split(size, -1), part.k_proj(x).split(size, -1)
        if normed:
            q, k = [part.q_norm(one) for one in q], [part.k_norm(one) for one in k]
        return [part.rope.rotate(q[h], cos, sin) for h in range(heads)], [
            part.rope.rotate(k[h // per_key], cos, sin) for h in range(heads)
        ]
    nope, rank = config.qk_nope_head_dim, config.kv_lora_rank
    q = part.q_b_proj(part.q_a_layernorm(part.q_a_proj(x))) if config.q_lora_rank else part.q_proj(x)
    latent, shared = part.kv_a_proj_with_mqa(x).split((rank, config.qk_rope_head_dim), -1)
    up = part.kv_b_proj(part.kv_a_layernorm(latent)).chunk(heads, -1)
    return [torch.cat((one[:, :nope], part.rope.rotate(one[:, nope:], cos, sin)), -1) for one in q.chunk(heads, -1)], [
        torch.cat((one[:, :nope], part.rope.rotate(shared, cos, sin)), -1) for one in up
    ]


@torch.no_grad()
def near(ours, wanted):
    torch.testing.assert_close(ours.double(), wanted.double(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", range(3))
def test_scores_give_the_weights_through_mask_and_sink(model, found, layer):
    part = model.layers[layer].self_attn
    window = getattr(part.config, "sliding_window", None) or 17
    assert found.windows[layer] == (None if window == 17 else window)
    for head, (q, k) in enumerate(zip(*projected(model, layer), strict=True)):
        scores = (q @ k.T) * part.core.scale
        near(found.scores[layer, head], scores)
        for i in range(17):
            seen = [j for j in range(17) if i - window < j <= i]
            assert found.visible[layer, i].nonzero()[:, 0].tolist() == seen
            row = scores[i, seen].double().exp()
            rest = float(part.sinks[head].detach().double().exp()) if getattr(part, "sinks", None) is not None else 0.0
            total = float(row.sum()) + rest
            near(found.weights[layer, head, i, seen], row / total)
            assert float(found.sinks[layer, head, i]) == pytest.approx(rest / total, abs=1e-5)
    hidden = found.weights[layer][:, ~found.visible[layer]]
    assert hidden.abs().max() == 0


def test_the_learned_sinks_are_told_where_there_are_any(model, found):
    for layer, block in enumerate(model.layers):
        if getattr(block.self_attn, "sinks", None) is None:
            assert found.sinks[layer].max() == 0 and found.sink_scores[layer].isneginf().all()
        else:
            assert torch.equal(found.sink_scores[layer], block.self_attn.sinks.detach())
            assert found.sinks[layer].min() > 0
    assert bool(found.sinks.any()) == (model.config.model_type == "gpt_oss")


def test_latent_attention_scores_by_content_and_by_rope(model, found):
    if "deepseek" not in model.config.model_type:
        assert not {attention.CONTENT, attention.ROPE} & set(found.parts)
        return
    content, rope = found.parts[attention.CONTENT], found.parts[attention.ROPE]
    near(content + rope, found.scores)
    at = model.layers[1].self_attn.config.qk_nope_head_dim
    for head, (q, k) in enumerate(zip(*projected(model, 1), strict=True)):
        scale = model.layers[1].self_attn.core.scale
        near(content[1, head], q[:, :at] @ k[:, :at].T * scale)
        near(rope[1, head], q[:, at:] @ k[:, at:].T * scale)


def test_scores_before_qk_norm_are_those_of_the_bare_projections(model, found):
    if "qwen3" not in model.config.model_type:
        assert attention.BEFORE_NORM not in found.parts
        return
    before = found.parts[attention.BEFORE_NORM]
    for head, (q, k) in enumerate(zip(*projected(model, 2, normed=False), strict=True)):
        near(before[2, head], q @ k.T * model.layers[2].self_attn.core.scale)
    assert (before - found.scores).abs().max() > 0.1


def test_query_heads_are_told_their_key_head(model, found):
    config = model.layers[0].self_attn.config
    keys = [one[0] for one in projected(model, 0)[1]]  # of the first token, one for each query head
    for a, key_a in enumerate(keys):
        for b, key_b in enumerate(keys):
            assert torch.equal(key_a, key_b) == (found.key_heads[a] == found.key_heads[b])
    wanted = getattr(config, "num_key_value_heads", config.num_attention_heads)
    assert set(found.key_heads) == set(range(wanted))


def test_statistics_by_hand(model, found):
    table = {name: attention.overview(found, name) for name in attention.statistics(found)}
    beyond, within = (attention.overview(found, name, window=5) for name in ("beyond", "within"))
    for layer in range(3):
        for head in range(6):
            rows = [[float(w) for w in row] for row in found.weights[layer, head]]
            sinks = [float(s) for s in found.sinks[layer, head]]
            every = range(1, 17)
            mass = sum(sum(rows[i]) for i in every)
            by_hand = {
                "distance": sum((i - j) * rows[i][j] for i in every for j in range(17)) / mass,
                "entropy": -sum(p * math.log2(p) for i in every for p in [*rows[i], sinks[i]] if p > 0) / 16,
                "first": sum(rows[i][0] for i in every) / 16,
                "previous": sum(rows[i][i - 1] for i in every) / 16,
                "itself": sum(rows[i][i] for i in every) / 16,
                "sink": sum(sinks[i] for i in every) / 16,
            }
            told = {name: one.loc[layer, head] for name, one in table.items()}
            assert told == pytest.approx(by_hand, rel=1e-5, abs=1e-6)
            outside = sum(rows[i][j] for i in every for j in range(17) if i - j >= 5) / 16
            assert beyond.loc[layer, head] == pytest.approx(outside, abs=1e-6)
            whole = beyond.loc[layer, head] + within.loc[layer, head] + table["sink"].loc[layer, head]
            assert whole == pytest.approx(1, abs=1e-5)


def test_a_layer_has_nothing_beyond_its_own_window():
    model = random_model("gpt-oss-20b")
    found = attention.read(model, IDS)
    outside = attention.beyond(found, 11)
    assert found.windows == (11, None, 11)
    assert outside[[0, 2]].abs().max() == 0 and outside[1].min() > 0
    with lmlab.intervene(model, window=None, remove_sinks=True):
        wide = attention.read(model, IDS)
    assert wide.windows == (None,) * 3 and attention.beyond(wide, 11).min() > 0
    assert attention.statistics(wide)["sink"].max() == 0 and wide.sink_scores.isneginf().all()


def test_the_sharpest_head_is_found_by_its_look_back(found):
    for back in (8, 2):
        layer, head = attention.sharpest(found, back)
        looks = found.weights[:, :, 16, [j for j in range(1, 17) if 16 - j >= back]]
        assert looks[layer, head].max() == looks.max()


def test_one_token_and_a_short_text(model):
    first = attention.read(model, IDS[:1])
    assert first.weights.shape == (3, 6, 1, 1) and attention.sharpest(first) == (0, 0)
    assert all(bool(values.isfinite().all()) for values in attention.statistics(first).values())
    assert attention.statistics(first)["distance"].max() == 0
    assert attention.sharpest(attention.read(model, IDS[:3])) == (0, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_weights_still_follow_from_the_scores(dtype):
    found = attention.read(random_model("gpt-oss-20b").to(dtype), IDS)
    assert found.weights.dtype == found.scores.dtype == torch.float32
    sinks = found.sink_scores[:, :, None, None].expand(-1, -1, 17, 1)
    whole = torch.cat((found.scores.masked_fill(~found.visible[:, None], -math.inf), sinks), -1).softmax(-1)
    torch.testing.assert_close(found.weights, whole[..., :-1], atol=0.02, rtol=0.02)


def test_what_is_refused_says_why(model):
    with pytest.raises(ValueError, match=r"ids has shape \(1, 17\)"):
        attention.read(model, IDS[None])
    with pytest.raises(ValueError, match="at least one"):
        attention.read(model, IDS[:0])
    with pytest.raises(ValueError, match="ids run from 4 to 500; the embedding has rows 0 to 96"):
        attention.read(model, [4, 500])
    found = attention.read(model, IDS)
    with pytest.raises(ValueError, match="no statistic 'depth': there are distance, entropy, first"):
        attention.overview(found, "depth")
    with pytest.raises(ValueError, match="window=0 must be 1 or more"):
        attention.beyond(found, 0)


def test_other_shapes_are_refused():
    from dataclasses import fields, replace

    config = lmlab.config("mini-qwen3")

    def changed(change, *layers):
        blocks = [
            replace(block, attention=change(block.attention)) if layer in layers else block
            for layer, block in enumerate(config.blocks)
        ]
        return lmlab.build(replace(config, blocks=tuple(blocks)))

    def dual(a):
        return DualChunkConfig(**{f.name: getattr(a, f.name) for f in fields(a)}, chunk_size=16, local_size=5)

    with pytest.raises(ValueError, match=r"layers \[1, 3\] have dual chunk attention"):
        attention.read(changed(dual, 1, 3), IDS)
    with pytest.raises(ValueError, match=r"equally many \(query, key/value\) heads: got \[\(4, 2\), \(8, 2\)\]"):
        attention.read(changed(lambda a: replace(a, num_attention_heads=4), 2), IDS)
