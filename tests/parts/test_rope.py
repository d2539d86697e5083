"""RoPE: frequencies, ramps and factors as transformers computes them, and what a rotation must keep."""

import math

import pytest
import torch
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lmlab.families import PRESETS, from_hf, to_hf
from lmlab.parts.mla import MLAConfig
from lmlab.parts.rope import ABF, NTK, PositionInterpolation, RoPEConfig, YaRN, plain_inverse_frequencies

QWEN3_X4 = RoPEConfig(rope_theta=1e6, scaling=YaRN(factor=4.0, original_max_position_embeddings=32768))


def rope_and_width(name: str) -> tuple[RoPEConfig, int]:
    attention = from_hf(PRESETS[name]).blocks[0].attention
    return attention.rope, attention.qk_rope_head_dim if isinstance(attention, MLAConfig) else attention.head_dim


def transformers_frequencies(fields: dict, width: int) -> tuple[torch.Tensor, float]:
    config = AutoConfig.for_model(**fields)
    config.head_dim = width
    method = config.rope_parameters["rope_type"]
    if method == "default":
        theta = config.rope_parameters["rope_theta"]
        return 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width), 1.0
    return ROPE_INIT_FUNCTIONS[method](config, "cpu")


@pytest.mark.parametrize("name", PRESETS)
def test_frequencies_and_factor_of_every_preset_equal_transformers(name):
    rope, width = rope_and_width(name)
    expected, factor = transformers_frequencies(to_hf(from_hf(PRESETS[name])), width)
    torch.testing.assert_close(rope.inverse_frequencies(width), expected, rtol=1e-6, atol=0)
    assert rope.cos_sin_factor == pytest.approx(factor, rel=1e-9)


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_qwen3_extended_equals_transformers(factor):
    scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": 32768}
    fields = PRESETS["qwen3-32b"] | {"rope_scaling": scaling}
    rope = from_hf(fields).blocks[0].attention.rope
    expected, attention_factor = transformers_frequencies(fields, 128)
    torch.testing.assert_close(rope.inverse_frequencies(128), expected, rtol=1e-6, atol=0)
    assert rope.cos_sin_factor == pytest.approx(attention_factor, rel=1e-9)


def test_linear_scaling_equals_transformers():
    fields = PRESETS["qwen3-0.6b"] | {"rope_scaling": {"rope_type": "linear", "factor": 3.0}}
    rope = from_hf(fields).blocks[0].attention.rope
    expected, factor = transformers_frequencies(fields, 128)
    torch.testing.assert_close(rope.inverse_frequencies(128), expected, rtol=1e-6, atol=0)
    assert rope.scaling == PositionInterpolation(factor=3.0) and factor == rope.cos_sin_factor == 1.0


@pytest.mark.parametrize(
    ("rope", "width", "bounds", "factor"),
    [
        (rope_and_width("gpt-oss-20b")[0], 64, (8.0928, 17.3980), 1.3465735903),
        (rope_and_width("gpt-oss-120b")[0], 64, (8.0928, 17.3980), 1.3465735903),
        (rope_and_width("deepseek-v3")[0], 64, (10, 23), 1.0),
        (QWEN3_X4, 128, (23, 40), 1.1386294361),
    ],
)
def test_the_known_constants_of_yarn(rope, width, bounds, factor):
    assert rope.scaling.bounds(rope.rope_theta, width) == pytest.approx(bounds, abs=5e-5)
    assert rope.cos_sin_factor == pytest.approx(factor, abs=5e-11)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("deepseek-v3", 0.1352337789),
        ("deepseek-v2-lite", 0.1147213868),
        ("gpt-oss-20b", 0.125),
        ("qwen3-8b", 128**-0.5),
    ],
)
def test_the_softmax_scale_of_the_full_models(name, scale):
    with torch.device("meta"):
        attention = from_hf(PRESETS[name]).blocks[0].attention.build(24)
    assert attention.core.scale == pytest.approx(scale, abs=5e-11)


