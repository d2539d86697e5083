"""Each intervention equals the same change made by hand in the weights or the configuration, and leaves no mark."""

import copy
from dataclasses import replace

import pytest
import torch

import lmlab
from lmlab.parts.rope import YaRN

NAMES = ["mini-gpt-oss", "mini-qwen3-moe", "mini-deepseek-v3"]
IDS = torch.randint(0, 1024, (2, 45), generator=torch.Generator().manual_seed(0))
LAYER = 2


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    model = lmlab.build(lmlab.config(request.param)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.5 * scale + (parameter.ndim == 1))
    return model


@pytest.fixture(autouse=True)
def leaves_no_mark(model):
    names = lambda: {name: value.clone() for name, value in model.state_dict().items()}  # noqa: E731
    hooks = lambda: [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]  # noqa: E731
    attributes = lambda: [sorted(m.__dict__) for m in model.modules()]  # noqa: E731
    with torch.no_grad():
        before = names(), hooks(), attributes(), model(IDS)
        yield
        after = names(), hooks(), attributes(), model(IDS)
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1:3] == after[1:3]
    assert torch.equal(before[3], after[3])


@torch.no_grad()
def changed(model, **intervention) -> torch.Tensor:
    untouched = model(IDS)
    with lmlab.intervene(model, **intervention) as same:
        assert same is model
        out = model(IDS)
    assert not torch.allclose(out, untouched, atol=1e-3), "the intervention changed nothing"
    return out


@torch.no_grad()
def by_hand(model, change) -> torch.Tensor:
    other = copy.deepcopy(model)
    change(other.layers[LAYER])
    return other(IDS)


def test_an_ablated_head_is_a_zeroed_slice_of_the_output_projection(model):
    def zero(block):
        width = block.self_attn.o_proj.in_features // 8
        block.self_attn.o_proj.weight[:, 3 * width : 4 * width] = 0

    torch.testing.assert_close(changed(model, ablate_head=(LAYER, 3)), by_hand(model, zero), atol=1e-4, rtol=1e-4)


def test_a_forced_head_attends_evenly_to_all_that_it_sees(model):
    def zero(block):
        attention = block.self_attn
        projection = attention.q_b_proj if hasattr(attention, "q_b_proj") else attention.q_proj
        width = projection.out_features // 8
        projection.weight[3 * width : 4 * width] = 0
        if projection.bias is not None:
            projection.bias[3 * width : 4 * width] = 0

    torch.testing.assert_close(changed(model, force_head=(LAYER, 3)), by_hand(model, zero), atol=1e-4, rtol=1e-4)
    with torch.no_grad(), lmlab.intervene(model, force_head=(LAYER, 3)), lmlab.Trace(model) as trace:
        model(IDS)
    last = trace.attention(LAYER).weights[:, 3, -1]
    seen = last[last > 0].view(2, -1)
    torch.testing.assert_close(seen, seen[:, :1].expand_as(seen))


def test_an_ablated_expert_is_a_zeroed_down_projection(model):
    def zero(block):
        block.mlp.experts.down_proj[5] = 0
        if block.mlp.experts.down_proj_bias is not None:
            block.mlp.experts.down_proj_bias[5] = 0

    torch.testing.assert_close(changed(model, ablate_expert=(LAYER, 5)), by_hand(model, zero), atol=1e-4, rtol=1e-4)


