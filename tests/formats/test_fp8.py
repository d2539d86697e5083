"""FP8 as DeepSeek stores it: bit-exact values, block scales that are multiplied, powers of two rounded up."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.formats import e8m0, fp8


def test_the_table_of_values_is_torchs():
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    table = torch.tensor(fp8.E4M3_VALUES)
    assert torch.equal(codes.isnan(), table.isnan())
    assert [byte for byte in range(256) if math.isnan(fp8.E4M3_VALUES[byte])] == [0x7F, 0xFF]
    assert torch.equal(codes.nan_to_num(0), table.nan_to_num(0))
    assert max(fp8.E4M3_VALUES[:127]) == fp8.LARGEST


def test_dequantising_multiplies_by_what_is_called_inverse():
    values = torch.full((130, 257), 2.0).to(torch.float8_e4m3fn)
    scale_inv = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    weight = fp8.dequantize_weight(values, scale_inv, torch.float32)
    assert weight[0, 0] == 2 and weight[127, 127] == 2
    assert weight[0, 128] == 4 and weight[0, 256] == 8  # a partial last block
    assert weight[128, 0] == 16 and weight[129, 256] == 64


@pytest.mark.parametrize("shape", [(128, 256), (200, 300), (5, 7), (3, 130, 129)])
def test_dequantisation_equals_transformers_bit_for_bit(shape):
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    bits[(bits & 0x7F) == 0x7F] = 0  # no NaN
    values = bits.view(torch.float8_e4m3fn)
    blocks = (*shape[:-2], -(-shape[-2] // 128), -(-shape[-1] // 128))
    scales = torch.rand(blocks, generator=generator) * 1e-3
    ours = fp8.dequantize_weight(values, scales, torch.float32)
    # the definition, block by block
    expected = torch.empty(shape)
    for i in range(blocks[-2]):
        for j in range(blocks[-1]):
            place = (..., slice(128 * i, 128 * (i + 1)), slice(128 * j, 128 * (j + 1)))
            expected[place] = values[place].float() * scales[..., i, j, None, None]
    assert torch.equal(ours, expected)
    if len(shape) == 2 and all(n % 128 == 0 for n in shape):
        theirs = Fp8Dequantize(None)._dequantize_one(values, scales)
        assert torch.equal(theirs.float(), ours.to(theirs.dtype).float())


@pytest.mark.parametrize("power_of_two", [False, True])
def test_quantising_stays_within_half_a_step_and_uses_the_range(power_of_two):
    weight = torch.randn(200, 300, generator=torch.Generator().manual_seed(1))
    weight[3, 5] = 1e4  # an outlier spoils its own block only
    values, scale = fp8.quantize_weight(weight, power_of_two)
    back = fp8.dequantize_weight(values, scale, torch.float32)
    assert scale.shape == (2, 3)
    calm = torch.ones_like(weight, dtype=torch.bool)
    calm[:128, :128] = False
    relative = ((back - weight).abs() / weight.abs().clamp(min=0.05))[calm]
    assert relative.max() <= 2**-4 + 1e-6
    assert values.float().abs().max() <= 448
    if power_of_two:
        assert torch.equal(scale.log2(), scale.log2().round())
    else:
        assert values.float().abs().max() == 448


def test_activations_have_a_scale_for_each_token_and_run():
    x = torch.randn(3, 256, generator=torch.Generator().manual_seed(2))
    x[1] *= 1000
    x[2] = 0
    values, scale = fp8.quantize_activation(x)
    assert scale.shape == (3, 2)
    torch.testing.assert_close(scale[0], x[0].unflatten(0, (2, 128)).abs().amax(-1) / 448)
    assert scale[2].tolist() == pytest.approx([1e-4 / 448] * 2)
    back = fp8.dequantize_activation(values, scale, torch.float32)
    torch.testing.assert_close(back, x, rtol=2**-4, atol=float(scale[1].max()) * 2**-9)
    with pytest.raises(ValueError, match="200, and must be a multiple of 128"):
        fp8.quantize_activation(torch.zeros(2, 200))


def test_scales_that_do_not_belong_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\).*needs \(2, 3\)"):
        fp8.dequantize_weight(torch.zeros(200, 300).to(torch.float8_e4m3fn), torch.ones(2, 2))


@given(st.floats(min_value=2.0**-100, max_value=2.0**100, allow_subnormal=False))
@settings(max_examples=200, deadline=None)
def test_ue8m0_rounds_up_to_a_power_of_two(value):
    scale = float(torch.tensor(value, dtype=torch.float32))
    rounded = float(e8m0.round_up(torch.tensor(scale)))
    assert scale <= rounded < 2 * scale
    assert math.frexp(rounded)[0] == 0.5


def test_e8m0_bytes():
    codes = torch.arange(255, dtype=torch.uint8)
    assert torch.equal(e8m0.decode(codes).double(), 2.0 ** (torch.arange(255, dtype=torch.float64) - 127))
    assert torch.equal(e8m0.encode(e8m0.exponents(codes)), codes)
    assert e8m0.decode(torch.tensor([255], dtype=torch.uint8)).isnan().all()
    assert e8m0.encode(torch.tensor([-500, 500])).tolist() == [0, 254]