def test_the_ramp_leaves_fast_pairs_and_slows_slow_ones():
    scaling, theta, width = QWEN3_X4.scaling, QWEN3_X4.rope_theta, 128
    ramp, plain = scaling.ramp(theta, width), plain_inverse_frequencies(theta, width)
    scaled = scaling.inverse_frequencies(theta, width)
    assert torch.equal(ramp[:24], torch.zeros(24)) and torch.equal(ramp[40:], torch.ones(24))
    assert torch.all(ramp.diff() >= 0)
    torch.testing.assert_close(ramp[30], torch.tensor(7 / 17))
    torch.testing.assert_close(scaled[:24], plain[:24])
    torch.testing.assert_close(scaled[40:], plain[40:] / 4)
    turns = 32768 * plain / (2 * math.pi)
    assert turns[22] > 32 > turns[24] and turns[39] > 1 > turns[40]


def test_bounds_that_meet_do_not_divide_by_zero():
    scaling = YaRN(factor=4.0, original_max_position_embeddings=2)  # every pair is slow: both bounds are 0
    assert scaling.bounds(100.0, 8) == (0, 0)
    ramp = scaling.ramp(100.0, 8)
    assert torch.equal(ramp, torch.tensor([0.0, 1.0, 1.0, 1.0]))


def test_where_yarns_temperature_goes():
    yarn = {"factor": 40.0, "original_max_position_embeddings": 4096}
    plain = YaRN(**yarn)
    assert plain.cos_sin_factor == pytest.approx(0.1 * math.log(40) + 1) and plain.softmax_factor == 1
    both = YaRN(**yarn, mscale=0.8, mscale_all_dim=0.5)
    assert both.cos_sin_factor == pytest.approx((0.08 * math.log(40) + 1) / (0.05 * math.log(40) + 1))
    assert both.softmax_factor == pytest.approx((0.05 * math.log(40) + 1) ** 2)
    assert YaRN(**yarn, attention_factor=1.7, mscale=0.8, mscale_all_dim=0.5).cos_sin_factor == 1.7
    assert YaRN(factor=1.0, original_max_position_embeddings=4096).cos_sin_factor == 1


def test_interpolation_ntk_and_abf():
    theta, width = 1e4, 10
    plain = plain_inverse_frequencies(theta, width)
    torch.testing.assert_close(PositionInterpolation(factor=4.0).inverse_frequencies(theta, width), plain / 4)
    ntk = NTK(factor=4.0).inverse_frequencies(theta, width)
    torch.testing.assert_close(ntk[0], plain[0])  # the fastest keeps its speed
    torch.testing.assert_close(ntk[-1], plain[-1] / 4)  # the slowest slows by exactly the factor
    assert torch.all((ntk / plain).diff() < 0)
    torch.testing.assert_close(
        ABF(rope_theta=5e5).inverse_frequencies(theta, width), plain_inverse_frequencies(5e5, width)
    )
    for scaling in (PositionInterpolation(factor=4.0), NTK(factor=4.0), ABF(rope_theta=5e5)):
        rope = RoPEConfig(rope_theta=theta, scaling=scaling)
        assert rope.cos_sin_factor == rope.softmax_factor == 1.0
        assert torch.equal(rope.inverse_frequencies(width), scaling.inverse_frequencies(theta, width))


def turn(rope, x, positions):
    return rope.rotate(x, *rope(positions))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_rotation_by_hand():
    width, position = 6, 5
    inv_freq = plain_inverse_frequencies(100.0, width)
    x = random(1, 1, 1, width)
    for interleaved, pairs in ((True, [(0, 1), (2, 3), (4, 5)]), (False, [(0, 3), (1, 4), (2, 5)])):
        rope = RoPEConfig(rope_theta=100.0, interleaved=interleaved).build(width)
        got = turn(rope, x, torch.tensor([[position]])).flatten()
        for i, (a, b) in enumerate(pairs):
            turned = complex(*x.flatten()[[a, b]].tolist()) * complex(
                math.cos(position * inv_freq[i]), math.sin(position * inv_freq[i])
            )
            assert complex(*got[[a, b]].tolist()) == pytest.approx(turned, abs=1e-5)


