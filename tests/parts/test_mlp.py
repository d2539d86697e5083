"""SwiGLU and the clamped variant, by hand and against transformers, with inputs large enough to feel the clamp."""

import math

import pytest
import torch

from lmlab.parts.mlp import ClampedSwiGLU, MLPConfig, SwiGLU


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("gate", "up", "expected"),
    [
        (1.0, 2.0, sigmoid(1.702) * 3),  # up + 1
        (9.0, 0.0, 7 * sigmoid(1.702 * 7)),  # the gate is clamped above
        (-9.0, 0.0, -9 * sigmoid(-1.702 * 9)),  # and not below
        (1.0, 20.0, sigmoid(1.702) * 8),  # up is clamped above
        (1.0, -20.0, sigmoid(1.702) * -6),  # and below
    ],
)
def test_the_clamped_form_by_hand(gate, up, expected):
    out = ClampedSwiGLU()(torch.tensor(gate), torch.tensor(up))
    assert float(out) == pytest.approx(expected, rel=1e-5)


def test_the_clamped_form_equals_transformers():
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssConfig, GptOssExperts

    gate, up = 10 * torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    theirs = GptOssExperts(GptOssConfig(num_local_experts=2, hidden_size=4, intermediate_size=7))
    interleaved = torch.stack((gate, up), dim=-1).flatten(-2)
    torch.testing.assert_close(ClampedSwiGLU()(gate, up), theirs._apply_gate(interleaved))


def test_alpha_and_limit_are_fields():
    out = ClampedSwiGLU(swiglu_alpha=1.0, swiglu_limit=2.0)(torch.tensor(5.0), torch.tensor(5.0))
    assert float(out) == pytest.approx(2 * sigmoid(2) * 3)


@pytest.mark.parametrize("bias", [False, True])
def test_the_mlp_is_down_of_the_gated_up(bias):
    mlp = MLPConfig(intermediate_size=7, bias=bias).build(5)
    x = torch.randn(2, 3, 5)
    gate = mlp.gate_proj(x)
    expected = mlp.down_proj(gate * torch.sigmoid(gate) * mlp.up_proj(x))
    torch.testing.assert_close(mlp(x), expected)
    assert sum(parameter.numel() for parameter in mlp.parameters()) == 3 * 35 + (7 + 7 + 5 if bias else 0)
    assert float(SwiGLU()(torch.tensor(1.0), torch.tensor(2.0))) == pytest.approx(2 * sigmoid(1))