def test_several_at_once_and_nested_add_up(model):
    def zero(block):
        width = block.self_attn.o_proj.in_features // 8
        block.self_attn.o_proj.weight[:, : 2 * width] = 0
        block.mlp.experts.down_proj[5] = 0
        if block.mlp.experts.down_proj_bias is not None:
            block.mlp.experts.down_proj_bias[5] = 0

    expected = by_hand(model, zero)
    both = changed(model, ablate_head=[(LAYER, 0), (LAYER, 1)], ablate_expert=[(LAYER, 5)])
    torch.testing.assert_close(both, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad(), lmlab.intervene(model, ablate_head=(LAYER, 0)):
        with lmlab.intervene(model, ablate_head=(LAYER, 1), ablate_expert=(LAYER, 5)):
            torch.testing.assert_close(model(IDS), expected, atol=1e-4, rtol=1e-4)


def test_a_banned_expert_is_never_chosen_and_a_forced_one_always(model):
    with (
        lmlab.intervene(model, ban_expert=[(LAYER, 5), (LAYER, 0)], force_expert=(LAYER, 6)),
        lmlab.Trace(model) as trace,
    ):
        model(IDS)
    indices = trace.routing(LAYER).indices
    assert not torch.isin(indices, torch.tensor([0, 5])).any()
    assert (indices == 6).any(-1).all()
    assert all(len(set(row)) == 2 for row in indices.tolist())


def test_banning_equals_a_bias_that_excludes(model):
    def exclude(block):
        router = block.mlp.router
        if hasattr(router, "bias"):
            router.bias[5] = -1e4
        else:
            router.weight.data[5] = 0
            router.eligible = lambda logits, scores: scores.index_fill(-1, torch.tensor([5]), -1.0)

    if hasattr(model.layers[LAYER].mlp.router, "bias"):
        torch.testing.assert_close(changed(model, ban_expert=(LAYER, 5)), by_hand(model, exclude), atol=1e-4, rtol=1e-4)


def test_forced_experts_are_weighed_by_the_routers_own_rule(model):
    with lmlab.intervene(model, force_expert=(LAYER, 6)), lmlab.Trace(model) as trace:
        model(IDS)
    routing = trace.routing(LAYER)
    scores = routing.scores.gather(1, routing.indices)
    expected = scores / scores.sum(-1, keepdim=True)
    scale = getattr(model.layers[LAYER].mlp.router.config, "routed_scaling_factor", 1.0)
    torch.testing.assert_close(routing.weights, expected * scale, atol=1e-5, rtol=1e-4)


def test_removed_sinks_are_a_variant_without_sinks(model):
    if model.config.model_type != "gpt_oss":
        with (
            pytest.raises(ValueError, match="none of the layers .* has sinks"),
            lmlab.intervene(model, remove_sinks=True),
        ):
            pass
        return
    other = lmlab.variant(model, model.config.with_parts(attention=lambda a: replace(a, sinks=False)))
    assert set(other.left_out) == {f"layers.{i}.self_attn.sinks" for i in range(4)}
    torch.testing.assert_close(changed(model, remove_sinks=True), other(IDS))


@pytest.mark.parametrize("window", [7, 40, None])
def test_a_changed_window_is_a_variant_with_that_window(model, window):
    if model.config.model_type != "gpt_oss":
        with pytest.raises(ValueError, match="has a sliding window"), lmlab.intervene(model, window=window):
            pass
        return
    slide = lambda a: replace(a, sliding_window=window if a.sliding_window else None)  # noqa: E731
    other = lmlab.variant(model, model.config.with_parts(attention=slide))
    torch.testing.assert_close(changed(model, window=window), other(IDS))
    with lmlab.intervene(model, window=window):  # generation inside the block uses the changed window too
        inside = [int(step.token) for step in lmlab.generate(model, IDS[:1], max_new_tokens=3)]
    assert inside == [int(step.token) for step in lmlab.generate(other, IDS[:1], max_new_tokens=3)]


def test_router_changes_are_variants(model):
    def router(**fields):
        return lambda mlp: replace(mlp, router=replace(mlp.router, **fields)) if hasattr(mlp, "router") else mlp

    for intervention, fields in (
        ({"top_k": 1}, {"num_experts_per_tok": 1}),
        ({"top_k": 3}, {"num_experts_per_tok": 3}),
        ({"router_temperature": 3.0}, {"temperature": 3.0}),
    ):
        other = lmlab.variant(model, model.config.with_parts(mlp=router(**fields)))
        torch.testing.assert_close(changed(model, **intervention), other(IDS))


def test_a_changed_rope_is_a_variant(model):
    yarn = YaRN(factor=4.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=1.0)
    other = lmlab.variant(
        model, model.config.with_parts(attention=lambda a: replace(a, rope=replace(a.rope, scaling=yarn)))
    )
    torch.testing.assert_close(changed(model, rope=lambda rope: replace(rope, scaling=yarn)), other(IDS))


def test_everything_is_restored_after_an_error_also_in_the_arguments(model):
    with pytest.raises(ZeroDivisionError), lmlab.intervene(model, ablate_head=(0, 1), top_k=1, ban_expert=(LAYER, 1)):
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="there is no expert 8: they are numbered 0 to 7"):
        with lmlab.intervene(model, ablate_head=(0, 1), ablate_expert=(LAYER, 8)):
            pass


@pytest.mark.parametrize(
    ("intervention", "message"),
    [
        ({"ablate_head": (9, 0)}, "there is no layer 9: they are numbered 0 to 3"),
        ({"ablate_head": (0, 8)}, "there is no head 8"),
        ({"window": 0, "layers": [0]}, "sliding_window=0 must be 1 or more|has a sliding window"),
        ({"top_k": 9}, "num_experts_per_tok=9 must lie from 1 to num_experts=8"),
        ({"top_k": 1, "layers": [4]}, "there is no layer 4"),
    ],
)
def test_errors_name_both_numbers(model, intervention, message):
    with pytest.raises(ValueError, match=message), lmlab.intervene(model, **intervention):
        pass


def test_a_variant_shares_its_tensors_and_names_what_does_not_fit(model):
    same = lmlab.variant(model, model.config)
    assert all(a is b for a, b in zip(model.parameters(), same.parameters(), strict=True))
    assert same.left_out == ()
    wider = replace(model.config, vocab_size=1025)
    with pytest.raises(ValueError, match=r"embed_tokens.weight is \(1024, 128\) and would have to be \(1025, 128\)"):
        lmlab.variant(model, wider)
    deeper = replace(model.config, blocks=model.config.blocks + model.config.blocks[-1:])
    with pytest.raises(ValueError, match="layers.4.input_layernorm.weight .* is missing"):
        lmlab.variant(model, deeper)


def test_a_dense_layer_has_no_experts():
    model = lmlab.build(lmlab.config("mini-deepseek-v3"))
    with pytest.raises(ValueError, match=r"layer 0 has no experts; layers that have: \[1, 2, 3\]"):
        with lmlab.intervene(model, ablate_expert=(0, 1)):
            pass


def test_tied_weights_stay_tied_in_a_variant():
    model = lmlab.build(lmlab.config("mini-qwen3"))
    other = lmlab.variant(model, model.config)
    assert other.lm_head.weight is other.embed_tokens.weight is model.embed_tokens.weight