@pytest.mark.parametrize("scaling", [None, YaRN(factor=4.0, original_max_position_embeddings=16)])
def test_half_split_and_interleaved_are_one_rotation_permuted(scaling):
    width, positions = 12, torch.tensor([[0, 1, 7, 300], [2, 3, 5, 11]])
    x = random(2, 3, 4, width)
    order = torch.arange(width).reshape(2, -1).T.flatten()  # 0, 6, 1, 7, ...
    half = RoPEConfig(rope_theta=100.0, scaling=scaling).build(width)
    interleaved = RoPEConfig(rope_theta=100.0, scaling=scaling, interleaved=True).build(width)
    torch.testing.assert_close(turn(half, x, positions)[..., order], turn(interleaved, x[..., order], positions))


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("scaling", [None, YaRN(factor=4.0, original_max_position_embeddings=16)])
def test_scores_depend_on_the_distance_alone(interleaved, scaling):
    rope = RoPEConfig(rope_theta=100.0, interleaved=interleaved, scaling=scaling).build(12)
    q, k = random(1, 1, 1, 12), random(1, 1, 1, 12, seed=1)

    def score(i: int, j: int) -> torch.Tensor:
        return (turn(rope, q, torch.tensor([[i]])) * turn(rope, k, torch.tensor([[j]]))).sum()

    torch.testing.assert_close(score(17, 5), score(112, 100), atol=1e-4, rtol=0)
    torch.testing.assert_close(score(3, 3), score(50, 50), atol=1e-4, rtol=0)
    assert not torch.isclose(score(17, 5), score(17, 6), atol=1e-2)
    assert not torch.isclose(score(17, 5), score(5, 17), atol=1e-2)


@pytest.mark.parametrize("interleaved", [True, False])
def test_a_rotation_keeps_the_length_and_the_factor_stretches_queries_and_keys_alike(interleaved):
    positions, x = torch.tensor([[0, 1, 90]]), random(1, 5, 3, 12)
    plain = RoPEConfig(rope_theta=100.0, interleaved=interleaved)
    yarn = RoPEConfig(
        rope_theta=100.0,
        interleaved=interleaved,
        scaling=YaRN(factor=4.0, original_max_position_embeddings=16, attention_factor=1.5),
    )
    torch.testing.assert_close(turn(plain.build(12), x, positions).norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turn(plain.build(12), x, positions)[:, :, 0], x[:, :, 0])
    torch.testing.assert_close(turn(yarn.build(12), x, positions).norm(dim=-1), 1.5 * x.norm(dim=-1))


def test_shapes():
    rope = RoPEConfig(rope_theta=100.0).build(12)
    cos, sin = rope(torch.zeros(2, 5, dtype=torch.long))
    assert cos.shape == sin.shape == (2, 1, 5, 12)
    assert rope.rotate(random(2, 3, 5, 12), cos, sin).shape == (2, 3, 5, 12)


def test_moving_and_casting_keep_the_frequencies_in_float32():
    rope = rope_and_width("gpt-oss-20b")[0].build(64)
    expected = rope.inv_freq.clone()
    assert rope.to(torch.bfloat16).inv_freq.dtype == torch.float32
    assert torch.equal(rope.half().inv_freq, expected)
    assert rope.to("meta").inv_freq.is_meta
    assert torch.equal(rope.to_empty(device="cpu").inv_freq, expected), "emptied with the weights"
    assert not rope.state_dict(), "frequencies follow from the configuration and are not saved"
    x = random(1, 1, 3, 64).bfloat16()
    assert turn(rope, x, torch.tensor([[0, 1, 2]])).dtype == torch.bfloat16
