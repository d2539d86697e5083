"""Each router chooses and weighs as transformers' does, on 10,000 random tokens in float32."""

import pytest
import torch
from transformers import DeepseekV2Config, DeepseekV3Config, GptOssConfig, Qwen3MoeConfig
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

from lmlab.parts.router import (
    RouterConfig,
    SigmoidGroupRouterConfig,
    SoftmaxGroupRouterConfig,
    SoftmaxTopKRouterConfig,
    TopKSoftmaxRouterConfig,
)

HIDDEN, EXPERTS, CHOSEN, TOKENS = 20, 24, 5, 10_000
OURS = {"num_experts": EXPERTS, "num_experts_per_tok": CHOSEN}
DEEPSEEK = {
    "hidden_size": HIDDEN,
    "num_attention_heads": 4,
    "n_routed_experts": EXPERTS,
    "num_experts_per_tok": CHOSEN,
    "n_group": 4,
    "topk_group": 2,
}
GQA = {"hidden_size": HIDDEN, "num_experts_per_tok": CHOSEN}
GROUPS = {"n_group": 4, "topk_group": 2}
PAIRS = {
    "gpt-oss": (
        TopKSoftmaxRouterConfig(**OURS),
        lambda: GptOssTopKRouter(GptOssConfig(**GQA, num_local_experts=EXPERTS)),
    ),
    "qwen3": (
        SoftmaxTopKRouterConfig(**OURS),
        lambda: Qwen3MoeTopKRouter(Qwen3MoeConfig(**GQA, num_experts=EXPERTS, norm_topk_prob=True)),
    ),
    "qwen3-unnormalised": (
        SoftmaxTopKRouterConfig(**OURS, norm_topk_prob=False),
        lambda: Qwen3MoeTopKRouter(Qwen3MoeConfig(**GQA, num_experts=EXPERTS, norm_topk_prob=False)),
    ),
    "deepseek-v3": (
        SigmoidGroupRouterConfig(**OURS, **GROUPS, routed_scaling_factor=2.5),
        lambda: DeepseekV3TopkRouter(DeepseekV3Config(**DEEPSEEK)),
    ),
    "deepseek-v3-unnormalised": (
        SigmoidGroupRouterConfig(**OURS, **GROUPS, routed_scaling_factor=1.5, norm_topk_prob=False),
        lambda: DeepseekV3TopkRouter(DeepseekV3Config(**DEEPSEEK, norm_topk_prob=False, routed_scaling_factor=1.5)),
    ),
    "deepseek-v2": (
        SoftmaxGroupRouterConfig(**OURS, routed_scaling_factor=3.0),
        lambda: DeepseekV2TopkRouter(DeepseekV2Config(**DEEPSEEK, topk_method="greedy", routed_scaling_factor=3.0)),
    ),
    "deepseek-v2-groups": (
        SoftmaxGroupRouterConfig(**OURS, **GROUPS, routed_scaling_factor=16.0),
        lambda: DeepseekV2TopkRouter(
            DeepseekV2Config(**DEEPSEEK, topk_method="group_limited_greedy", routed_scaling_factor=16.0)
        ),
    ),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def fill(router: torch.nn.Module, shift: float = 0.0) -> torch.nn.Module:
    for name, tensor in [*router.named_parameters(), *router.named_buffers()]:
        noise = torch.randn(tensor.shape, generator=generator(len(name)))
        tensor.copy_(noise * 0.3 + shift if tensor.ndim == 1 else noise * 0.4)
    return router


def by_expert(indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N, E): each expert's weight, 0 where it was not chosen; the order of the chosen does not count."""
    return torch.zeros(indices.shape[0], EXPERTS).scatter(1, indices, weights.float())


@torch.no_grad()
@pytest.mark.parametrize("shift", [0.0, -2.0])  # -2: every biased sigmoid score is negative
@pytest.mark.parametrize("name", PAIRS)
def test_choices_and_weights_equal_transformers(name, shift):
    config, make = PAIRS[name]
    theirs, ours = fill(make(), shift), config.build(HIDDEN)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(TOKENS, HIDDEN, generator=generator(3))
    routing = ours(x)
    logits, weights, indices = theirs(x)
    torch.testing.assert_close(routing.logits, logits)
    assert torch.equal(routing.indices.sort(-1).values, indices.sort(-1).values)
    torch.testing.assert_close(
        by_expert(routing.indices, routing.weights), by_expert(indices, weights), atol=1e-6, rtol=1e-6
    )
    if hasattr(ours, "e_score_correction_bias") and shift:
        assert (routing.scores + ours.e_score_correction_bias).max() < 0


@torch.no_grad()
@pytest.mark.parametrize("name", PAIRS)
def test_in_bf16_too(name):
    config, make = PAIRS[name]
    theirs, ours = fill(make()).bfloat16(), config.build(HIDDEN)
    if hasattr(theirs, "e_score_correction_bias"):
        theirs.e_score_correction_bias.data = theirs.e_score_correction_bias.float()
    ours.load_state_dict(theirs.state_dict())
    ours.bfloat16()
    x = torch.randn(200, HIDDEN, generator=generator(3)).bfloat16()
    routing, (_, weights, indices) = ours(x), theirs(x)
    assert routing.weights.dtype == weights.dtype
    torch.testing.assert_close(by_expert(routing.indices, routing.weights), by_expert(indices, weights))


@pytest.mark.parametrize("cast", [torch.nn.Module.bfloat16, torch.nn.Module.half, torch.nn.Module.double])
def test_the_correction_bias_keeps_its_float32_values_whatever_the_model_is_cast_to(cast):
    router = fill(SigmoidGroupRouterConfig(**OURS, **GROUPS).build(HIDDEN))
    before = router.e_score_correction_bias.clone()
    bias = cast(router).e_score_correction_bias
    assert bias.dtype == torch.float32 and torch.equal(bias, before)
    assert router.weight.dtype != torch.float32
    assert router.to("meta").to_empty(device="cpu").e_score_correction_bias.dtype == torch.float32


@torch.no_grad()
def test_softmax_then_choice_with_renormalisation_is_choice_then_softmax():
    after, before = TopKSoftmaxRouterConfig(**OURS).build(HIDDEN), SoftmaxTopKRouterConfig(**OURS).build(HIDDEN)
    fill(before)
    after.load_state_dict({"weight": before.weight, "bias": torch.zeros(EXPERTS)})
    x = torch.randn(50, HIDDEN, generator=generator())
    torch.testing.assert_close(after(x).weights, before(x).weights)
    assert torch.equal(after(x).indices, before(x).indices)


@torch.no_grad()
def test_the_correction_bias_steers_the_choice_and_not_the_weights():
    router = fill(
        SigmoidGroupRouterConfig(**OURS, **GROUPS, norm_topk_prob=False, routed_scaling_factor=1.0).build(HIDDEN)
    )
    router.e_score_correction_bias[7] = 100
    routing = router(torch.randn(50, HIDDEN, generator=generator()))
    assert bool((routing.indices == 7).any(-1).all())
    torch.testing.assert_close(routing.weights, routing.scores.gather(1, routing.indices))
    assert routing.weights.max() < 1


@torch.no_grad()
def test_only_the_best_groups_are_eligible():
    router = fill(SigmoidGroupRouterConfig(**OURS, **GROUPS).build(HIDDEN), shift=-2.0)
    routing = router(torch.randn(500, HIDDEN, generator=generator()))
    biased = (routing.scores + router.e_score_correction_bias).unflatten(-1, (4, 6))
    best = biased.topk(2, dim=-1).values.sum(-1).topk(2, dim=-1).indices
    groups = routing.indices // 6
    assert bool((groups.unsqueeze(-1) == best.unsqueeze(1)).any(-1).all())


@torch.no_grad()
@pytest.mark.parametrize("name", PAIRS)
def test_temperature_divides_the_logits(name):
    from dataclasses import replace

    config, make = PAIRS[name]
    cold, hot = config.build(HIDDEN), replace(config, temperature=4.0).build(HIDDEN)
    state = fill(make()).state_dict()
    cold.load_state_dict(state)
    hot.load_state_dict(state)
    x = torch.randn(50, HIDDEN, generator=generator())
    torch.testing.assert_close(hot(x).logits * 4, cold(x).logits)
    assert hot(x).scores.std() < cold(x).scores.std()


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (RouterConfig, {"num_experts_per_tok": 9}, "num_experts_per_tok=9 must lie from 1 to num_experts=8"),
        (RouterConfig, {"temperature": 0}, "temperature=0 must be above 0"),
        (SigmoidGroupRouterConfig, {"n_group": 3, "topk_group": 1}, "num_experts=8 must be a multiple of n_group=3"),
        (SigmoidGroupRouterConfig, {"n_group": 4, "topk_group": 5}, "topk_group=5 must lie from 1 to n_group=4"),
        (SoftmaxGroupRouterConfig, {"n_group": 4, "topk_group": 1}, "=3 is more than the 2 experts in topk_group=1"),
    ],
)
def test_what_cannot_be_is_refused(config, fields, message):
    with pytest.raises(ValueError, match=message):
        config(**{"num_experts": 8, "num_experts_per_tok": 3, **fields})
