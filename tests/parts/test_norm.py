"""RMSNorm: the definition, eps inside the root, and the two orders of rounding that the families have."""

import pytest
import torch
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RMSNorm
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from lmlab.parts.norm import RMSNormConfig


def norm_and_input(size=9, dtype=torch.float32, **config):
    generator = torch.Generator().manual_seed(0)
    norm = RMSNormConfig(**config).build(size)
    with torch.no_grad():
        norm.weight.copy_(1 + 0.3 * torch.randn(size, generator=generator))
    return norm.to(dtype), (3 * torch.randn(2, 5, size, generator=generator)).to(dtype)


def test_the_definition():
    norm, x = norm_and_input(eps=0.01)
    weight = norm.weight.tolist()
    for row, got in zip(x.reshape(-1, 9), norm(x).reshape(-1, 9), strict=True):
        root = (sum(value**2 for value in row.tolist()) / 9 + 0.01) ** 0.5
        expected = [value / root * w for value, w in zip(row.tolist(), weight, strict=True)]
        torch.testing.assert_close(got, torch.tensor(expected))


def test_eps_bounds_a_tiny_input_and_no_mean_is_subtracted():
    norm = RMSNormConfig(eps=1e-4).build(9)
    assert torch.allclose(norm(torch.full((9,), 1e-6)), torch.full((9,), 1e-4), rtol=1e-3)
    assert torch.allclose(norm(torch.full((9,), 5.0)), torch.ones(9), atol=1e-4)


@pytest.mark.parametrize("weight_in_float32", [True, False])
def test_the_scale_of_the_input_does_not_matter(weight_in_float32):
    norm, x = norm_and_input(eps=0.0, weight_in_float32=weight_in_float32)
    torch.testing.assert_close(norm(37 * x), norm(x))


@pytest.mark.parametrize(
    ("weight_in_float32", "theirs"), [(True, GptOssRMSNorm), (False, Qwen3RMSNorm), (False, DeepseekV3RMSNorm)]
)
def test_bf16_is_rounded_where_the_family_rounds_it(weight_in_float32, theirs):
    norm, x = norm_and_input(257, torch.bfloat16, eps=1e-5, weight_in_float32=weight_in_float32)
    reference = theirs(257, eps=1e-5).to(torch.bfloat16)
    reference.load_state_dict(norm.state_dict())
    assert norm(x).dtype == torch.bfloat16
    assert torch.equal(norm(x), reference(x))


def test_the_two_orders_differ_only_below_float32():
    outputs = {}
    for dtype in (torch.bfloat16, torch.float32):
        for order in (True, False):
            norm, x = norm_and_input(257, dtype, weight_in_float32=order)
            outputs[dtype, order] = norm(x)
    assert torch.equal(outputs[torch.float32, True], outputs[torch.float32, False])
    assert (outputs[torch.bfloat16, True] != outputs[torch.bfloat16, False]).float().mean() > 0.1


def test_the_root_is_taken_in_float32():
    norm = RMSNormConfig().build(9).half()
    x = torch.full((9,), 300.0, dtype=torch.float16)  # its square is beyond float16
    torch.testing.assert_close(norm(x), torch.ones(9, dtype=torch.float16))
