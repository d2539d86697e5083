"""A trace holds what the model computed, and leaves the model as it was."""

import pytest
import torch

import lmlab
from lmlab.parts.core import FusedAttention

NAMES = ["mini-gpt-oss", "mini-qwen3", "mini-qwen3-moe", "mini-deepseek-v3"]


@pytest.fixture(params=NAMES)
def model(request):
    return lmlab.build(lmlab.config(request.param)).eval()


IDS = torch.randint(0, 1024, (2, 37), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_weights_are_those_of_the_output(model):
    plain = model(IDS)
    with lmlab.Trace(model) as trace:
        traced = model(IDS)
    torch.testing.assert_close(traced, plain, atol=1e-5, rtol=1e-5)
    for layer, block in enumerate(model.layers):
        record = trace.attention(layer)
        assert record.weights.shape == (2, 8, 37, 37)
        sums = record.weights.sum(-1)
        window = getattr(block.self_attn.config, "sliding_window", None)
        assert record.weights.triu(1).abs().max() == 0
        if window:
            assert record.weights[:, :, -1, : 37 - window].abs().max() == 0
            assert record.weights[:, :, -1, 37 - window].min() > 0
        if record.sink is not None:
            torch.testing.assert_close(sums + record.sink, torch.ones_like(sums))
            assert record.sink.min() > 0
        else:
            torch.testing.assert_close(sums, torch.ones_like(sums))
        # the recorded v, mixed by the recorded weights, goes through o_proj to what the layer added
        groups = 8 // record.v.shape[1]
        mixed = record.weights @ record.v.repeat_interleave(groups, dim=1)
        assert mixed.shape[:3] == (2, 8, 37)


@torch.no_grad()
def test_queries_and_keys_are_recorded_before_norm_and_rope(model):
    with lmlab.Trace(model) as trace:
        model(IDS)
    for layer, block in enumerate(model.layers):
        part, x = block.self_attn, block.input_layernorm(trace.residual()[layer])
        if not hasattr(part, "k_proj"):
            with pytest.raises(ValueError, match=f"layer {layer} has no q_norm"):
                trace.projected(layer)
            continue
        q, k = trace.projected(layer)
        torch.testing.assert_close(q.transpose(1, 2).flatten(2), part.q_proj(x))
        torch.testing.assert_close(k.transpose(1, 2).flatten(2), part.k_proj(x))


@torch.no_grad()
def test_residual_runs_from_the_embedding_to_the_last_block(model):
    with lmlab.Trace(model) as trace:
        logits = model(IDS)
    residual = trace.residual()
    assert residual.shape == (5, 2, 37, 128)
    torch.testing.assert_close(residual[0], model.embed_tokens(IDS))
    torch.testing.assert_close(model.lm_head(model.norm(residual[-1])), logits)


@torch.no_grad()
def test_routing_is_recorded_for_real_tokens_and_refused_for_dense_layers(model):
    lengths = torch.tensor([37, 20])
    with lmlab.Trace(model) as trace:
        model(IDS, lengths=lengths)
    for layer, block in enumerate(model.layers):
        if hasattr(block.mlp, "router"):
            routing = trace.routing(layer)
            assert routing.indices.shape == (57, 2) and routing.scores.shape == (57, 8)
        else:
            with pytest.raises(ValueError, match=f"layer {layer} has no routing"):
                trace.routing(layer)


@torch.no_grad()
def test_generation_is_recorded_step_by_step(model):
    with lmlab.Trace(model) as trace:
        list(lmlab.generate(model, IDS[:1, :5], max_new_tokens=4))
    assert trace.attention(0, step=0).weights.shape[-2] == 5
    assert trace.attention(0).weights.shape[-2] == 1
    assert trace.attention(1, step=3).k.shape[2] == 8
    with pytest.raises(ValueError, match="step 4 of a trace that holds 4"):
        trace.attention(0, step=4)


@torch.no_grad()
def test_a_record_stays_as_it_was_while_the_cache_writes_on(model):
    kept = []
    with lmlab.Trace(model) as trace:
        for _ in lmlab.generate(model, IDS[:1, :30], max_new_tokens=6):  # past the window of 32
            kept.append([trace.attention(layer).k.clone() for layer in range(4)])
    for step, keys in enumerate(kept):
        assert all(torch.equal(trace.attention(layer, step).k, keys[layer]) for layer in range(4))


def test_mtp_blocks_follow_the_layers():
    model = lmlab.build(lmlab.config("mini-deepseek-v3"))
    with lmlab.Trace(model) as trace:
        hidden = model.hidden(IDS)
        model.mtp[0](hidden[:, :-1], IDS[:, 1:])
    assert trace.attention(4).weights.shape == (2, 8, 36, 36)


def state(model):
    return [block.self_attn.core for block in model.layers], [len(m._forward_hooks) for m in model.modules()]


def test_the_model_is_as_before_also_after_an_error(model):
    before = state(model)
    with pytest.raises(ZeroDivisionError), lmlab.Trace(model):
        raise ZeroDivisionError  # and not "nothing was recorded"
    assert state(model) == before
    assert all(isinstance(core, FusedAttention) for core in before[0])
    with lmlab.Trace(model):
        model(IDS)
    assert state(model) == before


def test_an_empty_trace_and_a_compiled_model_are_errors(model):
    with pytest.raises(RuntimeError, match="nothing was recorded"), lmlab.Trace(model):
        pass
    with pytest.raises(ValueError, match="compiled"):
        lmlab.Trace(torch.compile(model))
    model.layers[1].compile()
    with pytest.raises(ValueError, match="compiled"):
        lmlab.Trace(model)


def test_dual_chunk_attention_is_traced_with_its_three_queries():
    from dataclasses import fields

    from lmlab.configuration import DualChunkConfig

    def dual(a):
        return DualChunkConfig(**{f.name: getattr(a, f.name) for f in fields(a)}, chunk_size=16, local_size=5)

    model = lmlab.build(lmlab.config("mini-qwen3").with_parts(attention=dual))
    plain = model(IDS)
    with lmlab.Trace(model) as trace:
        torch.testing.assert_close(model(IDS), plain, atol=1e-5, rtol=1e-5)
    assert len(trace.attention(0).q) == 3
    torch.testing.assert_close(trace.attention(0).weights.sum(-1), torch.ones(2, 8, 37))
