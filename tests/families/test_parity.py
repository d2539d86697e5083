"""The families compute what transformers' own classes compute, on random weights that are degenerate in nothing."""

import pytest
import torch
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from lmlab.families import PRESETS, from_hf
from lmlab.parts.masks import Timeline
from tests import hf

LENGTH = 60  # past the windows of 7 and 11, and far past YaRN's original 16


@pytest.fixture(scope="module", params=hf.TINY)
def pair(request):
    theirs = hf.random_model(request.param)
    return theirs, hf.convert(theirs)


@torch.no_grad()
def test_logits_past_the_window_and_past_the_original_length(pair):
    theirs, ours = pair
    ids = hf.ids(3, LENGTH)
    expected = hf.logits(theirs, ids)
    assert expected.std() > 0.3, "a model that says nothing would agree with any other"
    torch.testing.assert_close(ours(ids), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_every_layer_agrees_not_only_the_last(pair):
    theirs, ours = pair
    ids = hf.ids(2, 41, seed=1)
    expected = theirs(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
    states = []
    hooks = [layer.register_forward_hook(lambda module, inputs, out: states.append(out)) for layer in ours.layers]
    hidden = ours.hidden(ids)
    for hook in hooks:
        hook.remove()
    for got, want in zip([*states[:-1], hidden], expected[1:], strict=True):  # theirs ends on the normed state
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)  # the stream grows, the logits do not


@torch.no_grad()
def test_the_same_greedy_tokens(pair):
    theirs, ours = pair
    ids, new = hf.ids(2, 13, seed=2), 12
    expected = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0
    )
    cache = ours.make_cache(2, ids.shape[1] + new)
    token, written = ids, ids
    for _ in range(new):
        token = ours(token, cache)[:, -1:].argmax(-1)
        written = torch.cat((written, token), dim=1)
    assert torch.equal(written, expected)


@torch.no_grad()
def test_a_left_padded_batch_as_transformers_reads_it(pair):
    theirs, ours = pair
    ids, lengths = hf.ids(3, 30, seed=3), torch.tensor([30, 4, 19])
    real = torch.arange(30) >= 30 - lengths[:, None]
    positions = (real.cumsum(1) - 1).clamp(min=0)
    expected = theirs(ids, attention_mask=real.long(), position_ids=positions).logits
    torch.testing.assert_close(ours(ids, lengths=lengths)[real], expected[real], atol=1e-4, rtol=0)


@torch.no_grad()
def test_gradients_of_the_loss(pair):
    theirs, ours = pair
    ids = hf.ids(2, 25, seed=4)
    with torch.enable_grad():
        got = ours(ids).log_softmax(-1)[..., 5].sum()
        want = theirs(ids, attention_mask=torch.ones_like(ids)).logits.log_softmax(-1)[..., 5].sum()
        mine = torch.autograd.grad(got, [ours.embed_tokens.weight, ours.norm.weight])
        reference = torch.autograd.grad(want, [theirs.model.embed_tokens.weight, theirs.model.norm.weight])
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4 * float(b.abs().max()), rtol=0)


@torch.no_grad()
def test_the_final_norm_rounds_as_its_family_does(pair):
    theirs, ours = pair
    x = torch.randn(7, 36, generator=torch.Generator().manual_seed(0)).bfloat16() * 3
    weight = theirs.model.norm.weight
    norms = theirs.model.norm.to(torch.bfloat16), ours.norm.to(torch.bfloat16)
    expected, got = (norm(x) for norm in norms)
    for norm in norms:
        norm.float().weight.copy_(weight)
    assert torch.equal(got, expected)


# the vendors' own RoPE, at its own head dimension, on a model that is otherwise tiny
FULL_SCALE = {
    "gpt-oss-20b": (
        GptOssForCausalLM,
        GptOssConfig,
        hf.GQA | {"num_local_experts": 10, "num_experts_per_tok": 4, "intermediate_size": 20, "head_dim": 64},
    ),
    "qwen3-32b": (Qwen3ForCausalLM, Qwen3Config, hf.GQA | {"intermediate_size": 52, "head_dim": 128}),
    "qwen3-235b-a22b": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig,
        hf.GQA
        | {"intermediate_size": 52, "moe_intermediate_size": 20, "num_experts": 10, "num_experts_per_tok": 4}
        | {"head_dim": 128, "norm_topk_prob": True},
    ),
    "deepseek-v3": (
        DeepseekV3ForCausalLM,
        DeepseekV3Config,
        hf.DEEPSEEK | hf.SIGMOID | {"qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 12},
    ),
    "deepseek-v2-lite": (
        DeepseekV2ForCausalLM,
        DeepseekV2Config,
        hf.DEEPSEEK
        | {"qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "first_k_dense_replace": 1, "q_lora_rank": None},
    ),
}
QWEN3_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def full_scale(name: str, yarn: bool):
    model_class, config_class, sizes = FULL_SCALE[name]
    preset = PRESETS[name]
    scaling = dict(preset["rope_scaling"] or {"rope_type": "default"})
    scaling = QWEN3_YARN if yarn else scaling
    scaling.setdefault("rope_type", scaling.pop("type", "yarn"))
    reach = 131072 if yarn else preset["max_position_embeddings"]
    fields = sizes | {"max_position_embeddings": reach, "rms_norm_eps": preset["rms_norm_eps"]}
    if name.startswith("gpt-oss"):
        fields["layer_types"] = ["full_attention"] * 3  # a window would hide what stands far away
    model = model_class(config_class(**fields, rope_parameters=scaling | {"rope_theta": float(preset["rope_theta"])}))
    model.set_attn_implementation("eager")
    hf.randomise(model.eval())
    return model, reach


@pytest.mark.parametrize(
    ("name", "yarn"),
    [*((name, False) for name in FULL_SCALE), ("qwen3-32b", True), ("qwen3-235b-a22b", True)],
)
@torch.no_grad()
def test_full_scale_rope_at_the_far_end_of_the_context(name, yarn, monkeypatch):
    """Few tokens spread over all positions: near and far pairs, at the vendor's theta, factor and original length."""
    theirs, reach = full_scale(name, yarn)
    ours = hf.convert(theirs)
    if not yarn:  # the same rotation as the preset's, not merely the same as transformers'
        assert ours.config.blocks[0].attention.rope == from_hf(PRESETS[name]).blocks[0].attention.rope
    spread = torch.logspace(0, torch.tensor(reach - 2.0).log2().item(), 30, base=2).long()
    positions = torch.cat((torch.arange(5), spread[spread > 5], torch.tensor([reach - 1])))
    monkeypatch.setattr(ours, "timeline", lambda ids, cache, lengths: Timeline(positions))
    ids = hf.ids(2, len(positions))
    expected = theirs(ids, attention_mask=torch.ones_like(ids), position_ids=positions[None]).logits
    torch.testing.assert_close(ours(ids), expected, atol=1e-4, rtol=0)
    monkeypatch.setattr(ours, "timeline", lambda ids, cache, lengths: Timeline(torch.arange(len(positions))))
    assert (ours(ids) - expected).abs().max() > 0.05, "positions must matter for this test to say anything"
