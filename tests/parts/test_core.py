"""The attention core: both classes against a definition written in loops, with and without sinks."""

import math

import pytest
import torch

from lmlab.parts.core import ExplicitAttention, FusedAttention
from lmlab.parts.masks import attention_mask

BATCH, HEADS, KV_HEADS, QUERIES, KEYS, WIDTH, VALUE_WIDTH = 2, 6, 3, 4, 7, 10, 8
SCALE = 0.41
CORES = [ExplicitAttention(SCALE), FusedAttention(SCALE)]
PADDING = torch.tensor([0, 2])


def inputs(heads=HEADS, kv_heads=KV_HEADS, sinks=True, requires_grad=False):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator).requires_grad_(requires_grad)

    q = random(BATCH, heads, QUERIES, WIDTH)
    k, v = random(BATCH, kv_heads, KEYS, WIDTH), random(BATCH, kv_heads, KEYS, VALUE_WIDTH)
    return q, k, v, random(heads) if sinks else None


def mask_of(window=None, padding=None):
    return attention_mask(torch.arange(KEYS - QUERIES, KEYS), torch.arange(KEYS), window, padding)


def by_definition(q, k, v, mask, sinks):
    """One query of one head at a time."""
    heads, groups = q.shape[1], q.shape[1] // k.shape[1]
    mask = mask.expand(BATCH, 1, QUERIES, KEYS)
    out, weights = torch.zeros(BATCH, heads, QUERIES, VALUE_WIDTH), torch.zeros(BATCH, heads, QUERIES, KEYS)
    for b in range(BATCH):
        for h in range(heads):
            for t in range(QUERIES):
                seen = [s for s in range(KEYS) if mask[b, 0, t, s]]
                terms = [math.exp(SCALE * float(q[b, h, t] @ k[b, h // groups, s])) for s in seen]
                total = sum(terms) + (math.exp(float(sinks[h])) if sinks is not None else 0)
                for s, term in zip(seen, terms, strict=True):
                    weights[b, h, t, s] = term / total
                    out[b, h, t] += term / total * v[b, h // groups, s]
    return out, weights


@pytest.mark.parametrize("core", CORES, ids=lambda core: type(core).__name__)
@pytest.mark.parametrize("sinks", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 3, 6])
@pytest.mark.parametrize(("window", "padding"), [(None, None), (3, None), (None, PADDING), (3, PADDING)])
@torch.no_grad()
def test_the_definition(core, sinks, kv_heads, window, padding):
    q, k, v, sink = inputs(kv_heads=kv_heads, sinks=sinks)
    mask = mask_of(window, padding)
    out, weights = core(q, k, v, mask, sink)
    expected, expected_weights = by_definition(q, k, v, mask, sink)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    if weights is not None:
        torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sinks", [True, False])
@pytest.mark.parametrize("padding", [None, torch.tensor([0, 5])])  # the second row's first queries see nothing
def test_gradients_of_both_agree(sinks, padding):
    mask = mask_of(3, padding)
    direction = torch.randn(BATCH, HEADS, QUERIES, VALUE_WIDTH, generator=torch.Generator().manual_seed(1))
    direction = direction * mask.any(-1, keepdim=True)  # what padding puts out reaches nothing
    gradients = []
    for core in CORES:
        tensors = [tensor for tensor in inputs(sinks=sinks, requires_grad=True) if tensor is not None]
        out, _ = core(*tensors[:3], mask, *tensors[3:])
        gradients.append(torch.autograd.grad((out * direction).sum(), tensors))
    for explicit, fused in zip(*gradients, strict=True):
        assert explicit.isfinite().all() and fused.isfinite().all()
        assert explicit.abs().max() > 1e-3
        torch.testing.assert_close(explicit, fused, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_sink_takes_weight_away_and_is_not_scaled():
    q, k, v, _ = inputs()
    explicit = ExplicitAttention(SCALE)
    _, plain = explicit(q, k, v, mask_of())
    torch.testing.assert_close(plain.sum(-1), torch.ones(BATCH, HEADS, QUERIES))
    # against one key with score 0, a sink of log 3 leaves that key a quarter, whatever the scale
    alone = torch.zeros(1, 1, 1, KEYS, dtype=torch.bool).index_fill(-1, torch.tensor([2]), True)
    for core in CORES:
        out, weights = core(torch.zeros_like(q), k, v, alone, torch.full((HEADS,), math.log(3)))
        torch.testing.assert_close(out, v[:, :, 2:3].repeat_interleave(2, 1).expand_as(out) / 4)
        if weights is not None:
            torch.testing.assert_close(weights.sum(-1), torch.full((BATCH, HEADS, QUERIES), 0.25))
    _, weights = explicit(q, k, v, mask_of(), torch.linspace(-3, 3, HEADS))
    sums = weights.sum(-1)
    assert (sums < 1).all() and (sums > 0).all()
    assert (sums.mean((0, 2)).diff() < 0).all(), "each head has its own sink, in the order of the heads"


@pytest.mark.parametrize("core", CORES, ids=lambda core: type(core).__name__)
@pytest.mark.parametrize("sinks", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_row_that_sees_nothing_gives_no_nan(core, sinks, dtype):
    tensors = [None if tensor is None else tensor.to(dtype) for tensor in inputs(sinks=sinks)]
    mask = mask_of()
    mask = torch.cat((mask, torch.zeros_like(mask)))  # the second sequence is padding through and through
    out, _ = core(*tensors[:3], mask, tensors[3])
    alone, _ = core(*(tensor[:1] for tensor in tensors[:3]), mask[:1], tensors[3])
    assert out.dtype == dtype and out.isfinite().all()
    assert torch.allclose(out[:1], alone, atol=1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("sinks", [True, False])
@torch.no_grad()
def test_bf16_of_both_agrees_with_float32(sinks):
    q, k, v, sink = inputs(sinks=sinks)
    expected, _ = ExplicitAttention(SCALE)(q, k, v, mask_of(), sink)
    for core in CORES:
        out, _ = core(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask_of(), None if sink is None else sink.bfloat16())
        assert (out.float() - expected).abs().max() < 0.05


def test_each_knows_its_explicit_form():
    explicit, fused = CORES
    assert explicit.explicit() is explicit
    assert isinstance(fused.explicit(), ExplicitAttention) and fused.explicit().scale == SCALE
    assert fused(*inputs()[:3], mask_of())[1] is None


@pytest.mark.parametrize("sinks", [True, False])
def test_training_in_bf16_has_the_output_and_gradients_of_float32(sinks):
    """It takes another way there (plain products): to bf16's three digits."""
    mask, found = mask_of(window=3, padding=PADDING), []
    for enabled in (False, True):
        q, k, v, sink = inputs(sinks=sinks, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out, _ = FusedAttention(SCALE)(q, k, v, mask, sink)
        out.float().square().sum().backward()
        found.append([out.detach().float(), q.grad, k.grad, v.grad] + ([sink.grad] if sinks else []))
    for exact, rounded in zip(*found, strict=True):
        torch.testing.assert_close(rounded, exact, atol=0.03 * float(exact.abs().max()), rtol=0.03)


@pytest.mark.parametrize("queries", [1, QUERIES])
def test_values_wider_than_keys(queries):
    q, k, _, _ = inputs(kv_heads=1)
    v = torch.randn(BATCH, 1, KEYS, WIDTH + 6, generator=torch.Generator().manual_seed(1))
    mask = mask_of()[..., -queries:, :]
    out, _ = FusedAttention(SCALE)(q[..., -queries:, :], k, v, mask)
    expected, _ = ExplicitAttention(SCALE)(q[..., -queries:, :], k, v, mask)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
