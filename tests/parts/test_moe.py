"""The experts' three ways are one sum; padding reaches none of them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmlab.parts.mlp import ClampedSwiGLU, SwiGLU
from lmlab.parts.moe import GATHERED_PAIRS, LOOPED_PAIRS, Experts, MoEConfig
from lmlab.parts.router import SigmoidGroupRouterConfig, SoftmaxTopKRouterConfig

HIDDEN, WIDTH, EXPERTS, CHOSEN = 10, 7, 6, 3
ROUTER = SoftmaxTopKRouterConfig(num_experts=EXPERTS, num_experts_per_tok=CHOSEN)


def make_experts(activation, bias: bool, width: int = WIDTH, hidden: int = HIDDEN) -> Experts:
    config = MoEConfig(router=ROUTER, moe_intermediate_size=width, activation=activation, bias=bias)
    return fill(Experts(config, hidden))


@torch.no_grad()
def fill(module):
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def inputs(tokens: int, used: int = EXPERTS, hidden: int = HIDDEN):
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, hidden, generator=generator, requires_grad=True)
    indices = torch.stack(
        [torch.randperm(used, generator=generator)[:CHOSEN] for _ in range(tokens)] or [torch.zeros(3)]
    )
    weights = torch.rand(tokens, CHOSEN, generator=generator, requires_grad=True)
    return x, indices[:tokens].long(), weights


def definition(experts: Experts, x, indices, weights):
    """Token by token, expert by expert."""
    out = []
    for token, chosen, shares in zip(x, indices.tolist(), weights, strict=True):
        total, width = torch.zeros_like(token), experts.config.moe_intermediate_size
        for e, share in zip(chosen, shares, strict=True):
            gate_up = experts.gate_up_proj[e] @ token
            if experts.gate_up_proj_bias is not None:
                gate_up = gate_up + experts.gate_up_proj_bias[e]
            y = experts.down_proj[e] @ experts.config.activation(gate_up[:width], gate_up[width:])
            if experts.down_proj_bias is not None:
                y = y + experts.down_proj_bias[e]
            total = total + share * y  # the bias lies inside the weighting
        out.append(total)
    return torch.stack(out)


@pytest.mark.parametrize("tokens", [1, 4, 30])
@pytest.mark.parametrize("way", ["looped", "gathered", "grouped"])
@pytest.mark.parametrize(("activation", "bias"), [(SwiGLU(), False), (ClampedSwiGLU(), True)])
@pytest.mark.parametrize("sizes", [(WIDTH, HIDDEN), (8, 12), "an older torch"])  # (8, 12): PyTorch's grouped kernel
def test_every_way_is_the_definition_with_its_gradients(tokens, way, activation, bias, sizes, monkeypatch):
    if sizes == "an older torch":
        monkeypatch.delattr("torch.nn.functional.grouped_mm", raising=False)
        sizes = (8, 12)
    experts = make_experts(activation, bias, *sizes)
    x, indices, weights = inputs(tokens, used=4, hidden=sizes[1])  # two experts stay empty
    wanted = [x, weights, *experts.parameters()]
    results = []
    for out in (getattr(experts, way)(x, indices, weights), definition(experts, x, indices, weights)):
        results.append((out, *torch.autograd.grad(out.square().sum(), wanted)))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("way", ["looped", "gathered", "grouped"])
@pytest.mark.parametrize("sizes", [(WIDTH, HIDDEN), (8, 12)])
def test_no_tokens_is_no_error(way, sizes):
    experts = make_experts(SwiGLU(), False, *sizes)
    x, indices, weights = inputs(0, hidden=sizes[1])
    assert getattr(experts, way)(x, indices, weights).shape == (0, sizes[1])


def test_few_tokens_are_looped_or_gathered_and_many_grouped(monkeypatch):
    experts, seen = make_experts(SwiGLU(), False), []
    for way in ("looped", "gathered", "grouped"):
        monkeypatch.setattr(experts, way, lambda x, i, w, way=way: seen.append(way) or x)
    for limit, compiled in ((LOOPED_PAIRS, False), (GATHERED_PAIRS, True)):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiled=compiled: compiled)
        for tokens in (limit // CHOSEN, limit // CHOSEN + 1):
            experts(*inputs(tokens))
    assert seen == ["looped", "grouped", "gathered", "grouped"]


@pytest.mark.parametrize("tokens", [1, 100])
def test_on_the_meta_device_with_the_products_of_the_chosen(tokens):
    experts = make_experts(ClampedSwiGLU(), True).to("meta")
    x, indices, weights = (t.to("meta") for t in inputs(tokens))
    with FlopCounterMode(display=False) as flops:
        out = experts(x, indices, weights)
    assert out.shape == (tokens, HIDDEN)
    assert flops.get_total_flops() == 2 * tokens * CHOSEN * 3 * WIDTH * HIDDEN


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_few_tokens_whole_and_many_with_a_break(dtype):
    experts = make_experts(SwiGLU(), False, 8, 16).to(dtype)
    for tokens, whole in ((1, True), (GATHERED_PAIRS, False)):
        x, indices, weights = inputs(tokens, hidden=16)
        compiled = torch.compile(experts, fullgraph=whole, backend="aot_eager")
        torch.testing.assert_close(compiled(x.to(dtype), indices, weights), experts(x.to(dtype), indices, weights))


def make_moe(num_shared_experts=2):
    router = SigmoidGroupRouterConfig(num_experts=EXPERTS, num_experts_per_tok=CHOSEN, n_group=3, topk_group=2)
    config = MoEConfig(router=router, moe_intermediate_size=WIDTH, num_shared_experts=num_shared_experts)
    return fill(config.build(HIDDEN))


@torch.no_grad()
def test_shared_experts_are_one_mlp_neither_gated_nor_scaled():
    moe = make_moe()
    x = torch.randn(2, 4, HIDDEN)
    routing = moe.router(x.flatten(0, 1))
    routed = definition(moe.experts, x.flatten(0, 1), routing.indices, routing.weights).view_as(x)
    assert moe.shared_experts.gate_proj.weight.shape == (2 * WIDTH, HIDDEN)
    torch.testing.assert_close(moe(x), routed + moe.shared_experts(x), atol=1e-3, rtol=1e-4)
    assert make_moe(num_shared_experts=0).shared_experts is None


@torch.no_grad()
def test_padding_reaches_neither_router_nor_expert():
    moe = make_moe()
    x, mask = torch.randn(2, 4, HIDDEN), torch.tensor([[True] * 4, [False, False, True, True]])
    seen = []
    moe.router.register_forward_hook(lambda module, inputs, routing: seen.append(routing))
    out = moe(x, mask)
    assert seen[0].indices.shape == (6, CHOSEN)
    whole = moe(x)
    torch.testing.assert_close(out[mask], whole[mask])
    assert bool((out[~mask] == 0).all())
    assert bool((moe(x, torch.zeros(2, 4, dtype=torch.bool)) == 0).all()), "a batch of padding alone"


@torch.no_grad()
def test_what_a_hook_puts_in_place_of_the_routing_is_used():
    moe = make_moe(num_shared_experts=0)
    moe.router.register_forward_hook(lambda module, inputs, routing: routing._replace(weights=0 * routing.weights))
    assert bool((moe(torch.randn(1, 3, HIDDEN)) == 0).all())
